/**
 * What a request's method, target and host say, found out once and remembered: a training run reads the same blobs
 * thousands of times, range by range.
 */
import { limits } from "../base/limits.ts";
import { type Slots, slotsOf } from "../engine/generations.ts";
import { boundedMap } from "../engine/hot.ts";
import type { RequestHead } from "../http/types.ts";
import { type BlobKey, keyText } from "../lake/types.ts";
import { AT, type Layout, ownText, valueAt } from "./layout.ts";
import { detectOperation, type Operation } from "./operations.ts";
import { parseQuery, type Query } from "./query.ts";
import { type AskedBlob, screenTarget } from "./screen.ts";
import { parseTarget } from "./target.ts";
import type { Target } from "./types.ts";

/** A request as far as its first line and its Host say. */
export interface Place {
  readonly target: Target;
  readonly query: Query;
  readonly operation: Operation;
  /** Of a read that flash may answer, as far as this tells; else why it is forwarded. */
  readonly read: ReadPlace | string;
}

/** A blob to be read. */
export interface ReadPlace {
  readonly blob: AskedBlob;
  readonly key: BlobKey;
  /** `key` as the index names it. */
  readonly indexKey: string;
  /** Where the counters of the blob are. */
  readonly slots: Slots;
}

/** Finds places; one for each server. */
export interface Places {
  /** Null when the request names none of `accounts`. */
  find(head: RequestHead, layout: Layout, accounts: ReadonlySet<string>): Place | null;
}

export function createPlaces(): Places {
  const remembered = boundedMap<Place>(limits.placesMax);
  let of: ReadonlySet<string> | null = null;
  return {
    find: (head, layout, accounts) => {
      const { method, target } = head;
      const host = valueAt(layout, head.headers, AT.host);
      const isRead = method === "GET" || method === "HEAD";
      // A method that a header tunnels, or a source that it names, is no matter of the target alone.
      if (!isRead || layout.methodOverride || target.length > limits.placeTargetLengthMax) {
        return place(head, host, accounts);
      }
      if (of !== accounts) {
        remembered.clear();
        of = accounts;
      }
      const name = `${method} ${host ?? ""} ${target}`;
      const known = remembered.get(name);
      if (known !== undefined) return known;
      const found = place({ ...head, target: ownText(target) }, host, accounts);
      if (found !== null && typeof found.read !== "string") remembered.set(name, found);
      return found;
    },
  };
}

function place(head: RequestHead, host: string | undefined, accounts: ReadonlySet<string>): Place | null {
  const target = parseTarget(head.target, host, accounts);
  if (target === null) return null;
  const query = parseQuery(target.query);
  const operation = detectOperation(head.method, target, query, head.headers);
  const read = operation.cacheable ? readOf(operation, target, query) : operation.name;
  return { target, query, operation, read };
}

function readOf(operation: Operation, target: Target, query: Query): ReadPlace | string {
  const blob = screenTarget(operation, target, query);
  if (typeof blob === "string") return blob;
  const key: BlobKey = {
    account: target.account,
    container: target.container ?? "",
    blob: target.blob ?? "",
    snapshot: blob.snapshot,
    versionId: blob.versionId,
  };
  const indexKey = keyText(key);
  return { blob, key, indexKey, slots: slotsOf(indexKey) };
}
