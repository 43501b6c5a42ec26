/** What the tests of this room share: a client that sends raw bytes, a clock moved by hand, files and certificates. */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import type { Socket } from "bun";
import { seededRandom } from "../base/random.ts";
import { type Clock, realClock } from "../io/clock.ts";
import type { BodyReader, BodySource, Segment } from "./types.ts";

/** A connection that sends what it is told and keeps what it gets. */
export interface RawClient {
  readonly socket: Socket<unknown>;
  send(text: string | Uint8Array): void;
  /** All bytes so far, as Latin-1. */
  text(): string;
  /** Their number. */
  count(): number;
  /** Resolves with all bytes so far once `enough` says so, or the connection is over. */
  until(enough: (text: string) => boolean): Promise<string>;
  /** The same by their number, which costs less. */
  untilCount(bytes: number): Promise<void>;
  /** Resolves when the server ended its side or the connection is gone. */
  over(): Promise<string>;
}

/** Connects to 127.0.0.1. With `ca` over TLS. */
export async function rawClient(port: number, ca?: string): Promise<RawClient> {
  const chunks: Buffer[] = [];
  let isOver = false;
  let changed: () => void = () => {};
  let unsent: Buffer[] = [];
  const flush = (socket: Socket<unknown>): void => {
    while (unsent.length > 0) {
      const next = unsent[0] as Buffer;
      const taken = Math.max(0, socket.write(next));
      if (taken < next.length) {
        unsent[0] = next.subarray(taken);
        return;
      }
      unsent.shift();
    }
  };
  const ended = (): void => {
    isOver = true;
    unsent = [];
    changed();
  };
  let shaken: () => void = () => {};
  const handshake = new Promise<void>((resolve) => {
    shaken = resolve;
  });
  const socket = await Bun.connect<unknown>({
    hostname: "127.0.0.1",
    port,
    allowHalfOpen: true,
    ...(ca === undefined ? {} : { tls: { ca } }),
    socket: {
      data: (_, chunk) => {
        chunks.push(chunk);
        changed();
      },
      drain: flush,
      end: ended,
      close: () => {
        shaken();
        ended();
      },
      error: ended,
      ...(ca === undefined ? {} : { handshake: () => shaken() }),
    },
  });
  // Before its handshake is done a TLS socket must not be paused.
  if (ca !== undefined) await handshake;
  const text = (): string => {
    if (chunks.length > 1) chunks.splice(0, chunks.length, Buffer.concat(chunks));
    return chunks[0]?.toString("latin1") ?? "";
  };
  const until = async (enough: (text: string) => boolean): Promise<string> => {
    await untilHolds(() => enough(text()));
    return text();
  };
  const untilHolds = async (holds: () => boolean): Promise<void> => {
    while (!isOver && !holds()) {
      await new Promise<void>((resolve) => {
        changed = resolve;
      });
    }
  };
  const count = (): number => chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  return {
    socket,
    count,
    untilCount: (bytes) => untilHolds(() => count() >= bytes),
    send: (bytes) => {
      unsent.push(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes));
      flush(socket);
    },
    text,
    until,
    over: () => until(() => false),
  };
}

/** A clock that stands still until it is moved. */
export interface ManualClock extends Clock {
  advance(ms: number): void;
}

export function manualClock(): ManualClock {
  let nowMs = 1_000_000;
  let timers: { atMs: number; run: () => void }[] = [];
  const after: Clock["after"] = (delayMs, run) => {
    const timer = { atMs: nowMs + delayMs, run };
    timers.push(timer);
    return {
      cancel: () => {
        timers = timers.filter((other) => other !== timer);
      },
    };
  };
  return {
    wallMs: () => nowMs,
    monotonicMs: () => nowMs,
    after,
    sleep: (delayMs) => new Promise((resolve) => void after(delayMs, resolve)),
    advance: (ms) => {
      const endMs = nowMs + ms;
      for (;;) {
        const next = timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
        if (next === undefined) break;
        nowMs = Math.max(nowMs, next.atMs);
        timers = timers.filter((timer) => timer !== next);
        next.run();
      }
      nowMs = endMs;
    },
  };
}

/** Waits for what the event loop brings, for at most about ten seconds. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 2000; turn++) {
    if (holds()) return;
    await realClock.sleep(5);
  }
  throw new Error(`did not come about: ${what}`);
}

/** A folder of its own, removed by `remove`. */
export function temporaryFolder(): { readonly path: string; remove(): void } {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "forebay-http-"));
  return { path: folder, remove: () => fs.rmSync(folder, { recursive: true, force: true }) };
}

/** A file of `sizeBytes` seeded bytes, open for reading. */
export function randomFile(folder: string, sizeBytes: number, seed: number): { fd: number; bytes: Buffer } {
  const bytes = Buffer.alloc(sizeBytes);
  seededRandom(seed).fill(bytes.subarray(0, Math.min(sizeBytes, 65_537)));
  for (let at = 65_537; at < sizeBytes; at *= 2) bytes.copy(bytes, at, 0, Math.min(at, sizeBytes - at));
  const name = path.join(folder, `file-${seed}`);
  fs.writeFileSync(name, bytes);
  return { fd: fs.openSync(name, "r"), bytes };
}

/** A self-signed certificate for localhost and 127.0.0.1, made by the `openssl` command. */
export function selfSigned(folder: string, name = "localhost"): { cert: string; key: string } {
  const key = path.join(folder, `${name}.key`);
  const cert = path.join(folder, `${name}.pem`);
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name},IP:127.0.0.1`];
  const made = spawnSync("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" "),
    ...["-keyout", key, "-out", cert, ...subject],
  ]);
  if (made.status !== 0) throw new Error(`openssl failed: ${made.stderr}`);
  return { cert: fs.readFileSync(cert, "utf8"), key: fs.readFileSync(key, "utf8") };
}

/** A body source of given pieces that counts how often it is closed. */
export interface CountedSource extends BodySource {
  closed: number;
}

export function sourceOf(
  pieces: (Segment | Error | (() => Promise<Segment>))[],
  lengthBytes: number | null,
): CountedSource {
  const left = pieces.slice();
  const source: CountedSource = {
    closed: 0,
    lengthBytes,
    next: () => {
      const piece = left.shift();
      if (piece instanceof Error) throw piece;
      return typeof piece === "function" ? piece() : (piece ?? null);
    },
    close: () => {
      source.closed++;
    },
  };
  return source;
}

export const bytesPiece = (text: string | Uint8Array): Segment => ({
  kind: "bytes",
  bytes: typeof text === "string" ? Buffer.from(text, "latin1") : text,
});

/** All bytes of a body. */
export async function readAll(body: BodyReader): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (let bytes = await body.read(); bytes !== null; bytes = await body.read()) chunks.push(bytes);
  return Buffer.concat(chunks);
}
