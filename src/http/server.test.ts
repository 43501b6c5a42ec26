import { afterAll, describe, expect, test } from "bun:test";
import { ForebayError } from "../base/errors.ts";
import { realClock } from "../io/clock.ts";
import { type HttpServer, type HttpServerOptions, startHttpServer } from "./server.ts";
import {
  bytesPiece,
  type CountedSource,
  eventually,
  manualClock,
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

const echoed = (text: string, close = false): string =>
  `HTTP/1.1 200 OK\r\nX-Test: 1\r\nContent-Length: ${text.length}\r\n${close ? "Connection: close\r\n" : ""}\r\n${text}`;

describe("requests", () => {
  test("keep-alive, pipelining in order, bodies of both kinds", async () => {
    const server = serve(echo);
    const client = await rawClient(server.port);
    client.send(get("/1") + get("/2"));
    client.send("PUT /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    client.send(`lo${get("/4")}PUT /5 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`);
    client.send(`2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n${get("/6", "Connection: close\r\n")}`);
    const expected = ["GET /1 ", "GET /2 ", "PUT /3 hello", "GET /4 ", "PUT /5 abcde"]
      .map((text) => echoed(text))
      .join("");
    expect(await client.over()).toBe(expected + echoed("GET /6 ", true));
    await eventually(() => server.connections() === 0, "the connection is gone");
  });

  test("hundreds of pipelined requests, answered at once or late, come out in order", async () => {
    let count = 0;
    const server = serve((exchange) => {
      const answer = () => exchange.respond(ok, bytesSource(Buffer.from(exchange.head.target)));
      if (count++ % 3 === 0) return realClock.sleep(0).then(answer);
      void answer();
    });
    const client = await rawClient(server.port);
    const targets = Array.from({ length: 400 }, (_, at) => `/${at}`);
    client.send(targets.map((target) => get(target)).join(""));
    const expected = targets.map((target) => echoed(target)).join("");
    expect(await client.until((text) => text.length >= expected.length)).toBe(expected);
    client.socket.terminate();
  });

  test("requests cut into single bytes", async () => {
    const server = serve(echo);
    const client = await rawClient(server.port);
    const text = `PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n${get("/y", "Connection: close\r\n")}`;
    for (const sign of text) {
      client.send(sign);
      await realClock.sleep(0);
    }
    expect(await client.over()).toBe(echoed("PUT /x abc") + echoed("GET /y ", true));
  });

  test("HTTP/1.0 closes unless asked to keep alive, and has no chunks", async () => {
    const server = serve((exchange) =>
      exchange.respond(
        ok,
        sourceOf([bytesPiece("abc"), bytesPiece("def")], exchange.head.target === "/known" ? 6 : null),
      ),
    );
    const client = await rawClient(server.port);
    client.send(
      "GET /known HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    );
    expect(await client.over()).toBe(
      "HTTP/1.1 200 OK\r\nX-Test: 1\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\nabcdef" +
        "HTTP/1.1 200 OK\r\nX-Test: 1\r\nConnection: close\r\n\r\nabcdef",
    );
  });

  test("a client that ends its side after a whole request gets its answer: nothing is given up for it", async () => {
    const aborted: boolean[] = [];
    let isShut = false;
    const server = serve(async (exchange) => {
      const { signal } = exchange; // asked for before the end of the client's side, and after it
      await eventually(() => isShut, "the end of the client's side");
      aborted.push(signal.aborted, exchange.signal.aborted);
      const body = await readAll(exchange.body);
      aborted.push(exchange.signal.aborted);
      await exchange.respond(ok, bytesSource(Buffer.concat([Buffer.from("late"), body])));
    });
    const length = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    const chunked = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (const [request, answer] of [
      [get("/"), "late"],
      [length, "lateabc"],
      [chunked, "lateabc"],
    ] as const) {
      isShut = false;
      const client = await rawClient(server.port);
      client.send(request);
      await eventually(() => server.inFlight() > 0, "the request");
      client.socket.shutdown();
      await realClock.sleep(20);
      isShut = true;
      expect(await client.over()).toBe(echoed(answer, true));
    }
    expect(aborted).toEqual(Array.from({ length: 9 }, () => false));
  });

  test("a handler is told of a client that is gone, or ended its side within its request", async () => {
    let aborts = 0;
    const server = serve(async (exchange) => {
      exchange.signal.addEventListener("abort", () => void aborts++);
      const before = aborts;
      await eventually(() => aborts > before, "the signal");
    });
    for (const [request, end] of [
      [get("/"), "terminate"],
      ["PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", "shutdown"],
    ] as const) {
      const client = await rawClient(server.port);
      client.send(request);
      await eventually(() => server.inFlight() > 0, "the request");
      client.socket[end]();
      await eventually(() => server.inFlight() === 0, "the end");
      client.socket.terminate();
    }
    expect(aborts).toBe(2);
  });

  test("a client that ends its side after several requests gets all answers, however slowly it reads", async () => {
    const body = Buffer.alloc(3_000_000, "x");
    const server = serve((exchange) => exchange.respond(ok, bytesSource(body)));
    const client = await rawClient(server.port);
    client.send(get("/1") + get("/2") + get("/3"));
    client.socket.shutdown();
    client.socket.pause();
    await realClock.sleep(20);
    client.socket.resume();
    await client.over();
    expect(client.count()).toBeGreaterThan(3 * body.length);
    expect(client.text().match(/HTTP\/1.1 200 OK/g)?.length).toBe(3);
    await eventually(() => server.connections() === 0, "the connection is gone");
  });

  test("the handler sees where the request came from", async () => {
    let seen: Exchange | undefined;
    const server = serve((exchange) => {
      seen = exchange;
      return exchange.respond(ok, null);
    });
    const client = await rawClient(server.port);
    client.send(get("/"));
    await client.until((text) => text.endsWith("\r\n\r\n"));
    expect(seen?.remoteAddress).toBe("127.0.0.1");
    expect(seen?.secure).toBe(false);
    expect(seen?.signal.aborted).toBe(false);
    client.socket.terminate();
  });
});

describe("responses", () => {
  test("HEAD, 204 and 304 carry no body, and their sources are closed unread", async () => {
    const sources: CountedSource[] = [];
    const server = serve((exchange) => {
      const source = sourceOf([new Error("not to be read")], 10);
      sources.push(source);
      const status = Number(exchange.head.target.slice(1));
      return exchange.respond({ ...ok, status }, source, status === 200 ? 77 : undefined);
    });
    const client = await rawClient(server.port);
    client.send(get("/200").replace("GET", "HEAD") + get("/204") + get("/304", "Connection: close\r\n"));
    expect(await client.over()).toBe(
      "HTTP/1.1 200 OK\r\nX-Test: 1\r\nContent-Length: 77\r\n\r\n" +
        "HTTP/1.1 204 OK\r\nX-Test: 1\r\n\r\n" +
        "HTTP/1.1 304 OK\r\nX-Test: 1\r\nContent-Length: 10\r\nConnection: close\r\n\r\n",
    );
    expect(sources.map((source) => source.closed)).toEqual([1, 1, 1]);
  });

  test("bodies of unknown length are chunked, empty pieces do not end them", async () => {
    const source = sourceOf(
      [bytesPiece("abc"), bytesPiece(""), () => Promise.resolve(bytesPiece("0123456789abcdef!"))],
      null,
    );
    const server = serve((exchange) => exchange.respond(ok, source));
    const client = await rawClient(server.port);
    client.send(get("/"));
    expect(await client.until((text) => text.endsWith("0\r\n\r\n"))).toBe(
      "HTTP/1.1 200 OK\r\nX-Test: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n11\r\n0123456789abcdef!\r\n0\r\n\r\n",
    );
    expect(source.closed).toBe(1);
    client.socket.terminate();
  });

  test("a header that cannot be sent cuts the connection", async () => {
    const errors: unknown[] = [];
    const source = bytesSource(Buffer.from("x"));
    const server = serve((exchange) => exchange.respond({ ...ok, headers: ["A", "b\r\nEvil: c"] }, source), {
      onError: (error) => errors.push(error),
    });
    const client = await rawClient(server.port);
    client.send(get("/"));
    expect(await client.over()).toBe("");
  });

  test("a handler that fails is answered for, unless it had begun", async () => {
    const errors: unknown[] = [];
    const server = serve(
      (exchange) => {
        if (exchange.head.target === "/sync") throw new Error("a");
        if (exchange.head.target === "/none") return Promise.resolve();
        return Promise.reject(new Error("b"));
      },
      { onError: (error) => errors.push(error) },
    );
    const client = await rawClient(server.port);
    client.send(get("/sync") + get("/none") + get("/async", "Connection: close\r\n"));
    const text = await client.over();
    expect(text.match(/HTTP\/1.1 500 Internal Server Error/g)?.length).toBe(3);
    expect(text).toContain("<Error><Code>InternalError</Code>");
    expect(errors.length).toBe(3);
  });

  const broken: [string, () => CountedSource][] = [
    ["throws", () => sourceOf([bytesPiece("abc"), new Error("broken")], 100)],
    ["rejects", () => sourceOf([bytesPiece("abc"), () => Promise.reject(new Error("broken"))], 100)],
    ["ends early", () => sourceOf([bytesPiece("abc")], 100)],
    ["gives too much", () => sourceOf([bytesPiece("abc"), bytesPiece("x".repeat(98))], 100)],
    ["throws while chunked", () => sourceOf([bytesPiece("abc"), new Error("broken")], null)],
  ];
  test.each(broken)("a body that %s cuts the connection", async (_, make) => {
    const source = make();
    let rejected: unknown;
    const server = serve((exchange) =>
      Promise.resolve(exchange.respond(ok, source)).catch((error: unknown) => {
        rejected = error;
      }),
    );
    const client = await rawClient(server.port);
    client.send(get("/1") + get("/2"));
    const text = await client.over();
    expect(text.endsWith("0\r\n\r\n")).toBe(false);
    expect(text.split("HTTP/1.1").length).toBeLessThanOrEqual(2);
    expect(rejected).toBeInstanceOf(Error);
    expect(source.closed).toBe(1);
  });
});

describe("what is refused", () => {
  test.each([
    ["GET / HTTP/1.1\nHost: a\n\n", "400 Bad Request"],
    ["GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported"],
    ["PUT / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "417 Expectation Failed"],
    ["PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", "501 Not Implemented"],
    [`GET / HTTP/1.1\r\nX: ${"a".repeat(70_000)}\r\n\r\n`, "431 Request Header Fields Too Large"],
    ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400 Bad Request"],
  ])("%j", async (text, status) => {
    let handled = 0;
    const server = serve((exchange) => {
      handled++;
      return exchange.respond(ok, null);
    });
    const client = await rawClient(server.port);
    client.send(`${get("/before")}${text}${get("/after")}`);
    const answer = await client.over();
    expect(answer).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    expect(answer).toContain(`HTTP/1.1 ${status}\r\n`);
    expect(answer).toMatch(/Connection: close\r\n\r\n[A-Z][^\n]*\.\n$/);
    expect(handled).toBe(1);
    client.socket.terminate();
    await eventually(() => server.connections() === 0 && server.inFlight() === 0, "the connection is gone");
  });

  test.each([false, true])("the answer arrives though the client goes on sending (TLS: %p)", async (secure) => {
    const server = serve(echo, { tls: secure ? tls : undefined });
    const client = await rawClient(server.port, secure ? tls.cert : undefined);
    client.send("nonsense\r\n");
    client.send(Buffer.alloc(8_000_000));
    const answer = await client.over();
    expect(answer).toStartWith("HTTP/1.1 400 Bad Request\r\n");
    expect(answer).toEndWith(".\n");
    client.socket.terminate();
    await eventually(() => server.connections() === 0, "the connection is gone");
  });

  test("too many requests and too many connections are told to come again", async () => {
    const waiting: Exchange[] = [];
    const server = serve((exchange) => void waiting.push(exchange), {
      limits: { requestsInFlightMax: 1, connectionsMax: 2 },
    });
    const first = await rawClient(server.port);
    first.send(get("/1"));
    await eventually(() => waiting.length === 1, "the first request");
    const second = await rawClient(server.port);
    second.send(get("/2"));
    const busy = await second.until((text) => text.endsWith("</Error>"));
    expect(busy).toStartWith("HTTP/1.1 503 Server Busy\r\n");
    expect(busy).toContain("x-ms-error-code: ServerBusy\r\nRetry-After: 1\r\n");
    expect(busy).not.toContain("Connection: close");
    const third = await rawClient(server.port);
    expect(await third.over()).toContain("Connection: close");
    third.socket.terminate();
    await waiting[0]?.respond(ok, null);
    second.send(get("/3"));
    await eventually(() => waiting.length === 2, "the next request");
    await waiting[1]?.respond(ok, null);
    expect(server.inFlight()).toBe(0);
    first.socket.terminate();
    second.socket.terminate();
  });
});

describe("stopping", () => {
  test("idle connections end, responses under way finish, what is left is cut at the deadline", async () => {
    const clock = manualClock();
    const exchanges = new Map<string, Exchange>();
    const server = serve(
      (exchange) => {
        if (exchange.head.target === "/now") return exchange.respond(ok, null);
        exchanges.set(exchange.head.target, exchange);
      },
      { clock },
    );
    const [idle, finishing, stuck] = await Promise.all(Array.from({ length: 3 }, () => rawClient(server.port)));
    if (!idle || !finishing || !stuck) throw new Error("no clients");
    idle.send(get("/now"));
    await idle.until((text) => text.endsWith("\r\n\r\n"));
    finishing.send(get("/finishing"));
    stuck.send(get("/stuck"));
    await eventually(() => exchanges.size === 2, "two requests are under way");
    let stopped = false;
    const stop = server.stop({ deadlineMs: 5000 }).then(() => {
      stopped = true;
    });
    await idle.over();
    expect(
      await rawClient(server.port).then(
        () => "connected",
        () => "refused",
      ),
    ).toBe("refused");
    await exchanges.get("/finishing")?.respond(ok, bytesSource(Buffer.from("done")));
    expect(await finishing.over()).toBe(echoed("done", true));
    expect(stopped).toBe(false);
    clock.advance(5001);
    await stop;
    expect(await stuck.over()).toBe("");
    expect(exchanges.get("/stuck")?.signal.aborted).toBe(true);
    expect(server.connections()).toBe(0);
  });

  test("an idle server stops at once", async () => {
    const server = serve(echo);
    await server.stop({ deadlineMs: 60_000 });
    expect(server.connections()).toBe(0);
  });
});

test("a new certificate is used for new connections; a bad one changes nothing", async () => {
  const other = selfSigned(folder.path, "other.example");
  const server = serve(echo, { tls });
  const port = server.port;
  const first = await rawClient(port, tls.cert);
  expect(() => server.reloadTls({ cert: "nonsense", key: "nonsense" })).toThrow();
  server.reloadTls(other);
  expect(server.port).toBe(port);
  const second = await rawClient(port, other.cert);
  for (const client of [first, second]) {
    client.send(get("/x", "Connection: close\r\n"));
    expect(await client.over()).toBe(echoed("GET /x ", true));
  }
});

test("a port in use is an error, unless both share it", async () => {
  const alone = serve(echo);
  expect(() => serve(echo, { port: alone.port })).toThrow();
  const shared = serve(echo, { reusePort: true });
  const other = serve(echo, { reusePort: true, port: shared.port });
  expect(other.port).toBe(shared.port);
});

test("errors of bodies reach onError, clients that leave do not", async () => {
  const errors: unknown[] = [];
  const server = serve((exchange) => exchange.respond(ok, sourceOf([new ForebayError("flash-failed", "broken")], 5)), {
    onError: (error) => errors.push(error),
  });
  const client = await rawClient(server.port);
  client.send(get("/"));
  await client.over();
  expect(errors.length).toBe(1);
});
