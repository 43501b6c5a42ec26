/**
 * What arrives on a connection: bytes held until somebody asks for them, and the body read out of them. The peer is
 * paused when too much is held, so memory is bounded however slow the reader is.
 */
import { assert } from "../base/assert.ts";
import { asForebayError, ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { ChunkedDecoder } from "./chunked.ts";
import type { Framing } from "./framing.ts";
import type { BodyReader } from "./types.ts";

/** One event brings at most half of a connection's buffer, so pausing at the other half keeps the bound. */
const PAUSE_AT_BYTES = limits.connectionBufferBytesMax / 2;

/** The part of a socket that reading needs. */
interface Pausable {
  pause(): void;
  resume(): void;
}

/** Bytes received and not yet used. */
export class Inbox {
  /** Bytes held. */
  bytes = 0;
  /** Why no more will come, or null while more may. `end`: the peer ended its side in order. */
  over: "end" | "lost" | null = null;
  private readonly chunks: Buffer[] = [];
  private at = 0;
  private paused = false;

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.chunks.push(chunk);
    this.bytes += chunk.length;
  }

  /** The oldest piece held, of which bytes from {@link offset} on are unused. */
  get chunk(): Buffer | undefined {
    return this.chunks[0];
  }

  get offset(): number {
    return this.at;
  }

  /** Declares the first piece used up to index `to`. */
  advance(to: number): void {
    const chunk = this.chunks[0];
    assert(chunk !== undefined && to >= this.at && to <= chunk.length, "an inbox advances within its first piece");
    this.bytes -= to - this.at;
    this.at = to;
    if (to < chunk.length) return;
    this.chunks.shift();
    this.at = 0;
  }

  clear(): void {
    this.chunks.length = 0;
    this.at = 0;
    this.bytes = 0;
  }

  /** Pauses or resumes `socket` by what is held; `bound` in bytes. */
  regulate(socket: Pausable, bound: number = PAUSE_AT_BYTES): void {
    const isFull = this.bytes >= bound;
    if (isFull === this.paused) return;
    this.paused = isFull;
    if (isFull) socket.pause();
    else socket.resume();
  }
}

/** What a body tells its connection. */
export interface IncomingHost {
  /** Somebody waits for bytes that are not here yet. */
  bodyWanted(): void;
  /** Bytes were taken out of the inbox. */
  bodyTaken(): void;
  /** The last byte was taken: the connection's next message may begin. Called at most once. */
  bodyEnded(): void;
  /** The reader let go before the end. Called at most once, never after {@link bodyEnded}. */
  bodyCancelled(): void;
  /** Bytes of the peer that the kernel holds, into `target[from, to)`: how many; 0 when there are none at hand. */
  receive?(target: Uint8Array, from: number, to: number): number;
  /** The error that a reader gets when the body cannot be read on: malformed (`cause`), or broken off (null). */
  bodyError(cause: ForebayError | null): ForebayError;
}

/** A reader that waits. */
interface Waiter {
  /** Takes what is at hand: whether that was what it waited for. Throws when the body is broken. */
  attempt(): boolean;
  reject(error: unknown): void;
}

/** A body read out of an inbox. */
export class IncomingBody implements BodyReader {
  readonly lengthBytes: number | null;
  private state: "open" | "ended" | "failed" | "cancelled" = "open";
  private failure: ForebayError | null = null;
  private remaining: number;
  private readonly decoder: ChunkedDecoder | null;
  private readonly framing: Framing["kind"];
  private readonly inbox: Inbox;
  private readonly host: IncomingHost;
  private waiter: Waiter | null = null;

  constructor(framing: Framing, inbox: Inbox, host: IncomingHost) {
    this.framing = framing.kind;
    this.inbox = inbox;
    this.host = host;
    this.remaining = framing.kind === "length" ? framing.lengthBytes : 0;
    this.lengthBytes = framing.kind === "none" || framing.kind === "length" ? this.remaining : null;
    this.decoder = framing.kind === "chunked" ? new ChunkedDecoder() : null;
    if (framing.kind === "none") this.state = "ended";
  }

  /** Whether all of the body was taken. */
  get ended(): boolean {
    return this.state === "ended";
  }

  /** Whether a reader waits for bytes. */
  get waiting(): boolean {
    return this.waiter !== null;
  }

  /** Bytes still to come, as far as is known. */
  get remainingBytes(): number | null {
    return this.lengthBytes === null ? null : this.remaining;
  }

  read(): Promise<Uint8Array | null> {
    assert(this.waiter === null, "a body is read by one reader at a time");
    try {
      const bytes = this.take();
      if (bytes !== null) return Promise.resolve(bytes);
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.state === "ended") return Promise.resolve(null);
    return new Promise((resolve, reject) => {
      const attempt = (): boolean => {
        const bytes = this.take();
        if (bytes === null && this.state === "open") return false;
        resolve(bytes);
        return true;
      };
      this.waiter = { attempt, reject };
      this.host.bodyWanted();
    });
  }

  ready(): Promise<boolean> {
    assert(this.waiter === null, "a body is read by one reader at a time");
    return new Promise((resolve, reject) => {
      const attempt = (): boolean => {
        if (this.failure !== null) throw this.failure;
        const isAtHand = this.state === "open" && this.inbox.chunk !== undefined;
        if (!isAtHand && this.state === "open") {
          if (this.inbox.over !== null) throw this.broken(null);
          return false;
        }
        resolve(isAtHand);
        return true;
      };
      if (attempt()) return;
      this.waiter = { attempt, reject };
      this.host.bodyWanted();
    });
  }

  cancel(): void {
    if (this.state !== "open") return;
    this.state = "cancelled";
    this.failure = new ForebayError("cancelled", "the body was let go before its end");
    this.rejectWaiter(this.failure);
    this.host.bodyCancelled();
  }

  /** Something was put into the inbox, or it is over: hands a waiting reader what it waits for. */
  arrived(): void {
    const waiter = this.waiter;
    if (waiter === null) return;
    try {
      if (waiter.attempt()) this.waiter = null;
    } catch (error) {
      this.rejectWaiter(error);
    }
  }

  /** Makes this and every later read reject with `error`, unless the body had ended. */
  fail(error: ForebayError): void {
    if (this.state !== "open") return;
    this.state = "failed";
    this.failure = error;
    this.rejectWaiter(error);
  }

  /** The next bytes at hand; null when the body ended ({@link ended}) or nothing is at hand. Throws when broken. */
  take(): Uint8Array | null {
    if (this.failure !== null) throw this.failure;
    if (this.state !== "open") return null;
    try {
      const bytes = this.takeRaw();
      if (bytes !== null || this.state !== "open" || this.inbox.over === null) return bytes;
    } catch (error) {
      throw this.broken(asForebayError(error));
    }
    if (this.framing !== "close" || this.inbox.over !== "end") throw this.broken(null);
    this.end();
    return null;
  }

  takeInto(target: Uint8Array, from: number, to: number): number {
    assert(this.waiter === null, "a body is read by one reader at a time");
    assert(this.lengthBytes !== null && from < to, "bytes of a body of known length are put where there is room");
    if (this.failure !== null) throw this.failure;
    if (this.state !== "open") return 0;
    const chunk = this.inbox.chunk;
    const wanted = Math.min(to - from, this.remaining);
    let count = 0;
    if (chunk === undefined) count = this.host.receive?.(target, from, from + wanted) ?? 0;
    else {
      const at = this.inbox.offset;
      count = Math.min(chunk.length - at, wanted);
      target.set(chunk.subarray(at, at + count), from);
      this.inbox.advance(at + count);
    }
    this.remaining -= count;
    if (this.remaining === 0) this.end();
    if (count > 0) this.host.bodyTaken();
    else if (this.state === "open" && this.inbox.over !== null) throw this.broken(null);
    return count;
  }

  private takeRaw(): Uint8Array | null {
    for (;;) {
      const chunk = this.inbox.chunk;
      if (chunk === undefined) return null;
      const at = this.inbox.offset;
      const bytes = this.decoder === null ? this.takePlain(chunk, at) : this.decoder.step(chunk, at);
      const to = this.decoder === null ? at + (bytes?.length ?? 0) : this.decoder.at;
      this.inbox.advance(to);
      if (this.decoder?.done === true || (this.framing === "length" && this.remaining === 0)) this.end();
      this.host.bodyTaken();
      if (bytes !== null || this.state !== "open") return bytes;
    }
  }

  private takePlain(chunk: Buffer, at: number): Buffer {
    const length = chunk.length - at;
    if (this.framing === "close") return at === 0 ? chunk : chunk.subarray(at);
    const taken = Math.min(length, this.remaining);
    this.remaining -= taken;
    return at === 0 && taken === chunk.length ? chunk : chunk.subarray(at, at + taken);
  }

  private end(): void {
    this.state = "ended";
    this.host.bodyEnded();
  }

  private broken(cause: ForebayError | null): ForebayError {
    const error = this.host.bodyError(cause);
    this.state = "failed";
    this.failure = error;
    return error;
  }

  private rejectWaiter(error: unknown): void {
    const waiter = this.waiter;
    this.waiter = null;
    waiter?.reject(error);
  }
}
