/**
 * A ceiling on bytes per second, over everything that is carried. Every piece is given the moment at which it may
 * leave, one after the other; a second's worth that was not used may be made up for, and no more.
 */
import { KIB, MIB } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";

export interface Rate {
  /** Resolves when `bytes` may leave. */
  take(bytes: number): Promise<void>;
  /** How much may leave at a time, so that no connection looks dead. */
  readonly pieceBytesMax: number;
  /** How many bodies may share it: one that is too slow is ended by the lake. */
  readonly bodiesMax: number;
  /** Nothing waits any more. */
  stop(): void;
}

const BURST_MS = 1_000;
const PIECE_MS = 250;
const RECHECK_MS = 1_000;

/** `perSecond`: null for no ceiling; asked again for each piece. */
export function createRate(clock: Clock, perSecond: () => number | null): Rate {
  let freeAtMs = Number.NEGATIVE_INFINITY;
  let stopped = false;
  return {
    take: async (bytes) => {
      for (;;) {
        const rate = perSecond();
        if (rate === null || stopped) return;
        if (rate <= 0) {
          await clock.sleep(RECHECK_MS);
          continue;
        }
        const nowMs = clock.monotonicMs();
        const atMs = Math.max(freeAtMs, nowMs - BURST_MS);
        freeAtMs = atMs + (bytes * 1000) / rate;
        if (atMs > nowMs) await clock.sleep(atMs - nowMs);
        return;
      }
    },
    get pieceBytesMax() {
      const rate = perSecond();
      return rate === null ? MIB : Math.floor(Math.min(MIB, Math.max(4 * KIB, (rate * PIECE_MS) / 1000)));
    },
    get bodiesMax() {
      const rate = perSecond();
      return rate === null ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(rate / MIB));
    },
    stop: () => {
      stopped = true;
    },
  };
}
