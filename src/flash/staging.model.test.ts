/**
 * Staged files in random order, over a disk and an index that lose what was not synced: what the journal keeps is there,
 * byte for byte, whatever becomes of the cache; what the index names is there; the ledger is exact at every step, and
 * nothing is left when nobody needs anything any more.
 *
 * FOREBAY_SEED and FOREBAY_RUNS replay and widen it.
 */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { createFlashWorld, type FlashWorld } from "../../sim/flash.ts";
import { seededRandom } from "../base/random.ts";
import type { Disk } from "../io/disk.ts";
import { FILE_FOLDERS, filePath, folderPath, spanSum } from "./files.ts";
import type { FlashIndex } from "./index.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";
import { INDEX_ROW_BYTES } from "./space.ts";
import type { CheckedSpan } from "./types.ts";

const seed = Number(process.env["FOREBAY_SEED"] ?? 20260207);
const runs = Number(process.env["FOREBAY_RUNS"] ?? 60);

const UNIT = 4096;
const FLASH_BYTES = 24 * (UNIT + 300);
const KEYS = ["a/c/one", "a/c/two"];
const HOLDERS = ["server-1", "server-2"];

const which = fc.nat(50);
const anyOp = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      op: fc.constant("stage" as const),
      holder: fc.nat(1),
      units: fc.integer({ min: 1, max: 6 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ op: fc.constantFrom("keep" as const, "release", "giveBack"), which }) },
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant("adopt" as const),
      key: fc.nat(KEYS.length - 1),
      whichOnes: fc.array(which, { minLength: 1, maxLength: 4 }),
      kept: fc.boolean(),
      releaseAtOnce: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constantFrom("drop" as const, "publish"), key: fc.nat(KEYS.length - 1) }),
  },
  { weight: 6, arbitrary: fc.record({ op: fc.constant("advance" as const), ms: fc.nat(400) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constantFrom("flush" as const, "scrub") }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("faults" as const), sync: fc.boolean(), full: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("holderGone" as const), holder: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constantFrom("power" as const, "kill", "restart", "loseIndex") }) },
);
type Op = typeof anyOp extends fc.Arbitrary<infer T> ? T : never;

const bytesFor = (fileId: number, length: number): Uint8Array => seededRandom(fileId).fill(new Uint8Array(length));

/** The disk as a process has it: one that was killed does nothing with what comes back. */
function diskWhile(disk: Disk, isAlive: () => boolean): Disk {
  const guard = <T>(work: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      work.then(
        (value) => isAlive() && resolve(value),
        (error: unknown) => isAlive() && reject(error),
      );
    });
  return {
    ...disk,
    write: (fd, bytes, offset) => guard(disk.write(fd, bytes, offset)),
    read: (fd, bytes, offset) => guard(disk.read(fd, bytes, offset)),
    syncFile: (fd) => guard(disk.syncFile(fd)),
    syncAll: () => guard(disk.syncAll()),
    syncFolder: (path) => guard(disk.syncFolder(path)),
  };
}

/** Plays the servers and the journal. */
class Play {
  readonly w: FlashWorld;
  keeper: LocalFlashKeeper | null = null;
  index: FlashIndex | null = null;
  life = 0;
  etags = 0;
  /** Written by a server and nobody else's yet. */
  open: { readonly holder: string; readonly span: CheckedSpan }[] = [];
  /** What the journal holds: it outlives every crash. */
  journal: CheckedSpan[] = [];
  /** How often a server ended. */
  readonly ends = new Map<string, number>();
  readonly counts = { adopted: 0, evicted: 0, found: 0 };

  constructor(worldSeed: number) {
    this.w = createFlashWorld({
      seed: worldSeed,
      flashBytesMax: FLASH_BYTES,
      capacityBytes: 4 * FLASH_BYTES,
      delays: { ioMsMax: 3, syncMsMax: 30 },
    });
  }

  async start(): Promise<void> {
    const { w } = this;
    this.heal();
    const openIndex = (): FlashIndex => {
      this.index = w.index.open();
      return this.index;
    };
    const held = async () => this.journal.map(({ fileId, length }) => ({ fileId, bytes: length }));
    const { life } = this;
    this.keeper = await w.start({ openIndex, held, disk: diskWhile(w.disk, () => life === this.life) });
    for (const h of HOLDERS) this.keeper.subscribe(h, { evicted: () => w.clock.sleep(20) });
  }

  heal(): void {
    Object.assign(this.w.disk.faults, { failSync: 0, failWrite: 0, capacityBytes: 4 * FLASH_BYTES });
  }

  async end(how: "power" | "kill" | "restart" | "loseIndex"): Promise<void> {
    const { w } = this;
    this.count();
    if (how === "restart") await w.clock.settle(this.keeper?.stop() ?? Promise.resolve());
    this.life++;
    if (how === "power") w.powerLoss();
    else w.kill();
    if (how === "loseIndex") w.index.lose();
    this.open = [];
    await this.start();
  }

  count(): void {
    const stats = this.keeper?.stats();
    this.counts.adopted += stats?.adoptedVersions ?? 0;
    this.counts.evicted += stats?.evictedVersions ?? 0;
  }

  async stage(holder: string, length: number): Promise<void> {
    const { w, keeper } = this;
    if (keeper === null) return;
    const [life, ends] = [this.life, this.ends.get(holder)];
    const isGone = (): boolean => life !== this.life || ends !== this.ends.get(holder);
    const fileId = await keeper.staging.reserve(holder, length);
    if (isGone()) return;
    const bytes = bytesFor(fileId, length);
    try {
      const fd = w.disk.open(filePath(fileId), "write");
      await w.disk.write(fd, bytes, 0);
      // A server that takes writes back flushes both; one that only keeps them warm does not. Both are tried.
      if (fileId % 2 === 0) {
        await w.disk.syncFile(fd);
        await w.disk.syncFolder(folderPath(fileId % FILE_FOLDERS));
      }
      w.disk.close(fd);
    } catch {
      if (!isGone()) keeper.staging.giveBack(holder, [fileId]);
      return;
    }
    if (isGone()) return;
    const sum = spanSum();
    sum.add(bytes);
    this.open.push({ holder, span: { fileId, offset: 0, length, checksum: sum.end() } });
  }

  async adopt(op: Extract<Op, { op: "adopt" }>): Promise<void> {
    const { keeper } = this;
    const from = op.kept ? this.journal : this.open.map(({ span }) => span);
    const picked = [...new Set(op.whichOnes.map((n) => from[n % Math.max(1, from.length)]))];
    const spans = picked.filter((span) => span !== undefined);
    if (keeper === null || spans.length === 0) return;
    const etag = `e${this.etags++}`;
    const sizeBytes = spans.reduce((sum, { length }) => sum + length, 0);
    const outcome = keeper.staging.adopt({ key: KEYS[op.key] ?? "", etag, sizeBytes, spans });
    this.open = this.open.filter(({ span }) => !spans.includes(span));
    if (op.kept && op.releaseAtOnce) this.release(spans);
    await outcome;
  }

  release(spans: readonly CheckedSpan[]): void {
    this.journal = this.journal.filter((span) => !spans.includes(span));
    this.keeper?.staging.release(spans.map(({ fileId }) => fileId));
  }

  step(op: Op): Promise<void> | void {
    const { w, keeper } = this;
    if (keeper === null) return;
    switch (op.op) {
      case "stage":
        return this.run(this.stage(HOLDERS[op.holder] ?? "", op.units * UNIT - (op.units % 3)));
      case "keep": {
        const at = this.open.findIndex(({ span }) => span.fileId % 2 === 0); // durable ones alone
        const [one] = at < 0 ? [] : this.open.splice(at, 1);
        if (one === undefined) return;
        keeper.staging.keep([one.span.fileId]);
        this.journal.push(one.span);
        return;
      }
      case "release": {
        const one = this.journal[op.which % Math.max(1, this.journal.length)];
        if (one !== undefined) this.release([one]);
        return;
      }
      case "giveBack": {
        const [one] = this.open.splice(op.which % Math.max(1, this.open.length), 1);
        if (one !== undefined) keeper.staging.giveBack(one.holder, [one.span.fileId]);
        return;
      }
      case "adopt":
        return this.run(this.adopt(op));
      case "drop":
        return this.run(keeper.drop(KEYS[op.key] ?? "", null, "deleted"));
      case "publish":
        return this.run(this.publish(KEYS[op.key] ?? ""));
      case "advance":
        return w.clock.advance(op.ms);
      case "flush":
        return this.run(keeper.flush());
      case "scrub":
        return this.run(keeper.scrubStep());
      case "faults":
        w.disk.faults.failSync = op.sync ? 1 : 0;
        w.disk.faults.capacityBytes = op.full ? w.disk.usedBytes + UNIT : 4 * FLASH_BYTES;
        return;
      case "holderGone": {
        const gone = HOLDERS[op.holder] ?? "";
        this.open = this.open.filter(({ holder }) => holder !== gone);
        this.ends.set(gone, (this.ends.get(gone) ?? 0) + 1);
        keeper.holderGone(gone);
        keeper.subscribe(gone, { evicted: () => w.clock.sleep(20) });
        return;
      }
      default:
        return this.end(op.op);
    }
  }

  async run(work: Promise<unknown>): Promise<void> {
    work.catch(() => {});
    await this.w.clock.advance(this.w.random.below(4));
  }

  /** What the lake says of a blob that is not what is adopted. */
  async publish(key: string): Promise<void> {
    const { w, keeper, life } = this;
    const acquired = await keeper?.acquire(w.request(key, { sentAtMsMin: Number.POSITIVE_INFINITY }));
    if (life !== this.life || acquired?.kind !== "lease") return;
    const etag = w.random.below(2) === 0 ? (acquired.record?.etag ?? "e") : `other${this.etags++}`;
    const sizeBytes = acquired.record?.sizeBytes ?? UNIT;
    await keeper?.publish({ lease: acquired.lease, etag, sizeBytes, variant: w.variant(key) });
  }

  check(): void {
    const { w, index, keeper } = this;
    if (index === null || keeper === null) return;
    for (const { fileId, length } of this.journal) this.checkFile(fileId, length);
    const health = keeper.health();
    if (!health.ok && health.needsReopen) return;
    for (const key of KEYS) {
      const record = w.index.reader().lookup(key);
      if (record === null || record.etag.startsWith("other") || record.present !== null) continue;
      for (const { fileId, length } of record.spans) this.checkFile(fileId, length);
      this.counts.found++;
    }
    const s = keeper.stats();
    expect(Math.min(s.stagedBytes, s.pendingBytes, s.retiredBytes, s.storedBytes)).toBeGreaterThanOrEqual(0);
    const parts = s.storedBytes + s.pendingBytes + s.reservedBytes + s.retiredBytes + s.stagedBytes;
    expect(s.usedBytes).toBe(parts + s.versions * INDEX_ROW_BYTES);
  }

  checkFile(fileId: number, length: number): void {
    const contents = this.w.disk.contents(filePath(fileId));
    if (contents === null) throw new Error(`file ${fileId} is gone`);
    if (Buffer.compare(contents.subarray(0, length), bytesFor(fileId, length)) !== 0) {
      throw new Error(`file ${fileId} has other bytes`);
    }
  }

  async finish(): Promise<void> {
    const { w } = this;
    this.heal();
    const health = this.keeper?.health();
    if (health?.ok === false && health.needsReopen) await this.end("kill");
    const { keeper } = this;
    if (keeper === null) return;
    await w.clock.advance(60_000);
    this.check();
    for (const h of HOLDERS) keeper.holderGone(h);
    this.release(this.journal);
    for (const key of KEYS) await w.clock.settle(keeper.drop(key, null, "deleted"));
    await w.clock.advance(60_000);
    expect(keeper.health()).toEqual({ ok: true });
    expect(keeper.stats()).toMatchObject({
      stagedBytes: 0,
      stagedFiles: 0,
      pendingBytes: 0,
      retiredBytes: 0,
      storedBytes: 0,
      usedBytes: 0,
      scrubBadBlocks: 0,
    });
    this.count();
    await w.clock.settle(keeper.stop());
    w.kill();
    await this.start(); // whatever a failure left behind goes with the sweep
    await w.clock.advance(60_000);
    const left = Array.from({ length: FILE_FOLDERS }, (_, n) => w.disk.list(folderPath(n))).flat();
    expect(left).toEqual([]);
    await w.clock.settle(this.keeper?.stop() ?? Promise.resolve());
  }
}

test(`staged files go when nobody needs them, and not before (seed ${seed}, ${runs} runs)`, async () => {
  const totals = { adopted: 0, evicted: 0, found: 0, lives: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.array(anyOp, { minLength: 40, maxLength: 160, size: "max" }),
      async (worldSeed, ops) => {
        const play = new Play(worldSeed);
        await play.start();
        for (const op of ops) {
          await play.step(op);
          play.check();
        }
        await play.finish();
        for (const name of ["adopted", "evicted", "found"] as const) totals[name] += play.counts[name];
        totals.lives += play.life;
      },
    ),
    { seed, numRuns: runs, interruptAfterTimeLimit: 240_000, markInterruptAsFailure: false },
  );
  // A run in which nothing happened proves nothing.
  expect(Math.min(totals.adopted, totals.evicted, totals.found, totals.lives)).toBeGreaterThan(runs / 2);
  if (process.env["FOREBAY_RUNS"] !== undefined) console.log(totals);
}, 300_000);
