/** What the admin endpoint shows of the journal and the drain. Pure: everything is given, the time included. */
import type { EntryView, PathView, PolicyView, WritesView } from "../admin/types.ts";
import { limits } from "../base/limits.ts";
import type { PolicyRule } from "../engine/policy.ts";
import type { Entry, Journal } from "../journal/types.ts";
import type { Drain } from "../writeback/types.ts";

/** What an acknowledged write survives while the lake does not have it. */
const DURABILITY = "flash: survives process, operating-system and power failure, not the loss of this machine";

/** What the view is made of. */
export interface WritesViewParts {
  readonly journal: Pick<Journal, "view" | "stats" | "health">;
  readonly drain: Pick<Drain, "stats">;
  readonly policies: readonly PolicyRule[];
  /** Wall clock. */
  readonly nowMs: number;
}

/** Puts the view together. Costs a look at every path, and one at every entry while any waits for an operator. */
export function writesView({ journal, drain, policies, nowMs }: WritesViewParts): WritesView {
  const stats = journal.stats();
  const health = journal.health();
  const { stuck, pendingNamesFailure = null, ...counters } = drain.stats();
  const waiting = stats.parkedEntries + stats.conflictedEntries + stats.asideEntries;
  return {
    pendingEntries: stats.pendingEntries,
    pendingBytes: stats.pendingBytes,
    oldestAgeMs: stats.oldestAcknowledgedAtMs === null ? null : ageMs(stats.oldestAcknowledgedAtMs, nowMs),
    parkedEntries: stats.parkedEntries,
    conflictedEntries: stats.conflictedEntries,
    asideEntries: stats.asideEntries,
    stagedBlocks: stats.stagedBlocks,
    stagedBytes: stats.stagedBytes,
    journalBytes: stats.diskBytes,
    ok: health.ok,
    state: health.ok ? "ok" : health.reason,
    durability: DURABILITY,
    drain: { ...counters, pendingNamesFailure },
    paths: pathViews(journal, stuck, policies, nowMs),
    attention: waiting === 0 ? [] : attention(journal, waiting, nowMs),
  };
}

function pathViews(
  journal: WritesViewParts["journal"],
  stuck: ReturnType<Drain["stats"]>["stuck"],
  policies: readonly PolicyRule[],
  nowMs: number,
): PathView[] {
  const paths = new Set([...journal.view.paths(), ...stuck.map(({ path }) => path)]);
  return [...paths].sort().map((path) => {
    const [oldest] = journal.view.pendingOf(path);
    const why = stuck.find((one) => one.path === path);
    return {
      path,
      oldestAgeMs: oldest === undefined ? null : ageMs(oldest.acknowledgedAtMs, nowMs),
      maxUnflushedMs: policies.find((rule) => rule.path === path)?.maxUnflushedMs ?? null,
      stuck: why === undefined ? null : { reason: why.reason, forMs: ageMs(why.sinceMs, nowMs) },
    };
  });
}

function attention(journal: WritesViewParts["journal"], waiting: number, nowMs: number): EntryView[] {
  const most = Math.min(waiting, limits.adminAttentionMax);
  const found: EntryView[] = [];
  for (const entry of journal.view.entries()) {
    if (found.length >= most) break;
    if (WAITING.has(entry.state.name)) found.push(entryView(entry, nowMs));
  }
  return found;
}

const WAITING: ReadonlySet<string> = new Set<Entry["state"]["name"]>(["parked", "conflicted", "aside"]);

/** An entry as shown. */
export function entryView(entry: Entry, nowMs: number): EntryView {
  const { state, name } = entry;
  return {
    seq: entry.seq,
    kind: entry.kind,
    state: state.name,
    reason: state.name === "parked" ? state.reason : null,
    sideName: state.name === "conflicted" || state.name === "aside" ? state.sideName : null,
    path: entry.path,
    ...name,
    sizeBytes: entry.kind === "put" ? entry.put.sizeBytes : null,
    acknowledgedAtMs: entry.acknowledgedAtMs,
    ageMs: ageMs(entry.acknowledgedAtMs, nowMs),
    next: nextStep(entry),
  };
}

/** What an operator can do about an entry. */
function nextStep(entry: Entry): string | null {
  const { seq, state } = entry;
  if (state.name === "parked") {
    if (entry.kind === "put" && entry.content.kind === "damaged") {
      return `its bytes are lost: \`forebay journal discard ${seq} --yes\`, and write the blob again`;
    }
    const other = entry.kind === "put" ? `, or \`forebay journal export ${seq} FILE\`` : "";
    return `mend the cause, then \`forebay journal retry ${seq}\`${other}, or \`forebay journal discard ${seq} --yes\``;
  }
  if (state.name !== "aside") return null;
  const done = `then \`forebay journal dismiss ${seq}\``;
  return state.sideName === null
    ? `the blob was written past Forebay, so its deletion was given up: delete it again if it is to go, ${done}`
    : `both versions are in the lake: compare ${state.sideName} with ${entry.name.blob}, keep the right one, ${done}`;
}

function ageMs(sinceMs: number, nowMs: number): number {
  return Math.max(0, nowMs - sinceMs);
}

/** A policy as shown. */
export function policyView(rule: PolicyRule): PolicyView {
  const { path, maxStaleMs, onLakeOutage, verdict, write, exclusive, whenParked, tier, maxUnflushedMs } = rule;
  return { path, maxStaleMs, onLakeOutage, verdict, write, exclusive, whenParked, tier, maxUnflushedMs };
}
