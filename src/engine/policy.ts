/**
 * What an operator promises about a part of the lake: how stale a read may be, what happens when the lake is away,
 * how far one verdict reaches. Rules are written per `[ACCOUNT:]CONTAINER/PREFIX`; the longest that matches wins as a
 * whole (fields are not inherited from shorter ones). They are compiled once, because every request asks.
 */

/** What holds for one blob. */
export interface Policy {
  /** Milliseconds that an answer may be old, counted from when the check was sent; `immutable` is never checked again. */
  readonly maxStaleMs: number | "immutable";
  /** Past `maxStaleMs` with the lake away: serve what is there, or fail with 503. */
  readonly onLakeOutage: "serve" | "fail";
  /** What one yes of the lake to a credential covers: the blob asked for, or its whole container. */
  readonly verdict: "blob" | "container";
  /** `back`: a write is acknowledged when it is durable on flash; `through`: when the lake has it. */
  readonly write: "through" | "back";
  /** Nobody writes here but through this Forebay: conditions of writes may be judged here. */
  readonly exclusive: boolean;
  /** What a parked entry holds back: later ones of its path, or only those of its own blob. */
  readonly whenParked: "hold" | "pass";
  /** The access tier of what is carried to the lake; null: the account's default. */
  readonly tier: string | null;
  /** How old the oldest write that the lake does not have may grow before Forebay calls itself unready; null: any age. */
  readonly maxUnflushedMs: number | null;
}

/** A policy and where it holds. Plain data: it crosses between processes. */
export interface PolicyRule extends Policy {
  /** The path as the operator wrote it. */
  readonly path: string;
  /** Null: every account. */
  readonly account: string | null;
  /** Null: the whole account. */
  readonly container: string | null;
  /** The beginning of the blob names it holds for, compared as text: it need not end at a `/`. */
  readonly prefix: string;
}

/** What holds where no rule matches: checked after 5 s, and honest about an outage. */
export const defaultPolicy = {
  maxStaleMs: 5_000,
  onLakeOutage: "fail",
  verdict: "blob",
  write: "through",
  exclusive: false,
  whenParked: "hold",
  tier: null,
  maxUnflushedMs: null,
} as const satisfies Policy;

/** Rules made ready for {@link resolvePolicy}. */
export interface PolicyTable {
  /** Rules of each container, the most telling first. */
  readonly byContainer: ReadonlyMap<string, readonly PolicyRule[]>;
  /** Rules of whole accounts, the most telling first. */
  readonly general: readonly PolicyRule[];
}

/** Makes rules ready. Of rules as long as each other the one that names the account goes first. */
export function compilePolicies(rules: readonly PolicyRule[]): PolicyTable {
  const byContainer = new Map<string, PolicyRule[]>();
  const general: PolicyRule[] = [];
  for (const rule of rules) {
    if (rule.container === null) {
      general.push(rule);
      continue;
    }
    const list = byContainer.get(rule.container);
    if (list === undefined) byContainer.set(rule.container, [rule]);
    else list.push(rule);
  }
  const byTelling = (a: PolicyRule, b: PolicyRule): number =>
    b.prefix.length - a.prefix.length || Number(b.account !== null) - Number(a.account !== null);
  for (const list of byContainer.values()) list.sort(byTelling);
  general.sort(byTelling);
  return { byContainer, general };
}

/**
 * The policy of a blob, given by its decoded name. A rule's own object is returned, so that callers may compare by
 * identity. Costs one map look-up and one text comparison per rule of the container.
 */
export function resolvePolicy(table: PolicyTable, account: string, container: string, blob: string): Policy {
  const rules = table.byContainer.get(container);
  if (rules !== undefined) {
    for (const rule of rules) {
      if ((rule.account === null || rule.account === account) && blob.startsWith(rule.prefix)) return rule;
    }
  }
  for (const rule of table.general) {
    if (rule.account === null || rule.account === account) return rule;
  }
  return defaultPolicy;
}

/** Whether writes of a blob (null: of anything in the container, or in the account) may be acknowledged on flash. */
export function mayBeBack(table: PolicyTable, account: string, container: string | null, blob: string | null): boolean {
  if (container !== null && blob !== null) return resolvePolicy(table, account, container, blob).write === "back";
  return mayHold(table, account, container, (rule) => rule.write === "back");
}

/**
 * Whether anything in a container (null: in the whole account) may be `immutable`: a change that wide then needs its
 * durable mark before it leaves. May say yes too often, never no wrongly.
 */
export function mayBeImmutable(table: PolicyTable, account: string, container: string | null): boolean {
  return mayHold(table, account, container, (rule) => rule.maxStaleMs === "immutable");
}

/** Whether some rule in reach of a container (null: of the whole account) is `such`. */
function mayHold(
  table: PolicyTable,
  account: string,
  container: string | null,
  such: (rule: PolicyRule) => boolean,
): boolean {
  const touches = (rule: PolicyRule): boolean => such(rule) && (rule.account === null || rule.account === account);
  if (table.general.some(touches)) return true;
  if (container !== null) return (table.byContainer.get(container) ?? []).some(touches);
  return [...table.byContainer.values()].some((rules) => rules.some(touches));
}
