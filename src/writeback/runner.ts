/**
 * One policy path: carries its entries one after the other, in the order acknowledged, and pauses while the one whose
 * turn it is does not get on. Blocks of those behind it are sent ahead meanwhile.
 */
import type { Random } from "../base/random.ts";
import type { Clock } from "../io/clock.ts";
import type { Entry, JournalView } from "../journal/types.ts";
import { createBackoff, createSleeper } from "./backoff.ts";
import type { Carried, Carrier } from "./carry.ts";

export interface Runner {
  /** Something may be there to do. Does not cut a pause short. */
  wake(): void;
  /** Cuts a pause short: somebody waits, or what was wrong may be right now. */
  hurry(): void;
  /** Why it does not get on, and since when (wall clock); null when it does. */
  stuck(): { readonly reason: string; readonly sinceMs: number } | null;
  readonly running: boolean;
  /** Resolves when nothing is under way. */
  quiet(): Promise<void>;
}

export interface RunnerParts {
  readonly path: string;
  readonly view: JournalView;
  readonly clock: Clock;
  readonly random: Random;
  readonly carrier: Carrier;
  readonly bounds: { readonly pauseMsMin: number; readonly pauseMsMax: number; readonly hurryMsMax: number };
  readonly passesParked: () => boolean;
  readonly isStopped: () => boolean;
  /** Whether somebody waits for a flush that includes this path. */
  readonly isHurried: () => boolean;
  readonly ahead: (path: string, headSeq: number, isTurn: boolean) => void;
  readonly retried: () => void;
  /** An entry was moved from `before`; null: it is in the journal no more. */
  readonly moved: (before: Entry, now: Entry | null) => void;
  readonly failed: (error: unknown) => void;
}

export function createRunner(parts: RunnerParts): Runner {
  const { path, view, clock, bounds } = parts;
  const backoff = createBackoff(parts.random, { minMs: bounds.pauseMsMin, maxMs: bounds.pauseMsMax });
  const sleeper = createSleeper(clock);
  let current: Promise<void> | null = null;
  let headSeq = 0;
  let stuck: { readonly reason: string; readonly sinceMs: number } | null = null;

  const carry = async (entry: Entry): Promise<Carried> => {
    try {
      headSeq = entry.seq;
      parts.ahead(path, headSeq, true);
      return await parts.carrier.carry(entry);
    } catch (error) {
      // A bug. The entry is safe in the journal; the others of the process must go on.
      parts.failed(error);
      return { kind: "later", why: "an internal error, see the log", waitMs: bounds.pauseMsMax };
    }
  };
  const pause = async (why: string, askedMs: number | null): Promise<void> => {
    stuck = { reason: why, sinceMs: stuck?.sinceMs ?? clock.wallMs() };
    const pauseMs = backoff.next(askedMs);
    await sleeper.sleep(parts.isHurried() ? Math.min(pauseMs, bounds.hurryMsMax) : pauseMs);
    parts.retried();
  };
  const run = async (): Promise<void> => {
    for (;;) {
      const entry = parts.isStopped() ? null : view.nextOf(path, parts.passesParked());
      if (entry === null) return;
      const carried = await carry(entry);
      if (parts.isStopped() && carried.kind === "later") return;
      if (carried.kind === "later") await pause(carried.why, carried.waitMs);
      else if (carried.entry === entry) await pause("the entry did not get on", null);
      else {
        backoff.reset();
        stuck = null;
        parts.moved(entry, carried.entry);
      }
    }
  };
  const wake = (): void => {
    if (parts.isStopped()) return;
    if (current !== null) {
      parts.ahead(path, headSeq, false);
      return;
    }
    if (view.nextOf(path, parts.passesParked()) === null) return;
    current = run().finally(() => {
      current = null;
      stuck = null;
      // What was appended in the same moment.
      wake();
    });
  };
  return {
    wake,
    hurry: () => {
      backoff.reset();
      sleeper.wake();
    },
    stuck: () => stuck,
    get running() {
      return current !== null;
    },
    quiet: async () => {
      await current;
    },
  };
}
