/** Reads of a history: how they are made, and what counts for their judgement. */
import type { Received } from "../../sim/exchange.ts";
import { defaultPolicy, type Policy, type PolicyRule } from "../../src/engine/policy.ts";
import { headerOf } from "../../src/http/types.ts";
import type { ReadDone } from "./checker.ts";
import { API_VERSIONS, type Caller, type Clients } from "./clients.ts";
import { pickServer, type Running, track } from "./running.ts";
import type { Action } from "./steps.ts";
import type { Writers } from "./writers.ts";

/** A history under way, and what its reads are judged by. */
export interface History extends Running {
  readonly reads: ReadDone[];
  readonly writers: Writers;
  readonly violations: string[];
  /** When which rules were in force at some server. */
  readonly rules: { readonly fromMs: number; untilMs: number; readonly rules: readonly PolicyRule[] }[];
  readonly troubles: { readonly fromMs: number; readonly untilMs: number }[];
  calm: boolean;
  lies: boolean;
  marksSinceMs: number;
  hits: number;
  step: number;
}

/** A read of a whole blob by somebody who may. */
export const PLAIN = {
  do: "read",
  caller: "key",
  method: "GET",
  range: null,
  version: 0,
  condition: null,
  snapshot: false,
  slow: false,
  leaveAfterBytes: null,
  leaveAfterMs: null,
} as const;

export type ReadAction = Extract<Action, { do: "read" }>;

function conditionOf(history: History, action: ReadAction, name: string): ReadDone["condition"] {
  if (action.condition === null) return null;
  const etag = history.world.lake.states(name).findLast((state) => state.etag !== null)?.etag ?? '"0xABSENT"';
  if (action.condition === "if-none-match") return { name: "If-None-Match", etag };
  return { name: "If-Match", etag: action.condition === "if-match" ? etag : '"0xOTHER"' };
}

/** Starts a read; null when no server runs. What came of it is judged in the end. */
export function startRead(history: History, action: ReadAction): Promise<Received> | null {
  const { world, clients } = history;
  const number = pickServer(history, action.server);
  const server = number === null ? undefined : world.servers[number];
  if (number === null || server === undefined) return null;
  const snapshot = action.snapshot ? history.snapshots.get(action.name)?.at(-1) : undefined;
  const query = snapshot === undefined ? undefined : `snapshot=${snapshot}`;
  const name = query === undefined ? action.name : `${action.name}?${query}`;
  const condition = conditionOf(history, action, name);
  const { range } = action;
  const headers: [string, string][] = [["x-ms-version", API_VERSIONS[action.version] ?? API_VERSIONS[0]]];
  if (range !== null) headers.push(["Range", `bytes=${range.first}-${range.last ?? ""}`]);
  if (condition !== null) headers.push([condition.name, condition.etag]);
  const draft = { method: action.method, name: action.name, headers, ...(query === undefined ? {} : { query }) };
  const signed = clients.sign(action.caller, draft, world.clock.wallMs());
  const manners = {
    ...(action.slow ? { pauseMs: 5, pieceBytes: 3_000 } : {}),
    ...(action.leaveAfterBytes === null ? {} : { leaveAfterBytes: action.leaveAfterBytes }),
    ...(action.leaveAfterMs === null ? {} : { leaveAfterMs: action.leaveAfterMs }),
  };
  const sent = server.send({ method: action.method, ...signed, manners });
  const what = `step ${history.step}, ${action.caller} ${action.method} ${name} at ${server.holder} ${JSON.stringify(range)}`;
  const { calm } = history;
  const done = sent.received.then((received) => {
    if (headerOf(received.headers, "x-forebay") === "hit") history.hits++;
    const refusedAtMs = server.refusedAtMs();
    const container = name.split("/")[0] ?? "";
    const { startedAtMs, headAtMs } = received;
    history.reads.push({
      what: `${what} from ${startedAtMs.toFixed(2)} to ${headAtMs.toFixed(2)}`,
      method: action.method,
      name,
      range,
      condition,
      received,
      boundMs: boundOf(history, container, startedAtMs, headAtMs),
      mayRead: (from, until) => clients.mayRead(action.caller, container, from, until),
      alwaysReads: (from, until) => clients.alwaysReads(action.caller, container, from, until),
      localUntilMs: localUntil(clients, action.caller, refusedAtMs),
      calm,
      liesAboutMd5: history.lies,
    });
    if (received.ending === "complete" && sent.closes().sources !== sent.closes().closed) {
      history.violations.push(`${what}: the body's source was not closed once`);
    }
    return received;
  });
  track(history, done);
  return done;
}

/** Until when a signature by the account's first key may count although the key was replaced. */
function localUntil(clients: Clients, caller: Caller, refusedAtMs: number): number {
  const byFirstKey = caller === "old-key" || caller === "sas" || caller === "policy-sas";
  if (!byFirstKey || clients.rotatedAtMs === Number.POSITIVE_INFINITY) return Number.NEGATIVE_INFINITY;
  return refusedAtMs >= clients.rotatedAtMs ? refusedAtMs + 60_000 : Number.POSITIVE_INFINITY;
}

/** The loosest bound that some server may have gone by. */
function boundOf(history: History, container: string, fromMs: number, untilMs: number): number | "immutable" {
  let bound = 0;
  for (const { rules, ...term } of history.rules) {
    if (term.fromMs > untilMs || term.untilMs < fromMs) continue;
    const policy: Policy = rules.find((one) => one.container === container) ?? defaultPolicy;
    if (policy.maxStaleMs === "immutable") return "immutable";
    const away = history.troubles.some((trouble) => trouble.fromMs <= untilMs && trouble.untilMs + 120_000 >= fromMs);
    bound = Math.max(bound, policy.onLakeOutage === "serve" && away ? Number.POSITIVE_INFINITY : policy.maxStaleMs);
  }
  return bound;
}
