/**
 * Time as a parameter: the real clock here, a simulated one in `sim/`. Staleness and leases are counted on the
 * monotonic clock, which all processes of one machine share (CLOCK_MONOTONIC); dates for people and signatures come
 * from the wall clock.
 */
import { monotonicMsNow } from "./syscalls.ts";

/** A timer that can be cancelled; cancelling twice is harmless. */
export interface Timer {
  cancel(): void;
}

/** The clock that everything outside `io/` uses. */
export interface Clock {
  /** Milliseconds since 1970, may step. */
  wallMs(): number;
  /** Milliseconds on the machine's monotonic clock: comparable between processes of one boot, never steps back. */
  monotonicMs(): number;
  /** Calls `run` once after `delayMs`. */
  after(delayMs: number, run: () => void): Timer;
  /** Resolves after `delayMs`. */
  sleep(delayMs: number): Promise<void>;
}

const offsetMs = monotonicMsNow() - performance.now();

/** The machine's clock. Its timers do not keep the process alive by themselves. */
export const realClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now() + offsetMs,
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
};
