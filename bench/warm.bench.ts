/**
 * Warm ranged reads beside nginx's proxy_cache and varnish over the same lake, in one run, rounds interleaved: throughput,
 * CPU seconds per GB, memory. `--quick` makes fewer and shorter rounds; `--json FILE` writes the figures.
 *
 * nginx is measured in the configuration that was best for the row in a short trial before it. Every request is signed
 * with SharedKey and has the headers of an SDK; Forebay verifies each one, nginx and varnish look at none.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";
import { AZURITE_ACCOUNT, AZURITE_KEY, startAzurite } from "../sim/azurite.ts";
import { sharedKeyAuthorization } from "../src/lake/sign.ts";
import { startTestForebay } from "../tests/support/forebay.ts";
import type { LoadPlan } from "./lib/load.ts";
import { hasNginx, NO_NGINX, startNginx } from "./lib/nginx.ts";
import { pickBest } from "./lib/peer.ts";
import { interleave, measureLoad, type Target } from "./lib/rounds.ts";
import {
  type BenchOptions,
  type BenchRow,
  benchOptions,
  cpuRowOf,
  type Goal,
  publishRows,
  type RowHead,
  rowOf,
  skippedRow,
} from "./lib/rows.ts";
import { hasVarnish, NO_VARNISH, startVarnish } from "./lib/varnish.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const BLOB_BYTES = 512 * MIB;
const PATH = `/${AZURITE_ACCOUNT}/bench/warm`;
const KEY = Buffer.from(AZURITE_KEY, "base64");

/** Who is beside Forebay in a row: the best of nginx's configurations, those without open_file_cache, … */
type Beside = "nginx" | "nginx without open_file_cache" | "varnish" | "the best of nginx and varnish";

interface Shape {
  readonly id: string;
  readonly name: string;
  readonly rangeBytes: number;
  readonly connections: number;
  /** Of throughput. */
  readonly goals: Readonly<Partial<Record<Beside, Goal>>>;
  /** Of CPU seconds per GB, beside the first. */
  readonly cpu?: Goal;
}

const SHAPES: readonly Shape[] = [
  {
    id: "warm-8m",
    name: "warm 8 MiB ranges, 8 connections",
    rangeBytes: 8 * MIB,
    connections: 8,
    goals: { nginx: { atLeast: 1.3 }, varnish: { atLeast: 1 } },
    cpu: { atMost: 0.75 },
  },
  {
    id: "warm-1m",
    name: "warm 1 MiB ranges, 16 connections",
    rangeBytes: MIB,
    connections: 16,
    goals: { "the best of nginx and varnish": { atLeast: 1 } },
  },
  {
    id: "warm-128k",
    name: "warm 128 KiB ranges, 32 connections",
    rangeBytes: 128 * KIB,
    connections: 32,
    goals: { nginx: { atLeast: 1.1 } },
  },
  {
    id: "warm-64k",
    name: "warm 64 KiB ranges, 32 connections",
    rangeBytes: 64 * KIB,
    connections: 32,
    goals: { nginx: { atLeast: 1 } },
  },
  {
    id: "warm-16k",
    name: "warm 16 KiB ranges, 32 connections",
    rangeBytes: 16 * KIB,
    connections: 32,
    goals: { "nginx without open_file_cache": { atLeast: 1 }, nginx: { atLeast: 0.8 } },
  },
  {
    id: "warm-4k",
    name: "warm 4 KiB ranges, 32 connections",
    rangeBytes: 4 * KIB,
    connections: 32,
    goals: { "nginx without open_file_cache": { atLeast: 1 }, nginx: { atLeast: 0.8 } },
  },
];

/** The cores that two servers and the load need to be apart. */
const CORES_FOR_TWO = 3;
const TWO: RowHead = {
  id: "warm-two-servers",
  name: "warm 1 MiB ranges, 2 servers",
  beside: "1 server",
  measure: "GB/s",
  goal: { atLeast: 1.7 },
};

function headOf({ id, name, rangeBytes }: Shape, beside: Beside, goal: Goal): RowHead {
  const measure = rangeBytes >= MIB ? "GB/s" : "requests/s";
  return { id: `${id}-${beside.replaceAll(" ", "-")}`, name, beside, measure, goal };
}

/** Requests as an SDK sends them, signed beforehand. */
function planOf(shape: Pick<Shape, "rangeBytes" | "connections">, seconds: number): Omit<LoadPlan, "port"> {
  const count = BLOB_BYTES / shape.rangeBytes;
  const date = new Date().toUTCString();
  const requests = Array.from({ length: Math.min(count, 2048) }, (_, i) => {
    const first = ((i * 7919) % count) * shape.rangeBytes;
    const headers = ["x-ms-version", "2025-01-05", "Accept", "application/xml"];
    headers.push("User-Agent", "azsdk-js-azure-storage-blob/12.32.0 core-rest-pipeline/1.22.2 Node/20.20.2");
    headers.push("x-ms-client-request-id", crypto.randomUUID(), "x-ms-date", date);
    headers.push("Range", `bytes=${first}-${first + shape.rangeBytes - 1}`, "Accept-Encoding", "gzip,deflate");
    const signed = { method: "GET", path: PATH, query: "", headers, account: AZURITE_ACCOUNT };
    headers.push("Authorization", sharedKeyAuthorization(KEY, signed), "Connection", "keep-alive");
    const lines = headers.map((text, at) => (at % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join("");
    return `GET ${PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines}\r\n`;
  });
  return { connections: shape.connections, seconds, requests, bodyBytes: shape.rangeBytes };
}

async function readAll(port: number): Promise<void> {
  const headers = ["x-ms-version", "2025-01-05", "x-ms-date", new Date().toUTCString()];
  const signed = { method: "GET", path: PATH, query: "", headers, account: AZURITE_ACCOUNT };
  headers.push("Authorization", sharedKeyAuthorization(KEY, signed));
  const pairs = headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1] ?? ""] as [string, string]] : []));
  const response = await fetch(`http://127.0.0.1:${port}${PATH}`, { headers: pairs });
  let bytes = 0;
  for await (const chunk of response.body ?? []) bytes += (chunk as Uint8Array).length;
  if (bytes !== BLOB_BYTES) throw new Error(`${bytes} bytes instead of ${BLOB_BYTES} from port ${port}`);
}

/** A peer and what of it a row may choose from. */
interface Candidate extends Target {
  readonly groups: readonly Beside[];
}

interface Sides {
  readonly ours: Target;
  readonly two: Target | null;
  readonly theirs: readonly Candidate[];
}

async function rowsOf(sides: Sides, shape: Shape, rounds: number, seconds: number): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  const measure = shape.rangeBytes >= MIB ? "GB/s" : "requests/s";
  const plan = planOf(shape, seconds);
  const at = (target: Target, forSeconds = seconds) => measureLoad(target, { ...plan, seconds: forSeconds }, measure);
  process.stderr.write(`${shape.name}\n`);
  for (const [group, goal] of Object.entries(shape.goals) as [Beside, Goal][]) {
    const candidates = sides.theirs.filter(({ groups }) => groups.includes(group));
    if (candidates.length === 0) {
      rows.push(skippedRow(headOf(shape, group, goal), NO_VARNISH));
      continue;
    }
    const best =
      candidates.length === 1 ? candidates[0] : await pickBest(candidates, 1, async (c) => (await at(c, 0.4)).value);
    const pairs = await interleave<Target>(rounds, sides.ours, best as Target, at);
    rows.push(rowOf({ ...headOf(shape, group, goal), note: (best as Target).name }, pairs));
    const cpu = { id: `${shape.id}-cpu`, name: `${shape.name}: CPU`, beside: group };
    if (shape.cpu !== undefined && group === "nginx") rows.push(cpuRowOf({ ...cpu, goal: shape.cpu }, pairs));
  }
  return rows;
}

async function twoServers(sides: Sides, rounds: number, seconds: number): Promise<BenchRow> {
  if (sides.two === null) {
    return skippedRow(TWO, `${availableParallelism()} cores: two servers and the load want ${CORES_FOR_TWO}`);
  }
  const plan = planOf({ rangeBytes: MIB, connections: 16 }, seconds);
  const pairs = await interleave<Target>(rounds, sides.two, sides.ours, (target) => measureLoad(target, plan, "GB/s"));
  return rowOf(TWO, pairs);
}

async function measureAll(options: BenchOptions): Promise<BenchRow[]> {
  const [rounds, seconds] = options.quick ? [2, 0.5] : [5, 3];
  const folder = mkdtempSync(join(tmpdir(), "forebay-bench-"));
  const ends: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
  try {
    const azurite = await startAzurite();
    ends.push(() => azurite.close());
    const credential = new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY);
    const container = new BlobServiceClient(azurite.url, credential).getContainerClient("bench");
    await container.createIfNotExists();
    await container.getBlockBlobClient("warm").uploadData(Buffer.alloc(BLOB_BYTES, 7), { blockSize: 64 * MIB });
    const start = async (servers: 1 | 2): Promise<Target> => {
      const forebay = await startTestForebay({ lake: azurite.connectionString, servers, flashSize: "4GiB" });
      ends.push(() => forebay.stop());
      return { name: `forebay, ${servers} server(s)`, port: forebay.port, pid: forebay.pid };
    };
    const ours = await start(1);
    const two = availableParallelism() >= CORES_FOR_TWO ? await start(2) : null;
    const nginx = await startNginx({ folder: join(folder, "nginx"), lakePort: azurite.port });
    ends.push(() => nginx.stop());
    const theirs: Candidate[] = nginx.fronts.map(({ name, port, openFileCache }) => {
      const groups: Beside[] = ["nginx", "the best of nginx and varnish"];
      if (!openFileCache) groups.push("nginx without open_file_cache");
      return { name, port, pid: nginx.pid, groups };
    });
    const [front] = theirs;
    if (hasVarnish()) {
      const varnish = await startVarnish({ folder: join(folder, "varnish"), lakePort: azurite.port, storageMib: 1024 });
      ends.push(() => varnish.stop());
      theirs.push({
        name: "varnish",
        port: varnish.port,
        pid: varnish.pid,
        groups: ["varnish", "the best of nginx and varnish"],
      });
    }
    const all = [ours, ...(two === null ? [] : [two]), ...(front === undefined ? [] : [front])];
    const varnish = theirs.find(({ name }) => name === "varnish");
    for (const { port } of varnish === undefined ? all : [...all, varnish]) {
      for (let i = 0; i < 2; i++) await readAll(port);
    }
    const sides: Sides = { ours, two, theirs };
    const rows: BenchRow[] = [];
    for (const shape of SHAPES) rows.push(...(await rowsOf(sides, shape, rounds, seconds)));
    rows.push(await twoServers(sides, rounds, seconds));
    return rows;
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

async function main(): Promise<void> {
  const options = benchOptions();
  const goals = SHAPES.flatMap((shape) => Object.entries(shape.goals).map(([group, goal]) => ({ shape, group, goal })));
  const rows = hasNginx()
    ? await measureAll(options)
    : goals.map(({ shape, group, goal }) => skippedRow(headOf(shape, group as Beside, goal), NO_NGINX));
  publishRows(rows, options);
}

await main();
process.exit(0);
