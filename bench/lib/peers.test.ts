/** What Forebay is measured beside does what it is there for: it answers from its cache, and answers right. */
import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { cleanup } from "../../tests/system/harness.ts";
import { hasNginx, startNginx } from "./nginx.ts";
import { pickBest } from "./peer.ts";
import { firstWrongByte } from "./shaped-content.ts";
import { SHAPED_ACCOUNT, type ShapedLake, startShapedLake } from "./shaped-lake.ts";
import { hasVarnish, startVarnish } from "./varnish.ts";

const undo = cleanup();
afterEach(() => undo.run());

const NAME = "3MB-peer";
const PATH = `/${SHAPED_ACCOUNT}/peers/${NAME}`;

async function lakeForTest(): Promise<ShapedLake> {
  const lake = await startShapedLake();
  undo.add(() => lake.stop());
  return lake;
}

/** Reads whole, then ranges: each right, and the lake is asked once. */
async function answersFromCache(lake: ShapedLake, ports: readonly number[]): Promise<void> {
  const whole = await fetch(`http://127.0.0.1:${ports[0]}${PATH}`, { headers: { Authorization: "SharedKey x:y" } });
  expect(firstWrongByte(NAME, 0, new Uint8Array(await whole.arrayBuffer()))).toBe(-1);
  expect((await lake.counts()).requests).toBe(1);
  for (const port of ports) {
    const headers = { Range: "bytes=1000000-1999999", Authorization: "SharedKey x:z" };
    const part = await fetch(`http://127.0.0.1:${port}${PATH}?sig=other`, { headers });
    expect([part.status, part.headers.get("content-range")]).toEqual([206, "bytes 1000000-1999999/3000000"]);
    const bytes = new Uint8Array(await part.arrayBuffer());
    expect([bytes.length, firstWrongByte(NAME, 1_000_000, bytes)]).toEqual([1_000_000, -1]);
  }
  expect((await lake.counts()).requests).toBe(1);
}

test.skipIf(!hasNginx())("nginx: every front answers ranges from the one cache", async () => {
  const lake = await lakeForTest();
  const nginx = await startNginx({ folder: join(undo.folder("peer"), "nginx"), lakePort: lake.port });
  undo.add(() => nginx.stop());
  expect(nginx.fronts.map((front) => front.name)).toContain("nginx, tcp_nopush off, open_file_cache on");
  expect(new Set(nginx.fronts.map((front) => front.port)).size).toBe(4);
  await answersFromCache(
    lake,
    nginx.fronts.map((front) => front.port),
  );
});

test.skipIf(!hasVarnish())(
  "varnish answers ranges from RAM",
  async () => {
    const lake = await lakeForTest();
    const folder = join(undo.folder("peer"), "varnish");
    const varnish = await startVarnish({ folder, lakePort: lake.port, storageMib: 64 });
    undo.add(() => varnish.stop());
    await answersFromCache(lake, [varnish.port]);
  },
  20_000,
);

test("the best of several is the one with the highest value in any trial", async () => {
  const values = [3, 9, 4, 5, 2, 8];
  const asked: string[] = [];
  const best = await pickBest(["a", "b", "c"], 2, async (candidate) => {
    asked.push(candidate);
    return values[asked.length - 1] ?? 0;
  });
  expect([best, asked.join("")]).toEqual(["b", "abcabc"]);
});
