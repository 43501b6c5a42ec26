/**
 * What keeps files alive: which records of which file of the journal are still needed, and how many entries and staged
 * blocks need a file of the flash.
 */
import { assert } from "../base/assert.ts";
import type { Content } from "./types.ts";

/** Where the record stands that holds the whole of an entry or a staged block. */
export interface Home {
  readonly segment: number;
  readonly bytes: number;
}

interface Living {
  readonly keys: Set<string>;
  bytes: number;
}

/** The living records of each file of the journal. `key` names what a record holds. */
export interface Homes {
  /** A record took the place of an older one of the same key, if there was one. */
  set(key: string, home: Home): void;
  delete(key: string): void;
  /** Whether the record of `key` is in that file. */
  isIn(key: string, segment: number): boolean;
  /** What lives in a file. */
  keysIn(segment: number): readonly string[];
  /** Bytes of all living records. */
  readonly bytes: number;
}

export function createHomes(): Homes {
  const homes = new Map<string, Home>();
  const segments = new Map<number, Living>();
  let bytes = 0;
  const remove = (key: string): void => {
    const home = homes.get(key);
    if (home === undefined) return;
    homes.delete(key);
    bytes -= home.bytes;
    const living = segments.get(home.segment);
    assert(living?.keys.delete(key) === true, "a record lives in the file that it was noted for");
    living.bytes -= home.bytes;
    if (living.keys.size === 0) segments.delete(home.segment);
  };
  return {
    set: (key, home) => {
      remove(key);
      homes.set(key, home);
      bytes += home.bytes;
      const living = segments.get(home.segment) ?? { keys: new Set(), bytes: 0 };
      segments.set(home.segment, living);
      living.keys.add(key);
      living.bytes += home.bytes;
    },
    delete: remove,
    isIn: (key, segment) => homes.get(key)?.segment === segment,
    keysIn: (segment) => [...(segments.get(segment)?.keys ?? [])],
    get bytes() {
      return bytes;
    },
  };
}

/** Counts who needs which file of the flash. */
export interface FileUses {
  hold(fileIds: Iterable<number>): void;
  /** The files that nobody needs any more. */
  release(fileIds: Iterable<number>): number[];
  has(fileId: number): boolean;
}

export function createFileUses(): FileUses {
  const uses = new Map<number, number>();
  return {
    hold: (fileIds) => {
      for (const id of fileIds) uses.set(id, (uses.get(id) ?? 0) + 1);
    },
    release: (fileIds) => {
      const freed: number[] = [];
      for (const id of fileIds) {
        const left = (uses.get(id) ?? 0) - 1;
        assert(left >= 0, "a file is released as often as it was held");
        if (left > 0) uses.set(id, left);
        else {
          uses.delete(id);
          freed.push(id);
        }
      }
      return freed;
    },
    has: (fileId) => uses.has(fileId),
  };
}

/** The distinct files of a content. */
export function filesOf(content: Content): Set<number> {
  return new Set(content.kind === "spans" ? content.spans.map((span) => span.fileId) : []);
}
