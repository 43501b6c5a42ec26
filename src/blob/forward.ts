/**
 * Requests passed on to the lake: everything that flash does not answer. A change makes what is known of its target
 * void before it leaves and again after its answer; what its answer was decides nothing, because a lost or failed
 * answer may hide a change that happened.
 */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { beginChange, type Change } from "../engine/change.ts";
import { mayBeImmutable, resolvePolicy } from "../engine/policy.ts";
import { bump, observeLatency } from "../engine/stats.ts";
import { type BodySource, bytesSource, type ClientResponse, headerOf, sourceOfReader } from "../http/types.ts";
import { keyText } from "../lake/types.ts";
import { batchRefusedHere, batchTargets, rewriteBatch } from "./batch.ts";
import type { Front } from "./front.ts";
import { type TouchedScope, touchedBy } from "./operations.ts";
import { type Placed, passOn, refuse } from "./respond.ts";
import { rewriteRequest } from "./rewrite.ts";
import type { ServiceError } from "./types.ts";

/** Passes a request on and its answer back. `why` says what kept flash from answering. */
export async function forwardRequest(placed: Placed, why: string): Promise<void> {
  const { front, exchange, operation } = placed;
  const { stats } = front.engine;
  stats.forwards++;
  bump(stats.forwardReasons, why);
  const isBatch = operation.name === "BlobBatch" || operation.name === "BlobBatchInContainer";
  const batch = isBatch ? await readBatch(placed) : null;
  if (batch?.refused) return refuse(front, exchange, placed.startedAtMs, batch.refused);
  const passed = rewriteRequest({
    method: exchange.head.method,
    target: placed.target,
    query: placed.query,
    headers: exchange.head.headers,
    lakeStyle: placed.lake.style,
    keys: placed.lake.keys,
    own: front.own(),
    nowMs: front.engine.clock.wallMs(),
    bodyLengthBytes: batch?.changed ? batch.body.length : undefined,
  });
  if (passed.kind === "refuse") return refuse(front, exchange, placed.startedAtMs, passed.error);
  const changes = await announce(placed, batch?.body ?? null);
  const body = batch === null ? requestBody(placed) : bytesSource(batch.body);
  let response: ClientResponse;
  try {
    response = await placed.lake.forward({ ...passed, method: exchange.head.method, body, signal: exchange.signal });
  } catch (caught) {
    const error = asForebayError(caught);
    bump(stats.lakeRequests, `forward.${error.code}`);
    // Only what was never sent is known to have changed nothing.
    await conclude(placed, changes, error.code === "lake-unreachable" ? "known" : "unknown").catch(() => {});
    throw error;
  }
  const { status } = response.head;
  bump(stats.lakeRequests, `forward.${status}`);
  // Before the client hears of it: whoever reads after this answer must not be given what was before.
  await conclude(placed, changes, status >= 500 ? "unknown" : "known").catch((error: unknown) => {
    response.body.cancel();
    throw error;
  });
  afterwards(placed, status);
  observeLatency(stats, "forward", front.engine.clock.monotonicMs() - placed.startedAtMs);
  return passOn(placed, response);
}

function requestBody(placed: Placed): BodySource | null {
  const { body, head } = placed.exchange;
  if (body.lengthBytes === 0 && headerOf(head.headers, "content-length") === undefined) return null;
  return sourceOfReader(body);
}

/** A change that was announced, and whether it was marked durably. */
interface Announced {
  readonly scope: TouchedScope;
  readonly marked: boolean;
  readonly change: Change;
}

/**
 * Ends changes. A path that became immutable while its change was under way gets its mark now: what was read of it
 * meanwhile must not come back with a power loss. Rejects when that mark cannot be had.
 */
async function conclude(placed: Placed, changes: readonly Announced[], outcome: "known" | "unknown"): Promise<void> {
  const { front } = placed;
  for (const { change } of changes) change.end(outcome);
  for (const { scope, marked } of changes) {
    if (!marked && touchesImmutable(front, scope)) (await beginChange(front.engine, scope, true)).end(outcome);
  }
}

/** Moves the generations of whatever the request may change. */
async function announce(placed: Placed, batchBody: Uint8Array | null): Promise<Announced[]> {
  const { front } = placed;
  const scopes = batchBody === null ? null : batchScopes(placed, batchBody);
  const single = scopes === null ? touchedBy(placed.operation, placed.target) : null;
  const changes: Announced[] = [];
  try {
    for (const scope of scopes ?? (single === null ? [] : [single])) {
      const marked = touchesImmutable(front, scope);
      changes.push({ scope, marked, change: await beginChange(front.engine, scope, marked) });
    }
    return changes;
  } catch (caught) {
    for (const { change } of changes) change.end("known");
    if (hasCode(caught, "cancelled")) throw caught;
    const reason = asForebayError(caught).message;
    front.engine.log("error", "a change of an immutable path could not be marked on flash; refused", { reason });
    throw new ForebayError("overloaded", "a change of an immutable path could not be marked on flash", {
      cause: caught,
    });
  }
}

function touchesImmutable(front: Front, scope: TouchedScope): boolean {
  const table = front.policies();
  if (scope.container === null || scope.blob === null) return mayBeImmutable(table, scope.account, scope.container);
  return resolvePolicy(table, scope.account, scope.container, scope.blob).maxStaleMs === "immutable";
}

/** What the parts of a batch change; null when that is not wholly understood: then the batch's own scope counts. */
function batchScopes(placed: Placed, body: Uint8Array): TouchedScope[] | null {
  const { headers } = placed.exchange.head;
  const type = headerOf(headers, "content-type");
  const parts = batchTargets(body, type, headerOf(headers, "host"), placed.front.accounts());
  if (parts === null || parts.length > limits.batchPartsMax) return null;
  return parts.flatMap(({ touched }) => (touched === null ? [] : [touched]));
}

interface Batch {
  readonly body: Uint8Array;
  readonly changed: boolean;
  /** Some part may not come from this client's address, or not by its protocol. */
  readonly refused?: ServiceError | undefined;
}

/** Takes a batch's body in (the service's own bound is 4 MiB) and rewrites its parts where URL styles differ. */
async function readBatch(placed: Placed): Promise<Batch> {
  const { exchange, target, lake, front } = placed;
  const pieces: Uint8Array[] = [];
  let size = 0;
  for (let piece = await exchange.body.read(); piece !== null; piece = await exchange.body.read()) {
    size += piece.length;
    if (size > limits.batchBodyBytesMax) throw new ForebayError("http-too-large", "the batch is larger than 4 MiB");
    pieces.push(piece);
  }
  const { headers } = exchange.head;
  const body = Buffer.concat(pieces);
  const type = headerOf(headers, "content-type");
  const barred = batchRefusedHere(body, type, exchange.remoteAddress, exchange.secure);
  if (barred?.verdict === "no" && barred.error) return { body, changed: false, refused: barred.error };
  const rewritten = rewriteBatch({
    body,
    contentType: type,
    host: headerOf(headers, "host"),
    account: target.account,
    lakeStyle: lake.style,
    keys: lake.keys,
    apiVersion: headerOf(headers, "x-ms-version"),
    nowMs: front.engine.clock.wallMs(),
  });
  // Parts that cannot be signed again go as they are: the lake refuses them one by one.
  return rewritten.kind === "pass" ? rewritten : { body, changed: false };
}

/** What an answer teaches beyond the generations. */
function afterwards(placed: Placed, status: number): void {
  const { front, operation, target } = placed;
  if (status >= 300) return;
  if (operation.access) {
    front.forgetAccess(target.account, target.container);
    front.reader.forgetVerdicts();
  }
  if (operation.name === "DeleteBlob" && target.blob !== null && !target.ambiguous && target.query === "") {
    const key = keyText({ account: target.account, container: target.container ?? "", blob: target.blob });
    void front.engine.keeper.drop(key, null, "deleted").catch(() => {});
  }
}
