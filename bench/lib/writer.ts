/**
 * Writers: each sends its requests one after the other on a connection of its own, all writers at once. Bodies come
 * from one piece of random memory, so that what is measured is who takes them. Blocking system calls and poll.
 *
 * Run as a process of its own: `bun bench/lib/writer.ts PLAN.json`, prints one JSON line.
 */
import { ptr } from "bun:ffi";
import { readFileSync } from "node:fs";
import { connectTo, libc, MSG_DONTWAIT, MSG_NOSIGNAL, POLLIN, POLLOUT } from "./socket.ts";

/**
 * A request: its head with the empty line that ends it, and its body: so many random bytes, or the text. `{md5}` in a
 * head stands for the MD5 of the body.
 */
export interface WriteRequest {
  readonly head: string;
  readonly body: number | string;
}

export interface WritePlan {
  readonly port: number;
  readonly writers: readonly (readonly WriteRequest[])[];
}

export interface WriteDone {
  /** Until the last answer had come. */
  readonly seconds: number;
  /** From the first byte of a request to the end of its answer's head, of all requests. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const QUIET_MS_MAX = 300_000;
const SEND_BYTES = 1 << 20;
const random = crypto.getRandomValues(new Uint8Array(new ArrayBuffer(1 << 16)));
/** Random enough: no two pages are the same. */
const bodies = Buffer.from(new ArrayBuffer(64 << 20));
for (let at = 0; at < bodies.length; at += random.length) {
  random[at % random.length] = at >> 16;
  bodies.set(random, at);
}

interface Writing {
  readonly fd: number;
  readonly requests: readonly WriteRequest[];
  next: number;
  /** What is being sent: a head, then a body. */
  head: Buffer;
  body: Buffer | null;
  bodyLeft: number;
  sentOfPiece: number;
  sentAtMs: number;
  answer: string;
  waiting: boolean;
}

const read = Buffer.from(new ArrayBuffer(64 * 1024));

/** Where in {@link bodies} the next piece begins of a body of which `left` bytes are to come. */
const placeOf = (left: number): number => left % (bodies.length - SEND_BYTES);

const sums = new Map<number, string>();

/** The MD5 of every body of so many bytes. */
function md5Of(bytes: number): string {
  const known = sums.get(bytes);
  if (known !== undefined) return known;
  const hasher = new Bun.CryptoHasher("md5");
  for (let left = bytes; left > 0; ) {
    const length = Math.min(left, SEND_BYTES);
    hasher.update(bodies.subarray(placeOf(left), placeOf(left) + length));
    left -= length;
  }
  const sum = hasher.digest("base64");
  sums.set(bytes, sum);
  return sum;
}

/** The next request, or false when there is none. */
function begin(writing: Writing): boolean {
  const request = writing.requests[writing.next++];
  if (request === undefined) return false;
  const needsMd5 = typeof request.body === "number" && request.head.includes("{md5}");
  writing.head = Buffer.from(needsMd5 ? request.head.replace("{md5}", md5Of(request.body)) : request.head, "latin1");
  writing.body = typeof request.body === "string" ? Buffer.from(request.body) : null;
  writing.bodyLeft = typeof request.body === "string" ? (writing.body?.length ?? 0) : request.body;
  writing.sentOfPiece = 0;
  writing.sentAtMs = performance.now();
  writing.answer = "";
  writing.waiting = false;
  return true;
}

function sendSome(fd: number, bytes: Buffer): number {
  return Math.max(0, Number(libc.send(fd, ptr(bytes), bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL)));
}

/** What is left of the piece being sent: pieces of {@link SEND_BYTES}, whatever the socket takes of them at a time. */
function pieceOf({ body, bodyLeft, sentOfPiece }: Writing): Buffer {
  if (body !== null) return body.subarray(body.length - bodyLeft);
  const from = placeOf(bodyLeft + sentOfPiece);
  return bodies.subarray(from + sentOfPiece, from + Math.min(bodyLeft + sentOfPiece, SEND_BYTES));
}

/** Sends what the socket takes. */
function push(writing: Writing): void {
  if (writing.head.length > 0) {
    writing.head = writing.head.subarray(sendSome(writing.fd, writing.head));
    if (writing.head.length > 0) return;
  }
  while (writing.bodyLeft > 0) {
    const piece = pieceOf(writing);
    const sent = sendSome(writing.fd, piece);
    writing.bodyLeft -= sent;
    writing.sentOfPiece = (writing.sentOfPiece + sent) % SEND_BYTES;
    if (sent < piece.length) return;
  }
  writing.waiting = true;
}

/** Whether the answer has come: 201 or 202, and no body. */
function pull(writing: Writing): boolean {
  const got = Number(libc.recv(writing.fd, ptr(read), read.length, MSG_DONTWAIT));
  if (got <= 0) throw new Error("the server closed a connection before its answer");
  writing.answer += read.toString("latin1", 0, got);
  if (!writing.answer.includes("\r\n\r\n")) return false;
  if (!/^HTTP\/1\.1 20[12] /.test(writing.answer))
    throw new Error(`unexpected answer: ${writing.answer.slice(0, 1000)}`);
  return true;
}

function run(plan: WritePlan): WriteDone {
  const times: number[] = [];
  const writings = plan.writers.map(
    (requests): Writing => ({
      ...{
        fd: connectTo(plan.port),
        requests,
        next: 0,
        head: Buffer.alloc(0),
        body: null,
        bodyLeft: 0,
        sentOfPiece: 0,
      },
      ...{ sentAtMs: 0, answer: "", waiting: false },
    }),
  );
  for (const { head, body } of plan.writers.flat()) if (typeof body === "number" && head.includes("{md5}")) md5Of(body);
  const polled = new Int32Array(new ArrayBuffer(writings.length * 8));
  const startMs = performance.now();
  const done = new Set<Writing>();
  for (const writing of writings) if (!begin(writing)) done.add(writing);
  while (done.size < writings.length) {
    writings.forEach((writing, i) => {
      polled[2 * i] = done.has(writing) ? -1 : writing.fd;
      polled[2 * i + 1] = writing.waiting ? POLLIN : POLLIN | POLLOUT;
    });
    if (libc.poll(ptr(polled), writings.length, QUIET_MS_MAX) <= 0) throw new Error("nothing happened for minutes");
    writings.forEach((writing, i) => {
      const events = (polled[2 * i + 1] as number) >>> 16;
      if (done.has(writing) || events === 0) return;
      if (!writing.waiting && (events & POLLOUT) !== 0) push(writing);
      else if ((events & POLLIN) !== 0 && pull(writing)) {
        if (!writing.waiting) throw new Error(`an answer came too early: ${writing.answer.slice(0, 300)}`);
        times.push(performance.now() - writing.sentAtMs);
        if (!begin(writing)) done.add(writing);
      }
    });
  }
  const seconds = (performance.now() - startMs) / 1000;
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  return { seconds, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

process.stdout.write(`${JSON.stringify(run(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"))))}\n`);
