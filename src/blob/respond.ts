/** How requests are answered: errors of our own in the service's form, answers of the lake as they are, and the log. */

import { asForebayError, hasCode } from "../base/errors.ts";
import { bump } from "../engine/stats.ts";
import { passingSource } from "../http/pass-on.ts";
import {
  type BodySource,
  bytesSource,
  type ClientResponse,
  type Exchange,
  headerOf,
  type RawHeaders,
  type Segment,
} from "../http/types.ts";
import type { Lake } from "../lake/types.ts";
import { answerOf, azureError, type ErrorAnswer, type ErrorContext } from "./errors.ts";
import type { AccessEntry, Front } from "./front.ts";
import type { Layout } from "./layout.ts";
import type { Operation } from "./operations.ts";
import type { Query } from "./query.ts";
import { endToEndHeaders } from "./rewrite.ts";
import type { ServiceError, Target } from "./types.ts";

/** A request that was placed. */
export interface Placed {
  readonly front: Front;
  readonly exchange: Exchange;
  readonly layout: Layout;
  readonly target: Target;
  readonly query: Query;
  readonly operation: Operation;
  readonly lake: Lake;
  readonly startedAtMs: number;
}

function errorContext(front: Front, headers: RawHeaders): ErrorContext {
  return {
    requestId: front.newRequestId(),
    nowMs: front.engine.clock.wallMs(),
    apiVersion: headerOf(headers, "x-ms-version"),
    clientRequestId: headerOf(headers, "x-ms-client-request-id"),
  };
}

/** Answers with an error of our own making, in the service's form. */
export function refuse(
  front: Front,
  exchange: Exchange,
  startedAtMs: number,
  error: ServiceError,
): void | Promise<void> {
  return send(front, exchange, startedAtMs, azureError(error, errorContext(front, exchange.head.headers)));
}

/** Answers a read of what is pending with an error, as the lake would if it had it already. */
export function refuseDirty(placed: Placed, error: ServiceError, extra: readonly string[] = []): void | Promise<void> {
  const { front, exchange, startedAtMs, operation } = placed;
  const answer = azureError(error, errorContext(front, exchange.head.headers), {}, [...extra, "x-forebay", "dirty"]);
  const { status, headers } = answer.head;
  note(front, exchange, startedAtMs, { status, result: "dirty", operation: operation.name, headers });
  if (status === 304) return exchange.respond(answer.head, null);
  return exchange.respond(answer.head, bytesSource(answer.body), answer.body.length);
}

/** Answers for a thrown error; what was already under way is cut by the server. */
export function failed(front: Front, exchange: Exchange, startedAtMs: number, error: unknown): void | Promise<void> {
  const { code, message } = asForebayError(error);
  if (hasCode(error, "cancelled")) throw error;
  bump(front.engine.stats.errors, code);
  if (code === "internal") front.engine.log("error", "a request failed", { code, reason: message });
  return send(front, exchange, startedAtMs, answerOf(error, errorContext(front, exchange.head.headers)));
}

function send(front: Front, exchange: Exchange, startedAtMs: number, answer: ErrorAnswer): void | Promise<void> {
  const headers = [...answer.head.headers, "x-forebay", "forward"];
  note(front, exchange, startedAtMs, { status: answer.head.status, result: "error", operation: "Error", headers });
  return exchange.respond({ ...answer.head, headers }, bytesSource(answer.body), answer.body.length);
}

/**
 * Passes an answer of the lake on, with headers of Forebay's own beside it. Resolves when it was sent whole; lets go of
 * the answer when that fails.
 */
export function passOn(placed: Placed, response: ClientResponse, own: RawHeaders = []): void | Promise<void> {
  try {
    return respondWith(placed, response, own);
  } catch (error) {
    response.body.cancel();
    throw error;
  }
}

function respondWith(placed: Placed, response: ClientResponse, own: RawHeaders): void | Promise<void> {
  const { front, exchange, operation } = placed;
  const { status, reason } = response.head;
  const headers = [...endToEndHeaders(response.head.headers), "x-forebay", "forward", ...own];
  note(front, exchange, placed.startedAtMs, { status, result: "forward", operation: operation.name, headers });
  const length = headerOf(response.head.headers, "content-length");
  const lengthBytes = length === undefined ? undefined : Number(length);
  if (exchange.head.method === "HEAD" || status === 204 || status === 304) {
    response.body.cancel();
    return exchange.respond({ status, reason, headers }, null, lengthBytes);
  }
  const { stats } = front.engine;
  const source = passingSource(response.body);
  const count = (piece: Segment | null): Segment | null => {
    if (piece?.kind === "bytes") stats.bytesForwarded += piece.bytes.length;
    return piece;
  };
  const counted: BodySource = {
    ...source,
    next: () => {
      const piece = source.next();
      return piece instanceof Promise ? piece.then(count) : count(piece);
    },
  };
  return exchange.respond({ status, reason, headers }, counted, lengthBytes);
}

/** Writes the access log, where there is one. Never throws: a log that fails must not cost an answer. */
export function note(
  front: Front,
  exchange: Exchange,
  startedAtMs: number,
  answer: { status: number; result: string; operation: string; headers: RawHeaders },
): void {
  if (front.accessLog === null) return;
  try {
    front.accessLog(entryOf(front, exchange, startedAtMs, answer));
  } catch (error) {
    bump(front.engine.stats.errors, `access-log.${asForebayError(error).code}`);
  }
}

function entryOf(
  front: Front,
  exchange: Exchange,
  startedAtMs: number,
  answer: { status: number; result: string; operation: string; headers: RawHeaders },
): AccessEntry {
  const { head } = exchange;
  const mark = head.target.indexOf("?");
  return {
    timeMs: front.engine.clock.wallMs(),
    client: exchange.remoteAddress,
    method: head.method,
    path: mark < 0 ? head.target : head.target.slice(0, mark),
    operation: answer.operation,
    status: answer.status,
    result: answer.result,
    elapsedMs: front.engine.clock.monotonicMs() - startedAtMs,
    requestId: headerOf(answer.headers, "x-ms-request-id") ?? "",
    clientRequestId: headerOf(head.headers, "x-ms-client-request-id"),
  };
}
