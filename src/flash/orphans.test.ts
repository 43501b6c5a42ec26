import { expect, test } from "bun:test";
import { blockBytesOf, createFlashWorld, type FlashWorld } from "../../sim/flash.ts";
import { limits } from "../base/limits.ts";
import { createCounts, createLedger, DEFAULT_BOUNDS, type KeeperCore } from "./core.ts";
import { filePath } from "./files.ts";
import { createHealth } from "./health.ts";
import { openIds } from "./ids.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";
import { createSweep } from "./orphans.ts";
import { createRetirement } from "./retire.ts";
import { createStagedFiles } from "./staged-files.ts";
import type { VersionRecord } from "./types.ts";
import { createVersions } from "./versions.ts";

const BLOCK = 4096;

async function store(w: FlashWorld, keeper: LocalFlashKeeper, key: string): Promise<VersionRecord> {
  const record = await w.publish(keeper, key, "e", BLOCK);
  if (typeof record === "string") throw new Error(record);
  const claimed = await w.clock.settle(keeper.claim("server-1", record.id, 0, 1));
  await w.fill(keeper, record, claimed?.granted ?? [], blockBytesOf);
  return record;
}

async function storeMany(w: FlashWorld, keeper: LocalFlashKeeper, count: number): Promise<number[]> {
  const ids: number[] = [];
  for (let n = 0; n < count; n++) ids.push((await store(w, keeper, `a/c/${n}`)).id);
  await w.clock.settle(keeper.flush());
  await w.clock.settle(keeper.sweepOrphans());
  return ids;
}

const filesOf = (w: FlashWorld, ids: readonly number[]): number[] =>
  ids.filter((id) => w.disk.contents(filePath(id)) !== null);

for (const syncMs of [0, 50]) {
  test(`what is being forgotten when a life ends (flushes of ${syncMs} ms) leaves no file for good`, async () => {
    const w = createFlashWorld({ seed: 7, flashBytesMax: 3000 * (BLOCK + 1024) });
    let slow = false;
    const syncAll = async (): Promise<void> => {
      if (slow) await w.clock.sleep(syncMs);
      await w.disk.syncAll();
    };
    const keeper = await w.start({ disk: { ...w.disk, syncAll } });
    const ids = await storeMany(w, keeper, 600);
    const mark = await w.clock.settle(keeper.markChange({ account: "a", container: "c", blob: null }));
    slow = syncMs > 0;
    void keeper.unmarkChange(mark, true); // 600 versions are forgotten, a page at a time
    await w.clock.settle(keeper.stop());
    const second = await w.start();
    await w.clock.advance(60_000);
    await w.clock.settle(second.flush());
    expect(second.stats().versions).toBe(0); // the mark stood: the second life went on with it
    expect(filesOf(w, ids)).toEqual([]);
    await w.clock.settle(second.stop());
  });
}

test("whatever is under way when a life ends: every file has a version after the next one's start", async () => {
  for (let delayMs = 0; delayMs <= 120; delayMs += 5) {
    const w = createFlashWorld({ seed: 9, flashBytesMax: 40 * (BLOCK + 1024), delays: { ioMsMax: 3, syncMsMax: 40 } });
    const keeper = await w.start();
    const ids = await storeMany(w, keeper, 20);
    const stale = keeper.drop("a/c/3", null, "changed").catch(() => {});
    const more: Promise<unknown>[] = [stale];
    for (let n = 0; n < 30; n++) {
      // Most find no room and wait for eviction, or for a flush.
      const wanted = w.publish(keeper, `a/d/${n}`, "e", 2 * BLOCK).then(async (record) => {
        if (typeof record === "string") return;
        ids.push(record.id);
        await keeper.claim("server-1", record.id, 0, 2);
      });
      more.push(wanted.catch(() => {}));
    }
    await w.clock.advance(delayMs);
    await w.clock.settle(keeper.stop());
    await w.clock.advance(1_000);
    const second = await w.start();
    await w.clock.advance(60_000);
    await w.clock.settle(second.flush());
    const index = w.index.reader();
    const known = new Set<number | undefined>();
    for (let n = 0; n < 30; n++) known.add(index.lookup(`a/c/${n}`)?.id).add(index.lookup(`a/d/${n}`)?.id);
    expect([delayMs, filesOf(w, ids).filter((id) => !known.has(id))]).toEqual([delayMs, []]);
    await w.clock.settle(second.stop());
  }
});

/** The parts of a keeper that a sweep needs; `flushing` happens while the disk is flushed for the last time. */
async function endOfLife(flushing: (core: KeeperCore) => void, isIdle: () => boolean = () => true) {
  const w = createFlashWorld({ seed: 8, flashBytesMax: 1 << 20 });
  const { clock } = w;
  const index = w.index.open();
  let armed = false;
  const syncAll = async (): Promise<void> => {
    await w.disk.syncAll();
    if (armed) flushing(core);
  };
  const disk = { ...w.disk, syncAll };
  const ledger = createLedger(0);
  const health = createHealth(disk, "", () => {});
  const retirement = createRetirement({ disk, clock, ledger, releaseWaitMsMax: 1, failed: health.fail });
  const state = { disk, index, clock, health, retirement, ledger, staged: createStagedFiles(ledger) };
  const counts = createCounts();
  const core: KeeperCore = { ...state, versions: createVersions(index), log: () => {}, bounds: DEFAULT_BOUNDS, counts };
  const ids = await clock.settle(openIds(disk, 0, 16));
  const sweep = createSweep(core, ids, () => false);
  await clock.settle(sweep.run());
  armed = true;
  await clock.settle(sweep.end(isIdle));
  expect(() => index.get("k")).toThrow(); // closed, whatever happened
  const { swept } = w.index.open().totals();
  return { noted: swept === ids.firstOfNextLife, swept };
}

test("a life is noted as ended in order only if that still holds after the last flush", async () => {
  expect(await endOfLife(() => {})).toMatchObject({ noted: true });
  const unnoted = { noted: false, swept: 0 };
  let idle = true;
  const started = endOfLife(
    () => {
      idle = false;
    },
    () => idle,
  );
  expect(await started).toEqual(unnoted);
  expect(await endOfLife(({ retirement }) => retirement.queue({ fileIds: [1], bytes: 0 }))).toEqual(unnoted);
  expect(await endOfLife(({ retirement }) => retirement.unlink([{ fileIds: [1], bytes: 0 }]))).toEqual(unnoted);
  expect(await endOfLife(({ versions }) => void versions.create(1, "k", "e", 1, BLOCK))).toEqual(unnoted);
  expect(await endOfLife(({ health }) => health.fail("no"))).toEqual(unnoted);
});

test("what files of an earlier format take counts until they are swept, and nothing new is evicted for it", async () => {
  const w = createFlashWorld({ seed: 5, flashBytesMax: 100 * (BLOCK + 1024) });
  const keeper = await w.start();
  const ids = await storeMany(w, keeper, 80);
  await w.clock.settle(keeper.stop());
  // As an upgrade does it.
  const index = w.index.open();
  index.change(true, (changes) => {
    for (const id of ids) changes.forget(id);
    changes.swept(0);
    changes.left(80 * BLOCK);
  });
  index.close();
  const second = await w.start();
  expect(second.stats().usedBytes).toBeGreaterThan(80 * BLOCK - limits.scrubStepBlocksMax * BLOCK);
  const fresh = await store(w, second, "a/new/1");
  await w.clock.advance(60_000);
  expect(second.stats()).toMatchObject({ orphansRemoved: 80, evictedVersions: 0, storedBytes: BLOCK });
  expect(second.stats().usedBytes).toBeLessThan(3 * BLOCK);
  expect(filesOf(w, [...ids, fresh.id])).toEqual([fresh.id]);
  await w.clock.settle(second.stop());
  const reopened = w.index.open();
  expect(reopened.totals().left).toBe(0);
  reopened.close();
});

test("servers hear of the files that a sweep removed", async () => {
  const w = createFlashWorld({ seed: 6, flashBytesMax: 100 * (BLOCK + 1024) });
  const keeper = await w.start();
  await store(w, keeper, "a/c/early"); // in the first folder: gone before anybody joined
  const lost = await store(w, keeper, "a/c/lost");
  w.kill();
  const told: number[] = [];
  const second = await w.start();
  second.subscribe("server-1", { evicted: async (fileIds) => void told.push(...fileIds) });
  await w.clock.settle(second.sweepOrphans());
  expect(told).toEqual([lost.id]);
  await w.clock.settle(second.stop());
});
