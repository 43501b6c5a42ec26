/**
 * https in front: warm ranges from Forebay beside nginx with https over the same lake, and beside Forebay's own http.
 * With https a body goes through a buffer instead of `sendfile`; nginx may leave the encryption to the kernel where
 * that can (`kernel TLS`), and is measured in what was best for it.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificate } from "../tests/support/certificate.ts";
import { startTestForebay } from "../tests/support/forebay.ts";
import { accountSas } from "../tests/support/sign.ts";
import { hasNginx, NO_NGINX, startNginx } from "./lib/nginx.ts";
import { pickBest } from "./lib/peer.ts";
import { interleave, measureLoad, type Target } from "./lib/rounds.ts";
import { type BenchRow, benchOptions, cpuRowOf, publishRows, type RowHead, rowOf, skippedRow } from "./lib/rows.ts";
import { SHAPED_ACCOUNT, SHAPED_KEY, startShapedLake } from "./lib/shaped-lake.ts";

const KIB = 1024;
const MIB = 1 << 20;
const BLOB_BYTES = 256 * MIB;
const API_VERSION = "2025-01-05";
const REQUESTS_MAX = 1024;

const SHAPES = [
  { id: "8m", name: "8 MiB ranges, 8 connections", rangeBytes: 8 * MIB, connections: 8, measure: "GB/s" },
  { id: "64k", name: "64 KiB ranges, 32 connections", rangeBytes: 64 * KIB, connections: 32, measure: "requests/s" },
] as const;
type Shape = (typeof SHAPES)[number];

interface Front extends Target {
  readonly tls: boolean;
}

const sas = accountSas(SHAPED_ACCOUNT, SHAPED_KEY, {
  ...{ sv: API_VERSION, ss: "b", srt: "o", sp: "r" },
  se: new Date(Date.now() + 86_400_000).toISOString().replace(/\.\d+Z$/, "Z"),
});
const path = `/${SHAPED_ACCOUNT}/tls/256MiB-warm?${sas}`;

async function readAll({ port, tls }: Front): Promise<void> {
  const url = `${tls ? "https" : "http"}://127.0.0.1:${port}${path}`;
  const headers = { "x-ms-version": API_VERSION };
  const response = await fetch(url, { headers, tls: { rejectUnauthorized: false } });
  let bytes = 0;
  for await (const chunk of response.body ?? []) bytes += chunk.length;
  if (bytes !== BLOB_BYTES) throw new Error(`${bytes} bytes instead of ${BLOB_BYTES} from port ${port}`);
}

function at(front: Front, shape: Shape, seconds: number): ReturnType<typeof measureLoad> {
  const count = BLOB_BYTES / shape.rangeBytes;
  const requests = Array.from({ length: Math.min(count, REQUESTS_MAX) }, (_, i) => {
    const first = ((i * 7919) % count) * shape.rangeBytes;
    const range = `bytes=${first}-${first + shape.rangeBytes - 1}`;
    return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-ms-version: ${API_VERSION}\r\nRange: ${range}\r\n\r\n`;
  });
  const { connections, rangeBytes: bodyBytes } = shape;
  return measureLoad(front, { connections, seconds, requests, bodyBytes, tls: front.tls }, shape.measure);
}

const options = benchOptions();
const [rounds, seconds] = options.quick ? [2, 0.5] : [5, 4];
const folder = mkdtempSync(join(tmpdir(), "forebay-tls-"));
const tls = makeCertificate(folder);
const lake = await startShapedLake();
const policies = [{ path: "", maxStale: "immutable" }];
const secure = await startTestForebay({ lake: lake.connectionString, policies, tls });
const plain = await startTestForebay({ lake: lake.connectionString, policies });
const nginx = hasNginx() ? await startNginx({ folder: join(folder, "nginx"), lakePort: lake.port, tls }) : null;
try {
  const ours: Front = { name: "forebay", port: secure.port, pid: secure.pid, tls: true };
  const open: Front = { name: "forebay, http", port: plain.port, pid: plain.pid, tls: false };
  const fronts = (nginx?.fronts ?? []).map((front) => ({ ...front, pid: nginx?.pid ?? 0, tls: true }));
  for (const front of [ours, open, ...fronts.slice(0, 1)]) for (let i = 0; i < 2; i++) await readAll(front);
  const rows: BenchRow[] = [];
  for (const shape of SHAPES) {
    process.stderr.write(`tls: ${shape.name}\n`);
    const head: RowHead = {
      id: `tls-${shape.id}`,
      name: `https, warm ${shape.name}`,
      beside: "nginx https",
      measure: shape.measure,
      goal: null,
    };
    if (nginx === null) rows.push(skippedRow(head, NO_NGINX));
    else {
      const best = await pickBest(fronts, 1, async (front) => (await at(front, shape, seconds / 2)).value);
      const pairs = await interleave<Front>(rounds, ours, best, (front) => at(front, shape, seconds));
      rows.push(rowOf({ ...head, note: best.name }, pairs));
      rows.push(cpuRowOf({ ...head, id: `${head.id}-cpu`, name: `${head.name}: CPU` }, pairs));
    }
    const pairs = await interleave<Front>(rounds, ours, open, (front) => at(front, shape, seconds));
    const note = "the client of https decrypts on the same cores, so the CPU time of the servers is what compares";
    rows.push(cpuRowOf({ ...head, id: `${head.id}-http`, beside: "Forebay http", note }, pairs));
  }
  publishRows(rows, options);
} finally {
  await nginx?.stop();
  await plain.stop();
  await secure.stop();
  await lake.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
