/**
 * The keeper against what it promises, in random order over a disk and an index that lose what was not synced:
 * whatever the index calls present is there, byte for byte, with its checksum; ids are given once; the sums are right;
 * what is marked as changing is not found, not even after a power loss; and eviction keeps below the high-water mark.
 *
 * FOREBAY_SEED and FOREBAY_RUNS replay and widen it.
 */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { blockBytesOf, createFlashWorld, type FlashWorld } from "../../sim/flash.ts";
import { allocatedBytes, blockCount, blockLength, checksumOf, filePath, isPresent, locate } from "./files.ts";
import type { FlashIndex } from "./index.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";
import { INDEX_ROW_BYTES } from "./space.ts";
import type { ChangeScope, VersionRecord } from "./types.ts";

const seed = Number(process.env["FOREBAY_SEED"] ?? 20260101);
const runs = Number(process.env["FOREBAY_RUNS"] ?? 60);

const BLOCK = 4096;
const FLASH_BLOCKS = 11;
const FLASH_BYTES = FLASH_BLOCKS * (BLOCK + 300);
const KEYS = ["a/c/one", "a/c/two", "a/c/two\u0000s1", "a/d/three", "a/d/dir/", "a/d/dir/four"];
const HOLDERS = ["server-1", "server-2"];

type Op =
  | { readonly op: "publish" | "read"; readonly key: number; readonly holder: number }
  | {
      readonly op: "claim";
      readonly key: number;
      readonly holder: number;
      readonly first: number;
      readonly count: number;
    }
  | { readonly op: "fill"; readonly which: number }
  | { readonly op: "unclaim"; readonly which: number }
  | { readonly op: "change"; readonly key: number; readonly scope: number; readonly finish: boolean }
  | { readonly op: "drop"; readonly key: number }
  | { readonly op: "visit"; readonly key: number }
  | { readonly op: "advance"; readonly ms: number }
  | { readonly op: "faults"; readonly sync: boolean; readonly write: boolean; readonly full: boolean }
  | { readonly op: "flush" | "scrub" | "unmark" | "power" | "kill" | "restart" | "loseIndex" }
  | { readonly op: "holderGone"; readonly holder: number };

const key = fc.nat(KEYS.length - 1);
const holder = fc.nat(HOLDERS.length - 1);
const anyOp: fc.Arbitrary<Op> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant("publish" as const), key, holder }) },
  { weight: 12, arbitrary: fc.record({ op: fc.constant("read" as const), key, holder }) },
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant("claim" as const),
      key,
      holder,
      first: fc.nat(8),
      count: fc.integer({ min: 1, max: 6 }),
    }),
  },
  { weight: 10, arbitrary: fc.record({ op: fc.constant("fill" as const), which: fc.nat(50) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("unclaim" as const), which: fc.nat(50) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant("change" as const),
      key,
      scope: fc.constantFrom(0, 0, 0, 1, 2),
      finish: fc.nat(3).map((n) => n > 0),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("drop" as const), key }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("visit" as const), key }) },
  { weight: 8, arbitrary: fc.record({ op: fc.constant("advance" as const), ms: fc.nat(400) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("faults" as const),
      sync: fc.nat(3).map((n) => n === 0),
      write: fc.nat(3).map((n) => n === 0),
      full: fc.nat(3).map((n) => n === 0),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constantFrom("flush" as const, "scrub" as const, "unmark" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constantFrom("power", "kill", "restart", "power", "loseIndex" as const) }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("holderGone" as const), holder }) },
);

interface Held {
  readonly record: VersionRecord;
  readonly holder: string;
  readonly block: number;
}

interface Marked {
  readonly mark: number;
  readonly scope: ChangeScope;
}

/** Plays the servers and the lake. */
class Play {
  readonly w: FlashWorld;
  keeper: LocalFlashKeeper | null = null;
  index: FlashIndex | null = null;
  life = 0;
  /** The lake: each blob's ETag and size. */
  readonly lake = new Map<string, { etag: number; blocks: number; rest: number }>();
  readonly records = new Map<string, VersionRecord>();
  held: Held[] = [];
  marks: Marked[] = [];
  /** The ETag that a blob had, at least, when the last change of it ended. */
  readonly changedTo = new Map<string, number>();
  readonly ids = new Map<number, string>();
  readonly counts = { committed: 0, evicted: 0, failed: 0 };

  constructor(worldSeed: number) {
    this.w = createFlashWorld({
      seed: worldSeed,
      flashBytesMax: FLASH_BYTES,
      capacityBytes: 4 * FLASH_BYTES,
      delays: { ioMsMax: 3, syncMsMax: 30 },
      bounds: { changeMarkTtlMs: 1e9 },
    });
    KEYS.forEach((k, n) => void this.lake.set(k, { etag: 0, blocks: n, rest: n * 700 }));
  }

  async start(): Promise<void> {
    const { w } = this;
    Object.assign(w.disk.faults, { failSync: 0, failWrite: 0, capacityBytes: 4 * FLASH_BYTES });
    const openIndex = (): FlashIndex => {
      this.index = w.index.open();
      return this.index;
    };
    this.keeper = await w.start({ openIndex });
    for (const { scope } of this.marks) this.checkForgotten(scope);
    // A mark whose end was under way when the last life ended may be gone: its scope is.
    const standing = new Set(this.index?.marks().map(({ id }) => id));
    this.marks = this.marks.filter(({ mark }) => standing.has(mark));
    for (const h of HOLDERS) this.keeper.subscribe(h, { evicted: () => w.clock.sleep(20) });
  }

  /** Ends this life: nothing that was under way comes back. */
  async end(how: "power" | "kill" | "restart" | "loseIndex"): Promise<void> {
    const { w } = this;
    this.life++;
    this.count();
    if (how === "restart") await w.clock.settle(this.keeper?.stop() ?? Promise.resolve());
    if (how === "power") w.powerLoss();
    else w.kill();
    if (how === "loseIndex") {
      w.index.lose();
      this.marks = [];
    }
    this.held = [];
    this.records.clear();
    await this.start();
  }

  count(): void {
    const stats = this.keeper?.stats();
    this.counts.committed += stats?.committedBlocks ?? 0;
    this.counts.evicted += stats?.evictedVersions ?? 0;
    this.counts.failed += stats?.failedCommits ?? 0;
  }

  /** Lets a call run; its result counts only if this life lasts until then. */
  async run<T>(promise: Promise<T>, then: (result: T) => void): Promise<void> {
    const life = this.life;
    promise.then(
      (result) => {
        if (life === this.life) then(result);
      },
      () => {},
    );
    await this.w.clock.advance(this.w.random.below(4));
  }

  note(record: VersionRecord): void {
    const what = `${record.key} ${record.etag}`;
    expect(this.ids.get(record.id) ?? what).toBe(what);
    this.ids.set(record.id, what);
    this.records.set(record.key, record);
  }

  /** Reads the lake under a lease, for a while in which it may change. */
  async publish(k: string, who: string): Promise<void> {
    const { w } = this;
    const life = this.life;
    const keeper = this.keeper;
    if (keeper === null) return;
    const acquired = await keeper.acquire(w.request(k, { holder: who, sentAtMsMin: w.clock.monotonicMs() - 100 }));
    if (life !== this.life) return;
    if (acquired.kind === "fresh") this.note(acquired.record);
    if (acquired.kind !== "lease") return;
    const variant = w.variant(k);
    const { etag, blocks, rest } = this.lake.get(k) ?? { etag: 0, blocks: 0, rest: 0 };
    await w.clock.sleep(w.random.below(20));
    if (life !== this.life) return;
    const sizeBytes = blocks * BLOCK + rest;
    const published = await keeper.publish({ lease: acquired.lease, etag: `e${etag}`, sizeBytes, variant });
    if (life === this.life && published.kind === "record") this.note(published.record);
  }

  async fill(one: Held): Promise<void> {
    const { w } = this;
    const life = this.life;
    const bytes = blockBytesOf(one.record, one.block);
    try {
      const fd = w.disk.open(filePath(one.record.id), "write");
      await w.disk.write(fd, bytes, one.block * BLOCK);
      w.disk.close(fd);
    } catch {
      if (life === this.life) await this.keeper?.unclaim(one.holder, one.record.id, [one.block]);
      return;
    }
    if (life !== this.life) return;
    await this.keeper?.filled(one.record.id, [{ block: one.block, checksum: checksumOf(bytes) }]);
  }

  /** A reader of the whole blob: everything that is missing is claimed and filled. */
  async read(k: string, who: string): Promise<void> {
    const life = this.life;
    await this.publish(k, who);
    const record = this.records.get(k);
    if (life !== this.life || record === undefined) return;
    const claimed = await this.keeper?.claim(who, record.id, 0, 100);
    if (life !== this.life) return;
    await Promise.all((claimed?.granted ?? []).map((block) => this.fill({ record, holder: who, block })));
  }

  async change(k: string, width: number, finish: boolean): Promise<void> {
    const { w } = this;
    const life = this.life;
    const keeper = this.keeper;
    const [account = "", container = "", ...blob] = (k.split("\u0000")[0] ?? "").split("/");
    const wide: ChangeScope = { account, container: width > 1 ? null : container, blob: null };
    const scope: ChangeScope = width === 0 ? { account, container, blob: blob.join("/") } : wide;
    const mark = await keeper?.markChange(scope);
    if (life !== this.life || mark === undefined) return;
    const marked = { mark, scope };
    this.marks.push(marked);
    const touched = KEYS.filter((other) => covers(scope, other));
    const moveAll = (): void => {
      for (const other of touched) w.generations.move(other);
    };
    moveAll();
    await w.clock.sleep(w.random.below(20));
    if (life !== this.life) return;
    const refused = w.random.below(3) === 0;
    for (const other of refused ? [] : touched) {
      const now = this.lake.get(other);
      if (now !== undefined) now.etag++;
    }
    moveAll();
    if (finish) await this.endMark(marked, !refused);
  }

  async endMark(marked: Marked, happened: boolean): Promise<void> {
    const life = this.life;
    const atLeast = new Map([...this.lake].map(([k, { etag }]) => [k, etag]));
    await this.keeper?.unmarkChange(marked.mark, happened);
    if (life !== this.life) return;
    this.marks = this.marks.filter((m) => m !== marked);
    if (!happened) return;
    for (const [k, etag] of atLeast) if (covers(marked.scope, k)) this.changedTo.set(k, etag);
  }

  checkForgotten(scope: ChangeScope): void {
    for (const k of KEYS) if (covers(scope, k)) expect(this.w.index.reader().lookup(k)).toBeNull();
  }

  async step(op: Op): Promise<void> {
    const { w, keeper } = this;
    if (keeper === null) return;
    const k = "key" in op ? (KEYS[op.key] ?? "") : "";
    const who = "holder" in op ? (HOLDERS[op.holder] ?? "") : "";
    switch (op.op) {
      case "publish":
        return this.run(this.publish(k, who), () => {});
      case "read":
        return this.run(this.read(k, who), () => {});
      case "claim": {
        const record = this.records.get(k);
        if (record === undefined) return;
        return this.run(keeper.claim(who, record.id, op.first, op.count), (claimed) => {
          for (const block of claimed?.granted ?? []) this.held.push({ record, holder: who, block });
        });
      }
      case "fill":
      case "unclaim": {
        const [one] = this.held.splice(op.which % Math.max(1, this.held.length), 1);
        if (one === undefined) return;
        if (op.op === "fill") return this.run(this.fill(one), () => {});
        return this.run(keeper.unclaim(one.holder, one.record.id, [one.block]), () => {});
      }
      case "change":
        return this.run(this.change(k, op.scope, op.finish), () => {});
      case "drop":
        return this.run(keeper.drop(k, null, "deleted"), () => {});
      case "visit": {
        const record = this.records.get(k);
        if (record !== undefined) w.visited[record.id & (w.visited.length - 1)] = 1;
        return;
      }
      case "advance":
        return w.clock.advance(op.ms);
      case "faults":
        w.disk.faults.failSync = op.sync ? 1 : 0;
        w.disk.faults.failWrite = op.write ? 0.3 : 0;
        w.disk.faults.capacityBytes = op.full ? w.disk.usedBytes + BLOCK : 4 * FLASH_BYTES;
        return;
      case "flush":
        return this.run(keeper.flush(), () => {});
      case "scrub":
        return this.run(keeper.scrubStep(), () => {});
      case "unmark": {
        return this.run(Promise.all(this.marks.map((marked) => this.endMark(marked, true))), () => {});
      }
      case "holderGone":
        this.held = this.held.filter((one) => one.holder !== who);
        keeper.holderGone(who);
        keeper.subscribe(who, { evicted: () => w.clock.sleep(20) });
        return;
      default:
        return this.end(op.op);
    }
  }

  /** What has to hold at any moment. */
  check(): void {
    const { w, index, keeper } = this;
    if (index === null || keeper === null) return;
    const health = keeper.health();
    if (!health.ok && health.needsReopen) return;
    let storedBytes = 0;
    const entries = index.page(0, 10_000);
    for (const { id } of entries) {
      const version = index.getById(id);
      if (version === null) throw new Error(`version ${id} is listed and not there`);
      expect(this.ids.get(id)).toBe(`${version.key} ${version.etag}`);
      let cost = 0;
      for (let block = 0; block < blockCount(version); block++) {
        if (!isPresent(version, block)) continue;
        cost += allocatedBytes(blockLength(version, block));
        this.checkBlock(index, version, block);
      }
      expect(version.storedBytes).toBe(cost);
      storedBytes += cost;
    }
    for (const [k, etag] of this.changedTo) {
      const held = w.index.reader().lookup(k);
      if (held !== null) expect(Number(held.etag.slice(1))).toBeGreaterThanOrEqual(etag);
    }
    const stats = keeper.stats();
    expect({ versions: stats.versions, storedBytes: stats.storedBytes }).toEqual({
      versions: entries.length,
      storedBytes,
    });
    const { pendingBytes, reservedBytes, retiredBytes } = stats;
    expect(Math.min(pendingBytes, reservedBytes, retiredBytes)).toBeGreaterThanOrEqual(0);
    const rows = stats.versions * INDEX_ROW_BYTES;
    expect(stats.usedBytes).toBe(storedBytes + rows + pendingBytes + reservedBytes + retiredBytes);
  }

  checkBlock(index: FlashIndex, version: VersionRecord, block: number): void {
    const expected = blockBytesOf(version, block);
    const contents = this.w.disk.contents(filePath(version.id));
    if (contents === null) throw new Error(`the file of version ${version.id} is gone`);
    const [piece] = locate(version.spans, block * BLOCK, expected.length);
    const offset = piece?.offset ?? 0;
    const actual = contents.subarray(offset, offset + expected.length);
    if (Buffer.compare(actual, expected) !== 0) throw new Error(`version ${version.id} block ${block} is wrong`);
    expect(index.checksums(version.id, block, 1)).toEqual([{ block, checksum: checksumOf(expected) }]);
  }

  /** When everybody has let go, nothing is left over. */
  async finish(): Promise<void> {
    Object.assign(this.w.disk.faults, { failSync: 0, failWrite: 0, capacityBytes: 4 * FLASH_BYTES });
    const health = this.keeper?.health();
    if (health?.ok === false && health.needsReopen) await this.end("kill");
    const keeper = this.keeper;
    if (keeper === null) return;
    await this.w.clock.advance(60_000);
    for (const h of HOLDERS) keeper.holderGone(h);
    await this.w.clock.advance(60_000);
    this.check();
    const stats = keeper.stats();
    expect(keeper.health()).toEqual({ ok: true });
    expect(stats).toMatchObject({
      pendingBytes: 0,
      reservedBytes: 0,
      retiredBytes: 0,
      activeVersions: 0,
      pendingBlocks: 0,
    });
    expect(stats).toMatchObject({ leasesHeld: 0, leasesWaiting: 0 });
    expect(stats.usedBytes).toBeLessThanOrEqual(0.95 * FLASH_BYTES);
    expect(stats.scrubBadBlocks).toBe(0);
    await this.w.clock.settle(keeper.stop());
  }
}

function covers(scope: ChangeScope, k: string): boolean {
  const [account, container, ...blob] = (k.split("\u0000")[0] ?? "").split("/");
  if (scope.account !== account) return false;
  if (scope.container === null) return true;
  return scope.container === container && (scope.blob === null || scope.blob === blob.join("/"));
}

test(`the keeper keeps its promises (seed ${seed}, ${runs} runs)`, async () => {
  const totals = { committed: 0, evicted: 0, lives: 0, failed: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.array(anyOp, { minLength: 40, maxLength: 200, size: "max" }),
      async (worldSeed, ops) => {
        const play = new Play(worldSeed);
        await play.start();
        for (const op of ops) {
          await play.step(op);
          play.check();
        }
        await play.finish();
        const stats = play.keeper?.stats();
        totals.committed += stats?.committedBlocks ?? 0;
        totals.evicted += stats?.evictedVersions ?? 0;
        totals.failed += stats?.failedCommits ?? 0;
        totals.lives += play.life;
      },
    ),
    { seed, numRuns: runs, interruptAfterTimeLimit: 240_000, markInterruptAsFailure: false },
  );
  // A run in which nothing happened proves nothing.
  expect(totals.committed).toBeGreaterThan(runs);
  expect(totals.evicted).toBeGreaterThan(0);
  expect(totals.lives).toBeGreaterThan(runs);
  if (process.env["FOREBAY_RUNS"] !== undefined) console.log(totals);
}, 300_000);
