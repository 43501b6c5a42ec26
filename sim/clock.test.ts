import { expect, test } from "bun:test";
import { createSimClock } from "./clock.ts";

test("timers fire by moment, then by the order in which they were set, with promises in between", async () => {
  const clock = createSimClock();
  const seen: string[] = [];
  clock.after(20, () => seen.push("late"));
  clock.after(10, () => seen.push("first"));
  clock.after(10, () => {
    seen.push("second");
    clock.sleep(5).then(() => seen.push("from within"));
  });
  const cancelled = clock.after(12, () => seen.push("never"));
  cancelled.cancel();
  cancelled.cancel();
  const startMs = clock.monotonicMs();
  await clock.advance(10);
  expect(seen).toEqual(["first", "second"]);
  expect(clock.monotonicMs() - startMs).toBe(10);
  expect(clock.pending).toBe(2);
  await clock.runUntilIdle();
  expect(seen).toEqual(["first", "second", "from within", "late"]);
  expect(clock.monotonicMs() - startMs).toBe(20);
  expect(clock.pending).toBe(0);
});

test("many timers fire in order", async () => {
  const clock = createSimClock();
  const seen: number[] = [];
  const delays = Array.from({ length: 300 }, (_, i) => (i * 7919) % 101);
  for (const delay of delays) clock.after(delay, () => seen.push(delay));
  await clock.runUntilIdle();
  expect(seen).toEqual([...delays].sort((a, b) => a - b));
});

test("settle lets just enough time pass, and tells when nothing can settle a promise", async () => {
  const clock = createSimClock(1_000_000_000);
  clock.after(60_000, () => {});
  expect(await clock.settle(clock.sleep(50).then(() => "done"))).toBe("done");
  expect(clock.wallMs()).toBe(1_000_000_050);
  await expect(clock.settle(new Promise(() => {}))).rejects.toThrow("nothing left");
  await expect(clock.settle(Promise.reject(new Error("no")))).rejects.toThrow("no");
});

test("the wall clock may step while the monotonic one does not", () => {
  const clock = createSimClock(5_000, 100);
  clock.stepWall(-3_000);
  expect([clock.wallMs(), clock.monotonicMs()]).toEqual([2_000, 100]);
});

test("a timer that sets itself for ever is noticed", async () => {
  const clock = createSimClock();
  const again = (): void => void clock.after(1, again);
  again();
  await expect(clock.runUntilIdle(50)).rejects.toThrow("still not idle");
});
