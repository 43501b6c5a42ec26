/**
 * Warm ranged reads beside nginx's proxy_cache over the same lake, in one run, rounds interleaved: throughput, CPU
 * seconds per GB, memory. `--quick` makes fewer and shorter rounds; `--json FILE` writes the figures.
 *
 * nginx runs with `tcp_nopush off`: with it on, answers of 64 KiB stall for some 40 ms on kept-alive connections.
 *
 * Requests carry a SAS, which Forebay verifies each time and nginx does not look at.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  BlobSASPermissions,
  BlobServiceClient,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { AZURITE_ACCOUNT, AZURITE_KEY, startAzurite } from "../sim/azurite.ts";
import { startTestForebay } from "../tests/support/forebay.ts";
import type { LoadPlan, LoadResult } from "./lib/load.ts";
import { hasNginx, startNginx } from "./lib/nginx.ts";
import { renderRows, rowOf, type Sample } from "./lib/table.ts";
import { cpuSeconds, memoryBytes } from "./lib/usage.ts";

const MIB = 1 << 20;
const BLOB_BYTES = 512 * MIB;

interface Shape {
  readonly name: string;
  readonly rangeBytes: number;
  readonly connections: number;
  readonly goal: number | null;
}

const SHAPES: readonly Shape[] = [
  { name: "warm 8 MiB ranges, 8 connections", rangeBytes: 8 * MIB, connections: 8, goal: 1.0 },
  { name: "warm 64 KiB ranges, 32 connections", rangeBytes: 64 * 1024, connections: 32, goal: null },
];

interface Side {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
}

async function measure(folder: string, side: Side, shape: Shape, path: string, seconds: number): Promise<Sample> {
  const count = BLOB_BYTES / shape.rangeBytes;
  const requests = Array.from({ length: Math.min(count, 2048) }, (_, i) => {
    const first = ((i * 7919) % count) * shape.rangeBytes;
    const range = `bytes=${first}-${first + shape.rangeBytes - 1}`;
    return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${side.port}\r\nx-ms-version: 2025-01-05\r\nRange: ${range}\r\n\r\n`;
  });
  const plan: LoadPlan = {
    port: side.port,
    connections: shape.connections,
    seconds,
    requests,
    bodyBytes: shape.rangeBytes,
  };
  const file = join(folder, "plan.json");
  writeFileSync(file, JSON.stringify(plan));
  const before = cpuSeconds(side.pid);
  const load = Bun.spawn([process.execPath, join(import.meta.dir, "lib/load.ts"), file], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const result: LoadResult = JSON.parse(await new Response(load.stdout).text());
  const cpu = cpuSeconds(side.pid) - before;
  return {
    gbPerSecond: result.bytes / result.seconds / 1e9,
    requestsPerSecond: result.requests / result.seconds,
    cpuSecondsPerGb: cpu / (result.bytes / 1e9),
    memoryMib: memoryBytes(side.pid) / MIB,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
  };
}

async function readAll(port: number, path: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { "x-ms-version": "2025-01-05" } });
  let bytes = 0;
  for await (const chunk of response.body ?? []) bytes += (chunk as Uint8Array).length;
  if (bytes !== BLOB_BYTES) throw new Error(`${bytes} bytes instead of ${BLOB_BYTES} from port ${port}`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { quick: { type: "boolean" }, json: { type: "string" } }, strict: false });
  if (!hasNginx()) {
    process.stdout.write("nginx is not installed (apt-get install nginx-light): nothing to measure beside\n");
    process.stdout.write("0 passed, 0 failed, 1 skipped\n");
    return 0;
  }
  const [rounds, seconds] = values["quick"] === true ? [3, 2] : [5, 4];
  const folder = mkdtempSync(join(tmpdir(), "forebay-bench-"));
  const azurite = await startAzurite();
  const credential = new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY);
  const container = new BlobServiceClient(azurite.url, credential).getContainerClient("bench");
  await container.createIfNotExists();
  await container.getBlockBlobClient("warm").uploadData(Buffer.alloc(BLOB_BYTES, 7), { blockSize: 64 * MIB });
  const permissions = BlobSASPermissions.parse("r");
  const expiresOn = new Date(Date.now() + 86_400_000);
  const sas = generateBlobSASQueryParameters(
    { containerName: "bench", blobName: "warm", permissions, expiresOn },
    credential,
  );
  const path = `/${AZURITE_ACCOUNT}/bench/warm?${sas.toString()}`;
  const policies = [{ path: "", maxStale: "5s" }];
  const forebay = await startTestForebay({ lake: azurite.connectionString, servers: 1, policies, flashSize: "4GiB" });
  const nginxPort = azurite.port + 1;
  const nginx = await startNginx({
    folder: join(folder, "nginx"),
    port: nginxPort,
    lakePort: azurite.port,
    tcpNopush: false,
    openFileCache: true,
  });
  try {
    const ours: Side = { name: "forebay", port: forebay.port, pid: forebay.pid };
    const theirs: Side = { name: "nginx", port: nginxPort, pid: nginx.pid };
    for (const side of [ours, theirs]) for (let i = 0; i < 2; i++) await readAll(side.port, path);
    const rows = [];
    for (const shape of SHAPES) {
      const pairs = [];
      for (let round = 0; round < rounds; round++) {
        process.stderr.write(`${shape.name}: round ${round + 1} of ${rounds}\n`);
        const order = round % 2 === 0 ? [ours, theirs] : [theirs, ours];
        const samples = new Map<string, Sample>();
        for (const side of order) samples.set(side.name, await measure(folder, side, shape, path, seconds));
        pairs.push({ ours: samples.get("forebay") as Sample, theirs: samples.get("nginx") as Sample });
      }
      rows.push(rowOf(shape.name, "nginx", pairs, shape.goal));
    }
    process.stdout.write(`${renderRows(rows)}\n`);
    const file = values["json"];
    if (typeof file === "string") writeFileSync(file, `${JSON.stringify({ rows }, null, 2)}\n`);
    const missed = rows.filter((row) => row.goal !== null && row.ratio < row.goal).length;
    process.stdout.write(`${rows.length - missed} passed, ${missed} failed, 0 skipped\n`);
    return 0;
  } finally {
    await nginx.stop();
    await forebay.stop();
    await azurite.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exit(await main());
