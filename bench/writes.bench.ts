/**
 * Writes: what is acknowledged on flash beside `fio` doing the same and beside the same writers directly at the lake;
 * what that costs; small writes beside one flush each; how busy the drain keeps the lake; and what readers notice of a
 * checkpoint. `--quick` writes less; `--json FILE` writes the figures.
 *
 * The lake is the shaped one. While acknowledgements are measured the drain is held back (`drainRate`), so that only
 * the taking in is.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestForebay, type TestForebay } from "../tests/support/forebay.ts";
import { accountSas } from "../tests/support/sign.ts";
import { measureLoad, type Target } from "./lib/rounds.ts";
import {
  aloneRowOf,
  type BenchRow,
  benchOptions,
  type Pair,
  publishRows,
  rowOf,
  type Side,
  sideOf,
  skippedRow,
} from "./lib/rows.ts";
import { SHAPED_ACCOUNT, SHAPED_KEY, type ShapedLake, startShapedLake } from "./lib/shaped-lake.ts";
import { fioWrites, measureWrites, putBlob, putBlocks, type WriteTarget } from "./lib/writes.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;
const BLOCK_BYTES = 64 * MIB;
const WRITERS = 4;
/** What one server need not exceed. */
const SERVER_GB_PER_SECOND = 1;
const SMALL_WRITERS = 64;
const RANKS = 64;
const READERS = 8;
const READ_BYTES = 8 * MIB;
const NO_FIO = "fio is not installed (apt-get install fio)";

const DISTANT = { firstByteMs: 25, connectionIngestBytesPerSecond: 60e6, accountIngestBytesPerSecond: 0 };
const NARROW = { ...DISTANT, accountIngestBytesPerSecond: 200e6 };

const options = benchOptions();
const plan = options.quick
  ? { rounds: 2, blobMib: 256, smallEach: 40, drainMib: 512, rankMib: 8, readMib: 256 }
  : { rounds: 5, blobMib: 1024, smallEach: 200, drainMib: 4096, rankMib: 256, readMib: 1024 };

const query = accountSas(SHAPED_ACCOUNT, SHAPED_KEY, {
  ...{ sv: "2022-11-02", ss: "b", srt: "sco", sp: "rwdlac" },
  se: new Date(Date.now() + 86_400_000).toISOString().replace(/\.\d+Z$/, "Z"),
});
const say = (text: string): void => void process.stderr.write(`${text}\n`);

interface Bench {
  readonly folder: string;
  readonly lake: ShapedLake;
}

/** With a Forebay of its own, whose flash is removed afterwards. */
async function withForebay<T>(
  bench: Bench,
  config: Readonly<Record<string, unknown>>,
  run: (target: WriteTarget, forebay: TestForebay) => Promise<T>,
): Promise<T> {
  const forebay = await startTestForebay({
    lake: bench.lake.connectionString,
    policies: [
      { path: "", maxStale: "60s" },
      { path: "back/", write: "back", exclusive: true },
    ],
    flashSize: "20GiB",
    config: { drainDeadline: "1s", ...config },
  });
  try {
    return await run(
      { name: "forebay", port: forebay.port, pid: forebay.pid, account: SHAPED_ACCOUNT, query },
      forebay,
    );
  } finally {
    await forebay.stop();
  }
}

function direct({ lake }: Bench): WriteTarget {
  return { name: "the lake", port: lake.port, pid: lake.pid, account: SHAPED_ACCOUNT, query };
}

const names = (round: number, md5: boolean): string[] =>
  Array.from({ length: WRITERS }, (_, i) => `back/${round}-${md5 ? "md5" : "plain"}-${i}`);

const large = (target: WriteTarget, round: number, md5 = false): Promise<Side> => {
  const blobs = names(round, md5).map((name) => putBlocks(target, name, plan.blobMib * MIB, BLOCK_BYTES, md5));
  return measureWrites(target, blobs, "GB/s");
};

async function fioLarge(bench: Bench): Promise<Side> {
  const folder = join(bench.folder, "fio");
  mkdirSync(folder);
  try {
    const files = plan.blobMib / (BLOCK_BYTES / MIB);
    const job = { jobs: WRITERS, files, fileBytes: BLOCK_BYTES, writeBytes: MIB };
    return sideOf(Math.min(SERVER_GB_PER_SECOND, (await fioWrites(folder, job, false)).gbPerSecond));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Acknowledged {
  readonly besideFio: readonly Pair[];
  readonly besideLake: readonly Pair[];
  readonly withMd5: readonly Side[];
}

async function acknowledged(bench: Bench): Promise<Acknowledged> {
  const found = { besideFio: [] as Pair[], besideLake: [] as Pair[], withMd5: [] as Side[] };
  await bench.lake.reshape(DISTANT);
  for (let round = 0; round < plan.rounds; round++) {
    say(`acknowledged: round ${round + 1} of ${plan.rounds}`);
    const [plain, md5] = await withForebay(bench, { drainRate: "1MiB" }, async (target) => [
      await large(target, round),
      await large(target, round, true),
    ]);
    if (plain === undefined || md5 === undefined) throw new Error("nothing was measured");
    found.withMd5.push(md5);
    if (Bun.which("fio") !== null) found.besideFio.push({ ours: plain, theirs: await fioLarge(bench) });
    const lake = await large(direct(bench), round);
    found.besideLake.push({ ours: plain, theirs: sideOf(lake.value, { p50Ms: lake.p50Ms, p99Ms: lake.p99Ms }) });
  }
  return found;
}

async function small(bench: Bench): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    say(`small writes: round ${round + 1} of ${plan.rounds}`);
    const ours = await withForebay(bench, { drainRate: "1MiB" }, async (target) => {
      const writers = (name: string, each: number) =>
        Array.from({ length: SMALL_WRITERS }, (_, w) =>
          Array.from({ length: each }, (_, i) => putBlob(target, `back/${name}-${w}-${i}`, 4 * KIB)),
        );
      await measureWrites(target, writers("first", 10), "requests/s");
      return measureWrites(target, writers("small", plan.smallEach), "requests/s");
    });
    const folder = join(bench.folder, "fio-small");
    mkdirSync(folder);
    const job = { jobs: 1, files: 1, fileBytes: 2_000 * 4 * KIB, writeBytes: 4 * KIB };
    const { writesPerSecond } = await fioWrites(folder, job, true);
    rmSync(folder, { recursive: true, force: true });
    pairs.push({ ours, theirs: sideOf(writesPerSecond) });
  }
  return pairs;
}

/** Bytes that the lake takes while the drain has enough to do, as a share of what it could take. */
async function drainBusy(bench: Bench): Promise<Side[]> {
  const sides: Side[] = [];
  for (let round = 0; round < Math.min(plan.rounds, 3); round++) {
    say(`the drain: round ${round + 1}`);
    await bench.lake.reshape(NARROW);
    sides.push(
      await withForebay(bench, {}, async (target, forebay) => {
        await bench.lake.reset();
        const each = (plan.drainMib / WRITERS) * MIB;
        const blobs = Array.from({ length: WRITERS }, (_, i) =>
          putBlocks(target, `back/drain-${round}-${i}`, each, BLOCK_BYTES),
        );
        await measureWrites(target, blobs, "GB/s");
        return busyShare(bench, forebay, plan.drainMib * MIB);
      }),
    );
  }
  await bench.lake.reshape(DISTANT);
  return sides;
}

const LOOK_MS = 250;
const LOOKS_MAX = 1_200;

/** Looks at the lake until it has nearly all of it: the last blocks of a job cannot keep every connection busy. */
async function busyShare({ lake }: Bench, forebay: TestForebay, allBytes: number): Promise<Side> {
  const before = await lake.counts();
  const startMs = performance.now();
  for (let look = 0; look < LOOKS_MAX; look++) {
    const { bytesIn } = await lake.counts();
    if (bytesIn >= allBytes * 0.9) {
      const rate = (bytesIn - before.bytesIn) / ((performance.now() - startMs) / 1000);
      return sideOf(rate / NARROW.accountIngestBytesPerSecond);
    }
    await Bun.sleep(LOOK_MS);
  }
  throw new Error(`the drain did not get on: ${forebay.logs().slice(-2000)}`);
}

/** Readers of warm ranges, alone and beside a checkpoint. */
async function checkpoint(bench: Bench): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    say(`a checkpoint beside readers: round ${round + 1} of ${plan.rounds}`);
    await bench.lake.reshape({ ...DISTANT, firstByteMs: 0 });
    pairs.push(
      await withForebay(bench, {}, async (target) => {
        const read = (seconds: number): Promise<Side> => readWarm(target, seconds);
        for (let pass = 0; pass < 2; pass++) await read(1);
        const alone = await read(4);
        const ranks = Array.from({ length: RANKS }, (_, rank) =>
          putBlocks(target, `back/rank-${round}-${rank}`, plan.rankMib * MIB, BLOCK_BYTES),
        );
        let writing = true;
        const written = measureWrites(target, ranks, "GB/s").finally(() => {
          writing = false;
        });
        written.catch(() => {});
        const beside: Side[] = [];
        while (writing) beside.push(await read(1));
        await written;
        const rate = beside.reduce((sum, side) => sum + side.value, 0) / Math.max(1, beside.length);
        return { ours: sideOf(rate), theirs: alone };
      }),
    );
  }
  return pairs;
}

function readWarm(target: WriteTarget, seconds: number): Promise<Side> {
  const requests = Array.from({ length: plan.readMib / 8 }, (_, i) => {
    const head = `GET /${SHAPED_ACCOUNT}/data/${plan.readMib}MiB-read?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\n`;
    const range = `bytes=${i * READ_BYTES}-${(i + 1) * READ_BYTES - 1}`;
    return `${head}x-ms-version: 2025-01-05\r\nRange: ${range}\r\n\r\n`;
  });
  const load = { connections: READERS, seconds, requests, bodyBytes: READ_BYTES };
  return measureLoad(target as Target, load, "GB/s");
}

async function measure(bench: Bench): Promise<BenchRow[]> {
  const ack = await acknowledged(bench);
  const cpuOf = (side: Side): Side => ({ ...side, value: side.cpuSecondsPerGb ?? 0 });
  const what = `acknowledged: ${WRITERS} writers of ${plan.blobMib} MiB in 64 MiB blocks`;
  const fioHead = {
    ...{ id: "write-ack", name: what, beside: "fio, write and fsync (1 GB/s at most)", measure: "GB/s" },
    goal: { atLeast: 0.9 },
  } as const;
  const smallHead = {
    ...{ id: "write-small", name: `Put Blob of 4 KiB, ${SMALL_WRITERS} writers`, beside: "fio, a flush each" },
    ...{ measure: "requests/s", goal: { atLeast: 10 } },
  } as const;
  const plain = ack.besideLake.map(({ ours }) => ours);
  return [
    ack.besideFio.length === 0 ? skippedRow(fioHead, NO_FIO) : rowOf(fioHead, ack.besideFio),
    rowOf(
      {
        ...{ id: "write-direct", name: what, beside: "direct: 25 ms, 60 MB/s per connection", measure: "GB/s" },
        goal: { atLeast: 5 },
      },
      ack.besideLake,
    ),
    aloneRowOf(
      {
        ...{ id: "write-cpu", name: "acknowledged: CPU of all Forebay's processes", beside: "CPU s/GB" },
        ...{ measure: "CPU s/GB", goal: { atMost: 1.2 } },
      },
      plain.map(cpuOf),
    ),
    aloneRowOf(
      {
        ...{ id: "write-cpu-md5", name: "the same, Content-MD5 verified", beside: "CPU s/GB", measure: "CPU s/GB" },
        goal: { atMost: 2.6 },
      },
      ack.withMd5.map(cpuOf),
    ),
    Bun.which("fio") === null ? skippedRow(smallHead, NO_FIO) : rowOf(smallHead, await small(bench)),
    aloneRowOf(
      {
        ...{ id: "drain-busy", name: "the drain at a lake that takes 200 MB/s, 25 ms, 60 MB/s per connection" },
        ...{ beside: "share of what it could take", measure: "share", goal: { atLeast: 0.95 } },
      },
      await drainBusy(bench),
    ),
    rowOf(
      {
        ...{ id: "write-readers", name: `${READERS} readers of 8 MiB beside ${RANKS} writers of ${plan.rankMib} MiB` },
        ...{ beside: "the readers alone", measure: "GB/s", goal: { atLeast: 0.7 } },
      },
      await checkpoint(bench),
    ),
  ];
}

const folder = mkdtempSync(join(tmpdir(), "forebay-writes-"));
const lake = await startShapedLake(DISTANT);
try {
  publishRows(await measure({ folder, lake }), options);
} finally {
  await lake.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
