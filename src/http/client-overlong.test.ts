import { afterAll, expect, test } from "bun:test";
import type { Socket } from "bun";
import { realClock } from "../io/clock.ts";
import { createHttpClient } from "./client.ts";
import { readerInto } from "./read-into.ts";
import { readAll } from "./test-support.ts";
import type { BodyReader } from "./types.ts";

const ends: (() => void)[] = [];
afterAll(() => {
  for (const end of ends) end();
});

const BODY_BYTES = 1 << 20;
const good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal";
const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nWRONG";

/** A lake whose first answer is followed by bytes that belong to no answer. */
function overlongLake(): { readonly port: number; readonly goOn: () => void } {
  const rest = Buffer.concat([Buffer.alloc(BODY_BYTES, 7), Buffer.from(stray)]);
  let first: Socket<undefined> | null = null;
  let answers = 0;
  let at = -1;
  const send = (): void => {
    if (first === null || at < 0 || at >= rest.length) return;
    at += Math.max(0, first.write(rest.subarray(at)));
  };
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data: (socket) => {
        if (answers++ > 0) return void socket.write(good);
        first = socket;
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`);
      },
      drain: send,
    },
  });
  ends.push(() => listener.stop(true));
  return {
    port: listener.port,
    goOn: () => {
      at = 0;
      send();
    },
  };
}

const ways: Readonly<Record<string, (body: BodyReader) => Promise<number>>> = {
  read: async (body) => (await readAll(body)).length,
  readInto: async (body) => {
    const reader = readerInto(body);
    const buffer = Buffer.allocUnsafeSlow(BODY_BYTES);
    let got = 0;
    while (got < BODY_BYTES) {
      const count = reader.take(buffer, got, Math.min(BODY_BYTES, got + 65_536));
      if (count === 0 && !(await reader.ready())) break;
      got += count;
    }
    return got;
  },
};

for (const [way, take] of Object.entries(ways)) {
  test(`bytes beyond the end of an answer never answer the next request (${way})`, async () => {
    const lake = overlongLake();
    const client = createHttpClient({
      ...{ hostname: "127.0.0.1", port: lake.port, hostHeader: "h", connectionsMax: 1, clock: realClock },
      ...{ idleMs: 60_000, connectTimeoutMs: 5_000, firstByteTimeoutMs: 60_000, stallTimeoutMs: 60_000 },
    });
    ends.push(() => client.close());
    const get = (target: string) => client.request({ method: "GET", target, headers: [], body: null });
    const answer = await get("/a");
    // Waits for the only connection.
    const second = get("/b");
    const taking = take(answer.body);
    lake.goOn();
    expect(await taking).toBe(BODY_BYTES);
    expect((await readAll((await second).body)).toString()).toBe("real");
  });
}
