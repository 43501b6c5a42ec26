import { describe, expect, test } from "bun:test";
import { createPace, type Pace } from "./pace.ts";

const BOUNDS = { min: 1, start: 16, max: 32 };

/** Runs `windows` windows in which the lake gives `rateOf` bytes a millisecond. The moment after. */
function run(pace: Pace, fromMs: number, windows: number, rateOf: (limit: number) => number): number {
  let nowMs = fromMs;
  for (let i = 0; i < windows * 10; i++) {
    nowMs += 30;
    pace.arrived(rateOf(pace.limit) * 30, true, nowMs);
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
    for (let nowMs = 0; nowMs < 10_000; nowMs += 50) pace.arrived(nowMs, false, nowMs);
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
    for (let nowMs = 0; nowMs < 60_000; nowMs += 2_000) {
      pace.began(nowMs);
      pace.arrived(1_000, true, nowMs + 200);
      pace.ended();
    }
    expect(pace.limit).toBe(16);
  });

  test("adapts to a lake so slow that whole windows pass between two pieces", () => {
    const pace = createPace(BOUNDS, 0);
    let nowMs = 0;
    pace.began(nowMs);
    for (; nowMs < 6_600; nowMs += 1_100) pace.refused(nowMs);
    expect(pace.limit).toBe(1);
    // Each read brings a piece in 4 s, however many there are.
    for (let i = 0; i < 3_000; i++) {
      nowMs += 4_000 / pace.limit;
      pace.arrived(65_536, true, nowMs);
    }
    expect(pace.limit).toBe(32);
  });

  test("comes back from a refusal to the bound, though one more of many brings little more", () => {
    const pace = createPace(BOUNDS, 0);
    let nowMs = run(pace, 0, 60, (limit) => limit * 1000);
    pace.refused(nowMs);
    expect(pace.limit).toBe(16);
    nowMs = run(pace, nowMs, 400, (limit) => limit * 1000);
    expect(pace.limit).toBe(32);
  });

  test("is as bold as at first once a minute went by without a refusal", () => {
    const pace = createPace(BOUNDS, 0);
    for (let i = 0; i < 2; i++) pace.refused(i * 2_000);
    expect(pace.limit).toBe(4);
    for (let nowMs = 3_000; nowMs < 63_000; nowMs += 100) pace.arrived(1_000, false, nowMs);
    const seen = new Set<number>();
    run(pace, 63_000, 40, (limit) => {
      seen.add(limit);
      return limit * 1000;
    });
    expect([...seen].slice(-4)).toEqual([18, 22, 27, 32]);
  });
});
