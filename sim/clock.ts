/**
 * Simulated time. Timers fire in the order of their moments, those of one moment in the order in which they were
 * set, and between two of them everything that promises had left to do is done: one seed, one history.
 */
import { assert } from "../src/base/assert.ts";
import type { Clock, Timer } from "../src/io/clock.ts";

/** A clock that stands still until it is told to move. */
export interface SimClock extends Clock {
  /** Lets `ms` pass, firing what falls due on the way. */
  advance(ms: number): Promise<void>;
  /** Fires timers until none is left. Throws after `timersMax`: something then sets timers for ever. */
  runUntilIdle(timersMax?: number): Promise<void>;
  /** Lets time pass until `promise` has settled, and gives its outcome. Throws when no timer is left that could. */
  settle<T>(promise: Promise<T>, timersMax?: number): Promise<T>;
  /** Timers set and neither fired nor cancelled. */
  readonly pending: number;
  /** Steps the wall clock without letting time pass: what NTP or a person does to a machine. */
  stepWall(ms: number): void;
}

interface Entry {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** 2026-01-01, a round beginning for simulated wall clocks. */
export const SIM_EPOCH_MS = Date.UTC(2026, 0, 1);

/** A clock whose wall time begins at `wallMs` and whose monotonic time begins at `monotonicMs`. */
export function createSimClock(wallMs: number = SIM_EPOCH_MS, monotonicMs = 1_000_000): SimClock {
  let nowMs = monotonicMs;
  let wallOffsetMs = wallMs - monotonicMs;
  let order = 0;
  const heap: Entry[] = [];
  const live = new Set<Entry>();

  const after = (delayMs: number, run: () => void): Timer => {
    const entry = { atMs: nowMs + Math.max(0, delayMs), order: order++, run };
    live.add(entry);
    push(heap, entry);
    return { cancel: () => live.delete(entry) };
  };
  /** The next live timer, if it is due by `untilMs`. */
  const take = (untilMs: number): Entry | undefined => {
    for (;;) {
      const first = heap[0];
      if (first === undefined || (live.has(first) && first.atMs > untilMs)) return undefined;
      pop(heap);
      if (live.delete(first)) return first;
    }
  };
  const fire = async (untilMs: number): Promise<boolean> => {
    await quiet();
    const entry = take(untilMs);
    if (entry === undefined) return false;
    assert(entry.atMs >= nowMs, "simulated time never steps back");
    nowMs = entry.atMs;
    entry.run();
    await quiet();
    return true;
  };

  return {
    wallMs: () => nowMs + wallOffsetMs,
    monotonicMs: () => nowMs,
    after,
    sleep: (delayMs) => new Promise((resolve) => void after(delayMs, resolve)),
    advance: async (ms) => {
      const untilMs = nowMs + ms;
      while (await fire(untilMs));
      nowMs = untilMs;
      await quiet();
    },
    runUntilIdle: async (timersMax = 1_000_000) => {
      for (let fired = 0; await fire(Number.POSITIVE_INFINITY); fired++) {
        if (fired >= timersMax) throw new Error(`still not idle after ${timersMax} timers`);
      }
    },
    settle: async (promise, timersMax = 1_000_000) => {
      let settled = false;
      const mark = (): void => {
        settled = true;
      };
      promise.then(mark, mark);
      await quiet();
      for (let fired = 0; !settled; fired++) {
        if (fired >= timersMax) throw new Error(`not settled after ${timersMax} timers`);
        if (!(await fire(Number.POSITIVE_INFINITY)) && !settled) throw new Error("nothing left that could settle this");
      }
      return promise;
    },
    get pending() {
      return live.size;
    },
    stepWall: (ms) => {
      wallOffsetMs += ms;
    },
  };
}

/**
 * Resolves when every promise that could move has moved: the loop runs a macrotask only after all microtasks. Inside
 * `expect(…).rejects` Bun does not wake for an immediate; there the timer comes first.
 */
function quiet(): Promise<void> {
  return new Promise((resolve) => {
    const immediate = setImmediate(() => {
      clearTimeout(timer);
      resolve();
    });
    const timer = setTimeout(() => {
      clearImmediate(immediate);
      resolve();
    }, 0);
  });
}

function before(left: Entry, right: Entry): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}

function push(heap: Entry[], entry: Entry): void {
  let at = heap.length;
  heap.push(entry);
  while (at > 0) {
    const up = (at - 1) >> 1;
    const parent = heap[up];
    if (parent === undefined || !before(entry, parent)) break;
    heap[at] = parent;
    at = up;
  }
  heap[at] = entry;
}

function pop(heap: Entry[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    let down = 2 * at + 1;
    let child = heap[down];
    if (child === undefined) break;
    const right = heap[down + 1];
    if (right !== undefined && before(right, child)) {
      child = right;
      down++;
    }
    if (!before(child, last)) break;
    heap[at] = child;
    at = down;
  }
  heap[at] = last;
}
