/** The process ends at every step of a story, one after the other, and is started again: the lake ends up the same. */
import { describe, expect, test } from "bun:test";
import { MIB } from "../base/limits.ts";
import { bytesOf, createDrainWorld, type DrainWorld, id } from "./testing/drain-world.ts";

/** What the lake must have done in the end, each once and in this order. */
const STORY = [
  "PUT small",
  "PUT blocks blocklist",
  "PUT spans",
  "PUT old",
  "DELETE gone",
  "SIDE",
  "PUT small",
  "PUT latest",
];
const LARGE = bytesOf(2 * MIB + 17, 1);
const STEPS_MAX = 200;

async function begin(world: DrainWorld): Promise<void> {
  const theirs = (blob: string): string => world.service.putBlob("data", blob, new TextEncoder().encode("before"));
  const [old, gone] = [theirs("old"), theirs("gone")];
  theirs("changed");
  await world.put("small", "1", { headers: ["Content-Type", "text/plain", "x-ms-meta-a", "b"] });
  await world.putSpans("blocks", [
    [id("1"), LARGE],
    [id("2"), bytesOf(1000, 2)],
  ]);
  await world.putSpans("spans", [["", bytesOf(1000, 3)]]);
  await world.put("old", "new", { base: { kind: "etag", etag: old } });
  await world.remove("gone", { kind: "etag", etag: gone });
  await world.putSpans("changed", [[id("1"), bytesOf(3000, 4)]], { base: { kind: "etag", etag: '"0x8DOLD"' } });
  await world.put("small", "2");
  await world.put("latest", "all of it");
}

function check(world: DrainWorld, what: string): void {
  const seen = world.applied.map((line) => (line.includes("forebay-conflict") ? "SIDE" : line));
  expect(seen, what).toEqual(STORY);
  const texts = ["small", "old", "gone", "changed", "latest"].map(world.peek);
  expect(texts, what).toEqual(["2", "new", null, "before", "all of it"]);
  expect(world.service.peek("data", "blocks")?.length, what).toBe(LARGE.length + 1000);
  const [aside, ...more] = world.journal.view.entries();
  expect(more, what).toEqual([]);
  if (aside?.state.name !== "aside" || aside.state.sideName === null) throw new Error(`${what}: nothing is aside`);
  expect(world.service.peek("data", aside.state.sideName), what).toEqual(bytesOf(3000, 4));
  expect(world.disk.openDescriptors, what).toBeLessThan(8);
}

/** Runs the story and ends the process at step `at` (and at every `every`th after it). How many steps there were. */
async function run(at: number, end: "kill" | "power", every: number | null): Promise<number> {
  const world = await createDrainWorld(at + 1);
  // The story is told before it begins: nothing of it is superseded, and steps count alike.
  world.reachable = false;
  await begin(world);
  await world.restart();
  let [step, next] = [0, at];
  let what = "no step";
  let ended = false;
  world.step = (here) => {
    if (step++ !== next || ended) return;
    ended = true;
    what = `${end} at step ${next}, ${here}`;
    next = every === null ? -1 : next + every;
    world.kill();
  };
  world.reachable = true;
  for (let rounds = 0; rounds < 100; rounds++) {
    await world.clock.advance(2_000);
    if (ended) {
      ended = false;
      if (end === "power") world.disk.powerLoss();
      else world.disk.killProcesses();
      await world.restart();
    } else if (world.journal.view.totals().pendingEntries === 0) break;
  }
  world.step = null;
  await world.drained();
  check(world, what);
  return step;
}

describe("the process ends", () => {
  test("not at all", async () => {
    expect(await run(-1, "kill", null)).toBeGreaterThan(30);
  });

  test("at every step", async () => {
    const steps = await run(-1, "kill", null);
    expect(steps).toBeLessThan(STEPS_MAX);
    for (let at = 0; at < steps; at++) await run(at, at % 2 === 0 ? "kill" : "power", null);
  }, 60_000);

  test("again and again", async () => {
    // In fewer steps than its longest attempt takes, no entry would ever get on.
    for (const every of [13, 14, 17, 19]) await run(2, "power", every);
  }, 60_000);
});
