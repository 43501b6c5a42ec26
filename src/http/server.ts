/** The HTTP/1.1 server: listens, counts, sweeps and stops. Requests are read in `server-connection.ts`. */
import type { Socket, SocketHandler, TCPSocketListener, TCPSocketListenOptions } from "bun";
import { limits } from "../base/limits.ts";
import type { Clock, Timer } from "../io/clock.ts";
import { realClock } from "../io/clock.ts";
import { ServerConnection, type ServerLimits, type ServerShared } from "./server-connection.ts";
import type { Handler } from "./types.ts";

/** A certificate chain and its key, PEM. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** What {@link startHttpServer} needs. */
export interface HttpServerOptions {
  readonly hostname: string;
  /** 0 for any free one. */
  readonly port: number;
  /** Several processes share the port (SO_REUSEPORT). */
  readonly reusePort?: boolean | undefined;
  readonly tls?: TlsFiles | undefined;
  readonly handler: Handler;
  readonly limits?: Partial<ServerLimits> | undefined;
  readonly clock?: Clock | undefined;
  /** Told of handlers, bodies and TLS sessions that failed; not of clients that went away. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** A server that listens. */
export interface HttpServer {
  readonly port: number;
  connections(): number;
  /** Requests being served. */
  inFlight(): number;
  /**
   * Stops listening, ends idle connections, lets responses under way finish (they say `Connection: close`), and cuts
   * what is left after `deadlineMs`. Resolves when no connection is left.
   */
  stop(options: { deadlineMs: number }): Promise<void>;
  /** New connections use this certificate; those there keep theirs. Throws if it cannot be used: nothing changed. */
  reloadTls(tls: TlsFiles): void;
}

/** Connections that may wait for their refusal beyond the bound; further ones are cut. */
const REFUSED_CONNECTIONS_MAX = 64;

/** Listens at once; throws if the address cannot be had. */
export function startHttpServer(options: HttpServerOptions): HttpServer {
  return new Server(options);
}

class Server implements HttpServer {
  private readonly options: HttpServerOptions;
  private readonly clock: Clock;
  private readonly shared: ServerShared;
  private readonly sweepMs: number;
  private listener: TCPSocketListener<ServerConnection>;
  private sweepTimer: Timer | null = null;
  private emptied: (() => void) | null = null;

  constructor(options: HttpServerOptions) {
    this.options = options;
    this.clock = options.clock ?? realClock;
    const bounds: ServerLimits = { ...limits, ...options.limits };
    this.sweepMs = sweepIntervalMs(bounds);
    this.shared = {
      handler: options.handler,
      limits: bounds,
      secure: options.tls !== undefined,
      onError: options.onError ?? (() => {}),
      connections: new Set(),
      nowMs: this.clock.monotonicMs(),
      inFlight: 0,
      stopping: false,
      left: () => {
        if (this.shared.connections.size === 0) this.emptied?.();
      },
    };
    this.listener = this.listen(options.port, options.tls);
    this.armSweep();
  }

  get port(): number {
    return this.listener.port;
  }

  connections(): number {
    return this.shared.connections.size;
  }

  inFlight(): number {
    return this.shared.inFlight;
  }

  private listen(port: number, tls: TlsFiles | undefined): TCPSocketListener<ServerConnection> {
    // `reusePort` is missing in the runtime's types.
    const options: TCPSocketListenOptions<ServerConnection> & { reusePort: boolean } = {
      hostname: this.options.hostname,
      port,
      reusePort: this.options.reusePort === true,
      allowHalfOpen: true,
      socket: this.handlers(tls !== undefined),
    };
    if (tls !== undefined) options.tls = { cert: tls.cert, key: tls.key };
    return Bun.listen<ServerConnection>(options);
  }

  private handlers(secure: boolean): SocketHandler<ServerConnection> {
    return {
      open: (socket) => this.accept(socket),
      data: (socket, chunk) => socket.data.onData(chunk),
      drain: (socket) => socket.data?.onDrain(),
      end: (socket) => socket.data.onEnd(),
      close: (socket) => socket.data?.onClose(),
      error: (socket, error) => {
        this.shared.onError(error);
        socket.data?.destroy();
      },
      // Having it makes `open` come before the handshake, so that unfinished ones are counted and timed.
      ...(secure ? { handshake: () => {} } : {}),
    };
  }

  private accept(socket: Socket<ServerConnection>): void {
    const { connections, limits: bounds } = this.shared;
    const connection = new ServerConnection(socket as Socket<unknown>, this.shared);
    socket.data = connection;
    connections.add(connection);
    if (connections.size > bounds.connectionsMax + REFUSED_CONNECTIONS_MAX) connection.destroy();
    else if (connections.size > bounds.connectionsMax) connection.refuseBusy();
  }

  private armSweep(): void {
    this.sweepTimer = this.clock.after(this.sweepMs, () => {
      const nowMs = this.clock.monotonicMs();
      this.shared.nowMs = nowMs;
      for (const connection of this.shared.connections) connection.check(nowMs);
      if (this.sweepTimer !== null) this.armSweep();
    });
  }

  async stop({ deadlineMs }: { deadlineMs: number }): Promise<void> {
    this.shared.stopping = true;
    this.listener.stop(false);
    for (const connection of this.shared.connections) connection.stop();
    if (this.shared.connections.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.clock.after(deadlineMs, () => {
          for (const connection of this.shared.connections) connection.destroy();
          resolve();
        });
        this.emptied = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    this.sweepTimer?.cancel();
    this.sweepTimer = null;
  }

  reloadTls(tls: TlsFiles): void {
    const previous = this.listener;
    if (this.options.reusePort === true) {
      this.listener = this.listen(previous.port, tls);
      previous.stop(false);
      return;
    }
    // Proves the new certificate on a port of its own before the old listener is given up.
    this.listen(0, tls).stop(true);
    const port = previous.port;
    previous.stop(false);
    this.listener = this.listen(port, tls);
  }
}

/** Often enough for the shortest time-out, at most once a second otherwise. */
function sweepIntervalMs(bounds: ServerLimits): number {
  const shortest = Math.min(bounds.headTimeoutMs, bounds.idleTimeoutMs, bounds.stallTimeoutMs);
  return Math.max(10, Math.min(1000, shortest / 4));
}
