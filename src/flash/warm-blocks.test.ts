import { expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { limits } from "../base/limits.ts";
import type { CheckedSpan, Generation } from "./types.ts";
import { createWarmBlocks } from "./warm-blocks.ts";

const HOLDER = "server";
const KEY = "a/c/blob";
const SAME: Generation = [1, 1, 1];

function scene(bytesMax = 1_000) {
  const clock = createSimClock();
  const held = new Set<number>();
  const givenBack: number[] = [];
  const adopted: string[] = [];
  let files = 0;
  const host = {
    hold: (_holder: string, fileIds: readonly number[]) => {
      for (const fileId of fileIds) held.add(fileId);
      return true;
    },
    unhold: (fileIds: readonly number[]) => {
      for (const fileId of fileIds) expect(held.delete(fileId)).toBe(true);
    },
    giveBack: (_holder: string, fileIds: readonly number[]) => void givenBack.push(...fileIds),
    adopt: async ({ key, etag, spans }: { key: string; etag: string; spans: readonly CheckedSpan[] }) => {
      for (const { fileId } of spans) expect(held.has(fileId)).toBe(true);
      adopted.push(`${key} ${etag} ${spans.map(({ fileId }) => fileId)}`);
      return true;
    },
  };
  const warm = createWarmBlocks(clock, host, bytesMax);
  const block = async (key: string, id: string, length = 100, generation = SAME): Promise<boolean> => {
    const ticket = await warm.begin(HOLDER, key, id, generation);
    if (ticket === null) return false;
    await clock.advance(1);
    const span = { fileId: ++files, offset: 0, length, checksum: "" };
    return warm.end(HOLDER, ticket, { kind: "block", span, answeredAtMs: clock.monotonicMs() });
  };
  const list = async (key: string, blockIds: readonly string[], generation = SAME): Promise<boolean | null> => {
    const ticket = await warm.begin(HOLDER, key, null, generation);
    return ticket === null ? null : clock.settle(warm.end(HOLDER, ticket, { kind: "list", blockIds, etag: "e" }));
  };
  return { clock, warm, held, givenBack, adopted, block, list };
}

test("a list of remembered blocks is adopted, in its order, and the blob forgotten", async () => {
  const { block, list, adopted, held, warm } = scene();
  for (const id of ["x", "y", "z"]) expect(await block(KEY, id)).toBe(true);
  expect(await list(KEY, ["z", "x"])).toBe(true);
  expect(adopted).toEqual([`${KEY} e 3,1`]);
  expect([held.size, warm.bytes]).toEqual([0, 0]);
  expect(await list(KEY, ["z", "x"])).toBeNull();
});

test("a block that is not remembered, or not any more, makes no version", async () => {
  const { block, list, adopted, held } = scene();
  await block(KEY, "x");
  expect(await list(KEY, ["x", "y"])).toBe(false);
  await block(KEY, "x");
  expect(await list(KEY, ["x"], [2, 1, 1])).toBeNull(); // something changed the blob meanwhile
  await block(KEY, "y", 100, [2, 1, 1]);
  expect(await list(KEY, ["x", "y"], [2, 1, 1])).toBe(false);
  expect([adopted, held.size]).toEqual([[], 0]);
});

test("a list waits for the bytes of a block that the lake had before it, and counts none that came later", async () => {
  for (const late of [false, true]) {
    const { warm, clock, adopted } = scene();
    const sent = await warm.begin(HOLDER, KEY, "x", SAME);
    await clock.advance(5);
    const listed = await warm.begin(HOLDER, KEY, null, SAME);
    const answeredAtMs = clock.monotonicMs() + (late ? 1 : 0);
    await clock.advance(5);
    const ended = warm.end(HOLDER, listed ?? 0, { kind: "list", blockIds: ["x"], etag: "e" });
    await clock.advance(100);
    const span = { fileId: 1, offset: 0, length: 10, checksum: "" };
    await warm.end(HOLDER, sent ?? 0, { kind: "block", span, answeredAtMs });
    expect(await clock.settle(ended)).toBe(!late);
    expect(adopted.length).toBe(late ? 0 : 1);
  }
});

test("a list does not wait for ever", async () => {
  const { warm, clock } = scene();
  await warm.begin(HOLDER, KEY, "x", SAME);
  const listed = await warm.begin(HOLDER, KEY, null, SAME);
  const startMs = clock.monotonicMs();
  expect(await clock.settle(warm.end(HOLDER, listed ?? 0, { kind: "list", blockIds: ["x"], etag: "e" }))).toBe(false);
  expect(clock.monotonicMs() - startMs).toBe(limits.warmCommitWaitMs);
});

test("what crossed another of its id is not remembered; what may have happened spoils its blob for a while", async () => {
  const { warm, clock, block, list, givenBack, held } = scene();
  const [one, two] = [await warm.begin(HOLDER, KEY, "x", SAME), await warm.begin(HOLDER, KEY, "x", SAME)];
  for (const [n, ticket] of [one, two].entries()) {
    const span = { fileId: 50 + n, offset: 0, length: 10, checksum: "" };
    expect(await warm.end(HOLDER, ticket ?? 0, { kind: "block", span, answeredAtMs: 0 })).toBe(false);
  }
  expect(givenBack).toEqual([50, 51]);
  await block(KEY, "y");
  const lost = await warm.begin(HOLDER, KEY, "x", SAME);
  await warm.end(HOLDER, lost ?? 0, { kind: "unknown" });
  expect(held.size).toBe(0);
  expect(await block(KEY, "y")).toBe(false);
  expect(await block("a/c/other", "y")).toBe(true);
  await clock.advance(limits.warmBlockTtlMs + 1);
  warm.lapse();
  expect(held.size).toBe(0);
  expect(await block(KEY, "y")).toBe(true);
  expect(await list(KEY, ["y"])).toBe(true);
});

test("a server that ends leaves its blocks, and spoils what it was sending", async () => {
  const { warm, block, list, held } = scene();
  await block(KEY, "x");
  await block("a/c/other", "x");
  await warm.begin(HOLDER, KEY, "y", SAME);
  warm.holderGone(HOLDER);
  expect(held.size).toBe(1);
  expect(await list("a/c/other", ["x"])).toBe(true);
  expect(await list(KEY, ["x"])).toBeNull();
});

test("the memory has a bound, and gives up the oldest blob first; all of it when there is no room", async () => {
  const { warm, block, list, held } = scene(1_000);
  for (let n = 0; n < 12; n++) await block(`a/c/${n}`, "x");
  expect([warm.bytes, held.size]).toEqual([1_000, 10]);
  expect(await list("a/c/1", ["x"])).toBeNull();
  expect(await list("a/c/2", ["x"])).toBe(true);
  expect([warm.shed(), warm.shed(), held.size]).toEqual([true, false, 0]);
});
