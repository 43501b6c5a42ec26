/**
 * What a large cache costs: the same reads with 1 M and with 10 M cached blobs, the time of a look-up in the index, of
 * a start, and the memory of all processes. `--quick`: 200,000 and 1 M.
 *
 * The indexes are made once (see `lib/big-index.ts`) and kept below `.forebay/bench-cache`.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openIndexReader } from "../src/flash/index.ts";
import { realClock } from "../src/io/clock.ts";
import type { TestForebay } from "../tests/support/forebay.ts";
import { accountSas } from "../tests/support/sign.ts";
import {
  ACCOUNT,
  API_VERSION,
  type BigIndex,
  bigIndex,
  blobPath,
  dropPages,
  KEY,
  READABLE,
  READABLE_BYTES,
  readPages,
  startOn,
} from "./lib/big-index.ts";
import type { LoadPlan, LoadResult } from "./lib/load.ts";
import {
  aloneRowOf,
  type BenchRow,
  benchOptions,
  median,
  type Pair,
  publishRows,
  rowOf,
  type Side,
  sideOf,
} from "./lib/rows.ts";
import { cpuSeconds, memoryBytes } from "./lib/usage.ts";

const MIB = 1 << 20;
/** Blobs that are asked for again and again. */
const HOT = 2_000;
const CONNECTIONS = 4;
const LOOKUPS = 20_000;
const PASS_SECONDS_MAX = 300;

const say = (text: string): void => void process.stderr.write(`${text}\n`);

function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** Reads the first `blobs` of the readable ones through the product, for some seconds or each of them once. */
async function load(big: BigIndex, forebay: TestForebay, blobs: number, seconds: number | "once"): Promise<Side> {
  const sas = accountSas(ACCOUNT, KEY, { sv: API_VERSION, ss: "b", srt: "o", sp: "r", se: "2099-01-01T00:00:00Z" });
  const requests = Array.from({ length: blobs }, (_, i) => {
    const blob = big.count - READABLE + ((i * 7919) % blobs);
    return `GET /${ACCOUNT}/${blobPath(blob)}?${sas} HTTP/1.1\r\nHost: 127.0.0.1:${forebay.port}\r\nx-ms-version: ${API_VERSION}\r\n\r\n`;
  });
  const { port } = forebay;
  const time = seconds === "once" ? { seconds: PASS_SECONDS_MAX, once: true } : { seconds };
  const plan: LoadPlan = { ...time, port, connections: CONNECTIONS, requests, bodyBytes: READABLE_BYTES };
  const folder = mkdtempSync(join(tmpdir(), "forebay-bench-"));
  try {
    const file = join(folder, "plan.json");
    writeFileSync(file, JSON.stringify(plan));
    const before = cpuSeconds(forebay.pid);
    const command = [process.execPath, join(import.meta.dir, "lib/load.ts"), file];
    const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
    const result: LoadResult = JSON.parse(await new Response(child.stdout).text());
    const cpuSecondsPerGb = (cpuSeconds(forebay.pid) - before) / (result.bytes / 1e9);
    const { p50Ms, p99Ms } = result;
    return sideOf(p99Ms, { cpuSecondsPerGb, memoryMib: memoryBytes(forebay.pid) / MIB, p50Ms, p99Ms });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Looks random blobs up as a server does that has run for a while and not seen these before. `cached`: whether the
 * kernel holds the pages that the server itself does not.
 */
function lookUp(big: BigIndex, cached: boolean): Side {
  const reader = openIndexReader(big.file, realClock);
  const timeOne = (): number => {
    const key = `${ACCOUNT}/${blobPath(Math.floor(Math.random() * big.count))}`;
    const startMs = performance.now();
    const found = reader.lookup(key);
    const elapsedMs = performance.now() - startMs;
    if (found === null) throw new Error(`${key} is not in the index`);
    return elapsedMs;
  };
  for (let i = 0; i < LOOKUPS; i++) timeOne();
  if (!cached) dropPages(big);
  const times = Array.from({ length: cached ? LOOKUPS : LOOKUPS / 10 }, timeOne);
  reader.close();
  return sideOf(percentile(times, 0.99), { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) });
}

/** What the disk itself takes for one page of the index, p99: a look-up needs two of them. */
function readRandomPages(big: BigIndex): number {
  dropPages(big);
  const fd = openSync(big.file, "r");
  const page = Buffer.alloc(4096);
  const times = Array.from({ length: LOOKUPS / 10 }, () => {
    const at = Math.floor((Math.random() * big.bytes) / page.length) * page.length;
    const startMs = performance.now();
    readSync(fd, page, 0, page.length, at);
    return performance.now() - startMs;
  });
  closeSync(fd);
  return percentile(times, 0.99);
}

/** Seconds from the command to its ready line. */
async function timeStart(big: BigIndex): Promise<number> {
  const startMs = performance.now();
  const forebay = await startOn(big.folder);
  const seconds = (performance.now() - startMs) / 1000;
  await forebay.stop();
  return seconds;
}

async function measureHits(
  small: BigIndex,
  large: BigIndex,
  rounds: number,
  seconds: number,
  many: number,
): Promise<BenchRow[]> {
  const ours = await startOn(large.folder);
  const theirs = await startOn(small.folder);
  try {
    const pairs: Pair[] = [];
    for (const [big, forebay] of [[large, ours] as const, [small, theirs] as const]) await load(big, forebay, HOT, 1);
    for (let round = 0; round < rounds; round++) {
      say(`hot hits: round ${round + 1} of ${rounds}`);
      const first = round % 2 === 0;
      const a = await (first ? load(large, ours, HOT, seconds) : load(small, theirs, HOT, seconds));
      const b = await (first ? load(small, theirs, HOT, seconds) : load(large, ours, HOT, seconds));
      pairs.push(first ? { ours: a, theirs: b } : { ours: b, theirs: a });
    }
    say("memory, after reads of many blobs");
    const after = await load(large, ours, many, "once");
    const hot = {
      id: "index-hot-p99",
      name: `a hot hit of 4 KiB among ${large.count} cached blobs`,
      beside: `among ${small.count}`,
      measure: "ms p99",
      goal: { atMost: 1.2 },
    };
    const memory = {
      id: "index-memory",
      name: `memory of all processes, ${large.count} cached blobs`,
      beside: "",
      measure: "MiB",
      goal: { atMost: 1024 },
      note: `after reads of ${many} of them, each once: p99 ${after.value.toFixed(2)} ms`,
    };
    return [rowOf(hot, pairs), aloneRowOf(memory, [sideOf(after.memoryMib ?? 0)])];
  } finally {
    await ours.stop();
    await theirs.stop();
  }
}

async function main(): Promise<void> {
  const options = benchOptions();
  const [smaller, larger] = options.quick ? [200_000, 1_000_000] : [1_000_000, 10_000_000];
  const [rounds, seconds] = options.quick ? [2, 1] : [5, 3];
  const small = await bigIndex(smaller, say);
  const large = await bigIndex(larger, say);
  const rows = await measureHits(small, large, rounds, seconds, options.quick ? READABLE / 5 : READABLE);
  say("look-ups");
  for (const cached of [true, false]) {
    const sides: Side[] = [];
    const pages: number[] = [];
    for (let round = 0; round < rounds; round++) {
      if (!cached) pages.push(readRandomPages(large));
      if (round === 0) readPages(large);
      sides.push(lookUp(large, cached));
    }
    const name = `a look-up in the index of ${larger}, its pages ${cached ? "in the page cache" : "on disk"}`;
    const id = cached ? "index-lookup-cached" : "index-lookup-disk";
    const note = cached
      ? ""
      : `one random page of the same file from the same disk: ${median(pages).toFixed(2)} ms p99`;
    rows.push(aloneRowOf({ id, name, beside: "", measure: "ms p99", goal: { atMost: 1 }, note }, sides));
  }
  say("starts");
  const starts: Side[] = [];
  for (let round = 0; round < rounds; round++) {
    dropPages(large);
    starts.push(sideOf(await timeStart(large)));
  }
  const start = { id: "index-start", name: `from the command to its ready line, ${larger} cached blobs`, beside: "" };
  rows.push(aloneRowOf({ ...start, measure: "s", goal: { atMost: 1 } }, starts));
  const size = { id: "index-bytes", name: "the index on flash", beside: "", measure: "bytes per blob", goal: null };
  rows.push(aloneRowOf(size, [sideOf(large.bytes / large.count)]));
  publishRows(rows, options);
}

await main();
