/**
 * One connection of the client and the calls that go over it, one after the other. A connection knows nothing of the
 * pool but whom to tell when it is free or gone.
 */
import type { Socket } from "bun";
import { assert } from "../base/assert.ts";
import { type ErrorCode, ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { EAGAIN, peek, receive } from "../io/syscalls.ts";
import { type ParsedResponse, parseResponse } from "./framing.ts";
import { HeadScanner, TARGET_TEXT, TOKEN } from "./head.ts";
import { checkFields, type Lead } from "./head-writer.ts";
import { Inbox, IncomingBody, type IncomingHost } from "./incoming.ts";
import { Sender } from "./sender.ts";
import { PeerGone, type SendFraming } from "./transfer.ts";
import type { ClientRequest, ClientResponse } from "./types.ts";

/** The descriptor is there while the socket is open. */
type RawSocket = Socket<unknown> & { readonly fd: number };

/** What a connection needs of its pool. */
export interface ClientPool {
  readonly secure: boolean;
  readonly firstByteTimeoutMs: number;
  readonly stallTimeoutMs: number;
  /** The coarse clock: moved by the pool's sweep. */
  readonly nowMs: number;
  /** The call is over and the connection may serve another. */
  connectionFree(connection: ClientConnection): void;
  /** The connection is no more. `again`: a call that was not answered at all and may be sent once more. */
  connectionGone(connection: ClientConnection, again: ClientCall | null): void;
}

/** A request on its way, from the pool's queue to the end of its response's body. */
export class ClientCall {
  readonly request: ClientRequest;
  readonly head: Lead;
  readonly framing: SendFraming;
  /** Sent a second time already. */
  retried = false;
  /** When it began to wait for a connection, on the pool's clock. */
  queuedAtMs = 0;
  connection: ClientConnection | null = null;
  private settled = false;
  private readonly resolve: (response: ClientResponse) => void;
  private readonly reject: (error: unknown) => void;
  private readonly onAbort = (): void => this.abort();
  /** Takes the call out of the pool's queue. */
  private readonly unqueue: (call: ClientCall) => void;
  private sourceTaken = false;

  /** Throws if the request cannot be written as HTTP. */
  constructor(
    request: ClientRequest,
    hostHeader: string,
    settle: { resolve(response: ClientResponse): void; reject(error: unknown): void },
    unqueue: (call: ClientCall) => void,
  ) {
    this.request = request;
    this.resolve = settle.resolve;
    this.reject = settle.reject;
    this.unqueue = unqueue;
    const length = request.body === null ? 0 : request.body.lengthBytes;
    this.framing = length === null ? { kind: "chunked" } : { kind: "length", lengthBytes: length };
    this.head = headOf(request, hostHeader);
    request.signal?.addEventListener("abort", this.onAbort, { once: true });
  }

  /** Whether it may be sent again without harm: nothing it does can happen twice. */
  get isRepeatable(): boolean {
    const { method, body } = this.request;
    return body === null && (method === "GET" || method === "HEAD");
  }

  /** Whether the caller was told the outcome. */
  get done(): boolean {
    return this.settled;
  }

  /** The body's source passes to a sender, which closes it. */
  takeSource(): ClientRequest["body"] {
    assert(!this.sourceTaken || this.request.body === null, "a request body is sent once");
    this.sourceTaken = true;
    return this.request.body;
  }

  succeed(response: ClientResponse): void {
    if (this.settled) return;
    this.settled = true;
    this.resolve(response);
  }

  fail(error: ForebayError): void {
    this.finish();
    if (this.settled) return;
    this.settled = true;
    if (!this.sourceTaken) {
      this.sourceTaken = true;
      this.request.body?.close();
    }
    this.reject(error);
  }

  /** Nothing more can be aborted. */
  finish(): void {
    this.request.signal?.removeEventListener("abort", this.onAbort);
  }

  private abort(): void {
    const error = new ForebayError("cancelled", "the request was given up by its caller");
    const connection = this.connection;
    if (connection !== null) connection.destroy(error);
    else {
      this.unqueue(this);
      this.fail(error);
    }
  }
}

function headOf(request: ClientRequest, hostHeader: string): Lead {
  const { method, target, headers, body } = request;
  assert(method.length > 0 && fits(method, TOKEN), "a method is a token");
  assert(target.length > 0 && fits(target, TARGET_TEXT), "a target has no white space and no controls");
  checkFields(headers);
  const length = body === null ? undefined : body.lengthBytes;
  const framing =
    length === undefined ? "" : length === null ? "Transfer-Encoding: chunked\r\n" : `Content-Length: ${length}\r\n`;
  return { start: `${method} ${target} HTTP/1.1\r\nHost: ${hostHeader}\r\n`, headers, tail: `${framing}\r\n` };
}

function fits(text: string, table: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (table[text.charCodeAt(i)] !== 1) return false;
  return true;
}

/** A connection to the origin, made. */
export class ClientConnection implements IncomingHost {
  /** When it became idle, on the pool's clock. */
  idleSinceMs = 0;
  private readonly pool: ClientPool;
  private readonly socket: RawSocket;
  private readonly sender: Sender;
  private readonly inbox = new Inbox();
  private readonly scanner = new HeadScanner(limits.httpHeadBytesMax);
  private call: ClientCall | null = null;
  private body: IncomingBody | null = null;
  private response: ParsedResponse | null = null;
  private callsBegun = 0;
  private isAnswered = false;
  private sent = false;
  private gone = false;
  private reason: ForebayError | null = null;
  private movedAtMs = 0;

  constructor(socket: Socket<unknown>, pool: ClientPool) {
    this.socket = socket as RawSocket;
    this.pool = pool;
    this.sender = new Sender(socket, pool.secure, this);
    this.idleSinceMs = pool.nowMs;
  }

  get alive(): boolean {
    return !this.gone;
  }

  /** Sends `call` over this connection, which must be free. */
  begin(call: ClientCall): void {
    assert(this.call === null && !this.gone, "a connection carries one call at a time");
    this.call = call;
    call.connection = this;
    this.body = null;
    this.response = null;
    this.isAnswered = false;
    this.sent = false;
    this.callsBegun++;
    this.movedAtMs = this.pool.nowMs;
    this.sender.start(call.head, call.takeSource(), call.framing);
  }

  // Events of the socket.

  onData(chunk: Buffer): void {
    if (this.gone) return;
    this.movedAtMs = this.pool.nowMs;
    // Bytes that nobody asked for: whatever they are, they must not answer the next request.
    if (this.call === null) {
      this.destroy(lost("the lake sent bytes that were not asked for"));
      return;
    }
    this.isAnswered = true;
    this.inbox.push(chunk);
    if (this.body === null) this.readHeads();
    else this.body.arrived();
    this.regulate();
  }

  onDrain(): void {
    this.sender.pump();
  }

  onEnd(): void {
    this.inbox.over ??= "end";
    if (this.call !== null && this.body !== null && !this.body.ended) {
      this.body.arrived();
      // What is held is still good; the body's reader finds out whether it is enough.
      return;
    }
    this.destroy(lost("the lake closed the connection before its answer"));
  }

  onClose(): void {
    this.inbox.over ??= "lost";
    this.leave(lost("the connection to the lake broke off"));
  }

  private readHeads(): void {
    try {
      while (this.call !== null && this.body === null && this.inbox.chunk !== undefined) this.readHead();
    } catch (error) {
      this.destroy(corrupt(error));
    }
  }

  private readHead(): void {
    const call = this.call;
    const chunk = this.inbox.chunk;
    assert(call !== null && chunk !== undefined, "a head is read for a call");
    const end = this.scanner.feed(chunk, this.inbox.offset);
    this.inbox.advance(end < 0 ? chunk.length : end);
    if (end < 0) return;
    const response = parseResponse(this.scanner, call.request.method);
    this.scanner.reset();
    const { status } = response.head;
    if (status < 200) {
      if (status === 101) throw new ForebayError("http-malformed", "the lake changed protocols unasked");
      return;
    }
    this.response = response;
    const body = new IncomingBody(response.framing, this.inbox, this);
    this.body = body;
    // An early answer: the rest of the request is of no interest, and the connection of no further use.
    if (!this.sent) this.sender.abort(new ForebayError("cancelled", "the lake answered before the request was sent"));
    call.succeed({ head: response.head, body });
    if (body.ended) this.bodyEnded();
  }

  // What the sender tells.

  sentSome(): void {
    this.movedAtMs = this.pool.nowMs;
  }

  sendEnded(error: unknown): void {
    if (error === null) {
      this.sent = true;
      this.movedAtMs = this.pool.nowMs;
      return;
    }
    if (this.body !== null || this.gone) return;
    if (error instanceof PeerGone) {
      // The answer that explains it may be waiting to be read: `close` or `end` follows and settles the call.
      if (this.socket.readyState > 0) return;
      this.destroy(lost("the connection to the lake broke off while the request was sent"));
      return;
    }
    const isKnown = error instanceof ForebayError;
    this.destroy(isKnown ? error : new ForebayError("internal", "a request body failed", { cause: error }));
  }

  // What the body tells (IncomingHost).

  bodyWanted(): void {
    this.movedAtMs = this.pool.nowMs;
    this.regulate();
  }

  bodyTaken(): void {
    this.regulate();
  }

  /** Bytes of a body straight from the kernel, which spares the memory that an event would bring them in. */
  receive(target: Uint8Array, from: number, to: number): number {
    if (this.gone || this.pool.secure || this.inbox.over !== null) return 0;
    const count = receive(this.socket.fd, target, from, to - from);
    // Whatever is wrong with the connection, its own event says so.
    if (count <= 0) return 0;
    this.movedAtMs = this.pool.nowMs;
    return count;
  }

  bodyEnded(): void {
    const { call, response } = this;
    if (call === null || response === null) return;
    call.finish();
    call.connection = null;
    this.call = null;
    this.body = null;
    this.response = null;
    if (this.gone || !this.sent || !response.keepAlive || !this.isQuiet()) {
      this.destroy(lost("the connection is done"));
      return;
    }
    this.idleSinceMs = this.pool.nowMs;
    this.pool.connectionFree(this);
  }

  /** Nothing came after the answer, as far as is known: what did, held here or by the kernel, would answer the next. */
  private isQuiet(): boolean {
    if (this.inbox.bytes > 0 || this.inbox.over !== null) return false;
    return this.pool.secure || peek(this.socket.fd) === -EAGAIN;
  }

  bodyCancelled(): void {
    this.destroy(new ForebayError("cancelled", "the answer was let go before its end"));
  }

  bodyError(cause: ForebayError | null): ForebayError {
    const error = cause === null ? (this.reason ?? lost("the lake's answer broke off")) : corrupt(cause);
    queueMicrotask(() => this.destroy(error));
    return error;
  }

  private regulate(): void {
    if (!this.gone) this.inbox.regulate(this.socket);
  }

  // Time and the end.

  /** Ends what waits too long; called by the pool's sweep while a call is under way. */
  check(nowMs: number): void {
    if (this.call === null) return;
    const quiet = (boundMs: number): boolean => nowMs - this.movedAtMs > boundMs;
    if (this.sender.waiting === "room") {
      if (quiet(this.pool.stallTimeoutMs / 4)) this.sender.pump();
      if (this.sender.waiting === "room" && quiet(this.pool.stallTimeoutMs)) this.timeout("the lake takes no bytes");
    } else if (this.body === null) {
      // While the request's own body is slow to come, that is not the lake's fault.
      if (this.sender.waiting !== "source" && quiet(this.pool.firstByteTimeoutMs))
        this.timeout("the lake does not answer");
    } else if (this.body.waiting && quiet(this.pool.stallTimeoutMs)) this.timeout("the lake's answer stalls");
  }

  private timeout(what: string): void {
    this.destroy(new ForebayError("timeout", what));
  }

  /** Ends the connection; a call under way fails with `error`. */
  destroy(error: ForebayError): void {
    if (this.gone) return;
    this.reason = error;
    const isIdle = this.call === null;
    this.leave(error);
    if (!isIdle) {
      this.socket.terminate();
      return;
    }
    this.socket.shutdown();
    this.socket.end();
  }

  private leave(error: ForebayError): void {
    if (this.gone) return;
    this.gone = true;
    this.reason ??= error;
    this.inbox.over ??= "lost";
    const call = this.call;
    this.call = null;
    this.sender.abort(error);
    const isStale = this.callsBegun > 1 && !this.isAnswered && hasEnded(error);
    const again = call !== null && isStale && call.isRepeatable && !call.retried ? call : null;
    if (call !== null) call.connection = null;
    this.pool.connectionGone(this, again);
    if (call === null || again !== null) return;
    if (this.body === null) {
      call.fail(error);
      return;
    }
    call.finish();
    // What is held and whole is still delivered; a reader that waits learns that no more comes.
    if (hasEnded(error)) this.body.arrived();
    else this.body.fail(error);
  }
}

const hasEnded = (error: ForebayError): boolean => error.code === "lake-lost";

const lost = (what: string): ForebayError => new ForebayError("lake-lost", what);

function corrupt(error: unknown): ForebayError {
  const code: ErrorCode = "lake-corrupt";
  const message = error instanceof Error ? error.message : String(error);
  return new ForebayError(code, `the lake's answer is malformed: ${message}`, { cause: error });
}
