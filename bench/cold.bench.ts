/**
 * Cold reads beside the same reader directly at the lake: one reader of a large blob at a lake with a first-byte time
 * and a rate per connection like the real one's, the same without any shape, the time to the first byte, and a hundred
 * readers of one blob. `--quick` makes fewer rounds of smaller blobs; `--json FILE` writes the figures.
 *
 * The lake is the shaped one of `lib/shaped-lake.ts`: it takes any signature and computes its bytes. Every read is of a
 * blob that was never read before.
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestForebay, type TestForebay } from "../tests/support/forebay.ts";
import { accountSas } from "../tests/support/sign.ts";
import type { ReadDone, ReadPlan } from "./lib/reader.ts";
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
  sideOf,
} from "./lib/rows.ts";
import { firstWrongByte } from "./lib/shaped-content.ts";
import { SHAPED_ACCOUNT, SHAPED_KEY, type ShapedLake, startShapedLake } from "./lib/shaped-lake.ts";
import { cpuSeconds, memoryBytes } from "./lib/usage.ts";

const MIB = 1 << 20;
const SHAPE = { firstByteMs: 25, connectionBytesPerSecond: 60e6 };
const NO_SHAPE = { firstByteMs: 0, connectionBytesPerSecond: 0 };
const READERS = 100;

interface Plan {
  readonly rounds: number;
  /** As names of blobs say it. */
  readonly shapedMib: number;
  readonly unshapedMib: number;
  readonly sharedMib: number;
  /** Cold blobs whose first byte is timed, in each round. */
  readonly firstBytes: number;
}

const FULL: Plan = { rounds: 5, shapedMib: 2048, unshapedMib: 2048, sharedMib: 256, firstBytes: 40 };
const QUICK: Plan = { rounds: 1, shapedMib: 512, unshapedMib: 1024, sharedMib: 64, firstBytes: 15 };

/** What all measurements need. */
interface Bench {
  readonly folder: string;
  readonly lake: ShapedLake;
  readonly sas: string;
}

/** With a Forebay of its own: what it wrote is gone afterwards, so that the next one writes to the same memory. */
async function withForebay<T>(bench: Bench, run: (forebay: TestForebay) => Promise<T>): Promise<T> {
  const policies = [{ path: "", maxStale: "60s" }];
  const forebay = await startTestForebay({ lake: bench.lake.connectionString, policies, flashSize: "8GiB" });
  try {
    return await run(forebay);
  } finally {
    await forebay.stop();
  }
}

/**
 * Writes and removes as much as a round will, until that goes fast: on a virtual machine whose host takes back memory
 * that is free for seconds, the page cache gets it back page by page at a tenth of the speed, which would be all that
 * is measured.
 */
function warmMemory(folder: string, mib: number): void {
  const file = join(folder, "scratch");
  const piece = Buffer.alloc(8 * MIB, 1);
  for (let attempt = 0; attempt < 3; attempt++) {
    const startMs = performance.now();
    const fd = openSync(file, "w");
    for (let at = 0; at < mib; at += 8) writeSync(fd, piece);
    closeSync(fd);
    rmSync(file);
    if ((mib * MIB) / 1e6 / (performance.now() - startMs) > 1.5) return;
  }
}

/** Reads blob `name` of `bodyBytes`, `readers` times at once. */
async function read(
  bench: Bench,
  port: number,
  name: string,
  bodyBytes: number,
  readers = 1,
  range = "",
): Promise<ReadDone> {
  const head = `GET /${SHAPED_ACCOUNT}/cold/${name}?${bench.sas} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`;
  const request = `${head}x-ms-version: 2025-01-05\r\n${range}\r\n`;
  const plan: ReadPlan = { port, requests: Array.from({ length: readers }, () => request), bodyBytes };
  const file = join(bench.folder, "plan.json");
  writeFileSync(file, JSON.stringify(plan));
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "lib/reader.ts"), file], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`a reader of ${name} at port ${port} failed`);
  return JSON.parse(text) as ReadDone;
}

async function throughput(bench: Bench, side: { port: number; pid: number }, name: string, mib: number): Promise<Side> {
  const cpuBefore = cpuSeconds(side.pid);
  const { seconds } = await read(bench, side.port, `${mib}MiB-${name}`, mib * MIB);
  const gb = (mib * MIB) / 1e9;
  const cpu = (cpuSeconds(side.pid) - cpuBefore) / gb;
  return sideOf(gb / seconds, { cpuSecondsPerGb: cpu, memoryMib: memoryBytes(side.pid) / MIB });
}

/** The same blobs through Forebay and directly, in turns. */
async function rounds(bench: Bench, plan: Plan, name: string, mib: number): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    process.stderr.write(`${name}: round ${round + 1} of ${plan.rounds}\n`);
    const ours = await withForebay(bench, async (forebay) => {
      // A server that just started compiles as it goes.
      await read(bench, forebay.port, `64MiB-warm-up-${name}-${round}`, 64 * MIB);
      warmMemory(bench.folder, mib + 64);
      return throughput(bench, forebay, `${name}-${round}`, mib);
    });
    const direct = await throughput(bench, bench.lake, `${name}-${round}`, mib);
    // What the lake itself costs is not the reader's to pay.
    pairs.push({ ours, theirs: { ...direct, cpuSecondsPerGb: null, memoryMib: null } });
  }
  return pairs;
}

/** How much later the first byte of a cold blob comes than directly: the difference of the medians, in ms. */
async function firstBytes(bench: Bench, forebay: TestForebay, plan: Plan): Promise<Pair[]> {
  // A server that just started compiles as it goes.
  for (let i = 0; i < 10; i++) await read(bench, forebay.port, `8MiB-first-warm-up-${i}`, 8 * MIB);
  const pairs: Pair[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    process.stderr.write(`first byte: round ${round + 1} of ${plan.rounds}\n`);
    const times = { ours: [] as number[], theirs: [] as number[] };
    for (let i = 0; i < plan.firstBytes; i++) {
      const name = `8MiB-first-${round}-${i}`;
      times.ours.push(...(await read(bench, forebay.port, name, 8 * MIB)).firstByteMs);
      times.theirs.push(...(await read(bench, bench.lake.port, name, 8 * MIB)).firstByteMs);
    }
    pairs.push({ ours: timesSide(times.ours), theirs: timesSide(times.theirs) });
  }
  return pairs;
}

function timesSide(ms: readonly number[]): Side {
  const sorted = [...ms].sort((a, b) => a - b);
  return sideOf(median(ms), { p50Ms: median(ms), p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? null });
}

/**
 * Bytes that the lake sent for each byte of a blob that {@link READERS} read at once, by ranges as SDKs do. (For a
 * read of all of a large blob the first answer is cut when others bring the rest, and what was on its way is lost.)
 */
async function shared(bench: Bench, forebay: TestForebay, plan: Plan): Promise<Side[]> {
  const sides: Side[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    process.stderr.write(`shared: round ${round + 1} of ${plan.rounds}\n`);
    await bench.lake.reset();
    const name = `${plan.sharedMib}MiB-shared-${round}`;
    await read(bench, forebay.port, name, plan.sharedMib * MIB, READERS, "x-ms-range: bytes=0-\r\n");
    const { bytes } = await bench.lake.counts();
    sides.push(sideOf(bytes / (plan.sharedMib * MIB), { memoryMib: memoryBytes(forebay.pid) / MIB }));
  }
  return sides;
}

/** What comes through Forebay is what the lake holds. */
async function verify(bench: Bench, forebay: TestForebay): Promise<void> {
  const name = "96MiB-verified";
  const response = await fetch(`${forebay.blobUrl}/cold/${name}?${bench.sas}`, {
    headers: { "x-ms-version": "2025-01-05" },
  });
  let at = 0;
  for await (const bytes of response.body ?? []) {
    const wrong = firstWrongByte(name, at, bytes as Uint8Array);
    if (wrong >= 0) throw new Error(`byte ${at + wrong} of a cold read is wrong`);
    at += (bytes as Uint8Array).length;
  }
  if (at !== 96 * MIB) throw new Error(`a cold read brought ${at} bytes (status ${response.status})`);
}

async function measure(bench: Bench, plan: Plan): Promise<BenchRow[]> {
  const direct = (id: string, name: string, rest: Pick<RowHead, "measure" | "goal">): RowHead => ({
    id,
    name,
    beside: "direct",
    ...rest,
  });
  await withForebay(bench, (forebay) => verify(bench, forebay));
  await bench.lake.reshape(SHAPE);
  const shaped = await rounds(bench, plan, "shaped", plan.shapedMib);
  const first = await withForebay(bench, (forebay) => firstBytes(bench, forebay, plan));
  const later = first.map(({ ours, theirs }) => ({ ...ours, value: ours.value - theirs.value }));
  await bench.lake.reshape(NO_SHAPE);
  const unshaped = await rounds(bench, plan, "unshaped", plan.unshapedMib);
  const sharing = await withForebay(bench, (forebay) => shared(bench, forebay, plan));
  const costs = unshaped.map(({ ours }) => ({ ...ours, value: ours.cpuSecondsPerGb ?? 0 }));
  const lakeIs = `a lake of 25 ms and 60 MB/s per connection`;
  return [
    rowOf(
      direct("cold-shaped", `cold, one reader of ${plan.shapedMib} MiB, ${lakeIs}`, {
        measure: "GB/s",
        goal: { atLeast: 8 },
      }),
      shaped,
    ),
    aloneRowOf(
      {
        id: "cold-first-byte",
        name: "cold, first byte later than direct",
        beside: "ms",
        measure: "ms",
        goal: { atMost: 2 },
        note: `p50 of ${plan.firstBytes} blobs in each round; direct ${median(first.map((pair) => pair.theirs.value)).toFixed(1)} ms`,
      },
      later,
    ),
    rowOf(
      direct("cold-unshaped", `cold, one reader of ${plan.unshapedMib} MiB, an unshaped lake`, {
        measure: "GB/s",
        goal: { atLeast: 0.9 },
      }),
      unshaped,
    ),
    aloneRowOf(
      {
        id: "cold-cpu",
        name: "cold, unshaped: CPU of all Forebay's processes",
        beside: "CPU s/GB",
        measure: "CPU s/GB",
        goal: { atMost: 1 },
      },
      costs,
    ),
    aloneRowOf(
      {
        id: "cold-shared",
        name: `${READERS} readers of one cold blob of ${plan.sharedMib} MiB`,
        beside: "lake bytes per byte",
        measure: "lake bytes per byte",
        goal: { atMost: 1 },
      },
      sharing,
    ),
  ];
}

async function main(): Promise<void> {
  const options = benchOptions();
  const folder = mkdtempSync(join(tmpdir(), "forebay-cold-"));
  const lake = await startShapedLake();
  const sas = accountSas(SHAPED_ACCOUNT, SHAPED_KEY, {
    sv: "2022-11-02",
    ss: "b",
    srt: "sco",
    sp: "rwdlac",
    se: new Date(Date.now() + 24 * 3_600_000).toISOString().replace(/\.\d+Z$/, "Z"),
  });
  try {
    publishRows(await measure({ folder, lake, sas }, options.quick ? QUICK : FULL), options);
  } finally {
    await lake.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
process.exit(0);
