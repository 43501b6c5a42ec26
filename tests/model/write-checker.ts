/**
 * The reference model of writes: what may have become of them, judged by what clients were told and by every commit
 * that the lake ever saw. Nothing acknowledged is lost; no commit is doubled, comes out of order or takes the place of
 * what somebody else wrote; a version set aside is reported.
 */
import { isOwnEtag } from "../../src/writeback/stamps.ts";
import { type Change, changeOf, sideOf, type WriteEvidence } from "./write-evidence.ts";
import { factsOf, MARGIN_MS, type Placed, type WriteFacts } from "./write-facts.ts";
import { judgeConditions, judgeLooks, judgeWalks } from "./write-looks.ts";

/** Everything that is wrong with a history. */
export function judgeWrites(evidence: WriteEvidence): string[] {
  const facts = factsOf(evidence);
  return [
    ...judgeKept(facts),
    ...judgeLast(facts),
    ...judgeCommits(facts),
    ...judgeOrder(facts),
    ...judgeAside(facts),
    ...judgeFlushes(facts),
    ...judgeAnswers(facts),
    ...judgeLooks(facts),
    ...judgeWalks(facts),
    ...judgeConditions(facts),
  ];
}

/** Puts by clients that were acknowledged. */
function acknowledgedPuts({ changes }: WriteFacts): Change[] {
  return changes.filter(({ kind, by, outcome }) => kind === "put" && by === "client" && outcome === "acknowledged");
}

/** Every acknowledged version reached the lake, or a later one of its blob took its place where nobody could tell. */
function judgeKept(facts: WriteFacts): string[] {
  return acknowledgedPuts(facts).flatMap((change) => {
    const { own, side } = facts.landed(change);
    if (own.length + side.length > 0) return [];
    if (change.durability === "lake")
      return [`LOST: acknowledged as being in the lake, which never had it: ${change.what}`];
    const later = facts
      .changesOf(change.name)
      .filter((other) => other.by === "client" && other.id !== change.id && other.outcome !== "refused")
      .filter((other) => other.durability !== "lake" && facts.endOf(other) > change.startedAtMs);
    if (later.length === 0) return [`LOST: ${change.what}`];
    const { path } = facts.pathOf(change.name);
    const between = (last: Change): Change | undefined =>
      acknowledgedPuts(facts).find(
        (other) =>
          other.name !== change.name &&
          other.durability === "flash" &&
          facts.pathOf(other.name).path === path &&
          change.endedAtMs < other.startedAtMs &&
          other.endedAtMs < last.startedAtMs,
      );
    if (later.some((last) => between(last) === undefined)) return [];
    return [`LOST: left out although others of its path came after it: ${change.what}`];
  });
}

/** What the lake holds in the end is the last that was acknowledged, or what somebody else wrote since. */
function judgeLast(facts: WriteFacts): string[] {
  const names = new Set([...facts.changes.map(({ name }) => name)]);
  return [...names].flatMap((name) => {
    const last = facts.commitsOf(name).at(-1);
    const reasons = candidatesIn(facts, name, last?.after ?? null).map((change) =>
      facts.outdated(change, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
    );
    if (reasons.includes(null)) return [];
    const held = last?.after == null ? "nothing" : `version ${changeOf(last.after.metadata)}`;
    return [`LOST: in the end the lake holds ${held} as ${name}: ${reasons[0] ?? "of no change"}`];
  });
}

/** The changes that may have left this under a name. */
function candidatesIn(
  facts: WriteFacts,
  name: string,
  held: { readonly metadata: ReadonlyMap<string, string> } | null,
): Change[] {
  const all = facts.changesOf(name).filter(({ outcome }) => outcome !== "refused");
  if (held === null) return all.filter(({ kind }) => kind === "delete");
  const id = changeOf(held.metadata);
  return all.filter((change) => change.kind === "put" && change.id === id);
}

function judgeCommits(facts: WriteFacts): string[] {
  return facts.commits.flatMap((commit, order) => {
    if (commit.by === "foreign" || isOwnNote(commit.name)) return [];
    const placed = { ...commit, order };
    const wrong = commit.after === null ? wrongDeletion(facts, placed) : wrongPut(facts, placed);
    return wrong === null
      ? []
      : [`${wrong} — commit ${order} of ${commit.name} by ${commit.by} at ${commit.atMs.toFixed(1)}`];
  });
}

/** Where Forebay itself keeps the names of what the lake does not have yet. */
function isOwnNote(name: string): boolean {
  return name.startsWith("forebay-pending/");
}

function wrongPut(facts: WriteFacts, commit: Placed): string | null {
  const { after, name } = commit;
  if (after === null) return null;
  const id = changeOf(after.metadata);
  const change = id === null ? undefined : facts.byId.get(id);
  if (change === undefined || change.by === "foreign") return `INVENTED: a version that no client asked for (${id})`;
  if (change.outcome === "refused") return `INVENTED: a version that was refused: ${change.what}`;
  const aside = sideOf(name) === change.name;
  if (name !== change.name && !aside) return `MISPLACED: ${change.what}`;
  if (Buffer.compare(after.bytes, change.bytes) !== 0) return `TORN: other bytes than those of ${change.what}`;
  if (after.contentType !== change.contentType) return `TORN: Content-Type ${after.contentType} of ${change.what}`;
  if (aside) {
    const held = commit.before === null ? null : changeOf(commit.before.metadata);
    if (commit.before !== null && held !== change.id)
      return `OVERWRITTEN: a side name that is another's: ${change.what}`;
    return null;
  }
  return repeated(facts, change, commit) ?? overwrites(facts, change, commit);
}

/** A version is committed once, and never after one that was asked for later. */
function repeated(facts: WriteFacts, change: Change, commit: Placed): string | null {
  if (commit.again) return null;
  for (const earlier of facts.commitsOf(change.name)) {
    if (earlier.order >= commit.order) break;
    const id = earlier.after === null ? null : changeOf(earlier.after.metadata);
    // Whether it was never there, or somebody else has deleted it since, cannot be told when its answer was lost.
    const isGone =
      commit.before === null && facts.commitsOf(change.name).some((one) => isDeletion(one, earlier, commit));
    if (id === change.id && !isGone) return `DOUBLED: ${change.what}`;
    const other = id === null ? undefined : facts.byId.get(id);
    if (other?.by === "client" && facts.endOf(change) <= other.startedAtMs) {
      return `REORDERED: ${change.what} after ${other.what}`;
    }
  }
  return null;
}

/** A deletion by somebody else between two commits. */
function isDeletion({ by, after, order }: Placed, earlier: Placed, later: Placed): boolean {
  return by !== "own" && after === null && order > earlier.order && order < later.order;
}

/** How long a write that nobody heard of may still be acknowledged inside. */
const LATE_MS = 60_000;

/** A commit takes the place of what was there when its write was acknowledged, and of nothing that came since. */
function overwrites(facts: WriteFacts, change: Change, commit: Placed): string | null {
  const victim = commit.before === null ? undefined : facts.byId.get(changeOf(commit.before.metadata) ?? Number.NaN);
  if (victim?.by !== "foreign" || commit.by === "forward") return null;
  const foreignAtMs = victim.startedAtMs;
  const lateMs = change.outcome === "unknown" ? LATE_MS : 0;
  if (foreignAtMs > change.endedAtMs + lateMs) {
    return `OVERWRITTEN: ${change.what} took the place of ${victim.what}, which came after it`;
  }
  // Nobody knew what the lake held: then what was there before the acknowledgement counts as the base.
  if (baseOf(facts, change) === "unknown") return null;
  // Whoever was acknowledged behind a pending write never saw the lake: what it was to replace is that write's base.
  const chained = facts
    .changesOf(change.name)
    .find(
      (earlier) =>
        earlier.by === "client" &&
        earlier.kind === "put" &&
        earlier.durability === "flash" &&
        earlier.endedAtMs < foreignAtMs &&
        earlier.endedAtMs < change.startedAtMs &&
        stillPending(facts, earlier, change),
    );
  if (chained === undefined || change.outcome === "unknown" || change.startedAtMs < foreignAtMs) return null;
  return `OVERWRITTEN: ${change.what} took the place of ${victim.what}, unseen behind ${chained.what}`;
}

function baseOf({ ends }: WriteFacts, { id }: Change): string | null {
  return ends.find(({ change }) => change === id)?.base ?? null;
}

/** Whether `earlier`, or what took its place, was pending all the time until `later` was acknowledged. */
function stillPending(facts: WriteFacts, earlier: Change, later: Change): boolean {
  let end = facts.ends.find(({ change }) => change === earlier.id);
  while (end !== undefined && end.by !== null) {
    const { by } = end;
    end = facts.ends.find(({ seq }) => seq === by);
    if (end?.change === later.id) return true;
  }
  if (end === undefined) return false;
  const last = end.change === null ? undefined : facts.byId.get(end.change);
  const { own, side } = last === undefined ? { own: [], side: [] } : facts.landed(last);
  return (own[0]?.atMs ?? side[0]?.atMs ?? end.endedAtMs) > later.endedAtMs;
}

function wrongDeletion(facts: WriteFacts, commit: Placed): string | null {
  const { name, before } = commit;
  if (before === null) return null;
  if (sideOf(name) !== null) return "INVENTED: a version set aside was removed";
  const deletions = facts
    .changesOf(name)
    .filter(({ kind, by, outcome }) => kind === "delete" && by === "client" && outcome !== "refused")
    .filter(({ startedAtMs }) => startedAtMs <= commit.atMs);
  if (deletions.length === 0) return "INVENTED: a deletion that no client asked for";
  const victim = facts.byId.get(changeOf(before.metadata) ?? Number.NaN);
  if (victim === undefined) return null;
  const mayMean = (deletion: Change): boolean => {
    if (victim.by === "client") return facts.endOf(deletion) > victim.startedAtMs;
    const lateMs = deletion.outcome === "unknown" ? LATE_MS : 0;
    return commit.by === "forward" || deletion.endedAtMs + lateMs >= victim.startedAtMs;
  };
  if (deletions.some(mayMean)) return null;
  return victim.by === "foreign"
    ? `OVERWRITTEN: ${victim.what} was deleted by who did not know of it`
    : `REORDERED: ${victim.what} was deleted by a deletion that came before it`;
}

/** Commits of a path come in the order acknowledged. */
function judgeOrder(facts: WriteFacts): string[] {
  const first = (change: Change): number => {
    const { own, side } = facts.landed(change);
    return Math.min(own[0]?.order ?? Number.POSITIVE_INFINITY, side[0]?.order ?? Number.POSITIVE_INFINITY);
  };
  const puts = acknowledgedPuts(facts).filter(
    ({ durability, name }) => durability === "flash" && facts.pathOf(name).ordered,
  );
  const wrong: string[] = [];
  for (const earlier of puts) {
    const place = first(earlier);
    if (place === Number.POSITIVE_INFINITY) continue; // lost, or superseded: judged elsewhere
    const later = puts.find(
      (other) =>
        other.id !== earlier.id &&
        facts.pathOf(other.name).path === facts.pathOf(earlier.name).path &&
        earlier.endedAtMs < other.startedAtMs &&
        first(other) < place,
    );
    if (later !== undefined) wrong.push(`REORDERED: ${later.what} was committed before ${earlier.what}`);
  }
  return wrong;
}

/** What was set aside is there, was set aside for a reason, and is reported. */
function judgeAside(facts: WriteFacts): string[] {
  const wrong: string[] = [];
  const sides = new Set(facts.commits.map(({ name }) => name).filter((name) => sideOf(name) !== null));
  for (const name of sides) {
    const last = facts.commitsOf(name).at(-1);
    if (last?.after == null) wrong.push(`LOST: a version that was set aside is gone: ${name}`);
    if (!facts.reported.includes(name)) wrong.push(`SILENT: ${name} was set aside and is not reported`);
    const first = facts.commitsOf(name)[0];
    const ours = first?.after == null ? undefined : facts.byId.get(changeOf(first.after.metadata) ?? Number.NaN);
    const others = facts.commitsOf(sideOf(name) ?? "").filter(({ by, atMs, after }) => {
      if (atMs > (first?.atMs ?? 0)) return false;
      const id = after === null ? null : changeOf(after.metadata);
      const other = id === null ? undefined : facts.byId.get(id);
      // One that went through while a write of ours was acknowledged sets those behind it aside, too.
      const isThrough = other !== undefined && other.durability === "lake" && facts.metAside(other);
      const late =
        other?.outcome === "unknown" || (ours !== undefined && atMs > ours.startedAtMs - MARGIN_MS) || isThrough;
      // A deletion that was passed on and nobody heard of has no name.
      return by === "foreign" || (by === "forward" && (late || after === null));
    });
    if (others.length === 0) wrong.push(`ASIDE: ${name}, but nobody else had written there`);
  }
  for (const name of facts.reported) if (!sides.has(name)) wrong.push(`LOST: ${name} is reported and not in the lake`);
  return wrong;
}

function judgeFlushes(facts: WriteFacts): string[] {
  const wrong: string[] = [];
  for (const change of acknowledgedPuts(facts)) {
    const { own, side } = facts.landed(change);
    const landedAtMs = own[0]?.atMs ?? side[0]?.atMs ?? Number.NEGATIVE_INFINITY;
    const container = change.name.split("/")[0];
    for (const flush of facts.flushes) {
      const within = flush.container === null || flush.container === container;
      if (within && change.endedAtMs < flush.startedAtMs && landedAtMs > flush.endedAtMs) {
        wrong.push(`UNFLUSHED: a flush ended at ${flush.endedAtMs.toFixed(1)} before the commit of ${change.what}`);
      }
    }
    if (change.durability === "lake" && landedAtMs > change.endedAtMs) {
      wrong.push(`UNFLUSHED: called durable in the lake before it was there: ${change.what}`);
    }
  }
  return wrong;
}

/** What clients were told: failures need a reason, and promises their words. */
function judgeAnswers(facts: WriteFacts): string[] {
  return facts.changes.flatMap((change) => {
    const { what, status, outcome, durability, name } = change;
    const { back } = facts.pathOf(name);
    if (change.by === "foreign") return [];
    if (change.calm && outcome === "unknown") return [`FAILED: ${status} though nothing was wrong: ${what}`];
    if (outcome === "refused" && ![400, 404, 409, 412].includes(status)) return [`FAILED: ${status}: ${what}`];
    if (outcome === "refused" && status === 400 && !blocksMayBeGone(facts, change)) {
      return [`LOST: blocks that were acknowledged are not there for their list: ${what}`];
    }
    if (outcome !== "acknowledged") return [];
    if (back && durability === null) return [`no word about durability: ${what}`];
    if (change.flush && durability === "flash") return [`a flush was asked for and not made: ${what}`];
    const own = change.etag !== null && isOwnEtag(change.etag);
    if (change.kind === "put" && own !== (durability === "flash")) {
      return [`the ETag ${change.etag} of a write that is durable in ${durability}: ${what}`];
    }
    return [];
  });
}

/** Blocks go with any other change of their blob. */
function blocksMayBeGone(facts: WriteFacts, change: Change): boolean {
  const { blocksSinceMs, name, id, endedAtMs } = change;
  if (blocksSinceMs === null) return true;
  return facts
    .changesOf(name)
    .some(
      (other) =>
        other.id !== id &&
        other.outcome !== "refused" &&
        facts.endOf(other) >= blocksSinceMs &&
        other.startedAtMs <= endedAtMs,
    );
}
