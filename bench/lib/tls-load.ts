/**
 * The load of load.ts over https: K connections, each with one request under way, bodies decrypted and thrown away. The
 * client pays for decryption as any client does, so what tells the servers apart is their CPU time per GB.
 *
 * Run as a process of its own: `bun bench/lib/tls-load.ts PLAN.json`, prints one JSON line.
 */
import { readFileSync } from "node:fs";
import type { Socket } from "bun";
import type { LoadPlan, LoadResult } from "./load.ts";

interface State {
  next: number;
  head: Buffer;
  /** Bytes of the body still to come; -1 while the head is read. */
  left: number;
  sentAtMs: number;
}

async function runTlsLoad(plan: LoadPlan): Promise<LoadResult> {
  const requests = plan.requests.map((request) => Buffer.from(request, "latin1"));
  const latencies: number[] = [];
  const sockets: Socket<State>[] = [];
  const { promise: trouble, reject } = Promise.withResolvers<never>();
  trouble.catch(() => {});
  const post = (socket: Socket<State>): void => {
    const state = socket.data;
    const bytes = requests[state.next++ % requests.length] as Buffer;
    state.sentAtMs = performance.now();
    state.left = -1;
    if (socket.write(bytes) !== bytes.length) reject(new Error("a request could not be sent at once"));
  };
  const receive = (socket: Socket<State>, chunk: Buffer): void => {
    const state = socket.data;
    if (state.left < 0) {
      state.head = Buffer.concat([state.head, chunk]);
      const end = state.head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const text = state.head.toString("latin1", 0, end);
      const length = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? Number.NaN);
      if (!/^HTTP\/1\.1 20[06] /.test(text) || length !== plan.bodyBytes) {
        reject(new Error(`unexpected answer: ${text.slice(0, 200)}`));
        return;
      }
      state.left = length - (state.head.length - end - 4);
      state.head = Buffer.alloc(0);
    } else state.left -= chunk.length;
    if (state.left > 0) return;
    latencies.push(performance.now() - state.sentAtMs);
    post(socket);
  };
  for (let i = 0; i < plan.connections; i++) {
    const next = Math.floor((i * requests.length) / plan.connections);
    const shaken = Promise.withResolvers<void>();
    const socket = await Bun.connect<State>({
      hostname: "127.0.0.1",
      port: plan.port,
      tls: { rejectUnauthorized: false }, // a certificate that the benchmark made for itself, on loopback
      data: { next, head: Buffer.alloc(0), left: -1, sentAtMs: 0 },
      socket: {
        data: receive,
        handshake: () => shaken.resolve(),
        close: () => reject(new Error("the server closed a connection")),
        error: (_, error) => reject(error),
      },
    });
    await Promise.race([shaken.promise, trouble]);
    sockets.push(socket);
  }
  const startMs = performance.now();
  for (const socket of sockets) post(socket);
  await Promise.race([Bun.sleep(plan.seconds * 1000), trouble]);
  const seconds = (performance.now() - startMs) / 1000;
  const sorted = latencies.sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { bytes: sorted.length * plan.bodyBytes, requests: sorted.length, seconds, p50Ms: at(0.5), p99Ms: at(0.99) };
}

if (import.meta.main) {
  const plan: LoadPlan = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"));
  process.stdout.write(`${JSON.stringify(await runTlsLoad(plan))}\n`, () => process.exit(0));
}
