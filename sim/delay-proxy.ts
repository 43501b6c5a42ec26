/**
 * A TCP proxy that makes a lake on this machine as far away as a real one: a delay each way, and if wanted a rate per
 * connection. It knows nothing of what passes, so it fits before any lake, also an encrypted one.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type Clock, realClock } from "../src/io/clock.ts";

export interface DelayProxyOptions {
  readonly targetHost: string;
  readonly targetPort: number;
  /** Added to what goes to the lake, and again to what comes back: half of the round trip. */
  readonly oneWayMs: number;
  /** The most that one connection carries back per second; null, the default, for no limit. */
  readonly bytesPerSecond?: number | null;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  readonly clock?: Clock;
}

export interface DelayProxy {
  readonly port: number;
  /** Connections made through it so far, and the bytes that came back. */
  readonly connections: number;
  readonly returnedBytes: number;
  close(): Promise<void>;
}

/** What may be under way in one direction of one connection; beyond it, the sender waits. */
const UNDER_WAY_BYTES_MAX = 64 * 1024 * 1024;

/** Listens on 127.0.0.1. */
export async function startDelayProxy(options: DelayProxyOptions): Promise<DelayProxy> {
  const { clock = realClock, oneWayMs, bytesPerSecond = null } = options;
  const open = new Set<Socket>();
  let connections = 0;
  let returnedBytes = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    connections++;
    const far = connect({ host: options.targetHost, port: options.targetPort, allowHalfOpen: true, noDelay: true });
    for (const socket of [near, far]) {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
    }
    carry(near, far, { clock, delayMs: oneWayMs, bytesPerSecond: null });
    carry(far, near, { clock, delayMs: oneWayMs, bytesPerSecond });
    far.on("data", (bytes: Uint8Array) => {
      returnedBytes += bytes.length;
    });
  });
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    get returnedBytes() {
      return returnedBytes;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

interface Way {
  readonly clock: Clock;
  readonly delayMs: number;
  readonly bytesPerSecond: number | null;
}

/** Carries what `from` sends to `to`, late and in order. An end is carried as an end, a break as a break. */
function carry(from: Socket, to: Socket, way: Way): void {
  let underWayBytes = 0;
  let freeAtMs = 0;
  /** When something sent now arrives: after the delay, and after all that was sent before at the given rate. */
  const arrival = (length: number): number => {
    const nowMs = way.clock.monotonicMs();
    const sendMs = way.bytesPerSecond === null ? 0 : (length * 1000) / way.bytesPerSecond;
    freeAtMs = Math.max(freeAtMs, nowMs) + sendMs;
    return freeAtMs + way.delayMs - nowMs;
  };
  // Timers of one clock with growing moments fire in order, but equal moments are rounded: a queue keeps the order.
  const queue: (() => void)[] = [];
  const later = (length: number, run: () => void): void => {
    queue.push(run);
    way.clock.after(arrival(length), () => queue.shift()?.());
  };
  from.on("data", (bytes: Uint8Array) => {
    underWayBytes += bytes.length;
    if (underWayBytes >= UNDER_WAY_BYTES_MAX) from.pause();
    later(bytes.length, () => {
      if (to.destroyed) return;
      to.write(bytes, () => {
        underWayBytes -= bytes.length;
        if (from.isPaused() && underWayBytes < UNDER_WAY_BYTES_MAX) from.resume();
      });
    });
  });
  from.on("end", () => later(0, () => to.end()));
  from.on("error", () => later(0, () => to.destroy()));
  from.on("close", (broken: boolean) => {
    if (broken) later(0, () => to.destroy());
  });
}
