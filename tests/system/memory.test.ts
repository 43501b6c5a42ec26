/**
 * What a server holds in memory does not grow with what flows through it: gigabytes to slow readers, by way of the
 * flash and past it. The bound is on the peak of the process, so that no moment escapes.
 */
import { afterEach, expect, test } from "bun:test";
import { createConnection } from "node:net";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService } from "../../sim/lake/service.ts";
import { ALL_SAS, childrenOf, cleanup, firstDifference, pattern, readProc, up } from "./harness.ts";

const MIB = 1 << 20;
const BLOB_BYTES = 384 * MIB;
const READERS = 4;
/** Much of it is what the collector has not yet looked at; what is in use is far less, and it does not grow. */
const RSS_BYTES_MAX = 640 * MIB;
/** A reader takes so much, then lets a while pass. */
const SIP_BYTES = 16 * MIB;

const undo = cleanup();
afterEach(() => undo.run());

/** Reads a whole blob slowly over a bare socket and checks every byte. How many there were. */
function sip(port: number, name: string, seed: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    let at = -1;
    let head = Buffer.alloc(0);
    let sipped = 0;
    socket.on("error", reject);
    socket.on("close", () => resolve(at));
    socket.on("data", (chunk: Buffer) => {
      let body = chunk;
      if (at < 0) {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        at = 0;
        body = head.subarray(end + 4);
      }
      const difference = firstDifference(seed, at, body);
      if (difference >= 0) reject(new Error(`${name}: byte ${at + difference} is wrong`));
      at += body.length;
      sipped += body.length;
      if (sipped < SIP_BYTES) return;
      sipped = 0;
      socket.pause();
      setTimeout(() => socket.resume(), 5);
    });
    socket.write(
      `GET /simlake/live/${name}?${ALL_SAS} HTTP/1.1\r\nHost: x\r\nx-ms-version: 2022-11-02\r\nConnection: close\r\n\r\n`,
    );
  });
}

/** The peak of what the process held, in bytes. */
function peakBytes(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readProc(pid, "status"))?.[1] ?? Number.NaN) * 1024;
}

for (const [way, flashSize] of [
  ["by way of the flash", "2GiB"],
  ["past a flash that is too small", "64MiB"],
] as const) {
  test(`memory stays bounded: ${READERS} slow readers, ${way}`, async () => {
    const lake = createSimService();
    for (let i = 0; i < READERS; i++) lake.putBlob("live", `blob-${i}`, pattern(i, BLOB_BYTES));
    const server = await startSimLakeServer(lake);
    undo.add(() => server.close());
    const forebay = await up({ config: { lake: server.connectionString }, folder: undo.folder("memory"), flashSize });
    undo.add(() => forebay.stop(5_000));
    const readers = Array.from({ length: READERS }, (_, i) => sip(forebay.port, `blob-${i}`, i));
    expect(await Promise.all(readers)).toEqual(new Array<number>(READERS).fill(BLOB_BYTES));
    const children = childrenOf(forebay.pid);
    expect(children.length).toBe(2);
    for (const { pid, role } of children) {
      const peak = peakBytes(pid);
      process.stderr.write(`${way}: the ${role} held ${(peak / MIB).toFixed(0)} MiB at most\n`);
      expect(peak).toBeLessThan(RSS_BYTES_MAX);
    }
  }, 60_000);
}
