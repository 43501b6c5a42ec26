/**
 * Many blobs of 100 KB, each read once cold and then warm: beside the lake itself, nginx serving the very same files,
 * and the files opened and read by a program. `--quick`: 3,000 instead of 100,000 blobs.
 *
 * nginx and the program read hard links of the files that Forebay made, so all of them use the same pages of memory.
 * Forebay verifies a signature on every request; nginx looks at nothing.
 */
import {
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { filePath } from "../src/flash/files.ts";
import { openIndexReader } from "../src/flash/index.ts";
import { INDEX_FILE } from "../src/flash/index-schema.ts";
import { realClock } from "../src/io/clock.ts";
import { startTestForebay, type TestForebay } from "../tests/support/forebay.ts";
import { accountSas } from "../tests/support/sign.ts";
import { hasNginx, NO_NGINX } from "./lib/nginx.ts";
import { pickBest } from "./lib/peer.ts";
import { interleave, measureLoad, type Target } from "./lib/rounds.ts";
import {
  aloneRowOf,
  type BenchRow,
  benchOptions,
  publishRows,
  type RowHead,
  rowOf,
  type Side,
  sideOf,
  skippedRow,
} from "./lib/rows.ts";
import { SHAPED_ACCOUNT, SHAPED_KEY, startShapedLake } from "./lib/shaped-lake.ts";
import { startStaticNginx } from "./lib/static-nginx.ts";

const BLOB_BYTES = 100_000;
const CONNECTIONS = 32;
const API_VERSION = "2025-01-05";
/** No pass over the blobs takes longer. */
const PASS_SECONDS_MAX = 300;

const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** The path of blob `i` of a set, below its account. */
function pathOf(set: string, i: number): string {
  return `${set}/${String(i >> 10).padStart(4, "0")}/100KB-${String(i).padStart(7, "0")}`;
}

/** Reads every blob of a set so many times. */
function pass(target: Target, set: string, count: number, query: string, prefix: string, passes = 1): Promise<Side> {
  const requests = Array.from({ length: count * passes }, (_, i) => {
    const path = pathOf(set, (i * 7919) % count); // a prime: every blob once, in no order
    return `GET ${prefix}/${path}${query} HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\nx-ms-version: ${API_VERSION}\r\n\r\n`;
  });
  const plan = { connections: CONNECTIONS, seconds: PASS_SECONDS_MAX, once: true, requests, bodyBytes: BLOB_BYTES };
  return measureLoad(target, plan, "requests/s");
}

/** Bytes that files below `folder` take on flash. */
function takenBytes(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    bytes += entry.isDirectory() ? takenBytes(path) : statSync(path).blocks * 512;
  }
  return bytes;
}

/** Hard links of the files of a set, under the names of the blobs. */
function linkFiles(forebay: TestForebay, set: string, count: number, root: string): void {
  const index = openIndexReader(join(forebay.flash, INDEX_FILE), realClock);
  for (let i = 0; i < count; i++) {
    const path = pathOf(set, i);
    const id = index.lookup(`${SHAPED_ACCOUNT}/${path}`)?.spans[0]?.fileId;
    if (id === undefined) throw new Error(`${path} is not in the index`);
    mkdirSync(dirname(join(root, path)), { recursive: true });
    linkSync(join(forebay.flash, filePath(id)), join(root, path));
  }
  index.close();
}

/** Opens and reads every file once, on this thread. */
function readFiles(root: string, set: string, count: number): Side {
  const buffer = Buffer.alloc(BLOB_BYTES);
  const before = process.cpuUsage();
  const startMs = performance.now();
  for (let i = 0; i < count; i++) {
    const fd = openSync(join(root, pathOf(set, (i * 7919) % count)), "r");
    if (readSync(fd, buffer, 0, BLOB_BYTES, 0) !== BLOB_BYTES) throw new Error("a file is too short");
    closeSync(fd);
  }
  const seconds = (performance.now() - startMs) / 1000;
  const { user, system } = process.cpuUsage(before);
  return sideOf(count / seconds, { cpuSecondsPerGb: (user + system) / 1e6 / ((count * BLOB_BYTES) / 1e9) });
}

async function main(): Promise<void> {
  const options = benchOptions();
  const [count, rounds] = options.quick ? [3_000, 2] : [100_000, 5];
  const passes = options.quick ? 5 : 1; // what is over in a moment says nothing
  const coldRounds = options.quick ? 2 : 1;
  // On the file system of the flash: hard links do not cross one.
  const folder = mkdtempSync(join(tmpdir(), "forebay-small-"));
  const lake = await startShapedLake();
  const forebay = await startTestForebay({
    lake: lake.connectionString,
    policies: [{ path: "", maxStale: "immutable" }],
    flashSize: `${Math.ceil((count * (coldRounds + 1) * BLOB_BYTES * 1.3) / 2 ** 20) + 64}MiB`,
  });
  const rows: BenchRow[] = [];
  try {
    const given = { sv: API_VERSION, ss: "b", srt: "o", sp: "r", se: "2099-01-01T00:00:00Z" };
    const query = `?${accountSas(SHAPED_ACCOUNT, SHAPED_KEY, given)}`;
    const prefix = `/${SHAPED_ACCOUNT}`;
    const ours: Target = { name: "forebay", port: forebay.port, pid: forebay.pid };
    const direct: Target = { name: "lake", port: lake.port, pid: lake.pid };
    const what = `${count} blobs of 100 KB`;

    let set = 0;
    const cold = await interleave(coldRounds, ours, direct, async (side) => {
      const name = side === ours ? `set${set++}` : "direct";
      say(`cold: ${side.name}`);
      return pass(side, name, count, query, prefix);
    });
    const head = { id: "small-cold", name: `${what}, cold`, beside: "lake itself, unshaped" };
    rows.push(rowOf({ ...head, measure: "requests/s", goal: null }, cold));

    await Bun.sleep(1_000); // what was filled is committed
    const used = takenBytes(forebay.flash) / (count * coldRounds * BLOB_BYTES);
    const flash = { id: "small-flash", name: `flash that ${what} take`, beside: "", measure: "× their bytes" };
    rows.push(aloneRowOf({ ...flash, goal: { atMost: 1.1 } }, [sideOf(used)]));

    const root = join(folder, "www");
    linkFiles(forebay, "set0", count, root);
    const warmHead = (id: string, beside: string): Omit<RowHead, "goal"> => {
      return { id, name: `${what}, warm`, beside, measure: "requests/s" };
    };
    if (hasNginx()) {
      const nginx = await startStaticNginx(join(folder, "nginx"), root);
      try {
        const targets = nginx.fronts.map(({ name, port }) => ({ name, port, pid: nginx.pid }));
        const read = (side: Target): Promise<Side> => {
          const isOurs = side === ours;
          return pass(side, "set0", count, isOurs ? query : "", isOurs ? prefix : "", passes);
        };
        for (const side of [ours, ...targets]) await read(side);
        for (const cached of [false, true]) {
          const candidates = targets.filter(({ name }) => name.includes("open_file_cache") === cached);
          const best = await pickBest(candidates, 1, async (side) => (await read(side)).value);
          say(`warm: beside ${best.name}`);
          const pairs = await interleave(rounds, ours, best, read);
          const id = cached ? "small-warm-nginx-cached" : "small-warm-nginx";
          rows.push(rowOf({ ...warmHead(id, best.name), goal: { atLeast: 1 } }, pairs));
        }
      } finally {
        await nginx.stop();
      }
    } else rows.push(skippedRow({ ...warmHead("small-warm-nginx", "nginx"), goal: { atLeast: 1 } }, NO_NGINX));
    say("warm: beside files read by a program");
    const pairs = await interleave(rounds, ours, direct, async (side) =>
      side === ours ? pass(ours, "set0", count, query, prefix) : readFiles(root, "set0", count),
    );
    rows.push(rowOf({ ...warmHead("small-warm-files", "files opened and read"), goal: null }, pairs));
    publishRows(rows, options);
  } finally {
    await forebay.stop();
    await lake.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
