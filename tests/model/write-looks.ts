/** The reference model of writes, as readers see them: reads, lists, and conditions that were judged. */
import { headerOf } from "../../src/http/types.ts";
import { compareNames } from "../../src/journal/names.ts";
import { isOwnEtag } from "../../src/writeback/stamps.ts";
import { type Change, type Listed, type Look, sideOf, type Walk } from "./write-evidence.ts";
import type { WriteFacts } from "./write-facts.ts";

export function judgeLooks(facts: WriteFacts): string[] {
  return facts.looks.flatMap((look) => {
    const wrong = judgeLook(facts, look);
    return wrong === null ? [] : [`${wrong} — ${look.what}`];
  });
}

function judgeLook(facts: WriteFacts, look: Look): string | null {
  const { received, condition, calm } = look;
  const { status, ending } = received;
  const failed = status === 0 || status === 429 || status >= 500;
  const cut = ending === "cut" && !moved(facts, look);
  if ((failed || cut) && calm)
    return `FAILED: ${status} ${ending} though nothing was wrong (${String(received.cause)})`;
  if (status === 200 || status === 206) return judgeGiven(facts, look);
  if (status === 404) return unlessSome(facts, look, ({ kind }) => kind === "delete", "404");
  if (status === 304) {
    const owner = facts.ownerOf(look.name, condition?.etag ?? "");
    return unlessSome(facts, look, ({ kind, id }) => kind === "put" && id === owner?.id, "304");
  }
  if (status === 412) {
    // A request that the network delivered twice left two ETags.
    const doubled = facts.commitsOf(look.name).some(({ again }) => again);
    if (doubled || mayBeForgotten(condition?.etag ?? "", calm)) return null;
    const owner = facts.ownerOf(look.name, condition?.etag ?? "");
    return unlessSome(facts, look, ({ id, kind }) => id !== owner?.id || kind === "delete", "412");
  }
  if (status === 416) {
    const first = look.range?.first ?? 0;
    return unlessSome(facts, look, ({ kind, bytes }) => kind === "put" && bytes.length <= first, "416");
  }
  return failed ? null : `an answer that nobody expects: ${status}`;
}

/** Whether the blob changed in the lake when it was read, or not long before: what is read then is cut. */
function moved(facts: WriteFacts, { name, received, boundMs }: Look): boolean {
  const sinceMs = received.startedAtMs - boundMs - 1_000;
  return facts.commitsOf(name).some(({ atMs }) => atMs >= sinceMs && atMs <= received.endedAtMs);
}

/** Why a reader may not be given a version; null if he may. */
function refusal(facts: WriteFacts, look: Look, change: Change): string | null {
  const { startedAtMs, headAtMs } = look.received;
  if (change.startedAtMs > headAtMs) return "it did not exist yet";
  if (change.outcome === "refused") return "it was refused";
  const outdated = facts.outdated(change, startedAtMs, headAtMs);
  if (outdated !== null) return outdated;
  const untilMs = facts.visibleUntil(change);
  const ageMs = startedAtMs - untilMs;
  return ageMs > look.boundMs ? `gone for ${ageMs.toFixed(1)} ms, bound ${look.boundMs}` : null;
}

function unlessSome(facts: WriteFacts, look: Look, fits: (change: Change) => boolean, what: string): string | null {
  const reasons = facts
    .changesOf(look.name)
    .filter(fits)
    .map((change) => refusal(facts, look, change));
  return reasons.includes(null) ? null : `STALE: ${what}, but ${reasons.at(-1) ?? "there never was such a version"}`;
}

function judgeGiven(facts: WriteFacts, look: Look): string | null {
  const { received, range, method } = look;
  const text = headerOf(received.headers, "x-ms-meta-w");
  const change = text === undefined ? undefined : facts.byId.get(Number(text));
  if (change === undefined || change.name !== look.name || change.kind === "delete")
    return `INVENTED: a version ${text}`;
  const refused = refusal(facts, look, change);
  if (refused !== null) return `STALE: ${change.what} was given, but ${refused}`;
  const wrongTag = judgeEtag(facts, look, change);
  if (wrongTag !== null) return wrongTag;
  const { bytes } = change;
  const first = range?.first ?? 0;
  const end = range?.last == null ? bytes.length : Math.min(range.last + 1, bytes.length);
  const ranged = received.status === 206;
  const expected = ranged ? bytes.subarray(first, end) : bytes;
  if (received.announcedBytes !== expected.length) {
    return `Content-Length ${received.announcedBytes}, expected ${expected.length}`;
  }
  if (headerOf(received.headers, "content-type") !== change.contentType) {
    return `TORN: Content-Type ${headerOf(received.headers, "content-type")} of ${change.what}`;
  }
  if (method === "HEAD") return received.bytes.length === 0 ? null : "a HEAD with a body";
  if (ranged && headerOf(received.headers, "content-range") !== `bytes ${first}-${end - 1}/${bytes.length}`) {
    return `Content-Range ${headerOf(received.headers, "content-range")} of ${bytes.length} bytes`;
  }
  if (Buffer.compare(received.bytes, expected.subarray(0, received.bytes.length)) !== 0) {
    return `TORN: other bytes than those of ${change.what}`;
  }
  if (received.ending === "complete" && received.bytes.length !== expected.length) {
    return `ended as if whole after ${received.bytes.length} of ${expected.length} bytes`;
  }
  return null;
}

/** A version answers with the ETag that its writer was told, or with the lake's. */
function judgeEtag(facts: WriteFacts, look: Look, change: Change): string | null {
  const etag = headerOf(look.received.headers, "etag") ?? "";
  const { condition } = look;
  if (condition?.name === "If-Match" && facts.ownerOf(look.name, condition.etag)?.id !== change.id) {
    return `${change.what} was given for If-Match ${condition.etag}`;
  }
  const owner = condition === null ? null : facts.ownerOf(look.name, condition.etag);
  // A request that the network delivered twice left two ETags.
  const once = facts.landed(change).own.length < 2;
  const missed = owner?.id === change.id && once && !mayBeForgotten(condition?.etag ?? "", look.calm);
  if (condition?.name === "If-None-Match" && missed) {
    return `${change.what} was given for If-None-Match ${condition.etag}, which is its own`;
  }
  if (etag === change.etag) return null;
  if (facts.landed(change).own.some(({ after }) => after?.etag === etag)) return null;
  if (change.outcome === "unknown" && isOwnEtag(etag)) return null;
  return `an ETag that ${change.what} never had: ${etag}`;
}

/** An ETag that Forebay gave names the lake's version afterwards, unless a crash came between. */
function mayBeForgotten(etag: string, calm: boolean): boolean {
  return isOwnEtag(etag) && !calm;
}

export function judgeWalks(facts: WriteFacts): string[] {
  return facts.walks.flatMap((walk) => judgeWalk(facts, walk).map((wrong) => `${wrong} — ${walk.what}`));
}

function judgeWalk(facts: WriteFacts, walk: Walk): string[] {
  const listed = walk.pages.flat();
  const wrong: string[] = [];
  if (walk.failure !== null && walk.calm) wrong.push(`FAILED: ${walk.failure} though nothing was wrong`);
  for (const page of walk.pages) if (page.length > walk.pageMax) wrong.push(`a page of ${page.length} names`);
  for (const [index, entry] of listed.entries()) {
    const before = listed[index - 1];
    if (before !== undefined && compareNames(before.name, entry.name) >= 0) {
      wrong.push(`LIST: ${entry.name} after ${before.name}`);
    }
    const odd = entry.isPrefix ? judgePrefix(facts, walk, entry) : judgeListed(facts, walk, entry);
    if (odd !== null) wrong.push(odd);
  }
  const names = new Set(facts.changes.map(({ name }) => name).filter((name) => name.startsWith(`${walk.container}/`)));
  for (const name of names) {
    const short = name.slice(walk.container.length + 1);
    if (!short.startsWith(walk.prefix) || !isReached(walk, listed, shown(walk, short))) continue;
    const there = listed.some((entry) => entry.name === shown(walk, short));
    if (!there && presentThroughout(facts, name, walk.startedAtMs, walk.endedAtMs)) {
      wrong.push(`LIST: ${name} was there all the time and is missing`);
    }
  }
  return wrong;
}

/** How a blob appears in a list: by its name, or as the prefix up to the delimiter. */
function shown({ prefix, delimiter }: Walk, short: string): string {
  const at = delimiter === "" ? -1 : short.indexOf(delimiter, prefix.length);
  return at < 0 ? short : short.slice(0, at + delimiter.length);
}

/** Whether the walk got as far as this name. */
function isReached({ whole }: Walk, listed: readonly Listed[], name: string): boolean {
  if (whole) return true;
  const last = listed.at(-1);
  return last !== undefined && compareNames(name, last.name) <= 0;
}

function judgeListed(facts: WriteFacts, walk: Walk, entry: Listed): string | null {
  const name = `${walk.container}/${entry.name}`;
  const { startedAtMs, endedAtMs } = walk;
  const commits = facts.commitsOf(name);
  const changes = facts.changesOf(name).filter(({ kind, outcome }) => kind === "put" && outcome !== "refused");
  const begun = changes.filter((change) => change.startedAtMs <= endedAtMs);
  if (begun.length === 0 && !commits.some(({ atMs }) => atMs <= endedAtMs)) return `LIST: ${name} never existed`;
  if (sideOf(name) !== null) return null;
  if (absentThroughout(facts, name, startedAtMs, endedAtMs)) return `LIST: ${name} was not there and is shown`;
  const owner = facts.ownerOf(name, entry.etag);
  if (owner === null) {
    const unknown = begun.some(({ outcome, bytes }) => outcome === "unknown" && bytes.length === entry.sizeBytes);
    return unknown && isOwnEtag(entry.etag) ? null : `LIST: ${name} with the ETag ${entry.etag} of no version`;
  }
  if (owner.bytes.length !== entry.sizeBytes) return `LIST: ${name} with ${entry.sizeBytes} bytes: ${owner.what}`;
  const outdated = facts.outdated(owner, startedAtMs, endedAtMs);
  if (outdated !== null) return `STALE: ${name} is listed as ${owner.what}, but ${outdated}`;
  return facts.visibleUntil(owner) < startedAtMs ? `STALE: ${name} is listed as ${owner.what}, which is gone` : null;
}

function judgePrefix(facts: WriteFacts, walk: Walk, entry: Listed): string | null {
  const start = `${walk.container}/${entry.name}`;
  const names = new Set(
    [...facts.changes, ...facts.commits].map(({ name }) => name).filter((n) => n.startsWith(start)),
  );
  const may = [...names].some(
    (name) => sideOf(name) !== null || !absentThroughout(facts, name, walk.startedAtMs, walk.endedAtMs),
  );
  return may ? null : `LIST: the prefix ${start} without a blob`;
}

/** Whether a blob was certainly there from one moment to another. */
function presentThroughout(facts: WriteFacts, name: string, fromMs: number, untilMs: number): boolean {
  const changes = facts.changesOf(name).filter(({ outcome }) => outcome !== "refused");
  // What somebody else writes is not seen while a deletion is pending here.
  const takenUntil = (deletion: Change, put: Change): number =>
    Math.max(facts.endOf(deletion), put.by === "foreign" ? facts.pendingUntil(deletion) : Number.NEGATIVE_INFINITY);
  return changes.some(
    (put) =>
      put.kind === "put" &&
      put.outcome === "acknowledged" &&
      put.endedAtMs < fromMs &&
      facts.asideAt(put) === Number.POSITIVE_INFINITY &&
      !changes.some(
        (other) => other.kind === "delete" && takenUntil(other, put) >= put.startedAtMs && other.startedAtMs < untilMs,
      ),
  );
}

/** Whether it certainly was not. Blobs that others changed while something was pending are nobody's certainty. */
function absentThroughout(facts: WriteFacts, name: string, fromMs: number, untilMs: number): boolean {
  const changes = facts.changesOf(name).filter(({ outcome }) => outcome !== "refused");
  if (changes.some((change) => facts.asideAt(change) < Number.POSITIVE_INFINITY)) return false;
  // What was pending when somebody else deleted the blob is there again once it is committed.
  const takenUntil = (change: Change): number =>
    Math.max(facts.endOf(change), facts.landed(change).own.at(-1)?.atMs ?? Number.NEGATIVE_INFINITY);
  return changes.some(
    (gone) =>
      gone.kind === "delete" &&
      gone.outcome === "acknowledged" &&
      gone.endedAtMs < fromMs &&
      !changes.some(
        (other) => other.kind === "put" && takenUntil(other) >= gone.startedAtMs && other.startedAtMs < untilMs,
      ),
  );
}

/** Conditions of writes came out as they must. */
export function judgeConditions(facts: WriteFacts): string[] {
  const wrong: string[] = [];
  const replaced = new Map<number, Change>();
  for (const change of facts.changes) {
    const { condition, outcome, startedAtMs, endedAtMs, name, what, status } = change;
    if (condition === null || outcome === "unknown") continue;
    if (condition.kind === "create") {
      const there = presentThroughout(facts, name, startedAtMs, endedAtMs);
      if (outcome === "acknowledged" && there) wrong.push(`CONDITION: created what was there: ${what}`);
      const absent = absentThroughout(facts, name, startedAtMs, endedAtMs);
      if (outcome === "refused" && absent && status !== 400)
        wrong.push(`CONDITION: ${status} though nothing was there: ${what}`);
      continue;
    }
    const owner = facts.ownerOf(name, condition.etag);
    if (outcome === "refused") {
      const doubled = facts.commitsOf(name).some(({ again }) => again);
      const forgotten = doubled || mayBeForgotten(condition.etag, change.calm);
      if (status === 412 && !forgotten && owner !== null && standsStill(facts, owner, change)) {
        wrong.push(`CONDITION: 412 though ${owner.what} stood: ${what}`);
      }
      continue;
    }
    if (owner === null) {
      wrong.push(`CONDITION: If-Match ${condition.etag} of no version was met: ${what}`);
      continue;
    }
    const outdated = facts.outdated(owner, startedAtMs, endedAtMs);
    if (outdated !== null) wrong.push(`CONDITION: If-Match of ${owner.what} was met, but ${outdated}: ${what}`);
    const rival = replaced.get(owner.id);
    if (rival !== undefined) wrong.push(`CONDITION: ${owner.what} was replaced twice: ${rival.what} and ${what}`);
    replaced.set(owner.id, change);
  }
  return wrong;
}

/** Whether a version was certainly the current one while a change was judged. */
function standsStill(facts: WriteFacts, owner: Change, change: Change): boolean {
  if (facts.asideAt(owner) <= change.endedAtMs) return false;
  if (owner.outcome !== "acknowledged" || owner.kind === "delete" || owner.endedAtMs >= change.startedAtMs)
    return false;
  return !facts
    .changesOf(owner.name)
    .some(
      (other) =>
        other.id !== owner.id &&
        other.id !== change.id &&
        other.outcome !== "refused" &&
        facts.endOf(other) > owner.startedAtMs &&
        other.startedAtMs < change.endedAtMs,
    );
}
