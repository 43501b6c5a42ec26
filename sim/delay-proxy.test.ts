import { expect, test } from "bun:test";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { createSimClock } from "./clock.ts";
import { startDelayProxy } from "./delay-proxy.ts";

/** An echo server behind a proxy on simulated time. */
async function echo(bytesPerSecond: number | null) {
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const clock = createSimClock();
  const targetPort = (server.address() as AddressInfo).port;
  const proxy = await startDelayProxy({ targetHost: "127.0.0.1", targetPort, oneWayMs: 25, bytesPerSecond, clock });
  const chunks: Uint8Array[] = [];
  const socket = connect({ host: "127.0.0.1", port: proxy.port, allowHalfOpen: true });
  socket.on("data", (bytes: Uint8Array) => chunks.push(bytes));
  const end = new Promise<void>((resolve) => void socket.on("end", () => resolve()));
  const close = async (): Promise<void> => {
    socket.destroy();
    await proxy.close();
    server.close();
  };
  return { clock, proxy, socket, end, received: () => Buffer.concat(chunks), close };
}

test("bytes come back whole and in order, a round trip later, and an end is carried", async () => {
  const { clock, proxy, socket, end, received, close } = await echo(null);
  const sent = new Uint8Array(300_000).map((_, i) => i * 31);
  socket.end(sent);
  const startMs = clock.monotonicMs();
  let over = false;
  end.then(() => {
    over = true;
  });
  // Simulated time passes beside real sockets: bounded steps until the end has come through.
  for (let step = 0; step < 200_000 && !over; step++) {
    await clock.advance(1);
  }
  expect(Buffer.compare(received(), sent)).toBe(0);
  expect(clock.monotonicMs() - startMs).toBeGreaterThanOrEqual(50);
  expect(proxy.connections).toBe(1);
  expect(proxy.returnedBytes).toBe(sent.length);
  await close();
});

test("a rate holds back what a connection carries", async () => {
  const { clock, proxy, socket, received, close } = await echo(1_000_000);
  socket.write(new Uint8Array(50_000));
  const startMs = clock.monotonicMs();
  for (let step = 0; step < 200_000 && received().length < 50_000; step++) await clock.advance(1);
  expect(received().length).toBe(50_000);
  expect(proxy.returnedBytes).toBe(50_000);
  expect(clock.monotonicMs() - startMs).toBeGreaterThanOrEqual(100);
  await close();
});
