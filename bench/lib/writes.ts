/** Writes of a benchmark: what they look like, and how they are sent and counted. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Target } from "./rounds.ts";
import { type Side, sideOf } from "./rows.ts";
import { cpuSeconds, memoryBytes } from "./usage.ts";
import type { WriteDone, WritePlan, WriteRequest } from "./writer.ts";

const MIB = 1 << 20;
const API_VERSION = "2025-01-05";

/** Where blobs are written, and by whom. */
export interface WriteTarget extends Target {
  readonly account: string;
  /** The query that authorises. */
  readonly query: string;
}

function headOf(target: WriteTarget, path: string, query: string, bodyBytes: number, headers: string): string {
  const line = `PUT /${target.account}/${path}?${query}${target.query} HTTP/1.1\r\n`;
  return `${line}Host: 127.0.0.1:${target.port}\r\nx-ms-version: ${API_VERSION}\r\nContent-Length: ${bodyBytes}\r\n${headers}\r\n`;
}

/** A whole blob in one request. */
export function putBlob(target: WriteTarget, path: string, bytes: number): WriteRequest {
  return { head: headOf(target, path, "", bytes, "x-ms-blob-type: BlockBlob\r\n"), body: bytes };
}

/** A blob in blocks, and their list. */
export function putBlocks(
  target: WriteTarget,
  path: string,
  bytes: number,
  blockBytes: number,
  md5 = false,
): WriteRequest[] {
  const requests: WriteRequest[] = [];
  const ids: string[] = [];
  for (let at = 0; at < bytes; at += blockBytes) {
    const id = Buffer.from(String(ids.length).padStart(6, "0")).toString("base64");
    const query = `comp=block&blockid=${encodeURIComponent(id)}&`;
    const length = Math.min(blockBytes, bytes - at);
    requests.push({ head: headOf(target, path, query, length, md5 ? "Content-MD5: {md5}\r\n" : ""), body: length });
    ids.push(id);
  }
  const list = `<?xml version="1.0" encoding="utf-8"?><BlockList>${ids.map((id) => `<Latest>${id}</Latest>`).join("")}</BlockList>`;
  requests.push({ head: headOf(target, path, "comp=blocklist&", list.length, ""), body: list });
  return requests;
}

/** What writers came to at `target`, and what it cost. The value is GB/s, or requests/s. */
export async function measureWrites(
  target: WriteTarget,
  writers: WritePlan["writers"],
  measure: "GB/s" | "requests/s",
): Promise<Side> {
  const folder = mkdtempSync(join(tmpdir(), "forebay-writes-"));
  try {
    const file = join(folder, "plan.json");
    writeFileSync(file, JSON.stringify({ port: target.port, writers } satisfies WritePlan));
    const before = cpuSeconds(target.pid);
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "writer.ts"), file], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const output = await new Response(child.stdout).text();
    if ((await child.exited) !== 0) throw new Error(`the writers at ${target.name} failed`);
    const done = JSON.parse(output) as WriteDone;
    const requests = writers.flat();
    const gb = requests.reduce((sum, { body }) => sum + (typeof body === "number" ? body : 0), 0) / 1e9;
    return sideOf((measure === "GB/s" ? gb : requests.length) / done.seconds, {
      cpuSecondsPerGb: (cpuSeconds(target.pid) - before) / gb,
      memoryMib: memoryBytes(target.pid) / MIB,
      p50Ms: done.p50Ms,
      p99Ms: done.p99Ms,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** `fio` writing and flushing files below `folder`: GB/s of all jobs together, or writes/s. */
export async function fioWrites(
  folder: string,
  job: { readonly jobs: number; readonly files: number; readonly fileBytes: number; readonly writeBytes: number },
  flushEach: boolean,
): Promise<{ readonly gbPerSecond: number; readonly writesPerSecond: number }> {
  const flags = [
    "--name=write",
    "--rw=write",
    "--ioengine=psync",
    `--directory=${folder}`,
    `--numjobs=${job.jobs}`,
    `--nrfiles=${job.files}`,
    `--filesize=${job.fileBytes}`,
    `--size=${job.fileBytes * job.files}`,
    `--bs=${job.writeBytes}`,
    "--file_service_type=sequential",
    flushEach ? "--fdatasync=1" : "--fsync_on_close=1",
    ...(flushEach ? [] : ["--end_fsync=1"]),
    "--fallocate=none",
    "--openfiles=1",
    "--group_reporting",
    "--output-format=json",
  ];
  const child = Bun.spawn(["fio", ...flags], { stdout: "pipe", stderr: "inherit" });
  const output = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("fio failed");
  interface Report {
    readonly jobs: readonly {
      readonly job_runtime: number;
      readonly write: { bw_bytes: number; iops: number; io_bytes: number; runtime: number };
    }[];
  }
  const [report] = (JSON.parse(output.slice(output.indexOf("{"))) as Report).jobs;
  if (report === undefined) throw new Error("fio reported nothing");
  // The last flush is not in its own bandwidth.
  const seconds = Math.max(report.write.runtime, report.job_runtime / (flushEach ? 1 : job.jobs)) / 1000;
  return { gbPerSecond: report.write.io_bytes / 1e9 / seconds, writesPerSecond: report.write.iops };
}
