/**
 * Asking the lake about a blob, once for everybody: a check of what flash holds, or a first look that brings the
 * first bytes along. The keeper's lease makes it single-flight over all servers; the generation noted before the
 * question was sent decides whether the answer may be kept.
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { isPresent } from "../flash/files.ts";
import type { Acquired, Generation, LeaseEnd, Published, Variant, VersionRecord } from "../flash/types.ts";
import { type ClientResponse, headerOf, type RawHeaders } from "../http/types.ts";
import type { LakeRead } from "../lake/types.ts";
import { answerOf, askInTime, keptWhole } from "./asking.ts";
import type { EngineContext } from "./context.ts";
import { createFlights, createOutages, type Flights, type Moment, type Outages } from "./flights.ts";
import type { Slots } from "./generations.ts";
import { describeAnswer, keptHeaders, refreshedFull, wholeMd5 } from "./headers.ts";
import { letGo } from "./let-go.ts";
import { defaultPolicy } from "./policy.ts";
import type { FillSource, Opened } from "./range.ts";
import { bump } from "./stats.ts";
import type { ReadRequest } from "./types.ts";

/** What is known after asking. */
export type Resolution =
  /** The record is right as of now, for this form; `opened` is a body at hand that fits it. */
  | {
      readonly kind: "known";
      readonly record: VersionRecord;
      readonly variant: Variant;
      readonly generation: Generation;
      readonly opened: Opened | null;
    }
  /** Right as of now, but not to be kept on flash: `opened` has to be passed on. */
  | {
      readonly kind: "unkept";
      readonly variant: Variant;
      readonly etag: string;
      readonly sizeBytes: number;
      readonly opened: Opened | null;
    }
  | { readonly kind: "forward"; readonly why: string }
  /** `bytes`: the body, where it was read whole, for others to whom the same is to be said. */
  | { readonly kind: "answer"; readonly response: ClientResponse; readonly bytes: Uint8Array | null }
  /** The lake could not be asked. */
  | { readonly kind: "outage"; readonly why: string };

/** The name of a variant in the index. */
export function variantName(request: Pick<ReadRequest, "form" | "apiVersion">): string {
  return `${request.form}|${request.apiVersion}`;
}

/** What requests have lent of their own authority. One loan a request, however many reads it makes. */
const loans = new WeakMap<ReadRequest, FillSource>();

/** The credential that reads of the lake for this request carry. */
export function fillSource(request: ReadRequest): FillSource {
  const { lake, key, apiVersion } = request;
  if (lake.hasOwnCredential) {
    return { lake, key, apiVersion, credential: { kind: "own" }, signal: undefined, loan: null };
  }
  const lent = loans.get(request);
  if (lent !== undefined) return lent;
  const loan = { over: false, refusal: null };
  const source = { lake, key, apiVersion, credential: request.caller, signal: request.signal(), loan };
  loans.set(request, source);
  return source;
}

/** Asks on behalf of one server's requests. */
export interface Resolver {
  /** Finds out what the lake holds for `request`, together with everybody else who wants to know. */
  resolve(request: ReadRequest, key: string): Promise<Resolution>;
  /** Whether to ask the lake of `account` where the policy lets what is too old be given instead. */
  worthAsking(account: string): boolean;
}

interface Asking {
  readonly context: EngineContext;
  readonly flights: Flights<Resolution>;
  readonly outages: Outages;
}

export function createResolver(context: EngineContext): Resolver {
  const asking = { context, flights: createFlights<Resolution>(), outages: createOutages(context.clock) };
  return {
    resolve: (request, key) => resolve(asking, request, key),
    worthAsking: asking.outages.worthAsking,
  };
}

async function resolve(asking: Asking, request: ReadRequest, key: string): Promise<Resolution> {
  const { context, flights, outages } = asking;
  const { keeper, generations, clock } = context;
  const came = flights.now();
  const slots = generations.slotsOf(key);
  const generation = generations.at(slots);
  const { maxStaleMs, onLakeOutage } = request.policy;
  let acquired: Acquired;
  try {
    acquired = await keeper.acquire({
      holder: context.holder,
      key,
      variantId: variantName(request),
      sentAtMsMin: clock.monotonicMs() - (maxStaleMs === "immutable" ? defaultPolicy.maxStaleMs : maxStaleMs),
      generation,
      epoch: generations.epoch,
    });
  } catch (error) {
    return { kind: "forward", why: `keeper-${asForebayError(error).code}` };
  }
  if (acquired.kind === "busy") {
    // Somebody's question is not answered: where that may be met with what is too old, the lake counts as away.
    return onLakeOutage === "serve" ? { kind: "outage", why: "busy" } : { kind: "forward", why: "busy" };
  }
  if (acquired.kind === "fresh") {
    const variant = acquired.record.variants.find((v) => v.id === variantName(request));
    if (!variant) return { kind: "forward", why: "variant" };
    return { kind: "known", record: acquired.record, variant, generation, opened: null };
  }
  const lease = createLease(context, acquired.lease);
  let resolution: Resolution | null = null;
  try {
    if (outages.cameAfter(request.key.account, came)) {
      resolution = { kind: "outage", why: "the lake could not be reached" };
    } else resolution = await askTogether(asking, request, { key, came, slots, lease, record: acquired.record });
    return resolution;
  } finally {
    // What the lake refused cannot be shared through the keeper: then all who wait need not wait for each other.
    await lease.abandon(resolution === null || isForOthers(resolution) ? "shared" : "alone");
  }
}

/** Whether those who wait for the same question may go on as if it had not been asked, or have their answer. */
function isForOthers(resolution: Resolution): boolean {
  return resolution.kind === "known" || (resolution.kind === "forward" && resolution.why === "cancelled");
}

interface Question {
  readonly key: string;
  readonly came: Moment;
  readonly slots: Slots;
  readonly lease: Lease;
  readonly record: VersionRecord | null;
}

/** Asks, or shares the answer to the same question of another request of this server. */
async function askTogether(asking: Asking, request: ReadRequest, question: Question): Promise<Resolution> {
  const { flights } = asking;
  const ask = (): Promise<Resolution> => askOnce(asking, request, question);
  // What a caller's credential finds out is that caller's alone.
  if (!request.lake.hasOwnCredential) return ask();
  const name = `${variantName(request)}\n${question.key}`;
  const told = flights.find(name, question.came);
  const shared = told === null ? null : sharedOf(await told, request);
  return shared ?? flights.send(name, ask);
}

/** What the answer to another request's question says about this one; null when it says nothing. */
function sharedOf(told: Resolution, request: ReadRequest): Resolution | null {
  switch (told.kind) {
    case "known":
      return { ...told, opened: null };
    case "unkept":
      return null;
    case "answer":
      if (request.conditionsHold !== null) return { kind: "forward", why: `status-${told.response.head.status}` };
      if (told.bytes === null) return null;
      return { kind: "answer", ...answerOf(told.response.head, told.bytes, request.clientRequestId) };
    case "forward":
    case "outage":
      return told;
  }
}

/** Asks the lake. Never rejects. */
async function askOnce(asking: Asking, request: ReadRequest, question: Question): Promise<Resolution> {
  const { context, flights, outages } = asking;
  const { account } = request.key;
  try {
    const resolution = await ask(context, request, question.slots, question.lease, question.record);
    outages.back(account);
    return resolution;
  } catch (caught) {
    const error = asForebayError(caught);
    bump(context.stats.lakeRequests, `check.${error.code}`);
    if (hasCode(error, "lake-unreachable", "timeout")) outages.away(account, flights.now());
    if (hasCode(error, "lake-unreachable", "lake-lost", "timeout")) return { kind: "outage", why: error.message };
    return { kind: "forward", why: error.code };
  }
}

interface Lease {
  publish(etag: string, sizeBytes: number, variant: Variant): Promise<Published>;
  /** Ends the lease without a result, unless it was published. */
  abandon(how: LeaseEnd): Promise<void>;
}

function createLease(context: EngineContext, lease: number): Lease {
  let open = true;
  return {
    publish: async (etag, sizeBytes, variant) => {
      open = false;
      try {
        return await context.keeper.publish({ lease, etag, sizeBytes, variant });
      } catch {
        return { kind: "refused", reason: "flash-failed" };
      }
    },
    abandon: async (how) => {
      if (!open) return;
      open = false;
      await context.keeper.abandon(lease, how).catch(() => {});
    },
  };
}

/** Which question tells most for least: see the cases. */
function question(request: ReadRequest, record: VersionRecord | null): Pick<LakeRead, "method" | "range"> {
  if (request.form === "head") return { method: "HEAD" };
  const first = request.range?.first ?? 0;
  const known = record?.variants.some((v) => v.id === variantName(request));
  // An empty blob has no byte to ask for.
  if (record?.sizeBytes === 0 || (request.form === "full" && !known)) return { method: "GET" };
  const block = record === null ? -1 : Math.floor(first / record.blockBytes);
  // A check costs one byte; where the first block is missing anyway, the check brings it along. A range beyond the end
  // is the lake's to refuse, and says nothing about the version.
  if (record !== null && (first >= record.sizeBytes || isPresent(record, block))) {
    return { method: "GET", range: { first: 0, last: 0 } };
  }
  const blockBytes = record?.blockBytes ?? limits.blockBytes;
  const from = Math.floor(first / blockBytes) * blockBytes;
  const run = limits.fillRunBlocksMax * blockBytes;
  const last = Math.min(request.range?.last ?? Number.POSITIVE_INFINITY, from + run - 1);
  return { method: "GET", range: { first: from, last: Math.ceil((last + 1) / blockBytes) * blockBytes - 1 } };
}

async function ask(
  context: EngineContext,
  request: ReadRequest,
  slots: Slots,
  lease: Lease,
  record: VersionRecord | null,
): Promise<Resolution> {
  const { generations, clock, stats } = context;
  const asked = question(request, record);
  const source = fillSource(request);
  const generation = generations.at(slots);
  const sentAtMs = clock.monotonicMs();
  stats.checks++;
  const read: LakeRead = {
    key: request.key,
    method: asked.method,
    range: asked.range,
    apiVersion: request.apiVersion,
    credential: source.credential,
    clientRequestId: request.clientRequestId,
    signal: source.signal,
  };
  const response = await (record === null ? request.lake.read(read) : askInTime(context.clock, request.lake, read));
  const { status, headers } = response.head;
  bump(stats.lakeRequests, `check.${status}`);
  if (status === 416 && record !== null) {
    // The blob is shorter than the version known (whose bytes were asked for): that one is gone.
    letGo(response.body);
    await context.keeper.drop(record.key, record.id, "changed").catch(() => {});
    return ask(context, request, slots, lease, null);
  }
  if (status !== 200 && status !== 206) return refused(context, request, record, response);
  const answer = describeAnswer(status, headers);
  if (answer === null || headerOf(headers, "x-ms-blob-type") !== "BlockBlob" || (asked.range && status !== 206)) {
    letGo(response.body);
    return { kind: "forward", why: answer === null ? "unclear-answer" : "not-a-block-blob" };
  }
  const sameVersion = record?.etag === answer.etag && record.sizeBytes === answer.sizeBytes;
  const checkedFull = request.form === "full" && asked.range !== undefined;
  const checkedEmpty = request.form === "range" && asked.range === undefined;
  if ((checkedFull && !sameVersion) || (checkedEmpty && answer.sizeBytes > 0)) {
    // The new version's headers of this form have to come from a read of this form: ask as for an unknown blob.
    letGo(response.body);
    return ask(context, request, slots, lease, null);
  }
  const held = record?.variants.find((v) => v.id === variantName(request));
  const kept: RawHeaders = keptHeaders(headers);
  const variant: Variant = {
    id: variantName(request),
    headers: checkedFull && held ? refreshedFull(held.headers, kept) : kept,
    sentAtMs,
    generation,
    epoch: generations.epoch,
    era: isSettled(request, headers) ? context.era() : undefined,
  };
  // A check of what is there brings one byte, or all of what flash has already: nobody needs either.
  const isByteCheck = asked.range?.first === 0 && asked.range.last === 0;
  const isThere = sameVersion && record?.present === null;
  const opened = isByteCheck || isThere ? unwanted(response) : openedOf(request, response, answer);
  const published = await lease.publish(answer.etag, answer.sizeBytes, variant);
  if (published.kind === "refused") {
    return { kind: "unkept", variant, etag: answer.etag, sizeBytes: answer.sizeBytes, opened };
  }
  return { kind: "known", record: published.record, variant, generation, opened };
}

/** Whether an answer may be believed for good: on an `immutable` path, and not of a copy that is still under way. */
function isSettled(request: ReadRequest, headers: RawHeaders): boolean {
  return request.policy.maxStaleMs === "immutable" && headerOf(headers, "x-ms-copy-status") !== "pending";
}

/** The body of a good answer, where there is one worth having. */
function openedOf(
  request: ReadRequest,
  response: ClientResponse,
  answer: { readonly sizeBytes: number; readonly first: number; readonly last: number },
): Opened | null {
  if (request.form === "head" || answer.sizeBytes === 0) return unwanted(response);
  const { first, last } = answer;
  const whole = first === 0 && last === answer.sizeBytes - 1;
  return { response, first, last, md5: whole ? wholeMd5(request.form, response.head.headers) : undefined };
}

function unwanted(response: ClientResponse): null {
  letGo(response.body);
  return null;
}

/** An answer that is no success. Only a plain "not there" is passed on as it is; the rest the lake says itself. */
async function refused(
  context: EngineContext,
  request: ReadRequest,
  record: VersionRecord | null,
  response: ClientResponse,
): Promise<Resolution> {
  const { status } = response.head;
  const own = request.lake.hasOwnCredential;
  if (status === 404 || status === 409) {
    if (record !== null) await context.keeper.drop(record.key, record.id, "deleted").catch(() => {});
    // What a condition does to a blob that is not there is the lake's to say.
    if (status === 404 && own && request.conditionsHold === null) {
      return { kind: "answer", ...(await keptWhole(response, request.clientRequestId)) };
    }
  }
  letGo(response.body);
  if (status === 429 || status >= 500) return { kind: "outage", why: `the lake answered ${status}` };
  if (own && (status === 401 || status === 403)) {
    const { account, container } = request.key;
    context.trust.refused(account, container, headerOf(response.head.headers, "x-ms-error-code"));
    return { kind: "forward", why: "own-credential-refused" };
  }
  return { kind: "forward", why: `status-${status}` };
}
