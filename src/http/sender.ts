/**
 * Sends a head and a body on a socket, with backpressure. Bytes of files do not enter the heap on plain sockets: the
 * head goes out with MSG_MORE and the file follows by sendfile(2). Small pieces are read into one buffer beside the
 * head and leave in one write, which measured faster up to about 32 KiB. TLS needs the bytes here in any case.
 *
 * A body that cannot be completed (its source fails, a file is shorter than promised) is never ended as if it were
 * whole: the sender fails and its owner cuts the connection.
 */
import type { Socket } from "bun";
import { assert } from "../base/assert.ts";
import { ForebayError } from "../base/errors.ts";
import { KIB, MIB } from "../base/limits.ts";
import { preadCached } from "../io/page-cache.ts";
import {
  EAGAIN,
  EINTR,
  EIO,
  MSG_DONTWAIT,
  MSG_MORE,
  MSG_NOSIGNAL,
  pinnedBuffer,
  pread,
  send,
  sendfile,
} from "../io/syscalls.ts";
import { FilePiece } from "./file-piece.ts";
import { extendLead, type Lead, leadBytes, textLead, writeLead } from "./head-writer.ts";
import { brokenBody, PeerGone, type SenderHost, type SendFraming } from "./transfer.ts";
import type { BodySource, Segment } from "./types.ts";

/** Pieces up to this size are copied beside the head. */
const SMALL_BYTES = 32 * KIB;
/** Room for the head in the shared buffer; a larger head gets a buffer of its own. */
const LEAD_BYTES = 96 * KIB;
/** What one sendfile call is asked for; after so much the event loop gets its turn: others wait for it. */
const TURN_BYTES = 4 * MIB;
/** What is written through the runtime to make it watch for room. */
const ARM_BYTES = 1 * KIB;
/** Pieces of a file sent through the heap (TLS). */
const COPY_BYTES = 256 * KIB;

/** Ends a chunk's data. */
const CHUNK_END = textLead("\r\n");

/** Used within one synchronous step only, by all senders. */
const shared = pinnedBuffer(COPY_BYTES);
const scratch = shared.bytes;
assert(SMALL_BYTES + LEAD_BYTES <= scratch.length, "a small piece and its head fit the shared buffer");

/** A socket with its descriptor, which the runtime has and its types leave out. */
type RawSocket = Socket<unknown> & { readonly fd: number };

/** Sends one message at a time on one socket. */
export class Sender {
  /** What a message under way waits for. */
  waiting: "nothing" | "room" | "source" | "turn" | "disk" = "nothing";
  active = false;
  private readonly socket: RawSocket;
  private readonly secure: boolean;
  private readonly host: SenderHost;
  private source: BodySource | null = null;
  private isChunked = false;
  private remaining = 0;
  private ending = false;
  private running = false;
  private message = 0;
  /** What goes out before the next piece. */
  private lead: Lead | null = null;
  private pending: Uint8Array | null = null;
  private pendingAt = 0;
  /** Further pieces behind {@link pending}. */
  private readonly queued: Uint8Array[] = [];
  private readonly file = new FilePiece();
  private budget = 0;

  constructor(socket: Socket<unknown>, secure: boolean, host: SenderHost) {
    this.socket = socket as RawSocket;
    this.secure = secure;
    this.host = host;
  }

  /** Sends `head` and then what `source` gives. `source` is closed exactly once, whatever happens. */
  start(head: Lead, source: BodySource | null, framing: SendFraming): void {
    assert(!this.active, "a sender sends one message at a time");
    this.active = true;
    this.message++;
    this.lead = head;
    this.source = source;
    this.isChunked = framing.kind === "chunked";
    this.remaining = framing.kind === "length" ? framing.lengthBytes : Number.POSITIVE_INFINITY;
    this.ending = false;
    this.pump();
  }

  /** Goes on as far as the socket takes bytes. Harmless at any time. */
  pump(): void {
    if (!this.active || this.running || this.waiting === "source" || this.waiting === "disk") return;
    this.running = true;
    try {
      // A message that ends may let the next one start at once: it is pumped here, not deeper in the stack.
      for (let message = -1; this.active && this.message !== message; ) {
        message = this.message;
        this.waiting = "nothing";
        this.budget = TURN_BYTES;
        this.attempt(message);
      }
    } finally {
      this.running = false;
    }
  }

  private attempt(message: number): void {
    try {
      this.run();
    } catch (error) {
      if (!this.active || this.message !== message) throw error;
      this.finish(error);
    }
  }

  /** Ends the message under way with `error`; the connection is of no further use. */
  abort(error: unknown): void {
    if (this.active) this.finish(error);
  }

  private run(): void {
    while (this.push()) {
      if (this.ending) {
        this.finish(null);
        return;
      }
      if (this.remaining === 0 || this.source === null) {
        this.ending = true;
        this.sendLead(false);
        continue;
      }
      const segment = this.source.next();
      if (!this.active) return;
      if (segment instanceof Promise) {
        this.await(segment);
        return;
      }
      this.accept(segment);
    }
  }

  private await(segment: Promise<Segment | null>): void {
    this.waiting = "source";
    const message = this.message;
    segment.then(
      (value) => {
        if (!this.active || this.message !== message) return;
        this.waiting = "nothing";
        try {
          this.accept(value);
        } catch (error) {
          return this.finish(error);
        }
        this.pump();
      },
      (error: unknown) => {
        if (this.active && this.message === message) this.finish(error ?? brokenBody("the body failed"));
      },
    );
  }

  /** Takes the source's next piece as what is to be sent now. */
  private accept(segment: Segment | null): void {
    if (segment === null) {
      this.acceptEnd();
      return;
    }
    const length = segment.kind === "file" ? segment.length : segment.bytes.length;
    // An empty chunk would end a chunked body.
    if (length === 0) return;
    if (length > this.remaining) throw brokenBody("the body is longer than announced");
    this.remaining -= length;
    if (this.isChunked) this.lead = extendLead(this.lead, `${length.toString(16)}\r\n`);
    if (!this.sendSmall(segment, length)) {
      this.sendLead(true);
      if (segment.kind === "bytes") this.enqueue(segment.bytes);
      else this.file.start(segment);
    }
    if (this.isChunked) this.lead = CHUNK_END;
  }

  private acceptEnd(): void {
    if (this.remaining !== Number.POSITIVE_INFINITY) throw brokenBody("the body ended before its announced length");
    this.ending = true;
    if (this.isChunked) this.lead = extendLead(this.lead, "0\r\n\r\n");
    this.sendLead(false);
  }

  /** Sends a small piece together with what stands before it. False: it is too large, or has to come from the disk. */
  private sendSmall(segment: Segment, length: number): boolean {
    if (length > SMALL_BYTES) return false;
    const leadLength = this.lead === null ? 0 : leadBytes(this.lead);
    if (leadLength > LEAD_BYTES) return false;
    if (segment.kind === "bytes") scratch.set(segment.bytes, leadLength);
    else if (!preadCached(segment.fd, shared, leadLength, length, segment.offset)) return false;
    if (this.lead !== null) writeLead(scratch, this.lead);
    this.lead = null;
    this.sendScratch(leadLength + length);
    return true;
  }

  /** Writes `scratch[0, length)`; what the socket does not take is copied out. */
  private sendScratch(length: number, flags = 0): void {
    let taken = 0;
    if (this.secure) taken = this.write(scratch, 0, length);
    else if (this.pending === null) {
      const sent = send(this.socket.fd, shared, length, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && sent !== -EAGAIN && sent !== -EINTR) throw new PeerGone(-sent);
      taken = Math.max(0, sent);
      if (taken > 0) this.host.sentSome();
    }
    if (taken < length) this.enqueue(Buffer.from(scratch.subarray(taken, length)));
  }

  /** Sends the lead by itself, if there is one; `more` bytes follow at once. */
  private sendLead(more: boolean): void {
    const { lead } = this;
    if (lead === null) return;
    this.lead = null;
    const length = leadBytes(lead);
    if (length <= scratch.length) {
      writeLead(scratch, lead);
      this.sendScratch(length, more ? MSG_MORE : 0);
      return;
    }
    const buffer = Buffer.allocUnsafeSlow(length);
    writeLead(buffer, lead);
    const taken = this.write(buffer, 0, length);
    if (taken < length) this.enqueue(buffer.subarray(taken));
  }

  private enqueue(bytes: Uint8Array): void {
    if (this.pending !== null) {
      this.queued.push(bytes);
      return;
    }
    this.pending = bytes;
    this.pendingAt = 0;
  }

  private write(bytes: Uint8Array, at: number, length: number): number {
    // What is pending goes first, else bytes would overtake it.
    if (this.pending !== null) return 0;
    const taken = this.socket.write(bytes, at, length);
    if (taken < 0) throw new PeerGone(0);
    if (taken > 0) this.host.sentSome();
    return taken;
  }

  /** Sends what is at hand. True when all of it went; false when it must wait (or the message failed). */
  private push(): boolean {
    while (this.pending !== null) {
      const length = this.pending.length - this.pendingAt;
      const taken = this.socket.write(this.pending, this.pendingAt, length);
      if (taken < 0) throw new PeerGone(0);
      if (taken > 0) this.host.sentSome();
      this.pendingAt += taken;
      if (taken < length) return this.waitForRoom();
      this.pending = this.queued.shift() ?? null;
      this.pendingAt = 0;
    }
    if (this.file.fd < 0) return true;
    return this.secure ? this.pushCopied() : this.pushFile();
  }

  private pushFile(): boolean {
    const { file } = this;
    while (file.at < file.end) {
      if (this.budget <= 0) return this.yieldTurn();
      if (!file.findCached()) return this.waitForDisk();
      const sent = sendfile(this.socket.fd, file.fd, file.at, Math.min(file.cachedTo - file.at, TURN_BYTES));
      if (sent > 0) {
        file.at += sent;
        this.budget -= sent;
        this.host.sentSome();
        continue;
      }
      if (sent === 0) throw brokenBody("a file is shorter than its piece of the body");
      if (sent === -EINTR) continue;
      // No socket says this: it is the disk.
      if (sent === -EIO) throw new ForebayError("flash-failed", "reading a file to send it failed");
      if (sent !== -EAGAIN) throw new PeerGone(-sent);
      // Only a write through the runtime makes it watch for room: a small one, and what it took is counted.
      if (!this.copy(ARM_BYTES)) return this.waitForRoom();
    }
    file.fd = -1;
    return true;
  }

  private pushCopied(): boolean {
    const { file } = this;
    while (file.at < file.end) {
      if (this.budget <= 0) return this.yieldTurn();
      if (!file.findCached()) return this.waitForDisk();
      if (!this.copy(COPY_BYTES)) return this.waitForRoom();
    }
    file.fd = -1;
    return true;
  }

  /** Sends the next bytes of the file through the heap. False: the socket did not take them all. */
  private copy(lengthMax: number): boolean {
    const { file } = this;
    const length = Math.min(lengthMax, file.cachedTo - file.at);
    readFile(file.fd, 0, length, file.at);
    const taken = this.write(scratch, 0, length);
    file.at += taken;
    this.budget -= taken;
    return taken === length;
  }

  private waitForDisk(): false {
    this.waiting = "disk";
    const message = this.message;
    const isStill = (): boolean => this.active && this.message === message;
    void this.file.bring(isStill).then((isThere) => {
      if (!isThere || !isStill()) return;
      this.waiting = "nothing";
      this.pump();
    });
    return false;
  }

  private waitForRoom(): false {
    this.waiting = "room";
    return false;
  }

  private yieldTurn(): false {
    this.waiting = "turn";
    const message = this.message;
    setImmediate(() => {
      if (this.message === message) this.pump();
    });
    return false;
  }

  private finish(error: unknown): void {
    this.active = false;
    this.waiting = "nothing";
    this.lead = null;
    this.pending = null;
    this.queued.length = 0;
    this.file.fd = -1;
    const source = this.source;
    this.source = null;
    try {
      source?.close();
    } catch (closeError) {
      error ??= closeError;
    }
    this.host.sendEnded(error);
  }
}

/** Reads exactly `length` bytes of a file into the shared buffer at `at`. Fewer fail the body: never pad. */
function readFile(fd: number, at: number, length: number, offset: number): void {
  let done = 0;
  while (done < length) {
    const count = pread(fd, shared, at + done, length - done, offset + done);
    if (count === -EINTR) continue;
    if (count < 0) throw new ForebayError("flash-failed", `reading a file to send it failed with errno ${-count}`);
    if (count === 0) throw brokenBody("a file is shorter than its piece of the body");
    done += count;
  }
}
