/** What stands around a change: announced before the first request that may make it, ended before the entry settles. */
import { expect, test } from "bun:test";
import { bytesOf, createDrainWorld, id, refusal } from "./testing/drain-world.ts";

test("around every change, its lost answers and its side name, and never around blocks", async () => {
  const events: string[] = [];
  const world = await createDrainWorld(1, {
    around: async ({ blob }) => {
      events.push(`begin ${blob}`);
      return { ended: async () => void events.push(`end ${blob}`) };
    },
  });
  world.step = (what) => {
    if (!what.startsWith("before")) return;
    events.push(what.slice("before ".length));
  };
  world.faults.force("lostAck", 1, ({ target }) => target.includes("comp=blocklist"));
  const entry = await world.putSpans(
    "a",
    [["", bytesOf(10, 1)]].map(([, b]) => [id("1"), b as Uint8Array] as const),
  );
  await world.drained();
  expect(events).toEqual([
    ...["PUT a block", "begin a", `begin ${entry.seq}`, "PUT a blocklist", "end a"],
    ...["begin a", "HEAD a", "GET a blocklist", "GET a", "end a", `settle ${entry.seq}`],
  ]);
});

test("an announcement that fails holds the change back, one whose end fails is made again", async () => {
  let [begins, ends] = [0, 0];
  const world = await createDrainWorld(1, {
    around: async () => {
      if (++begins <= 2) throw new Error("not now");
      return {
        ended: async () => {
          if (++ends === 1) throw new Error("not told");
        },
      };
    },
  });
  await world.put("a", "x");
  await world.clock.advance(10);
  expect(world.requests).toEqual([]);
  await world.drained();
  expect(world.applied).toEqual(["PUT a"]);
  expect([begins, ends]).toEqual([4, 2]);
  expect(world.ended.map(({ state }) => state.name)).toEqual(["settled"]);
});

test("an error that nobody foresaw stops one path for a while, and nothing else", async () => {
  const world = await createDrainWorld();
  world.hook = (line) => {
    if (line === "PUT a") throw new TypeError("a bug");
    return line === "PUT c" ? refusal(503, "ServerBusy") : null;
  };
  await world.put("a", "x", { path: "one/" });
  await world.put("b", "y", { path: "two/" });
  await world.clock.advance(1_000);
  expect(world.peek("b")).toBe("y");
  expect(world.logged.join()).toContain("a bug");
  world.hook = null;
  await world.drained();
  expect(world.peek("a")).toBe("x");
});
