/**
 * List Blobs over a million blobs (`--quick`: 50,000), page after page, through Forebay and directly at the lake, rounds
 * interleaved. Forebay forwards lists, so what is measured is what it adds to each page.
 *
 * The goal is for a lake at a distance (25 ms to the first byte, 60 MB/s on a connection); a lake that answers at once is
 * measured too, where all that Forebay adds shows.
 */
import { startTestForebay } from "../tests/support/forebay.ts";
import { sharedKey } from "../tests/support/sign.ts";
import { interleave, type Target } from "./lib/rounds.ts";
import { type BenchRow, benchOptions, publishRows, type RowHead, rowOf, type Side } from "./lib/rows.ts";
import { SHAPED_ACCOUNT, SHAPED_KEY, startShapedLake } from "./lib/shaped-lake.ts";
import { cpuSeconds, memoryBytes } from "./lib/usage.ts";

const MIB = 1 << 20;
const PAGE_NAMES = 5_000;
/** A page's end has the marker of the next. */
const TAIL_BYTES = 400;
const DISTANT = { firstByteMs: 25, connectionBytesPerSecond: 60e6 };
const NEAR = { firstByteMs: 0, connectionBytesPerSecond: 0 };

interface Page {
  readonly bytes: Buffer;
  readonly marker: string;
}

async function page(port: number, marker: string): Promise<Page> {
  const next = marker === "" ? "" : `&marker=${encodeURIComponent(marker)}`;
  const target = `/${SHAPED_ACCOUNT}/lists?restype=container&comp=list&maxresults=${PAGE_NAMES}${next}`;
  const headers: [string, string][] = [
    ["x-ms-version", "2025-01-05"],
    ["x-ms-date", new Date().toUTCString()],
  ];
  headers.push(["Authorization", sharedKey(SHAPED_ACCOUNT, SHAPED_KEY, { method: "GET", target, headers })]);
  const response = await fetch(`http://127.0.0.1:${port}${target}`, { headers });
  const bytes = Buffer.from(await response.arrayBuffer());
  if (response.status !== 200) throw new Error(`a list was answered with ${response.status}: ${bytes.toString()}`);
  const tail = bytes.toString("utf8", Math.max(0, bytes.length - TAIL_BYTES));
  return { bytes, marker: /<NextMarker>([^<]*)<\/NextMarker>/.exec(tail)?.[1] ?? "" };
}

/** Lists everything once; the value is the seconds. */
async function listAll(target: Target, pages: number): Promise<Side> {
  const cpuBefore = cpuSeconds(target.pid);
  const startMs = performance.now();
  const timesMs: number[] = [];
  let bytes = 0;
  let marker = "";
  do {
    const pageMs = performance.now();
    const got = await page(target.port, marker);
    timesMs.push(performance.now() - pageMs);
    bytes += got.bytes.length;
    marker = got.marker;
  } while (marker !== "" && timesMs.length <= pages);
  if (timesMs.length !== pages) throw new Error(`${timesMs.length} pages instead of ${pages}`);
  const sorted = timesMs.sort((a, b) => a - b);
  return {
    value: (performance.now() - startMs) / 1000,
    cpuSecondsPerGb: (cpuSeconds(target.pid) - cpuBefore) / (bytes / 1e9),
    memoryMib: memoryBytes(target.pid) / MIB,
    p50Ms: sorted[sorted.length >> 1] ?? 0,
    p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
  };
}

const options = benchOptions();
const names = options.quick ? 50_000 : 1_000_000;
const rounds = 5;
const pages = names / PAGE_NAMES;
const lake = await startShapedLake({ listNames: names });
const forebay = await startTestForebay({ lake: lake.connectionString });
process.stderr.write(`lists: ${names} blobs, ${rounds} rounds\n`);
try {
  const ours: Target = { name: "forebay", port: forebay.port, pid: forebay.pid };
  const theirs: Target = { name: "direct", port: lake.port, pid: lake.pid };
  const [given, direct] = [await page(ours.port, ""), await page(theirs.port, "")];
  if (!given.bytes.equals(direct.bytes)) throw new Error("a page through Forebay is not the lake's");
  const rows: BenchRow[] = [];
  const head = { name: `List Blobs, ${names} blobs`, beside: "direct", measure: "s" };
  const cases: [RowHead, typeof DISTANT][] = [
    [{ ...head, id: "lists", goal: { atMost: 1.02 }, note: "25 ms to the first byte, 60 MB/s a connection" }, DISTANT],
    [{ ...head, id: "lists-near", name: `${head.name}, a lake that answers at once`, goal: null }, NEAR],
  ];
  for (const [about, shape] of cases) {
    await lake.reshape(shape);
    process.stderr.write(`${about.name}\n`);
    rows.push(rowOf(about, await interleave(rounds, ours, theirs, (target) => listAll(target, pages))));
  }
  publishRows(rows, options);
} finally {
  await forebay.stop();
  await lake.stop();
}
process.exit(0);
