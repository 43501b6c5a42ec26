/**
 * The reference model: what a client may have been given, judged by every state that the lake was ever in. No answer
 * may mix versions, be older than its path's bound (or than an acknowledged change through Forebay), end short as if
 * it were whole, or reach somebody whom the lake would have refused.
 */
import type { Received } from "../../sim/exchange.ts";
import type { LakeState } from "../../sim/world-lake.ts";
import { limits } from "../../src/base/limits.ts";
import { headerOf } from "../../src/http/types.ts";

/** A read that ended, and what counts for it. */
export interface ReadDone {
  readonly what: string;
  readonly method: "GET" | "HEAD";
  /** `CONTAINER/BLOB`, with `?snapshot=…` for a snapshot. */
  readonly name: string;
  readonly range: { readonly first: number; readonly last: number | null } | null;
  readonly condition: { readonly name: "If-Match" | "If-None-Match"; readonly etag: string } | null;
  readonly received: Received;
  /** How old an answer may be at most: the loosest policy in force during the read. */
  readonly boundMs: number | "immutable";
  /** Whether the caller may read at some moment of a span, and through all of it. */
  readonly mayRead: (fromMs: number, untilMs: number) => boolean;
  readonly alwaysReads: (fromMs: number, untilMs: number) => boolean;
  /** Local verdicts by the account's key hold until this moment, whatever the lake says by now. */
  readonly localUntilMs: number;
  /** Nothing was wrong with lake, flash or processes for as long as that could matter. */
  readonly calm: boolean;
  /** Answers may carry a Content-MD5 that the lake made up. */
  readonly liesAboutMd5: boolean;
}

/** A change through Forebay that the client was told had happened. */
export interface Acknowledged {
  readonly name: string;
  readonly atMs: number;
  /** The state that it made, or the earliest that it may have made. */
  readonly seq: number;
}

export interface Evidence {
  readonly states: (name: string) => readonly LakeState[];
  readonly acknowledged: readonly Acknowledged[];
  /** Changes through Forebay on immutable paths count from the moment that the lake made them, since here. */
  readonly marksSinceMs: number;
}

const COMPARED = /^(content-type|last-modified|x-ms-creation-time|x-ms-blob-type|x-ms-meta-.*|x-ms-tag-count)$/i;

/** What is wrong with an answer, or null. */
export function judgeRead(read: ReadDone, evidence: Evidence): string | null {
  const { received } = read;
  if (received.status === 0) return complaint(read, evidence, "no answer");
  const { status } = received;
  if (status === 200 || status === 206) return judgeBytes(read, evidence) ?? judgeSuccess(read, evidence);
  if (status === 304) return judgeSeen(read, evidence, (state) => state.etag === read.condition?.etag, "304");
  if (status === 412) return judgeSeen(read, evidence, (state) => state.etag !== read.condition?.etag, "412");
  if (status === 404) {
    // The lake hides what is there from those who may not see it.
    if (!read.alwaysReads(received.startedAtMs - limits.verdictTtlMs, received.headAtMs)) return null;
    return judgeSeen(read, evidence, (state) => state.etag === null, "404");
  }
  if (status === 416) {
    const first = read.range?.first ?? 0;
    return judgeSeen(read, evidence, (state) => state.etag !== null && state.bytes.length <= first, "416");
  }
  if (status === 401 || status === 403) {
    if (!read.alwaysReads(received.startedAtMs, received.headAtMs)) return null;
    return `refused with ${status}, but the caller may read`;
  }
  if (status >= 500 || status === 429) return complaint(read, evidence, `answered ${status}`);
  return `an answer that nobody expects: ${status}`;
}

/** A failure: allowed unless all was calm and the blob stood still. */
function complaint(read: ReadDone, evidence: Evidence, what: string): string | null {
  const { startedAtMs, endedAtMs, ending } = read.received;
  if (!read.calm || ending === "left") return null;
  const sinceMs = startedAtMs - (read.boundMs === "immutable" ? 1e12 : read.boundMs) - 1_000;
  const states = evidence.states(read.name);
  const moved = states.some((state) => state.seq > 0 && state.fromMs >= sinceMs && state.fromMs <= endedAtMs);
  return moved ? null : `${what} though nothing was wrong (${String(read.received.cause)})`;
}

/** The oldest state that may still be seen, by what was acknowledged before the read began. */
function floorOf(read: ReadDone, evidence: Evidence): number {
  const { startedAtMs } = read.received;
  let floor = 0;
  for (const change of evidence.acknowledged) {
    if (change.name === read.name && change.atMs < startedAtMs) floor = Math.max(floor, change.seq);
  }
  if (read.boundMs !== "immutable") return floor;
  for (const state of evidence.states(read.name)) {
    if (state.by !== "forebay" || state.fromMs < evidence.marksSinceMs) continue;
    if (state.fromMs < startedAtMs) floor = Math.max(floor, state.seq);
  }
  return floor;
}

/** The states that an answer whose head came when it did may speak of. */
function candidates(read: ReadDone, evidence: Evidence): LakeState[] {
  const { startedAtMs, headAtMs } = read.received;
  const floor = floorOf(read, evidence);
  const oldestMs = read.boundMs === "immutable" ? Number.NEGATIVE_INFINITY : startedAtMs - read.boundMs;
  return evidence
    .states(read.name)
    .filter((state) => state.seq >= floor && state.fromMs <= headAtMs && state.untilMs >= oldestMs);
}

function judgeSeen(
  read: ReadDone,
  evidence: Evidence,
  fits: (state: LakeState) => boolean,
  what: string,
): string | null {
  if (candidates(read, evidence).some(fits)) return null;
  return `${what}, but no state of the blob that counts says so`;
}

function judgeBytes(read: ReadDone, evidence: Evidence): string | null {
  const { received } = read;
  const { startedAtMs, headAtMs, headers, status, bytes, announcedBytes } = received;
  const rememberedMs = startedAtMs - limits.verdictTtlMs;
  if (!read.mayRead(rememberedMs, headAtMs) && startedAtMs > read.localUntilMs) {
    return `UNAUTHORISED: ${status} for a caller who may not read`;
  }
  const etag = headerOf(headers, "etag") ?? "";
  const named = evidence.states(read.name).filter((state) => state.etag === etag);
  if (named.length === 0) return `an ETag that the blob never had: ${etag}`;
  const allowed = candidates(read, evidence).filter((state) => state.etag === etag);
  if (allowed.length === 0) return staleness(read, evidence, named);
  const reasons = allowed.map((state) => mismatch(read, state));
  if (reasons.every((reason) => reason !== null)) return reasons[0] ?? null;
  const state = allowed[0];
  if (state === undefined) return null;
  const first = read.range?.first ?? 0;
  const end = read.range?.last == null ? state.bytes.length : Math.min(read.range.last + 1, state.bytes.length);
  const length = read.method === "HEAD" && read.range === null ? state.bytes.length : end - first;
  if (announcedBytes !== length) return `Content-Length ${announcedBytes}, expected ${length}`;
  const expected = read.method === "HEAD" ? state.bytes.subarray(0, 0) : state.bytes.subarray(first, end);
  if (bytes.length > expected.length) return `more bytes than asked for: ${bytes.length} of ${expected.length}`;
  if (Buffer.compare(bytes, expected.subarray(0, bytes.length)) !== 0) {
    const at = bytes.findIndex((byte, i) => byte !== expected[i]);
    return `TORN: wrong bytes from ${first + at} on (of ${state.bytes.length}), ETag ${etag}: ${whose(read, evidence, at)}`;
  }
  if (received.ending === "complete" && bytes.length !== expected.length) {
    return `ended as if whole after ${bytes.length} of ${expected.length} bytes`;
  }
  if (status === 206) {
    const range = `bytes ${first}-${end - 1}/${state.bytes.length}`;
    if (headerOf(headers, "content-range") !== range) return `Content-Range ${headerOf(headers, "content-range")}`;
  }
  if ((status === 206) !== (read.range !== null))
    return `${status} for a request ${read.range === null ? "without" : "with"} range`;
  return null;
}

function whose(read: ReadDone, evidence: Evidence, at: number): string {
  const { bytes } = read.received;
  const first = (read.range?.first ?? 0) + at;
  const piece = bytes.subarray(at, at + 16);
  if (piece.every((byte) => byte === 0)) return "zeros";
  const other = evidence
    .states(read.name)
    .find((state) => Buffer.compare(state.bytes.subarray(first, first + piece.length), piece) === 0);
  return other === undefined ? "of no version" : `of the version with ETag ${other.etag}`;
}

function staleness(read: ReadDone, evidence: Evidence, named: readonly LakeState[]): string {
  const { startedAtMs } = read.received;
  const last = named.at(-1);
  const ageMs = startedAtMs - (last?.untilMs ?? 0);
  const floor = floorOf(read, evidence);
  const acknowledged = (last?.seq ?? 0) < floor ? ", and a later change was acknowledged" : "";
  return `STALE: replaced ${ageMs.toFixed(1)} ms before the read, bound ${read.boundMs}${acknowledged}`;
}

function mismatch(read: ReadDone, state: LakeState): string | null {
  const got = comparable(read.received.headers);
  const expected = comparable(state.headers);
  if (got !== expected) return `headers of no state that counts: ${got} instead of ${expected}`;
  if (read.liesAboutMd5) return null;
  const stored = headerOf(state.headers, "content-md5");
  for (const name of ["content-md5", "x-ms-blob-content-md5"]) {
    const said = headerOf(read.received.headers, name);
    if (said !== undefined && said !== stored) return `${name} ${said}, stored ${stored}`;
  }
  return null;
}

function comparable(headers: readonly string[]): string {
  const pairs: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] ?? "";
    if (COMPARED.test(name)) pairs.push(`${name.toLowerCase()}=${headers[i + 1]}`);
  }
  return pairs.sort().join(" ");
}

/** The bytes are right; in calm they must also be all. */
function judgeSuccess(read: ReadDone, evidence: Evidence): string | null {
  return read.received.ending === "cut" ? complaint(read, evidence, "cut") : null;
}
