/**
 * Cached blobs whose bytes are no longer in memory, and what a server's connections do to each other: one stream from
 * the disk beside `fio` reading the very same file; small warm requests while two streams read from the disk; small
 * warm requests while eight connections download as fast as they can. `--quick`: 256 MiB instead of 1 GiB.
 *
 * Before each read from the disk the file's pages are dropped (posix_fadvise): those of this file alone.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestForebay, type TestForebay } from "../tests/support/forebay.ts";
import { accountSas } from "../tests/support/sign.ts";
import { dropFromCache, flashFileOf } from "./lib/flash-file.ts";
import type { ProbeDone, ProbePlan } from "./lib/probe.ts";
import { interleave, measureLoad, type Target } from "./lib/rounds.ts";
import {
  aloneRowOf,
  type BenchRow,
  benchOptions,
  median,
  type Pair,
  publishRows,
  type RowHead,
  rowOf,
  type Side,
  shortNumber,
  sideOf,
  skippedRow,
} from "./lib/rows.ts";
import { SHAPED_ACCOUNT, SHAPED_KEY, startShapedLake } from "./lib/shaped-lake.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;
const API_VERSION = "2025-01-05";
const STREAM_RANGE_BYTES = 8 * MIB;
const HUGE_RANGE_BYTES = 128 * MIB;
const PROBE_BYTES = 4 * KIB;
const PROBES_PER_SECOND = 400;
const DOWNLOADS = 8;
/** No pass over a blob takes longer. */
const PASS_SECONDS_MAX = 300;
const NO_FIO = "fio is not installed (apt-get install fio)";
const NO_DROP = "the file system of the temporary folder keeps files in memory";

const options = benchOptions();
const [rounds, streamMib, probeSeconds] = options.quick ? [2, 256, 1.2] : [5, 1024, 6];
const blobBytes = streamMib * MIB;
const say = (text: string): void => void process.stderr.write(`${text}\n`);

const STREAM: RowHead = {
  id: "disk-stream",
  name: `warm, not in page cache: ${streamMib} MiB in 8 MiB ranges, 1 connection`,
  beside: "fio, sequential reads of 1 MiB",
  measure: "GB/s",
  goal: { atLeast: 0.9 },
};
const OTHERS: RowHead = {
  id: "disk-others",
  name: "warm 4 KiB requests while two streams read from the disk",
  beside: "ms p99.9",
  measure: "ms p99.9",
  goal: { atMost: 20 },
};
const FAIR: RowHead = {
  id: "disk-fairness",
  name: `warm 4 KiB requests beside ${DOWNLOADS} connections that download all they can`,
  beside: "without the downloads",
  measure: "ms p99",
  goal: null,
};

const query = accountSas(SHAPED_ACCOUNT, SHAPED_KEY, {
  ...{ sv: API_VERSION, ss: "b", srt: "o", sp: "r" },
  se: new Date(Date.now() + 86_400_000).toISOString().replace(/\.\d+Z$/, "Z"),
});
const STREAM_BLOB = `disk/${streamMib}MiB-stream`;
const SMALL_BLOB = "disk/64KiB-small";

/** Requests for all of a blob, one range after the other. */
function rangesOf(blob: string, sizeBytes: number, rangeBytes: number): string[] {
  return Array.from({ length: sizeBytes / rangeBytes }, (_, i) => {
    const range = `bytes=${i * rangeBytes}-${(i + 1) * rangeBytes - 1}`;
    const head = `GET /${SHAPED_ACCOUNT}/${blob}?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\n`;
    return `${head}x-ms-version: ${API_VERSION}\r\nRange: ${range}\r\n\r\n`;
  });
}

const streamRequests = rangesOf(STREAM_BLOB, blobBytes, STREAM_RANGE_BYTES);
const hugeRequests = rangesOf(STREAM_BLOB, blobBytes, HUGE_RANGE_BYTES);
const probeRequests = rangesOf(SMALL_BLOB, 64 * KIB, PROBE_BYTES);

/** The whole blob once; the requests are spread over the connections. */
function stream(target: Target, connections: number): Promise<Side> {
  const plan = { connections, seconds: PASS_SECONDS_MAX, once: true, requests: streamRequests };
  return measureLoad(target, { ...plan, bodyBytes: STREAM_RANGE_BYTES }, "GB/s");
}

async function drop(file: string): Promise<void> {
  if (!(await dropFromCache(file, blobBytes))) throw new Error("the file stays in the page cache");
}

/** The same file read by fio, which stands for what the disk gives. */
async function fio(file: string): Promise<Side> {
  const flags = ["--name=read", "--rw=read", "--bs=1M", "--readonly", `--size=${blobBytes}`, "--output-format=json"];
  const child = Bun.spawn(["fio", ...flags, `--filename=${file}`], { stdout: "pipe", stderr: "inherit" });
  const output = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("fio failed");
  interface Job {
    readonly usr_cpu: number; // percent
    readonly sys_cpu: number;
    readonly read: { readonly bw_bytes: number; readonly io_bytes: number };
  }
  const [job] = (JSON.parse(output) as { jobs: Job[] }).jobs;
  if (job === undefined || job.read.io_bytes !== blobBytes) throw new Error("fio did not read the file");
  const value = job.read.bw_bytes / 1e9;
  return sideOf(value, { cpuSecondsPerGb: (job.usr_cpu + job.sys_cpu) / 100 / value });
}

/** Small requests for `seconds`, from a process of their own. */
async function probe(folder: string, target: Target, seconds = probeSeconds): Promise<ProbeDone> {
  const rest = { requestsPerSecond: PROBES_PER_SECOND, requests: probeRequests, bodyBytes: PROBE_BYTES };
  const plan: ProbePlan = { port: target.port, seconds, ...rest };
  const file = join(folder, "probe.json");
  writeFileSync(file, JSON.stringify(plan));
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "lib/probe.ts"), file], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const output = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the probe failed");
  return JSON.parse(output) as ProbeDone;
}

/** The probe, and beside it one load after the other until it is done. Their GB/s. */
async function probeBeside(folder: string, target: Target, load: () => Promise<Side>): Promise<[ProbeDone, number[]]> {
  let done = false;
  const probing = probe(folder, target).finally(() => {
    done = true;
  });
  probing.catch(() => {}); // seen below, behind the load under way
  const speeds: number[] = [];
  while (!done) {
    speeds.push((await load()).value);
  }
  return [await probing, speeds];
}

async function streamRow(target: Target, file: string): Promise<BenchRow> {
  if (Bun.which("fio") === null) return skippedRow(STREAM, NO_FIO);
  const pairs = await interleave(rounds, "forebay", "fio", async (side) => {
    say(`from the disk: ${side}`);
    await drop(file);
    return side === "fio" ? fio(file) : stream(target, 1);
  });
  return rowOf(STREAM, pairs);
}

async function othersRow(folder: string, target: Target, file: string): Promise<BenchRow> {
  const sides: Side[] = [];
  const quiet: number[] = [];
  const speeds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    say(`two streams from the disk: round ${round + 1} of ${rounds}`);
    quiet.push((await probe(folder, target)).p999Ms);
    const [done, passes] = await probeBeside(folder, target, async () => {
      await drop(file);
      return stream(target, 2);
    });
    speeds.push(...passes);
    sides.push(sideOf(done.p999Ms, { p50Ms: done.p50Ms, p99Ms: done.p99Ms }));
  }
  const alone = `${shortNumber(median(quiet))} ms without the streams`;
  const note = `${alone}; the streams ran at ${shortNumber(median(speeds))} GB/s`;
  return aloneRowOf({ ...OTHERS, note }, sides);
}

async function fairnessRow(folder: string, target: Target): Promise<BenchRow> {
  const speeds: number[] = [];
  const download = (seconds: number): Promise<Side> => {
    const plan = { connections: DOWNLOADS, seconds, requests: hugeRequests, bodyBytes: HUGE_RANGE_BYTES };
    return measureLoad(target, plan, "GB/s");
  };
  await stream(target, 1); // all of it back in the page cache
  const sideFor = (done: ProbeDone): Side => sideOf(done.p99Ms, { p50Ms: done.p50Ms, p99Ms: done.p99Ms });
  const pairs: Pair[] = await interleave(rounds, "with", "without", async (side) => {
    say(`downloads: ${side}`);
    if (side === "without") return sideFor(await probe(folder, target));
    const [done, passes] = await probeBeside(folder, target, () => download(probeSeconds + 0.5));
    speeds.push(...passes);
    return sideFor(done);
  });
  return rowOf({ ...FAIR, note: `the downloads ran at ${shortNumber(median(speeds))} GB/s` }, pairs);
}

async function measureAll(folder: string, forebay: TestForebay): Promise<BenchRow[]> {
  const target: Target = { name: "forebay", port: forebay.port, pid: forebay.pid };
  say(`bringing ${streamMib} MiB to flash`);
  for (let pass = 0; pass < 2; pass++) await stream(target, 1);
  const file = await flashFileOf(forebay.flash, `${SHAPED_ACCOUNT}/${STREAM_BLOB}`);
  for (let pass = 0; pass < 2; pass++) await probe(folder, target, 0.2);
  const drops = await dropFromCache(file, blobBytes);
  return [
    drops ? await streamRow(target, file) : skippedRow(STREAM, NO_DROP),
    drops ? await othersRow(folder, target, file) : skippedRow(OTHERS, NO_DROP),
    await fairnessRow(folder, target),
  ];
}

const folder = mkdtempSync(join(tmpdir(), "forebay-disk-"));
const lake = await startShapedLake();
const forebay = await startTestForebay({
  lake: lake.connectionString,
  policies: [{ path: "", maxStale: "immutable" }],
  flashSize: "4GiB",
});
try {
  publishRows(await measureAll(folder, forebay), options);
} finally {
  await forebay.stop();
  await lake.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
