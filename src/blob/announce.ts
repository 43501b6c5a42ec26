/**
 * Which changes are announced before they leave for the lake, how widely, and what is done after the lake's answer.
 * Whoever changes a blob makes what is known of it void; whoever is refused by the lake costs others a check at most.
 *
 * - A request without any credential changes nothing in Azure: it is announced only if the lake did it nevertheless.
 * - A request whose credential is false by the account's keys moves the generations, and is marked only if the lake
 *   did not refuse it (its keys may be newer than those known here).
 * - Any other is marked durably before it leaves, on immutable paths.
 */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { beginChange, type Change, type ChangeEnd } from "../engine/change.ts";
import { mayBeImmutable, resolvePolicy } from "../engine/policy.ts";
import { headerOf } from "../http/types.ts";
import { batchTargets } from "./batch.ts";
import type { Front } from "./front.ts";
import { ODD_BATCH, type TouchedScope, touchedBy } from "./operations.ts";
import { decodeLoosely } from "./query.ts";
import type { Placed } from "./respond.ts";
import { credentialKind, judge } from "./verdict.ts";

/**
 * How far a request's credential is believed. `none`: it has none. `false`: its own account's keys say no. `unproven`:
 * only the lake can say. `open`: it is good, or nothing depends on it.
 */
type Standing = "none" | "false" | "unproven" | "open";

/** What became of a change in the lake. */
export type Outcome =
  /** The lake answered. */
  | { readonly kind: "answered"; readonly status: number }
  /** No answer came. */
  | { readonly kind: "lost"; readonly sent: "nothing" | "part" | "all" };

/** A change that was announced, and whether it was marked durably. */
interface Announced {
  readonly scope: TouchedScope;
  readonly marked: boolean;
  readonly change: Change | null;
}

/** The changes of one request, announced. */
export interface Announcement {
  /** Whether the lake's answer is to be had even when the client left: what the lake says decides over a mark. */
  readonly awaitsAnswer: boolean;
  /**
   * Ends the changes. What is an immutable path and bears no mark yet gets it now: what was read of it meanwhile must
   * not come back with a power loss. Rejects when that mark cannot be had.
   */
  conclude(outcome: Outcome): Promise<void>;
}

/**
 * Moves the generations of whatever the request may change, and marks it where that is due.
 *
 * @param batchBody The body of a batch as the client sent it, else null.
 */
export async function announce(placed: Placed, batchBody: Uint8Array | null): Promise<Announcement> {
  const { front } = placed;
  const scopes = scopesOf(placed, batchBody);
  const standing = scopes.length === 0 ? "open" : standingOf(placed, scopes);
  const announced: Announced[] = [];
  try {
    for (const scope of scopes) {
      const marked = (standing === "open" || standing === "unproven") && touchesImmutable(front, scope);
      const change = standing === "none" ? null : await beginChange(front.engine, scope, marked);
      announced.push({ scope, marked, change });
    }
  } catch (caught) {
    for (const { change } of announced) void change?.end("refused");
    if (hasCode(caught, "cancelled")) throw caught;
    throw unmarkable(front, caught);
  }
  return {
    awaitsAnswer: standing === "false" || announced.some(({ marked }) => marked),
    conclude: (outcome) => conclude(front, standing, announced, outcome),
  };
}

async function conclude(
  front: Front,
  standing: Standing,
  announced: readonly Announced[],
  outcome: Outcome,
): Promise<void> {
  const end = endOf(standing, outcome);
  try {
    await Promise.all(announced.map(({ change }) => change?.end(end)));
    if (end === "refused" || !mayHaveChanged(standing, outcome)) return;
    for (const { scope, marked } of announced) {
      const immutable = touchesImmutable(front, scope);
      if (marked || (!immutable && standing !== "none")) continue;
      await (await beginChange(front.engine, scope, immutable)).end(end);
    }
  } catch (caught) {
    throw unmarkable(front, caught);
  }
}

/** What the outcome says about the change. A lake that grew tired of waiting (408) says nothing certain. */
function endOf(standing: Standing, outcome: Outcome): ChangeEnd {
  if (outcome.kind === "lost") {
    // A request that breaks off midway is none to the lake. Of those that may change something, that is not relied on.
    const none = outcome.sent === "nothing" || (outcome.sent === "part" && standing === "unproven");
    return none ? "refused" : "unknown";
  }
  if (outcome.status >= 500 || outcome.status === 408) return "unknown";
  return outcome.status < 400 ? "done" : "refused";
}

/** Whether a change of which the lake did not say no is believed to have happened. */
function mayHaveChanged(standing: Standing, outcome: Outcome): boolean {
  if (standing === "open" || standing === "unproven") return true;
  if (outcome.kind === "answered") return outcome.status < 400 || (standing === "false" && outcome.status >= 500);
  // A false request that its own client broke off midway is not believed; one that the lake has whole may be.
  return standing === "false" && outcome.sent === "all";
}

function unmarkable(front: Front, cause: unknown): ForebayError {
  const reason = asForebayError(cause).message;
  front.engine.log("error", "a change of an immutable path could not be marked on flash", { reason });
  return new ForebayError("overloaded", "a change of an immutable path could not be marked on flash", { cause });
}

function standingOf(placed: Placed, scopes: readonly TouchedScope[]): Standing {
  const { front, exchange, layout, query, target, operation, lake } = placed;
  const { headers, method } = exchange.head;
  // Every SAS has a `sig`, in whatever way it is written.
  if (credentialKind(layout, headers, query) === "anonymous" && !mentions(query.raw, "sig")) return "none";
  if (!scopes.some((scope) => touchesImmutable(front, scope))) return "open";
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
  return verdict === "no" ? "false" : verdict === "yes" ? "open" : "unproven";
}

/** Whether a raw query has `word` (lower case) somewhere, in any case of letters and however encoded. */
function mentions(rawQuery: string, word: string): boolean {
  return decodeLoosely(rawQuery).toLowerCase().includes(word);
}

function touchesImmutable(front: Front, scope: TouchedScope): boolean {
  const table = front.policies();
  if (scope.container === null || scope.blob === null) return mayBeImmutable(table, scope.account, scope.container);
  return resolvePolicy(table, scope.account, scope.container, scope.blob).maxStaleMs === "immutable";
}

function scopesOf(placed: Placed, batchBody: Uint8Array | null): TouchedScope[] {
  const scopes = batchBody === null ? null : batchScopes(placed, batchBody);
  if (scopes !== null) return scopes;
  const single = touchedBy(placed.operation, placed.target);
  return single === null ? [] : [single];
}

/** What the parts of a batch change; null when that is not certain: then the batch's own scope counts. */
function batchScopes(placed: Placed, body: Uint8Array): TouchedScope[] | null {
  if (placed.operation.name === ODD_BATCH) return null;
  const { headers } = placed.exchange.head;
  if (headerOf(headers, "content-encoding") !== undefined) return null;
  const type = headerOf(headers, "content-type");
  const parts = batchTargets(body, type, headerOf(headers, "host"), placed.front.accounts());
  if (parts === null || parts.length > limits.batchPartsMax) return null;
  const scopes = new Map<string, TouchedScope>();
  for (const { touched } of parts) {
    if (touched !== null) scopes.set(JSON.stringify([touched.account, touched.container, touched.blob]), touched);
  }
  return [...scopes.values()];
}
