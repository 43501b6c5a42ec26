/**
 * The HTTP/1.1 client: a pool of kept-alive connections to one origin, with a bounded queue before it. Targets go
 * out exactly as given. Every failure is a {@link ForebayError}: `lake-unreachable` (nothing was sent), `lake-lost`
 * (sent, outcome unknown, or a body broke off), `lake-corrupt`, `timeout`, `cancelled`, `overloaded`, `closed`.
 */
import type { Socket, SocketHandler, TCPSocketConnectOptions } from "bun";
import { assert } from "../base/assert.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Clock, Timer } from "../io/clock.ts";
import { ClientCall, ClientConnection, type ClientPool } from "./client-connection.ts";
import { checkFields } from "./head-writer.ts";
import type { ClientRequest, ClientResponse, HttpClient } from "./types.ts";

/** Where to and how. Times in milliseconds. */
export interface HttpClientOptions {
  readonly hostname: string;
  readonly port: number;
  /** True, or with `ca` (PEM) to trust besides the usual ones and the name the certificate must have. */
  readonly tls?: boolean | { readonly ca?: string | undefined; readonly servername?: string | undefined } | undefined;
  /** The value of the Host header. */
  readonly hostHeader: string;
  readonly connectionsMax: number;
  /** An idle connection is closed after this. */
  readonly idleMs: number;
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly clock: Clock;
}

/** A connection idle for longer may be closing at the other end: requests that must not happen twice avoid it. */
const FRESH_MS = 1_000;

/** A client for one origin. It holds no connection until one is needed. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  assert(options.connectionsMax > 0, "a client may have at least one connection");
  checkFields(["Host", options.hostHeader]);
  return new Pool(options);
}

class Pool implements HttpClient, ClientPool {
  readonly secure: boolean;
  readonly firstByteTimeoutMs: number;
  readonly stallTimeoutMs: number;
  private readonly options: HttpClientOptions;
  private readonly sweepMs: number;
  private readonly idle: ClientConnection[] = [];
  private readonly connections = new Set<ClientConnection>();
  private readonly waiting: ClientCall[] = [];
  private connecting = 0;
  private closed = false;
  private sweepTimer: Timer | null = null;
  private sweptAtMs: number;

  constructor(options: HttpClientOptions) {
    this.options = options;
    this.secure = options.tls !== undefined && options.tls !== false;
    this.firstByteTimeoutMs = options.firstByteTimeoutMs;
    this.stallTimeoutMs = options.stallTimeoutMs;
    const shortest = Math.min(options.firstByteTimeoutMs, options.stallTimeoutMs, options.idleMs);
    this.sweepMs = Math.max(10, Math.min(1000, shortest / 4));
    this.sweptAtMs = options.clock.monotonicMs();
  }

  get nowMs(): number {
    return this.sweptAtMs;
  }

  request(request: ClientRequest): Promise<ClientResponse> {
    return new Promise((resolve, reject) => {
      const refusal = this.refusalOf(request);
      if (refusal !== null) {
        request.body?.close();
        return reject(refusal);
      }
      let call: ClientCall;
      try {
        call = new ClientCall(request, this.options.hostHeader, { resolve, reject }, (late) => this.unqueue(late));
      } catch (error) {
        request.body?.close();
        return reject(error);
      }
      this.dispatch(call);
    });
  }

  private refusalOf(request: ClientRequest): ForebayError | null {
    if (this.closed) return new ForebayError("closed", "the client of the lake is closed");
    if (request.signal?.aborted === true)
      return new ForebayError("cancelled", "the request was given up by its caller");
    if (this.waiting.length >= limits.lakeRequestsWaitingMax) {
      return new ForebayError("overloaded", "too many requests wait for a connection to the lake");
    }
    return null;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    const error = new ForebayError("closed", "the client of the lake is closed");
    for (const connection of this.idle.slice()) connection.destroy(error);
    for (const call of this.waiting.splice(0)) call.fail(error);
    this.stopSweepWhenEmpty();
  }

  // The pool.

  /** Gives `call` an idle connection, a new one, or a place in the queue. */
  private dispatch(call: ClientCall): void {
    const connection = this.takeIdle(call);
    if (connection !== null) {
      connection.begin(call);
      return;
    }
    if (this.connections.size + this.connecting < this.options.connectionsMax) {
      this.connect(call);
      return;
    }
    call.queuedAtMs = this.options.clock.monotonicMs();
    this.waiting.push(call);
    this.armSweep();
  }

  private takeIdle(call: ClientCall): ClientConnection | null {
    const { method } = call.request;
    const mustBeFresh = method !== "GET" && method !== "HEAD" && method !== "OPTIONS";
    const latest = this.idle[this.idle.length - 1];
    if (latest === undefined) return null;
    if (mustBeFresh && this.options.clock.monotonicMs() - latest.idleSinceMs >= FRESH_MS) {
      // Room for a fresh one; if there is room already, the idle one stays for those who may use it.
      if (this.connections.size + this.connecting >= this.options.connectionsMax) {
        latest.destroy(new ForebayError("closed", "given up for a fresh connection"));
      }
      return null;
    }
    this.idle.pop();
    return latest;
  }

  private unqueue(call: ClientCall): void {
    const at = this.waiting.indexOf(call);
    if (at >= 0) this.waiting.splice(at, 1);
  }

  connectionFree(connection: ClientConnection): void {
    if (this.closed) {
      connection.destroy(new ForebayError("closed", "the client of the lake is closed"));
      return;
    }
    const next = this.waiting.shift();
    if (next !== undefined) {
      connection.begin(next);
      return;
    }
    connection.idleSinceMs = this.options.clock.monotonicMs();
    this.idle.push(connection);
  }

  connectionGone(connection: ClientConnection, again: ClientCall | null): void {
    this.connections.delete(connection);
    if (again !== null) {
      // Others that idle are likely as stale: a fresh one, in the place of the one that is gone.
      again.retried = true;
      this.connect(again);
    }
    const at = this.idle.indexOf(connection);
    if (at >= 0) this.idle.splice(at, 1);
    this.stopSweepWhenEmpty();
    this.serveWaiting();
  }

  /** Connects for the first that waits, if there is room. */
  private serveWaiting(): void {
    while (this.waiting.length > 0 && this.connections.size + this.connecting < this.options.connectionsMax) {
      const next = this.waiting.shift();
      if (next !== undefined) this.connect(next);
    }
  }

  // Connecting.

  private connect(call: ClientCall): void {
    this.connecting++;
    let connection: ClientConnection | null = null;
    let over = false;
    let opened: Socket<unknown> | null = null;
    const fail = (what: string, cause?: unknown): void => {
      if (over) return;
      over = true;
      timer.cancel();
      this.connecting--;
      opened?.terminate();
      if (!call.done) call.fail(new ForebayError("lake-unreachable", what, { cause }));
      this.serveWaiting();
    };
    const ready = (socket: Socket<unknown>): void => {
      if (over) {
        socket.terminate();
        return;
      }
      over = true;
      timer.cancel();
      this.connecting--;
      connection = new ClientConnection(socket, this);
      this.connections.add(connection);
      this.armSweep();
      if (!call.done) connection.begin(call);
      else this.connectionFree(connection);
    };
    const timer = this.options.clock.after(this.options.connectTimeoutMs, () => {
      fail(`no connection to the lake within ${this.options.connectTimeoutMs} ms`);
    });
    const socket: SocketHandler<unknown> = {
      open: (it) => {
        opened = it;
        if (!this.secure) ready(it);
        else if (over) it.terminate();
      },
      data: (_, chunk) => connection?.onData(chunk),
      drain: () => connection?.onDrain(),
      end: () => (connection === null ? fail("the lake closed the connection") : connection.onEnd()),
      close: (_, error) => (connection === null ? fail("the lake closed the connection", error) : connection.onClose()),
      error: (_, error) => {
        if (connection === null) fail("the connection to the lake failed", error);
        else connection.destroy(new ForebayError("lake-lost", "the connection to the lake failed", { cause: error }));
      },
      connectError: (_, error) => fail(`the lake cannot be reached: ${codeOf(error)}`, error),
    };
    if (this.secure) {
      socket.handshake = (it, success, error) => {
        if (success) ready(it);
        else fail(`the lake's certificate is not accepted: ${codeOf(error)}`, error);
      };
    }
    Bun.connect(this.connectOptions(socket)).catch((error: unknown) => {
      fail(`the lake cannot be reached: ${codeOf(error)}`, error);
    });
  }

  private connectOptions(socket: SocketHandler<unknown>): TCPSocketConnectOptions<unknown> {
    const { hostname, port, tls } = this.options;
    const options: TCPSocketConnectOptions<unknown> = { hostname, port, allowHalfOpen: true, socket };
    if (!this.secure) return options;
    const names = typeof tls === "object" ? tls : {};
    options.tls = { rejectUnauthorized: true, serverName: names.servername ?? hostname };
    if (names.ca !== undefined) options.tls.ca = names.ca;
    return options;
  }

  // Time.

  private armSweep(): void {
    if (this.sweepTimer !== null) return;
    this.sweptAtMs = this.options.clock.monotonicMs();
    this.sweepTimer = this.options.clock.after(this.sweepMs, () => {
      this.sweepTimer = null;
      this.sweep();
      if (this.connections.size + this.waiting.length > 0) this.armSweep();
    });
  }

  private sweep(): void {
    const nowMs = this.options.clock.monotonicMs();
    this.sweptAtMs = nowMs;
    for (const connection of this.connections) connection.check(nowMs);
    this.endWaiting(nowMs);
    for (const connection of this.idle.slice()) {
      if (nowMs - connection.idleSinceMs > this.options.idleMs) {
        connection.destroy(new ForebayError("closed", "idle for too long"));
      }
    }
  }

  /** Gives up those that have waited too long for a connection: the first of the queue waits longest. */
  private endWaiting(nowMs: number): void {
    for (let first = this.waiting[0]; first !== undefined; first = this.waiting[0]) {
      if (nowMs - first.queuedAtMs <= limits.lakeConnectionWaitMs) return;
      this.waiting.shift();
      first.fail(new ForebayError("overloaded", "no connection to the lake became free in time"));
    }
  }

  private stopSweepWhenEmpty(): void {
    if (this.connections.size + this.waiting.length > 0) return;
    this.sweepTimer?.cancel();
    this.sweepTimer = null;
  }
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "unknown reason";
}
