/** Files whose bytes are not in the page cache: they come whole and right, and nobody who leaves meanwhile is missed. */
import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { adviseDontNeed } from "../io/syscalls.ts";
import { type HttpServer, startHttpServer } from "./server.ts";
import {
  type CountedSource,
  eventually,
  type RawClient,
  randomFile,
  rawClient,
  selfSigned,
  sourceOf,
  temporaryFolder,
} from "./test-support.ts";

const SIZE_BYTES = 12 * 1024 * 1024 + 4097;
const folder = temporaryFolder();
const tls = selfSigned(folder.path);
const servers: HttpServer[] = [];

afterAll(async () => {
  for (const server of servers) await server.stop({ deadlineMs: 0 });
  folder.remove();
});

const ok = { status: 200, reason: "OK", headers: [] };

/** Has the pages of a file dropped, where its file system can. */
function drop(fd: number): void {
  fs.fdatasyncSync(fd);
  adviseDontNeed(fd, 0, 0);
}

interface Served {
  readonly port: number;
  readonly server: HttpServer;
  readonly sources: CountedSource[];
  readonly outcomes: unknown[];
}

/** Answers `/FIRST/LENGTH` with that range of the file, and `/FIRST/LENGTH/PIECES` with it in pieces. */
function serve(fd: number, secure: boolean): Served {
  const sources: CountedSource[] = [];
  const outcomes: unknown[] = [];
  const server = startHttpServer({
    hostname: "127.0.0.1",
    port: 0,
    tls: secure ? tls : undefined,
    handler: async (exchange) => {
      const [first = 0, length = 0, pieces = 1] = exchange.head.target.split("/").slice(1).map(Number);
      const step = Math.ceil(length / pieces);
      const parts = Array.from({ length: pieces }, (_, i) => {
        const at = i * step;
        return { kind: "file", fd, offset: first + at, length: Math.min(step, length - at) } as const;
      });
      const source = sourceOf(parts, length);
      sources.push(source);
      outcomes.push(await Promise.resolve(exchange.respond(ok, source)).catch((error: unknown) => error));
    },
  });
  servers.push(server);
  return { port: server.port, server, sources, outcomes };
}

const get = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** The body of the response that begins `before` bytes into what came. */
async function body(client: RawClient, before: number, sizeBytes: number): Promise<string> {
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${sizeBytes}\r\n\r\n`;
  await client.untilCount(before + head.length + sizeBytes);
  const text = client.text().slice(before);
  expect(text.slice(0, head.length)).toBe(head);
  return text.slice(head.length);
}

describe.each([false, true])("from the disk (TLS: %p)", (secure) => {
  const file = randomFile(folder.path, SIZE_BYTES, secure ? 11 : 12);
  const ca = secure ? tls.cert : undefined;

  test.each([
    [0, 1],
    [5, 4096],
    [4095, 32_768],
    [4097, 32_769],
    [77, 1_000_000],
    [1024 * 1024 - 1, 5_000_001],
    [0, SIZE_BYTES],
    [SIZE_BYTES - 1, 1],
    [SIZE_BYTES - 40_000, 40_000],
  ])("from %d on, %d bytes", async (first, length) => {
    const { port } = serve(file.fd, secure);
    const client = await rawClient(port, ca);
    drop(file.fd);
    client.send(get(`/${first}/${length}`));
    expect((await body(client, 0, length)) === file.bytes.toString("latin1", first, first + length)).toBe(true);
    client.socket.terminate();
  });

  test("range after range, some of them dropped again, and a body of many pieces", async () => {
    const { port, sources } = serve(file.fd, secure);
    const client = await rawClient(port, ca);
    const step = 3_000_000;
    let before = 0;
    for (let first = 0; first < SIZE_BYTES; first += step) {
      const length = Math.min(step, SIZE_BYTES - first);
      if (first % 2 === 0) drop(file.fd);
      client.send(get(`/${first}/${length}/${first % 3 === 0 ? 1 : 7}`));
      const text = await body(client, before, length);
      expect(text === file.bytes.toString("latin1", first, first + length)).toBe(true);
      before = client.count();
    }
    expect(sources.every(({ closed }) => closed === 1)).toBe(true);
    client.socket.terminate();
  });

  test("to several clients at once, while it is dropped under them", async () => {
    const { port } = serve(file.fd, secure);
    const clients = await Promise.all(Array.from({ length: 6 }, () => rawClient(port, ca)));
    drop(file.fd);
    for (const client of clients) client.send(get(`/0/${SIZE_BYTES}`));
    await clients[0]?.untilCount(3_000_000);
    drop(file.fd);
    for (const client of clients) {
      expect((await body(client, 0, SIZE_BYTES)) === file.bytes.toString("latin1")).toBe(true);
      client.socket.terminate();
    }
  });

  test("clients that leave while the disk is waited for: each source is closed once, whatever comes later", async () => {
    const name = `${folder.path}/left-${secure}`;
    fs.copyFileSync(`${folder.path}/file-${secure ? 11 : 12}`, name);
    const fd = fs.openSync(name, "r+");
    const { port, server, sources, outcomes } = serve(fd, secure);
    for (let round = 0; round < 10; round++) {
      const client = await rawClient(port, ca);
      drop(fd);
      client.send(get(`/0/${SIZE_BYTES}`));
      await eventually(() => sources.length > round, "the request");
      client.socket.terminate();
      await eventually(() => outcomes.length > round, "the end of the response");
    }
    await eventually(() => server.connections() === 0 && server.inFlight() === 0, "nothing is left");
    expect(sources.map(({ closed }) => closed)).toEqual(Array.from({ length: 10 }, () => 1));
    for (const outcome of outcomes) expect(outcome).toMatchObject({ code: "cancelled" });
    // What still waits in the pool may find another file under this number; nobody notices.
    fs.closeSync(fd);
    const other = randomFile(folder.path, 3_000_000, secure ? 13 : 14);
    const second = serve(other.fd, secure);
    const client = await rawClient(second.port, ca);
    drop(other.fd);
    client.send(get("/0/3000000"));
    expect((await body(client, 0, 3_000_000)) === other.bytes.toString("latin1")).toBe(true);
    client.socket.terminate();
    fs.closeSync(other.fd);
  });

  test.each([20_000, 5_000_000])("shorter than promised (%d): cut, never padded", async (promised) => {
    const name = `${folder.path}/short-${secure}-${promised}`;
    fs.writeFileSync(name, Buffer.alloc(10_000, 1));
    const fd = fs.openSync(name, "r+");
    const { port, sources } = serve(fd, secure);
    const client = await rawClient(port, ca);
    drop(fd);
    client.send(get(`/0/${promised}`));
    const text = await client.over();
    expect(text).not.toContain("\0");
    expect(text.length).toBeLessThan(10_200);
    expect(sources[0]?.closed).toBe(1);
    fs.closeSync(fd);
  });
});
