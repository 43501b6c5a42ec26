/**
 * One connection of the server: requests are read and answered one at a time, in order. Bytes of later requests wait
 * in the inbox. What is idle, slow or malformed is ended here; the server's sweep calls {@link ServerConnection.check}.
 */
import type { Socket } from "bun";
import { asForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { receive } from "../io/syscalls.ts";
import { type ParsedRequest, parseRequest } from "./framing.ts";
import { HeadScanner, HttpRefusal } from "./head.ts";
import { Inbox } from "./incoming.ts";
import { Sender } from "./sender.ts";
import { ServerExchange } from "./server-exchange.ts";
import type { Handler } from "./types.ts";

/** The bounds of a server; defaults from `base/limits.ts`. */
export interface ServerLimits {
  readonly connectionsMax: number;
  readonly requestsInFlightMax: number;
  readonly headTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly stallTimeoutMs: number;
}

/** What all connections of one server share. */
export interface ServerShared {
  readonly handler: Handler;
  readonly limits: ServerLimits;
  readonly secure: boolean;
  readonly onError: (error: unknown) => void;
  readonly connections: Set<ServerConnection>;
  /** The coarse clock: moved by the sweep. */
  nowMs: number;
  inFlight: number;
  stopping: boolean;
  /** Called when a connection is gone. */
  left(): void;
}

/** The descriptor is there while the socket is open. */
type RawSocket = Socket<unknown> & { readonly fd: number };

type State = "open" | "linger" | "gone";

/** A connection from its acceptance to its end. */
export class ServerConnection {
  readonly shared: ServerShared;
  readonly socket: Socket<unknown>;
  readonly inbox = new Inbox();
  readonly sender: Sender;
  readonly remoteAddress: string;
  /** The client ended its side: what it asked is answered, nothing more comes. */
  peerEnded = false;
  private readonly scanner = new HeadScanner(limits.httpHeadBytesMax);
  private exchange: ServerExchange | null = null;
  private state: State = "open";
  private serving = false;
  private requests = 0;
  private movedAtMs: number;
  private headSinceMs: number;
  private lingerBytes = 0;

  constructor(socket: Socket<unknown>, shared: ServerShared) {
    this.socket = socket;
    this.shared = shared;
    this.remoteAddress = socket.remoteAddress;
    this.movedAtMs = shared.nowMs;
    this.headSinceMs = shared.nowMs;
    this.sender = new Sender(socket, shared.secure, this);
  }

  get gone(): boolean {
    return this.state === "gone";
  }

  // Events of the socket.

  onData(chunk: Buffer): void {
    if (this.state !== "open") {
      this.lingerBytes += chunk.length;
      if (this.lingerBytes > limits.httpLingerBytesMax) this.destroy();
      return;
    }
    this.movedAtMs = this.shared.nowMs;
    this.inbox.push(chunk);
    if (this.exchange === null) this.serve();
    else {
      this.exchange.arrived();
      this.regulate();
    }
  }

  onDrain(): void {
    this.sender.pump();
  }

  onEnd(): void {
    this.peerEnded = true;
    this.inbox.over ??= "end";
    if (this.state !== "open") this.socket.end();
    else if (this.exchange === null) this.close(false);
    else this.exchange.peerEnded();
  }

  onClose(): void {
    this.inbox.over ??= "lost";
    this.leave();
  }

  // Requests.

  /** Reads and answers requests as long as there are bytes and no request is under way. */
  serve(): void {
    if (this.serving) return;
    this.serving = true;
    let served = 0;
    while (this.state === "open" && this.exchange === null && this.inbox.chunk !== undefined) {
      if (served++ === limits.httpPipelinedRequestsMax) {
        setImmediate(() => this.serve());
        break;
      }
      this.serveNext();
    }
    this.serving = false;
    if (this.state !== "open") return;
    if (this.peerEnded && this.exchange === null && this.inbox.bytes === 0) this.close(false);
    else this.regulate();
  }

  private serveNext(): void {
    try {
      if (!this.scanner.begun) this.headSinceMs = this.shared.nowMs;
      const request = this.readHead();
      if (request !== null) this.begin(request);
    } catch (error) {
      if (error instanceof HttpRefusal) this.refuse(error);
      else throw error;
    }
  }

  private readHead(): ParsedRequest | null {
    const chunk = this.inbox.chunk as Buffer;
    const end = this.scanner.feed(chunk, this.inbox.offset);
    this.inbox.advance(end < 0 ? chunk.length : end);
    if (end < 0) return null;
    const request = parseRequest(this.scanner);
    this.scanner.reset();
    return request;
  }

  private begin(request: ParsedRequest): void {
    const exchange = new ServerExchange(this, request);
    this.requests++;
    this.exchange = exchange;
    this.shared.inFlight++;
    if (this.shared.inFlight > this.shared.limits.requestsInFlightMax) exchange.refuseBusy();
    else exchange.run(this.shared.handler);
  }

  /** Answers what cannot be read as a request, and closes. */
  private refuse(refusal: HttpRefusal): void {
    const exchange = ServerExchange.forRefusal(this);
    this.exchange = exchange;
    this.shared.inFlight++;
    exchange.refuse(refusal);
  }

  /** The exchange's response is out and its request body dealt with. */
  exchangeEnded(exchange: ServerExchange, mayContinue: boolean): void {
    if (this.exchange !== exchange) return;
    this.exchange = null;
    this.shared.inFlight--;
    this.movedAtMs = this.shared.nowMs;
    if (this.state !== "open") return;
    // A response that began before the stop did not say that it is the last one; it is all the same.
    if (!mayContinue || this.shared.stopping)
      this.close(exchange.isRefusal || !exchange.body.ended || this.inbox.bytes > 0);
    else this.serve();
  }

  // What the exchange and the sender tell.

  sentSome(): void {
    this.movedAtMs = this.shared.nowMs;
  }

  sendEnded(error: unknown): void {
    this.exchange?.sendEnded(error);
  }

  /** Somebody waits for bytes: the peer has the stall time-out from now on. */
  wantBytes(): void {
    this.movedAtMs = this.shared.nowMs;
    this.regulate();
  }

  /** Bytes that the kernel holds, into `target[from, to)`: how many. Only while nothing is held here already. */
  receive(target: Uint8Array, from: number, to: number): number {
    if (this.state !== "open" || this.shared.secure || this.inbox.over !== null) return 0;
    const count = receive((this.socket as RawSocket).fd, target, from, to - from);
    // Whatever is wrong with the connection, its own event says so.
    if (count <= 0) return 0;
    this.movedAtMs = this.shared.nowMs;
    return count;
  }

  regulate(): void {
    if (this.state !== "open") return;
    const inBody = this.exchange !== null && !this.exchange.body.ended;
    this.inbox.regulate(this.socket, inBody ? undefined : limits.httpHeadBytesMax);
  }

  // The end.

  /** Ends time-outs; called by the sweep. */
  check(nowMs: number): void {
    const { headTimeoutMs, idleTimeoutMs, stallTimeoutMs } = this.shared.limits;
    const quietMs = nowMs - this.movedAtMs;
    if (this.state === "linger") {
      if (quietMs > limits.httpLingerMs) {
        this.leave();
        this.socket.end();
      }
    } else if (this.exchange !== null) {
      // A slow reader may free less room than the kernel reports: trying is the only way to see that it takes bytes.
      if (this.sender.waiting === "room" && quietMs > stallTimeoutMs / 4) this.sender.pump();
      const waits = this.sender.waiting === "room" || this.exchange?.waitsForClient === true;
      if (waits && nowMs - this.movedAtMs > stallTimeoutMs) this.destroy();
    } else if (this.scanner.begun || this.requests === 0) {
      if (nowMs - this.headSinceMs > headTimeoutMs) this.destroy();
    } else if (quietMs > idleTimeoutMs) this.close(false);
  }

  /** The server stops: idle connections end now, others after the response under way. */
  stop(): void {
    if (this.exchange === null && this.state === "open") this.close(false);
  }

  /**
   * Ends the connection in order: what the kernel holds still reaches the client. `unread`: input may yet come; it is
   * read away for a while, because closing over unread input resets the connection, and the response with it.
   */
  private close(unread: boolean): void {
    if (this.state !== "open") return;
    this.state = "linger";
    this.movedAtMs = this.shared.nowMs;
    this.inbox.clear();
    this.inbox.regulate(this.socket);
    // `end` alone leaves a TLS socket open until the client ends it too.
    this.socket.shutdown();
    if (!unread || this.peerEnded) this.socket.end();
  }

  /** Cuts the connection. */
  destroy(): void {
    if (this.state === "gone") return;
    this.leave();
    this.socket.terminate();
  }

  private leave(): void {
    if (this.state === "gone") return;
    this.state = "gone";
    this.inbox.over ??= "lost";
    this.shared.connections.delete(this);
    this.exchange?.clientGone();
    this.shared.left();
  }

  /** Refuses a connection beyond the bound. */
  refuseBusy(): void {
    this.exchange = ServerExchange.forRefusal(this);
    this.shared.inFlight++;
    this.exchange.refuseBusy();
  }

  reportError(error: unknown): void {
    const known = asForebayError(error);
    if (known.code !== "cancelled") this.shared.onError(error);
  }
}
