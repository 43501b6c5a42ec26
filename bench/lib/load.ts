/**
 * A load generator: K connections of one process, each with one request under way, bodies thrown away by the kernel
 * (recv with MSG_TRUNC), so that what is measured is the server. Requests are made and signed beforehand.
 *
 * Run as a process of its own: `bun bench/lib/load.ts PLAN.json`, prints one JSON line.
 */
import { dlopen, ptr, FFIType as T } from "bun:ffi";
import { readFileSync } from "node:fs";

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

const libc = dlopen("libc.so.6", {
  socket: { args: [T.i32, T.i32, T.i32], returns: T.i32 },
  connect: { args: [T.i32, T.ptr, T.u32], returns: T.i32 },
  setsockopt: { args: [T.i32, T.i32, T.i32, T.ptr, T.u32], returns: T.i32 },
  recv: { args: [T.i32, T.ptr, T.u64, T.i32], returns: T.i64_fast },
  send: { args: [T.i32, T.ptr, T.u64, T.i32], returns: T.i64_fast },
  poll: { args: [T.ptr, T.u64, T.i32], returns: T.i32 },
}).symbols;
const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
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

function open(port: number): number {
  const fd = libc.socket(2, 1, 0);
  const bufferBytes = new Int32Array([4 << 20]);
  libc.setsockopt(fd, 1, 8, ptr(bufferBytes), 4);
  const address = Buffer.alloc(16);
  address.writeUInt16LE(2, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  if (fd < 0 || libc.connect(fd, ptr(address), 16) !== 0) throw new Error(`cannot connect to port ${port}`);
  return fd;
}

function post(connection: Connection, requests: readonly Buffer[]): void {
  const bytes = requests[connection.next++ % requests.length] as Buffer;
  connection.sentAtMs = performance.now();
  connection.left = -1;
  connection.headLength = 0;
  const sent = Number(libc.send(connection.fd, ptr(bytes), bytes.length, MSG_NOSIGNAL));
  if (sent !== bytes.length) throw new Error("a request could not be sent at once");
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
    const text = head.toString("latin1", 0, end);
    if (!/^HTTP\/1\.1 20[06] /.test(text)) throw new Error(`unexpected answer: ${text.slice(0, 200)}`);
    const length = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? Number.NaN);
    if (length !== bodyBytes) throw new Error(`a body of ${length} bytes instead of ${bodyBytes}`);
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
    const fd = open(plan.port);
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
