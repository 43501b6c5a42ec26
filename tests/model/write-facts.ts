/** What follows from the evidence of a history of writes: who came before whom, who landed where, who was seen when. */
import type { LakeCommit } from "../../sim/world-lake.ts";
import { limits } from "../../src/base/limits.ts";
import { headerOf } from "../../src/http/types.ts";
import { type Change, changeOf, type EntryEnd, sideOf, type WriteEvidence } from "./write-evidence.ts";

/** A commit with its place in the lake's history. */
export interface Placed extends LakeCommit {
  readonly order: number;
}

export interface Landed {
  /** Under its own name, and under a side name. */
  readonly own: readonly Placed[];
  readonly side: readonly Placed[];
}

export interface WriteFacts extends WriteEvidence {
  readonly byId: ReadonlyMap<number, Change>;
  changesOf(name: string): readonly Change[];
  commitsOf(name: string): readonly Placed[];
  landed(change: Change): Landed;
  /** When a change had taken effect at the latest; Infinity where nobody can tell. */
  endOf(change: Change): number;
  /** From when on every reader must know of it. */
  knownBy(change: Change): number;
  /** When it was set aside (or given up, if it is a deletion); Infinity if it was not. */
  asideAt(change: Change): number;
  /** When nobody may be given it any more, but for what staleness allows. */
  visibleUntil(change: Change): number;
  /** Whether a write was set aside that was acknowledged here while this one went through: so are those behind it. */
  metAside(through: Change): boolean;
  /** When nothing of it was pending here any more; -Infinity where nothing ever was, Infinity where nobody can tell. */
  pendingUntil(change: Change): number;
  /** Whose version an ETag names. */
  ownerOf(name: string, etag: string): Change | null;
  /**
   * Why a reader who came at `startedAtMs` may not be given a version (null: he may): something newer was
   * acknowledged before.
   */
  outdated(change: Change, startedAtMs: number, headAtMs: number): string | null;
}

/** The loosest bound of staleness in these histories. */
const BOUND_MS = 5_000;

export function factsOf(evidence: WriteEvidence): WriteFacts {
  const { changes, ends } = evidence;
  const byId = new Map(changes.map((change) => [change.id, change]));
  const byName = groupBy(changes, ({ name }) => name);
  const placed = evidence.commits.map((commit, order) => ({ ...commit, order }));
  const commitsByName = groupBy(placed, ({ name }) => name);
  const landings = groupBy(
    placed.filter(({ after }) => after !== null),
    ({ after }) => (after === null ? null : changeOf(after.metadata)),
  );
  const endByChange = new Map(ends.flatMap((end) => (end.change === null ? [] : [[end.change, end] as const])));
  const deletionEnds = groupBy(
    ends.filter(({ change }) => change === null),
    ({ name }) => name,
  );
  const firstSeen = firstSeenAt(evidence);
  // Nobody was told the ETag of a write whose outcome nobody knows, but who read it.
  const seenBy = new Map(
    evidence.looks.map(({ name, received: { headers } }) => [
      `${name} ${headerOf(headers, "etag")}`,
      Number(headerOf(headers, "x-ms-meta-w") ?? Number.NaN),
    ]),
  );

  const commitsOf = (name: string): readonly Placed[] => commitsByName.get(name) ?? [];
  const landed = (change: Change): Landed => {
    const all = landings.get(change.id) ?? [];
    return {
      own: all.filter(({ name }) => name === change.name),
      side: all.filter(({ name }) => sideOf(name) === change.name),
    };
  };
  const entryEnd = (change: Change): EntryEnd | undefined =>
    change.kind === "put"
      ? endByChange.get(change.id)
      : deletionEnds
          .get(change.name)
          ?.find(({ acknowledgedAtMs: at }) => at >= change.startedAtMs && at <= change.endedAtMs);
  const firstCommit = (change: Change, by: LakeCommit["by"]): number =>
    landed(change).own.find((commit) => commit.by === by)?.atMs ?? Number.POSITIVE_INFINITY;
  const endOf = (change: Change): number => {
    if (change.outcome !== "unknown") return change.endedAtMs;
    const seen = firstSeen.get(change.id) ?? Number.POSITIVE_INFINITY;
    return Math.min(seen, firstCommit(change, "own"), firstCommit(change, "forward"));
  };
  const knownBy = (change: Change): number => {
    if (change.outcome === "acknowledged") return change.endedAtMs;
    if (change.outcome === "refused") return Number.POSITIVE_INFINITY;
    // The lake may make a change late that somebody gave up: then readers notice within their bound.
    const seen = firstSeen.get(change.id) ?? Number.POSITIVE_INFINITY;
    return Math.min(seen + BOUND_MS, firstCommit(change, "own"), firstCommit(change, "forward") + BOUND_MS);
  };
  const deletes = ({ name, startedAtMs }: Change, untilMs: number): boolean =>
    commitsOf(name).some(
      ({ by, after, atMs }) => by === "own" && after === null && atMs >= startedAtMs && atMs <= untilMs,
    );
  const endBySeq = new Map(ends.map((end) => [end.seq, end]));
  const asideAt = (change: Change): number => {
    const [side] = landed(change).side;
    if (side !== undefined) return side.atMs;
    // What took its place was set aside for it.
    let end = entryEnd(change);
    while (end !== undefined && end.by !== null) end = endBySeq.get(end.by);
    // A deletion that had nothing to delete took nothing away from anybody else, either.
    const idle = end?.how === "settled" && end.change === null && !deletes(change, end.endedAtMs);
    return end !== undefined && (end.how === "aside" || idle) ? end.endedAtMs : Number.POSITIVE_INFINITY;
  };
  const lakeUntil = (change: Change): number => {
    const all = commitsOf(change.name);
    const next = (index: number): number => all[index]?.atMs ?? Number.POSITIVE_INFINITY;
    // What was never there at all is absent from the beginning.
    const absentFirst = change.kind === "delete" && (all[0] === undefined || all[0].before === null);
    let until = absentFirst && next(0) >= change.startedAtMs ? next(0) : Number.NEGATIVE_INFINITY;
    for (const [index, { after }] of all.entries()) {
      const holds =
        change.kind === "put"
          ? after !== null && changeOf(after.metadata) === change.id
          : after === null && next(index + 1) >= change.startedAtMs;
      if (holds) until = Math.max(until, next(index + 1));
    }
    return until;
  };
  const pendingUntil = (change: Change): number => {
    if (change.by === "foreign" || change.durability === "lake") return Number.NEGATIVE_INFINITY;
    return entryEnd(change)?.endedAtMs ?? Number.POSITIVE_INFINITY;
  };
  /**
   * Whether the lake got a version just before a write that was acknowledged without a look at the lake: to the drain
   * it may be somebody else's later change.
   */
  const isJustBefore = (change: Change, newer: Change): boolean =>
    landed(change).own.some(({ by, atMs }) => by === "forward" && atMs > newer.startedAtMs - MARGIN_MS) ||
    (change.durability === "lake" && metAside(change));
  const metAside = (through: Change): boolean =>
    (byName.get(through.name) ?? []).some(
      (other) =>
        other.id !== through.id &&
        asideAt(other) < Number.POSITIVE_INFINITY &&
        other.startedAtMs < through.endedAtMs &&
        through.startedAtMs < other.endedAtMs,
    );
  const outdated = (change: Change, startedAtMs: number, headAtMs: number): string | null => {
    const end = endOf(change);
    for (const newer of byName.get(change.name) ?? []) {
      if (newer.by === "foreign" || newer.id === change.id) continue;
      if (newer.startedAtMs < end || knownBy(newer) >= startedAtMs) continue;
      // Who gave up on a write has it come to the lake late, behind the back of what was acknowledged since.
      const foreign = change.by === "foreign" || change.outcome === "unknown" || isJustBefore(change, newer);
      if (foreign && asideAt(newer) <= headAtMs) continue;
      return `newer is ${newer.what} (known since ${knownBy(newer).toFixed(1)})`;
    }
    return null;
  };
  return {
    ...evidence,
    byId,
    changesOf: (name) => byName.get(name) ?? [],
    commitsOf,
    landed,
    endOf,
    knownBy,
    asideAt,
    metAside,
    pendingUntil,
    visibleUntil: (change) => Math.max(lakeUntil(change), pendingUntil(change)),
    ownerOf: (name, etag) => {
      const told = (byName.get(name) ?? []).find((change) => change.etag === etag);
      if (told !== undefined) return told;
      const after = commitsOf(name).find((commit) => commit.after?.etag === etag)?.after;
      const id = (after == null ? null : changeOf(after.metadata)) ?? seenBy.get(`${name} ${etag}`) ?? null;
      return id === null ? null : (byId.get(id) ?? null);
    },
    outdated,
  };
}

/** How far the clocks of Forebay and the lake may differ, and the second that the lake's dates are rounded to. */
export const MARGIN_MS = limits.drainClockMarginMs + 1_000;

/** When each version was first given to a reader. */
function firstSeenAt({ looks }: WriteEvidence): Map<number, number> {
  const first = new Map<number, number>();
  for (const { received } of looks) {
    const text = headerOf(received.headers, "x-ms-meta-w");
    if (text === undefined) continue;
    const id = Number(text);
    first.set(id, Math.min(first.get(id) ?? Number.POSITIVE_INFINITY, received.headAtMs));
  }
  return first;
}

export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
