/**
 * Who needs a file that came to flash as a client's bytes: the server that writes it, the journal, adoptions under way,
 * and the version of the cache that it became part of. It goes when none of them does. Here stands every such file that
 * is not a version's alone; what a version alone needs goes with the version, like any other file of the cache.
 */
import { assert } from "../base/assert.ts";
import { allocatedBytes } from "./files.ts";
import type { Retired } from "./retire.ts";

export interface StagedFile {
  readonly id: number;
  /** What it counts for: what was reserved. */
  readonly bytes: number;
  /** The server that writes it: it ends with that, and the file system's free space does not show all of it yet. */
  holder: string | null;
  /** The journal needs it. */
  kept: boolean;
  /** Who else holds on to it: adoptions under way, blocks that a list may name yet. */
  uses: number;
  /** The version whose bytes it counts to. */
  version: number | null;
  /** The index has named it: it may be unlinked only once that it does not any more is durable. */
  named: boolean;
  /** A flush failed that may have been to write it. */
  doubtful: boolean;
}

/** Bytes of staged files, as part of the ledger. */
export interface StagedBytes {
  /** In files that no version counts to its own. */
  stagedBytes: number;
  /** Of these, in files that a server is writing. */
  growingBytes: number;
}

export interface StagedFiles {
  get(fileId: number): StagedFile | null;
  /** A new one, held by a server. */
  reserve(fileId: number, holder: string, bytes: number): StagedFile;
  /** One that the journal had before this life. `version`: the version that has it too. */
  held(fileId: number, bytes: number, version: number | null): void;
  /** Its holder wrote what there was to write, and has it no more. */
  leave(file: StagedFile): void;
  /** It counts to a version from now on; who else needs it is remembered. */
  give(file: StagedFile, version: number): void;
  /** Nobody needs it but its version, if it has one. False: somebody does. */
  end(file: StagedFile): boolean;
  /** A version goes: its files but for those that others need, which count for themselves again. */
  part(versionId: number, retired: Retired): Retired;
  /** A flush failed. */
  doubt(): void;
  heldBy(holder: string): readonly StagedFile[];
  countOf(holder: string): number;
  all(): Iterable<StagedFile>;
  readonly size: number;
}

export function createStagedFiles(ledger: StagedBytes): StagedFiles {
  const files = new Map<number, StagedFile>();
  const byHolder = new Map<string, Set<StagedFile>>();

  const count = (file: StagedFile, sign: 1 | -1): void => {
    ledger.stagedBytes += sign * file.bytes;
    if (file.holder !== null) ledger.growingBytes += sign * file.bytes;
  };
  const leave = (file: StagedFile): void => {
    if (file.holder === null) return;
    const held = byHolder.get(file.holder);
    held?.delete(file);
    if (held?.size === 0) byHolder.delete(file.holder);
    file.holder = null;
    ledger.growingBytes -= file.bytes;
  };
  return {
    get: (fileId) => files.get(fileId) ?? null,
    reserve: (fileId, holder, bytes) => {
      assert(!files.has(fileId), "a file is reserved once");
      const file = { ...nobodys(fileId, bytes), holder };
      files.set(fileId, file);
      const held = byHolder.get(holder) ?? new Set();
      byHolder.set(holder, held.add(file));
      count(file, 1);
      return file;
    },
    held: (fileId, bytes, version) => {
      assert(!files.has(fileId), "a file is held once");
      const file = { ...nobodys(fileId, bytes), kept: true, version, named: version !== null };
      files.set(fileId, file);
      if (version === null) count(file, 1);
    },
    leave,
    give: (file, version) => {
      assert(file.version === null && file.holder === null, "a file counts to one version, and does not grow there");
      count(file, -1);
      file.version = version;
      file.named = true;
    },
    end: (file) => {
      if (file.holder !== null || file.kept || file.uses > 0) return false;
      files.delete(file.id);
      if (file.version === null) count(file, -1);
      return true;
    },
    part: (versionId, retired) => {
      if (files.size === 0) return retired;
      const stay = retired.fileIds.flatMap((id) => files.get(id) ?? []).filter((file) => file.version === versionId);
      if (stay.length === 0) return retired;
      let { bytes } = retired;
      for (const file of stay) {
        bytes -= file.bytes;
        file.version = null;
        count(file, 1);
      }
      const fileIds = retired.fileIds.filter((id) => !files.has(id));
      return { fileIds, bytes: Math.max(0, bytes) };
    },
    doubt: () => {
      for (const file of files.values()) if (!file.kept) file.doubtful = true;
    },
    heldBy: (holder) => [...(byHolder.get(holder) ?? [])],
    countOf: (holder) => byHolder.get(holder)?.size ?? 0,
    all: () => files.values(),
    get size() {
      return files.size;
    },
  };
}

function nobodys(id: number, bytes: number): StagedFile {
  return {
    id,
    bytes: allocatedBytes(bytes),
    holder: null,
    kept: false,
    uses: 0,
    version: null,
    named: false,
    doubtful: false,
  };
}
