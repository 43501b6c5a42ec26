/**
 * What is known of a history of writes when it is judged: what clients asked and were told, what others did in the
 * lake, what the lake made of it, and what the journal said of its entries. Times are of the monotonic clock.
 */
import type { Received } from "../../sim/exchange.ts";
import type { LakeCommit } from "../../sim/world-lake.ts";

/** A change of one blob: by a client through Forebay, or by somebody else in the lake. */
export interface Change {
  /** Stands in the metadata of whatever it writes (`x-ms-meta-w`). 0 and less: found in the lake at the beginning. */
  readonly id: number;
  readonly what: string;
  /** `CONTAINER/BLOB`. */
  readonly name: string;
  readonly kind: "put" | "delete";
  readonly by: "client" | "foreign";
  readonly startedAtMs: number;
  /** When its outcome was known; for others' changes the moment at which they were made. */
  readonly endedAtMs: number;
  /** `unknown`: it may have happened, or happen yet. */
  readonly outcome: "acknowledged" | "refused" | "unknown";
  /** Where it was when it was acknowledged. */
  readonly durability: "flash" | "lake" | null;
  readonly status: number;
  /** What the client was told. */
  readonly etag: string | null;
  readonly bytes: Uint8Array;
  readonly contentType: string;
  readonly condition: WriteCondition | null;
  /** Asked for `x-forebay-flush`. */
  readonly flush: boolean;
  /** Blocks that were acknowledged before their list was sent, and when the first of them was asked for. */
  readonly blocksSinceMs: number | null;
  /** Nothing was wrong with lake, flash or processes for as long as that could matter. */
  readonly calm: boolean;
}

export type WriteCondition =
  | { readonly kind: "create" } // If-None-Match: *
  | { readonly kind: "match"; readonly etag: string };

/** A read that ended. */
export interface Look {
  readonly what: string;
  readonly name: string;
  readonly method: "GET" | "HEAD";
  readonly range: { readonly first: number; readonly last: number | null } | null;
  readonly condition: { readonly name: "If-Match" | "If-None-Match"; readonly etag: string } | null;
  readonly received: Received;
  /** How old an answer about changes made behind Forebay's back may be. */
  readonly boundMs: number;
  readonly calm: boolean;
}

/** A walk through a list, page by page. */
export interface Walk {
  readonly what: string;
  readonly container: string;
  readonly prefix: string;
  readonly delimiter: string;
  readonly pageMax: number;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly pages: readonly (readonly Listed[])[];
  /** It came to its last page. */
  readonly whole: boolean;
  /** Why it did not. */
  readonly failure: string | null;
  readonly calm: boolean;
}

export interface Listed {
  readonly name: string;
  readonly isPrefix: boolean;
  readonly sizeBytes: number;
  /** Quoted. */
  readonly etag: string;
}

/** A flush that ended well: what was acknowledged before it began is in the lake. */
export interface FlushDone {
  readonly container: string | null;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
}

/** What the journal said of an entry. */
export interface EntryEnd {
  readonly seq: number;
  /** What it was to replace in the end: the kind of its base. */
  readonly base: string;
  readonly name: string;
  /** The change that it is of; null for a deletion. */
  readonly change: number | null;
  readonly acknowledgedAtMs: number;
  /** When it was pending no more. */
  readonly endedAtMs: number;
  readonly how: "settled" | "aside" | "superseded" | "discarded";
  readonly sideName: string | null;
  /** The entry that took its place. */
  readonly by: number | null;
}

export interface WriteEvidence {
  readonly changes: readonly Change[];
  readonly looks: readonly Look[];
  readonly walks: readonly Walk[];
  readonly flushes: readonly FlushDone[];
  readonly commits: readonly LakeCommit[];
  readonly ends: readonly EntryEnd[];
  /** Side names that the journal reports in the end. */
  readonly reported: readonly string[];
  /** The policy path of a blob, and whether it holds back what follows a parked write. */
  readonly pathOf: (name: string) => { readonly path: string; readonly back: boolean; readonly ordered: boolean };
}

/** `NAME.forebay-conflict-…`: the name beside which it stands, or null. */
export function sideOf(name: string): string | null {
  return /^(.+)\.forebay-conflict-[^/]*$/.exec(name)?.[1] ?? null;
}

/** The change whose bytes the lake holds there. */
export function changeOf(metadata: ReadonlyMap<string, string>): number | null {
  const text = metadata.get("w");
  return text === undefined ? null : Number(text);
}
