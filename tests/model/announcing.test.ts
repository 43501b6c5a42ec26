/**
 * Who can make Forebay forget: a request that the lake refuses costs nothing of what flash holds of immutable paths,
 * and one that the lake accepts is never missed.
 */
import { expect, test } from "bun:test";
import type { Manners } from "../../sim/exchange.ts";
import { SIM_ACCOUNT } from "../../sim/lake/service.ts";
import { createWorld, type World } from "../../sim/world.ts";
import { defaultPolicy, type PolicyRule } from "../../src/engine/policy.ts";
import { headerOf, type RawHeaders } from "../../src/http/types.ts";
import type { OwnLake } from "../../src/lake/types.ts";
import { createClients } from "./clients.ts";

const RULE: PolicyRule = {
  ...defaultPolicy,
  path: "imm",
  account: null,
  container: "imm",
  prefix: "",
  maxStaleMs: "immutable",
};
const VERSION: [string, string] = ["x-ms-version", "2025-01-05"];
const SIZE = 5_000;

interface Stage {
  readonly world: World;
  /** How many of the blobs are answered from flash, unasked. */
  hits(): Promise<number>;
  send(method: string, target: string, headers: RawHeaders, manners?: Manners, body?: Uint8Array): Promise<number>;
  put(name: string, fill: number, key: "key" | "false"): Promise<number>;
  read(name: string): Promise<Uint8Array>;
}

async function stage(lake: (real: OwnLake) => OwnLake = (real) => real): Promise<Stage> {
  const world = createWorld({ seed: 1, servers: 1, rules: [RULE], flaws: { lake } });
  const { clock } = world;
  await clock.settle(world.boot());
  const clients = createClients(world.lake.service, clock.monotonicMs(), Buffer.alloc(32, 1).toString("base64"));
  const names = Array.from({ length: 5 }, (_, i) => `imm/b${i}`);
  for (const name of names) {
    const [container = "", blob = ""] = name.split("/");
    world.lake.foreign((service) => service.putBlob(container, blob, new Uint8Array(SIZE).fill(1)));
  }
  const ask = (name: string) =>
    clock.settle(
      world.send(0, {
        method: "GET",
        ...clients.sign("key", { method: "GET", name, headers: [VERSION] }, clock.wallMs()),
      }).received,
    );
  for (const name of names) await ask(name);
  await clock.advance(1_000);
  return {
    world,
    hits: async () => {
      let hits = 0;
      for (const name of names) if (headerOf((await ask(name)).headers, "x-forebay") === "hit") hits++;
      return hits;
    },
    send: async (method, target, headers, manners = {}, body = new Uint8Array(0)) => {
      const request = { method, target, headers: [...VERSION, ...headers], manners, body };
      return (await clock.settle(world.send(0, request).received)).status;
    },
    put: async (name, fill, key) => {
      const headers: [string, string][] = [VERSION, ["x-ms-blob-type", "BlockBlob"]];
      const signed = clients.sign("key", { method: "PUT", name, headers, contentLength: SIZE }, clock.wallMs());
      const sent = signed.headers.map((value) =>
        key === "false" && value.startsWith("SharedKey") ? value.replace(/:.{4}/, ":AAAA") : value,
      );
      const request = { method: "PUT", ...signed, headers: sent, body: new Uint8Array(SIZE).fill(fill) };
      return (await clock.settle(world.send(0, request).received)).status;
    },
    read: async (name) => (await ask(name)).bytes,
  };
}

test("a request without a credential costs nothing, though it leaves midway", async () => {
  const it = await stage();
  expect(await it.hits()).toBe(5);
  for (const target of ["x", "imm", "imm/b1", "imm/b1?comp=novel", "?x&", "imm?restype=container"]) {
    expect(await it.send("FOO", `/${SIM_ACCOUNT}/${target}`, ["Content-Length", "0"])).toBeGreaterThanOrEqual(400);
    expect(await it.send("DELETE", `/${SIM_ACCOUNT}/${target}`, [])).toBeGreaterThanOrEqual(400);
    expect(await it.hits()).toBe(5);
  }
  const manners = { leaveAfterMs: 40, pauseMs: 30, pieceBytes: 1_000 };
  await it.send("FOO", `/${SIM_ACCOUNT}/x`, ["Content-Length", "100000"], manners, new Uint8Array(100_000));
  await it.world.clock.advance(1_000);
  expect(await it.hits()).toBe(5);
  it.world.end();
});

test("a false signature costs a check at most, though its client leaves midway", async () => {
  const it = await stage();
  const versions = () => it.world.keeper()?.stats().versions;
  expect(await it.put("imm/b1", 2, "false")).toBe(403);
  expect(versions()).toBe(5);
  const date = new Date(it.world.clock.wallMs()).toUTCString();
  const signed = [
    "x-ms-date",
    date,
    "Authorization",
    `SharedKey ${SIM_ACCOUNT}:${Buffer.alloc(32).toString("base64")}`,
  ];
  await it.send("FOO", `/${SIM_ACCOUNT}/x`, signed);
  const manners = { leaveAfterMs: 40, pauseMs: 30, pieceBytes: 1_000 };
  const long = ["Content-Length", "100000", ...signed];
  await it.send("FOO", `/${SIM_ACCOUNT}/x`, long, manners, new Uint8Array(100_000));
  // One that has sent everything waits for nothing: the lake's answer is heard all the same.
  const { way } = it.world.lake;
  const usualMs = way.travelMsMax;
  way.travelMsMax = 400;
  for (let i = 0; i < 10; i++) await it.send("FOO", `/${SIM_ACCOUNT}/x`, signed, { leaveAfterMs: 40 });
  way.travelMsMax = usualMs;
  await it.world.clock.advance(10_000);
  expect(versions()).toBe(5);
  await it.hits();
  await it.world.clock.advance(1_000);
  expect(await it.hits()).toBe(5);
  it.world.end();
});

test("a token that only the lake can judge costs a check at most, though its client leaves", async () => {
  const it = await stage();
  const versions = () => it.world.keeper()?.stats().versions;
  const madeUp = ["Authorization", "Bearer made-up", "x-ms-blob-type", "BlockBlob"];
  for (const target of ["imm/b1", "imm/b2?comp=metadata", "imm?restype=container"]) {
    const status = await it.send("PUT", `/${SIM_ACCOUNT}/${target}`, ["Content-Length", "0", ...madeUp]);
    expect(status).toBeGreaterThanOrEqual(400);
  }
  const { way } = it.world.lake;
  const usualMs = way.travelMsMax;
  way.travelMsMax = 400;
  for (let i = 0; i < 10; i++) {
    await it.send("PUT", `/${SIM_ACCOUNT}/imm/b3`, ["Content-Length", "0", ...madeUp], { leaveAfterMs: 40 });
  }
  way.travelMsMax = usualMs;
  await it.world.clock.advance(10_000);
  expect([versions(), it.world.keeper()?.stats().marks]).toEqual([5, 0]);
  await it.hits();
  await it.world.clock.advance(1_000);
  expect(await it.hits()).toBe(5);
  it.world.end();
});

/** A lake that takes a Put Blob of `imm/b1` whoever asks, with bytes of 3. */
async function credulous(): Promise<Stage> {
  const body = { lengthBytes: 0, read: async () => null, cancel: () => {} };
  let world: World | null = null;
  const it = await stage((real) => ({
    ...real,
    forward: async (request) => {
      if (request.method !== "PUT" || world === null) return real.forward(request);
      world.lake.foreign((service) => service.putBlob("imm", "b1", new Uint8Array(SIZE).fill(3)));
      request.body?.close();
      return { head: { status: 201, reason: "Created", headers: [] }, body };
    },
  }));
  world = it.world;
  return it;
}

test("a change that the lake makes against our judgement is marked before its client hears of it", async () => {
  const it = await credulous();
  expect(await it.hits()).toBe(5);
  expect(await it.put("imm/b1", 2, "false")).toBe(201);
  it.world.powerLoss();
  await it.world.clock.settle(it.world.boot());
  expect((await it.read("imm/b1"))[0]).toBe(3);
  it.world.end();
});

test("a change without a credential that the lake makes nevertheless is seen", async () => {
  const it = await credulous();
  expect(await it.hits()).toBe(5);
  expect(await it.send("PUT", `/${SIM_ACCOUNT}/imm/b1`, ["Content-Length", "0"])).toBe(201);
  expect((await it.read("imm/b1"))[0]).toBe(3);
  it.world.powerLoss();
  await it.world.clock.settle(it.world.boot());
  expect((await it.read("imm/b1"))[0]).toBe(3);
  it.world.end();
});
