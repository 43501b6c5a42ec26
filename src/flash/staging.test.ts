import { describe, expect, test } from "bun:test";
import { failureOf } from "../../sim/failure.ts";
import { blockBytesOf, createFlashWorld, type FlashWorld } from "../../sim/flash.ts";
import { seededRandom } from "../base/random.ts";
import { allocatedBytes, fileIdsOf, filePath, spanSum } from "./files.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";
import { INDEX_ROW_BYTES } from "./space.ts";
import type { Adoption, CheckedSpan, VersionRecord } from "./types.ts";

const BLOCK = 4096;
const HOLDER = "server-1";
const KEY = "a/c/blob";

function world(changes: Partial<Parameters<typeof createFlashWorld>[0]> = {}): FlashWorld {
  return createFlashWorld({ seed: 7, flashBytesMax: 100 * (BLOCK + 1024), ...changes });
}

function bytesFor(fileId: number, length: number): Uint8Array {
  return seededRandom(fileId).fill(new Uint8Array(length));
}

function sumOf(bytes: Uint8Array): string {
  const sum = spanSum();
  for (let at = 0; at < bytes.length; at += 1 << 20) sum.add(bytes.subarray(at, at + (1 << 20)));
  return sum.end();
}

/** A file reserved and written, as a server does it. `durable`: flushed, with its name. */
async function stage(w: FlashWorld, keeper: LocalFlashKeeper, length: number, durable = false): Promise<CheckedSpan> {
  const fileId = await w.clock.settle(keeper.staging.reserve(HOLDER, length));
  const bytes = bytesFor(fileId, length);
  const fd = w.disk.open(filePath(fileId), "write");
  await w.clock.settle(w.disk.write(fd, bytes, 0));
  if (durable) {
    await w.clock.settle(w.disk.syncFile(fd));
    await w.clock.settle(w.disk.syncFolder(filePath(fileId).split("/").slice(0, -1).join("/")));
  }
  w.disk.close(fd);
  return { fileId, offset: 0, length, checksum: sumOf(bytes) };
}

function adoption(spans: readonly CheckedSpan[], etag = "e1", key = KEY): Adoption {
  return { key, etag, sizeBytes: spans.reduce((sum, { length }) => sum + length, 0), spans };
}

const adopt = (w: FlashWorld, keeper: LocalFlashKeeper, what: Adoption): Promise<boolean> =>
  w.clock.settle(keeper.staging.adopt(what));

const isThere = (w: FlashWorld, { fileId }: { fileId: number }): boolean => w.disk.contents(filePath(fileId)) !== null;

/** The version as servers find it, with its bytes checked. */
function found(w: FlashWorld, key = KEY): VersionRecord | null {
  const record = w.index.reader().lookup(key);
  for (const { fileId, offset, length } of record?.spans ?? []) {
    const contents = w.disk.contents(filePath(fileId));
    if (contents === null) throw new Error(`file ${fileId} is gone`);
    const all = bytesFor(fileId, offset + length);
    expect(contents.subarray(offset, offset + length)).toEqual(all.subarray(offset));
  }
  return record;
}

async function store(w: FlashWorld, keeper: LocalFlashKeeper, key: string, etag: string): Promise<VersionRecord> {
  const record = await w.publish(keeper, key, etag, BLOCK);
  if (typeof record === "string") throw new Error(record);
  const claimed = await w.clock.settle(keeper.claim(HOLDER, record.id, 0, 1));
  await w.fill(keeper, record, claimed?.granted ?? [], blockBytesOf);
  await w.clock.settle(keeper.flush());
  return record;
}

/** What the ledger says is the sum of what there is. */
function expectExact(keeper: LocalFlashKeeper): void {
  const s = keeper.stats();
  const parts = s.storedBytes + s.pendingBytes + s.reservedBytes + s.retiredBytes + s.stagedBytes;
  expect(s.usedBytes).toBe(parts + s.versions * INDEX_ROW_BYTES);
}

function expectNothing(keeper: LocalFlashKeeper): void {
  expect(keeper.stats()).toMatchObject({
    stagedFiles: 0,
    stagedBytes: 0,
    pendingBytes: 0,
    retiredBytes: 0,
    storedBytes: 0,
    usedBytes: 0,
  });
}

describe("reserved files", () => {
  test("are made empty, count at once, and go when they are given back", async () => {
    const w = world();
    const keeper = await w.start();
    const fileId = await w.clock.settle(keeper.staging.reserve(HOLDER, BLOCK + 1));
    expect(w.disk.contents(filePath(fileId))).toEqual(new Uint8Array(0));
    expect(keeper.stats()).toMatchObject({ stagedFiles: 1, stagedBytes: 2 * BLOCK, usedBytes: 2 * BLOCK });
    keeper.staging.giveBack("server-2", [fileId]);
    expect(isThere(w, { fileId })).toBe(true);
    keeper.staging.giveBack(HOLDER, [fileId, 4711]);
    expect(isThere(w, { fileId })).toBe(false);
    expectNothing(keeper);
    await w.clock.settle(keeper.stop());
  });

  test("end with their holder, but for those that the journal keeps", async () => {
    const w = world();
    const keeper = await w.start();
    const [mine, kept] = [await stage(w, keeper, BLOCK), await stage(w, keeper, BLOCK)];
    keeper.staging.keep([kept.fileId]);
    const late = keeper.staging.reserve(HOLDER, BLOCK);
    keeper.holderGone(HOLDER);
    expect(String(await failureOf(w.clock.settle(late)))).toMatch(/ended/);
    expect([isThere(w, mine), isThere(w, kept)]).toEqual([false, true]);
    keeper.staging.giveBack(HOLDER, [kept.fileId]);
    expect(isThere(w, kept)).toBe(true);
    expect(() => keeper.staging.keep([kept.fileId, mine.fileId])).toThrow(/given back/);
    keeper.staging.release([kept.fileId]);
    expect(isThere(w, kept)).toBe(false);
    expectNothing(keeper);
    await w.clock.settle(keeper.stop());
  });

  test("have room made for them, and find none in what is not the cache's to give", async () => {
    const w = world({ flashBytesMax: 20 * (BLOCK + 1024) });
    const keeper = await w.start();
    for (let n = 0; n < 16; n++) await store(w, keeper, `a/c/${n}`, "e");
    const first = await stage(w, keeper, 10 * BLOCK);
    keeper.staging.keep([first.fileId]);
    expect(keeper.stats().evictedVersions).toBeGreaterThan(0);
    const { versions } = keeper.stats();
    expect(await failureOf(w.clock.settle(keeper.staging.reserve(HOLDER, 16 * BLOCK)))).toMatchObject({
      code: "flash-full",
    });
    expect(keeper.stats().versions).toBe(versions); // nothing was evicted in vain
    expect(await failureOf(w.clock.settle(keeper.staging.reserve(HOLDER, 1e9)))).toMatchObject({ code: "flash-full" });
    expectExact(keeper);
    await w.clock.settle(keeper.stop());
  });

  test("are refused while the flash fails, and count against the file system's free space", async () => {
    const w = world({ capacityBytes: 40 * BLOCK });
    const keeper = await w.start();
    await w.clock.settle(keeper.staging.reserve(HOLDER, 20 * BLOCK));
    await w.clock.advance(2_000); // the free space is looked up again: nothing of the file is written yet
    expect(await failureOf(w.clock.settle(keeper.staging.reserve(HOLDER, 20 * BLOCK)))).toMatchObject({
      code: "flash-full",
    });
    await keeper.reportFailure("EIO");
    expect(await failureOf(w.clock.settle(keeper.staging.reserve(HOLDER, 1)))).toMatchObject({ code: "flash-failed" });
    await w.clock.settle(keeper.stop());
  });

  test("of a life that ends in order are gone, those of the journal stay for the next one", async () => {
    const w = world();
    const keeper = await w.start();
    const [mine, kept] = [await stage(w, keeper, BLOCK), await stage(w, keeper, 3 * BLOCK, true)];
    keeper.staging.keep([kept.fileId]);
    await w.clock.settle(keeper.stop());
    expect(await failureOf(keeper.staging.reserve(HOLDER, 1))).toMatchObject({ code: "closed" });
    expect([isThere(w, mine), isThere(w, kept)]).toEqual([false, true]);
    w.kill();
    const held = async () => [{ fileId: kept.fileId, bytes: 3 * BLOCK }];
    const second = await w.start({ held });
    await w.clock.settle(second.sweepOrphans());
    expect(isThere(w, kept)).toBe(true);
    expect(second.stats()).toMatchObject({ stagedBytes: 3 * BLOCK, orphansRemoved: 0 });
    second.staging.release([kept.fileId]);
    expect(isThere(w, kept)).toBe(false);
    expectNothing(second);
    await w.clock.settle(second.stop());
  });
});

describe("adopted files", () => {
  test("become a complete version that servers find, also in the next life", async () => {
    const w = world();
    const keeper = await w.start();
    const spans = [await stage(w, keeper, BLOCK), await stage(w, keeper, 100), await stage(w, keeper, 2 * BLOCK)];
    expect(await adopt(w, keeper, adoption(spans))).toBe(true);
    expectExact(keeper);
    expect(keeper.stats()).toMatchObject({
      stagedBytes: 0,
      stagedFiles: 0,
      pendingBytes: 4 * BLOCK,
      adoptedVersions: 1,
    });
    await w.clock.settle(keeper.flush());
    const plain = spans.map(({ fileId, offset, length }) => ({ fileId, offset, length }));
    expect(found(w)).toMatchObject({
      etag: "e1",
      sizeBytes: 3 * BLOCK + 100,
      present: null,
      variants: [],
      spans: plain,
    });
    expect(keeper.stats()).toMatchObject({ storedBytes: 4 * BLOCK, pendingBytes: 0, activeVersions: 0 });
    keeper.holderGone(HOLDER);
    w.kill();
    const second = await w.start();
    await w.clock.settle(second.sweepOrphans());
    expect(found(w)?.spans).toEqual(plain);
    expect(second.stats()).toMatchObject({ storedBytes: 4 * BLOCK, orphansRemoved: 0, usedBytes: 4 * BLOCK + 1024 });
    await w.clock.settle(second.drop(KEY, null, "deleted"));
    await w.clock.settle(second.flush());
    expect(spans.map((span) => isThere(w, span))).toEqual([false, false, false]);
    expectNothing(second);
    await w.clock.settle(second.stop());
  });

  test("answer what the lake says of the blob with that ETag, and no claim is needed", async () => {
    const w = world();
    const keeper = await w.start();
    const spans = [await stage(w, keeper, BLOCK), await stage(w, keeper, BLOCK)];
    await adopt(w, keeper, adoption(spans));
    const record = await w.publish(keeper, KEY, "e1", 2 * BLOCK);
    if (typeof record === "string") throw new Error(record);
    expect(record).toMatchObject({ present: null, variants: [{ id: "get|2025-01-05" }] });
    expect(fileIdsOf(record.spans)).toEqual(spans.map(({ fileId }) => fileId));
    expect(await w.clock.settle(keeper.claim(HOLDER, record.id, 0, 9))).toMatchObject({ granted: [], present: [0, 1] });
    await w.clock.settle(keeper.flush());
    expect(found(w)).toEqual(record);
    await w.clock.settle(keeper.stop());
  });

  test("an empty blob is adopted without a file", async () => {
    const w = world();
    const keeper = await w.start();
    expect(await adopt(w, keeper, adoption([]))).toBe(true);
    await w.clock.settle(keeper.flush());
    expect(found(w)).toMatchObject({ etag: "e1", sizeBytes: 0, present: null, spans: [] });
    await w.clock.settle(keeper.stop());
  });

  test("take the place of another version; of the same one only while blocks are missing", async () => {
    const w = world();
    const keeper = await w.start();
    const old = await store(w, keeper, KEY, "e0");
    const one = await stage(w, keeper, BLOCK);
    expect(await adopt(w, keeper, adoption([one]))).toBe(true);
    await w.clock.settle(keeper.flush());
    expect(w.disk.contents(filePath(old.id))).toBeNull();
    const again = await stage(w, keeper, BLOCK);
    expect(await adopt(w, keeper, adoption([again]))).toBe(true);
    expect([isThere(w, one), isThere(w, again)]).toEqual([true, false]);
    expect(found(w)?.spans[0]?.fileId).toBe(one.fileId);
    await w.publish(keeper, "a/c/other", "e5", 2 * BLOCK); // nothing of it is there
    const other = [await stage(w, keeper, BLOCK), await stage(w, keeper, BLOCK)];
    expect(await adopt(w, keeper, adoption(other, "e5", "a/c/other"))).toBe(true);
    await w.clock.settle(keeper.flush());
    expect(found(w, "a/c/other")).toMatchObject({ present: null, variants: [] });
    expectExact(keeper);
    await w.clock.settle(keeper.stop());
  });

  test("are not kept while a change is marked, while the flash fails, or when they are not the blob's bytes", async () => {
    const w = world();
    const keeper = await w.start();
    const refused = async (what: Adoption): Promise<void> => {
      expect(await adopt(w, keeper, what)).toBe(false);
      expect(what.spans.map((span) => isThere(w, span))).toEqual(what.spans.map(() => false));
      expectExact(keeper);
    };
    const mark = await w.clock.settle(keeper.markChange({ account: "a", container: "c", blob: null }));
    await refused(adoption([await stage(w, keeper, BLOCK)]));
    await keeper.unmarkChange(mark, false);
    await refused({ ...adoption([await stage(w, keeper, BLOCK)]), sizeBytes: BLOCK + 1 });
    const short = await stage(w, keeper, BLOCK);
    await refused(adoption([{ ...short, length: 2 * BLOCK }]));
    const unknown = await stage(w, keeper, BLOCK);
    await refused(adoption([unknown, { ...unknown, fileId: 1 }]));
    const last = await stage(w, keeper, BLOCK);
    await keeper.reportFailure("EIO");
    await refused(adoption([last]));
    expect(keeper.stats().adoptionsRefused).toBe(5);
    await w.clock.settle(keeper.stop());
  });

  test("that the journal keeps stay its own when they are refused", async () => {
    const w = world();
    const keeper = await w.start();
    const kept = await stage(w, keeper, BLOCK);
    keeper.staging.keep([kept.fileId]);
    expect(await adopt(w, keeper, { ...adoption([kept]), sizeBytes: 1 })).toBe(false);
    expect(isThere(w, kept)).toBe(true);
    keeper.staging.release([kept.fileId]);
    expectNothing(keeper);
    await w.clock.settle(keeper.stop());
  });

  for (const order of ["adopt, release", "release while it is adopted"]) {
    test(`that the journal kept are the cache's afterwards (${order})`, async () => {
      const w = world();
      const keeper = await w.start();
      const kept = await stage(w, keeper, BLOCK);
      keeper.staging.keep([kept.fileId]);
      const adopted = keeper.staging.adopt(adoption([kept]));
      if (order === "adopt, release") await w.clock.settle(adopted);
      keeper.staging.release([kept.fileId]);
      expect(await w.clock.settle(adopted)).toBe(true);
      await w.clock.settle(keeper.flush());
      expect(found(w)).not.toBeNull();
      expectExact(keeper);
      await w.clock.settle(keeper.drop(KEY, null, "deleted"));
      await w.clock.settle(keeper.flush());
      expect(isThere(w, kept)).toBe(false);
      expectNothing(keeper);
      await w.clock.settle(keeper.stop());
    });
  }

  test("that two entries of the journal share outlive the version that goes first", async () => {
    const w = world();
    const keeper = await w.start();
    const [a, b, c] = [await stage(w, keeper, BLOCK), await stage(w, keeper, BLOCK), await stage(w, keeper, BLOCK)];
    keeper.staging.keep([a.fileId, b.fileId, c.fileId]);
    expect(await adopt(w, keeper, adoption([a, b], "e1"))).toBe(true);
    await w.clock.settle(keeper.flush());
    expectExact(keeper);
    await w.clock.settle(keeper.drop(KEY, null, "changed"));
    await w.clock.settle(keeper.flush());
    expect([a, b, c].map((span) => isThere(w, span))).toEqual([true, true, true]);
    expect(keeper.stats()).toMatchObject({ stagedBytes: 3 * BLOCK, storedBytes: 0, retiredBytes: 0 });
    expect(await adopt(w, keeper, adoption([a, b], "e1"))).toBe(true);
    await w.clock.settle(keeper.flush());
    // The second one takes the first one's place, with its files.
    const second = keeper.staging.adopt(adoption([b, a, c], "e2"));
    keeper.staging.release([a.fileId, b.fileId, c.fileId]);
    expect(await w.clock.settle(second)).toBe(true);
    await w.clock.settle(keeper.flush());
    expect(found(w)?.etag).toBe("e2");
    expect(keeper.stats()).toMatchObject({ stagedBytes: 0, storedBytes: 3 * BLOCK, retiredBytes: 0, versions: 1 });
    await w.clock.settle(keeper.drop(KEY, null, "deleted"));
    await w.clock.settle(keeper.flush());
    expect([a, b, c].map((span) => isThere(w, span))).toEqual([false, false, false]);
    expectNothing(keeper);
    await w.clock.settle(keeper.stop());
  });

  test("that the journal still held when the last life ended outlive their eviction in the next one", async () => {
    const w = world();
    const keeper = await w.start();
    const kept = await stage(w, keeper, BLOCK, true);
    keeper.staging.keep([kept.fileId]);
    await adopt(w, keeper, adoption([kept]));
    await w.clock.settle(keeper.flush());
    w.kill();
    const second = await w.start({ held: async () => [{ fileId: kept.fileId, bytes: BLOCK }] });
    expect(second.stats()).toMatchObject({ stagedBytes: 0, stagedFiles: 1, storedBytes: BLOCK });
    await w.clock.settle(second.drop(KEY, null, "bad"));
    await w.clock.settle(second.flush());
    expect(isThere(w, kept)).toBe(true);
    expect(second.stats()).toMatchObject({ stagedBytes: BLOCK, storedBytes: 0, retiredBytes: 0 });
    second.staging.release([kept.fileId]);
    await w.clock.settle(second.flush());
    expect(isThere(w, kept)).toBe(false);
    expectNothing(second);
    await w.clock.settle(second.stop());
  });

  test("are evicted as a whole, also when the file system is full", async () => {
    for (const full of [false, true]) {
      const w = world({ flashBytesMax: 20 * (BLOCK + 1024) });
      const keeper = await w.start();
      const spans = [await stage(w, keeper, 4 * BLOCK), await stage(w, keeper, 4 * BLOCK)];
      await adopt(w, keeper, adoption(spans));
      await w.clock.settle(keeper.flush());
      let failures = full ? 1 : 0;
      w.index.isFull = () => failures-- > 0;
      await w.clock.settle(keeper.staging.reserve(HOLDER, 18 * BLOCK));
      expect(spans.map((span) => isThere(w, span))).toEqual([false, false]);
      expect(w.index.reader().lookup(KEY)).toBeNull();
      expectExact(keeper);
      await w.clock.settle(keeper.stop());
    }
  });
});

describe("the scrub of adopted files", () => {
  test("reads every span, and drops a version with a bad one", async () => {
    const w = world({ flashBytesMax: 1 << 24 });
    const keeper = await w.start();
    const spans = [await stage(w, keeper, 100), await stage(w, keeper, (2 << 20) + 5), await stage(w, keeper, BLOCK)];
    await adopt(w, keeper, adoption(spans));
    await w.clock.settle(keeper.flush());
    await w.clock.settle(keeper.scrubStep());
    expect(keeper.stats()).toMatchObject({ scrubbedBlocks: 3, scrubBadBlocks: 0 });
    const [, second] = spans;
    if (second === undefined) throw new Error("no span");
    w.disk.flipBit(filePath(second.fileId), (2 << 20) + 2, 3);
    await w.clock.settle(keeper.scrubStep()); // the end of the round
    for (let n = 0; n < 4; n++) await w.clock.settle(keeper.scrubStep());
    expect(keeper.stats().scrubBadBlocks).toBe(1);
    expect(w.index.reader().lookup(KEY)).toBeNull();
    await w.clock.settle(keeper.stop());
  });

  test("rests within a large one, and ends with the keeper", async () => {
    const w = world({ flashBytesMax: 1 << 26 });
    const keeper = await w.start();
    await adopt(w, keeper, adoption([await stage(w, keeper, 20 << 20)]));
    await w.clock.settle(keeper.flush());
    const step = keeper.scrubStep();
    await w.clock.advance(1);
    expect(keeper.stats().scrubbedBlocks).toBe(0);
    await w.clock.settle(step);
    expect(keeper.stats()).toMatchObject({ scrubbedBlocks: 1, scrubBadBlocks: 0 });
    await w.clock.settle(keeper.stop());
  });
});

describe("a failing flush", () => {
  test("drops what was adopted and not flushed, and what was written meanwhile is not adopted", async () => {
    const w = world();
    const keeper = await w.start();
    const [adopted, kept, later] = [
      await stage(w, keeper, BLOCK),
      await stage(w, keeper, BLOCK, true),
      await stage(w, keeper, BLOCK),
    ];
    keeper.staging.keep([kept.fileId]);
    await adopt(w, keeper, adoption([adopted, kept]));
    w.disk.faults.failSync = 1;
    await w.clock.settle(keeper.flush());
    w.disk.faults.failSync = 0;
    await w.clock.advance(6_000); // a probe finds the flash working
    await w.clock.settle(keeper.flush());
    expect(keeper.health().ok).toBe(true);
    expect([isThere(w, adopted), isThere(w, kept), isThere(w, later)]).toEqual([false, true, true]);
    expect(await adopt(w, keeper, adoption([later]))).toBe(false);
    expect(await adopt(w, keeper, adoption([kept]))).toBe(true); // the journal's own flush said that it is durable
    keeper.staging.release([kept.fileId]);
    await w.clock.settle(keeper.flush());
    expectExact(keeper);
    expect(found(w)).not.toBeNull();
    await w.clock.settle(keeper.stop());
  });
});

test("power loss at any moment: what the index names is there, and what the journal holds stays", async () => {
  let adoptedOnes = 0;
  for (let n = 0; n < 60; n++) {
    const w = world({ seed: 100 + n, delays: { ioMsMax: 2, syncMsMax: 20 } });
    const keeper = await w.start();
    const kept = [await stage(w, keeper, 2 * BLOCK, true), await stage(w, keeper, 77, true)];
    keeper.staging.keep(kept.map(({ fileId }) => fileId));
    const warm = [await stage(w, keeper, BLOCK), await stage(w, keeper, 3 * BLOCK)];
    const outcomes = [
      keeper.staging.adopt(adoption(warm, "e1", "a/c/warm")),
      keeper.staging.adopt(adoption(kept, "e2", "a/c/kept")),
    ];
    for (const outcome of outcomes) outcome.catch(() => {});
    const isReleased = n % 3 === 0;
    if (isReleased) keeper.staging.release(kept.map(({ fileId }) => fileId));
    if (n % 2 === 0) void keeper.flush();
    await w.clock.advance(n * 8);
    w.powerLoss();
    const held = isReleased ? [] : kept.map(({ fileId, length }) => ({ fileId, bytes: length }));
    const second = await w.start({ held: async () => held });
    await w.clock.settle(second.sweepOrphans());
    if (found(w, "a/c/warm") !== null) adoptedOnes++;
    found(w, "a/c/kept");
    for (const { fileId } of held) {
      const span = kept.find((one) => one.fileId === fileId);
      expect(w.disk.contents(filePath(fileId))).toEqual(bytesFor(fileId, span?.length ?? 0));
    }
    const s = second.stats();
    const keptCost =
      found(w, "a/c/kept") === null ? held.reduce((sum, { bytes }) => sum + allocatedBytes(bytes), 0) : 0;
    expect(s.stagedBytes).toBe(keptCost);
    second.staging.release(held.map(({ fileId }) => fileId));
    await w.clock.settle(second.drop("a/c/warm", null, "deleted"));
    await w.clock.settle(second.drop("a/c/kept", null, "deleted"));
    await w.clock.settle(second.flush());
    expectNothing(second);
    expect([...kept, ...warm].map((span) => isThere(w, span))).toEqual([false, false, false, false]);
    await w.clock.settle(second.stop());
  }
  expect(adoptedOnes).toBeGreaterThan(5);
});

test("held ids are never given again, even when the ids of the folder are lost", async () => {
  const w = world();
  const keeper = await w.start();
  const kept = await stage(w, keeper, BLOCK, true);
  keeper.staging.keep([kept.fileId]);
  await w.clock.settle(keeper.stop());
  w.disk.unlink("ids");
  w.index.lose();
  w.kill();
  const held = async () => [{ fileId: kept.fileId + 1_000_000, bytes: BLOCK }];
  const second = await w.start({ held });
  const next = await stage(w, second, BLOCK);
  expect(next.fileId).toBeGreaterThan(kept.fileId + 1_000_000);
  await w.clock.settle(second.stop());
});
