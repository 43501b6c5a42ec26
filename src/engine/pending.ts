/**
 * Reads of what was acknowledged on flash and is not in the lake yet: for Forebay's readers it is the newest version.
 * Asked only where the counters in shared memory say that something may be pending for a blob. What the desk says is
 * remembered until the blob's generation moves: every acknowledgement and every settlement moves it.
 *
 * What is pending but cannot be had is an error, never the version before it.
 */
import { ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Generation } from "../flash/types.ts";
import { type BodySource, bytesSource } from "../http/types.ts";
import type { BlobName, Entry, PutEntry } from "../journal/types.ts";
import type { EtagAlias } from "../writeback/types.ts";
import type { EngineContext } from "./context.ts";
import { askDesk } from "./desk.ts";
import type { Slots } from "./generations.ts";
import { type Bounded, boundedMap } from "./hot.ts";
import { partsBody, partsOf } from "./pending-body.ts";
import { lastModifiedOf, type PendingForm, pendingHeaders, quoted } from "./pending-headers.ts";
import type { ReadRequest, Serve } from "./types.ts";

/** Which blob, by all its names. */
export interface PendingKey {
  readonly name: BlobName;
  /** As the index names it. */
  readonly indexKey: string;
  readonly slots: Slots;
}

/** A read of what may be pending. The caller was judged already. */
export interface PendingRead extends PendingKey, PendingForm {
  readonly range: ReadRequest["range"];
  /** What the request's conditions come to for a version; null without conditions. */
  readonly judge: ((etag: string, lastModified: string) => ConditionOutcome) | null;
}

/** Whether conditions hold; if not, whether 304 or 412 is due. `unclear`: the lake has to judge them. */
export type ConditionOutcome = "holds" | "not-modified" | "failed" | "unclear";

export type PendingOutcome =
  | Serve
  /** Nothing is pending: what the lake has is the newest. */
  | { readonly kind: "none" }
  | { readonly kind: "deleted" }
  | { readonly kind: "not-held"; readonly outcome: Exclude<ConditionOutcome, "holds"> }
  | { readonly kind: "bad-range"; readonly sizeBytes: number }
  /** It was acknowledged, and its bytes cannot be read any more. */
  | { readonly kind: "lost" };

export interface PendingReader {
  /** Answers a read. Rejects with `overloaded` when nobody can tell what is pending. */
  read(request: PendingRead): Promise<PendingOutcome>;
  /** The newest pending version of a blob, null for none. Rejects as {@link read} does. */
  latest(key: PendingKey): Promise<Entry | null>;
  /** What Forebay called the version that it carried to the lake last; null when that is no condition any more. */
  alias(key: PendingKey): Promise<EtagAlias | null>;
  /** Forgets everything remembered. */
  forgetAll(): void;
}

/** What the desk said of a blob, and the generation noted before it was asked. */
interface Known<T> {
  readonly generation: Generation;
  readonly said: T;
}

export function createPendingReader(context: EngineContext): PendingReader {
  const { desk } = context;
  const few = boundedMap<Known<Entry | null>>(limits.pendingKnownMax);
  const many = boundedMap<Known<Entry | null>>(limits.pendingLongKnownMax);
  const aliases = boundedMap<Known<EtagAlias | null>>(limits.aliasesKnownMax);
  const inline = boundedMap<Uint8Array>(limits.pendingInlineMax);
  const entries: Memory<Entry | null> = {
    flights: new Map(),
    get: (key) => few.get(key) ?? many.get(key),
    set: (key, known) => {
      const into = isLong(known.said) ? many : few;
      (into === few ? many : few).delete(key);
      into.set(key, known);
    },
  };
  const named: Memory<EtagAlias | null> = { flights: new Map(), get: aliases.get, set: aliases.set };
  const forget = (key: string): void => {
    few.delete(key);
    many.delete(key);
  };
  const latest = (key: PendingKey): Promise<Entry | null> =>
    remembered(context, entries, key, async () => {
      const entry = await desk.latest(key.name);
      // What was set aside is in the lake, under another name.
      return entry?.state.name === "aside" ? null : entry;
    });
  const bytesOf = async (seq: number): Promise<Uint8Array | null> => {
    const kept = inline.get(String(seq));
    if (kept !== undefined) return kept;
    const bytes = await askDesk(context.clock, limits.deskWaitMs, () => desk.inline(seq));
    if (bytes !== null) inline.set(String(seq), bytes);
    return bytes;
  };
  return {
    latest,
    alias: (key) => remembered(context, named, key, () => desk.alias(key.name)),
    read: (request) => read({ context, latest, bytesOf, forget }, request),
    forgetAll: () => {
      for (const map of [few, many, aliases, inline] as Bounded<unknown>[]) map.clear();
    },
  };
}

const isLong = (entry: Entry | null): boolean =>
  entry?.kind === "put" && entry.content.kind === "spans" && entry.content.spans.length > limits.pendingSpansFewMax;

interface Memory<T> {
  /** Questions under way. */
  readonly flights: Map<string, { readonly generation: Generation; readonly said: Promise<T> }>;
  get(key: string): Known<T> | undefined;
  set(key: string, known: Known<T>): void;
}

/** What `ask` says, or said since the blob's generation last moved. */
async function remembered<T>(
  { clock, generations }: EngineContext,
  memory: Memory<T>,
  { indexKey, slots }: PendingKey,
  ask: () => Promise<T>,
): Promise<T> {
  const known = memory.get(indexKey);
  if (known !== undefined && generations.same(slots, known.generation)) return known.said;
  // Asked before now, but nothing moved since: whatever was acknowledged by now, the answer has.
  const flight = memory.flights.get(indexKey);
  if (flight !== undefined && generations.same(slots, flight.generation)) return flight.said;
  const generation = generations.at(slots);
  const mine = { generation, said: askDesk(clock, limits.deskWaitMs, ask) };
  memory.flights.set(indexKey, mine);
  try {
    const said = await mine.said;
    // What is void already must not take the place of what was asked later.
    if (generations.same(slots, generation)) memory.set(indexKey, { generation, said });
    return said;
  } finally {
    if (memory.flights.get(indexKey) === mine) memory.flights.delete(indexKey);
  }
}

interface Reading {
  readonly context: EngineContext;
  latest(key: PendingKey): Promise<Entry | null>;
  /** Null: the entry has ended. */
  bytesOf(seq: number): Promise<Uint8Array | null>;
  forget(key: string): void;
}

async function read(reading: Reading, request: PendingRead): Promise<PendingOutcome> {
  let missed = -1;
  for (let attempt = 0; attempt < limits.pendingAttemptsMax; attempt++) {
    const entry = await reading.latest(request);
    if (entry === null) return { kind: "none" };
    if (entry.kind === "delete") return { kind: "deleted" };
    const outcome = await serve(reading, request, entry);
    if (outcome !== null) return outcome;
    // Still pending, and yet its bytes are nowhere.
    if (missed === entry.seq) return { kind: "lost" };
    missed = entry.seq;
    reading.forget(request.indexKey);
  }
  throw new ForebayError("overloaded", "the blob is written faster than it can be opened");
}

/** Null: the bytes went away, because the entry has ended meanwhile. */
async function serve(reading: Reading, request: PendingRead, entry: PutEntry): Promise<PendingOutcome | null> {
  const { put, content } = entry;
  if (content.kind === "damaged") return { kind: "lost" };
  const outcome = request.judge?.(quoted(put.etag), lastModifiedOf(put)) ?? "holds";
  if (outcome !== "holds") return { kind: "not-held", outcome };
  const { sizeBytes } = put;
  const first = request.range?.first ?? 0;
  if (request.range !== null && first >= sizeBytes) return { kind: "bad-range", sizeBytes };
  const end = Math.min((request.range?.last ?? sizeBytes) + 1, sizeBytes);
  const length = request.form === "head" ? 0 : end - first;
  const body = length === 0 ? null : await open(reading, entry, first, end);
  if (body === "gone") return null;
  if (body === "lost") return { kind: "lost" };
  const headers = pendingHeaders(put, request);
  return { kind: "serve", temperature: "dirty", headers, first, length, sizeBytes, body };
}

async function open(
  { context, bytesOf }: Reading,
  { seq, put, content }: PutEntry,
  first: number,
  end: number,
): Promise<BodySource | "gone" | "lost"> {
  try {
    if (content.kind === "spans") {
      const body = partsBody(context, partsOf(content.spans, first, end));
      if (body.lengthBytes === end - first) return body;
      body.close();
      return "lost";
    }
    const bytes = await bytesOf(seq);
    if (bytes === null) return "gone";
    if (bytes.length !== put.sizeBytes) return "lost";
    context.stats.bytesFromFlash += end - first;
    return bytesSource(bytes.subarray(first, end));
  } catch (error) {
    if (hasCode(error, "gone")) return "gone";
    if (hasCode(error, "flash-failed")) return "lost";
    throw error;
  }
}
