/** Flushes, decisions of the operator, and the end of a drain. */
import { describe, expect, test } from "bun:test";
import { MIB } from "../base/limits.ts";
import { bytesOf, createDrainWorld, type DrainWorld, id, nameOf, refusal } from "./testing/drain-world.ts";
import type { Flushed } from "./types.ts";

const ALL = { account: "simlake", container: null, blob: null };
const flush = (
  world: DrainWorld,
  scope: Parameters<DrainWorld["drain"]["flush"]>[0] = ALL,
  { timeoutMs = 10_000, staged = false } = {},
): Promise<Flushed> => world.clock.settle(world.drain.flush(scope, { timeoutMs, staged }));

describe("flush", () => {
  test("of nothing, and of another scope, is done at once", async () => {
    const world = await createDrainWorld();
    expect(await flush(world)).toEqual({ kind: "done" });
    world.hook = () => new Promise(() => {});
    await world.put("a", "x");
    expect(await flush(world, { account: "other", container: null, blob: null })).toEqual({ kind: "done" });
    expect(await flush(world, { account: "simlake", container: "data", blob: "b" })).toEqual({ kind: "done" });
  });

  test("waits for what was there before it, and for no more", async () => {
    const world = await createDrainWorld();
    world.faults.shape({ firstByteMs: [100, 100] });
    await world.put("a", "x");
    const flushed = world.drain.flush(nameOf("a"), { timeoutMs: 10_000, staged: false });
    await world.put("b", "y");
    expect(await world.clock.settle(flushed)).toEqual({ kind: "done" });
    expect(world.peek("a")).toBe("x");
    expect(world.peek("b")).toBeNull();
  });

  test("follows what takes the place of an entry", async () => {
    const world = await createDrainWorld();
    const hold = Promise.withResolvers<null>();
    world.hook = (line) => (line === "PUT a block" ? hold.promise : null);
    await world.putSpans("a", [[id("1"), bytesOf(10, 1)]]);
    const flushed = world.drain.flush(nameOf("a"), { timeoutMs: 10_000, staged: false });
    await world.put("a", "second");
    expect(world.ended.map(({ state }) => state.name)).toEqual(["superseded"]);
    hold.resolve(null);
    expect(await world.clock.settle(flushed)).toEqual({ kind: "done" });
    expect(world.peek("a")).toBe("second");
  });

  test("gives up when its time is over, and says what is left", async () => {
    const world = await createDrainWorld();
    world.reachable = false;
    await world.put("a", "12345");
    await world.put("b", "1");
    expect(await flush(world, nameOf("a"), { timeoutMs: 3_000 })).toEqual({
      kind: "timeout",
      pendingEntries: 1,
      pendingBytes: 5,
    });
  });

  test("says what is parked before it: of its path, or only of its blob", async () => {
    const world = await createDrainWorld();
    world.hook = (line) => (line === "PUT a" ? refusal(409, "BlobImmutableDueToPolicy") : null);
    const parked = await world.put("a", "x");
    await world.clock.advance(1_000);
    await world.put("b", "y");
    expect(await flush(world, nameOf("b"))).toEqual({ kind: "parked", seqs: [parked.seq] });
    world.policy.whenParked = "pass";
    world.drain.reconfigured();
    expect(await flush(world, nameOf("b"))).toEqual({ kind: "done" });
    expect(await flush(world, nameOf("a"))).toEqual({ kind: "parked", seqs: [parked.seq] });
    expect(await flush(world, ALL)).toEqual({ kind: "parked", seqs: [parked.seq] });
  });

  test("hears of what is parked while it waits", async () => {
    const world = await createDrainWorld();
    world.faults.shape({ firstByteMs: [500, 500] });
    world.service.deleteContainer("data");
    const parked = await world.put("a", "x");
    expect(await flush(world)).toEqual({ kind: "parked", seqs: [parked.seq] });
  });

  test("takes staged blocks to the lake, uncommitted, after what is pending", async () => {
    const world = await createDrainWorld();
    await world.put("a", "before");
    for (const n of [1, 2]) {
      const block = { name: nameOf("a"), blockId: id(`s${n}`), span: await world.span(bytesOf(100, n)) };
      await world.clock.settle(world.journal.stage(block));
    }
    world.faults.force("lostAck", 1, ({ target }) => target.includes("comp=block"));
    expect(await flush(world, nameOf("a"), { staged: true })).toEqual({ kind: "done" });
    expect(world.journal.view.totals()).toMatchObject({ stagedBlocks: 0, pendingEntries: 0 });
    expect(world.peek("a")).toBe("before");
    expect(world.service.uncommitted("data", "a")).toEqual([id("s1"), id("s2")]);
  });

  test("of staged blocks whose container is gone forgets them; without the lake it gives up", async () => {
    const world = await createDrainWorld();
    const stage = async (blob: string): Promise<void> => {
      const span = await world.span(bytesOf(100, 1));
      await world.clock.settle(world.journal.stage({ name: nameOf(blob), blockId: id("1"), span }));
    };
    await stage("a");
    world.reachable = false;
    expect(await flush(world, ALL, { staged: true })).toEqual({
      kind: "timeout",
      pendingEntries: 0,
      pendingBytes: 100,
    });
    world.reachable = true;
    world.faults.force("neverAnswers", 1);
    const beforeMs = world.clock.monotonicMs();
    expect(await flush(world, ALL, { staged: true })).toMatchObject({ kind: "timeout" });
    expect(world.clock.monotonicMs() - beforeMs).toBe(10_000);
    world.service.deleteContainer("data");
    expect(await flush(world, ALL, { staged: true })).toEqual({ kind: "done" });
    expect(world.journal.view.totals().stagedBlocks).toBe(0);
  });
});

describe("the operator decides", () => {
  test("only what the states allow", async () => {
    const world = await createDrainWorld();
    world.hook = () => new Promise(() => {});
    const entry = await world.put("a", "x");
    await world.clock.advance(100);
    const decide = (decision: "retry" | "discard" | "dismiss") =>
      world.clock.settle(world.drain.decide(entry.seq, decision));
    expect(await decide("discard")).toEqual({ name: "draining" });
    expect(await decide("dismiss")).toEqual({ name: "draining" });
    expect(await world.clock.settle(world.drain.decide(999, "retry"))).toBeNull();
  });
});

describe("stop", () => {
  test("goes on until all is in the lake", async () => {
    const world = await createDrainWorld();
    world.faults.shape({ firstByteMs: [1_000, 1_000] });
    for (const blob of ["a", "b", "c"]) await world.put(blob, blob);
    await world.clock.settle(world.drain.stop(10_000));
    expect(world.applied).toEqual(["PUT a", "PUT b", "PUT c"]);
  });

  test("leaves the rest to the next start, and lets go of everything", async () => {
    const world = await createDrainWorld();
    world.faults.force("neverAnswers", 100);
    await world.putSpans("a", [[id("1"), bytesOf(3 * MIB, 1)]]);
    await world.put("b", "x");
    const before = world.clock.monotonicMs();
    const flushed = world.drain.flush(ALL, { timeoutMs: 60_000, staged: false });
    await world.clock.settle(world.drain.stop(2_000));
    expect(world.clock.monotonicMs() - before).toBeLessThan(4_000);
    expect(await world.clock.settle(flushed)).toMatchObject({ kind: "timeout", pendingEntries: 2 });
    expect(world.drain.stats().uploadsNow).toBe(0);
    world.faults.calm();
    await world.restart();
    await world.drained();
    expect(world.applied).toEqual(["PUT a blocklist", "PUT b"]);
  });
});
