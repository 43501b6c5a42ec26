/**
 * What is pending of a container as a list shows it: by the names that stand in the list (a blob's own, or the prefix up
 * to the delimiter that it lies under), in the list's order.
 */
import { assert } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { compareNames, nameAfter, nameAfterPrefix } from "../base/name-order.ts";
import type { Entry, PutEntry } from "../journal/types.ts";

/** Which names a list has, and how it shows them. */
export interface ListShape {
  readonly prefix: string;
  /** Empty: none. */
  readonly delimiter: string;
}

/** The name under which `blob` stands in a list: a prefix that ends with the delimiter, or its own. Keeps the order. */
export function listedAs({ prefix, delimiter }: ListShape, blob: string): string {
  if (delimiter === "") return blob;
  const at = blob.indexOf(delimiter, prefix.length);
  return at < 0 ? blob : blob.slice(0, at + delimiter.length);
}

function isPrefixKey({ prefix, delimiter }: ListShape, key: string): boolean {
  return delimiter !== "" && key.indexOf(delimiter, prefix.length) >= 0;
}

/** What pending writes do to one name of the list. */
export type PendingKey =
  | { readonly kind: "put"; readonly key: string; readonly entry: PutEntry }
  | { readonly kind: "deleted"; readonly key: string }
  /** Some put lies under this prefix. */
  | { readonly kind: "prefix"; readonly key: string }
  /** Only deletions do: of these blobs; null: of too many to know them all. */
  | { readonly kind: "hollow"; readonly key: string; readonly gone: readonly string[] | null };

export interface PendingKeys {
  /** In the list's order. */
  readonly keys: readonly PendingKey[];
  /** The last name up to which `keys` has everything; null: to the end. */
  readonly until: string | null;
}

/** Whether there is something under the name, whatever the lake has. */
export function exists(key: PendingKey): boolean {
  return key.kind === "put" || key.kind === "prefix";
}

/** Up to `limit` newest pending versions from a name on, in the order of names; fewer say nothing of the end. */
export type PendingNames = (from: string, limit: number) => Promise<readonly Entry[]>;

/** The first name that is asked for: after `after` (as a list shows it), and from `floor` on. Null: none can follow. */
function startOf(shape: ListShape, after: string, floor: string): string | null {
  const follows = after === "" ? "" : isPrefixKey(shape, after) ? nameAfterPrefix(after) : nameAfter(after);
  if (follows === null) return null;
  return [shape.prefix, follows, floor].reduce((a, b) => (compareNames(a, b) < 0 ? b : a));
}

/**
 * Takes up what is pending after `after` and from `floor` on. Stops when more than `max` names exist by it alone: no
 * page has more.
 */
export async function pendingKeys(
  names: PendingNames,
  shape: ListShape,
  after: string,
  floor: string,
  max: number,
): Promise<PendingKeys> {
  const keys: PendingKey[] = [];
  let from = startOf(shape, after, floor);
  let found = 0;
  // What is deleted below the prefix that the last one stands for.
  let gone: string[] = [];
  while (from !== null) {
    const asked: string = from;
    const batch: readonly Entry[] = await names(asked, limits.listNamesMax);
    if (batch.length === 0) break;
    for (const entry of batch) {
      const { blob } = entry.name;
      // The rest of a prefix that was passed over.
      if (from !== null && compareNames(blob, from) < 0) continue;
      if (from === null || !blob.startsWith(shape.prefix)) return { keys, until: null };
      const key = listedAs(shape, blob);
      const last = keys.at(-1);
      if (last?.key !== key && found > max) return { keys, until: last?.key ?? null };
      from = nameAfter(blob);
      if (entry.state.name === "aside") continue;
      if (last?.key === key) keys.pop();
      else gone = [];
      const next = keyOf(key, entry, isPrefixKey(shape, key), gone);
      keys.push(next);
      if (exists(next)) found++;
      if (next.kind === "prefix") from = nameAfterPrefix(key);
    }
    assert(from !== asked, "names that were asked for come after those before them");
  }
  return { keys, until: null };
}

function keyOf(key: string, entry: Entry, isPrefix: boolean, gone: string[]): PendingKey {
  if (entry.kind === "put") return isPrefix ? { kind: "prefix", key } : { kind: "put", key, entry };
  if (!isPrefix) return { kind: "deleted", key };
  gone.push(entry.name.blob);
  return { kind: "hollow", key, gone: gone.length > limits.listGoneMax ? null : gone };
}
