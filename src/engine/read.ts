/**
 * The read path. One screen: is there a version that this caller may see and that is fresh enough? Then send it. If
 * not, ask the lake (once for everybody), and send what it said.
 */
import { hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Variant } from "../flash/types.ts";
import type { BodySource, RawHeaders } from "../http/types.ts";
import type { Clock } from "../io/clock.ts";
import { type BlobKey, keyText } from "../lake/types.ts";
import { createVerdictAsker, type VerdictAsker } from "./ask-verdict.ts";
import { directBody, fillingBody, presentBody, spannedBody } from "./body.ts";
import type { EngineContext } from "./context.ts";
import { createFiller, type Filler } from "./fill.ts";
import { type Bounded, boundedMap } from "./hot.ts";
import { createPendingReader, type PendingReader } from "./pending.ts";
import { createReadAhead, type ReadAhead } from "./readahead.ts";
import { createResolver, fillSource, type Resolution, type Resolver, variantName } from "./resolve.ts";
import { bump } from "./stats.ts";
import type { Form, ReadOutcome, ReadRequest, Temperature } from "./types.ts";
import { createVerdicts, type Verdicts } from "./verdicts.ts";
import { CachedVersion } from "./version.ts";

/** Answers reads. Synchronous on a hit: nothing is awaited where nothing is to be waited for. */
export interface Reader {
  /** Of what the lake does not have yet: to be asked first where `generations.owed` says that there may be some. */
  readonly pending: PendingReader;
  read(request: ReadRequest): ReadOutcome | Promise<ReadOutcome>;
  /** The file of a blob could not be read while it was sent: its version is forgotten everywhere. */
  unreadable(key: BlobKey): void;
  /** Forgets everything remembered: the index behind it was made anew. */
  forgetAll(): void;
  /** Forgets who may read: access may have changed. */
  forgetVerdicts(): void;
}

interface Reading {
  readonly context: EngineContext;
  readonly hot: Bounded<CachedVersion>;
  readonly filler: Filler;
  readonly ahead: ReadAhead;
  readonly resolver: Resolver;
  readonly verdicts: Verdicts;
  readonly asker: VerdictAsker;
  /** Blobs that are no block blobs, and until when that is believed. */
  readonly foreign: Bounded<number>;
}

export function createReader(context: EngineContext): Reader {
  const filler = createFiller(context);
  const verdicts = createVerdicts(context.clock);
  const reading: Reading = {
    context,
    hot: boundedMap(limits.hotEntriesMax),
    filler,
    ahead: createReadAhead(filler),
    resolver: createResolver(context),
    verdicts,
    asker: createVerdictAsker(context, verdicts),
    foreign: boundedMap(limits.hotEntriesMax),
  };
  const pending = createPendingReader(context);
  return {
    pending,
    read: (request) => read(reading, request),
    unreadable: (key) => {
      const version = reading.hot.get(keyText(key));
      if (version !== undefined) forgetBad(reading, version);
    },
    forgetAll: () => {
      reading.hot.clear();
      pending.forgetAll();
    },
    forgetVerdicts: () => reading.verdicts.clear(),
  };
}

function read(reading: Reading, request: ReadRequest): ReadOutcome | Promise<ReadOutcome> {
  const key = request.indexKey;
  if (!reading.verdicts.holds(request)) return askThenRead(reading, request, key);
  return lookUpAndServe(reading, request, key);
}

/** The way of a hit: no promise on it. */
function lookUpAndServe(reading: Reading, request: ReadRequest, key: string): ReadOutcome | Promise<ReadOutcome> {
  const version = find(reading, key);
  if (version === null || !isFresh(reading.context, request, version)) return resolveAndServe(reading, request, key);
  if (!isWholeHere(request, version)) return catchUpAndServe(reading, request, version);
  return serveVersion(reading, request, version, null) ?? resolveAndServe(reading, request, key);
}

/** Whether all that the request asks for is on flash, as far as this server knows. */
function isWholeHere({ form, range }: ReadRequest, version: CachedVersion): boolean {
  if (version.complete || form === "head") return true;
  const first = Math.min(range?.first ?? 0, version.sizeBytes);
  const end = Math.min((range?.last ?? version.sizeBytes) + 1, version.sizeBytes);
  return version.readableBytes(first, end) >= end - first;
}

/**
 * Serves what other servers may have brought meanwhile: the keeper hears of it before the index has it. Only how the
 * answer is called depends on it, so nobody waits long, nor asks about more than a reader may well have asked for.
 */
async function catchUpAndServe(reading: Reading, request: ReadRequest, version: CachedVersion): Promise<ReadOutcome> {
  const { context } = reading;
  const { blockBytes } = version;
  const first = Math.floor((request.range?.first ?? 0) / blockBytes);
  const end = Math.min(Math.floor((request.range?.last ?? version.sizeBytes) / blockBytes) + 1, version.blockCount);
  if (end - first <= limits.peekBlocksMax && !version.isComing(first, end)) {
    const asked = context.keeper.peek(version.id, first, end - first);
    const present = await within(
      context.clock,
      limits.peekTimeoutMs,
      asked.catch(() => null),
    );
    for (const block of present ?? []) version.setPresent(block);
  }
  const known = find(reading, version.key);
  const fresh = known !== null && isFresh(context, request, known);
  const outcome = fresh ? serveVersion(reading, request, known, null) : null;
  return outcome ?? resolveAndServe(reading, request, version.key);
}

/** What `promise` gives, or null when that takes longer. */
function within<T>(clock: Clock, timeoutMs: number, promise: Promise<T>): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(timeoutMs, () => resolve(null));
    promise.then(resolve, reject).finally(() => timer.cancel());
  });
}

/** What this server knows of `key`, looking into the index when its own memory may be out of date. */
function find(reading: Reading, key: string): CachedVersion | null {
  const { generations, index } = reading.context;
  const held = reading.hot.get(key);
  if (held !== undefined && held.failure === null && generations.same(held.slots, held.generation)) return held;
  const slots = held?.slots ?? generations.slotsOf(key);
  // Noted before the look-up: a change that comes between the two makes the entry void, not wrong.
  const generation = generations.at(slots);
  const record = index.lookup(key);
  if (record === null) {
    reading.hot.delete(key);
    return null;
  }
  const version = new CachedVersion(record, slots, generation);
  reading.hot.set(key, version);
  return version;
}

/** Whether what is known of a version may be given without asking, by the policy's bound. */
function isFresh(context: EngineContext, request: ReadRequest, version: CachedVersion): boolean {
  const variant = version.variants.get(variantName(request));
  if (variant === undefined) return false;
  const { maxStaleMs } = request.policy;
  const thisEpoch = variant.epoch === context.generations.epoch;
  // A generation that moved calls for a check even here: somebody changed something in reach, if only by collision.
  if (thisEpoch && !isUntouched(context, version, variant)) return false;
  if (maxStaleMs === "immutable") {
    return variant.era === context.era() && (thisEpoch || context.generations.earlierHolds(version.slots));
  }
  return thisEpoch && context.clock.monotonicMs() - variant.sentAtMs < maxStaleMs;
}

/** Whether no change through Forebay can have touched the blob since the variant's check was sent. */
function isUntouched({ generations }: EngineContext, version: CachedVersion, variant: Variant): boolean {
  return variant.epoch === generations.epoch && generations.same(version.slots, variant.generation);
}

/** The lake judges the caller: asked with the caller's own credential, a yes is remembered. */
async function askThenRead(reading: Reading, request: ReadRequest, key: string): Promise<ReadOutcome> {
  const said = await reading.asker.ask(request);
  return said === "yes" ? lookUpAndServe(reading, request, key) : said;
}

async function resolveAndServe(reading: Reading, request: ReadRequest, key: string): Promise<ReadOutcome> {
  const { context } = reading;
  const foreignUntilMs = reading.foreign.get(key);
  if (foreignUntilMs !== undefined && context.clock.monotonicMs() < foreignUntilMs) {
    return { kind: "forward", why: "not-a-block-blob" };
  }
  if (request.policy.onLakeOutage === "serve" && !reading.resolver.worthAsking(request.key.account)) {
    const stale = serveStale(reading, request, key);
    if (stale !== null) return stale;
  }
  const resolution = await reading.resolver.resolve(request, key);
  switch (resolution.kind) {
    case "known":
      return serveKnown(reading, request, key, resolution);
    case "unkept":
      return serveUnkept(reading, request, resolution);
    case "outage":
      return serveOutage(reading, request, key, resolution.why);
    case "forward":
      if (resolution.why === "not-a-block-blob") {
        reading.foreign.set(key, context.clock.monotonicMs() + limits.verdictTtlMs);
      }
      return resolution;
    case "answer":
      return resolution;
  }
}

async function serveKnown(
  reading: Reading,
  request: ReadRequest,
  key: string,
  known: Extract<Resolution, { kind: "known" }>,
): Promise<ReadOutcome> {
  const { record, opened } = known;
  let version = reading.hot.get(key);
  if (version?.id === record.id && version.failure === null) {
    version.learn(record);
    if (!reading.context.generations.same(version.slots, version.generation)) version = undefined;
  } else version = undefined;
  if (version === undefined) {
    version = new CachedVersion(record, reading.context.generations.slotsOf(key), known.generation);
    reading.hot.set(key, version);
  }
  if (opened) await reading.filler.adopt(version, fillSource(request), opened);
  const outcome = serveVersion(reading, request, version, opened ? "miss" : null);
  if (outcome !== null) return outcome;
  reading.hot.delete(key);
  return { kind: "forward", why: "flash" };
}

/** Serves from a version whose headers are right. Null when its file cannot be opened. */
function serveVersion(
  reading: Reading,
  request: ReadRequest,
  version: CachedVersion,
  asked: Temperature | null,
): ReadOutcome | null {
  const { context } = reading;
  const variant = version.variants.get(variantName(request));
  if (variant === undefined) return null;
  const range = wanted(request, version.sizeBytes, variant.headers);
  if (range === null) return { kind: "forward", why: "range-or-condition" };
  context.generations.visit(version.id);
  if (range.end === range.first || request.form === "head") {
    return served(request.form, asked ?? "hit", variant.headers, range, version.sizeBytes, null);
  }
  const present = version.readableBytes(range.first, range.end);
  if (present === range.end - range.first) {
    const body = bodyOnFlash(reading, request, version, range);
    if (body === null) return null;
    if (!version.complete) reading.ahead.noteRead(version, fillSource(request), range.first, range.end);
    return served(request.form, asked ?? "hit", variant.headers, range, version.sizeBytes, body);
  }
  const source = fillSource(request);
  const body = fillingBody(context, reading.filler, version, source, range);
  reading.ahead.noteRead(version, source, range.first, range.end);
  const temperature = asked ?? (present > 0 ? "partial" : "miss");
  return served(request.form, temperature, variant.headers, range, version.sizeBytes, body);
}

function served(
  form: Form,
  temperature: Temperature,
  headers: RawHeaders,
  range: { first: number; end: number },
  sizeBytes: number,
  body: BodySource | null,
): ReadOutcome {
  const length = form === "head" ? 0 : range.end - range.first;
  return { kind: "serve", temperature, headers, first: range.first, length, sizeBytes, body };
}

/** The bytes asked for, or null when the lake has to answer itself (416, 304, 412 and whatever is unclear). */
function wanted(request: ReadRequest, sizeBytes: number, headers: RawHeaders): { first: number; end: number } | null {
  if (request.conditionsHold !== null && !request.conditionsHold(headers)) return null;
  if (request.range === null) return { first: 0, end: sizeBytes };
  const { first, last } = request.range;
  if (first >= sizeBytes) return null;
  return { first, end: last === null ? sizeBytes : Math.min(last + 1, sizeBytes) };
}

/** The body of a range that is there. Null when its file is gone: evicted, or lost, and then the index hears of it. */
function bodyOnFlash(
  reading: Reading,
  request: ReadRequest,
  version: CachedVersion,
  range: { readonly first: number; readonly end: number },
): BodySource | null {
  const { context } = reading;
  try {
    if (version.spans.length === 1) return presentBody(context, version, context.files.pin(version.fileId), range);
    return spannedBody(context, version, fillSource(request), range, () => forgetBad(reading, version));
  } catch (error) {
    // Too many open files say nothing about this one.
    if (hasCode(error, "gone", "flash-failed")) forgetBad(reading, version);
    return null;
  }
}

/** A version whose file is no good goes from this server's memory, and from the index if it is still there. */
function forgetBad(reading: Reading, version: CachedVersion): void {
  const { index, keeper, stats } = reading.context;
  reading.hot.delete(version.key);
  if (index.lookup(version.key)?.id !== version.id) return;
  bump(stats.errors, "flash.file-lost");
  void keeper.drop(version.key, version.id, "bad").catch(() => {});
}

/** Right as of now, but not kept: what the lake is sending goes straight through. */
function serveUnkept(
  reading: Reading,
  request: ReadRequest,
  unkept: Extract<Resolution, { kind: "unkept" }>,
): ReadOutcome {
  const { variant, opened, sizeBytes, etag } = unkept;
  const range = wanted(request, sizeBytes, variant.headers);
  if (range === null) {
    opened?.response.body.cancel();
    return { kind: "forward", why: "range-or-condition" };
  }
  if (request.form === "head" || range.end === range.first) {
    opened?.response.body.cancel();
    return served(request.form, "miss", variant.headers, range, sizeBytes, null);
  }
  const body = directBody(reading.context, { etag, sizeBytes }, fillSource(request), range, opened);
  return served(request.form, "miss", variant.headers, range, sizeBytes, body);
}

/**
 * The lake cannot be asked. What is too old is given only where the policy says so, and never what a change through
 * Forebay may have replaced: who was told that it happened must not see what was before.
 */
function serveOutage(reading: Reading, request: ReadRequest, key: string, why: string): ReadOutcome {
  const stale = request.policy.onLakeOutage === "serve" ? serveStale(reading, request, key) : null;
  return stale ?? { kind: "unavailable", why };
}

function serveStale(reading: Reading, request: ReadRequest, key: string): ReadOutcome | null {
  const version = find(reading, key);
  const variant = version?.variants.get(variantName(request));
  const mayServe = version !== null && variant !== undefined && isUntouched(reading.context, version, variant);
  const outcome = mayServe ? serveVersion(reading, request, version, null) : null;
  if (outcome?.kind !== "serve") return null;
  reading.context.stats.staleServed++;
  return outcome;
}
