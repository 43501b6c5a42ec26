/** One request of the server's and its answer: what a handler holds. */
import { assert } from "../base/assert.ts";
import { asForebayError, ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { ParsedRequest } from "./framing.ts";
import type { HttpRefusal } from "./head.ts";
import type { Lead } from "./head-writer.ts";
import { Inbox, IncomingBody, type IncomingHost } from "./incoming.ts";
import type { ServerConnection } from "./server-connection.ts";
import type { SendFraming } from "./transfer.ts";
import {
  type BodySource,
  bytesSource,
  type Exchange,
  type Handler,
  type RequestHead,
  type ResponseHead,
} from "./types.ts";

const NO_BODY: SendFraming = { kind: "length", lengthBytes: 0 };
const NO_REQUEST: ParsedRequest = {
  head: { method: "GET", target: "/", minorVersion: 1, headers: [] },
  framing: { kind: "none" },
  keepAlive: false,
  expectsContinue: false,
};
/** The body of every request without one. */
const NO_INCOMING = new IncomingBody({ kind: "none" }, new Inbox(), {
  bodyWanted: () => {},
  bodyTaken: () => {},
  bodyEnded: () => {},
  bodyCancelled: () => {},
  bodyError: () => clientLeft(),
});
const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");

/** How a response goes out. */
interface Plan {
  readonly head: Lead;
  readonly source: BodySource | null;
  readonly framing: SendFraming;
}

/** A request being served. See {@link Exchange}. */
export class ServerExchange implements Exchange, IncomingHost {
  readonly head: RequestHead;
  readonly body: IncomingBody;
  /** It answers input that was no request: more of it may come. */
  readonly isRefusal: boolean;
  private readonly connection: ServerConnection;
  private keepAlive: boolean;
  private owesContinue: boolean;
  private controller: AbortController | null = null;
  private responded = false;
  private sent = false;
  private over = false;
  private sendFailure: unknown = null;
  private waiter: { resolve(): void; reject(error: unknown): void } | null = null;
  private discarding = false;
  private discardedBytes = 0;
  private bodyFailure: ForebayError | null = null;

  constructor(connection: ServerConnection, request: ParsedRequest) {
    this.connection = connection;
    this.head = request.head;
    this.isRefusal = request === NO_REQUEST;
    this.keepAlive = request.keepAlive;
    this.owesContinue = request.expectsContinue && request.framing.kind !== "none";
    this.body =
      request.framing.kind === "none" ? NO_INCOMING : new IncomingBody(request.framing, connection.inbox, this);
  }

  /** An exchange for input that is no request: only to answer it. */
  static forRefusal(connection: ServerConnection): ServerExchange {
    return new ServerExchange(connection, NO_REQUEST);
  }

  get remoteAddress(): string {
    return this.connection.remoteAddress;
  }

  get secure(): boolean {
    return this.connection.shared.secure;
  }

  get signal(): AbortSignal {
    if (this.controller === null) {
      this.controller = new AbortController();
      if (!this.sent && (this.connection.gone || this.isCutShort)) this.controller.abort(clientLeft());
    }
    return this.controller.signal;
  }

  /**
   * Whether the client ended its side before its request was whole. One that did so afterwards still waits for the
   * answer (RFC 9112, 9.6 allows half-closed connections). A chunked body that breaks off shows when it is read.
   */
  private get isCutShort(): boolean {
    return this.connection.peerEnded && (this.body.remainingBytes ?? 0) > this.connection.inbox.bytes;
  }

  /** Whether the client has to send something before anything can go on. */
  get waitsForClient(): boolean {
    return this.body.waiting || this.discarding;
  }

  /** Calls `handler`, and answers in its stead if it fails. */
  run(handler: Handler): void {
    let result: void | Promise<void>;
    try {
      result = handler(this);
    } catch (error) {
      this.handlerFailed(error);
      return;
    }
    if (result === undefined) return;
    result.then(
      () => {
        if (!this.responded) this.handlerFailed(new ForebayError("internal", "a handler gave no answer"));
      },
      (error: unknown) => this.handlerFailed(error),
    );
  }

  private handlerFailed(error: unknown): void {
    if (this.over || this.connection.gone) return;
    if (this.sent || error === this.sendFailure) return;
    this.connection.reportError(error);
    if (this.responded) {
      this.connection.destroy();
      return;
    }
    if (error instanceof ForebayError && error === this.bodyFailure) {
      this.refuseWith(400, "Bad Request", "The request body is malformed.");
      return;
    }
    this.answer(500, "Internal Server Error", "InternalError", "The server failed. Please try again.", []);
  }

  respond(head: ResponseHead, body: BodySource | null, contentLength?: number): void | Promise<void> {
    assert(!this.responded, "a request is answered once");
    this.responded = true;
    if (this.connection.gone) {
      body?.close();
      return rejected(clientLeft());
    }
    let plan: Plan;
    try {
      plan = this.planOf(head, body, contentLength);
    } catch (error) {
      body?.close();
      this.connection.destroy();
      return rejected(error);
    }
    this.connection.sender.start(plan.head, plan.source, plan.framing);
    if (this.sendFailure !== null) return rejected(this.sendFailure);
    if (this.sent) return;
    const result = new Promise<void>((resolve, reject) => {
      this.waiter = { resolve, reject };
    });
    // A handler that does not wait for the end must not bring the process down.
    result.catch(() => {});
    return result;
  }

  /** The head's text and how the body goes out (RFC 9112, 6.1 to 6.3). */
  private planOf(head: ResponseHead, body: BodySource | null, contentLength: number | undefined): Plan {
    const hasNoBody = this.head.method === "HEAD" || head.status === 204 || head.status === 304;
    const length = hasNoBody ? (contentLength ?? body?.lengthBytes) : body === null ? 0 : body.lengthBytes;
    const unbounded = length === null && this.head.minorVersion === 0;
    if (unbounded && !hasNoBody) this.keepAlive = false;
    // A client that has ended its side asks nothing further than what it sent already.
    const isLast = this.connection.peerEnded && this.connection.inbox.bytes === 0;
    if (this.connection.shared.stopping || isLast || !this.mayDrain()) this.keepAlive = false;
    assert(head.status >= 200 && head.status <= 999, "a response has a final status");
    let tail = "";
    if (typeof length === "number") {
      if (head.status !== 204) tail += `Content-Length: ${length}\r\n`;
    } else if (length === null && !unbounded && head.status !== 204) tail += "Transfer-Encoding: chunked\r\n";
    if (!this.keepAlive) tail += "Connection: close\r\n";
    else if (this.head.minorVersion === 0) tail += "Connection: keep-alive\r\n";
    tail += "\r\n";
    const start = startLine(head);
    const lead: Lead = { start, block: head.block?.text, headers: head.headers, tail };
    if (hasNoBody) {
      // Not sent, but closed all the same: by the sender, when the head is out.
      return { head: lead, source: body === null ? null : { ...NOTHING, close: () => body.close() }, framing: NO_BODY };
    }
    if (typeof length === "number")
      return { head: lead, source: body, framing: { kind: "length", lengthBytes: length } };
    return { head: lead, source: body, framing: unbounded ? { kind: "close" } : { kind: "chunked" } };
  }

  /** Whether what is left of the request body is worth reading to keep the connection. */
  private mayDrain(): boolean {
    if (this.body.ended) return true;
    // A client that waits for 100 may or may not send its body now: only closing is clear to both.
    if (this.owesContinue) return false;
    return (this.body.remainingBytes ?? 0) <= limits.httpDrainBytesMax;
  }

  // What the sender and the connection tell.

  sendEnded(error: unknown): void {
    const waiter = this.waiter;
    this.waiter = null;
    if (error !== null) {
      this.sendFailure = error;
      waiter?.reject(error);
      this.connection.reportError(error);
      this.connection.destroy();
      return;
    }
    this.sent = true;
    waiter?.resolve();
    if (this.body.ended || !this.keepAlive) {
      this.end();
      return;
    }
    this.discarding = true;
    this.discard();
  }

  /** Bytes came, or no more will. */
  arrived(): void {
    if (this.discarding) this.discard();
    else this.body.arrived();
  }

  peerEnded(): void {
    if (!this.sent && this.isCutShort) this.controller?.abort(clientLeft());
    this.arrived();
  }

  /** The connection is gone: whoever waits is told. */
  clientGone(): void {
    const error = clientLeft();
    if (!this.sent) {
      this.controller?.abort(error);
      this.connection.sender.abort(error);
      this.waiter?.reject(error);
    }
    this.body.fail(error);
    this.end();
  }

  private discard(): void {
    try {
      for (let bytes = this.body.take(); bytes !== null; bytes = this.body.take()) {
        this.discardedBytes += bytes.length;
      }
    } catch {
      this.keepAlive = false;
    }
    if (this.discardedBytes > limits.httpDrainBytesMax) this.keepAlive = false;
    if (this.body.ended || !this.keepAlive) this.end();
    else this.connection.wantBytes();
  }

  private end(): void {
    if (this.over) return;
    this.over = true;
    this.discarding = false;
    if (!this.body.ended) this.body.fail(new ForebayError("cancelled", "the request was answered"));
    this.connection.exchangeEnded(this, this.keepAlive && this.body.ended);
  }

  // What the body tells (IncomingHost).

  bodyWanted(): void {
    if (this.owesContinue && !this.responded && this.connection.inbox.bytes === 0 && !this.connection.gone) {
      this.connection.socket.write(CONTINUE);
    }
    this.owesContinue = false;
    this.connection.wantBytes();
  }

  bodyTaken(): void {
    this.owesContinue = false;
    this.connection.regulate();
  }

  /** Bytes of a body straight from the kernel, which spares the memory that an event would bring them in. */
  receive(target: Uint8Array, from: number, to: number): number {
    return this.connection.receive(target, from, to);
  }

  bodyEnded(): void {}

  bodyCancelled(): void {
    if (!this.owesContinue && this.sent) this.end();
    this.keepAlive = false;
  }

  bodyError(cause: ForebayError | null): ForebayError {
    this.keepAlive = false;
    const error = cause ?? clientLeft();
    if (cause !== null) this.bodyFailure = error;
    return error;
  }

  // Answers of the server itself.

  refuse(refusal: HttpRefusal): void {
    this.refuseWith(refusal.status, REASONS[refusal.status] ?? "Bad Request", refusal.message);
  }

  private refuseWith(status: number, reason: string, message: string): void {
    this.keepAlive = false;
    const headers = ["Content-Type", "text/plain; charset=utf-8"];
    void this.respond({ status, reason, headers }, bytesSource(Buffer.from(`${message}\n`)));
  }

  /** Answers that a bound is reached, as the Blob service says it. */
  refuseBusy(): void {
    const headers = ["Retry-After", "1"];
    this.answer(503, "Server Busy", "ServerBusy", "The server is busy. Please try again.", headers);
  }

  private answer(status: number, reason: string, code: string, message: string, headers: string[]): void {
    const xml = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
    const all = ["Content-Type", "application/xml", "x-ms-error-code", code, ...headers];
    void this.respond({ status, reason, headers: all }, bytesSource(Buffer.from(xml)));
  }
}

const NOTHING = { lengthBytes: 0, next: () => null };

const REASONS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  417: "Expectation Failed",
  431: "Request Header Fields Too Large",
  501: "Not Implemented",
  505: "HTTP Version Not Supported",
};

/** Start lines met, by status: a status nearly always has one reason. */
const startLines = new Map<number, { readonly reason: string; readonly line: string }>();

function startLine({ status, reason }: ResponseHead): string {
  const known = startLines.get(status);
  if (known?.reason === reason) return known.line;
  const line = `HTTP/1.1 ${status} ${checkedReason(reason)}\r\n`;
  startLines.set(status, { reason, line });
  return line;
}

function checkedReason(reason: string): string {
  for (let i = 0; i < reason.length; i++) {
    const code = reason.charCodeAt(i);
    assert(code >= 32 && code < 256 && code !== 127, "a reason phrase stays in its line");
  }
  return reason;
}

function clientLeft(): ForebayError {
  return new ForebayError("cancelled", "the client went away");
}

function rejected(error: unknown): Promise<void> {
  const result = Promise.reject(asForebayError(error));
  result.catch(() => {});
  return result;
}
