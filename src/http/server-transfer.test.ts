import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { realClock } from "../io/clock.ts";
import { type HttpServer, type HttpServerOptions, startHttpServer } from "./server.ts";
import {
  type CountedSource,
  eventually,
  manualClock,
  randomFile,
  rawClient,
  readAll,
  selfSigned,
  sourceOf,
  temporaryFolder,
} from "./test-support.ts";
import { bytesSource, type Exchange, type Handler } from "./types.ts";

const folder = temporaryFolder();
const tls = selfSigned(folder.path);
const servers: HttpServer[] = [];

afterAll(async () => {
  for (const server of servers) await server.stop({ deadlineMs: 0 });
  folder.remove();
});

function serve(handler: Handler, more: Partial<HttpServerOptions> = {}): HttpServer {
  const server = startHttpServer({ hostname: "127.0.0.1", port: 0, handler, ...more });
  servers.push(server);
  return server;
}

const ok = { status: 200, reason: "OK", headers: ["X-Test", "1"] };
const get = (target: string, more = ""): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;

/** Answers with method, target and body. */
const echo: Handler = async (exchange) => {
  const body = await readAll(exchange.body);
  await exchange.respond(ok, bytesSource(Buffer.from(`${exchange.head.method} ${exchange.head.target} ${body}`)));
};

describe.each([false, true])("files (TLS: %p)", (secure) => {
  const certificate = secure ? tls : undefined;
  const large = randomFile(folder.path, 24 * 1024 * 1024 + 17, secure ? 1 : 2);

  test("of all sizes, whole and in pieces, to a reader that stalls now and then", async () => {
    const sources: CountedSource[] = [];
    const server = serve(
      (exchange) => {
        const [, mode, first, length] = exchange.head.target.split("/");
        const at = Number(first);
        const size = Number(length);
        const file = (offset: number, count: number) =>
          ({ kind: "file", fd: large.fd, offset, length: count }) as const;
        const half = size >> 1;
        const pieces =
          mode === "one" ? [file(at, size)] : [file(at, half), () => Promise.resolve(file(at + half, size - half))];
        const source = sourceOf(pieces, mode === "chunked" ? null : size);
        sources.push(source);
        return exchange.respond(ok, source);
      },
      { tls: certificate },
    );
    const client = await rawClient(server.port, certificate?.cert);
    let before = 0;
    for (const mode of ["one", "two"]) {
      for (const [at, size] of [
        [0, 1],
        [5, 32_000],
        [1, 32_769],
        [77, 300_000],
        [3, large.bytes.length - 3],
      ] as const) {
        client.send(get(`/${mode}/${at}/${size}`));
        client.socket.pause();
        await realClock.sleep(5);
        client.socket.resume();
        const head = `HTTP/1.1 200 OK\r\nX-Test: 1\r\nContent-Length: ${size}\r\n\r\n`;
        const end = before + head.length + size;
        await client.untilCount(end);
        const text = client.text();
        expect(text.slice(before, before + head.length)).toBe(head);
        expect(text.slice(before + head.length, end) === large.bytes.toString("latin1", at, at + size)).toBe(true);
        before = text.length;
        expect(before).toBe(end);
      }
    }
    expect(sources.every((source) => source.closed === 1)).toBe(true);
    client.send(get("/chunked/0/100000", "Connection: close\r\n"));
    const chunked = (await client.over()).slice(before);
    expect(chunked.split("\r\n\r\n")[1]?.startsWith("c350\r\n")).toBe(true);
    expect(chunked.endsWith("\r\n0\r\n\r\n")).toBe(true);
  });

  test.each([20_000, 5_000_000])("shorter than promised (%d) cuts the connection and never pads", async (promised) => {
    const name = `${folder.path}/short-${secure}-${promised}`;
    fs.writeFileSync(name, "short");
    const fd = fs.openSync(name, "r");
    const source = sourceOf([{ kind: "file", fd, offset: 0, length: promised }], promised);
    const server = serve((exchange) => Promise.resolve(exchange.respond(ok, source)).catch(() => {}), {
      tls: certificate,
    });
    const client = await rawClient(server.port, certificate?.cert);
    client.send(get("/"));
    const text = await client.over();
    expect(text.length).toBeLessThan(200);
    expect(text).not.toContain("\0");
    expect(source.closed).toBe(1);
    fs.closeSync(fd);
  });

  test("a client that goes away closes the source once and aborts the signal", async () => {
    const source = sourceOf(
      [{ kind: "file", fd: large.fd, offset: 0, length: large.bytes.length }],
      large.bytes.length,
    );
    let outcome: unknown;
    let signal: AbortSignal | undefined;
    const server = serve(
      async (exchange) => {
        signal = exchange.signal;
        outcome = await Promise.resolve(exchange.respond(ok, source)).catch((error: unknown) => error);
      },
      { tls: certificate },
    );
    const client = await rawClient(server.port, certificate?.cert);
    client.socket.pause();
    client.send(get("/"));
    await eventually(() => signal !== undefined, "the request");
    expect(source.closed).toBe(0);
    client.socket.terminate();
    await eventually(() => outcome !== undefined, "the response's failure");
    expect(outcome).toMatchObject({ code: "cancelled" });
    expect(signal?.aborted).toBe(true);
    expect(source.closed).toBe(1);
    expect(server.inFlight()).toBe(0);
  });
});

describe("request bodies", () => {
  test("are pulled: a handler that does not read holds the client back, within the bound", async () => {
    let release: () => void = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let exchangeSeen: Exchange | undefined;
    const server = serve(async (exchange) => {
      exchangeSeen = exchange;
      await released;
      let bytes = 0;
      for (let piece = await exchange.body.read(); piece !== null; piece = await exchange.body.read())
        bytes += piece.length;
      await exchange.respond(ok, bytesSource(Buffer.from(`${bytes}`)));
    });
    const size = 40 * 1024 * 1024;
    const client = await rawClient(server.port);
    client.send(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`);
    let sent = 0;
    const piece = Buffer.alloc(1024 * 1024);
    await eventually(() => exchangeSeen !== undefined, "the request");
    for (let quiet = 0; quiet < 20; ) {
      const taken = Math.max(0, client.socket.write(piece));
      sent += taken;
      quiet = taken === 0 ? quiet + 1 : 0;
      await realClock.sleep(2);
    }
    // Kernel buffers and one connection's buffer, no more.
    expect(sent).toBeLessThan(20 * 1024 * 1024);
    release();
    client.send(Buffer.alloc(size - sent));
    expect(await client.until((text) => text.includes("\r\n\r\n"))).toContain(`${size}`);
    client.socket.terminate();
  });

  test("100-continue is sent when the handler first reads", async () => {
    const server = serve(async (exchange) => {
      if (exchange.head.target === "/no") return exchange.respond({ ...ok, status: 403, reason: "No" }, null);
      return echo(exchange);
    });
    const yes = await rawClient(server.port);
    yes.send("PUT /yes HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    expect(await yes.until((text) => text !== "")).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    yes.send("abc");
    expect(await yes.until((text) => text.endsWith("abc"))).toContain("PUT /yes abc");
    yes.send("PUT /no HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    const text = await yes.over();
    expect(text).toContain("HTTP/1.1 403 No\r\nX-Test: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    expect(text.match(/100 Continue/g)?.length).toBe(1);
  });

  test("left unread: small ones are read away, for large ones the connection ends after the answer", async () => {
    const server = serve((exchange) => exchange.respond(ok, null));
    const client = await rawClient(server.port);
    const put = (size: number) => `PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`;
    client.send(put(100_000));
    await client.until((text) => text.endsWith("\r\n\r\n"));
    client.send(Buffer.alloc(100_000));
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    client.send(put(30_000_000));
    client.send(Buffer.alloc(30_000_000, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    const answer = "HTTP/1.1 200 OK\r\nX-Test: 1\r\nContent-Length: 0\r\n";
    expect(await client.over()).toBe(`${answer}\r\n${answer}\r\n${answer}Connection: close\r\n\r\n`);
    client.socket.terminate();
  });

  test("that break off reject the read", async () => {
    const errors: unknown[] = [];
    const server = serve((exchange) =>
      readAll(exchange.body).then(
        () => {},
        (error: unknown) => {
          errors.push(error);
          throw error;
        },
      ),
    );
    for (const end of ["shutdown", "terminate"] as const) {
      const client = await rawClient(server.port);
      client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
      await eventually(() => server.inFlight() > 0, "the request");
      client.socket[end]();
      await eventually(() => server.inFlight() === 0 && server.connections() === 0, "the end");
    }
    expect(errors.length).toBe(2);
    for (const error of errors) expect(error).toMatchObject({ code: "cancelled" });
  });

  test("that are malformed are answered with 400", async () => {
    const server = serve(echo);
    const client = await rawClient(server.port);
    client.send(`PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n${get("/smuggled")}`);
    const text = await client.over();
    expect(text).toStartWith("HTTP/1.1 400 Bad Request\r\n");
    expect(text).not.toContain("smuggled");
    client.socket.terminate();
  });
});

describe("time", () => {
  const bounds = { headTimeoutMs: 1000, idleTimeoutMs: 3000, stallTimeoutMs: 2000 };

  test("slow heads, idle and stalled connections are ended; busy handlers are not", async () => {
    const clock = manualClock();
    const exchanges: Exchange[] = [];
    let readFailure: unknown;
    const server = serve(
      (exchange) => {
        if (exchange.head.target === "/read") {
          exchange.body.read().catch((error: unknown) => {
            readFailure = error;
          });
        }
        if (exchange.head.target !== "/now") exchanges.push(exchange);
        else return exchange.respond(ok, null);
      },
      { clock, limits: bounds },
    );
    const [silent, slow, idle, stalled, busy] = await Promise.all(
      Array.from({ length: 5 }, () => rawClient(server.port)),
    );
    if (!silent || !slow || !idle || !stalled || !busy) throw new Error("no clients");
    slow.send("GET / HT");
    idle.send(get("/now"));
    stalled.send("PUT /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    busy.send(get("/busy"));
    await idle.until((text) => text.endsWith("\r\n\r\n"));
    await eventually(() => exchanges.length === 2 && server.connections() === 5, "all are there");
    clock.advance(1600);
    await Promise.all([silent.over(), slow.over()]);
    expect(server.connections()).toBe(3);
    clock.advance(1000);
    await stalled.over();
    expect(readFailure).toMatchObject({ code: "cancelled" });
    expect(server.connections()).toBe(2);
    clock.advance(1500);
    await idle.over();
    clock.advance(100_000);
    expect(server.connections()).toBe(1);
    await exchanges.find((exchange) => exchange.head.target === "/busy")?.respond(ok, null);
    await busy.until((text) => text.endsWith("\r\n\r\n"));
    busy.socket.terminate();
  });

  test("a reader that takes nothing is cut, one that takes a little is not", async () => {
    const clock = manualClock();
    const file = randomFile(folder.path, 30_000_000, 9);
    const sources: CountedSource[] = [];
    const server = serve(
      (exchange) => {
        const source = sourceOf(
          [{ kind: "file", fd: file.fd, offset: 0, length: file.bytes.length }],
          file.bytes.length,
        );
        sources.push(source);
        return Promise.resolve(exchange.respond(ok, source)).catch(() => {});
      },
      { clock, limits: bounds },
    );
    const slow = await rawClient(server.port);
    slow.send(get("/"));
    for (let round = 0; round < 6; round++) {
      slow.socket.pause();
      await realClock.sleep(5);
      clock.advance(1400);
      const before = slow.count();
      slow.socket.resume();
      await slow.untilCount(Math.min(before + 500_000, 30_000_000));
    }
    await slow.untilCount(30_000_000);
    expect(sources[0]?.closed).toBe(1);
    const stuck = await rawClient(server.port);
    stuck.socket.pause();
    stuck.send(get("/"));
    await eventually(() => sources.length === 2, "the second request");
    await realClock.sleep(20);
    clock.advance(1000);
    expect(sources[1]?.closed).toBe(0);
    clock.advance(3000);
    expect(sources[1]?.closed).toBe(1);
    slow.socket.terminate();
    stuck.socket.terminate();
  });
});
