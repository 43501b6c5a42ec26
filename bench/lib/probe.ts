/**
 * A latency probe: one connection that sends a small request every so often, whatever else the server does. While an
 * answer is late no further request is sent; those that were due meanwhile count as having waited from then on, as they
 * would have on connections of their own. So a long stop weighs as long as it took.
 *
 * Run as a process of its own: `bun bench/lib/probe.ts PLAN.json`, prints one JSON line.
 */
import { ptr } from "bun:ffi";
import { readFileSync } from "node:fs";
import { checkHead, connectTo, libc, POLLIN, sendWhole } from "./socket.ts";

/** What to ask, and how often. */
export interface ProbePlan {
  readonly port: number;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  /** Whole requests, ready to be sent, in turn. */
  readonly requests: readonly string[];
  /** The bytes of every body. A response with another length ends the run. */
  readonly bodyBytes: number;
}

/** Milliseconds from a request to the last byte of its answer; `requests` counts those that were due as well. */
export interface ProbeDone {
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

const QUIET_MS_MAX = 60_000;
const HEAD_BYTES_MAX = 16_384;

/** Sends one request and reads its answer to the end. */
function ask(fd: number, request: Buffer, into: Buffer, polled: Int32Array): void {
  sendWhole(fd, request);
  for (let length = 0; length < into.length; ) {
    if (libc.poll(ptr(polled), 1, QUIET_MS_MAX) <= 0) throw new Error("nothing came for a minute");
    const got = Number(libc.recv(fd, ptr(into, length), into.length - length, 0));
    if (got <= 0) throw new Error("the server closed the connection");
    length += got;
    const end = into.subarray(0, length).indexOf("\r\n\r\n");
    if (end < 0) continue;
    const bodyBytes = into.length - HEAD_BYTES_MAX;
    checkHead(into.toString("latin1", 0, end), bodyBytes);
    if (length - end - 4 >= bodyBytes) return;
  }
  throw new Error("an answer is too long");
}

function run(plan: ProbePlan): ProbeDone {
  const fd = connectTo(plan.port);
  const polled = new Int32Array(new ArrayBuffer(64), 0, 2);
  polled[0] = fd;
  polled[1] = POLLIN;
  const into = Buffer.alloc(HEAD_BYTES_MAX + plan.bodyBytes);
  const requests = plan.requests.map((request) => Buffer.from(request, "latin1"));
  const intervalMs = 1000 / plan.requestsPerSecond;
  const latencies: number[] = [];
  const startMs = performance.now();
  const endMs = startMs + plan.seconds * 1000;
  let dueMs = startMs;
  for (let i = 0; dueMs < endMs; i++) {
    const aheadMs = dueMs - performance.now();
    if (aheadMs > 0) libc.poll(null, 0, Math.ceil(aheadMs));
    const sentAtMs = performance.now();
    ask(fd, requests[i % requests.length] as Buffer, into, polled);
    for (let ms = performance.now() - sentAtMs; ; ms -= intervalMs) {
      latencies.push(ms);
      dueMs += intervalMs;
      if (ms <= intervalMs) break;
    }
    dueMs = Math.max(dueMs, sentAtMs);
  }
  const sorted = Float64Array.from(latencies).sort();
  const count = sorted.length;
  const at = (share: number): number => sorted[Math.min(count - 1, Math.floor(count * share))] ?? 0;
  return { requests: count, p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999), maxMs: at(1) };
}

process.stdout.write(`${JSON.stringify(run(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"))))}\n`);
