/** Runs a case at the lake and through Forebay, and compares. */

import { expect } from "bun:test";
import { randomBytes } from "node:crypto";
import type { ConformanceCase } from "./case.ts";
import { startPass } from "./context.ts";
import { type Endpoint, hostOf } from "./endpoint.ts";
import { cacheVerdict, type Exchange, type Outcome, outcomeOf, strangeHeaders } from "./outcome.ts";

/** All passes of a case at one endpoint. */
export interface CaseResult {
  readonly cold: Outcome;
  readonly warm: Outcome;
  /** After a change made at the lake itself; only for cases that have one. */
  readonly changed?: Outcome | undefined;
  readonly warmExchanges: readonly Exchange[];
  readonly coldExchanges: readonly Exchange[];
}

/** How a case is run. */
export interface RunOptions {
  readonly endpoint: Endpoint;
  readonly lake: Endpoint;
  /** How a change made at the lake becomes visible: by policy, or by asking past the cache. */
  readonly seeChanges: "strict" | "bypass";
}

const WARM_ATTEMPTS = 20;
const WARM_PAUSE_MS = 50;

/** Runs `subject` in a container of its own, which is removed afterwards. */
export async function runCase(subject: ConformanceCase, options: RunOptions): Promise<CaseResult> {
  const { endpoint, lake } = options;
  const container = `cf${randomBytes(5).toString("hex")}`;
  const hosts = [endpoint, lake].flatMap((end) => [
    hostOf({ ...end, style: "path" }),
    hostOf({ ...end, style: "account" }),
  ]);
  const masks = { containers: [container], account: lake.account.name, hosts, headers: subject.maskedHeaders ?? [] };
  const helper = startPass({ endpoint: lake, lake, container }).context;
  const pass = async (extraHeaders: readonly (readonly [string, string])[] = []) => {
    const { context, finish } = startPass({ endpoint, lake, container, extraHeaders });
    await subject.run(context);
    const { exchanges, notes } = await finish();
    return { exchanges, outcome: outcomeOf(exchanges, notes, masks) };
  };
  try {
    if (subject.makeContainer !== false) await helper.lake.blobs.create();
    await subject.setup?.(helper);
    const cold = await pass();
    let warm = await pass();
    const repeatable = subject.readOnly === true || subject.change !== undefined;
    // Filled blocks become visible a moment after the reader has its last byte.
    for (let i = 0; i < WARM_ATTEMPTS && endpoint.kind === "forebay" && repeatable; i++) {
      if (missedHits(warm.exchanges).length === 0) break;
      await new Promise((done) => setTimeout(done, WARM_PAUSE_MS));
      warm = await pass();
    }
    let changed: Outcome | undefined;
    if (subject.change) {
      await subject.change(helper);
      changed = (await pass(options.seeChanges === "bypass" ? [["x-forebay-bypass", "true"]] : [])).outcome;
    }
    return {
      cold: cold.outcome,
      warm: warm.outcome,
      changed,
      coldExchanges: cold.exchanges,
      warmExchanges: warm.exchanges,
    };
  } finally {
    await removeContainers(helper.lake.service, container);
  }
}

async function removeContainers(service: ReturnType<typeof startPass>["context"]["service"], prefix: string) {
  for await (const item of service.listContainers({ prefix })) {
    const client = service.getContainerClient(item.name);
    await client
      .getBlobLeaseClient()
      .breakLease(0)
      .catch(() => {});
    await client.delete().catch(() => {});
  }
}

function missedHits(exchanges: readonly Exchange[]): readonly string[] {
  return exchanges
    .filter((exchange) => exchange.cache === "hit" && cacheVerdict(exchange) !== "hit")
    .map((exchange) => `${exchange.label}: x-forebay is ${cacheVerdict(exchange)}, not hit`);
}

/** Demands that both ends gave the same outcomes. */
export function expectSame(lake: CaseResult, other: CaseResult): void {
  expect(other.cold).toEqual(lake.cold);
  expect(other.warm).toEqual(lake.warm);
  expect(other.changed).toEqual(lake.changed);
}

/** Demands the same outcomes, and of `x-forebay` what the case expects; `hits`: hits must have been hits. */
export function expectForebay(subject: ConformanceCase, lake: CaseResult, forebay: CaseResult, hits: boolean): void {
  if (subject.ownAnswers) {
    expectSame(...withoutOwnAnswers(lake, forebay, subject.ownAnswers));
  } else {
    expectSame(lake, forebay);
    expect(strangeHeaders(lake.cold, forebay.cold)).toEqual([]);
  }
  const all = [...forebay.coldExchanges, ...forebay.warmExchanges];
  const unmarked = all.filter((exchange) => exchange.status >= 200 && cacheVerdict(exchange) === undefined);
  expect(unmarked.map((exchange) => `${exchange.label} (${exchange.status}) has no x-forebay`)).toEqual([]);
  const wrongHits = all.filter((exchange) => exchange.cache === "never" && cacheVerdict(exchange) === "hit");
  expect(wrongHits.map((exchange) => `${exchange.label} must not be a hit`)).toEqual([]);
  if (hits) expect(missedHits(forebay.warmExchanges)).toEqual([]);
}

/** Both results with Forebay's own refusals, and what the lake said there, cut down to the status. */
function withoutOwnAnswers(
  lake: CaseResult,
  forebay: CaseResult,
  codes: readonly string[],
): readonly [CaseResult, CaseResult] {
  const isOwn = ({ status, headers }: Outcome["seen"][number]): boolean =>
    status >= 400 && headers["server"] === "Forebay" && codes.includes(headers["x-ms-error-code"] ?? "");
  const cut = (outcome: Outcome, own: readonly boolean[]): Outcome => ({
    ...outcome,
    seen: outcome.seen.map((seen, i) => (own[i] ? { ...seen, headers: {}, body: "", framing: "" } : seen)),
  });
  const own = { cold: forebay.cold.seen.map(isOwn), warm: forebay.warm.seen.map(isOwn) };
  const both = (result: CaseResult): CaseResult => ({
    ...result,
    cold: cut(result.cold, own.cold),
    warm: cut(result.warm, own.warm),
  });
  return [both(lake), both(forebay)];
}
