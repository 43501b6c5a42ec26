import { describe, expect, test } from "bun:test";
import { createPace, type Pace } from "./pace.ts";

const BOUNDS = { min: 1, start: 16, max: 32 };

/** Runs `windows` windows in which the lake gives at most `bytesMax`, each read a hundredth of it. */
function run(pace: Pace, fromMs: number, windows: number, rateOf: (limit: number) => number): number {
  let nowMs = fromMs;
  for (let i = 0; i < windows * 10; i++) {
    nowMs += 30;
    pace.done(rateOf(pace.limit) * 30, true, nowMs);
  }
  return nowMs;
}

describe("the pace of reads", () => {
  test("grows while more of them bring more, up to the bound", () => {
    const pace = createPace(BOUNDS, 0);
    run(pace, 0, 40, (limit) => limit * 1000);
    expect(pace.limit).toBe(32);
  });

  test("takes back what brought nothing, and tries again only after a while", () => {
    const pace = createPace(BOUNDS, 0);
    const seen = new Set<number>();
    run(pace, 0, 12, () => {
      seen.add(pace.limit);
      return 1000;
    });
    expect(pace.limit).toBe(16);
    expect([...seen]).toEqual([16, 20]);
  });

  test("stays where it is while nobody waits", () => {
    const pace = createPace(BOUNDS, 0);
    for (let nowMs = 0; nowMs < 10_000; nowMs += 50) pace.done(nowMs, false, nowMs);
    expect(pace.limit).toBe(16);
  });

  test("is halved by a refusal, once for those that come together, and never below the least", () => {
    const pace = createPace(BOUNDS, 0);
    for (let i = 0; i < 20; i++) pace.refused(1_000 + i);
    expect(pace.limit).toBe(8);
    for (let nowMs = 3_000; nowMs < 60_000; nowMs += 1_500) pace.refused(nowMs);
    expect(pace.limit).toBe(1);
  });

  test("comes back from a refusal one by one", () => {
    const pace = createPace(BOUNDS, 0);
    pace.refused(0);
    const limits = new Set<number>();
    run(pace, 0, 100, (limit) => {
      limits.add(limit);
      return limit * 1000;
    });
    expect([...limits].slice(0, 4)).toEqual([8, 9, 10, 11]);
    expect(pace.limit).toBeGreaterThan(16);
  });

  test("judges no window with a pause in it", () => {
    const pace = createPace(BOUNDS, 0);
    for (let i = 1; i < 20; i++) pace.done(1_000, true, i * 2_000);
    expect(pace.limit).toBe(16);
  });
});
