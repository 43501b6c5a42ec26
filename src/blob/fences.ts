/**
 * What is pending, in the way of a request that only the lake can answer. Before such a request leaves, everything
 * pending in its reach is carried to the lake, and changes hold back later writes there until the lake has answered:
 * the lake then answers as if it had always had what Forebay acknowledged.
 *
 * On paths with `write: back` a change raises a fence even where nothing is pending: a write acknowledged while the
 * change is under way would be carried onto a version that it does not know, as if somebody else had made it.
 */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { owedIsKnown, reachDesk } from "../engine/desk.ts";
import { slotsOf } from "../engine/generations.ts";
import { mayBeBack } from "../engine/policy.ts";
import { bump } from "../engine/stats.ts";
import { headerOf, type RawHeaders } from "../http/types.ts";
import { keyText } from "../lake/types.ts";
import { batchTargets } from "./batch.ts";
import { sourceTarget } from "./copy-source.ts";
import type { Front } from "./front.ts";
import { isBatch, isPlain, ODD_BATCH, type TouchedScope, touchedBy } from "./operations.ts";
import { decodeLoosely, queryValue } from "./query.ts";
import type { Placed } from "./respond.ts";
import type { Target } from "./types.ts";
import { credentialKind, judge } from "./verdict.ts";

/** Fences that stand for a request. */
interface Raised {
  /** Lets later writes go on. */
  lower(): void;
}

/** What a request wants of a scope. */
interface Need extends TouchedScope {
  /**
   * `flush`: what is pending is to be in the lake. `staged`: blocks that nobody committed yet, too. `fence`: both, and
   * nothing is to follow before the lake has answered.
   */
  readonly wants: "flush" | "staged" | "fence";
}

const NOTHING: Raised = { lower: () => {} };

/** Operations that neither see nor change anything that can be pending. */
const APART: ReadonlySet<string> = new Set([
  "ListContainers",
  "GetBlobServiceProperties",
  "SetBlobServiceProperties",
  "GetBlobServiceStats",
  "GetAccountInformation",
  "GetUserDelegationKey",
  "PreflightBlobRequest",
  "CreateContainer",
  "GetContainerProperties",
  "GetContainerMetadata",
  "SetContainerMetadata",
  "GetContainerACL",
  "SetContainerACL",
  "LeaseContainer",
]);

/** Operations that give a blob its content. */
const COMMITS: ReadonlySet<string> = new Set([
  "PutBlob",
  "PutBlockList",
  "CopyBlob",
  "CopyBlobFromURL",
  "PutBlobFromURL",
  "IncrementalCopyBlob",
]);

/** Changes of one blob whose answers may concern more to a cache, though not to what is pending. */
const OF_ONE_BLOB: ReadonlySet<string> = new Set(["SetBlobTier", "UndeleteBlob"]);

/**
 * Carries to the lake what is pending in the way of a request, and holds back what would follow. Rejects with
 * `overloaded` when that cannot be done in time.
 *
 * @param batchBody The body of a batch as the client sent it, else null.
 */
export async function raiseFences(placed: Placed, batchBody: Uint8Array | null): Promise<Raised> {
  const { front } = placed;
  const all = needsOf(placed, batchBody);
  if (all.length === 0) return NOTHING;
  await makeKnown(front, all);
  let needs = all.filter((need) => isOwed(front, need) || (need.wants === "fence" && isHeldBack(placed, need)));
  if (needs.length === 0) return NOTHING;
  // Whose signature is false holds nobody back, though the lake may know newer keys.
  if (batchBody === null && needs.some(({ wants }) => wants === "fence") && isFalse(placed)) {
    needs = needs.filter((need) => isOwed(front, need)).map((need) => ({ ...need, wants: "flush" }));
  }
  const endMs = front.engine.clock.monotonicMs() + limits.fenceWaitMs;
  try {
    const fenced = needs.filter(({ wants }) => wants !== "flush");
    // All at once first: the fences, raised one after the other, then find little left to carry.
    const first = fenced.length > 1 ? needs : needs.filter(({ wants }) => wants === "flush");
    await Promise.all(first.map((need) => flushNeed(front, need, endMs)));
    return await raiseAll(front, fenced, endMs);
  } catch (error) {
    throw inTheWay(front, error);
  }
}

/** Carries everything acknowledged in `scope` to the lake. Rejects with `overloaded` when that cannot be done in time. */
export async function flushScope(front: Front, scope: TouchedScope): Promise<void> {
  const need: Need = { ...scope, wants: "flush" };
  await makeKnown(front, [need]);
  if (!isOwed(front, need)) return;
  try {
    await flushNeed(front, need, front.engine.clock.monotonicMs() + limits.fenceWaitMs);
  } catch (error) {
    throw inTheWay(front, error);
  }
}

/** What an answer of the lake says of how durable a write of a `back` path is. */
export function durabilityOf({ front, operation, target }: Placed, status: number): readonly string[] {
  const { account, container, blob } = target;
  if (operation.effect !== "change" || status >= 300 || container === null || blob === null) return [];
  return mayBeBack(front.policies(), account, container, blob) ? ["x-forebay-durability", "lake"] : [];
}

function inTheWay(front: Front, error: unknown): ForebayError {
  if (hasCode(error, "cancelled")) return asForebayError(error);
  const { code, message } = asForebayError(error);
  bump(front.engine.stats.errors, `fence.${code}`);
  return new ForebayError("overloaded", `what is pending is in the way: ${message}`, { cause: error });
}

/** Before the journal was read nobody knows what is pending: where that may be something, a request has to wait. */
async function makeKnown(front: Front, needs: readonly Need[]): Promise<void> {
  if (front.engine.generations.owed.known() || (await owedIsKnown(front.engine))) return;
  const policies = front.policies();
  if (needs.some(({ account, container, blob }) => mayBeBack(policies, account, container, blob))) {
    throw new ForebayError("overloaded", "it is not known yet what is pending");
  }
}

function isOwed({ engine }: Front, { account, container, blob }: TouchedScope): boolean {
  const { owed } = engine.generations;
  const slots = slotsOf(`${account}/${container ?? ""}/${blob ?? ""}`);
  return container === null ? owed.account(slots) : blob === null ? owed.container(slots) : owed.blob(slots);
}

/** Whether writes must wait for this change though none is pending. A block that is not committed is in nobody's way. */
function isHeldBack({ front, operation }: Placed, { account, container, blob }: TouchedScope): boolean {
  return operation.name !== "PutBlock" && mayBeBack(front.policies(), account, container, blob);
}

async function flushNeed(front: Front, { account, container, blob }: Need, endMs: number): Promise<void> {
  const { engine, reader } = front;
  if (container !== null && blob !== null) {
    const indexKey = keyText({ account, container, blob });
    const key = { name: { account, container, blob }, indexKey, slots: slotsOf(indexKey) };
    // Another blob, or blocks that nobody committed: nothing that a read of this one shows.
    if ((await reader.pending.latest(key)) === null) return;
  }
  const leftMs = Math.max(0, endMs - engine.clock.monotonicMs());
  await reachDesk(engine.clock, leftMs, (left) => engine.desk.flush({ account, container, blob }, left));
}

/** Raises fences one after the other, in one order for everybody. */
async function raiseAll(front: Front, needs: readonly Need[], endMs: number): Promise<Raised> {
  const { desk, clock, holder } = front.engine;
  const raised: number[] = [];
  const lower = (): void => {
    // One that does not arrive falls by itself.
    for (const fence of raised.splice(0)) void desk.unfence(fence).catch(() => {});
  };
  try {
    for (const need of [...needs].sort(byName)) {
      const { account, container, blob } = need;
      const leftMs = Math.max(0, endMs - clock.monotonicMs());
      const raise = (left: number) => desk.fence(holder, { account, container, blob }, left);
      if (isOwed(front, need)) {
        raised.push(await reachDesk(clock, leftMs, raise));
        continue;
      }
      const fence = await raise(leftMs).catch((error: unknown) => {
        // Without a desk no write is acknowledged that would have to be held back.
        if (!hasCode(error, "closed")) throw error;
        return null;
      });
      if (fence !== null) raised.push(fence);
    }
    // Who only wanted to see the blocks of others holds nobody back.
    if (needs.every(({ wants }) => wants === "staged")) lower();
    return { lower };
  } catch (error) {
    lower();
    throw error;
  }
}

function byName(a: Need, b: Need): number {
  const [left, right] = [
    JSON.stringify([a.account, a.container, a.blob]),
    JSON.stringify([b.account, b.container, b.blob]),
  ];
  return left < right ? -1 : left > right ? 1 : 0;
}

function needsOf(placed: Placed, batchBody: Uint8Array | null): Need[] {
  const { operation, query, target } = placed;
  if (APART.has(operation.name) && isPlain(query)) return [];
  const sources = sourceNeeds(placed);
  if (operation.effect === "read") return [...sources, ...flushAsked(placed), ...readNeeds(placed)];
  if (isBatch(operation)) return batchNeeds(placed, batchBody);
  // The lake changes nothing for whoever shows no credential at all.
  if (isAnonymous(placed)) return [];
  const asked = flushAsked(placed);
  return [...sources, ...(asked.length > 0 ? asked : orderNeeds(placed)), fence(changedScope(placed, target))];
}

/** A blob that comes to be now must not be in the lake before what was acknowledged earlier on its path. */
function orderNeeds({ front, operation, target }: Placed): Need[] {
  const { account, container, blob } = target;
  if (!COMMITS.has(operation.name) || !mayBeBack(front.policies(), account, container, blob)) return [];
  return [{ account, container, blob: null, wants: "flush" }];
}

/** `x-forebay-flush: true`: everything before the request is to be in the lake when it is answered. */
function flushAsked({ exchange, target }: Placed): Need[] {
  if (!asksForFlush(exchange.head.headers)) return [];
  return [{ account: target.account, container: target.container, blob: null, wants: "flush" }];
}

/** Whether a request asks that all before it be in the lake first. */
export function asksForFlush(headers: RawHeaders): boolean {
  return headerOf(headers, "x-forebay-flush")?.trim().toLowerCase() === "true";
}

function fence(scope: TouchedScope): Need {
  return { ...scope, wants: "fence" };
}

function changedScope({ operation, query }: Placed, target: Target): TouchedScope {
  const { account, container, blob } = target;
  const one = operation.scope === "none" || (OF_ONE_BLOB.has(operation.name) && isPlain(query));
  if (one && container !== null && !target.ambiguous) return { account, container, blob };
  return touchedBy(operation, target) ?? { account, container, blob: null };
}

function readNeeds({ operation, query, target, exchange }: Placed): Need[] {
  const { account, container } = target;
  // The secondary is behind at all times, and snapshots and versions are what they were.
  if (target.secondary || query.parameters.some(({ name }) => name === "snapshot" || name === "versionid")) return [];
  const blob = target.ambiguous ? null : target.blob;
  const bypass = headerOf(exchange.head.headers, "x-forebay-bypass")?.toLowerCase() ?? "false";
  if (operation.cacheable && bypass !== "false") return [];
  const staged =
    operation.name === "GetBlockList" ||
    (operation.name === "ListBlobs" && (queryValue(query, "include")?.includes("uncommitted") ?? false));
  return [{ account, container, blob, wants: staged ? "staged" : "flush" }];
}

/** What a copy reads. The source of a rename is changed, too: its scope is the account. */
function sourceNeeds({ front, exchange }: Placed): Need[] {
  const source = headerOf(exchange.head.headers, "x-ms-copy-source");
  const target = source === undefined ? null : sourceTarget(source.trim(), front.accounts());
  if (target === null || target.container === null || target.secondary) return [];
  if (/[?&](snapshot|versionid)=/i.test(target.query)) return [];
  const { account, container } = target;
  return [{ account, container, blob: target.ambiguous ? null : target.blob, wants: "flush" }];
}

function batchNeeds(placed: Placed, body: Uint8Array | null): Need[] {
  const { front, exchange, operation, target } = placed;
  const { headers } = exchange.head;
  const whole = touchedBy(operation, target);
  const odd = body === null || operation.name === ODD_BATCH || headerOf(headers, "content-encoding") !== undefined;
  const type = headerOf(headers, "content-type");
  const parts = odd ? null : batchTargets(body, type, headerOf(headers, "host"), front.accounts());
  if (parts === null || parts.length > limits.batchPartsMax) return whole === null ? [] : [fence(whole)];
  const scopes = new Map<string, Need>();
  for (const part of parts) {
    const { account, container, blob, ambiguous } = part.target;
    const one = OF_ONE_BLOB.has(part.operation) && blob !== null && !ambiguous;
    const touched = one ? { account, container, blob } : part.touched;
    if (touched !== null)
      scopes.set(JSON.stringify([touched.account, touched.container, touched.blob]), fence(touched));
  }
  return [...scopes.values()];
}

function isFalse({ front, exchange, layout, target, query, operation, lake }: Placed): boolean {
  const { headers, method } = exchange.head;
  const { verdict } = judge({
    method,
    target,
    query,
    headers,
    layout,
    operation: operation.name,
    keys: lake.keys,
    nowMs: front.engine.clock.wallMs(),
    clientAddress: exchange.remoteAddress,
    secure: exchange.secure,
    policies: front.storedPolicies,
  });
  return verdict === "no";
}

function isAnonymous({ layout, exchange, query }: Placed): boolean {
  const anonymous = credentialKind(layout, exchange.head.headers, query) === "anonymous";
  return anonymous && !decodeLoosely(query.raw).toLowerCase().includes("sig");
}
