/** Named races: what overtakes what, who dies when, and what a change must make everybody see. */
import { describe, expect, test } from "bun:test";
import { MIB } from "../../src/base/limits.ts";
import { headerOf } from "../../src/http/types.ts";
import { RULES } from "./rules.ts";
import { bytesOf } from "./running.ts";
import { expectWhole, type Scene, stage } from "./scene.ts";

const NAME = "five/data";
const SIZE = 70_000;

/** Lets time pass in small steps until `ready`; throws after a while. */
async function until(scene: Scene, ready: () => boolean): Promise<void> {
  for (let i = 0; i < 5_000; i++) {
    if (ready()) return;
    await scene.advance(0.5);
  }
  throw new Error("the moment never came");
}

describe("many readers of one cold blob", () => {
  for (const servers of [1, 2]) {
    test(`100 readers on ${servers} server(s) cost the lake each byte once`, async () => {
      const scene = await stage({ servers, blockBytes: MIB });
      const size = 3 * MIB + 12_345;
      scene.foreign(NAME, 1, size);
      const all = Array.from({ length: 100 }, (_, i) => scene.ask(i % servers, NAME).received);
      for (const received of await scene.settle(Promise.all(all))) expectWhole(received, 1, size);
      expect(scene.world.lake.takenBytes(NAME)).toBe(size);
      scene.world.end();
    });
  }

  test("ranges all over a cold blob cost the lake each byte once", async () => {
    const scene = await stage({ blockBytes: MIB });
    const size = 4 * MIB;
    scene.foreign(NAME, 1, size);
    const ranges = Array.from({ length: 16 }, (_, i) => [i * (size / 16), (i + 1) * (size / 16) - 1] as const);
    const all = ranges.map((range, i) => scene.ask(i % 2, NAME, { range }).received);
    const answers = await scene.settle(Promise.all(all));
    for (const [i, received] of answers.entries()) expectWhole(received, 1, size, ranges[i]);
    expect(scene.world.lake.takenBytes(NAME)).toBe(size);
    scene.world.end();
  });

  test("what one server brought is a hit of the other at once, whatever that one knew", async () => {
    for (const known of ["nothing", "a part"]) {
      const scene = await stage({ servers: 2, blockBytes: 10_000 });
      scene.foreign(NAME, 1, SIZE);
      if (known === "a part") await scene.settle(scene.ask(1, NAME, { range: [0, 9_999] }).received);
      expectWhole(await scene.read(0, NAME), 1, SIZE);
      // The keeper has heard of it; the index has not.
      await scene.advance(20);
      expect(scene.world.keeper()?.stats().pendingBlocks).toBeGreaterThan(0);
      const received = await scene.read(1, NAME);
      expectWhole(received, 1, SIZE);
      expect([known, headerOf(received.headers, "x-forebay")]).toEqual([known, "hit"]);
      scene.world.end();
    }
  });

  test("callers with one token ask once whether it may read", async () => {
    const scene = await stage({ servers: 1 });
    scene.foreign(NAME, 1, SIZE);
    await scene.read(0, NAME);
    const before = scene.world.lake.reads(NAME);
    const all = Array.from({ length: 30 }, () => scene.ask(0, NAME, { caller: "token" }).received);
    for (const received of await scene.settle(Promise.all(all))) expectWhole(received, 1, SIZE);
    expect(scene.world.lake.reads(NAME) - before).toBe(1);
    scene.world.end();
  });

  test("strict readers share checks and see every change", async () => {
    const scene = await stage();
    scene.foreign("strict/data", 1, 5_000);
    await scene.read(0, "strict/data");
    scene.foreign("strict/data", 2, 5_000);
    const all = Array.from({ length: 40 }, (_, i) => scene.ask(i % 2, "strict/data").received);
    for (const received of await scene.settle(Promise.all(all))) expectWhole(received, 2, 5_000);
    expect(scene.world.lake.reads("strict/data")).toBeLessThan(12);
    scene.world.end();
  });
});

describe("a change through Forebay", () => {
  test("overtakes a check: what the check brings is not kept", async () => {
    const scene = await stage();
    const { lake } = scene.world;
    scene.foreign(NAME, 1, SIZE);
    // Answers take long on their way back; the write's own takes as long, and comes later.
    lake.way.travelMsMax = 400;
    const slow = scene.ask(0, NAME);
    await until(scene, () => lake.reads(NAME) > 0);
    lake.way.travelMsMax = 1;
    expect(await scene.settle(scene.put(1, NAME, 2, SIZE).received)).toMatchObject({ status: 201 });
    const early = scene.ask(0, NAME);
    const late = scene.ask(1, NAME);
    await scene.settle(slow.received);
    for (const one of [early, late]) expectWhole(await scene.settle(one.received), 2, SIZE);
    for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 2, SIZE);
    scene.world.end();
  });

  test("comes between lease and publication: the publication is void", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, SIZE);
    const reading = scene.ask(0, NAME);
    await until(scene, () => (scene.world.keeper()?.stats().leasesHeld ?? 0) > 0);
    expect(await scene.settle(scene.put(1, NAME, 2, SIZE).received)).toMatchObject({ status: 201 });
    const received = await scene.settle(reading.received);
    if (received.ending === "complete") {
      const old = Buffer.compare(received.bytes, bytesOf(1, SIZE)) === 0;
      expectWhole(received, old ? 1 : 2, SIZE);
    }
    for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 2, SIZE);
    scene.world.end();
  });

  test("whose acknowledgement was lost is seen by the next read, on every server", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, SIZE);
    for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 1, SIZE);
    scene.world.lake.forwardFaults.force("lostAck", 1, (request) => request.method === "PUT");
    expect((await scene.settle(scene.put(0, NAME, 2, SIZE).received)).status).toBeGreaterThanOrEqual(500);
    for (const server of [1, 0]) expectWhole(await scene.read(server, NAME), 2, SIZE);
    scene.world.end();
  });

  test("that the lake did twice is seen as it is in the end", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, SIZE);
    await scene.read(0, NAME);
    scene.world.lake.forwardFaults.force("duplicate", 1, (request) => request.method === "PUT");
    await scene.settle(scene.put(0, NAME, 2, SIZE).received);
    const received = await scene.read(1, NAME);
    expectWhole(received, 2, SIZE);
    expect(headerOf(received.headers, "etag")).toBe(scene.world.lake.states(NAME).at(-1)?.etag ?? "");
    scene.world.end();
  });

  test("of an immutable path is seen after a power loss, also when its acknowledgement was lost", async () => {
    for (const lost of [false, true]) {
      for (let seed = 1; seed <= 10; seed++) {
        const scene = await stage({ seed });
        const { world } = scene;
        scene.foreign("fixed/data", 1, SIZE);
        expectWhole(await scene.read(0, "fixed/data"), 1, SIZE);
        await scene.advance(500);
        expect(expectWhole(await scene.read(1, "fixed/data"), 1, SIZE)).toBe("hit");
        if (lost) world.lake.forwardFaults.force("lostAck", 1, (request) => request.method === "PUT");
        await scene.settle(scene.put(1, "fixed/data", 2, SIZE).received);
        world.powerLoss();
        await scene.settle(world.boot());
        for (const server of [0, 1]) expectWhole(await scene.read(server, "fixed/data"), 2, SIZE);
        world.end();
      }
    }
  });

  test("of an immutable path is refused while it cannot be marked", async () => {
    const scene = await stage();
    scene.foreign("fixed/data", 1, SIZE);
    scene.world.killKeeper();
    expect(await scene.settle(scene.put(0, "fixed/data", 2, SIZE).received)).toMatchObject({ status: 503 });
    expect(scene.world.lake.states("fixed/data").length).toBe(2);
    scene.world.end();
  });
});

describe("an immutable path", () => {
  test("is not asked about again, by any server, nor after a power loss", async () => {
    const scene = await stage();
    const { world } = scene;
    scene.foreign("fixed/data", 1, SIZE);
    expectWhole(await scene.read(0, "fixed/data"), 1, SIZE);
    await scene.advance(60_000);
    const reads = world.lake.reads("fixed/data");
    for (const server of [0, 1]) expect(expectWhole(await scene.read(server, "fixed/data"), 1, SIZE)).toBe("hit");
    // Blocks and records that are two commits old have long reached stable storage.
    world.powerLoss();
    await scene.settle(world.boot());
    const after = await scene.read(1, "fixed/data");
    const temperature = expectWhole(after, 1, SIZE);
    if (temperature === "hit") expect(world.lake.reads("fixed/data")).toBe(reads);
    world.end();
  });

  test("that became immutable is checked once more in its new era", async () => {
    const scene = await stage();
    const { world } = scene;
    scene.foreign("five/data", 1, SIZE);
    scene.foreign("fixed/data", 1, SIZE);
    for (const name of ["five/data", "fixed/data"]) expectWhole(await scene.read(0, name), 1, SIZE);
    await scene.settle(world.reload({ rules: RULES[1] ?? [] }));
    // Changed while it was not immutable, and so without a mark; then the power fails, and it becomes immutable again.
    scene.foreign("fixed/data", 2, SIZE);
    await scene.settle(scene.put(0, "five/data", 2, SIZE).received);
    world.powerLoss();
    await scene.settle(world.boot());
    await scene.settle(world.reload({ rules: RULES[0] ?? [] }));
    for (const server of [0, 1]) {
      expectWhole(await scene.read(server, "fixed/data"), 2, SIZE);
      expectWhole(await scene.read(server, "five/data"), 2, SIZE);
    }
    world.end();
  });
});

describe("a response under way", () => {
  test("is cut when the blob changes between two of its ranges, never mixed", async () => {
    const scene = await stage();
    const { lake } = scene.world;
    scene.foreign(NAME, 1, SIZE);
    lake.way.pieceMsMax = 20;
    lake.way.pieceBytesMax = 3_000;
    const reading = scene.ask(0, NAME, { manners: { pauseMs: 2, pieceBytes: 2_000 } });
    await until(scene, () => lake.takenBytes(NAME) > 8_000);
    scene.foreign(NAME, 2, SIZE);
    const received = await scene.settle(reading.received);
    const got = received.bytes.length;
    expect(Buffer.compare(received.bytes, bytesOf(1, SIZE).subarray(0, got))).toBe(0);
    expect({ ending: received.ending, whole: got === SIZE }).toMatchObject(
      received.ending === "complete" ? { whole: true } : { ending: "cut", whole: false },
    );
    await scene.advance(6_000);
    expectWhole(await scene.read(1, NAME), 2, SIZE);
    scene.world.end();
  });

  test("is finished though its version was evicted", async () => {
    const scene = await stage({ flashBytesMax: 300_000 });
    scene.foreign(NAME, 1, SIZE);
    await scene.read(0, NAME);
    await scene.advance(500);
    const slow = scene.ask(0, NAME, { manners: { pauseMs: 300, pieceBytes: 2_000 } });
    await scene.advance(900);
    for (let i = 0; i < 8; i++) {
      scene.foreign(`five/other-${i}`, 10 + i, SIZE);
      expectWhole(await scene.read(1, `five/other-${i}`), 10 + i, SIZE);
      await scene.advance(500);
    }
    expect(scene.world.keeper()?.stats().evictedVersions ?? 0).toBeGreaterThan(0);
    expectWhole(await scene.settle(slow.received), 1, SIZE);
    scene.world.end();
  });
});

describe("a process that dies", () => {
  test("the keeper between publication and claim: readers are answered all the same", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, SIZE);
    const reading = scene.ask(0, NAME);
    await until(scene, () => (scene.world.keeper()?.stats().activeVersions ?? 0) > 0);
    scene.world.killKeeper();
    expectWhole(await scene.settle(reading.received), 1, SIZE);
    expectWhole(await scene.read(1, NAME), 1, SIZE);
    await scene.settle(scene.world.startKeeper());
    await scene.advance(500);
    await scene.read(0, NAME);
    expect(expectWhole(await scene.read(1, NAME), 1, SIZE)).toBe("hit");
    scene.world.end();
  });

  test("a server in the middle of a fill that another waits for", async () => {
    const scene = await stage();
    const { lake, keeper } = scene.world;
    scene.foreign(NAME, 1, SIZE);
    lake.way.pieceMsMax = 50;
    lake.way.pieceBytesMax = 2_000;
    const doomed = scene.ask(0, NAME);
    await until(scene, () => (keeper()?.stats().reservedBytes ?? 0) > 0 && lake.takenBytes(NAME) > 4_000);
    const waiting = scene.ask(1, NAME);
    await scene.advance(20);
    scene.world.killServer(0);
    expect((await scene.settle(doomed.received)).ending).toBe("cut");
    const received = await scene.settle(waiting.received);
    expectWhole(received, 1, SIZE);
    expect(received.endedAtMs - received.startedAtMs).toBeLessThan(30_000);
    scene.world.end();
  });

  test("a client in the middle of a fill with its own credential: the fill ends with it, others go on", async () => {
    const scene = await stage({ ownCredential: false });
    const { lake } = scene.world;
    scene.foreign("open/data", 1, SIZE);
    lake.foreign((service) => service.setToken("t", null));
    lake.way.pieceMsMax = 50;
    const leaving = scene.ask(0, "open/data", { caller: "token", manners: { leaveAfterBytes: 3_000 } });
    const staying = scene.ask(0, "open/data", { caller: "narrow-token" });
    const other = scene.ask(1, "open/data", { caller: "token" });
    expect((await scene.settle(leaving.received)).ending).toBe("left");
    expect((await scene.settle(staying.received)).status).toBe(403);
    expectWhole(await scene.settle(other.received), 1, SIZE);
    await scene.advance(40_000);
    expect(scene.world.servers[0]?.stats.fillsNow).toBe(0);
    expect(scene.world.servers[0]?.stats.fills ?? 0).toBeLessThan(50);
    scene.world.end();
  });

  test("all of them, by a power loss in the middle of filling: nothing torn is served afterwards", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const scene = await stage({ seed });
      const { world } = scene;
      for (const name of ["fixed/a", "five/b"]) scene.foreign(name, 1, SIZE);
      const all = ["fixed/a", "five/b"].map((name) => scene.ask(0, name).received);
      await scene.advance(seed * 15);
      world.powerLoss();
      await scene.settle(Promise.all(all));
      await scene.settle(world.boot());
      for (const name of ["fixed/a", "five/b"]) {
        for (const server of [0, 1]) expectWhole(await scene.read(server, name), 1, SIZE);
      }
      world.end();
    }
  });
});

describe("a change that is under way while its path becomes immutable", () => {
  test("is seen after a power loss: it was not marked when it began", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const scene = await stage({ seed });
      const { world } = scene;
      scene.foreign(NAME, 1, SIZE);
      await scene.read(0, NAME);
      // It travels for long before the lake sees it.
      world.lake.way.travelMsMax = 20_000;
      const writing = scene.put(1, NAME, 2, SIZE);
      await scene.advance(50);
      world.lake.way.travelMsMax = 1;
      await scene.settle(world.reload({ rules: RULES[1] ?? [] }));
      const seen = await scene.read(0, NAME);
      const old = Buffer.compare(seen.bytes, bytesOf(1, SIZE)) === 0;
      expectWhole(seen, old ? 1 : 2, SIZE);
      expect(await scene.settle(writing.received)).toMatchObject({ status: 201 });
      await scene.advance(500);
      world.powerLoss();
      await scene.settle(world.boot());
      for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 2, SIZE);
      world.end();
    }
  });
});
