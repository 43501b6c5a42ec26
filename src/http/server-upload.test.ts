/** Bodies of requests, read into memory at hand: from what events brought, and straight from the kernel. */
import { afterAll, describe, expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { readerInto } from "./read-into.ts";
import { type HttpServer, startHttpServer } from "./server.ts";
import { eventually, rawClient, selfSigned, temporaryFolder } from "./test-support.ts";
import { bytesSource, type Handler } from "./types.ts";

const folder = temporaryFolder();
const tls = selfSigned(folder.path);
const servers: HttpServer[] = [];

afterAll(async () => {
  for (const server of servers) await server.stop({ deadlineMs: 0 });
  folder.remove();
});

function serve(handler: Handler, secure: boolean): HttpServer {
  const more = secure ? { tls } : {};
  const server = startHttpServer({ hostname: "127.0.0.1", port: 0, handler, ...more });
  servers.push(server);
  return server;
}

const sumOf = (bytes: Uint8Array): string => Bun.hash.xxHash3(bytes).toString(16);
const put = (length: number, more = ""): string =>
  `PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n${more}\r\n`;

describe.each([false, true])("bodies (TLS: %p)", (secure) => {
  /** Takes bodies in by pieces, turns of the event loop between them, and says the sum of what came. */
  const summing: Handler = async (exchange) => {
    const body = readerInto(exchange.body);
    const bytes = new Uint8Array(exchange.body.lengthBytes ?? 0);
    let turns = 0;
    for (let at = 0; at < bytes.length; ) {
      const to = Math.min(bytes.length, at + 200_000);
      const count = body.take(bytes, at, to);
      at += count;
      if (count === 0 && !(await body.ready())) throw new Error("short");
      // The kernel goes on filling meanwhile.
      if (turns++ % 7 === 0) await new Promise<void>((resolve) => void setImmediate(() => resolve()));
    }
    await exchange.respond({ status: 200, reason: "OK", headers: [] }, bytesSource(Buffer.from(`${sumOf(bytes)}\n`)));
  };

  test("come whole and in order, also when the next request follows at once", async () => {
    const server = serve(summing, secure);
    const client = await rawClient(server.port, secure ? tls.cert : undefined);
    const bodies = [9_000_001, 1, 3_000_000].map((length) => seededRandom(length).fill(new Uint8Array(length)));
    for (const body of bodies) {
      client.send(put(body.length));
      client.send(body);
    }
    const got = await client.until((text) => text.split("HTTP/1.1 200").length === 4 && text.endsWith("\n"));
    expect([...(got.match(/^[0-9a-f]+$/gm) ?? [])]).toEqual(bodies.map(sumOf));
    client.socket.end();
  });

  test("of a client that waits to be told so come after that", async () => {
    const server = serve(summing, secure);
    const client = await rawClient(server.port, secure ? tls.cert : undefined);
    client.send(put(5, "Expect: 100-continue\r\n"));
    await client.until((text) => text.includes("100 Continue\r\n\r\n"));
    client.send("hello");
    const got = await client.until((text) => text.endsWith("\n") && text.includes(" 200 "));
    expect(got).toContain(sumOf(Buffer.from("hello")));
    client.socket.end();
  });

  test("that break off fail their reader", async () => {
    const failures: unknown[] = [];
    const server = serve(async (exchange) => {
      try {
        await summing(exchange);
      } catch (error) {
        failures.push(error);
        throw error;
      }
    }, secure);
    const client = await rawClient(server.port, secure ? tls.cert : undefined);
    client.send(put(5_000_000));
    client.send(new Uint8Array(2_000_000));
    await eventually(() => server.connections() === 1 && server.inFlight() === 1, "the connection");
    client.socket.end();
    await eventually(() => failures.length === 1, "the end");
    expect(failures[0]).toMatchObject({ code: "cancelled" });
  });
});
