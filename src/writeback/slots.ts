/**
 * How many bodies go to the lake at once, and the memory that they take. Each body needs a slot, and each slot has one
 * buffer of `limits.drainBufferBytes`: so `limits.drainUploadsMax` of them are all the memory there is to it. How many
 * slots an account has follows what its lake can take (`lake/pace.ts`); what a path's turn waits for goes first.
 */
import { assert } from "../base/assert.ts";
import type { Clock, Timer } from "../io/clock.ts";
import { createPace, type Pace } from "../lake/pace.ts";
import type { Rate } from "./rate.ts";

export interface Slots {
  /** A slot when one is free for the account. `isUrgent` is asked again and again. Null: the drain stops. */
  take(account: string, isUrgent: () => boolean): Promise<Slot | null>;
  /** The lake has too much to do: fewer from now on, and none at all for `waitMs`. */
  refused(account: string, waitMs: number | null): void;
  /** Somebody who waits has become urgent, or the rate changed. */
  review(): void;
  stop(): void;
  readonly inUse: number;
  /** Answers that asked for less. */
  readonly refusals: number;
}

export interface Slot {
  readonly buffer: Buffer;
  /** Bytes left. */
  moved(bytes: number): void;
  /** Once, when nothing uses the buffer any more. */
  give(): void;
}

export interface SlotBounds {
  readonly uploadsMax: number;
  readonly uploadsStart: number;
  /** An account may have so many times as many as are free. */
  readonly share: number;
  readonly bufferBytes: number;
}

interface Lane {
  readonly pace: Pace;
  held: number;
  pausedUntilMs: number;
}

interface Waiter {
  readonly lane: Lane;
  readonly isUrgent: () => boolean;
  readonly resolve: (slot: Slot | null) => void;
}

/** Of an account's slots, what is not urgent may have so much. */
const AHEAD_SHARE = 0.75;

export function createSlots(clock: Clock, rate: Rate, bounds: SlotBounds): Slots {
  const lanes = new Map<string, Lane>();
  const idle: Buffer[] = [];
  let waiting: Waiter[] = [];
  let [inUse, refusals] = [0, 0];
  let stopped = false;
  let timer: { readonly atMs: number; readonly timer: Timer } | null = null;

  const laneOf = (account: string): Lane => {
    const known = lanes.get(account);
    if (known !== undefined) return known;
    const { uploadsMax: max, uploadsStart: start } = bounds;
    const lane = { pace: createPace({ min: 1, start, max }, clock.monotonicMs()), held: 0, pausedUntilMs: 0 };
    lanes.set(account, lane);
    return lane;
  };
  const mayTake = ({ lane, isUrgent }: Waiter): boolean => {
    if (inUse >= bounds.uploadsMax || inUse >= rate.bodiesMax) return false;
    if (lane.held >= bounds.share * (bounds.uploadsMax - inUse)) return false;
    if (lane.pausedUntilMs > clock.monotonicMs()) return false;
    const { limit } = lane.pace;
    return lane.held < (isUrgent() ? limit : Math.max(1, Math.floor(limit * AHEAD_SHARE)));
  };
  const lend = (lane: Lane): Slot => {
    const buffer = idle.pop() ?? Buffer.allocUnsafeSlow(bounds.bufferBytes);
    let given = false;
    lane.held++;
    inUse++;
    lane.pace.began(clock.monotonicMs());
    return {
      buffer,
      moved: (bytes) => {
        const before = lane.pace.limit;
        const crowded = waiting.some((waiter) => waiter.lane === lane);
        lane.pace.arrived(bytes, crowded, clock.monotonicMs());
        if (lane.pace.limit > before) serve();
      },
      give: () => {
        assert(!given, "a slot is given back once");
        given = true;
        lane.held--;
        inUse--;
        lane.pace.ended();
        idle.push(buffer);
        // Nothing is carried: the memory goes to others.
        if (inUse === 0) idle.length = 0;
        serve();
      },
    };
  };
  /** When the first account that was asked to wait may go on. */
  const remind = (): void => {
    const nowMs = clock.monotonicMs();
    const moments = waiting.map(({ lane }) => lane.pausedUntilMs).filter((atMs) => atMs > nowMs);
    if (moments.length === 0) return;
    const atMs = Math.min(...moments);
    if (timer !== null && timer.atMs <= atMs && timer.atMs > nowMs) return;
    timer?.timer.cancel();
    timer = {
      atMs,
      timer: clock.after(atMs - nowMs, () => {
        timer = null;
        serve();
      }),
    };
  };
  const serve = (): void => {
    if (waiting.length === 0) return;
    for (const urgent of [true, false]) {
      for (;;) {
        const at = waiting.findIndex((waiter) => waiter.isUrgent() === urgent && mayTake(waiter));
        const [next] = at < 0 ? [] : waiting.splice(at, 1);
        if (next === undefined) break;
        next.resolve(lend(next.lane));
      }
    }
    remind();
  };
  return {
    take: (account, isUrgent) => {
      if (stopped) return Promise.resolve(null);
      return new Promise((resolve) => {
        waiting.push({ lane: laneOf(account), isUrgent, resolve });
        serve();
      });
    },
    refused: (account, waitMs) => {
      const lane = laneOf(account);
      refusals++;
      lane.pace.refused(clock.monotonicMs());
      if (waitMs !== null) lane.pausedUntilMs = Math.max(lane.pausedUntilMs, clock.monotonicMs() + waitMs);
    },
    review: serve,
    stop: () => {
      stopped = true;
      timer?.timer.cancel();
      const all = waiting;
      waiting = [];
      for (const waiter of all) waiter.resolve(null);
    },
    get inUse() {
      return inUse;
    },
    get refusals() {
      return refusals;
    },
  };
}
