/**
 * One connection of a client that trusts nobody: it may pipeline, read slowly and go away in the middle, and it holds
 * every head and byte that it is given against the truth as it comes.
 */
import type { Socket } from "bun";
import { SIM_ACCOUNT, SIM_KEY } from "../../sim/lake/service.ts";
import type { Truth, Version } from "../crash/truth.ts";
import { sharedKey } from "../support/sign.ts";
import { ALL_SAS, firstDifference } from "../system/harness.ts";

/** One request, and what its answer may be. */
export interface Wanted {
  /** `CONTAINER/BLOB`. */
  readonly name: string;
  readonly method: "GET" | "HEAD";
  /** Null: the whole blob. `first` lies within every version. */
  readonly range: { readonly first: number; readonly last: number } | null;
  /** For If-None-Match. */
  readonly etag: string | null;
  /** The blob was never there: 404. */
  readonly missing: boolean;
  readonly staleMsMax: number;
  readonly signedBy: "sas" | "sharedKey";
}

/** What the clients saw, all together. */
export interface Seen {
  requests: number;
  bytes: number;
  writes: number;
  /** Answers by what `x-forebay` says. */
  readonly temperatures: Map<string, number>;
  /** Requests that their own client gave up. */
  aborted: number;
  /** Answers that ended early because the version was replaced meanwhile, and those asked for behind them. */
  cut: number;
  slowReads: number;
  pipelined: number;
  /** What must never be; the first {@link WRONG_MAX}. */
  readonly wrong: string[];
}

export const WRONG_MAX = 25;
const STUCK_MS = 30_000;
const CLOCK_SLACK_MS = 20;
const API_VERSION = "2022-11-02";

export function nothingSeen(): Seen {
  const none = { requests: 0, bytes: 0, writes: 0, aborted: 0, cut: 0, slowReads: 0, pipelined: 0 };
  return { ...none, temperatures: new Map(), wrong: [] };
}

/** `done`; `cut`: legally ended early, the connection is gone; `gone`: this side ended it. */
export type Outcome = "done" | "cut" | "gone";

interface Asked {
  readonly wanted: Wanted;
  readonly startedMs: number;
  readonly settle: (outcome: Outcome) => void;
  /** Of the version that its head named. */
  version: Version | undefined;
  temperature: string;
}

/** How a reader takes a body: so many bytes, then a pause. Null: as it comes. */
export type Sips = { readonly bytes: number; readonly pauseMs: number } | null;

export class Wire {
  sips: Sips = null;
  /** Ends the connection when so many bytes of bodies came. */
  abortAfter = Number.POSITIVE_INFINITY;
  private readonly asked: Asked[] = [];
  private head = Buffer.alloc(0);
  private at = 0;
  private left = 0;
  private checked = false; // whether the body is the blob's
  private inBody = false;
  private taken = 0;
  private movedMs = performance.now();
  private over = false;
  private readonly truth: Truth;
  private readonly seen: Seen;
  private socket: Socket<undefined> | undefined;

  private constructor(truth: Truth, seen: Seen) {
    this.truth = truth;
    this.seen = seen;
  }

  static async open(port: number, truth: Truth, seen: Seen): Promise<Wire> {
    const wire = new Wire(truth, seen);
    wire.socket = await Bun.connect<undefined>({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, chunk) => wire.receive(chunk),
        close: () => wire.closed(),
        error: () => wire.closed(),
      },
    });
    return wire;
  }

  get isOver(): boolean {
    return this.over;
  }

  /** Sends requests in one piece; the outcomes come in their order. */
  ask(wanted: readonly Wanted[]): Promise<Outcome[]> {
    const startedMs = performance.now();
    this.movedMs = startedMs;
    this.taken = 0;
    const outcomes = wanted.map(
      (one) =>
        new Promise<Outcome>((settle) => {
          if (this.over) settle("gone");
          else this.asked.push({ wanted: one, startedMs, settle, version: undefined, temperature: "" });
        }),
    );
    const text = Buffer.from(wanted.map(requestText).join(""), "latin1");
    if (!this.over && this.socket?.write(text) !== text.length) this.wrong("a request could not be sent at once");
    return Promise.all(outcomes);
  }

  /** Ends the connection at once, in the middle of whatever. */
  abort(): void {
    if (this.over) return;
    this.over = true;
    this.seen.aborted += this.asked.length;
    this.socket?.terminate();
    for (const { settle } of this.asked.splice(0)) settle("gone");
  }

  /** Says so when nothing has come for too long. */
  lookWhetherStuck(nowMs: number): void {
    const [first] = this.asked;
    if (first === undefined || this.over || nowMs - this.movedMs < STUCK_MS) return;
    this.wrong(`${place(first)}: nothing came for ${STUCK_MS} ms`);
    this.abort();
  }

  private wrong(what: string): void {
    if (this.seen.wrong.length < WRONG_MAX) this.seen.wrong.push(what);
  }

  private receive(given: Buffer): void {
    this.movedMs = performance.now();
    let chunk = given;
    while (chunk.length > 0 && !this.over) {
      const first = this.asked[0];
      if (first === undefined) {
        this.wrong(`bytes that nobody asked for: ${JSON.stringify(chunk.toString("latin1", 0, 100))}`);
        this.abort();
        return;
      }
      chunk = this.inBody ? this.body(first, chunk) : this.heads(first, chunk);
    }
    if (this.over || this.sips === null || this.taken < this.sips.bytes) return;
    this.taken = 0;
    this.socket?.pause();
    setTimeout(() => {
      this.movedMs = performance.now();
      if (!this.over) this.socket?.resume();
    }, this.sips.pauseMs);
  }

  /** Takes a piece of a head; what follows it is given back. */
  private heads(asked: Asked, chunk: Buffer): Buffer {
    this.head = Buffer.concat([this.head, chunk]);
    const end = this.head.indexOf("\r\n\r\n");
    if (end < 0) return Buffer.alloc(0);
    const text = this.head.toString("latin1", 0, end);
    const rest = this.head.subarray(end + 4);
    this.head = Buffer.alloc(0);
    this.judge(asked, text);
    this.inBody = true;
    if (this.left === 0) this.ended(asked);
    return rest;
  }

  private body(asked: Asked, chunk: Buffer): Buffer {
    const piece = chunk.subarray(0, this.left);
    if (this.checked && asked.version !== undefined) {
      const difference = firstDifference(asked.version.seed, this.at, piece);
      if (difference >= 0) {
        this.wrong(`${place(asked)}: byte ${this.at + difference} is not that of ${asked.version.etag}`);
        this.checked = false;
      }
    }
    this.at += piece.length;
    this.left -= piece.length;
    this.taken += piece.length;
    this.seen.bytes += piece.length;
    this.abortAfter -= piece.length;
    if (this.left === 0) this.ended(asked);
    else if (this.abortAfter <= 0) this.abort();
    return chunk.subarray(piece.length);
  }

  private ended(asked: Asked): void {
    this.inBody = false;
    this.asked.shift();
    this.seen.requests++;
    this.seen.temperatures.set(asked.temperature, (this.seen.temperatures.get(asked.temperature) ?? 0) + 1);
    asked.settle("done");
  }

  /** Sets up the body that follows a head, and holds the head against the truth. */
  private judge(asked: Asked, text: string): void {
    const { wanted } = asked;
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
    const header = (name: string): string => new RegExp(`^${name}: *(.*?)\\r?$`, "im").exec(text)?.[1] ?? "";
    asked.temperature = header("x-forebay");
    const bodiless = wanted.method === "HEAD" || status === 304;
    const announced = Number(header("content-length") || Number.NaN);
    this.left = bodiless ? 0 : announced;
    this.at = wanted.range?.first ?? 0;
    this.checked = !bodiless && (status === 200 || status === 206);
    if (!bodiless && !Number.isSafeInteger(announced)) {
      this.wrong(`${place(asked)}: no length: ${text.slice(0, 300)}`);
      this.abort();
      return;
    }
    const trouble = this.troubleIn(asked, status, header("etag"), announced);
    if (trouble !== null) this.wrong(`${place(asked)}: status ${status}: ${trouble}`);
  }

  /** What is wrong with a head, or null. */
  private troubleIn(asked: Asked, status: number, etag: string, announced: number): string | null {
    const { wanted, startedMs } = asked;
    if (wanted.missing) return status === 404 ? null : "the blob is not there";
    const unchanged = status === 304 && wanted.etag !== null;
    if (!unchanged && status !== (wanted.range === null ? 200 : 206)) return "not asked for";
    // A lake may leave the ETag out of its 304.
    const version = this.truth.version(wanted.name, unchanged && etag === "" ? (wanted.etag ?? "") : etag);
    if (version === undefined) return `ETag ${etag} was never that of this blob`;
    asked.version = version;
    const oldestMs = startedMs - wanted.staleMsMax - CLOCK_SLACK_MS;
    if (version.untilMs < oldestMs) return `replaced ${(oldestMs - version.untilMs).toFixed(0)} ms too long ago`;
    if (unchanged) return version.etag === wanted.etag ? null : `304 for ${etag} instead of ${wanted.etag}`;
    if (wanted.etag === etag) return "sent again, though If-None-Match names its ETag";
    const end = Math.min(version.sizeBytes, (wanted.range?.last ?? version.sizeBytes) + 1);
    return announced === end - this.at ? null : `${announced} bytes announced instead of ${end - this.at}`;
  }

  /** The other side ended the connection. */
  private closed(): void {
    if (this.over) return;
    this.over = true;
    const [first, ...behind] = this.asked.splice(0);
    if (first === undefined) return;
    const { version, wanted, startedMs } = first;
    const replaced =
      !wanted.missing &&
      (version === undefined
        ? this.truth.latest(wanted.name).fromMs >= startedMs - wanted.staleMsMax
        : version.untilMs < Number.POSITIVE_INFINITY);
    if (!replaced) this.wrong(`${place(first)}: cut ${version === undefined ? "before its head" : `at ${this.at}`}`);
    this.seen.cut += 1 + behind.length;
    for (const { settle } of [first, ...behind]) settle("cut");
  }
}

function place({ wanted, temperature }: Asked): string {
  const range = wanted.range === null ? "whole" : `${wanted.range.first}-${wanted.range.last}`;
  return `${wanted.method} ${wanted.name} (${range}, ${temperature === "" ? "no answer" : temperature})`;
}

function requestText(wanted: Wanted): string {
  const { method, name, range, etag, signedBy } = wanted;
  const headers: [string, string][] = [["x-ms-version", API_VERSION]];
  if (range !== null) headers.push(["x-ms-range", `bytes=${range.first}-${range.last}`]);
  if (etag !== null) headers.push(["If-None-Match", etag]);
  let target = `/${SIM_ACCOUNT}/${name}`;
  if (signedBy === "sas") target += `?${ALL_SAS}`;
  else {
    headers.push(["x-ms-date", new Date().toUTCString()]);
    headers.push(["Authorization", sharedKey(SIM_ACCOUNT, SIM_KEY, { method, target, headers })]);
  }
  const lines = headers.map(([key, value]) => `${key}: ${value}\r\n`).join("");
  return `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines}\r\n`;
}
