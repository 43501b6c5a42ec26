/** The drain over a lake that loses answers, throttles, refuses and is changed by others. */
import { describe, expect, test } from "bun:test";
import type { SimRequest } from "../../sim/lake/model.ts";
import { MIB } from "../base/limits.ts";
import { bytesOf, createDrainWorld, type DrainWorld, id, refusal } from "./testing/drain-world.ts";

const etag = (text: string) => ({ kind: "etag", etag: text }) as const;
const unknown = { kind: "unknown" } as const;
const isCommit = ({ method, target }: SimRequest): boolean =>
  method === "DELETE" || (method === "PUT" && !target.includes("comp=block&"));
const states = (world: DrainWorld): string[] => world.ended.map(({ state }) => state.name);
/** The one entry that is left. */
function left(world: DrainWorld) {
  const [entry] = world.journal.view.entries();
  if (entry === undefined) throw new Error("nothing is left in the journal");
  return entry;
}

describe("an answer is lost", () => {
  for (const fault of ["lostAck", "duplicate", "resetBefore", "neverAnswers", "serverError"] as const) {
    test(`Put Blob: ${fault}`, async () => {
      const world = await createDrainWorld();
      world.faults.force(fault, 1, isCommit);
      await world.put("a", "hello", { headers: ["x-ms-blob-content-type", "text/plain", "x-ms-meta-A", "1"] });
      await world.drained();
      expect(world.faults.count(fault)).toBe(1);
      expect(world.applied).toEqual(["PUT a"]);
      expect(states(world)).toEqual(["settled"]);
      expect(world.peek("a")).toBe("hello");
    });

    test(`Put Block List with the client's ids: ${fault}`, async () => {
      const world = await createDrainWorld();
      world.faults.force(fault, 1, isCommit);
      await world.putSpans("a", [
        [id("1"), bytesOf(2 * MIB + 1, 1)],
        [id("2"), bytesOf(99, 2)],
      ]);
      await world.drained();
      expect(world.faults.count(fault)).toBe(1);
      expect(world.applied).toEqual(["PUT a blocklist"]);
      expect(states(world)).toEqual(["settled"]);
    });

    test(`Delete Blob: ${fault}`, async () => {
      const world = await createDrainWorld();
      const base = world.service.putBlob("data", "a", bytesOf(10, 1));
      world.faults.force(fault, 1, isCommit);
      await world.remove("a", etag(base));
      await world.drained();
      expect(world.applied).toEqual(["DELETE a"]);
      expect(states(world)).toEqual(["settled"]);
      expect(world.peek("a")).toBeNull();
    });
  }

  test("with the client's ids alone it is not told: the bytes are read back", async () => {
    const world = await createDrainWorld();
    const theirs = bytesOf(2 * MIB, 7);
    world.hook = (line) => {
      if (line !== "PUT a blocklist") return null;
      world.hook = null;
      // Somebody else commits other bytes with the same ids and sizes, and our own answer is lost.
      world.service.putBlocks("data", "a", [[id("1"), theirs]]);
      return refusal(500, "InternalError");
    };
    await world.putSpans("a", [[id("1"), bytesOf(2 * MIB, 1)]]);
    await world.drained();
    expect(left(world).state).toMatchObject({ name: "aside" });
    expect(world.service.peek("data", "a")).toEqual(theirs);
    expect(world.requests).toContain("GET a");
  });

  test("blocks of our own names are known without reading them back", async () => {
    const world = await createDrainWorld();
    world.faults.force("lostAck", 1, isCommit);
    await world.putSpans("a", [["", bytesOf(5 * MIB, 1)]]);
    await world.drained();
    expect(world.requests.filter((line) => line === "GET a")).toEqual([]);
    expect(states(world)).toEqual(["settled"]);
  });

  test("what somebody else wrote meanwhile is no commit of ours, though as long", async () => {
    const world = await createDrainWorld();
    world.hook = (line) => {
      if (line !== "PUT a") return null;
      world.hook = null;
      world.service.putBlob("data", "a", new TextEncoder().encode("other"));
      return refusal(500, "OperationTimedOut");
    };
    await world.put("a", "hello");
    await world.drained();
    expect(world.peek("a")).toBe("other");
    expect(left(world).state).toMatchObject({ name: "aside" });
  });
});

describe("somebody else changed the blob", () => {
  test("a put goes beside it, and later ones of its path go on", async () => {
    const world = await createDrainWorld();
    world.service.putBlob("data", "a", new TextEncoder().encode("theirs"));
    const entry = await world.put("a", "ours", { base: etag('"0x8DOLD"'), headers: ["x-ms-meta-k", "v"] });
    await world.put("b", "next");
    await world.drained();
    const sideName = `a.forebay-conflict-20260101T000000Z-${entry.seq}`;
    expect(left(world).state).toMatchObject({ name: "aside", sideName });
    expect([world.peek("a"), world.peek(sideName), world.peek("b")]).toEqual(["theirs", "ours", "next"]);
    expect(world.applied).toEqual([`PUT ${sideName}`, "PUT b"]);
    expect(world.drain.stats()).toMatchObject({ conflicts: 1, carriedEntries: 2 });
    expect(await world.clock.settle(world.drain.decide(entry.seq, "dismiss"))).toEqual({ name: "dismissed" });
  });

  test("also one of blocks, whose side name lost its answer", async () => {
    const world = await createDrainWorld();
    world.service.putBlob("data", "a", new TextEncoder().encode("theirs"));
    world.faults.force("lostAck", 1, ({ target }) => target.includes("comp=blocklist") && target.includes("conflict"));
    const bytes = bytesOf(6 * MIB, 4);
    await world.putSpans("a", [[id("1"), bytes]]);
    await world.drained();
    const { state } = left(world);
    if (state.name !== "aside" || state.sideName === null) throw new Error("it is aside");
    expect(world.service.peek("data", state.sideName)).toEqual(bytes);
    expect(world.peek("a")).toBe("theirs");
    expect(world.faults.count("lostAck")).toBe(1);
  });

  test("a deletion is given up", async () => {
    const world = await createDrainWorld();
    world.service.putBlob("data", "a", new TextEncoder().encode("theirs"));
    await world.remove("a", etag('"0x8DOLD"'));
    await world.drained();
    expect(left(world).state).toEqual({ name: "aside", sideName: null, lakeEtag: null });
    expect(world.peek("a")).toBe("theirs");
  });

  test("a blob that is gone is a change too, and a deletion has then nothing to do", async () => {
    const world = await createDrainWorld();
    await world.remove("a", etag('"0x8DOLD"'));
    await world.drained();
    expect(states(world)).toEqual(["settled"]);
    await world.put("b", "ours", { base: etag('"0x8DOLD"') });
    await world.drained();
    expect(left(world).state).toMatchObject({ name: "aside" });
  });

  test("an append blob stands where blocks should go", async () => {
    const world = await createDrainWorld();
    world.service.putBlob("data", "a", new Uint8Array(0));
    world.hook = (line) => (line === "PUT a block" ? refusal(409, "InvalidBlobType") : null);
    await world.putSpans("a", [[id("1"), bytesOf(10, 1)]]);
    await world.drained();
    expect(left(world).state).toMatchObject({ name: "aside" });
  });
});

describe("what the lake held is not known", () => {
  test("nothing was there", async () => {
    const world = await createDrainWorld();
    await world.put("a", "ours", { base: unknown });
    await world.drained();
    expect(world.requests).toEqual(["HEAD a", "PUT a"]);
    expect(world.peek("a")).toBe("ours");
  });

  test("what is older than the acknowledgement gives way, what is newer does not", async () => {
    const world = await createDrainWorld();
    world.service.putBlob("data", "old", new Uint8Array(3), { nowMs: world.clock.wallMs() - 4_000 });
    world.service.putBlob("data", "new", new Uint8Array(3), { nowMs: world.clock.wallMs() - 1_500 });
    await world.put("old", "ours", { base: unknown });
    await world.put("new", "ours", { base: unknown });
    await world.drained();
    expect(world.peek("old")).toBe("ours");
    expect(world.service.peek("data", "new")).toEqual(new Uint8Array(3));
    expect(left(world).state).toMatchObject({ name: "aside" });
  });

  test("what was carried from here a moment ago gives way, too", async () => {
    let ours: string | null = null;
    const world = await createDrainWorld(1, { ours: () => ours });
    await world.put("a", "first", { base: unknown });
    await world.drained();
    ours = world.service.properties("data", "a")?.etag ?? null;
    await world.put("a", "second", { base: unknown });
    await world.drained();
    expect(world.peek("a")).toBe("second");
    expect(states(world)).toEqual(["settled", "settled"]);
  });

  test("where nobody else writes, whatever is there gives way", async () => {
    const world = await createDrainWorld();
    world.policy.exclusive = true;
    world.service.putBlob("data", "a", new Uint8Array(3), { nowMs: world.clock.wallMs() + 60_000 });
    await world.put("a", "ours", { base: unknown });
    world.service.putBlob("data", "b", new Uint8Array(3), { nowMs: world.clock.wallMs() + 60_000 });
    await world.remove("b", unknown);
    await world.drained();
    expect([world.peek("a"), world.peek("b")]).toEqual(["ours", null]);
  });

  test("a lost answer", async () => {
    const world = await createDrainWorld();
    world.faults.force("lostAck", 1, isCommit);
    world.service.putBlob("data", "a", new Uint8Array(3), { nowMs: world.clock.wallMs() - 60_000 });
    await world.put("a", "ours", { base: unknown });
    await world.drained();
    expect(world.applied).toEqual(["PUT a"]);
    expect(states(world)).toEqual(["settled"]);
  });
});

describe("the lake has too much to do, or is away", () => {
  for (const fault of ["serverBusy", "serverBusyRetryAfter", "tooManyRequestsRetryAfterMs", "serverError"] as const) {
    test(`three minutes of ${fault}`, async () => {
      const world = await createDrainWorld();
      world.faults.set(fault, 1);
      await world.putSpans("a", [[id("1"), bytesOf(100, 1)]]);
      await world.put("b", "small");
      await world.clock.advance(180_000);
      expect(world.applied).toEqual([]);
      const { stuck, throttled } = world.drain.stats();
      expect(stuck).toMatchObject([{ path: "c/" }]);
      expect(throttled).toBeGreaterThan(0);
      // Pauses grow: the lake is not hammered.
      expect(world.requests.length).toBeLessThan(100);
      world.faults.calm();
      await world.drained(70_000);
      expect(world.applied).toEqual(["PUT a blocklist", "PUT b"]);
      expect(world.drain.stats().stuck).toEqual([]);
    });
  }

  test("it is asked for as long as it asked to be left alone", async () => {
    const world = await createDrainWorld();
    world.hook = (line) => (line.startsWith("PUT") ? refusal(503, "ServerBusy", ["Retry-After", "30"]) : null);
    await world.put("a", "x");
    await world.clock.advance(29_000);
    expect(world.requests).toEqual(["PUT a"]);
    world.hook = null;
    await world.drained(5_000);
  });

  test("an hour without the lake", async () => {
    const world = await createDrainWorld();
    world.reachable = false;
    await world.put("a", "one");
    await world.putSpans("b", [["", bytesOf(5 * MIB, 1)]]);
    await world.clock.advance(3_600_000);
    expect(world.drain.stats().stuck).toMatchObject([{ path: "c/", reason: "no connection to the lake" }]);
    world.reachable = true;
    await world.drained(65_000);
    expect(world.applied).toEqual(["PUT a", "PUT b blocklist"]);
    expect(world.drain.stats().parked).toBe(0);
  });

  test("who waits for a flush does not wait for the end of a long pause", async () => {
    const world = await createDrainWorld();
    world.reachable = false;
    await world.put("a", "one");
    await world.clock.advance(600_000);
    world.reachable = true;
    const flushed = world.drain.flush(
      { account: "simlake", container: "data", blob: null },
      { timeoutMs: 3_000, staged: false },
    );
    expect(await world.clock.settle(flushed)).toEqual({ kind: "done" });
  });
});

describe("the lake refuses", () => {
  test("for good: parked with a reason, its path held back; then retried", async () => {
    const world = await createDrainWorld();
    world.hook = (line) => (line === "PUT a" ? refusal(409, "BlobImmutableDueToPolicy") : null);
    const entry = await world.put("a", "x");
    await world.put("b", "y");
    await world.clock.advance(60_000);
    expect(world.journal.view.entry(entry.seq)?.state).toMatchObject({
      name: "parked",
      reason: expect.stringContaining("immutability"),
    });
    expect(world.peek("b")).toBeNull();
    expect(world.drain.stats().stuck).toMatchObject([{ path: "c/", reason: expect.stringContaining("is parked") }]);
    world.hook = null;
    expect(await world.clock.settle(world.drain.decide(entry.seq, "retry"))).toEqual({ name: "draining" });
    await world.drained();
    expect(world.applied).toEqual(["PUT a", "PUT b"]);
  });

  test("for good, where parked ones let others pass", async () => {
    const world = await createDrainWorld();
    world.policy.whenParked = "pass";
    world.hook = (line) => (line === "PUT a" ? refusal(404, "ContainerNotFound") : null);
    const entry = await world.put("a", "x");
    await world.put("b", "y");
    await world.put("a", "z");
    await world.clock.advance(60_000);
    expect(world.peek("b")).toBe("y");
    expect(world.journal.view.totals()).toMatchObject({ pendingEntries: 2, parkedEntries: 1 });
    world.hook = null;
    expect(await world.clock.settle(world.drain.decide(entry.seq, "discard"))).toEqual({ name: "discarded" });
    await world.drained();
    expect(world.peek("a")).toBe("z");
  });

  test("our credential: tried for ten minutes, then parked", async () => {
    const world = await createDrainWorld();
    world.hook = () => refusal(403, "AuthorizationPermissionMismatch");
    const entry = await world.put("a", "x");
    await world.clock.advance(9 * 60_000);
    expect(world.journal.view.entry(entry.seq)?.state.name).toBe("draining");
    expect(world.drain.stats().stuck).toMatchObject([{ reason: expect.stringContaining("credential") }]);
    await world.clock.advance(3 * 60_000);
    expect(world.journal.view.entry(entry.seq)?.state.name).toBe("parked");
  });

  test("blocks that it has lost are sent again", async () => {
    const world = await createDrainWorld();
    world.hook = (line) => {
      if (line !== "PUT a blocklist") return null;
      world.hook = null;
      return refusal(400, "InvalidBlockList");
    };
    await world.putSpans("a", [[id("1"), bytesOf(100, 1)]]);
    await world.drained(1_000);
    expect(world.requests).toEqual(["PUT a block", "PUT a blocklist", "PUT a block", "PUT a blocklist"]);
  });

  test("ids of another length than those of blocks that somebody left there", async () => {
    const world = await createDrainWorld();
    const bytes = bytesOf(100, 1);
    await leaveBlock(world, "a", id("another-length"));
    await world.putSpans("a", [[id("1"), bytes]]);
    await world.drained();
    expect(world.requests.slice(-4)).toEqual(["PUT a block", "GET a blocklist", "PUT a block", "PUT a blocklist"]);
    expect(world.service.peek("data", "a")).toEqual(bytes);
  });
});

/** Somebody stages a block in the lake and goes away. */
async function leaveBlock(world: DrainWorld, blob: string, blockId: string): Promise<void> {
  const name = { account: "simlake", container: "data", blob };
  await world.clock.settle(world.journal.stage({ name, blockId, span: await world.span(bytesOf(5, 5)) }));
  const flushed = world.drain.flush(name, { timeoutMs: 1_000, staged: true });
  expect(await world.clock.settle(flushed)).toEqual({ kind: "done" });
  expect(world.journal.view.totals().stagedBlocks).toBe(0);
  world.requests.length = 0;
}
