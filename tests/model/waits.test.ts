/** Nobody waits for what need not be waited for: refusals, a silent lake, readers that left, callers without a right. */
import { describe, expect, test } from "bun:test";
import { ForebayError } from "../../src/base/errors.ts";
import { limits, MIB } from "../../src/base/limits.ts";
import type { FlashKeeper } from "../../src/flash/types.ts";
import type { ClientResponse } from "../../src/http/types.ts";
import { headerOf } from "../../src/http/types.ts";
import type { OwnLake } from "../../src/lake/types.ts";
import { expectWhole, type Scene, stage } from "./scene.ts";

const NAME = "five/data";
const SIZE = 70_000;

interface Crowd {
  /** How long the slowest took. */
  readonly ms: number;
  readonly statuses: ReadonlySet<number>;
  /** How many took longer than a tenth of a second. */
  readonly slow: number;
}

/** `count` readers that begin at once. */
async function crowd(scene: Scene, name: string, count: number): Promise<Crowd> {
  const fromMs = scene.world.clock.monotonicMs();
  const all = Array.from({ length: count }, (_, i) => scene.ask(i % 2, name).received);
  const answers = await scene.settle(Promise.all(all));
  const ms = Math.max(...answers.map((received) => received.endedAtMs)) - fromMs;
  const slow = answers.filter((received) => received.endedAtMs - fromMs > 100).length;
  return { ms, statuses: new Set(answers.map((received) => received.status)), slow };
}

describe("a range beyond the end", () => {
  test("leaves what is cached where it is", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, SIZE);
    expectWhole(await scene.read(0, NAME), 1, SIZE);
    await scene.advance(6_000);
    for (const first of [SIZE, SIZE + 1_000_000]) {
      expect(await scene.read(0, NAME, { range: [first, first + 10] })).toMatchObject({ status: 416 });
    }
    expect(scene.world.keeper()?.stats()).toMatchObject({ versions: 1, dropped: { changed: 0 } });
    expect(expectWhole(await scene.read(1, NAME), 1, SIZE)).toBe("hit");
    scene.world.end();
  });

  test("of a blob that grew, or is no longer empty, finds the new version", async () => {
    const scene = await stage();
    for (const size of [1_000, 0]) {
      scene.foreign(NAME, 1, size);
      await scene.read(0, NAME);
      scene.foreign(NAME, 2, SIZE);
      await scene.advance(6_000);
      const range = [50_000, 50_009] as const;
      expectWhole(await scene.read(0, NAME, { range }), 2, SIZE, range);
      expectWhole(await scene.read(1, NAME), 2, SIZE);
      await scene.advance(6_000);
    }
    scene.world.end();
  });

  test("of an empty blob is refused by the lake", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, 0);
    await scene.read(0, NAME);
    await scene.advance(6_000);
    expect(await scene.read(0, NAME, { range: [0, 9] })).toMatchObject({ status: 416 });
    scene.world.end();
  });
});

describe("what the lake refuses", () => {
  test("a missing blob is asked for a few times, however many want it", async () => {
    const scene = await stage();
    scene.foreign("five/other", 1, 10);
    const { ms, statuses } = await crowd(scene, "five/missing", 400);
    expect([...statuses]).toEqual([404]);
    expect(ms).toBeLessThan(500);
    expect(scene.world.lake.reads("five/missing")).toBeLessThan(8);
    scene.world.end();
  });

  test("everybody gets the answer with the id of their own request", async () => {
    const scene = await stage({ servers: 1 });
    scene.foreign("five/other", 1, 10);
    const all = Array.from({ length: 10 }, () => scene.ask(0, "five/missing").received);
    for (const received of await scene.settle(Promise.all(all))) {
      expect(received).toMatchObject({ status: 404, ending: "complete" });
      expect(received.bytes.length).toBe(received.announcedBytes ?? -1);
      expect(headerOf(received.headers, "x-ms-client-request-id")).toBeUndefined();
    }
    scene.world.end();
  });

  test("a caller that may not read any more fails alone", async () => {
    for (let waitMs = 0; waitMs <= 60; waitMs += 20) {
      const scene = await stage({ servers: 1, ownCredential: false, blockBytes: 4096 });
      const { world } = scene;
      Object.assign(world.lake.way, { pieceMsMax: 5, pieceBytesMax: 4_000, travelMsMax: 80 });
      const size = 4096 * 60;
      scene.foreign(NAME, 1, size);
      for (const caller of ["narrow-token", "token"] as const) await scene.read(0, NAME, { caller, method: "HEAD" });
      const revoked = scene.ask(0, NAME, { caller: "token" });
      for (let i = 0; i < 2_000 && world.servers[0]?.stats.fills === 0; i++) await scene.advance(1);
      await scene.advance(waitMs);
      const good = scene.ask(0, NAME, { caller: "narrow-token" });
      scene.clients.revokeToken(world.clock.monotonicMs());
      expectWhole(await scene.settle(good.received), 1, size);
      const received = await scene.settle(revoked.received);
      if (received.ending === "complete") expectWhole(received, 1, size);
      world.end();
    }
  });
});

describe("a lake that says nothing", () => {
  test("is waited for once, and then not while what is too old may be given", async () => {
    const scene = await stage();
    const name = "serve/data";
    scene.foreign(name, 1, SIZE);
    for (const server of [0, 1]) expectWhole(await scene.read(server, name), 1, SIZE);
    await scene.advance(10_000);
    const { readFaults, forwardFaults } = scene.world.lake;
    for (const plan of [readFaults, forwardFaults]) plan.set("neverAnswers", 1);
    const first = await crowd(scene, name, 40);
    expect([...first.statuses]).toEqual([200]);
    // Each server finds out for itself.
    expect(first.ms).toBeLessThan(2 * limits.lakeCheckTimeoutMs + 100);
    // One of each server at most asks again.
    expect((await crowd(scene, name, 40)).slow).toBeLessThan(3);
    await scene.advance(limits.lakeAwayMs);
    const probing = scene.ask(0, name);
    await scene.advance(10);
    const fromMs = scene.world.clock.monotonicMs();
    const other = await scene.read(0, name);
    expectWhole(other, 1, SIZE);
    expect(other.endedAtMs - fromMs).toBeLessThan(100);
    expectWhole(await scene.settle(probing.received), 1, SIZE);
    // When it is back, it is believed again.
    scene.world.lake.calmFaults();
    scene.foreign(name, 2, SIZE);
    await scene.advance(limits.lakeAwayMs + limits.lakeCheckTimeoutMs);
    for (const server of [0, 1]) expectWhole(await scene.read(server, name), 2, SIZE);
    scene.world.end();
  });
});

describe("a keeper whose answer is lost", () => {
  test("leaves no block claimed for good", async () => {
    let lost = 0;
    const losing = (real: FlashKeeper): FlashKeeper => ({
      ...real,
      claim: async (...args) => {
        const claimed = await real.claim(...args);
        if (lost++ === 0) throw new ForebayError("timeout", "no answer");
        return claimed;
      },
    });
    const scene = await stage({ flaws: { keeper: losing } });
    scene.foreign(NAME, 1, SIZE);
    expectWhole(await scene.read(0, NAME), 1, SIZE);
    await scene.advance(1_000);
    expect(scene.world.keeper()?.stats().reservedBytes).toBe(0);
    expectWhole(await scene.read(1, NAME), 1, SIZE);
    await scene.advance(1_000);
    for (const server of [0, 1]) expect(expectWhole(await scene.read(server, NAME), 1, SIZE)).toBe("hit");
    scene.world.end();
  });

  test("about another server's block is asked again", async () => {
    let lost = 0;
    const losing = (real: FlashKeeper): FlashKeeper => ({
      ...real,
      awaitBlock: (...args) =>
        lost++ < 2 ? Promise.reject(new ForebayError("timeout", "no answer")) : real.awaitBlock(...args),
    });
    const scene = await stage({ flaws: { keeper: losing }, blockBytes: MIB });
    const { way } = scene.world.lake;
    way.pieceMsMax = 50;
    scene.foreign(NAME, 1, MIB);
    const first = scene.ask(0, NAME);
    await scene.advance(100);
    const second = scene.ask(1, NAME);
    for (const reading of [first, second]) expectWhole(await scene.settle(reading.received), 1, MIB);
    expect(lost).toBeGreaterThan(2);
    // The second took the first one's bytes.
    expect(scene.world.lake.takenBytes(NAME)).toBe(MIB);
    scene.world.end();
  });
});

/** Notes answers of the lake whose bodies were neither read to their end nor let go of. */
function noting(open: Set<object>, real: OwnLake): OwnLake {
  const noted = (response: ClientResponse): ClientResponse => {
    const { head, body } = response;
    let left = body.lengthBytes ?? Number.POSITIVE_INFINITY;
    const over = (): void => void open.delete(response);
    if (left > 0) open.add(response);
    const read = async (): Promise<Uint8Array | null> => {
      try {
        const bytes = await body.read();
        left -= bytes?.length ?? left;
        if (left <= 0) over();
        return bytes;
      } catch (error) {
        over();
        throw error;
      }
    };
    const cancel = (): void => {
      over();
      body.cancel();
    };
    return { head, body: { lengthBytes: body.lengthBytes, read, cancel } };
  };
  return {
    ...real,
    read: async (request) => noted(await real.read(request)),
    forward: async (request) => noted(await real.forward(request)),
  };
}

describe("readers that left", () => {
  test("leave no answer of the lake open behind them, whenever they go", async () => {
    const open = new Set<object>();
    const scene = await stage({ servers: 1, blockBytes: 4096, flaws: { lake: (real) => noting(open, real) } });
    scene.world.lake.way.travelMsMax = 100;
    // Flash cannot be written: bodies come straight from the lake.
    scene.world.disk.faults.failWrite = 1;
    for (let i = 0; i < 40; i++) {
      scene.foreign(`five/b${i}`, i + 1, SIZE);
      await scene.settle(scene.ask(0, `five/b${i}`, { manners: { leaveAfterMs: 60 + i * 5 } }).received);
      await scene.advance(5_000);
    }
    await scene.advance(60_000);
    expect(open.size).toBe(0);
    expect(scene.world.servers[0]?.stats.fillsNow).toBe(0);
    scene.world.end();
  });

  test("keep nobody from a block that stands behind what they had asked for", async () => {
    const scene = await stage({ servers: 1, blockBytes: MIB, capacityBytes: 1024 * MIB });
    const { lake, keeper, servers } = scene.world;
    scene.foreign("five/small", 99, 2 * MIB);
    await scene.read(0, "five/small", { range: [0, 10] });
    for (let i = 0; i < 8; i++) scene.foreign(`five/big${i}`, i + 1, 16 * MIB);
    Object.assign(lake.way, { pieceMsMax: 200, pieceBytesMax: 64 * 1024 });
    const leavers = Array.from({ length: 8 }, (_, i) =>
      scene.ask(0, `five/big${i}`, { manners: { leaveAfterMs: 400 } }),
    );
    await scene.advance(350);
    expect(servers[0]?.stats.fillsNow).toBeGreaterThan(limits.lakeFillConnectionsMax);
    for (const leaver of leavers) await scene.settle(leaver.received);
    await scene.advance(50);
    // What had not begun is given up; what streams may end.
    expect(servers[0]?.stats.fillsNow).toBeLessThanOrEqual(limits.lakeFillConnectionsMax);
    const range = [MIB, MIB + 10] as const;
    const fromMs = scene.world.clock.monotonicMs();
    const received = await scene.read(0, "five/small", { range });
    expectWhole(received, 99, 2 * MIB, range);
    expect(received.endedAtMs - fromMs).toBeLessThan(1_000);
    Object.assign(lake.way, { pieceMsMax: 1, pieceBytesMax: MIB });
    await scene.advance(60_000);
    expect(servers[0]?.stats.fillsNow).toBe(0);
    expect(keeper()?.stats().reservedBytes).toBe(0);
    scene.world.end();
  }, 30_000);
});
