/**
 * The Blob endpoint: each request is placed (account, container, blob), its operation detected, and then either
 * answered from flash, if it is one of the reads on the allow-list and its caller may, or passed on to the lake.
 */
import { type Exchange, type Handler, headerOf } from "../http/types.ts";
import { frontErrors } from "./errors.ts";
import { forwardRequest } from "./forward.ts";
import type { Front } from "./front.ts";
import { readBlob } from "./get-blob.ts";
import { detectOperation } from "./operations.ts";
import { parseQuery } from "./query.ts";
import { failed, type Placed, refuse } from "./respond.ts";
import { refusedHere } from "./sas.ts";
import { screen } from "./screen.ts";
import { parseTarget } from "./target.ts";

/** The least time between two lines of the log about requests that name no account. */
const UNPLACED_LOG_MS = 60_000;
/** How many account names one line of the log has. */
const UNPLACED_LOG_NAMES = 16;

/** The handler of every request to the Blob endpoint. */
export function createBlobHandler(front: Front): Handler {
  const { stats, clock } = front.engine;
  let loggedAtMs = Number.NEGATIVE_INFINITY;
  // Who asks is told nothing of the accounts; whoever set this up wrongly finds them in the log.
  const unplaced = (): void => {
    const nowMs = clock.monotonicMs();
    if (nowMs - loggedAtMs < UNPLACED_LOG_MS) return;
    loggedAtMs = nowMs;
    const accounts = [...front.accounts()].slice(0, UNPLACED_LOG_NAMES);
    front.engine.log("warn", "a request names no configured account", { accounts });
  };
  return (exchange) => {
    stats.requestsNow++;
    const startedAtMs = clock.monotonicMs();
    let answered: Promise<void>;
    try {
      answered = handle(front, exchange, startedAtMs, unplaced);
    } catch (error) {
      answered = Promise.reject(error);
    }
    return answered
      .catch((error: unknown) => failed(front, exchange, startedAtMs, error))
      .finally(() => {
        stats.requestsNow--;
      });
  };
}

function handle(front: Front, exchange: Exchange, startedAtMs: number, unplaced: () => void): Promise<void> {
  const { head } = exchange;
  const target = parseTarget(head.target, headerOf(head.headers, "host"), front.accounts());
  const lake = target === null ? undefined : front.lakes().get(target.account);
  if (target === null || lake === undefined) {
    unplaced();
    return refuse(front, exchange, startedAtMs, frontErrors.unknownAccount);
  }
  const query = parseQuery(target.query);
  // The lake sees Forebay's address and protocol instead of the client's: what a SAS says of those is judged here.
  const barred = refusedHere(query, exchange.remoteAddress, exchange.secure);
  if (barred?.verdict === "no" && barred.error) return refuse(front, exchange, startedAtMs, barred.error);
  const operation = detectOperation(head.method, target, query, head.headers);
  const placed: Placed = { front, exchange, target, query, operation, lake, startedAtMs };
  if (!operation.cacheable) return forwardRequest(placed, operation.name);
  const screened = screen(operation, target, head.headers, query);
  return screened.kind === "hit-able" ? readBlob(placed, screened) : forwardRequest(placed, screened.why);
}
