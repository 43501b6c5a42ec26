/** The drain over a lake that behaves: what is sent, in which order, and what it leaves. */
import { expect, test } from "bun:test";
import { MIB } from "../base/limits.ts";
import { bytesOf, createDrainWorld, id } from "./testing/drain-world.ts";

test("a small put goes in one piece, conditionally, and settles with the lake's ETag", async () => {
  const world = await createDrainWorld();
  await world.put("a", "hello", { headers: ["Content-Type", "text/plain", "x-ms-meta-k", "v"] });
  await world.drained();
  expect(world.peek("a")).toBe("hello");
  expect(world.requests).toEqual(["PUT a"]);
  expect(world.ended.map(({ state }) => state.name)).toEqual(["settled"]);
  expect(world.drain.stats()).toMatchObject({ carriedEntries: 1, carriedBytes: 5, uploadsNow: 0, stuck: [] });
});

test("commits keep their order within a path", async () => {
  const world = await createDrainWorld();
  world.faults.shape({ firstByteMs: [1, 50] });
  for (let i = 0; i < 20; i++) await world.put(`shard-${i}`, `${i}`);
  await world.put("latest", "20 shards");
  await world.drained();
  const wanted = [...Array.from({ length: 20 }, (_, i) => `PUT shard-${i}`), "PUT latest"];
  expect(world.requests).toEqual(wanted);
});

test("paths do not wait for each other", async () => {
  const world = await createDrainWorld();
  world.hook = (line) => (line === "PUT a" ? new Promise(() => {}) : null);
  await world.put("a", "never", { path: "one/" });
  await world.put("b", "soon", { path: "two/" });
  await world.clock.advance(100);
  expect(world.peek("b")).toBe("soon");
  expect(world.peek("a")).toBeNull();
});

test("blocks keep the client's ids, and those of later entries go ahead of their turn", async () => {
  const world = await createDrainWorld();
  const release = Promise.withResolvers<null>();
  world.hook = (line) => (line === "PUT first blocklist" ? release.promise : null);
  await world.putSpans("first", [
    [id("b1"), bytesOf(3 * MIB + 5, 1)],
    [id("b2"), bytesOf(10, 2)],
  ]);
  await world.putSpans("second", [[id("x"), bytesOf(2 * MIB, 3)]]);
  await world.clock.advance(50);
  expect(world.requests.toSorted()).toEqual([
    "PUT first block",
    "PUT first block",
    "PUT first blocklist",
    "PUT second block",
  ]);
  release.resolve(null);
  await world.drained();
  expect(world.requests.slice(4)).toEqual(["PUT second blocklist"]);
  expect(world.service.peek("data", "first")).toEqual(new Uint8Array([...bytesOf(3 * MIB + 5, 1), ...bytesOf(10, 2)]));
  expect(world.service.peek("data", "second")).toEqual(bytesOf(2 * MIB, 3));
});
