/**
 * Requests passed on to the lake: everything that flash does not answer. A change makes what is known of its target
 * void before it leaves and again after its answer; what its answer was decides nothing about that, because a lost or
 * failed answer may hide a change that happened (see `announce.ts`).
 */
import { asForebayError, ForebayError } from "../base/errors.ts";
import { bump, observeLatency } from "../engine/stats.ts";
import { type BodySource, bytesSource, type ClientResponse, headerOf, sourceOfReader } from "../http/types.ts";
import { keyText } from "../lake/types.ts";
import { type Announcement, announce, type Outcome } from "./announce.ts";
import { batchRefusedHere, rewriteBatch } from "./batch.ts";
import { type HeldBody, holdBody } from "./batch-body.ts";
import { translatedHeaders } from "./etag-aliases.ts";
import { durabilityOf, raiseFences } from "./fences.ts";
import { isBatch } from "./operations.ts";
import { type Placed, passOn, refuse } from "./respond.ts";
import { rewriteRequest } from "./rewrite.ts";
import type { ServiceError } from "./types.ts";
import { warmWrite } from "./warm-write.ts";

/** Passes a request on and its answer back. `why` says what kept flash from answering. */
export async function forwardRequest(placed: Placed, why: string): Promise<void> {
  const { front, exchange, operation } = placed;
  const { stats } = front.engine;
  stats.forwards++;
  bump(stats.forwardReasons, why);
  if (!isBatch(operation)) return forwardWith(placed, null);
  const held = await holdBody(exchange, front.engine.clock);
  try {
    const batch = prepareBatch(placed, held);
    if (batch.refused !== null) return await refuse(front, exchange, placed.startedAtMs, batch.refused);
    return await forwardWith(placed, batch);
  } finally {
    held.release();
  }
}

async function forwardWith(placed: Placed, batch: Batch | null): Promise<void> {
  const fences = await raiseFences(placed, batch?.original ?? null);
  const answered = await askLake(placed, batch).finally(() => fences.lower());
  if ("status" in answered) return refuse(placed.front, placed.exchange, placed.startedAtMs, answered);
  return passOn(placed, answered, durabilityOf(placed, answered.head.status));
}

/** The lake's answer, when all that follows from it is done; or the error to give without asking. */
async function askLake(placed: Placed, batch: Batch | null): Promise<ClientResponse | ServiceError> {
  const { front, exchange } = placed;
  const { stats } = front.engine;
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
    conditions: await translatedHeaders(placed),
  });
  if (passed.kind === "refuse") return passed.error;
  const warm = await warmWrite(placed);
  const announcement = await announce(placed, batch?.original ?? null).catch(warm.lost);
  warm.announced();
  const body = watch(batch === null ? warm.body(requestBody(placed)) : bytesSource(batch.body));
  const response = await ask(placed, { ...passed, method: exchange.head.method }, body, announcement).catch(warm.lost);
  const { status } = response.head;
  const keepWarm = warm.answered(response.head);
  try {
    bump(stats.lakeRequests, `forward.${status}`);
    // Before the client hears of it: whoever reads after this answer must not be given what was before.
    await announcement.conclude({ kind: "answered", status });
    afterwards(placed, status);
    observeLatency(stats, "forward", front.engine.clock.monotonicMs() - placed.startedAtMs);
  } catch (error) {
    response.body.cancel();
    throw error;
  } finally {
    keepWarm();
  }
  return response;
}

type Sent = { readonly method: string; readonly path: string; readonly query: string; readonly headers: string[] };

/** Asks the lake. Without an answer the changes end here. */
async function ask(placed: Placed, sent: Sent, body: Watched, announcement: Announcement): Promise<ClientResponse> {
  const { exchange, front, lake } = placed;
  let begun = false;
  try {
    if (exchange.signal.aborted) {
      body.source?.close();
      throw new ForebayError("cancelled", "the client went away");
    }
    begun = true;
    const signal = announcement.awaitsAnswer ? undefined : exchange.signal;
    return await lake.forward({ ...sent, body: body.source, signal });
  } catch (caught) {
    const error = asForebayError(caught);
    bump(front.engine.stats.lakeRequests, `forward.${error.code}`);
    // Only what was never sent is known to have changed nothing.
    const unsent = error.code === "lake-unreachable" || error.code === "overloaded";
    const nothing = !begun || unsent || body.progress() === "nothing";
    const outcome: Outcome = { kind: "lost", sent: nothing ? "nothing" : body.progress() };
    await announcement.conclude(outcome).catch(() => {});
    throw error;
  }
}

/** A request's body, and how much of the request the lake may have. */
interface Watched {
  readonly source: BodySource | null;
  /** `nothing`: the body was not asked for, and a request is sent in one with the beginning of its body. */
  progress(): "nothing" | "part" | "all";
}

function watch(source: BodySource | null): Watched {
  // Without bytes of a body the request's head is all of it, and when that left is not seen here.
  if (source === null) return { source, progress: () => "all" };
  if (source.lengthBytes === 0) {
    // Nothing is to be had of the client, so that it may leave.
    return { source: { lengthBytes: 0, next: () => null, close: () => source.close() }, progress: () => "all" };
  }
  let progress: "nothing" | "part" | "all" = "nothing";
  let left = source.lengthBytes ?? Number.POSITIVE_INFINITY;
  return {
    progress: () => progress,
    source: {
      lengthBytes: source.lengthBytes,
      next: async () => {
        if (progress === "nothing") progress = "part";
        const piece = await source.next();
        if (piece?.kind === "bytes") left -= piece.bytes.length;
        if (piece === null || left <= 0) progress = "all";
        return piece;
      },
      close: () => source.close(),
    },
  };
}

function requestBody(placed: Placed): BodySource | null {
  const { body, head } = placed.exchange;
  if (body.lengthBytes === 0 && headerOf(head.headers, "content-length") === undefined) return null;
  return sourceOfReader(body);
}

interface Batch {
  /** As the client sent it. */
  readonly original: Uint8Array;
  /** As it goes to the lake. */
  readonly body: Uint8Array;
  readonly changed: boolean;
  /** Some part may not come from this client's address, or not by its protocol. */
  readonly refused: ServiceError | null;
}

/** Checks a batch and rewrites its parts where URL styles differ. */
function prepareBatch(placed: Placed, held: HeldBody): Batch {
  const { exchange, target, lake, front } = placed;
  const { headers } = exchange.head;
  const original = held.bytes;
  const type = headerOf(headers, "content-type");
  const barred = batchRefusedHere(original, type, exchange.remoteAddress, exchange.secure);
  if (barred?.verdict === "no" && barred.error) {
    return { original, body: original, changed: false, refused: barred.error };
  }
  const rewritten = rewriteBatch({
    body: original,
    contentType: type,
    host: headerOf(headers, "host"),
    account: target.account,
    lakeStyle: lake.style,
    keys: lake.keys,
    apiVersion: headerOf(headers, "x-ms-version"),
    nowMs: front.engine.clock.wallMs(),
  });
  // Parts that cannot be signed again go as they are: the lake refuses them one by one.
  if (rewritten.kind === "refuse") return { original, body: original, changed: false, refused: null };
  return { original, body: rewritten.body, changed: rewritten.changed, refused: null };
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
