/** The list of pending names in the lake. */
import { expect, test } from "bun:test";
import { createDrainWorld, type DrainWorld } from "./testing/drain-world.ts";

const NAMES = { instance: "one", machine: "node-7", accounts: () => ["simlake"] };
const OPTIONS = { pendingNames: NAMES };

function listOf(world: DrainWorld) {
  const bytes = world.service.peek("forebay-pending", "one.json");
  return bytes === null ? null : JSON.parse(new TextDecoder().decode(bytes));
}

/** Lets everything but the list wait. */
const onlyTheList = (line: string) =>
  line.includes("one.json") || line === "PUT " ? null : new Promise<never>(() => {});

test("is not written for what is carried in time", async () => {
  const world = await createDrainWorld(1, OPTIONS);
  await world.put("a", "x");
  await world.clock.advance(60_000);
  expect(listOf(world)).toBeNull();
  expect(world.requests).toEqual(["PUT a", "HEAD one.json"]);
});

test("names what waits, once while it is the same, and is emptied, also by the next life", async () => {
  const world = await createDrainWorld(1, OPTIONS);
  world.hook = onlyTheList;
  await world.put("a/b", "12345");
  await world.put("c", "1", { path: "other/" });
  await world.clock.advance(120_000);
  expect(listOf(world)).toMatchObject({
    machine: "node-7",
    instance: "one",
    entries: [
      { container: "data", blob: "a/b", size: 5, acknowledgedAt: expect.stringContaining("2026-01-01T00:00:0") },
      { container: "data", blob: "c", size: 1 },
    ],
    more: 0,
  });
  // The container was not there at first; then each write, as it grew old enough.
  expect(world.requests.filter((line) => line === "PUT one.json")).toHaveLength(3);
  world.hook = null;
  await world.restart();
  await world.drained();
  await world.clock.advance(30_000);
  expect(listOf(world)).toMatchObject({ entries: [], more: 0 });
  await world.restart();
  await world.clock.advance(30_000);
  expect(listOf(world)).toMatchObject({ entries: [] });
});

test("has a bound, and a lake that refuses it is told of once", async () => {
  const world = await createDrainWorld(1, { ...OPTIONS, bounds: { namesMax: 2 } });
  world.hook = onlyTheList;
  for (const blob of ["a", "b", "c"]) await world.put(blob, "x");
  await world.clock.advance(30_000);
  expect(listOf(world)).toMatchObject({ entries: [{ blob: "a" }, { blob: "b" }], more: 1 });
  world.service.deleteContainer("data");
  world.hook = null;
  world.reachable = false;
  await world.put("d", "x");
  await world.clock.advance(120_000);
  expect(world.drain.stats().pendingNamesFailure).toBe("no connection to the lake");
  expect(world.logged.filter((line) => line.includes("list of pending names"))).toHaveLength(1);
});
