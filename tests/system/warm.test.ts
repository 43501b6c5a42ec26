/** A restart keeps the cache; hits on several servers; keeper and servers may fall. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type SimServer, startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService, SIM_ACCOUNT, type SimService } from "../../sim/lake/service.ts";
import {
  admin,
  ask,
  childrenOf,
  cleanup,
  committed,
  firstDifference,
  isAlive,
  metrics,
  pattern,
  until,
  up,
  warm,
} from "./harness.ts";

const MIB = 1 << 20;
const POLICIES = [{ path: "frozen/", maxStale: "immutable" }];

let undo = cleanup();
let lake: SimService;
let server: SimServer;

beforeEach(async () => {
  undo = cleanup();
  lake = createSimService();
  lake.putBlob("frozen", "a", pattern(1, 3 * MIB + 17));
  lake.putBlob("frozen", "b", pattern(2, 5 * MIB));
  lake.putBlob("live", "c", pattern(3, 2 * MIB));
  server = await startSimLakeServer(lake);
  undo.add(() => server.close());
});
afterEach(() => undo.run());

describe("a restart", () => {
  test("keeps the cache warm: immutable paths are hits while the lake is unreachable", async () => {
    const folder = undo.folder("warm");
    const config = { lake: server.connectionString, policies: POLICIES };
    const first = await up({ config, folder });
    undo.add(() => first.stop(1_000));
    for (const name of ["frozen/a", "frozen/b"]) await warm(first.blobUrl, name);
    await committed(first.adminUrl);
    expect(await first.stop()).toBe(0);
    await server.close();
    const second = await up({ config, folder });
    undo.add(() => second.stop(1_000));
    for (const [name, seed, size] of [
      ["frozen/a", 1, 3 * MIB + 17],
      ["frozen/b", 2, 5 * MIB],
    ] as const) {
      const got = await ask(second.blobUrl, name);
      expect([got.status, got.temperature, got.bytes.length]).toEqual([200, "hit", size]);
      expect(firstDifference(seed, 0, got.bytes)).toBe(-1);
    }
    expect((await ask(second.blobUrl, "live/c")).status).toBe(503);
    expect((await admin(second.adminUrl, "/readyz")).text).toContain(`lake ${SIM_ACCOUNT}`);
    expect(await second.stop()).toBe(0);
  }, 40_000);
});

describe("two servers", () => {
  test("both give hits, and go on while the keeper falls", async () => {
    const folder = undo.folder("two");
    const forebay = await up({ config: { lake: server.connectionString, policies: POLICIES }, folder, servers: 2 });
    undo.add(() => forebay.stop(1_000));
    await warm(forebay.blobUrl, "frozen/a");
    await committed(forebay.adminUrl);
    const children = childrenOf(forebay.pid);
    expect(children.map((child) => child.role).sort()).toEqual(["keeper", "server", "server"]);
    const servers = children.filter((child) => child.role === "server");
    for (const { pid } of servers) {
      // While one stands still, all that is answered comes from the other.
      process.kill(pid, "SIGSTOP");
      const got = await until("an answer of the other server", 10_000, () =>
        ask(forebay.blobUrl, "frozen/a", { first: 7, last: 1_000_000, timeoutMs: 500 }),
      );
      process.kill(pid, "SIGCONT");
      expect([got.temperature, firstDifference(1, 7, got.bytes)]).toEqual(["hit", -1]);
    }
    const sent = lake.stats.sentBytes;
    await ask(forebay.blobUrl, "frozen/a");
    expect(lake.stats.sentBytes).toBe(sent);

    const keeper = children.find((child) => child.role === "keeper");
    process.kill(keeper?.pid ?? 0, "SIGKILL");
    const hit = await ask(forebay.blobUrl, "frozen/a");
    expect([hit.temperature, firstDifference(1, 0, hit.bytes)]).toEqual(["hit", -1]);
    const missed = await ask(forebay.blobUrl, "frozen/b");
    expect([missed.status, firstDifference(2, 0, missed.bytes)]).toEqual([200, -1]);

    await until("the keeper to be back", 10_000, async () => (await admin(forebay.adminUrl, "/readyz")).status === 200);
    await warm(forebay.blobUrl, "live/c");
    await committed(forebay.adminUrl);
    expect((await metrics(forebay.adminUrl)).get('forebay_servers{state="answering"}')).toBe(2);
    expect(await forebay.stop()).toBe(0);
    await until("every child to be gone", 5_000, () => !children.some((child) => isAlive(child.pid)));
  }, 40_000);
});
