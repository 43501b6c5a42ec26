/** What the drain does with the flash: damage, memory, the rate, and blocks that may still arrive. */
import { describe, expect, test } from "bun:test";
import { MIB } from "../base/limits.ts";
import { filePath } from "../flash/files.ts";
import { bytesOf, createDrainWorld, type DrainWorld, id, refusal } from "./testing/drain-world.ts";

function stateOf(world: DrainWorld, seq: number) {
  return world.journal.view.entry(seq)?.state;
}

describe("damage", () => {
  for (const size of [1000, 5 * MIB]) {
    test(`of a put of ${size} bytes without blocks: never sent, parked; others pass where they may`, async () => {
      const world = await createDrainWorld();
      world.policy.whenParked = "pass";
      world.reachable = false;
      const entry = await world.putSpans("a", [["", bytesOf(size, 1)]]);
      if (entry.kind !== "put" || entry.content.kind !== "spans") throw new Error("it has spans");
      const [span] = entry.content.spans;
      world.disk.flipBit(filePath(span?.fileId ?? 0), size - 1, 3);
      await world.put("b", "whole");
      world.reachable = true;
      await world.clock.advance(120_000);
      expect(stateOf(world, entry.seq)).toMatchObject({ name: "parked", reason: expect.stringContaining("damage") });
      expect(world.peek("a")).toBeNull();
      expect(world.service.uncommitted("data", "a")).toEqual([]);
      expect(world.peek("b")).toBe("whole");
      expect(world.disk.openDescriptors).toBeLessThan(8);
    });
  }

  test("a file that is gone", async () => {
    const world = await createDrainWorld();
    world.reachable = false;
    const entry = await world.putSpans("a", [[id("1"), bytesOf(10, 1)]]);
    world.disk.unlink(filePath(1));
    world.reachable = true;
    await world.clock.advance(120_000);
    expect(stateOf(world, entry.seq)).toMatchObject({ name: "parked", reason: expect.stringContaining("damage") });
  });

  test("a read that fails for a moment is tried again", async () => {
    const world = await createDrainWorld();
    world.reachable = false;
    await world.putSpans("a", [[id("1"), bytesOf(10, 1)]]);
    await world.clock.advance(10);
    world.disk.faults.failRead = 1;
    world.reachable = true;
    world.drain.reconfigured();
    await world.clock.advance(10);
    world.disk.faults.failRead = 0;
    await world.drained();
    expect(world.drain.stats().parked).toBe(0);
  });

  test("while the journal cannot be written, nothing is parked and nothing is lost", async () => {
    const world = await createDrainWorld();
    await world.put("a", "x");
    world.disk.faults.failSync = 1;
    await world.clock.advance(60_000);
    expect(world.applied).toEqual([]);
    world.disk.faults.failSync = 0;
    await world.drained();
    expect(world.applied).toEqual(["PUT a"]);
  });
});

describe("bounds", () => {
  test("no more is under way than there are slots, and all of it arrives", async () => {
    const world = await createDrainWorld(1, { bounds: { uploadsMax: 4, uploadsStart: 2 } });
    world.faults.shape({ firstByteMs: [5, 20] });
    let most = 0;
    world.step = () => {
      most = Math.max(most, world.drain.stats().uploadsNow);
    };
    for (let n = 0; n < 12; n++) {
      const blocks = [1, 2, 3].map((b) => [id(`${b}`), bytesOf(1000 * b, n * 10 + b)] as const);
      await world.putSpans(`blob-${n}`, blocks, { path: `${n % 3}/` });
    }
    await world.drained();
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(4);
    expect(world.applied.length).toBe(12);
  });

  test("what goes ahead is bounded by entries and by bytes", async () => {
    const world = await createDrainWorld(1, { bounds: { aheadEntriesMax: 3, aheadBytesMax: 2_500 } });
    world.hook = (line) => (line === "PUT head" ? new Promise(() => {}) : null);
    await world.put("head", "x");
    for (let n = 0; n < 6; n++) await world.putSpans(`${n}`, [[id("1"), bytesOf(1000, n)]]);
    await world.clock.advance(1_000);
    expect(world.requests).toEqual(["PUT head", "PUT 0 block", "PUT 1 block"]);
  });

  test("the ceiling on the rate holds for all bodies together", async () => {
    const world = await createDrainWorld();
    world.rate = 2 * MIB;
    const beganAtMs = world.clock.monotonicMs();
    for (let n = 0; n < 4; n++) await world.putSpans(`${n}`, [[id("1"), bytesOf(5 * MIB, n)]], { path: `${n}/` });
    await world.drained();
    const seconds = (world.clock.monotonicMs() - beganAtMs) / 1000;
    expect(seconds).toBeGreaterThanOrEqual(20 / 2 - 1.2);
    expect(seconds).toBeLessThan(12);
    expect(world.drain.stats().bytesPerSecondMax).toBe(2 * MIB);
  });

  test("a part that is larger than a block may be is parked", async () => {
    const world = await createDrainWorld(1, { bounds: { blockBytesMax: 4 * MIB } });
    const entry = await world.putSpans("a", [["", bytesOf(5 * MIB, 1)]]);
    await world.clock.advance(1_000);
    expect(stateOf(world, entry.seq)?.name).toBe("parked");
  });
});

describe("forms", () => {
  test("empty, without headers, with MD5 and tier", async () => {
    const world = await createDrainWorld();
    world.policy.tier = "Cool";
    await world.put("empty", "");
    const bytes = bytesOf(5 * MIB, 1);
    const contentMd5 = new Bun.CryptoHasher("md5").update(bytes).digest("base64");
    await world.putSpans("large", [["", bytes]], {
      contentMd5,
      headers: ["Content-Type", "text/x", "Cache-Control", "no-store"],
    });
    await world.drained();
    expect(world.applied).toEqual(["PUT empty", "PUT large blocklist"]);
    expect(world.peek("empty")).toBe("");
    const head = world.service.properties("data", "large");
    expect(head).toMatchObject({ tier: "Cool", contentMd5 });
    expect(Object.fromEntries(head?.properties ?? [])).toEqual({
      "content-type": "text/x",
      "cache-control": "no-store",
    });
  });

  test("a put that a client made of blocks stays one, however small", async () => {
    const world = await createDrainWorld();
    await world.putSpans("a", [
      [id("1"), bytesOf(3, 1)],
      [id("2"), bytesOf(4, 2)],
    ]);
    await world.drained();
    expect(world.service.properties("data", "a")?.blocks.map((block) => block.id)).toEqual([id("1"), id("2")]);
  });

  test("block ids that cannot serve are replaced", async () => {
    const world = await createDrainWorld();
    await world.putSpans("a", [
      [id("1"), bytesOf(3, 1)],
      [id("1"), bytesOf(4, 2)],
      [id("longer"), bytesOf(5, 3)],
    ]);
    await world.drained();
    expect(world.service.peek("data", "a")).toEqual(
      new Uint8Array([...bytesOf(3, 1), ...bytesOf(4, 2), ...bytesOf(5, 3)]),
    );
  });

  test("a block of an earlier write that may still arrive is never taken for one of a later write", async () => {
    const world = await createDrainWorld();
    world.hook = (line) => (line === "PUT a block" ? refusal(500, "InternalError") : null);
    await world.putSpans("a", [[id("1"), bytesOf(10, 1)]]);
    await world.clock.advance(60_000);
    await world.putSpans("a", [[id("1"), bytesOf(10, 2)]]);
    world.hook = null;
    await world.drained();
    expect(world.service.peek("data", "a")).toEqual(bytesOf(10, 2));
    const [block] = world.service.properties("data", "a")?.blocks ?? [];
    expect(block?.id).not.toBe(id("1"));
    expect(world.ended.map(({ state }) => state.name)).toEqual(["superseded", "settled"]);
  });
});
