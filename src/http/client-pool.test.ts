import { afterAll, describe, expect, test } from "bun:test";
import type { Socket } from "bun";
import { hasCode } from "../base/errors.ts";
import { realClock } from "../io/clock.ts";
import { createHttpClient, type HttpClientOptions } from "./client.ts";
import { startHttpServer } from "./server.ts";
import { bytesPiece, eventually, manualClock, readAll, selfSigned, sourceOf, temporaryFolder } from "./test-support.ts";
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

describe("the pool", () => {
  test("reuses connections, queues in order, and keeps its bound", async () => {
    const { port, connections } = countingLake();
    const client = clientOf(port, { connectionsMax: 2 });
    const done: number[] = [];
    const all = Array.from({ length: 40 }, async (_, at) => {
      expect(await text(await client.request({ ...get, target: `/${at}` }))).toBe("ok");
      done.push(at);
    });
    await Promise.all(all);
    expect(connections.length).toBe(2);
    expect(done.length).toBe(40);
    // Two connections take from one queue: order holds up to the neighbour.
    for (const [position, at] of done.entries()) expect(Math.abs(position - at)).toBeLessThanOrEqual(1);
  });

  test("a stale connection: a GET without a body is sent once more on a fresh one", async () => {
    const served: number[] = [];
    const { port, connections } = lake((connection) => {
      connection.received = "";
      const at = connections.indexOf(connection);
      // Every connection answers once, and ends at the second request.
      served[at] = (served[at] ?? 0) + 1;
      if (served[at] === 1) connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      else if (at % 2 === 0) connection.socket.terminate();
      else connection.socket.end();
    });
    const client = clientOf(port);
    for (let round = 0; round < 6; round++) expect(await text(await client.request(get))).toBe("ok");
    expect(served).toEqual([2, 2, 2, 2, 2, 1]);
  });

  test("a connection that the lake ends while idle is not used again", async () => {
    const { port, connections } = countingLake();
    const client = clientOf(port);
    for (let round = 1; round <= 3; round++) {
      expect(await text(await client.request(get))).toBe("ok");
      expect(connections.length).toBe(round);
      connections[round - 1]?.socket.end();
      await eventually(() => (connections[round - 1]?.socket.readyState ?? 0) <= 0, "the end of the connection");
    }
  });

  test("broken before an answer: lake-lost where repeating could do harm, or on a fresh connection", async () => {
    const state = { answers: 1 };
    const { port, connections } = lake((connection) => {
      if (state.answers-- > 0) connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      else connection.socket.terminate();
    });
    const client = clientOf(port);
    expect(await text(await client.request(get))).toBe("ok");
    expect(await failure(client.request(put(bytesSource(Buffer.from("x")))))).toMatchObject({ code: "lake-lost" });
    expect(connections.length).toBe(1);
    expect(await failure(client.request(get))).toMatchObject({ code: "lake-lost" });
    expect(connections.length).toBe(2);
    state.answers = 1;
    expect(await text(await client.request(get))).toBe("ok");
    // Reused and broken: once more on a fresh connection, which breaks as well.
    expect(await failure(client.request(get))).toMatchObject({ code: "lake-lost" });
    expect(connections.length).toBe(4);
  });

  test("writes avoid connections that were idle for long", async () => {
    const { port, connections } = countingLake();
    const clock = manualClock();
    const client = clientOf(port, { clock, connectionsMax: 1, idleMs: 4000 });
    const send = async (method: string): Promise<number> => {
      expect(await text(await client.request({ ...get, method }))).toBe("ok");
      return connections.length;
    };
    expect(await send("GET")).toBe(1);
    clock.advance(900);
    expect(await send("PUT")).toBe(1);
    clock.advance(1100);
    expect(await send("GET")).toBe(1);
    clock.advance(1100);
    expect(await send("DELETE")).toBe(2);
    clock.advance(10_000);
    expect(await send("GET")).toBe(3);
  });

  test("unasked bytes on an idle connection are not taken for an answer", async () => {
    const { port, connections } = countingLake();
    const client = clientOf(port);
    expect(await text(await client.request(get))).toBe("ok");
    connections[0]?.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    await eventually(() => (connections[0]?.socket.readyState ?? 0) <= 0, "the end of the connection");
    expect(await text(await client.request(get))).toBe("ok");
    expect(connections.length).toBe(2);
  });

  test("bytes behind an answer end its connection", async () => {
    const { port, connections } = lake(
      ({ socket }) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokevil"),
    );
    const client = clientOf(port);
    expect(await text(await client.request(get))).toBe("ok");
    expect(await text(await client.request(get))).toBe("ok");
    expect(connections.length).toBe(2);
  });

  test("waiting for a connection has an end", async () => {
    const clock = manualClock();
    const { port, connections } = lake(({ socket, received }) => {
      if (received.startsWith("GET")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
    });
    const client = clientOf(port, { connectionsMax: 1, clock });
    const unread = await client.request(get); // its caller takes nothing: the connection is never free
    const source = sourceOf([bytesPiece("x")], 1);
    const outcomes = [failure(client.request(get)), failure(client.request(put(source)))];
    clock.advance(29_000);
    const late = client.request(get);
    clock.advance(3_000);
    for (const outcome of outcomes) expect(await outcome).toMatchObject({ code: "overloaded" });
    expect(source.closed).toBe(1);
    unread.body.cancel();
    const answer = await late; // came later: it still waited
    expect(connections.length).toBe(2);
    answer.body.cancel();
  });

  test("closing: idle connections end, calls under way finish, waiting ones and new ones are refused", async () => {
    const { port, connections } = lake(() => {});
    const client = clientOf(port, { connectionsMax: 1 });
    const underway = client.request(get);
    const waiting = failure(client.request(get));
    await eventually(() => connections[0]?.received !== undefined && connections[0].received !== "", "the request");
    client.close();
    expect(await waiting).toMatchObject({ code: "closed" });
    expect(await failure(client.request(get))).toMatchObject({ code: "closed" });
    connections[0]?.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    expect(await text(await underway)).toBe("ok");
    await eventually(() => (connections[0]?.socket.readyState ?? 0) <= 0, "the end of the connection");
  });
});

describe("early answers", () => {
  test("come through while the request is still being sent, which then stops", async () => {
    const { port, connections } = lake(({ socket, received }) => {
      if (received.length > 1000) socket.write("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    });
    const client = clientOf(port);
    let pieces = 0;
    let closed = 0;
    const endless: ClientRequest["body"] = {
      lengthBytes: null,
      next: async () => {
        pieces++;
        await realClock.sleep(1);
        return bytesPiece(Buffer.alloc(1000));
      },
      close: () => {
        closed++;
      },
    };
    const response = await client.request(put(endless));
    expect(response.head.status).toBe(403);
    expect(await text(response)).toBe("no");
    expect(closed).toBe(1);
    const before = pieces;
    await eventually(() => (connections[0]?.socket.readyState ?? 0) <= 0, "the connection is not used again");
    expect(pieces).toBeLessThanOrEqual(before + 1);
  });
});

describe("failures", () => {
  test("nobody listens: lake-unreachable, and the body's source is closed", async () => {
    const { port } = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } }).stop() ?? { port: 1 };
    const source = sourceOf([bytesPiece("x")], 1);
    expect(await failure(clientOf(port).request(put(source)))).toMatchObject({ code: "lake-unreachable" });
    expect(source.closed).toBe(1);
  });

  test("no such name: lake-unreachable", async () => {
    const client = clientOf(1, { hostname: "name.invalid" });
    expect(await failure(client.request(get))).toMatchObject({ code: "lake-unreachable" });
  });

  test("certificates: unknown or of another name are refused before anything is sent", async () => {
    let handled = 0;
    const server = startHttpServer({
      hostname: "127.0.0.1",
      port: 0,
      tls,
      handler: (exchange) => {
        handled++;
        return exchange.respond({ status: 200, reason: "OK", headers: [] }, null);
      },
    });
    ends.push(() => server.stop({ deadlineMs: 0 }));
    expect(await failure(clientOf(server.port, { tls: true }).request(get))).toMatchObject({
      code: "lake-unreachable",
    });
    const misnamed = clientOf(server.port, { tls: { ca: tls.cert, servername: "other.example" } });
    expect(await failure(misnamed.request(get))).toMatchObject({ code: "lake-unreachable" });
    expect(handled).toBe(0);
    const named = clientOf(server.port, { tls: { ca: tls.cert, servername: "localhost" } });
    expect((await named.request(get)).head.status).toBe(200);
    const plain = lake(({ socket }) => void socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
    expect(await failure(clientOf(plain.port, { tls: true }).request(get))).toMatchObject({ code: "lake-unreachable" });
  });

  test("a body of the request that fails ends the connection, with its own error", async () => {
    const { port } = lake(() => {});
    const client = clientOf(port);
    const failing = sourceOf([bytesPiece("abc"), new Error("broken")], 10);
    expect(await failure(client.request(put(failing)))).toMatchObject({
      code: "internal",
      message: "a request body failed",
    });
    const short = sourceOf([bytesPiece("abc")], 10);
    expect(hasCode(await failure(client.request(put(short))), "gone")).toBe(true);
    expect([failing.closed, short.closed]).toEqual([1, 1]);
  });

  test("given up: before, waiting, on the way, and in the body", async () => {
    const { port, connections } = lake(({ socket, received }) => {
      if (received.includes("/body")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
    });
    const client = clientOf(port, { connectionsMax: 1 });
    expect(await failure(client.request({ ...get, signal: AbortSignal.abort() }))).toMatchObject({ code: "cancelled" });
    const first = new AbortController();
    const second = new AbortController();
    const underway = failure(client.request({ ...get, signal: first.signal }));
    const source = sourceOf([bytesPiece("x")], 1);
    const waiting = failure(client.request({ ...put(source), signal: second.signal }));
    await eventually(() => connections.length === 1, "the connection");
    second.abort();
    expect(await waiting).toMatchObject({ code: "cancelled" });
    expect(source.closed).toBe(1);
    first.abort();
    expect(await underway).toMatchObject({ code: "cancelled" });
    const third = new AbortController();
    const response = await client.request({ ...get, target: "/body", signal: third.signal });
    expect((await response.body.read())?.length).toBe(5);
    const read = failure(response.body.read());
    third.abort();
    expect(await read).toMatchObject({ code: "cancelled" });
    await eventually(() => connections.every(({ socket }) => socket.readyState <= 0), "all connections are gone");
  });

  test("time-outs: to connect, to the first byte, in the body, and in the request", async () => {
    const clock = manualClock();
    const { port, connections } = lake(({ socket, received }) => {
      if (received.includes("/body")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
      if (received.includes("/stuck")) socket.pause();
    });
    const client = clientOf(port, { clock, firstByteTimeoutMs: 2000, stallTimeoutMs: 4000 });
    const silent = failure(client.request(get));
    await eventually(() => (connections[0]?.received ?? "") !== "", "the request");
    clock.advance(1500);
    const response = await client.request({ ...get, target: "/body" });
    clock.advance(1100);
    expect(await silent).toMatchObject({ code: "timeout" });
    await response.body.read();
    const read = failure(response.body.read());
    clock.advance(5000);
    expect(await read).toMatchObject({ code: "timeout" });
    const source = sourceOf([bytesPiece(Buffer.alloc(30_000_000))], 30_000_000);
    const stuck = failure(client.request({ ...put(source), target: "/stuck" }));
    await eventually(() => connections.some((connection) => connection.received.includes("/stuck")), "the request");
    await realClock.sleep(20);
    clock.advance(10_000);
    expect(await stuck).toMatchObject({ code: "timeout" });
    expect(source.closed).toBe(1);
  });

  test("a lake that accepts no connection: lake-unreachable after the time-out", async () => {
    const clock = manualClock();
    // A TLS handshake that nobody answers.
    const { port } = lake(() => {});
    const client = clientOf(port, { clock, tls: true, connectTimeoutMs: 3000 });
    const outcome = failure(client.request(get));
    clock.advance(2999);
    await realClock.sleep(5);
    clock.advance(2);
    expect(await outcome).toMatchObject({ code: "lake-unreachable" });
  });

  test("a full queue is overloaded", async () => {
    const { port } = lake(() => {});
    const client = clientOf(port, { connectionsMax: 1 });
    const outcomes = Array.from({ length: 4100 }, () => failure(client.request(get)));
    expect(await outcomes[4099]).toMatchObject({ code: "overloaded" });
    client.close();
    expect(await outcomes[4000]).toMatchObject({ code: "closed" });
  });
});
