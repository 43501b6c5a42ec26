/**
 * Asking the lake about a blob, once for everybody: a check of what flash holds, or a first look that brings the
 * first bytes along. The keeper's lease makes it single-flight over all servers; the generation noted before the
 * question was sent decides whether the answer may be kept.
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { isPresent } from "../flash/files.ts";
import type { Acquired, Generation, Published, Variant, VersionRecord } from "../flash/types.ts";
import { type ClientResponse, headerOf, type RawHeaders } from "../http/types.ts";
import type { LakeRead } from "../lake/types.ts";
import type { EngineContext } from "./context.ts";
import type { Slots } from "./generations.ts";
import { describeAnswer, keptHeaders, refreshedFull, wholeMd5 } from "./headers.ts";
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
  | { readonly kind: "answer"; readonly response: ClientResponse }
  /** The lake could not be asked. */
  | { readonly kind: "outage"; readonly why: string };

/** The name of a variant in the index. */
export function variantName(request: Pick<ReadRequest, "form" | "apiVersion">): string {
  return `${request.form}|${request.apiVersion}`;
}

/** The credential that reads of the lake for this request carry. */
export function fillSource(request: ReadRequest): FillSource {
  const own = request.lake.hasOwnCredential;
  return {
    lake: request.lake,
    key: request.key,
    apiVersion: request.apiVersion,
    credential: own ? { kind: "own" } : request.caller,
    signal: own ? undefined : request.signal(),
  };
}

/** Finds out what the lake holds for `request`, together with everybody else who wants to know. */
export async function resolve(context: EngineContext, request: ReadRequest, key: string): Promise<Resolution> {
  const { keeper, generations, clock } = context;
  const slots = generations.slotsOf(key);
  const generation = generations.at(slots);
  const { maxStaleMs } = request.policy;
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
  if (acquired.kind === "busy") return { kind: "forward", why: "busy" };
  if (acquired.kind === "fresh") {
    const variant = acquired.record.variants.find((v) => v.id === variantName(request));
    if (!variant) return { kind: "forward", why: "variant" };
    return { kind: "known", record: acquired.record, variant, generation, opened: null };
  }
  const lease = createLease(context, acquired.lease);
  try {
    return await ask(context, request, slots, lease, acquired.record);
  } catch (caught) {
    const error = asForebayError(caught);
    bump(context.stats.lakeRequests, `check.${error.code}`);
    if (hasCode(error, "lake-unreachable", "lake-lost", "timeout")) return { kind: "outage", why: error.message };
    return { kind: "forward", why: error.code };
  } finally {
    await lease.abandon();
  }
}

interface Lease {
  publish(etag: string, sizeBytes: number, variant: Variant): Promise<Published>;
  /** Ends the lease without a result, unless it was published. */
  abandon(): Promise<void>;
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
    abandon: async () => {
      if (!open) return;
      open = false;
      await context.keeper.abandon(lease).catch(() => {});
    },
  };
}

/** Which question tells most for least: see the cases. */
function question(request: ReadRequest, record: VersionRecord | null): Pick<LakeRead, "method" | "range"> {
  if (request.form === "head") return { method: "HEAD" };
  const first = request.range?.first ?? 0;
  const known = record?.variants.some((v) => v.id === variantName(request));
  if (request.form === "full" && (!known || record?.sizeBytes === 0)) return { method: "GET" };
  const block = record === null ? -1 : Math.floor(first / record.blockBytes);
  // A check costs one byte; where the first block is missing anyway, the check brings it along.
  if (record !== null && first < record.sizeBytes && isPresent(record, block)) {
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
  const response = await request.lake.read({
    key: request.key,
    method: asked.method,
    range: asked.range,
    apiVersion: request.apiVersion,
    credential: source.credential,
    clientRequestId: request.clientRequestId,
    signal: source.signal,
  });
  const { status, headers } = response.head;
  bump(stats.lakeRequests, `check.${status}`);
  if (status === 416 && record !== null) {
    // The blob is shorter than the version known: that one is gone, and this question was about it.
    response.body.cancel();
    await context.keeper.drop(record.key, record.id, "changed").catch(() => {});
    return ask(context, request, slots, lease, null);
  }
  if (status !== 200 && status !== 206) return refused(context, request, record, response);
  const answer = describeAnswer(status, headers);
  if (answer === null || headerOf(headers, "x-ms-blob-type") !== "BlockBlob" || (asked.range && status !== 206)) {
    response.body.cancel();
    return { kind: "forward", why: answer === null ? "unclear-answer" : "not-a-block-blob" };
  }
  const sameVersion = record?.etag === answer.etag && record.sizeBytes === answer.sizeBytes;
  const checkedFull = request.form === "full" && asked.range !== undefined;
  if (checkedFull && !sameVersion) {
    // The full form of the new version has to come from a whole read: ask again as for an unknown blob.
    response.body.cancel();
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
  // A check of what is there brings one byte, which nobody needs.
  const isByteCheck = asked.range?.first === 0 && asked.range.last === 0;
  const opened = isByteCheck ? unwanted(response) : openedOf(request, response, answer);
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
  response.body.cancel();
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
    if (status === 404 && own && request.conditionsHold === null) return { kind: "answer", response };
  }
  response.body.cancel();
  if (status === 429 || status >= 500) return { kind: "outage", why: `the lake answered ${status}` };
  if (own && (status === 401 || status === 403)) {
    context.trust.refused(request.key.account);
    return { kind: "forward", why: "own-credential-refused" };
  }
  return { kind: "forward", why: `status-${status}` };
}
