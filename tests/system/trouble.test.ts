/** Processes that hang or fall, logs that cannot be written, and settings that change in the middle of work. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService, type SimService } from "../../sim/lake/service.ts";
import { takeFileLock } from "../../src/io/file-lock.ts";
import {
  ALL_SAS,
  ask,
  childrenOf,
  cleanup,
  committed,
  firstDifference,
  isAlive,
  pattern,
  type Up,
  until,
  up,
  warm,
} from "./harness.ts";

const MIB = 1 << 20;

let undo = cleanup();
beforeEach(() => {
  undo = cleanup();
});
afterEach(() => undo.run());

interface Place {
  readonly lake: SimService;
  readonly connection: string;
}

async function place(): Promise<Place> {
  const lake = createSimService();
  const server = await startSimLakeServer(lake);
  undo.add(() => server.close());
  return { lake, connection: server.connectionString };
}

async function start(config: Record<string, unknown>, servers = 1, extra: readonly string[] = []): Promise<Up> {
  const forebay = await up({ config, folder: undo.folder("trouble"), flashSize: "1GiB", servers, extra });
  undo.add(() => forebay.stop(1_000));
  return forebay;
}

const reloads = (forebay: Up): number => forebay.logs().split("settings reloaded").length - 1;
const serversOf = (forebay: Up): number[] =>
  childrenOf(forebay.pid)
    .filter((child) => child.role === "server")
    .map((child) => child.pid);

test("SIGHUP in the middle of a cold read does not cut it", async () => {
  const { lake, connection } = await place();
  const sizeBytes = 200 * MIB; // far more than is read ahead of a client that pauses
  lake.putBlob("live", "large", pattern(1, sizeBytes));
  const forebay = await start({ lake: connection });
  const response = await fetch(`${forebay.blobUrl}/live/large?${ALL_SAS}`, {
    headers: { "x-ms-version": "2022-11-02" },
  });
  const reader = response.body?.getReader();
  if (reader === undefined) throw new Error("an answer has a body");
  let at = 0;
  const take = async (): Promise<boolean> => {
    const { value, done } = await reader.read();
    if (done) return false;
    expect(firstDifference(1, at, value)).toBe(-1);
    at += value.length;
    return true;
  };
  await take();
  forebay.reconfigure({ lake: connection, policies: [{ path: "live/", maxStale: "1s" }] });
  await until("the reload", 10_000, () => reloads(forebay) > 0);
  const before = lake.stats.requests;
  while (await take());
  expect(at).toBe(sizeBytes);
  expect(lake.stats.requests).toBeGreaterThan(before); // parts of it were asked for after the reload
}, 40_000);

test("a reload that brings another lake by the same name: nothing cached of the first is served unchecked", async () => {
  const [one, two] = [await place(), await place()];
  one.lake.putBlob("live", "a", pattern(1, MIB));
  two.lake.putBlob("live", "other", pattern(3, 10)); // ETags are counted in this lake: these differ from the first's
  two.lake.putBlob("live", "a", pattern(2, MIB));
  const policies = [{ path: "live/", maxStale: "immutable" }];
  const forebay = await start({ lake: one.connection, policies }, 2);
  await warm(forebay.blobUrl, "live/a");
  await committed(forebay.adminUrl);
  const follow = async (connection: string, maxStale: string): Promise<void> => {
    const before = reloads(forebay);
    forebay.reconfigure({ lake: connection, policies: [{ path: "live/", maxStale }] });
    await until("the reload", 10_000, () => reloads(forebay) > before);
  };
  const seen = async (seed: number): Promise<void> => {
    for (let i = 0; i < 8; i++) {
      expect(firstDifference(seed, 0, (await ask(forebay.blobUrl, "live/a")).bytes)).toBe(-1);
    }
  };
  await seen(1);
  await follow(two.connection, "immutable");
  await seen(2);
  await follow(two.connection, "1h");
  await seen(2);
  await follow(one.connection, "1h");
  await seen(1);
}, 40_000);

test("a server that hangs does not hold up a reload for long: it is replaced; reloads come one after the other", async () => {
  const { lake, connection } = await place();
  lake.putBlob("live", "a", pattern(1, MIB));
  const forebay = await start({ lake: connection }, 2);
  const [hung, other] = serversOf(forebay);
  if (hung === undefined || other === undefined) throw new Error("two servers were asked for");
  process.kill(hung, "SIGSTOP");
  forebay.reconfigure({ lake: connection, policies: [{ path: "live/", maxStale: "1s" }] });
  // Signals that come while one is being taken count as one: some, with time between them.
  for (let i = 0; i < 60 && isAlive(hung); i++) {
    forebay.child.kill("SIGHUP");
    await Bun.sleep(500);
  }
  expect(isAlive(hung)).toBe(false);
  await until("the reloads", 20_000, () => reloads(forebay) >= 2);
  expect(isAlive(other)).toBe(true);
  await until("the new server", 10_000, () => serversOf(forebay).length === 2);
  for (let i = 0; i < 8; i++) expect((await ask(forebay.blobUrl, "live/a")).status).toBe(200);
}, 60_000);

test("a server that falls is replaced, on its port, while no keeper can start", async () => {
  const { lake, connection } = await place();
  lake.putBlob("live", "a", pattern(1, MIB));
  const forebay = await start({ lake: connection });
  await warm(forebay.blobUrl, "live/a");
  // The index is taken away as soon as the keeper's end lets go of it: whoever follows fails, again and again.
  const keeper = childrenOf(forebay.pid).find((child) => child.role === "keeper");
  process.kill(keeper?.pid ?? 0, "SIGSTOP");
  const [server] = serversOf(forebay);
  process.kill(keeper?.pid ?? 0, "SIGKILL");
  const lock = await until("the index", 10_000, () => {
    const taken = takeFileLock(join(forebay.flash, "keeper.lock"));
    return "pid" in taken ? null : taken;
  });
  undo.add(() => lock.release());
  process.kill(server ?? 0, "SIGKILL");
  await until("the new server", 20_000, () => {
    const [next] = serversOf(forebay);
    return next !== undefined && next !== server;
  });
  const got = await until("an answer", 20_000, () => ask(forebay.blobUrl, "live/a"));
  expect([got.status, firstDifference(1, 0, got.bytes)]).toEqual([200, -1]);
}, 60_000);

test("an access log on a full disk costs its lines and no answer", async () => {
  const { lake, connection } = await place();
  lake.putBlob("live", "a", pattern(1, MIB));
  const forebay = await start({ lake: connection }, 1, ["--access-log", "/dev/full"]);
  for (let i = 0; i < 4; i++) {
    const got = await ask(forebay.blobUrl, "live/a");
    expect([got.status, firstDifference(1, 0, got.bytes)]).toEqual([200, -1]);
  }
  expect(forebay.logs().split("access lines are lost").length - 1).toBe(1);
}, 40_000);
