/** Every fault that the lake or the flash can have, one at a time: no client takes wrong bytes for right ones. */
import { describe, expect, test } from "bun:test";
import { FAULTS, type Fault } from "../../sim/lake/faults.ts";
import { SIM_ACCOUNT } from "../../sim/lake/service.ts";
import { headerOf } from "../../src/http/types.ts";
import { bytesOf } from "./running.ts";
import { expectFailed, expectWhole, type Scene, stage } from "./scene.ts";
import { createWriters } from "./writers.ts";

const NAME = "five/data";
const SIZE = 70_000;

/** Reads until an answer is whole; a bounded number of times. */
async function readUntilWhole(scene: Scene, server: number): Promise<number> {
  for (let attempt = 1; attempt <= 10; attempt++) {
    const received = await scene.read(server, NAME);
    if (received.status === 200 && received.ending === "complete") {
      expectWhole(received, 1, SIZE);
      return attempt;
    }
    expectFailed(received);
    await scene.advance(6_000);
  }
  throw new Error("never whole");
}

/** A whole answer is right; any other fails so that the client notices. */
async function readRightOrFailed(scene: Scene, server: number, content: number): Promise<void> {
  const received = await scene.read(server, NAME);
  if (received.status === 200 && received.ending === "complete") expectWhole(received, content, SIZE);
  else expectFailed(received);
}

/** Faults of answers that only a pinned read can see through. */
const OF_PINNED_READS: ReadonlySet<Fault> = new Set<Fault>(["otherEtag", "longBody", "wrongContentRange"]);

describe("a fault of the lake", () => {
  for (const fault of FAULTS) {
    test(`${fault}: reads are right or fail, and are right again afterwards`, async () => {
      const scene = await stage();
      const { readFaults, forwardFaults } = scene.world.lake;
      scene.foreign(NAME, 1, SIZE);
      const pinned = (request: { headers: readonly string[] }): boolean =>
        !OF_PINNED_READS.has(fault) || headerOf(request.headers, "if-match") !== undefined;
      readFaults.force(fault, 3, pinned);
      if (!OF_PINNED_READS.has(fault)) forwardFaults.force(fault, 1);
      await readRightOrFailed(scene, 0, 1);
      await readRightOrFailed(scene, 1, 1);
      await scene.settle(scene.put(0, "five/other", 5, 100).received);
      scene.world.lake.calmFaults();
      await scene.advance(300_000);
      await readUntilWhole(scene, 0);
      await scene.advance(100); // the last block is reported after its reader has it
      expect(expectWhole(await scene.read(1, NAME), 1, SIZE)).toBe("hit");
      const other = await scene.read(1, "five/other");
      if (other.status === 200) expect(Buffer.compare(other.bytes, bytesOf(5, 100))).toBe(0);
      else expect(other.status).toBe(404);
      scene.world.end();
    });
  }

  test("throttling with a time to wait: the fill waits as long and goes on", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, SIZE);
    const fills = (request: { headers: readonly string[] }): boolean =>
      headerOf(request.headers, "if-match") !== undefined;
    scene.world.lake.readFaults.force("serverBusyRetryAfter", 1, fills);
    scene.world.lake.readFaults.force("tooManyRequestsRetryAfterMs", 1, fills);
    const received = await scene.read(0, NAME);
    expectWhole(received, 1, SIZE);
    expect(received.endedAtMs - received.startedAtMs).toBeGreaterThan(1_000);
    scene.world.end();
  });

  test("a connection that breaks in the middle of the first answer is taken up where it broke", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, SIZE);
    scene.world.lake.readFaults.force("resetInBody", 2);
    expectWhole(await scene.read(0, NAME), 1, SIZE);
    scene.world.end();
  });

  test("an outage: what is within its bound is served, then 503 or what the policy says", async () => {
    const scene = await stage();
    scene.foreign(NAME, 1, SIZE);
    scene.foreign("serve/data", 2, SIZE);
    await scene.read(0, NAME);
    await scene.read(0, "serve/data");
    scene.world.lake.way.down = true;
    expect(expectWhole(await scene.read(1, NAME), 1, SIZE)).toBe("hit");
    await scene.advance(10_000);
    expect(await scene.read(1, NAME)).toMatchObject({ status: 503 });
    expect(expectWhole(await scene.read(1, "serve/data"), 2, SIZE)).toBe("hit");
    scene.world.end();
  });

  test("an outage after a change: what the change replaced is not served, whatever the policy says", async () => {
    const scene = await stage();
    scene.foreign("serve/data", 1, SIZE);
    await scene.read(0, "serve/data");
    expect(await scene.settle(scene.put(1, "serve/data", 2, SIZE).received)).toMatchObject({ status: 201 });
    scene.world.lake.way.down = true;
    expect(await scene.read(0, "serve/data")).toMatchObject({ status: 503 });
    scene.world.end();
  });
});

describe("an MD5 that does not fit", () => {
  test("a wrong property is believed to be wrong when the bytes come twice the same, and they are kept", async () => {
    const scene = await stage();
    const { world, clients } = scene;
    world.lake.foreign((service) => service.addContainer("five"));
    world.lake.watch("five/small");
    const running = { world, clients, acknowledged: [], pending: new Set<Promise<unknown>>(), snapshots: new Map() };
    const action = { do: "write", kind: "wrong-md5", server: 0, name: "five/small", caller: "key" } as const;
    await scene.settle(createWriters().write(running, 0, { ...action, size: 9_000, content: 1, leaveAfterMs: null }));
    await scene.advance(1_000);
    // What passed to the lake is on flash as it left: here the bytes are to come from the lake.
    await scene.settle(world.keeper()?.drop(`${SIM_ACCOUNT}/five/small`, null, "changed") ?? Promise.resolve());
    const received = await scene.read(0, "five/small");
    expectWhole(received, 1, 9_000);
    const digest = new Bun.CryptoHasher("md5").update(received.bytes).digest("base64");
    expect(headerOf(received.headers, "content-md5")).not.toBe(digest);
    expect(world.servers[0]?.stats.md5Mismatches).toBe(1);
    await scene.advance(100);
    expect(expectWhole(await scene.read(1, "five/small"), 1, 9_000)).toBe("hit");
    world.end();
  });

  test("a digest that came wrong once changes nothing about the bytes", async () => {
    const scene = await stage();
    scene.foreign("five/small", 1, 9_000);
    scene.world.lake.readFaults.force("wrongMd5", 1, (request) => request.method === "GET");
    expectWhole(await scene.read(0, "five/small"), 1, 9_000);
    expect(scene.world.servers[0]?.stats.md5Mismatches).toBe(1);
    scene.world.end();
  });

  test("damaged bytes are cut before the last of them, and not kept", async () => {
    const scene = await stage();
    scene.foreign("five/small", 1, 9_000);
    scene.world.lake.damageNext((request) => request.method === "GET");
    const damaged = await scene.read(0, "five/small");
    expect(damaged.ending).toBe("cut");
    expect(damaged.bytes.length).toBeLessThan(9_000);
    expectWhole(await scene.read(0, "five/small"), 1, 9_000);
    expectWhole(await scene.read(1, "five/small"), 1, 9_000);
    scene.world.end();
  });

  test("a damaged body and no second answer to compare with: cut, and right the next time", async () => {
    const scene = await stage();
    scene.foreign("five/small", 1, 9_000);
    scene.world.lake.damageNext((request) => request.method === "GET");
    const confirms = (request: { headers: readonly string[] }): boolean =>
      headerOf(request.headers, "if-match") !== undefined;
    scene.world.lake.readFaults.force("resetInBody", 2, confirms);
    expect((await scene.read(0, "five/small")).ending).toBe("cut");
    scene.world.lake.calmFaults();
    expectWhole(await scene.read(0, "five/small"), 1, 9_000);
    scene.world.end();
  });
});

describe("a fault of the flash", () => {
  const faults: readonly (readonly [string, (scene: Scene) => void])[] = [
    ["reads answer EIO", (scene) => Object.assign(scene.world.disk.faults, { failRead: 1 })],
    ["writes answer EIO", (scene) => Object.assign(scene.world.disk.faults, { failWrite: 1 })],
    ["flushes answer EIO", (scene) => Object.assign(scene.world.disk.faults, { failSync: 1 })],
    ["no space", (scene) => Object.assign(scene.world.disk.faults, { capacityBytes: scene.world.disk.usedBytes })],
    ["read-only", (scene) => Object.assign(scene.world.disk.faults, { readOnly: true })],
    ["the folder is gone", (scene) => Object.assign(scene.world.disk.faults, { vanished: true })],
  ];
  for (const [what, begin] of faults) {
    test(`${what}: reads go on from the lake, and from flash again afterwards`, async () => {
      const scene = await stage();
      scene.foreign(NAME, 1, SIZE);
      scene.foreign("five/warm", 2, SIZE);
      expectWhole(await scene.read(0, "five/warm"), 2, SIZE);
      await scene.advance(500);
      begin(scene);
      for (const server of [0, 1]) {
        const received = await scene.read(server, NAME);
        if (what !== "reads answer EIO") expectWhole(received, 1, SIZE);
        const warm = await scene.read(server, "five/warm");
        if (warm.ending === "complete") expectWhole(warm, 2, SIZE);
      }
      const calm = { failRead: 0, failWrite: 0, failSync: 0, capacityBytes: 2 ** 30, readOnly: false, vanished: false };
      Object.assign(scene.world.disk.faults, calm);
      await scene.advance(60_000);
      for (const server of [0, 1, 0, 1]) expectWhole(await scene.read(server, NAME), 1, SIZE);
      expect(expectWhole(await scene.read(1, NAME), 1, SIZE)).toBe("hit");
      scene.world.end();
    });
  }

  test("a block that cannot be read retires its file: the next read comes from the lake", async () => {
    const scene = await stage();
    scene.foreign("fixed/data", 1, SIZE);
    await scene.read(0, "fixed/data");
    await scene.advance(500);
    scene.world.disk.faults.failRead = 1;
    expect((await scene.read(0, "fixed/data")).ending).toBe("cut");
    await scene.advance(100);
    scene.world.disk.faults.failRead = 0;
    expect(expectWhole(await scene.read(0, "fixed/data"), 1, SIZE)).toBe("miss");
    expect(expectWhole(await scene.read(0, "fixed/data"), 1, SIZE)).toBe("hit");
    scene.world.end();
  });
});
