/**
 * Carries what the journal holds to the lake. Each policy path is a queue of its own (`runner.ts`): one entry at a time
 * is committed (`carry.ts`), in the order acknowledged; blocks of those behind it go ahead (`uploads.ts`). All bodies
 * share one number of slots, and their memory (`slots.ts`), and one ceiling on their rate (`rate.ts`).
 *
 * The journal is the only memory: a drain that is abandoned at any moment is followed by one that opens the same
 * journal and looks in the lake how far the last one got.
 */
import { asForebayError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import type { ChangeScope } from "../flash/types.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { BlobName, Entry, EntryState, Journal } from "../journal/types.ts";
import type { OwnLake } from "../lake/types.ts";
import { createAsk } from "./ask.ts";
import { within } from "./backoff.ts";
import { DRAIN_BOUNDS, type DrainBounds } from "./bounds.ts";
import { type Around, createCarrier } from "./carry.ts";
import { createFlushes } from "./flush.ts";
import { flushStaged } from "./flush-staged.ts";
import { createPendingNames, type PendingNames } from "./pending-names.ts";
import { createRate } from "./rate.ts";
import { createRunner, type Runner } from "./runner.ts";
import { createSlots } from "./slots.ts";
import type { Decision, Drain, DrainPolicy, DrainStats, Flushed } from "./types.ts";
import type { BlockParts } from "./upload.ts";
import { createUploads } from "./uploads.ts";

export interface DrainOptions {
  /** Its moves are seen by whoever must see them: see the desk's `entryMoved` and `stagedChanged`. */
  readonly journal: Journal;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly lakes: (account: string) => OwnLake | undefined;
  readonly policyOf: (path: string) => DrainPolicy;
  /** For all of it together; null: as fast as the lake takes it. */
  readonly rateBytesPerSecond: () => number | null;
  /**
   * Stands around whatever may change the lake under a name, and around finding out whether it did: called before the
   * first such request, its `ended` once the outcome is known and before the entry settles. Rejects: tried again later.
   */
  readonly around: Around;
  /** The ETag of what was carried last under a name (the desk's alias of it); null where nobody knows. */
  readonly ours?: (name: BlobName) => string | null;
  readonly log: (level: "info" | "warn" | "error", message: string, fields?: Record<string, string | number>) => void;
  /** The list of pending names in the lake; null: none is kept. */
  readonly pendingNames: {
    readonly instance: string;
    readonly machine: string;
    /** Where an earlier life may have left a list. */
    readonly accounts: () => readonly string[];
  } | null;
  readonly bounds?: Partial<DrainBounds>;
}

/** How long what was under way may take to end once it was told to. */
const UNWIND_MS = 5_000;

interface Counters {
  carriedEntries: number;
  carriedBytes: number;
  retries: number;
  conflicts: number;
  parked: number;
}

/** Nothing is carried before the first {@link Drain.wake}. */
export function createDrain(options: DrainOptions): Drain {
  const { journal, clock, random, log } = options;
  const { view } = journal;
  const bounds = { ...DRAIN_BOUNDS, ...options.bounds };
  const counters: Counters = { carriedEntries: 0, carriedBytes: 0, retries: 0, conflicts: 0, parked: 0 };
  const abort = new AbortController();
  const runners = new Map<string, Runner>();
  let [stopped, woken] = [false, false];

  const rate = createRate(clock, options.rateBytesPerSecond);
  const slots = createSlots(clock, rate, bounds);
  const ask = createAsk({ lakes: options.lakes, clock, signal: abort.signal, busy: slots.refused });
  const blockParts: BlockParts = {
    ...{ disk: options.disk, clock, random, ask, slots, rate, bounds },
    retried: () => {
      counters.retries++;
    },
  };
  const isStopped = (): boolean => stopped;
  const uploads = createUploads({ ...blockParts, view, isStopped }, bounds);
  const carrier = createCarrier({
    ...{ journal, uploads, slots, disk: options.disk, clock, ask, rate, around: options.around },
    exclusive: (path) => options.policyOf(path).exclusive,
    tier: (path) => options.policyOf(path).tier,
    ours: options.ours ?? (() => null),
    ...bounds,
  });
  const passesParked = (path: string): boolean => options.policyOf(path).whenParked === "pass";
  const hurry = (paths: Iterable<string>): void => {
    for (const path of paths) runners.get(path)?.hurry();
  };
  const flushes = createFlushes({ view, clock, passesParked, hurry });
  const names = startNames(options, bounds, ask);

  const moved = (before: Entry, now: Entry | null): void => {
    count(counters, before, now);
    tell(log, before, now);
    if (now === null || now.state.name !== "draining") {
      uploads.forget(before.seq);
      carrier.forget(before.seq);
    }
    // Without a trace it was superseded, as far as it was not the operator's decision.
    if (now === null) flushes.review();
    else flushes.moved(before.seq, now);
    // A later write of the blob may have waited for this one in another path.
    const next = view.latest(before.name);
    if (next !== null && next.path !== before.path) hurry([next.path]);
    wake();
  };
  const runnerOf = (path: string): Runner => {
    const known = runners.get(path);
    if (known !== undefined) return known;
    const runner = createRunner({
      ...{ path, view, clock, random, carrier, bounds, isStopped, moved, ahead: uploads.ahead },
      passesParked: () => passesParked(path),
      isHurried: () => flushes.hurries(path),
      retried: blockParts.retried,
      failed: (error) => log("error", "carrying a write failed", { path, reason: asForebayError(error).message }),
    });
    runners.set(path, runner);
    return runner;
  };
  const turn = (): void => {
    woken = false;
    if (stopped) return;
    for (const path of view.paths()) runnerOf(path).wake();
    for (const [path, runner] of runners) if (!runner.running && view.nextOf(path, true) === null) runners.delete(path);
    flushes.review();
    names?.touch();
  };
  const wake = (): void => {
    if (woken || stopped) return;
    woken = true;
    queueMicrotask(turn);
  };
  const flush = async (
    scope: ChangeScope,
    { timeoutMs, staged }: { readonly timeoutMs: number; readonly staged: boolean },
  ): Promise<Flushed> => {
    const atMs = clock.monotonicMs() + timeoutMs;
    wake();
    const flushed = await flushes.wait(scope, atMs);
    if (flushed.kind !== "done" || !staged) return flushed;
    const warn = (message: string, fields: Record<string, string | number>): void => log("warn", message, fields);
    return flushStaged({ ...blockParts, journal, isStopped, log: warn }, scope, atMs);
  };
  const decide = async (seq: number, decision: Decision): Promise<EntryState | null> => {
    const before = view.entry(seq);
    const result = await journal.move(seq, { name: decision });
    if (result.kind === "refused") return result.state;
    if (before !== null) moved(before, result.entry);
    hurry([result.entry.path]);
    return result.entry.state;
  };
  const stop = async (deadlineMs: number): Promise<void> => {
    const quiet = async (): Promise<void> => {
      await Promise.all([...runners.values()].map((runner) => runner.quiet()));
    };
    await within(clock, deadlineMs, quiet());
    stopped = true;
    abort.abort();
    slots.stop();
    rate.stop();
    flushes.stop();
    hurry(runners.keys());
    await within(clock, UNWIND_MS, Promise.all([quiet(), uploads.quiet(), names?.stop()]));
  };
  return {
    wake,
    flush,
    decide,
    reconfigured: () => {
      slots.review();
      hurry(runners.keys());
      wake();
    },
    stats: () => ({
      ...counters,
      uploadsNow: slots.inUse,
      bytesPerSecondMax: options.rateBytesPerSecond(),
      throttled: slots.refusals,
      stuck: stuckOf(options, runners, passesParked),
      pendingNamesFailure: names?.failure ?? null,
    }),
    stop,
  };
}

function startNames(
  { journal, clock, log, pendingNames }: DrainOptions,
  bounds: DrainBounds,
  ask: ReturnType<typeof createAsk>,
): PendingNames | null {
  if (pendingNames === null) return null;
  return createPendingNames({
    ...{ ...pendingNames, view: journal.view, clock, ask },
    log: (message, fields) => log("warn", message, fields),
    namesMax: bounds.namesMax,
    intervalMs: bounds.namesMs,
  });
}

function count(counters: Counters, before: Entry, now: Entry | null): void {
  const state = now?.state.name;
  if (state === "parked") counters.parked++;
  const isConflict = state === "conflicted" || (state === "aside" && before.kind === "delete");
  if (isConflict && before.state.name !== "parked") counters.conflicts++;
  const isInTheLake = state === "settled" || (state === "aside" && before.kind === "put");
  if (!isInTheLake) return;
  counters.carriedEntries++;
  if (before.kind === "put") counters.carriedBytes += before.put.sizeBytes;
}

function tell(log: DrainOptions["log"], { seq, path }: Entry, now: Entry | null): void {
  const state = now?.state;
  if (state?.name === "parked") log("warn", "a write is parked", { seq, path, reason: state.reason });
  if (state?.name === "conflicted") {
    log("warn", "somebody else changed a blob: what is pending goes beside it", {
      seq,
      path,
      sideName: state.sideName,
    });
  }
  if (state?.name === "aside" && state.sideName === null) {
    log("warn", "somebody else changed a blob: its deletion is given up", { seq, path });
  }
}

/** Why paths do not get on: what their runners say, and what is parked before all else. */
function stuckOf(
  { journal }: DrainOptions,
  runners: ReadonlyMap<string, Runner>,
  passesParked: (path: string) => boolean,
): DrainStats["stuck"] {
  const stuck: { path: string; reason: string; sinceMs: number }[] = [];
  for (const path of journal.view.paths()) {
    const said = runners.get(path)?.stuck() ?? null;
    if (said !== null) stuck.push({ path, ...said });
    else if (journal.view.nextOf(path, passesParked(path)) === null) {
      const parked = firstParked(journal, path);
      if (parked !== null) stuck.push({ path, ...parked });
    }
  }
  return stuck;
}

function firstParked(journal: Journal, path: string): { readonly reason: string; readonly sinceMs: number } | null {
  for (const { seq, state } of journal.view.pendingOf(path)) {
    if (state.name === "parked") return { reason: `entry ${seq} is parked: ${state.reason}`, sinceMs: state.atMs };
  }
  return null;
}
