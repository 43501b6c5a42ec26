/**
 * The shaped lake behind a socket: sends computed bytes as fast as it is told to, and no faster. Raw sockets, one
 * thread, nothing copied: it has to cost far less than what is measured against it.
 */
import type { Socket } from "bun";
import { type AnswersOptions, createAnswers, type LakeAnswer, type LakeAsk, refused } from "./shaped-answers.ts";
import { pieceOf } from "./shaped-content.ts";

/** How the lake behaves. 0 is no bound, no delay, no fault. */
export interface LakeShape {
  /** From the last byte of a request to the first of its answer. */
  readonly firstByteMs: number;
  readonly connectionBytesPerSecond: number;
  /** Beyond these the account answers 503 ServerBusy. */
  readonly accountRequestsPerSecond: number;
  readonly accountBytesPerSecond: number;
  /** Bodies that come are answered no sooner than their bytes would have taken, on their connection and in all. */
  readonly connectionIngestBytesPerSecond: number;
  readonly accountIngestBytesPerSecond: number;
  readonly retryAfterSeconds: number;
  /** The share of requests that are answered with 503, and of bodies that break off in the middle. */
  readonly busyRate: number;
  readonly resetRate: number;
  readonly seed: number;
}

export const UNSHAPED: LakeShape = {
  firstByteMs: 0,
  connectionBytesPerSecond: 0,
  accountRequestsPerSecond: 0,
  accountBytesPerSecond: 0,
  connectionIngestBytesPerSecond: 0,
  accountIngestBytesPerSecond: 0,
  retryAfterSeconds: 1,
  busyRate: 0,
  resetRate: 0,
  seed: 1,
};

/** What the lake was asked and what it sent. */
export interface LakeCounts {
  requests: number;
  bytes: number;
  /** Of bodies that came with requests. */
  bytesIn: number;
  /** Bodies being sent at once, at most. */
  sendingMax: number;
  /** Requests by operation and status: `get.206`. */
  readonly answers: Record<string, number>;
  /** Reads by blob; the first {@link BLOBS_COUNTED_MAX} of them. */
  readonly blobs: Record<string, { requests: number; bytes: number }>;
}

const BLOBS_COUNTED_MAX = 10_000;
const HEAD_BYTES_MAX = 64 * 1024;
/** The longest list of blocks. */
const TEXT_BYTES_MAX = 16 << 20;
const TICK_MS = 2;
const PACED_BYTES_MIN = 64 * 1024;
/** A connection that was idle or blocked makes up for so much time at once. */
const BURST_MS = 50;

/** A bucket that fills with time. */
interface Bucket {
  level: number;
  atMs: number;
}

interface Sending {
  readonly answer: LakeAnswer;
  offset: number;
  left: number;
  /** The body breaks off here. */
  readonly breakAt: number;
  allowance: Bucket;
}

interface Connection {
  held: Buffer;
  /** The request whose body is being read away. */
  ask: {
    method: string;
    target: string;
    headers: Map<string, string>;
    bodyBytes: number;
    left: number;
    fromMs: number;
  } | null;
  text: string;
  sending: Sending | null;
  /** Bytes of a head or a text that the kernel did not take yet. */
  unsent: Buffer | null;
  waiting: boolean;
  closed: boolean;
}

/** A lake that listens on 127.0.0.1. */
export interface ShapedServer {
  readonly port: number;
  close(): void;
}

/** Starts listening; `port` 0 takes a free one. `GET /__stats`, `DELETE /__stats` and `PUT /__shape` are its own. */
export function startShapedServer(shapeGiven: Partial<LakeShape>, options: AnswersOptions, port = 0): ShapedServer {
  let shape: LakeShape = { ...UNSHAPED, ...shapeGiven };
  let counts = freshCounts();
  let blobsCounted = 0;
  let sendingNow = 0;
  let requestId = 0;
  let random = shape.seed >>> 0 || 1;
  const answerTo = createAnswers(options);
  const requestBucket: Bucket = { level: 0, atMs: 0 };
  const byteBucket: Bucket = { level: 0, atMs: 0 };
  const paced = new Set<Socket<Connection>>();

  const chance = (rate: number): boolean => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    return random / 2 ** 32 < rate;
  };
  /** Lets `bucket` fill at `perSecond`, up to a burst's worth. */
  const fill = (bucket: Bucket, perSecond: number, burstMs: number): number => {
    const nowMs = performance.now();
    bucket.level = Math.min((perSecond * burstMs) / 1000, bucket.level + (perSecond * (nowMs - bucket.atMs)) / 1000);
    bucket.atMs = nowMs;
    return bucket.level;
  };
  const isBusy = (bytes: number): boolean => {
    const { accountRequestsPerSecond: requests, accountBytesPerSecond: rate, busyRate } = shape;
    if (busyRate > 0 && chance(busyRate)) return true;
    if (requests > 0 && fill(requestBucket, requests, 1000) < 1) return true;
    if (rate > 0 && fill(byteBucket, rate, 1000) <= 0) return true;
    requestBucket.level--;
    byteBucket.level -= bytes;
    return false;
  };
  const count = (answer: LakeAnswer): void => {
    counts.requests++;
    const name = `${answer.operation}.${answer.status}`;
    counts.answers[name] = (counts.answers[name] ?? 0) + 1;
    if (answer.blob === null) return;
    const known = counts.blobs[answer.blob.name];
    if (known) known.requests++;
    else if (blobsCounted++ < BLOBS_COUNTED_MAX) counts.blobs[answer.blob.name] = { requests: 1, bytes: 0 };
  };
  const own = (ask: LakeAsk): LakeAnswer | null => {
    if (!ask.target.startsWith("/__")) return null;
    if (ask.target === "/__stats" && ask.method === "DELETE") {
      counts = freshCounts();
      blobsCounted = 0;
    } else if (ask.target === "/__shape" && ask.method === "PUT") {
      shape = { ...shape, ...(JSON.parse(ask.bodyText) as Partial<LakeShape>) };
    } else if (ask.target !== "/__stats") return refused(404, "own");
    const text = JSON.stringify(ask.target === "/__stats" ? counts : shape);
    const lengthBytes = Buffer.byteLength(text);
    return { status: 200, head: "", text, blob: null, lengthBytes, operation: "own" };
  };
  /** When the bytes of a request that began at `fromMs` are all taken in, as far as the rates let them. */
  let accountTakenAtMs = 0;
  const takenAtMs = (bodyBytes: number, fromMs: number): number => {
    const { connectionIngestBytesPerSecond: own, accountIngestBytesPerSecond: all } = shape;
    if (all > 0) accountTakenAtMs = Math.max(accountTakenAtMs, fromMs) + (bodyBytes / all) * 1000;
    return Math.max(own > 0 ? fromMs + (bodyBytes / own) * 1000 : 0, all > 0 ? accountTakenAtMs : 0);
  };
  const reply = (socket: Socket<Connection>, ask: LakeAsk & { readonly fromMs: number }): void => {
    const mine = own(ask);
    let answer = mine ?? answerTo(ask);
    if (mine === null) {
      if (isBusy(answer.lengthBytes)) {
        const head = shape.retryAfterSeconds > 0 ? `Retry-After: ${shape.retryAfterSeconds}\r\n` : "";
        answer = refused(503, answer.operation, head, "ServerBusy");
      }
      count(answer);
    }
    counts.bytesIn += ask.bodyBytes;
    const ingestMs = Math.max(0, takenAtMs(ask.bodyBytes, ask.fromMs) - performance.now());
    const delayMs = mine !== null ? 0 : shape.firstByteMs + ingestMs;
    if (delayMs === 0) begin(socket, answer, ask.method);
    else {
      socket.data.waiting = true;
      setTimeout(() => {
        socket.data.waiting = false;
        if (!socket.data.closed) begin(socket, answer, ask.method);
      }, delayMs);
    }
  };
  const begin = (socket: Socket<Connection>, answer: LakeAnswer, method: string): void => {
    const connection = socket.data;
    const id = (++requestId).toString(16).padStart(12, "0");
    const head =
      `HTTP/1.1 ${answer.status} ${answer.status < 300 ? "OK" : "Error"}\r\nContent-Length: ${answer.lengthBytes}\r\n` +
      `${answer.head}Server: Shaped-Lake/1.0\r\nx-ms-request-id: 0000e1c1-001e-0000-0000-${id}\r\n` +
      `x-ms-version: 2025-01-05\r\nDate: ${new Date().toUTCString()}\r\n\r\n`;
    connection.unsent = Buffer.from(method === "HEAD" ? head : head + answer.text);
    const { blob } = answer;
    if (blob !== null && blob.length > 0) {
      const breakAt =
        shape.resetRate > 0 && chance(shape.resetRate) ? blob.first + (blob.length >> 1) : Number.POSITIVE_INFINITY;
      const allowance = { level: 0, atMs: performance.now() };
      connection.sending = { answer, offset: blob.first, left: blob.length, breakAt, allowance };
      counts.sendingMax = Math.max(counts.sendingMax, ++sendingNow);
      if (shape.connectionBytesPerSecond > 0) paced.add(socket);
    }
    pump(socket);
  };
  const finish = (socket: Socket<Connection>): void => {
    if (socket.data.sending === null) return;
    socket.data.sending = null;
    sendingNow--;
    paced.delete(socket);
  };
  /** Sends what may be sent and the kernel takes. */
  const pump = (socket: Socket<Connection>): void => {
    const connection = socket.data;
    if (connection.unsent !== null) {
      const taken = Math.max(0, socket.write(connection.unsent));
      connection.unsent = taken < connection.unsent.length ? connection.unsent.subarray(taken) : null;
      if (connection.unsent !== null) return;
    }
    const { sending } = connection;
    if (sending === null) {
      if (connection.held.length > 0) take(socket);
      return;
    }
    const rate = shape.connectionBytesPerSecond;
    const name = sending.answer.blob?.name ?? "";
    while (sending.left > 0) {
      const allowed = rate > 0 ? Math.floor(fill(sending.allowance, rate, BURST_MS)) : Number.POSITIVE_INFINITY;
      // Less than that is not worth a system call: the next tick sends it.
      if (allowed < Math.min(sending.left, PACED_BYTES_MIN)) return;
      const piece = pieceOf(name, sending.offset, Math.min(sending.left, allowed, sending.breakAt - sending.offset));
      const taken = Math.max(0, socket.write(piece));
      sending.offset += taken;
      sending.left -= taken;
      sending.allowance.level -= taken;
      counts.bytes += taken;
      const counted = counts.blobs[name];
      if (counted) counted.bytes += taken;
      if (sending.offset >= sending.breakAt) {
        socket.terminate();
        return;
      }
      if (taken < piece.length) return;
    }
    finish(socket);
    if (connection.held.length > 0) take(socket);
  };
  /** Reads the next request out of what is held. */
  const take = (socket: Socket<Connection>): void => {
    const connection = socket.data;
    if (connection.sending !== null || connection.unsent !== null || connection.waiting) return;
    if (connection.ask === null) {
      const end = connection.held.indexOf("\r\n\r\n");
      if (end < 0) {
        if (connection.held.length > HEAD_BYTES_MAX) socket.terminate();
        return;
      }
      connection.ask = parseHead(connection.held.toString("latin1", 0, end));
      connection.text = "";
      connection.held = connection.held.subarray(end + 4);
      if (connection.ask.headers.get("expect") !== undefined) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    const { ask } = connection;
    const taken = Math.min(ask.left, connection.held.length);
    const isText = ask.target.includes("comp=blocklist") || ask.target.startsWith("/__");
    if (isText && ask.bodyBytes <= TEXT_BYTES_MAX) connection.text += connection.held.toString("latin1", 0, taken);
    connection.held = connection.held.subarray(taken);
    ask.left -= taken;
    if (ask.left > 0) return;
    connection.ask = null;
    reply(socket, { ...ask, bodyText: connection.text });
  };

  const ticker = setInterval(() => {
    for (const socket of paced) pump(socket);
  }, TICK_MS);
  const listener = Bun.listen<Connection>({
    hostname: "127.0.0.1",
    port,
    socket: {
      open: (socket) => {
        const held = Buffer.alloc(0);
        socket.data = { held, ask: null, text: "", sending: null, unsent: null, waiting: false, closed: false };
        socket.setNoDelay(true);
      },
      data: (socket, bytes) => {
        const { held } = socket.data;
        socket.data.held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
        take(socket);
      },
      drain: pump,
      close: (socket) => {
        socket.data.closed = true;
        finish(socket);
      },
      error: (socket) => socket.terminate(),
    },
  });
  return {
    port: listener.port,
    close: () => {
      clearInterval(ticker);
      listener.stop(true);
    },
  };
}

function freshCounts(): LakeCounts {
  return { requests: 0, bytes: 0, bytesIn: 0, sendingMax: 0, answers: {}, blobs: {} };
}

function parseHead(text: string): NonNullable<Connection["ask"]> {
  const [line = "", ...fields] = text.split("\r\n");
  const [method = "", target = ""] = line.split(" ");
  const headers = new Map<string, string>();
  for (const field of fields) {
    const colon = field.indexOf(":");
    headers.set(field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim());
  }
  const bodyBytes = Number(headers.get("content-length") ?? "0");
  return { method, target, headers, bodyBytes, left: bodyBytes, fromMs: performance.now() };
}
