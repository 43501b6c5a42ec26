/** Pauses and waits. Those between attempts: each twice as long as the one before up to a bound, half of it left to chance. */
import type { Random } from "../base/random.ts";
import type { Clock } from "../io/clock.ts";

export interface Backoff {
  /** The next pause: not shorter than what was asked for. */
  next(askedMs: number | null): number;
  /** Something got on: the next pause is a short one again. */
  reset(): void;
  readonly attempts: number;
}

export function createBackoff(random: Random, bounds: { readonly minMs: number; readonly maxMs: number }): Backoff {
  let attempts = 0;
  return {
    next: (askedMs) => {
      const fullMs = Math.min(bounds.maxMs, bounds.minMs * 2 ** Math.min(attempts, 30));
      attempts++;
      const pauseMs = fullMs / 2 + (fullMs / 2) * (random.uint32() / 0x1_0000_0000);
      return Math.max(askedMs ?? 0, Math.floor(pauseMs));
    },
    reset: () => {
      attempts = 0;
    },
    get attempts() {
      return attempts;
    },
  };
}

/** A sleep that can be cut short. */
export interface Sleeper {
  /** Resolves after `ms`, or when it is woken. */
  sleep(ms: number): Promise<void>;
  wake(): void;
  readonly asleep: boolean;
}

export function createSleeper(clock: Clock): Sleeper {
  let wake: (() => void) | null = null;
  return {
    sleep: (ms) =>
      new Promise((resolve) => {
        const end = (): void => {
          timer.cancel();
          wake = null;
          resolve();
        };
        const timer = clock.after(ms, end);
        wake = end;
      }),
    wake: () => wake?.(),
    get asleep() {
      return wake !== null;
    },
  };
}

/** Resolves when `work` has ended, or after `ms`. Rejects as `work` does until then. */
export function within(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, resolve);
    work.then(() => resolve(), reject).finally(() => timer.cancel());
  });
}
