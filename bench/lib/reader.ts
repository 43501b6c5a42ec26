/**
 * Readers of whole blobs or ranges: K connections at once, one request each, bodies thrown away by the kernel (recv
 * with MSG_TRUNC), so that what is measured is the server. Blocking system calls and poll: it costs next to nothing.
 *
 * Run as a process of its own: `bun bench/lib/reader.ts PLAN.json`, prints one JSON line.
 */
import { ptr } from "bun:ffi";
import { readFileSync } from "node:fs";
import { checkHead, connectTo, libc, MSG_DONTWAIT, MSG_TRUNC, POLLIN, sendWhole } from "./socket.ts";

/** What to read: one connection for each request, all at once. */
export interface ReadPlan {
  readonly port: number;
  /** Whole requests, ready to be sent. */
  readonly requests: readonly string[];
  /** The bytes of every body. A response with another length ends the run. */
  readonly bodyBytes: number;
}

/** How it went. */
export interface ReadDone {
  /** Until the last body had ended. */
  readonly seconds: number;
  /** For each request: from its sending to the first byte of its body. */
  readonly firstByteMs: readonly number[];
}

const QUIET_MS_MAX = 60_000;
/** What one call takes off the socket: as a client that reads into a large buffer would. */
const TAKE_BYTES = 4 << 20;

interface Reading {
  readonly fd: number;
  head: string;
  left: number; // -1 while the head is read
  firstByteMs: number;
}

const buffer = Buffer.alloc(64 * 1024);

function receive(reading: Reading, plan: ReadPlan, startMs: number): void {
  if (reading.left < 0) {
    const got = Number(libc.recv(reading.fd, ptr(buffer), buffer.length, MSG_DONTWAIT));
    if (got <= 0) throw new Error("the server closed a connection before its answer");
    reading.head += buffer.toString("latin1", 0, got);
    const end = reading.head.indexOf("\r\n\r\n");
    if (end < 0) return;
    checkHead(reading.head.slice(0, end), plan.bodyBytes);
    reading.left = plan.bodyBytes - (reading.head.length - end - 4);
    if (reading.left < plan.bodyBytes) reading.firstByteMs = performance.now() - startMs;
    return;
  }
  const got = Number(libc.recv(reading.fd, null, Math.min(reading.left, TAKE_BYTES), MSG_TRUNC | MSG_DONTWAIT));
  if (got <= 0) throw new Error(`the server cut a body ${reading.left} bytes before its end`);
  if (reading.firstByteMs < 0) reading.firstByteMs = performance.now() - startMs;
  reading.left -= got;
}

function run(plan: ReadPlan): ReadDone {
  const readings: Reading[] = plan.requests.map(() => ({
    fd: connectTo(plan.port),
    head: "",
    left: -1,
    firstByteMs: -1,
  }));
  const polled = new Int32Array(readings.length * 2);
  const startMs = performance.now();
  readings.forEach((reading, i) => {
    sendWhole(reading.fd, Buffer.from(plan.requests[i] as string));
  });
  let open = readings.length;
  while (open > 0) {
    readings.forEach((reading, i) => {
      polled[2 * i] = reading.left === 0 ? -1 : reading.fd;
      polled[2 * i + 1] = POLLIN;
    });
    if (libc.poll(ptr(polled), readings.length, QUIET_MS_MAX) <= 0) throw new Error("nothing came for a minute");
    readings.forEach((reading, i) => {
      if (reading.left === 0 || (polled[2 * i + 1] as number) >>> 16 === 0) return;
      receive(reading, plan, startMs);
      if (reading.left === 0) open--;
    });
  }
  return { seconds: (performance.now() - startMs) / 1000, firstByteMs: readings.map((reading) => reading.firstByteMs) };
}

process.stdout.write(`${JSON.stringify(run(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"))))}\n`);
