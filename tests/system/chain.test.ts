/** A Forebay whose lake is another Forebay: the same blob, once more near. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService, SIM_ACCOUNT, SIM_KEY } from "../../sim/lake/service.ts";
import { admin, ask, cleanup, committed, firstDifference, pattern, type Up, up, warm } from "./harness.ts";

const SIZE = (3 << 20) + 11;
const undo = cleanup();
const lake = createSimService();
let far: Up;
let near: Up;

beforeAll(async () => {
  for (let i = 0; i < 3; i++) lake.putBlob("data", `blob-${i}`, pattern(i, SIZE));
  lake.putBlob("frozen", "a", pattern(9, SIZE));
  const server = await startSimLakeServer(lake);
  undo.add(() => server.close());
  const policies = [
    { path: "frozen/", maxStale: "immutable" },
    { path: "data/", maxStale: "0s" },
  ];
  far = await up({ config: { lake: server.connectionString, policies }, folder: undo.folder("far") });
  undo.add(() => far.stop(5_000));
  const connection = `DefaultEndpointsProtocol=http;AccountName=${SIM_ACCOUNT};AccountKey=${SIM_KEY};BlobEndpoint=${far.blobUrl}`;
  near = await up({ config: { lake: connection, policies }, folder: undo.folder("near") });
  undo.add(() => near.stop(5_000));
}, 40_000);
afterAll(() => undo.run());

test("a read fills both, once, and is then a hit at the nearer one", async () => {
  const first = await ask(near.blobUrl, "data/blob-0");
  expect([first.status, first.temperature, firstDifference(0, 0, first.bytes)]).toEqual([200, "miss", -1]);
  const second = await warm(near.blobUrl, "data/blob-0");
  expect(second.headers.get("x-forebay")).toBe("hit");
  expect((await ask(far.blobUrl, "data/blob-0")).temperature).toBe("hit");
  // Each byte left the lake once; checks may bring the first one again.
  const { bytes } = lake.stats.sent(`${SIM_ACCOUNT}/data/blob-0`);
  expect(bytes).toBeGreaterThanOrEqual(SIZE);
  expect(bytes).toBeLessThan(SIZE + 100);
}, 20_000);

test("what passes through both carries one x-forebay, and a change is seen at once", async () => {
  await warm(near.blobUrl, "data/blob-1");
  const body = pattern(21, 1 << 20).read(0, 1 << 20);
  const put = await ask(near.blobUrl, "data/blob-1", { method: "PUT", body });
  expect([put.status, put.headers.get("x-forebay")]).toEqual([201, "forward"]);
  for (const forebay of [near, far]) {
    const got = await ask(forebay.blobUrl, "data/blob-1");
    expect([got.status, got.bytes.length, firstDifference(21, 0, got.bytes)]).toEqual([200, 1 << 20, -1]);
  }
  // A change behind both: strict paths ask through both.
  lake.putBlob("data", "blob-1", pattern(22, 1 << 20));
  expect(firstDifference(22, 0, (await ask(near.blobUrl, "data/blob-1")).bytes)).toBe(-1);
}, 20_000);

test("with the farther one gone, the nearer one gives what it may and says what is wrong", async () => {
  await warm(near.blobUrl, "frozen/a");
  await committed(near.adminUrl);
  expect(await far.stop()).toBe(0);
  const hit = await ask(near.blobUrl, "frozen/a");
  expect([hit.status, hit.temperature, firstDifference(9, 0, hit.bytes)]).toEqual([200, "hit", -1]);
  const strict = await ask(near.blobUrl, "data/blob-0");
  expect([strict.status, strict.headers.get("retry-after") === null]).toEqual([503, false]);
  expect((await admin(near.adminUrl, "/healthz")).status).toBe(200);
}, 30_000);
