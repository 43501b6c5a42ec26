/** Get Blob and Get Blob Properties from flash: who asks, what for, and the answer's head. */

import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { resolvePolicy } from "../engine/policy.ts";
import { observeLatency } from "../engine/stats.ts";
import type { Judgement, ReadOutcome, ReadRequest, Serve } from "../engine/types.ts";
import { headerBlock } from "../http/head-writer.ts";
import { type BodySource, type HeaderBlock, headerOf, type RawHeaders, type Segment } from "../http/types.ts";
import type { BlobKey, Credential } from "../lake/types.ts";
import { evaluateConditions, unconditional } from "./conditions.ts";
import { httpDateNow, parseIsoMs } from "./dates.ts";
import { inLakeTerms, mayNameAlias } from "./etag-aliases.ts";
import { forwardRequest } from "./forward.ts";
import type { Front } from "./front.ts";
import { mayBePending, readPending } from "./get-pending.ts";
import type { ReadPlace } from "./places.ts";
import { type Query, queryValue } from "./query.ts";
import { failed, note, type Placed, passOn, refuse } from "./respond.ts";
import { applyOverrides, type HitAble } from "./screen.ts";
import { credentialKind, judge } from "./verdict.ts";

/** Answers a read on the allow-list. Resolves, or returns, when the answer is with the kernel. */
export function readBlob(placed: Placed, place: ReadPlace, asked: HitAble): void | Promise<void> {
  const { front, exchange, target, lake } = placed;
  const { key, indexKey, blob } = place;
  if (front.engine.trust.suspended(target.account, key.container)) {
    return forwardRequest(placed, "own-credential-refused");
  }
  // What a SAS sets on the response would be kept as the blob's own, if it were read with that SAS.
  if (blob.overrides !== null && !lake.hasOwnCredential) return forwardRequest(placed, "response-headers");
  const caller = judgeCaller(placed);
  if (caller.kind === "forward") return forwardRequest(placed, caller.why);
  if (caller.kind === "refuse") return refuse(front, exchange, placed.startedAtMs, caller.error);
  const policy = resolvePolicy(front.policies(), key.account, key.container, key.blob);
  const request: ReadRequest = {
    key,
    indexKey,
    lake,
    policy,
    form: blob.form === "head" ? "head" : asked.range === null ? "full" : "range",
    apiVersion: asked.apiVersion,
    range: asked.range,
    conditionsHold: asked.conditions === unconditional ? null : (headers) => holds(asked, headers),
    judgement: caller.judgement,
    caller: caller.credential,
    clientRequestId: asked.clientRequestId,
    signal: () => exchange.signal,
  };
  if (mayBePending(front, place)) {
    return readPending(placed, place, asked, request, {
      serve: (serving) => serve(placed, asked, serving),
      ordinary: () => readOrdinary(placed, asked, request),
    });
  }
  return readOrdinary(placed, asked, request);
}

/** Answers a read of what the lake has. */
function readOrdinary(placed: Placed, asked: HitAble, request: ReadRequest): void | Promise<void> {
  const { front } = placed;
  const { key } = request;
  if (mayNameAlias(front, asked.conditions, key)) return readTranslated(placed, asked, request);
  const outcome = front.reader.read(request);
  return outcome instanceof Promise
    ? outcome.then((ready) => finish(placed, asked, key, ready))
    : finish(placed, asked, key, outcome);
}

/** The same under conditions that may name what only Forebay knows. */
async function readTranslated(placed: Placed, asked: HitAble, request: ReadRequest): Promise<void> {
  const { front } = placed;
  const conditions = await inLakeTerms(front, asked.conditions, request.key).catch((error: unknown) => {
    // Whatever does not hold as it stands goes to the lake, and is not answered then without its terms.
    if (hasCode(error, "overloaded")) return asked.conditions;
    throw error;
  });
  const own = { ...asked, conditions };
  const outcome = await front.reader.read({ ...request, conditionsHold: (headers) => holds(own, headers) });
  return finish(placed, asked, request.key, outcome);
}

function holds(asked: HitAble, headers: RawHeaders): boolean {
  const etag = headerOf(headers, "etag") ?? "";
  return evaluateConditions(asked.conditions, etag, headerOf(headers, "last-modified")) === "holds";
}

type Caller =
  | { readonly kind: "known"; readonly judgement: Judgement; readonly credential: Credential }
  | { readonly kind: "forward"; readonly why: string }
  | { readonly kind: "refuse"; readonly error: { status: number; code: string; message: string } };

const TRUSTED: Caller = { kind: "known", judgement: { kind: "yes" }, credential: { kind: "own" } };

/** Whether the caller may read, as far as that can be said here; see the rules in `types.ts`. */
function judgeCaller(placed: Placed): Caller {
  const { front, exchange, layout, target, query, operation, lake } = placed;
  const { headers, method } = exchange.head;
  const nowMs = front.engine.clock.wallMs();
  const verdict = judge({
    method,
    target,
    query,
    headers,
    layout,
    operation: operation.name,
    keys: front.engine.trust.keys(target.account, lake.keys),
    nowMs,
    clientAddress: exchange.remoteAddress,
    secure: exchange.secure,
    policies: front.storedPolicies,
  });
  if (verdict.verdict === "yes") return TRUSTED;
  if (verdict.verdict === "no") {
    if (verdict.localOnly === true && verdict.error) return { kind: "refuse", error: verdict.error };
    return { kind: "forward", why: "refused-here" };
  }
  const kind = credentialKind(layout, headers, query);
  const authorization = kind === "bearer" ? headerOf(headers, "authorization") : undefined;
  const sas = kind === "sas" ? credentialParameters(query) : undefined;
  // A SharedKey signature holds for one request only: the lake can judge that one, and no other.
  if (kind !== "bearer" && kind !== "sas" && kind !== "anonymous")
    return { kind: "forward", why: `credential-${kind}` };
  const credentialId = nameOf(front, authorization ?? sas ?? "anonymous");
  const expiresAtMs = authorization === undefined ? sasExpiryMs(query) : tokenExpiryMs(authorization);
  return {
    kind: "known",
    judgement: { kind: "ask", credentialId, expiresAtMs, narrow: kind === "sas" && isNarrow(query) },
    credential: { kind: "caller", authorization, query: sas },
  };
}

/** The raw parameters of a query that belong to its SAS: all but those that say which blob, and how long to wait. */
function credentialParameters(query: Query): string {
  const others = new Set(["snapshot", "versionid", "timeout"]);
  return query.parameters
    .filter((parameter) => !others.has(parameter.name))
    .map(({ rawName, rawValue }) => (rawValue === null ? rawName : `${rawName}=${rawValue}`))
    .join("&");
}

function nameOf(front: Front, credential: string): string {
  return new Bun.CryptoHasher("sha256", front.credentialSalt).update(credential).digest("base64url");
}

/** Whether a SAS is good for less than a container: an account SAS for objects and `sr=c` are not. */
function isNarrow(query: Query): boolean {
  if (queryValue(query, "sr") === "c") return false;
  return !(queryValue(query, "ss")?.includes("b") && queryValue(query, "srt")?.includes("o"));
}

/** When a SAS, or the key it was made with, ends. One whose end cannot be read has ended: it is asked every time. */
function sasExpiryMs(query: Query): number | null {
  const ends = ["se", "ske"].flatMap((name) => queryValue(query, name) ?? []);
  return ends.length === 0 ? null : Math.min(...ends.map((end) => parseIsoMs(end, true) ?? 0));
}

/** When a token says that it ends. Not verified: it can only shorten how long a verdict is remembered. */
function tokenExpiryMs(authorization: string): number | null {
  try {
    const payload = authorization.split(".")[1] ?? "";
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    if (claims !== null && typeof claims === "object" && "exp" in claims && typeof claims.exp === "number") {
      return claims.exp * 1000;
    }
  } catch {
    // An opaque token: the bound on remembered verdicts is what counts.
  }
  return null;
}

function finish(placed: Placed, asked: HitAble, key: BlobKey, outcome: ReadOutcome): void | Promise<void> {
  const { front, exchange } = placed;
  const { stats } = front.engine;
  switch (outcome.kind) {
    case "serve": {
      const sent = serveAny(placed, asked, outcome);
      return sent?.catch((error: unknown) => {
        // What flash cannot give is fetched anew the next time.
        if (hasCode(error, "flash-failed", "gone")) front.reader.unreadable(key);
        throw error;
      });
    }
    case "forward":
      return forwardRequest(placed, outcome.why);
    case "answer":
      stats.answers++;
      return passOn(placed, outcome.response);
    case "unavailable":
      stats.unavailable++;
      return failed(front, exchange, placed.startedAtMs, new ForebayError("lake-unreachable", outcome.why));
  }
}

/** Sends what the engine gives, and lets go of the body in any case. */
function serveAny(placed: Placed, asked: HitAble, serving: Serve): void | Promise<void> {
  const { body } = serving;
  if (serving.temperature !== "hit" && body !== null) return serveFilling(placed, asked, serving, body);
  return serve(placed, asked, serving);
}

/**
 * Sends a body that is still being filled, once its first piece is there: a version that changed in the lake meanwhile
 * is found out before the head has left, and the lake then answers the request itself.
 */
async function serveFilling(placed: Placed, asked: HitAble, serving: Serve, body: BodySource): Promise<void> {
  let first: Segment | null;
  try {
    first = await body.next();
  } catch (error) {
    body.close();
    if (hasCode(error, "cancelled")) throw error;
    return forwardRequest(placed, `fill-${asForebayError(error).code}`);
  }
  let primed = true;
  const next = (): ReturnType<BodySource["next"]> => {
    if (!primed) return body.next();
    primed = false;
    return first;
  };
  await serve(placed, asked, { ...serving, body: { lengthBytes: body.lengthBytes, next, close: () => body.close() } });
}

/** Sends bytes under the lake's headers; ids and date are of this answer. */
function serve(placed: Placed, asked: HitAble, serving: Serve): void | Promise<void> {
  const { front, exchange, operation, startedAtMs } = placed;
  const { stats, clock } = front.engine;
  const { temperature } = serving;
  const { overrides, form } = asked.blob;
  if (temperature === "hit") stats.hits++;
  else if (temperature === "partial") stats.partials++;
  else if (temperature === "dirty") stats.dirty++;
  else stats.misses++;
  const isRange = asked.range !== null;
  const kept = overrides === null ? serving.headers : applyOverrides(serving.headers, overrides);
  const block = blockFor(serving.body, kept);
  const requestId = front.newRequestId();
  const headers = ["x-ms-request-id", requestId];
  if (isRange) {
    headers.push("Content-Range", `bytes ${serving.first}-${serving.first + serving.length - 1}/${serving.sizeBytes}`);
  }
  if (asked.clientRequestId !== undefined) headers.push("x-ms-client-request-id", asked.clientRequestId);
  headers.push("Date", httpDateNow(clock), "x-forebay", temperature);
  const status = isRange ? 206 : 200;
  observeLatency(stats, temperature, clock.monotonicMs() - startedAtMs);
  note(front, exchange, startedAtMs, { status, result: temperature, operation: operation.name, headers });
  const reason = isRange ? "Partial Content" : "OK";
  const lengthBytes = form === "head" ? serving.sizeBytes : undefined;
  return exchange.respond({ status, reason, block, headers }, serving.body, lengthBytes);
}

/** Headers of versions, made ready to be sent. */
const blocks = new WeakMap<RawHeaders, HeaderBlock>();

/** The block of `headers`. Throws for what is not HTTP, and lets go of `body` then. */
function blockFor(body: BodySource | null, headers: RawHeaders): HeaderBlock {
  const known = blocks.get(headers);
  if (known !== undefined) return known;
  try {
    const block = headerBlock(headers);
    blocks.set(headers, block);
    return block;
  } catch (error) {
    body?.close();
    throw error;
  }
}
