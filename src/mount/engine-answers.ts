/** What a mount wants to know of a blob, asked of the engine; where that passes on, of the lake itself. */
import { ForebayError } from "../base/errors.ts";
import type { EngineContext } from "../engine/context.ts";
import { owedIsKnown } from "../engine/desk.ts";
import { letGo } from "../engine/let-go.ts";
import { defaultPolicy, type Policy } from "../engine/policy.ts";
import type { Reader } from "../engine/read.ts";
import type { ReadRequest } from "../engine/types.ts";
import { type ClientResponse, headerOf, type RawHeaders } from "../http/types.ts";
import { type BlobKey, keyText, LAKE_API_VERSION, type OwnLake } from "../lake/types.ts";
import type { Stamp } from "./types.ts";

/** What the questions stand on. */
export interface Asking {
  readonly context: EngineContext;
  readonly reader: Reader;
  readonly lake: OwnLake;
  readonly policyOf: (blob: string) => Policy;
  readonly account: string;
  readonly container: string;
}

/** A blob's newest version. `etag` as the headers have it. */
export interface Version {
  readonly blob: string;
  readonly etag: string;
  readonly sizeBytes: number;
  readonly headers: RawHeaders;
  readonly stamp: Stamp;
  readonly freshUntilMs: number;
  /** Where it is: in the cache's index maybe, not in the lake yet, or in the lake alone. */
  readonly at: "cache" | "pending" | "lake";
}

export type Form = "range" | "head";

/** The first byte: enough to have the version checked, and its first blocks brought. */
const FIRST_BYTE = { first: 0, last: 0 };
const UNCONDITIONAL = { judgement: { kind: "yes" }, caller: { kind: "own" }, clientRequestId: undefined } as const;

export function keyOf({ account, container }: Asking, blob: string): BlobKey {
  return { account, container, blob };
}

/** A read in Forebay's own name. */
export function requestOf(
  asking: Asking,
  blob: string,
  signal: AbortSignal,
  rest: Pick<ReadRequest, "form" | "range"> & Partial<ReadRequest>,
): ReadRequest {
  const key = keyOf(asking, blob);
  return {
    key,
    indexKey: keyText(key),
    lake: asking.lake,
    policy: asking.policyOf(blob),
    apiVersion: LAKE_API_VERSION,
    conditionsHold: null,
    signal: () => signal,
    ...UNCONDITIONAL,
    ...rest,
  };
}

/** The sum of the counters that a change of the blob moves: to be taken before anything is asked. */
export function stampOf({ context, account, container }: Asking, blob: string): Stamp {
  const slots = context.generations.slotsOf(keyText({ account, container, blob }));
  const [a, b, c] = context.generations.at(slots);
  return { slot: slots[0], sum: (a + b + c) >>> 0 };
}

/** What the blob is now, by its policy; null: there is none. Rejects as the lake and the engine do. */
export async function versionOf(
  asking: Asking,
  blob: string,
  form: Form,
  signal: AbortSignal,
): Promise<Version | null> {
  const { context, reader } = asking;
  refuseSuspended(asking);
  const stamp = stampOf(asking, blob);
  const pending = await pendingVersion(asking, blob, stamp);
  if (pending !== "none") return pending;
  const askedAtMs = context.clock.monotonicMs();
  const request = requestOf(asking, blob, signal, { form, range: form === "head" ? null : FIRST_BYTE });
  const outcome = await reader.read(request);
  switch (outcome.kind) {
    case "serve": {
      outcome.body?.close();
      const { headers, sizeBytes } = outcome;
      const freshUntilMs = freshUntil(asking, request, askedAtMs);
      return { blob, etag: headerOf(headers, "etag") ?? "", sizeBytes, headers, stamp, freshUntilMs, at: "cache" };
    }
    case "answer":
      letGo(outcome.response.body);
      // An empty blob has no first byte.
      if (outcome.response.head.status === 416) return versionOf(asking, blob, "head", signal);
      return nothing(outcome.response);
    case "unavailable":
      throw new ForebayError("lake-unreachable", `the lake cannot be asked: ${outcome.why}`);
    case "forward":
      return lakeVersion(asking, blob, stamp, signal);
  }
}

/** While the lake refuses Forebay's own credential, flash answers for nobody. */
function refuseSuspended({ context, account, container }: Asking): void {
  if (!context.trust.suspended(account, container)) return;
  throw new ForebayError("lake-refused", "the lake refuses the credential that this mount reads with");
}

/** Null for what is not there; throws for what may not be had. */
function nothing({ head }: ClientResponse): null {
  if (head.status === 404) return null;
  const code = headerOf(head.headers, "x-ms-error-code") ?? "";
  throw new ForebayError("lake-refused", `the lake answered ${head.status} ${code}`.trim());
}

/**
 * Until when the answer to `request` may be believed: counted from when the check was sent. Where the index does not
 * tell, not at all.
 */
function freshUntil({ context }: Asking, request: ReadRequest, askedAtMs: number): number {
  const name = `${request.form}|${request.apiVersion}`;
  const variant = context.index.lookup(request.indexKey)?.variants.find(({ id }) => id === name);
  if (variant === undefined || variant.epoch !== context.generations.epoch) return askedAtMs;
  const { maxStaleMs } = request.policy;
  if (maxStaleMs !== "immutable") return variant.sentAtMs + maxStaleMs;
  return variant.era === context.era() ? Number.POSITIVE_INFINITY : variant.sentAtMs + defaultPolicy.maxStaleMs;
}

/** Asked of the lake alone: for what the engine does not keep, such as append blobs. */
async function lakeVersion(asking: Asking, blob: string, stamp: Stamp, signal: AbortSignal): Promise<Version | null> {
  const { context, lake } = asking;
  const sentAtMs = context.clock.monotonicMs();
  const response = await lake.read({
    key: keyOf(asking, blob),
    method: "HEAD",
    apiVersion: LAKE_API_VERSION,
    credential: { kind: "own" },
    signal,
  });
  letGo(response.body);
  if (response.head.status !== 200) return nothing(response);
  const { headers } = response.head;
  const sizeBytes = Number(headerOf(headers, "content-length"));
  if (!Number.isSafeInteger(sizeBytes)) throw new ForebayError("lake-corrupt", "the lake says no length");
  const { maxStaleMs } = asking.policyOf(blob);
  const freshUntilMs = sentAtMs + (maxStaleMs === "immutable" ? defaultPolicy.maxStaleMs : maxStaleMs);
  return { blob, etag: headerOf(headers, "etag") ?? "", sizeBytes, headers, stamp, freshUntilMs, at: "lake" };
}

/** What was acknowledged and is not in the lake yet is the newest version. */
async function pendingVersion(asking: Asking, blob: string, stamp: Stamp): Promise<Version | null | "none"> {
  if (!(await mayBePending(asking, blob))) return "none";
  const outcome = await asking.reader.pending.read({ ...pendingRead(asking, blob, "head"), range: null, judge: null });
  if (outcome.kind === "none") return "none";
  if (outcome.kind === "deleted") return null;
  if (outcome.kind !== "serve") throw new ForebayError("flash-failed", "what was acknowledged cannot be read");
  const { headers, sizeBytes } = outcome;
  // Until its generation moves, which it does when the lake has it.
  const freshUntilMs = asking.context.clock.monotonicMs() + defaultPolicy.maxStaleMs;
  return { blob, etag: headerOf(headers, "etag") ?? "", sizeBytes, headers, stamp, freshUntilMs, at: "pending" };
}

/** Whether something of a blob may be pending. */
export async function mayBePending(asking: Asking, blob: string): Promise<boolean> {
  const { context } = asking;
  const { owed } = context.generations;
  const slots = context.generations.slotsOf(keyText(keyOf(asking, blob)));
  if (owed.known() && !owed.blob(slots)) return false;
  if (await owedIsKnown(context)) return owed.blob(slots);
  if (asking.policyOf(blob).write !== "back") return false;
  throw new ForebayError("overloaded", "it is not known yet what is pending");
}

export function pendingRead(asking: Asking, blob: string, form: Form) {
  const { account, container, context } = asking;
  const indexKey = keyText(keyOf(asking, blob));
  const slots = context.generations.slotsOf(indexKey);
  const { tier } = asking.policyOf(blob);
  return { name: { account, container, blob }, indexKey, slots, form, apiVersion: LAKE_API_VERSION, tier, tags: false };
}
