import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { limits } from "../base/limits.ts";
import { type BufferShare, createBuffers, isOutOfBuffers } from "./buffers.ts";

const BYTES = 8;

/** All that a share gets at once. */
function takeAll(share: BufferShare): Buffer[] {
  const taken: Buffer[] = [];
  for (let buffer = share.takeNow(); buffer !== null; buffer = share.takeNow()) taken.push(buffer);
  return taken;
}

describe("memory for blocks under way", () => {
  test("whatever one account's fills hold, as many as a gate lets in, others' find some", () => {
    const buffers = createBuffers(limits.fillBuffersMax, BYTES, createSimClock());
    const silent = takeAll(buffers.share());
    expect(silent.length).toBeGreaterThanOrEqual(limits.lakeUrgentFillsMax);
    const second = takeAll(buffers.share());
    expect(second.length).toBeGreaterThan(4);
    expect(takeAll(buffers.share()).length).toBeGreaterThan(0);
  });

  test("what comes back goes to who waits longest of those that may have it", async () => {
    const buffers = createBuffers(limits.fillBuffersMax, BYTES, createSimClock());
    const [greedy, other] = [buffers.share(), buffers.share()];
    const held = takeAll(greedy);
    const more = takeAll(other);
    const order: string[] = [];
    const waits = [
      greedy.take().then(() => order.push("greedy")),
      other.take().then(() => order.push("other")),
      greedy.take().then(() => order.push("greedy again")),
    ];
    // Nobody gets past those who wait.
    expect(greedy.takeNow()).toBeNull();
    for (const buffer of more) other.give(buffer);
    await waits[1];
    for (const buffer of held) greedy.give(buffer);
    await Promise.all(waits);
    expect(order.filter((name) => name !== "other")).toEqual(["greedy", "greedy again"]);
    expect(buffers.inUse).toBe(3);
  });

  test("who waits too long is told so, and gets none later", async () => {
    const clock = createSimClock();
    const buffers = createBuffers(1, BYTES, clock);
    const share = buffers.share();
    const [held] = takeAll(share);
    const waiting = share.take().then(
      () => null,
      (error: unknown) => error,
    );
    await clock.advance(limits.fillBufferWaitMs);
    expect(isOutOfBuffers(await waiting)).toBe(true);
    expect(isOutOfBuffers(new Error("another"))).toBe(false);
    if (held) share.give(held);
    expect(buffers.inUse).toBe(0);
    expect(clock.pending).toBe(0);
  });
});
