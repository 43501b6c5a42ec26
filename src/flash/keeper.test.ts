import { describe, expect, test } from "bun:test";
import { failureOf } from "../../sim/failure.ts";
import { blockBytesOf, createFlashWorld, type FlashWorld } from "../../sim/flash.ts";
import { filePath } from "./files.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";
import type { Published, VersionRecord } from "./types.ts";

const BLOCK = 4096;
const HOLDER = "server-1";

function world(changes: Partial<Parameters<typeof createFlashWorld>[0]> = {}): FlashWorld {
  return createFlashWorld({ seed: 7, flashBytesMax: 100 * (BLOCK + 1024), ...changes });
}

function recordOf(published: VersionRecord | string): VersionRecord {
  if (typeof published === "string") throw new Error(`expected a record, got ${published}`);
  return published;
}

async function store(
  w: FlashWorld,
  keeper: LocalFlashKeeper,
  key: string,
  blocks = 1,
  etag = "e1",
): Promise<VersionRecord> {
  const record = recordOf(await w.publish(keeper, key, etag, blocks * BLOCK));
  const claimed = await w.clock.settle(keeper.claim(HOLDER, record.id, 0, blocks));
  expect(claimed?.granted.length).toBe(blocks);
  await w.fill(keeper, record, claimed?.granted ?? [], blockBytesOf);
  return record;
}

describe("a blob's way onto flash", () => {
  test("publish, claim, fill, commit: then servers find it complete in the index", async () => {
    const w = world();
    const keeper = await w.start();
    const record = await store(w, keeper, "a/c/blob", 3);
    const reader = w.index.reader();
    expect(reader.lookup("a/c/blob")).toBeNull();
    await w.clock.settle(keeper.flush());
    const found = reader.lookup("a/c/blob");
    expect(found).toEqual({ ...record, present: null });
    expect(keeper.stats()).toMatchObject({ versions: 1, storedBytes: 3 * BLOCK, pendingBytes: 0, activeVersions: 0 });
    await keeper.stop();
  });

  test("the commit comes by itself within the interval", async () => {
    const w = world();
    const keeper = await w.start();
    await store(w, keeper, "a/c/blob");
    await w.clock.advance(250);
    expect(w.index.reader().lookup("a/c/blob")?.present).toBeNull();
    await keeper.stop();
  });

  test("an empty blob is complete at once and has no file", async () => {
    const w = world();
    const keeper = await w.start();
    const record = recordOf(await w.publish(keeper, "a/c/empty", "e0", 0));
    expect(record).toMatchObject({ present: null, spans: [], sizeBytes: 0 });
    await w.clock.settle(keeper.flush());
    expect(w.index.reader().lookup("a/c/empty")).toEqual(record);
    expect(w.disk.contents(filePath(record.id))).toBeNull();
    await keeper.stop();
  });

  test("another ETag is another incarnation; the old file goes", async () => {
    const w = world();
    const keeper = await w.start();
    const old = await store(w, keeper, "a/c/blob");
    await w.clock.settle(keeper.flush());
    const renewed = recordOf(await w.publish(keeper, "a/c/blob", "e2", BLOCK));
    expect(renewed.id).toBeGreaterThan(old.id);
    expect(w.index.reader().lookup("a/c/blob")).toBeNull();
    await w.clock.settle(keeper.flush());
    expect(w.disk.contents(filePath(old.id))).toBeNull();
    expect(w.index.reader().lookup("a/c/blob")?.id).toBe(renewed.id);
    await keeper.stop();
  });

  test("the same ETag joins variants, and the newer of one form stays", async () => {
    const w = world();
    const keeper = await w.start();
    const first = recordOf(await w.publish(keeper, "a/c/blob", "e1", BLOCK));
    for (let n = 0; n < 12; n++) {
      const variantId = `head|${n}`;
      const acquired = await keeper.acquire(w.request("a/c/blob", { variantId }));
      if (acquired.kind !== "lease") throw new Error(acquired.kind);
      const variant = w.variant("a/c/blob", { id: variantId });
      await w.clock.settle(keeper.publish({ lease: acquired.lease, etag: "e1", sizeBytes: BLOCK, variant }));
    }
    await w.clock.settle(keeper.flush());
    const found = w.index.reader().lookup("a/c/blob");
    expect(found?.id).toBe(first.id);
    expect(found?.variants.map((v) => v.id)).toEqual([4, 5, 6, 7, 8, 9, 10, 11].map((n) => `head|${n}`));
    await keeper.stop();
  });
});

describe("why a version is refused", () => {
  async function attempt(
    w: FlashWorld,
    keeper: LocalFlashKeeper,
    sizeBytes: number,
    moved: boolean,
  ): Promise<Published> {
    const acquired = await keeper.acquire(w.request("a/c/blob"));
    if (acquired.kind !== "lease") throw new Error(acquired.kind);
    const variant = w.variant("a/c/blob");
    if (moved) w.generations.move("a/c/blob");
    return w.clock.settle(keeper.publish({ lease: acquired.lease, etag: "e1", sizeBytes, variant }));
  }

  test("a generation that moved", async () => {
    const w = world();
    const keeper = await w.start();
    expect(await attempt(w, keeper, BLOCK, true)).toEqual({ kind: "refused", reason: "void" });
    await keeper.stop();
  });

  test("a lease that is not one any more", async () => {
    const w = world();
    const keeper = await w.start();
    const variant = w.variant("a/c/blob");
    const published = await keeper.publish({ lease: 12345, etag: "e", sizeBytes: 1, variant });
    expect(published).toEqual({ kind: "refused", reason: "void" });
    await keeper.stop();
  });

  test("a blob larger than the cache", async () => {
    const w = world();
    const keeper = await w.start();
    expect(await attempt(w, keeper, 1e9, false)).toEqual({ kind: "refused", reason: "too-large" });
    await keeper.stop();
  });

  test("a change under way, until its mark is taken back", async () => {
    const w = world();
    const keeper = await w.start();
    const mark = await w.clock.settle(keeper.markChange({ account: "a", container: "c", blob: null }));
    expect(await attempt(w, keeper, BLOCK, false)).toEqual({ kind: "refused", reason: "changing" });
    await keeper.unmarkChange(mark, true);
    expect((await attempt(w, keeper, BLOCK, false)).kind).toBe("record");
    await keeper.stop();
  });

  test("a flash that failed, until a probe finds it working", async () => {
    const w = world();
    const keeper = await w.start();
    await keeper.reportFailure("read: EIO");
    expect(keeper.health()).toMatchObject({ ok: false, needsReopen: false });
    expect(await attempt(w, keeper, BLOCK, false)).toEqual({ kind: "refused", reason: "flash-failed" });
    await w.clock.advance(6_000);
    expect(keeper.health()).toEqual({ ok: true });
    expect((await attempt(w, keeper, BLOCK, false)).kind).toBe("record");
    await keeper.stop();
  });

  test("no room, because everything is being filled", async () => {
    const w = world({ flashBytesMax: 10 * BLOCK - 1 });
    const keeper = await w.start();
    const record = recordOf(await w.publish(keeper, "a/c/big", "e", 9 * BLOCK));
    expect((await w.clock.settle(keeper.claim(HOLDER, record.id, 0, 9)))?.granted.length).toBe(9);
    expect(await attempt(w, keeper, 2 * BLOCK, false)).toEqual({ kind: "refused", reason: "no-space" });
    const other = recordOf(await w.publish(keeper, "a/c/empty", "e", 0));
    expect(other.sizeBytes).toBe(0);
    await keeper.stop();
  });
});

describe("blocks", () => {
  test("one brings a block, others hear when it is there", async () => {
    const w = world();
    const keeper = await w.start();
    const record = recordOf(await w.publish(keeper, "a/c/blob", "e", 4 * BLOCK));
    expect(await keeper.claim(HOLDER, record.id, 0, 2)).toEqual({ granted: [0, 1], present: [], held: [] });
    expect(await keeper.claim("server-2", record.id, 0, 4)).toEqual({ granted: [2, 3], present: [], held: [0, 1] });
    expect(await keeper.claim(HOLDER, record.id, 0, 1)).toEqual({ granted: [], present: [], held: [0] });
    const outcome = keeper.awaitBlock(record.id, 0);
    const freed = keeper.awaitBlock(record.id, 1);
    await w.fill(keeper, record, [0], blockBytesOf);
    expect(await w.clock.settle(outcome)).toBe("present");
    keeper.holderGone(HOLDER);
    expect(await w.clock.settle(freed)).toBe("free");
    expect(await keeper.claim("server-2", record.id, 0, 4)).toEqual({ granted: [1], present: [0], held: [2, 3] });
    const lost = keeper.awaitBlock(record.id, 2);
    await keeper.drop("a/c/blob", null, "deleted");
    expect(await w.clock.settle(lost)).toBe("gone");
    expect(await keeper.claim(HOLDER, record.id, 0, 1)).toBeNull();
    expect(keeper.stats().reservedBytes).toBe(0);
    await keeper.stop();
  });

  test("what was not claimed does not count as filled", async () => {
    const w = world();
    const keeper = await w.start();
    const record = recordOf(await w.publish(keeper, "a/c/blob", "e", 2 * BLOCK));
    await keeper.filled(record.id, [{ block: 1, checksum: "00" }]);
    expect(await keeper.claim(HOLDER, record.id, 1, 1)).toEqual({ granted: [1], present: [], held: [] });
    await keeper.unclaim("server-2", record.id, [1]);
    expect(await keeper.awaitBlock(record.id, 0)).toBe("free");
    expect((await keeper.claim("server-2", record.id, 1, 1))?.held).toEqual([1]);
    await keeper.unclaim(HOLDER, record.id, [1]);
    expect((await keeper.claim("server-2", record.id, 1, 1))?.granted).toEqual([1]);
    await keeper.stop();
  });

  test("a flush that fails drops everything that had writes under way", async () => {
    const w = world();
    const keeper = await w.start();
    const kept = await store(w, keeper, "a/c/kept", 2);
    await w.clock.settle(keeper.flush());
    const lost = await store(w, keeper, "a/c/lost", 2);
    const claimed = recordOf(await w.publish(keeper, "a/c/claimed", "e", BLOCK));
    await keeper.claim(HOLDER, claimed.id, 0, 1);
    w.disk.faults.failSync = 1;
    await w.clock.settle(keeper.flush());
    expect(keeper.health().ok).toBe(false);
    expect(await w.clock.settle(keeper.awaitBlock(lost.id, 0))).toBe("gone");
    expect(await keeper.awaitBlock(claimed.id, 0)).toBe("gone");
    expect(await failureOf(keeper.claim(HOLDER, kept.id, 0, 1))).toMatchObject({ code: "flash-failed" });
    w.disk.faults.failSync = 0;
    await w.clock.advance(6_000);
    expect(keeper.health().ok).toBe(true);
    expect(w.index.reader().lookup("a/c/kept")?.present).toBeNull();
    expect(w.index.reader().lookup("a/c/lost")).toBeNull();
    expect(w.disk.contents(filePath(lost.id))).toBeNull();
    expect(keeper.stats()).toMatchObject({
      storedBytes: 2 * BLOCK,
      pendingBytes: 0,
      reservedBytes: 0,
      retiredBytes: 0,
    });
    await keeper.stop();
  });
});

describe("space", () => {
  test("past the high-water mark what was read once goes, what was read again stays", async () => {
    const w = world({ flashBytesMax: 20 * (BLOCK + 1024) });
    const keeper = await w.start();
    const told: number[] = [];
    keeper.subscribe(HOLDER, { evicted: async (fileIds) => void told.push(...fileIds) });
    const loved: VersionRecord[] = [];
    for (let n = 0; n < 60; n++) {
      const record = await store(w, keeper, `a/c/blob-${n}`);
      if (n < 5) loved.push(record);
      for (const one of loved) w.visited[one.id & (w.visited.length - 1)] = 1;
      await w.clock.advance(300);
    }
    const { usedBytes, boundBytes, evictedVersions } = keeper.stats();
    expect(usedBytes).toBeLessThanOrEqual(boundBytes * 0.95);
    expect(evictedVersions).toBeGreaterThan(35);
    expect(told.length).toBe(evictedVersions);
    for (const { key } of loved) expect(w.index.reader().lookup(key)).not.toBeNull();
    for (const id of told) expect(w.disk.contents(filePath(id))).toBeNull();
    await keeper.stop();
  });

  test("space held by a server counts as taken until it lets go, or its time runs out", async () => {
    const w = world();
    const keeper = await w.start();
    const { promise, resolve } = Promise.withResolvers<void>();
    keeper.subscribe("slow", { evicted: () => promise });
    keeper.subscribe("gone", { evicted: () => new Promise(() => {}) });
    await store(w, keeper, "a/c/blob", 3);
    await w.clock.settle(keeper.flush());
    await keeper.drop("a/c/blob", null, "deleted");
    await w.clock.settle(keeper.flush());
    expect(keeper.stats()).toMatchObject({ storedBytes: 0, retiredBytes: 3 * BLOCK });
    keeper.holderGone("gone");
    resolve();
    await w.clock.advance(0);
    expect(keeper.stats().retiredBytes).toBe(0);
    keeper.subscribe("stuck", { evicted: () => new Promise(() => {}) });
    await store(w, keeper, "a/c/blob", 2);
    await keeper.drop("a/c/blob", null, "deleted");
    await w.clock.settle(keeper.flush());
    expect(keeper.stats().retiredBytes).toBe(2 * BLOCK);
    await w.clock.advance(5_001);
    expect(keeper.stats()).toMatchObject({ retiredBytes: 0, releasesLate: 1 });
    await keeper.stop();
  });

  test("the file system keeps its reserve, whatever the bound says", async () => {
    const w = world({
      flashBytesMax: 1000 * BLOCK,
      capacityBytes: 40 * BLOCK,
      bounds: { reserveBytesMin: 10 * BLOCK },
    });
    const keeper = await w.start();
    for (let n = 0; n < 60; n++) {
      await store(w, keeper, `a/c/blob-${n}`);
      await w.clock.advance(300);
      expect(w.disk.space().freeBytes).toBeGreaterThanOrEqual(9 * BLOCK);
    }
    expect(keeper.stats().evictedVersions).toBeGreaterThan(20);
    await keeper.stop();
  });
});

describe("a file system filled by others", () => {
  test("a commit without room waits, eviction makes room, nothing is lost", async () => {
    const w = world({ flashBytesMax: 1000 * BLOCK, capacityBytes: 1000 * BLOCK });
    const keeper = await w.start();
    for (let n = 0; n < 10; n++) await store(w, keeper, `a/c/old-${n}`, 2);
    await w.clock.settle(keeper.flush());
    await store(w, keeper, "a/c/new", 3);
    w.disk.faults.capacityBytes = w.disk.usedBytes + 100;
    w.index.isFull = () => w.disk.space().freeBytes < 2 * BLOCK;
    await w.clock.advance(2_500);
    expect(keeper.health()).toEqual({ ok: true });
    expect(w.index.reader().lookup("a/c/new")?.present).toBeNull();
    expect(w.index.reader().lookup("a/c/old-0")).toBeNull();
    expect(keeper.stats()).toMatchObject({ pendingBlocks: 0, pendingBytes: 0, retiredBytes: 0 });
    expect(w.log.some((line) => line.includes("a commit waits"))).toBe(true);
    await keeper.stop();
  });
});

describe("starting", () => {
  test("files without a version are swept, those of versions stay", async () => {
    const w = world();
    const keeper = await w.start();
    const kept = await store(w, keeper, "a/c/kept");
    await w.clock.settle(keeper.flush());
    const lost = await store(w, keeper, "a/c/lost");
    w.kill();
    const again = await w.start();
    await w.clock.settle(again.sweepOrphans());
    expect(again.stats().orphansRemoved).toBe(1);
    expect(w.disk.contents(filePath(kept.id))).not.toBeNull();
    expect(w.disk.contents(filePath(lost.id))).toBeNull();
    await again.stop();
  });

  test("after a life that ended in order, no start looks for files without a version", async () => {
    const w = world();
    const keeper = await w.start();
    const kept = await store(w, keeper, "a/c/kept");
    await w.clock.settle(keeper.sweepOrphans());
    await w.clock.settle(keeper.stop());
    let looks = 0;
    const list = (path: string): string[] => {
      looks++;
      return w.disk.list(path);
    };
    const disk = { ...w.disk, list };
    const second = await w.start({ disk });
    await w.clock.advance(5_000);
    expect(looks).toBe(0);
    const lost = await store(w, second, "a/c/lost");
    w.kill();
    const third = await w.start({ disk });
    await w.clock.advance(5_000);
    expect(looks).toBeGreaterThan(0);
    expect(third.stats().orphansRemoved).toBe(1);
    expect(w.disk.contents(filePath(kept.id))).not.toBeNull();
    expect(w.disk.contents(filePath(lost.id))).toBeNull();
    await w.clock.settle(third.stop());
  });

  test("ids go on after the index was lost", async () => {
    const w = world();
    const keeper = await w.start();
    const before = await store(w, keeper, "a/c/blob");
    w.kill();
    w.index.lose();
    const again = await w.start();
    const after = await store(w, again, "a/c/blob");
    expect(after.id).toBeGreaterThan(before.id);
    await again.stop();
  });

  test("a folder of a later format is refused, and named", async () => {
    const w = world();
    const fd = w.disk.open("format", "create");
    await w.disk.write(fd, new TextEncoder().encode("forebay-flash 9 x\n"), 0);
    const attempt = w.start();
    expect(await failureOf(attempt)).toMatchObject({ code: "config" });
    expect(String(await failureOf(attempt))).toMatch(/\/simulated\/flash has format 9/);
  });

  test("marks outlive a power loss and lapse in the end", async () => {
    const w = world();
    const keeper = await w.start();
    await store(w, keeper, "a/c/blob");
    await w.clock.settle(keeper.flush());
    await w.clock.settle(keeper.markChange({ account: "a", container: "c", blob: "blob" }));
    w.powerLoss();
    const again = await w.start();
    expect(w.index.reader().lookup("a/c/blob")).toBeNull();
    expect(await w.publish(again, "a/c/blob", "e2", BLOCK)).toBe("changing");
    expect(typeof (await w.publish(again, "a/c/other", "e2", BLOCK))).toBe("object");
    await w.clock.advance(15 * 60_000 + 10_000);
    expect(again.stats().marks).toBe(0);
    expect(typeof (await w.publish(again, "a/c/blob", "e2", BLOCK))).toBe("object");
    await again.stop();
  });

  test("a change that the lake refused costs nothing, one that happened what it may have replaced", async () => {
    const w = world();
    const keeper = await w.start();
    const index = (): boolean => w.index.reader().lookup("a/c/blob") !== null;
    const ends = [
      { happened: false, kept: true },
      { happened: true, kept: false },
    ];
    await store(w, keeper, "a/c/blob");
    await w.clock.settle(keeper.flush());
    for (const { happened, kept } of ends) {
      const mark = await w.clock.settle(keeper.markChange({ account: "a", container: null, blob: null }));
      expect(index()).toBe(true);
      await w.clock.settle(keeper.unmarkChange(mark, happened));
      expect([happened, index(), keeper.stats().marks]).toEqual([happened, kept, 0]);
    }
    await keeper.stop();
  });

  test("an index that fails, or a folder that vanishes, asks for a new keeper", async () => {
    const w = world();
    const keeper = await w.start();
    await store(w, keeper, "a/c/blob");
    w.index.failing = true;
    await w.clock.settle(keeper.flush());
    expect(keeper.health()).toMatchObject({ ok: false, needsReopen: true });
    await keeper.stop();
    w.index.failing = false;
    const again = await w.start();
    w.disk.faults.vanished = true;
    await w.clock.advance(6_000);
    expect(again.health()).toMatchObject({ ok: false, needsReopen: true });
    await again.stop();
  });
});

describe("the scrub", () => {
  test("finds a flipped bit and drops the version, and only that one", async () => {
    const w = world();
    const keeper = await w.start();
    const bad = await store(w, keeper, "a/c/bad", 20);
    await store(w, keeper, "a/c/good", 20);
    await w.clock.settle(keeper.flush());
    expect(w.disk.flipBit(filePath(bad.id), 17 * BLOCK + 5, 3)).toBe(true);
    for (let n = 0; n < 10; n++) await w.clock.settle(keeper.scrubStep());
    expect(keeper.stats().scrubBadBlocks).toBe(1);
    expect(w.index.reader().lookup("a/c/bad")).toBeNull();
    expect(w.index.reader().lookup("a/c/good")).not.toBeNull();
    await keeper.stop();
  });

  test("comes round by itself within its period", async () => {
    const w = world({ bounds: { scrubPeriodMs: 3_600_000 } });
    const keeper = await w.start();
    for (let n = 0; n < 5; n++) await store(w, keeper, `a/c/${n}`, 10);
    await w.clock.advance(3_600_000);
    expect(keeper.stats().scrubbedBlocks).toBeGreaterThanOrEqual(50);
    expect(keeper.stats().scrubBadBlocks).toBe(0);
    await keeper.stop();
  });
});
