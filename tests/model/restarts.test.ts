/**
 * Changes of immutable paths around restarts: what was cached in an earlier life is believed without a check only while
 * nothing changed it, whoever dies when. Each history once gave the old bytes.
 */
import { describe, expect, test } from "bun:test";
import { SIM_ACCOUNT } from "../../sim/lake/service.ts";
import { headerOf } from "../../src/http/types.ts";
import { bytesOf } from "./running.ts";
import { expectWhole, type Scene, stage } from "./scene.ts";

const SIZE = 70_000;
const NAME = "fixed/data";
const PUT: [string, string][] = [
  ["x-ms-version", "2025-01-05"],
  ["x-ms-blob-type", "BlockBlob"],
];

/** A scene in which {@link NAME} was cached in an earlier epoch. */
async function cachedBefore(seed: number): Promise<Scene> {
  const scene = await stage({ seed });
  scene.foreign(NAME, 1, SIZE);
  expectWhole(await scene.read(0, NAME), 1, SIZE);
  await scene.advance(60_000);
  // Its mark makes all before it durable.
  await scene.settle(scene.put(0, "fixed/other", 9, 100).received);
  await scene.advance(60_000);
  await restart(scene);
  return scene;
}

async function restart(scene: Scene): Promise<void> {
  scene.world.powerLoss();
  await scene.settle(scene.world.boot());
}

/** A Put Blob whose body comes in pieces with `pauseMs` between. */
function slowPut(scene: Scene, pauseMs: number): ReturnType<Scene["put"]> {
  const { world, clients } = scene;
  world.lake.watch(NAME);
  const draft = { method: "PUT", name: NAME, headers: PUT, contentLength: SIZE };
  const signed = clients.sign("key", draft, world.clock.wallMs());
  const headers = [...signed.headers, "Content-Length", String(SIZE)];
  const manners = { pauseMs, pieceBytes: 2_000 };
  return world.send(0, { method: "PUT", target: signed.target, headers, body: bytesOf(2, SIZE), manners });
}

describe("a blob cached in an earlier life", () => {
  test("is a hit without a check", async () => {
    const scene = await cachedBefore(1);
    const received = await scene.read(0, NAME);
    expectWhole(received, 1, SIZE);
    expect(headerOf(received.headers, "x-forebay")).toBe("hit");
    scene.world.end();
  });

  test("is seen as changed by the read that follows the acknowledgement, on either server", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const scene = await cachedBefore(seed);
      if (seed % 2 === 0) for (const server of [0, 1]) await scene.read(server, NAME);
      expect((await scene.settle(scene.put(1, NAME, 2, SIZE).received)).status).toBe(201);
      for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 2, SIZE);
      scene.world.end();
    }
  });

  test("is seen as changed though the acknowledgement was lost", async () => {
    const scene = await cachedBefore(3);
    scene.world.lake.forwardFaults.force("lostAck", 1, (request) => request.method === "PUT");
    expect((await scene.settle(scene.put(1, NAME, 2, SIZE).received)).status).toBeGreaterThanOrEqual(500);
    await scene.advance(600_000);
    expectWhole(await scene.read(0, NAME), 2, SIZE);
    scene.world.end();
  });

  test("is seen as changed though the keeper died while the lake was at work", async () => {
    const scene = await cachedBefore(3);
    scene.world.lake.way.travelMsMax = 2_000;
    const put = scene.put(1, NAME, 2, SIZE);
    await scene.advance(60);
    expect(scene.world.keeper()?.stats().marks).toBeGreaterThan(0);
    scene.world.killKeeper();
    const { status } = await scene.settle(put.received);
    // Without a keeper nobody can promise that a restart will know of it.
    expect(status).toBe(503);
    await scene.advance(30_000);
    expectWhole(await scene.read(0, NAME), 2, SIZE);
    scene.world.end();
  });
});

describe("the life after", () => {
  for (const trouble of ["none", "an index that is full", "an index that fails"]) {
    test(`knows of a change that was under way (${trouble})`, async () => {
      const scene = await stage();
      const { world } = scene;
      scene.foreign(NAME, 1, SIZE);
      expectWhole(await scene.read(0, NAME), 1, SIZE);
      await scene.advance(60_000);
      world.lake.way.travelMsMax = 2_000;
      const put = scene.put(1, NAME, 2, SIZE);
      await scene.advance(60);
      expect(world.keeper()?.stats().marks).toBe(1);
      world.killKeeper();
      await scene.settle(put.received);
      world.lake.way.travelMsMax = 2;
      world.powerLoss();
      if (trouble === "an index that is full") world.index.isFull = () => true;
      if (trouble === "an index that fails") world.index.failing = true;
      await scene.settle(world.boot());
      for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 2, SIZE);
      world.index.isFull = () => false;
      world.index.failing = false;
      await scene.advance(60_000);
      for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 2, SIZE);
      world.end();
    });
  }

  test("knows of a change that outlived its mark", async () => {
    const scene = await stage({ bounds: { changeMarkTtlMs: 60_000 } });
    const { world } = scene;
    scene.foreign(NAME, 1, SIZE);
    expectWhole(await scene.read(0, NAME), 1, SIZE);
    const put = slowPut(scene, 5_000);
    await scene.advance(80_000);
    expect(world.keeper()?.stats().marks).toBe(0);
    // Right: nothing happened yet.
    expectWhole(await scene.read(1, NAME), 1, SIZE);
    await scene.advance(1_000);
    expect(world.keeper()?.stats().versions).toBe(1);
    expect((await scene.settle(put.received)).status).toBe(201);
    await scene.settle(scene.put(0, "fixed/other", 9, 100).received);
    await restart(scene);
    for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 2, SIZE);
    world.end();
  });

  test("knows of a change during which the index was lost", async () => {
    const scene = await stage();
    const { world } = scene;
    scene.foreign(NAME, 1, SIZE);
    const put = slowPut(scene, 1_000);
    await scene.advance(2_000);
    expect(world.keeper()?.stats().marks).toBe(1);
    world.killKeeper();
    world.index.lose();
    await scene.settle(world.startKeeper());
    await scene.advance(500);
    expectWhole(await scene.read(1, NAME), 1, SIZE);
    await scene.advance(1_000);
    expect((await scene.settle(put.received)).status).toBe(201);
    await scene.settle(scene.put(0, "fixed/other", 9, 100).received);
    await scene.advance(1_000);
    await restart(scene);
    for (const server of [0, 1]) expectWhole(await scene.read(server, NAME), 2, SIZE);
    world.end();
  });
});

test("a made-up token costs nothing, though its client leaves in the middle of a body", async () => {
  const scene = await stage();
  const { world } = scene;
  const names = [0, 1, 2, 3, 4].map((n) => `fixed/b${n}`);
  for (const name of names) {
    scene.foreign(name, 1, SIZE);
    await scene.read(0, name);
  }
  await scene.advance(1_000);
  const headers = ["x-ms-version", "2025-01-05", "Authorization", "Bearer made-up", "Content-Length", "100000"];
  for (const target of ["fixed/b1", "fixed?restype=container"]) {
    const left = world.send(0, {
      method: "PUT",
      target: `/${SIM_ACCOUNT}/${target}`,
      headers,
      body: new Uint8Array(100_000),
      manners: { leaveAfterMs: 40, pauseMs: 30, pieceBytes: 1_000 },
    });
    await scene.settle(left.received);
  }
  await scene.advance(20 * 60_000);
  expect([world.keeper()?.stats().versions, world.keeper()?.stats().marks]).toEqual([5, 0]);
  world.end();
});
