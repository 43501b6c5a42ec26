/**
 * A load generator: K connections of one process, each with one request under way, bodies thrown away by the kernel
 * (recv with MSG_TRUNC), so that what is measured is the server. Requests are made and signed beforehand.
 *
 * Run as a process of its own: `bun bench/lib/load.ts PLAN.json`, prints one JSON line.
 */
import { ptr } from "bun:ffi";
import { readFileSync } from "node:fs";
import { checkHead, connectTo, libc, MSG_TRUNC, POLLIN, sendWhole } from "./socket.ts";

/** What to do: every connection walks through `requests` from a place of its own. */
export interface LoadPlan {
  readonly port: number;
  readonly connections: number;
  readonly seconds: number;
  /** Every request is made once; `seconds` is then what it may take at most. */
  readonly once?: boolean;
  /** Whole requests, ready to be sent. */
  readonly requests: readonly string[];
  /** The bytes of every body. A response with another length ends the run. */
  readonly bodyBytes: number;
}

export interface LoadResult {
  readonly bytes: number;
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const HEAD_BYTES_MAX = 32_768;

interface Connection {
  readonly fd: number;
  next: number;
  /** How many more requests it makes. */
  more: number;
  head: Buffer;
  headLength: number;
  left: number; // bytes of the body still to come; -1 while the head is read
  sentAtMs: number;
}

/** As large as a client that reads much would have it. */
const RECEIVE_BUFFER_BYTES = 4 << 20;

function post(connection: Connection, requests: readonly Buffer[]): void {
  const bytes = requests[connection.next++ % requests.length] as Buffer;
  connection.sentAtMs = performance.now();
  connection.left = -1;
  connection.headLength = 0;
  sendWhole(connection.fd, bytes);
}

/** Reads what is there. True when the response is complete. */
function receive(connection: Connection, bodyBytes: number): boolean {
  if (connection.left < 0) {
    const { head } = connection;
    const room = head.length - connection.headLength;
    const got = Number(libc.recv(connection.fd, ptr(head, connection.headLength), room, 0));
    if (got <= 0) throw new Error("the server closed a connection");
    connection.headLength += got;
    const end = head.subarray(0, connection.headLength).indexOf("\r\n\r\n");
    if (end < 0) return false;
    checkHead(head.toString("latin1", 0, end), bodyBytes);
    connection.left = bodyBytes - (connection.headLength - end - 4);
  } else {
    const got = Number(libc.recv(connection.fd, null, Math.min(connection.left, 8 << 20), MSG_TRUNC));
    if (got <= 0) throw new Error("a body broke off");
    connection.left -= got;
  }
  return connection.left === 0;
}

function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** Runs a plan on this thread until its time is over. */
export function runLoad(plan: LoadPlan): LoadResult {
  const requests = plan.requests.map((request) => Buffer.from(request, "latin1"));
  const connections: Connection[] = [];
  const polled = Buffer.alloc(8 * plan.connections);
  for (let i = 0; i < plan.connections; i++) {
    const fd = connectTo(plan.port, RECEIVE_BUFFER_BYTES);
    polled.writeInt32LE(fd, i * 8);
    polled.writeInt16LE(POLLIN, i * 8 + 4);
    const start = Math.floor((i * requests.length) / plan.connections);
    const end = Math.floor(((i + 1) * requests.length) / plan.connections);
    const more = plan.once === true ? end - start : Number.POSITIVE_INFINITY;
    const head = Buffer.alloc(HEAD_BYTES_MAX);
    connections.push({ fd, next: start, more, head, headLength: 0, left: -1, sentAtMs: 0 });
  }
  const latencies: number[] = [];
  const startMs = performance.now();
  const endMs = startMs + plan.seconds * 1000;
  let busy = connections.length;
  const go = (connection: Connection): void => {
    if (connection.more-- > 0) post(connection, requests);
    else busy--;
  };
  for (const connection of connections) go(connection);
  for (let nowMs = startMs; nowMs < endMs && busy > 0; nowMs = performance.now()) {
    libc.poll(ptr(polled), plan.connections, 100);
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as Connection;
      if (polled.readInt16LE(i * 8 + 6) === 0 || connection.more < 0) continue;
      if (!receive(connection, plan.bodyBytes)) continue;
      latencies.push(performance.now() - connection.sentAtMs);
      go(connection);
    }
  }
  if (plan.once === true && busy > 0) throw new Error(`not every request was answered within ${plan.seconds} s`);
  const seconds = (performance.now() - startMs) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  const done = latencies.length;
  return {
    bytes: done * plan.bodyBytes,
    requests: done,
    seconds,
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
  };
}

if (import.meta.main) {
  const plan: LoadPlan = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"));
  process.stdout.write(`${JSON.stringify(runLoad(plan))}\n`);
}
