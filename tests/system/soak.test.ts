/** The soak's own eyes: a server that lies is found out, whatever the lie, and so is one that grows. */
import { afterEach, describe, expect, test } from "bun:test";
import { createServer, type Socket } from "node:net";
import { createSimService } from "../../sim/lake/service.ts";
import { type Truth, watchTruth } from "../crash/truth.ts";
import { growthOf, type Look, tooManyFiles } from "../soak/watch.ts";
import { nothingSeen, type Outcome, type Seen, type Wanted, Wire } from "../soak/wire.ts";
import { cleanup, pattern } from "./harness.ts";

const undo = cleanup();
afterEach(() => undo.run());

const SIZE = 1000;
const WANTED: Wanted = {
  name: "soak/b",
  method: "GET",
  range: null,
  etag: null,
  missing: false,
  staleMsMax: 0,
  signedBy: "sharedKey",
};
const body = (seed: number, length = SIZE): Buffer => Buffer.from(pattern(seed, length).read(0, length));
const answer = (etag: string, bytes: Buffer, status = "200 OK", length = bytes.length): Buffer =>
  Buffer.concat([
    Buffer.from(`HTTP/1.1 ${status}\r\nETag: ${etag}\r\nContent-Length: ${length}\r\nx-forebay: hit\r\n\r\n`),
    bytes,
  ]);

/** Asks a server that answers by `reply` for what is wanted, all at once. */
async function asked(
  truth: Truth,
  wanted: readonly Wanted[],
  reply: (socket: Socket) => void,
): Promise<{ readonly seen: Seen; readonly outcomes: Outcome[] }> {
  const server = createServer((socket) => socket.once("data", () => reply(socket)).on("error", () => {}));
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  undo.add(() => server.close());
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const seen = nothingSeen();
  const wire = await Wire.open(port, truth, seen);
  const outcomes = await wire.ask(wanted);
  wire.abort();
  return { seen, outcomes };
}

function lakeWith(...seeds: readonly number[]): { readonly truth: Truth; readonly etags: readonly string[] } {
  const truth = watchTruth(createSimService());
  const etags = seeds.map((seed) => {
    truth.change("soak/b", seed, SIZE);
    return truth.latest("soak/b").etag;
  });
  return { truth, etags };
}

describe("a connection of the soak", () => {
  const { truth, etags } = lakeWith(1);
  const etag = etags[0] ?? "";

  test("takes what is right, also pipelined, and 304 with or without an ETag", async () => {
    const conditional = { ...WANTED, etag };
    const { seen, outcomes } = await asked(truth, [WANTED, WANTED, conditional, conditional], (socket) =>
      socket.write(
        Buffer.concat([
          answer(etag, body(1)),
          answer(etag, body(1)),
          Buffer.from(`HTTP/1.1 304 Not Modified\r\nETag: ${etag}\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n`),
        ]),
      ),
    );
    expect(seen.wrong).toEqual([]);
    expect(outcomes).toEqual(["done", "done", "done", "done"]);
    expect([seen.requests, seen.bytes]).toEqual([4, 2 * SIZE]);
  });

  const flipped = body(1);
  flipped[617] = (flipped[617] ?? 0) ^ 1;
  const lies: readonly (readonly [string, Buffer, RegExp])[] = [
    ["a wrong byte", answer(etag, flipped), /byte 617 is not that of/],
    ["another version's bytes", answer(etag, body(2)), /byte \d+ is not that of/],
    ["an ETag that never was", answer('"0x1"', body(1)), /was never that of this blob/],
    ["a wrong length", answer(etag, body(1, 999)), /999 bytes announced instead of 1000/],
    ["an error", answer(etag, Buffer.alloc(0), "503 Busy"), /status 503: not asked for/],
    ["more than was asked for", Buffer.concat([answer(etag, body(1)), Buffer.from("x")]), /nobody asked for/],
    ["no length", Buffer.from(`HTTP/1.1 200 OK\r\nETag: ${etag}\r\n\r\n`), /no length/],
  ];
  for (const [what, bytes, complaint] of lies) {
    test(`finds ${what}`, async () => {
      const { seen } = await asked(truth, [WANTED], (socket) => socket.write(bytes));
      expect(seen.wrong.length).toBe(1);
      expect(seen.wrong[0]).toMatch(complaint);
    });
  }

  test("finds a cut of a version that is current, and lets one of a replaced version pass", async () => {
    const cut = (given: Truth, of: string): ReturnType<typeof asked> =>
      asked(given, [{ ...WANTED, staleMsMax: 60_000 }], (socket) =>
        socket.end(answer(of, body(1).subarray(0, 10), "200 OK", SIZE)),
      );
    expect((await cut(truth, etag)).seen.wrong.join()).toMatch(/cut at 10/);
    const { truth: changed, etags: both } = lakeWith(1, 2);
    const { seen, outcomes } = await cut(changed, both[0] ?? "");
    expect([seen.wrong, outcomes, seen.cut]).toEqual([[], ["cut"], 1]);
  });

  test("finds a version that is too old, by the bound of its set", async () => {
    const { truth: changed, etags: both } = lakeWith(1, 2);
    const replaced = changed.version("soak/b", both[0] ?? "");
    if (replaced !== undefined) replaced.untilMs -= 5_000;
    const given = (staleMsMax: number): ReturnType<typeof asked> =>
      asked(changed, [{ ...WANTED, staleMsMax }], (socket) => socket.write(answer(both[0] ?? "", body(1))));
    expect((await given(1_000)).seen.wrong.join()).toMatch(/replaced \d+ ms too long ago/);
    expect((await given(60_000)).seen.wrong).toEqual([]);
  });
});

describe("growth", () => {
  const MIB = 1 << 20;
  const looks = (of: (second: number) => Partial<Look>): Look[] =>
    Array.from({ length: 600 }, (_, second) => ({
      ...{ atMs: second * 1000, pid: 7, role: "server", memoryBytes: 200 * MIB, sockets: 500, files: 90, unlinked: 0 },
      ...of(second),
    }));

  test("a heap that goes up and down does not grow; nor does what grew while it warmed up", () => {
    const saw = looks((second) => ({ memoryBytes: (150 + 40 * (second % 9)) * MIB, unlinked: second % 50 }));
    expect(growthOf(saw, 0).grown).toEqual([]);
    const start = looks((second) => ({ memoryBytes: Math.min(400, 50 + 4 * second) * MIB }));
    expect(growthOf(start, 200_000).grown).toEqual([]);
  });

  test("leaks are found: memory, sockets, unlinked files", () => {
    const leaks: readonly ((second: number) => Partial<Look>)[] = [
      (second) => ({ memoryBytes: (150 + 40 * (second % 9) + second / 3) * MIB }),
      (second) => ({ sockets: 500 + second }),
      (second) => ({ unlinked: second / 2 }),
    ];
    for (const leak of leaks) expect(growthOf(looks(leak), 60_000).grown.length).toBe(1);
    expect(
      tooManyFiles(
        looks(() => ({ files: 90 })),
        100,
      ),
    ).toEqual([]);
    expect(
      tooManyFiles(
        looks((second) => ({ files: second })),
        100,
      ).length,
    ).toBe(1);
  });
});
