/**
 * Reads of the lake for fills, bounded for each account by itself: how many go on at once follows what the account's
 * lake can give (see `lake/pace.ts`), and those that a reader stands waiting for go first (see `gate.ts`).
 */
import { assert } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import { createPace, type Pace } from "../lake/pace.ts";
import type { BufferShare, Buffers } from "./buffers.ts";
import { createGate, type Gate } from "./gate.ts";

/** The way to one account's lake. */
export interface Lane {
  readonly gate: Gate;
  /** Its memory for blocks under way. */
  readonly buffers: BufferShare;
  /** Does one read of the lake; {@link arrived} and {@link refused} are told meanwhile and after. */
  reading<T>(read: () => Promise<T>): Promise<T>;
  /** Bytes of a read arrived. */
  arrived(bytes: number): void;
  /** The lake refused a read because of its load. */
  refused(): void;
}

export interface Lanes {
  of(account: string): Lane;
  hurry(): void;
  review(): void;
}

const PACE = { min: 1, start: limits.lakeFillConnectionsStart, max: limits.lakeFillConnectionsMax };
/** So many times as many with those that a reader waits for. */
const URGENT_FACTOR = 4;

assert(PACE.start <= PACE.max, "fills begin with no more connections than they may have");

export function createLanes(clock: Clock, buffers: Buffers): Lanes {
  const lanes = new Map<string, Lane>();
  return {
    of: (account) => {
      const known = lanes.get(account);
      if (known !== undefined) return known;
      const lane = createLane(clock, createPace(PACE, clock.monotonicMs()), buffers.share());
      lanes.set(account, lane);
      return lane;
    },
    hurry: () => {
      for (const { gate } of lanes.values()) gate.hurry();
    },
    review: () => {
      for (const { gate } of lanes.values()) gate.review();
    },
  };
}

function createLane(clock: Clock, pace: Pace, buffers: BufferShare): Lane {
  const gate = createGate({
    get insideMax() {
      return pace.limit;
    },
    get urgentMax() {
      return Math.min(limits.lakeUrgentFillsMax, pace.limit * URGENT_FACTOR);
    },
  });
  return {
    gate,
    buffers,
    reading: async (read) => {
      pace.began(clock.monotonicMs());
      try {
        return await read();
      } finally {
        pace.ended();
      }
    },
    arrived: (bytes) => {
      const before = pace.limit;
      pace.arrived(bytes, gate.waiting > 0, clock.monotonicMs());
      if (pace.limit > before) gate.hurry();
    },
    refused: () => pace.refused(clock.monotonicMs()),
  };
}
