/**
 * A flush as an operator asks for it: everything, an account, a container, or all blobs whose names begin alike. The
 * drain flushes wider scopes as they are, and single blobs; what begins alike is put together from these here.
 */
import type { FlushOutcome, FlushRequest, Left } from "../admin/types.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import { isPending } from "../journal/states.ts";
import type { BlobName, Entry, Journal, JournalView } from "../journal/types.ts";
import type { Drain, Flushed } from "../writeback/types.ts";
import { type PolicyPath, parsePolicyPath } from "./config-policy.ts";
import { entryView } from "./writes-view.ts";

export interface FlushParts {
  readonly journal: Pick<Journal, "view">;
  readonly drain: Pick<Drain, "flush">;
  readonly clock: Clock;
  /** The accounts of all lakes. */
  readonly accounts: () => readonly string[];
}

/** What a flush waits for: what was acknowledged before it, in its scope. */
interface Wanted {
  readonly path: PolicyPath;
  readonly lastSeq: number;
  readonly staged: boolean;
  /** Monotonic. */
  readonly untilMs: number;
}

/** Flushes, and tells now and then what is left. Rejects with `usage` for a scope that is none. */
export async function flushScope(
  parts: FlushParts,
  request: FlushRequest,
  tell: (left: Left) => void,
): Promise<FlushOutcome> {
  const { clock, accounts } = parts;
  const { view } = parts.journal;
  const path = parsePolicyPath(request.scope);
  if ("problem" in path) throw new ForebayError("usage", path.problem);
  let lastSeq = 0;
  for (const { seq } of view.entries()) lastSeq = Math.max(lastSeq, seq);
  const { staged, timeoutMs } = request;
  const wanted: Wanted = { path, lastSeq, staged, untilMs: clock.monotonicMs() + timeoutMs };
  tell(leftOf(wanted, view));
  const telling = every(clock, () => tell(leftOf(wanted, view)));
  try {
    if (path.prefix !== "") return await flushPrefix(wanted, parts);
    const named = path.account === null ? accounts() : [path.account];
    const scopes = named.map((account) => ({ account, container: path.container, blob: null }));
    const outcomes = await Promise.all(scopes.map((scope) => parts.drain.flush(scope, { timeoutMs, staged })));
    return together(outcomes, wanted, parts) ?? { result: "done" };
  } finally {
    telling.stop();
  }
}

/**
 * Of each policy path the newest entry is waited for: what was acknowledged before it on its path is in the lake by
 * then, but for what is parked.
 */
async function flushPrefix(wanted: Wanted, parts: FlushParts): Promise<FlushOutcome> {
  const { view } = parts.journal;
  const blobs = wanted.staged ? [...view.stagedBlobs()].filter((name) => covers(wanted.path, name)) : [];
  for (let at = 0; at < blobs.length; at += STAGED_AT_A_TIME) {
    const ended = await flushBlobs(blobs.slice(at, at + STAGED_AT_A_TIME), wanted, parts);
    if (ended !== null) return ended;
  }
  do {
    const before = entriesOf(wanted, view);
    if (before.length === 0) return { result: "done" };
    const ended = await flushBlobs([...newestOfPaths(before).values()], wanted, parts);
    if (ended !== null) return ended;
    const after = entriesOf(wanted, view);
    if (after.length === 0) return { result: "done" };
    const parked = after.filter(({ state }) => state.name === "parked");
    if (parked.length > 0) return heldUp(parked, wanted, parts);
    await parts.clock.sleep(PAUSE_MS);
  } while (parts.clock.monotonicMs() < wanted.untilMs);
  return { result: "timeout", left: leftOf(wanted, view) };
}

const STAGED_AT_A_TIME = 16;
/** Before it is looked again whether anything is left that the drain said was done. */
const PAUSE_MS = 100;

function newestOfPaths(entries: readonly Entry[]): Map<string, BlobName> {
  return new Map(entries.map(({ path, name }) => [path, name]));
}

/** Null: all of them are in the lake. */
async function flushBlobs(blobs: readonly BlobName[], wanted: Wanted, parts: FlushParts): Promise<FlushOutcome | null> {
  const options = { timeoutMs: Math.max(0, wanted.untilMs - parts.clock.monotonicMs()), staged: wanted.staged };
  return together(await Promise.all(blobs.map((blob) => parts.drain.flush(blob, options))), wanted, parts);
}

/** What several flushes came to; null: everything is done. */
function together(outcomes: readonly Flushed[], wanted: Wanted, parts: FlushParts): FlushOutcome | null {
  if (outcomes.every(({ kind }) => kind === "done")) return null;
  const { view } = parts.journal;
  const seqs = new Set(outcomes.flatMap((outcome) => (outcome.kind === "parked" ? outcome.seqs : [])));
  const parked = [...seqs].map((seq) => view.entry(seq)).filter((entry) => entry !== null);
  if (parked.length > 0) return heldUp(parked, wanted, parts);
  return { result: "timeout", left: leftOf(wanted, view) };
}

function heldUp(parked: readonly Entry[], wanted: Wanted, parts: FlushParts): FlushOutcome {
  const shown = parked.slice(0, limits.adminAttentionMax);
  const entries = shown.map((entry) => entryView(entry, parts.clock.wallMs()));
  return { result: "parked", left: leftOf(wanted, parts.journal.view), entries };
}

function entriesOf({ path, lastSeq }: Wanted, view: JournalView): Entry[] {
  const found: Entry[] = [];
  for (const entry of view.entries()) {
    if (entry.seq > lastSeq) break;
    if (isPending(entry.state) && covers(path, entry.name)) found.push(entry);
  }
  return found;
}

function leftOf(wanted: Wanted, view: JournalView): Left {
  const entries = entriesOf(wanted, view);
  const bytes = entries.reduce((sum, entry) => sum + (entry.kind === "put" ? entry.put.sizeBytes : 0), 0);
  return { entries: entries.length, bytes };
}

function covers({ account, container, prefix }: PolicyPath, name: BlobName): boolean {
  return (
    (account === null || account === name.account) &&
    (container === null || container === name.container) &&
    name.blob.startsWith(prefix)
  );
}

function every(clock: Clock, run: () => void): { stop(): void } {
  let stopped = false;
  const next = () =>
    clock.after(limits.adminFlushTellMs, () => {
      if (stopped) return;
      run();
      timer = next();
    });
  let timer = next();
  return {
    stop: () => {
      stopped = true;
      timer.cancel();
    },
  };
}
