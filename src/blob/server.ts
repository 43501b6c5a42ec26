/**
 * The Blob endpoint: each request is placed (account, container, blob), its operation detected, and then either
 * answered from flash, if it is one of the reads on the allow-list and its caller may, or passed on to the lake.
 */
import type { Exchange, Handler } from "../http/types.ts";
import { frontErrors } from "./errors.ts";
import { forwardRequest } from "./forward.ts";
import type { Front } from "./front.ts";
import { readBlob } from "./get-blob.ts";
import { layoutOf } from "./layout.ts";
import { listBlobs } from "./list-blobs.ts";
import { createPlaces, type Places } from "./places.ts";
import { failed, type Placed, refuse } from "./respond.ts";
import { refusedHere } from "./sas.ts";
import { screenHeaders } from "./screen.ts";
import { createWriteMeans, type WriteMeans } from "./write-means.ts";
import { takeWrite } from "./write-take.ts";

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
  const places = createPlaces();
  const means = createWriteMeans(front.engine);
  return (exchange) => {
    const startedAtMs = clock.monotonicMs();
    stats.requestsNow++;
    let answered: void | Promise<void>;
    try {
      answered = handle(front, exchange, startedAtMs, { places, means }, unplaced);
    } catch (error) {
      answered = Promise.reject(error);
    }
    // What is with the kernel already leaves nothing to wait for.
    if (answered === undefined) stats.requestsNow--;
    else return ending(front, exchange, startedAtMs, answered);
  };
}

async function ending(front: Front, exchange: Exchange, startedAtMs: number, answered: Promise<void>): Promise<void> {
  try {
    await answered;
  } catch (error) {
    await failed(front, exchange, startedAtMs, error);
  } finally {
    front.engine.stats.requestsNow--;
  }
}

function handle(
  front: Front,
  exchange: Exchange,
  startedAtMs: number,
  own: { readonly places: Places; readonly means: WriteMeans },
  unplaced: () => void,
): void | Promise<void> {
  const { head } = exchange;
  const layout = layoutOf(head.headers);
  const place = own.places.find(head, layout, front.accounts());
  const lake = place === null ? undefined : front.lakes().get(place.target.account);
  if (place === null || lake === undefined) {
    unplaced();
    return refuse(front, exchange, startedAtMs, frontErrors.unknownAccount);
  }
  const { target, query, operation, read } = place;
  // The lake sees Forebay's address and protocol instead of the client's: what a SAS says of those is judged here.
  const barred = refusedHere(query, exchange.remoteAddress, exchange.secure);
  if (barred?.verdict === "no" && barred.error) return refuse(front, exchange, startedAtMs, barred.error);
  const placed: Placed = { front, exchange, layout, target, query, operation, lake, startedAtMs };
  if (operation.name === "ListBlobs") return listBlobs(placed);
  if (typeof read === "string") {
    const taken = takeWrite(placed, own.means);
    return taken === null ? forwardRequest(placed, read) : taken;
  }
  const screened = screenHeaders(read.blob, layout, head.headers);
  return screened.kind === "hit-able" ? readBlob(placed, read, screened) : forwardRequest(placed, screened.why);
}
