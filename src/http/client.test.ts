import { afterAll, describe, expect, test } from "bun:test";
import type { Socket } from "bun";
import { realClock } from "../io/clock.ts";
import { createHttpClient, type HttpClientOptions } from "./client.ts";
import { startHttpServer } from "./server.ts";
import { bytesPiece, eventually, randomFile, readAll, selfSigned, sourceOf, temporaryFolder } from "./test-support.ts";
import { bytesSource, type ClientRequest, type ClientResponse, type HttpClient } from "./types.ts";

const folder = temporaryFolder();
const tls = selfSigned(folder.path);
const ends: (() => unknown)[] = [];

afterAll(async () => {
  for (const end of ends) await end();
  folder.remove();
});

function clientOf(port: number, more: Partial<HttpClientOptions> = {}): HttpClient {
  const client = createHttpClient({
    hostname: "127.0.0.1",
    port,
    hostHeader: "account.example",
    connectionsMax: 4,
    idleMs: 60_000,
    connectTimeoutMs: 5_000,
    firstByteTimeoutMs: 60_000,
    stallTimeoutMs: 60_000,
    clock: realClock,
    ...more,
  });
  ends.push(() => client.close());
  return client;
}

/** A connection as the scripted lake sees it. */
interface LakeConnection {
  readonly socket: Socket<unknown>;
  received: string;
}

/** A lake that does what `script` says whenever bytes come. */
function lake(script: (connection: LakeConnection) => void) {
  const connections: LakeConnection[] = [];
  const of = (socket: Socket<unknown>): LakeConnection =>
    connections.find((it) => it.socket === socket) as LakeConnection;
  const listener = Bun.listen<unknown>({
    hostname: "127.0.0.1",
    port: 0,
    allowHalfOpen: true,
    socket: {
      open: (socket) => void connections.push({ socket, received: "" }),
      data: (socket, chunk) => {
        const connection = of(socket);
        connection.received += chunk.toString("latin1");
        script(connection);
      },
      end: (socket) => void socket.end(),
    },
  });
  ends.push(() => listener.stop(true));
  return { port: listener.port, connections };
}

const get: ClientRequest = { method: "GET", target: "/x", headers: [], body: null };
const put = (body: ClientRequest["body"]): ClientRequest => ({ method: "PUT", target: "/x", headers: [], body });
const text = async (response: ClientResponse): Promise<string> => (await readAll(response.body)).toString("latin1");
const failure = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "no failure",
    (error) => error,
  );

/** Answers every GET with a body that counts the requests of its connection. */
function countingLake() {
  return lake((connection) => {
    for (let end = connection.received.indexOf("\r\n\r\n"); end >= 0; end = connection.received.indexOf("\r\n\r\n")) {
      connection.received = connection.received.slice(end + 4);
      connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
  });
}

describe("requests", () => {
  test("go out exactly as given", async () => {
    let seen = "";
    const { port } = lake((connection) => {
      seen = connection.received;
      if (seen.endsWith("\r\n\r\n")) connection.socket.write("HTTP/1.1 204 No Content\r\n\r\n");
    });
    const headers = ["x-ms-Meta-Foo!", "\xe9", "Authorization", "SharedKey a:b"];
    const response = await clientOf(port).request({ ...get, target: "/a//b%2F..\\?x=\xff&y", headers });
    expect(seen).toBe(
      "GET /a//b%2F..\\?x=\xff&y HTTP/1.1\r\nHost: account.example\r\nx-ms-Meta-Foo!: \xe9\r\nAuthorization: SharedKey a:b\r\n\r\n",
    );
    expect(response.head).toEqual({ status: 204, reason: "No Content", headers: [] });
    expect(response.body.lengthBytes).toBe(0);
    expect(await response.body.read()).toBeNull();
  });

  test("what would break out of its line is refused", async () => {
    const { port, connections } = countingLake();
    const client = clientOf(port);
    const source = sourceOf([bytesPiece("x")], 1);
    for (const bad of [
      { target: "/a b" },
      { target: "/\r\n" },
      { method: "G T" },
      { headers: ["a", "b\r\n"] },
      { target: "/\u0100" },
    ]) {
      expect(await failure(client.request({ ...put(source), ...bad }))).toBeInstanceOf(Error);
    }
    expect(source.closed).toBe(5);
    expect(connections.length).toBe(0);
  });

  test("bodies: none, empty, of known and of unknown length", async () => {
    let seen = "";
    const { port } = lake((connection) => {
      seen = connection.received;
      connection.received = "";
      connection.socket.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    });
    const client = clientOf(port);
    const head = "PUT /x HTTP/1.1\r\nHost: account.example\r\n";
    const cases: [ClientRequest["body"], string][] = [
      [null, `${head}\r\n`],
      [bytesSource(new Uint8Array(0)), `${head}Content-Length: 0\r\n\r\n`],
      [bytesSource(Buffer.from("abc")), `${head}Content-Length: 3\r\n\r\nabc`],
      [sourceOf([bytesPiece("abc")], null), `${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`],
    ];
    for (const [body, expected] of cases) {
      await client.request(put(body));
      await eventually(() => seen.length >= expected.length, "the request");
      expect(seen).toStartWith(expected.slice(0, 60));
    }
  });
});

describe("answers", () => {
  const answers: [string, string, string][] = [
    ["by length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"],
    [
      "chunked",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n",
      "hello",
    ],
    ["until the end", "HTTP/1.1 200 OK\r\n\r\nhello", "hello"],
    [
      "after interim ones",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
      "hello",
    ],
    ["of HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"],
  ];
  test.each(answers)("%s, at once and in single bytes", async (name, answer, expected) => {
    for (const isCut of [false, true]) {
      const { port } = lake(({ socket }) => {
        const send = async (): Promise<void> => {
          for (const piece of isCut ? answer : [answer]) {
            socket.write(piece);
            await realClock.sleep(0);
          }
          if (name === "until the end") socket.end();
        };
        void send();
      });
      expect(await text(await clientOf(port).request(get))).toBe(expected);
    }
  });

  test("to HEAD have a length and no body", async () => {
    const { port } = lake(({ socket }) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    const response = await clientOf(port).request({ ...get, method: "HEAD" });
    expect(response.head.headers).toEqual(["Content-Length", "5"]);
    expect(await response.body.read()).toBeNull();
  });

  test.each([
    "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "SSH-2.0-OpenSSH\r\n\r\n",
    `HTTP/1.1 200 OK\r\nA: ${"b".repeat(70_000)}\r\n\r\n`,
  ])("malformed: %j", async (answer) => {
    const { port } = lake(({ socket }) => void socket.write(answer));
    expect(await failure(clientOf(port).request(get))).toMatchObject({ code: "lake-corrupt" });
  });

  test("malformed in the body", async () => {
    const { port } = lake(
      ({ socket }) => void socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX"),
    );
    const response = await clientOf(port).request(get);
    expect(await failure(text(response))).toMatchObject({ code: "lake-corrupt" });
  });

  test.each([
    ["Content-Length: 10\r\n\r\nhello", "end"],
    ["Content-Length: 10\r\n\r\nhello", "terminate"],
    ["Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "end"],
    ["Connection: close\r\n\r\nhello", "terminate"],
  ] as const)("that break off: %j by %s", async (rest, way) => {
    const { port } = lake(({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\n${rest}`);
      setImmediate(() => socket[way]());
    });
    const response = await clientOf(port).request(get);
    expect(await failure(text(response))).toMatchObject({ code: "lake-lost" });
    expect(await failure(response.body.read())).toMatchObject({ code: "lake-lost" });
  });

  test("what came before the connection was lost is still read", async () => {
    const { port, connections } = lake(({ socket }) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
      socket.end();
    });
    const response = await clientOf(port).request(get);
    await eventually(() => connections.every(({ socket }) => socket.readyState <= 0), "the connection is gone");
    expect(await text(response)).toBe("hello");
  });
});

describe.each([false, true])("large bodies (TLS: %p)", (secure) => {
  const file = randomFile(folder.path, 20_000_003, secure ? 21 : 22);
  const server = startHttpServer({
    hostname: "127.0.0.1",
    port: 0,
    tls: secure ? tls : undefined,
    // An answer that began before the request was sent would end the sending: all is read first.
    handler: async (exchange) => {
      const body = await readAll(exchange.body);
      await Promise.resolve(exchange.respond({ status: 200, reason: "OK", headers: [] }, bytesSource(body))).catch(
        () => {},
      );
    },
  });
  ends.push(() => server.stop({ deadlineMs: 0 }));
  const clientTls = secure ? { ca: tls.cert } : false;

  test("are held back until read, and come back whole", async () => {
    const port = server.port;
    const client = clientOf(port, { tls: clientTls });
    const sink = startHttpServer({
      hostname: "127.0.0.1",
      port: 0,
      tls: secure ? tls : undefined,
      handler: (exchange) => {
        const half = file.bytes.length >> 1;
        const pieces = [
          { kind: "file", fd: file.fd, offset: 0, length: half } as const,
          bytesPiece(file.bytes.subarray(half)),
        ];
        const sent = exchange.respond({ status: 200, reason: "OK", headers: [] }, sourceOf(pieces, file.bytes.length));
        return Promise.resolve(sent).catch(() => {});
      },
    });
    ends.push(() => sink.stop({ deadlineMs: 0 }));
    const down = clientOf(sink.port, { tls: clientTls });
    const response = await down.request(get);
    expect(response.body.lengthBytes).toBe(file.bytes.length);
    await realClock.sleep(30);
    expect(sink.inFlight()).toBe(1);
    expect((await readAll(response.body)).equals(file.bytes)).toBe(true);
    expect(await response.body.read()).toBeNull();
    const half = file.bytes.length >> 1;
    for (const length of [file.bytes.length, null]) {
      const source = sourceOf(
        [
          { kind: "file", fd: file.fd, offset: 0, length: half },
          () => Promise.resolve(bytesPiece(file.bytes.subarray(half, half + 10))),
          bytesPiece(file.bytes.subarray(half + 10)),
        ],
        length,
      );
      const echo = await client.request(put(source));
      expect((await readAll(echo.body)).equals(file.bytes)).toBe(true);
      expect(source.closed).toBe(1);
    }
    expect(server.connections()).toBeLessThanOrEqual(2);
  });

  test("cancelled: the connection ends, the pool goes on", async () => {
    const client = clientOf(server.port, { tls: clientTls, connectionsMax: 1 });
    for (let round = 0; round < 3; round++) {
      const response = await client.request(
        put(sourceOf([{ kind: "file", fd: file.fd, offset: 0, length: file.bytes.length }], null)),
      );
      await response.body.read();
      response.body.cancel();
      response.body.cancel();
      expect(await failure(response.body.read())).toMatchObject({ code: "cancelled" });
    }
    expect(await text(await client.request(put(bytesSource(Buffer.from("x")))))).toBe("x");
  });
});
