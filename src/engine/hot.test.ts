import { expect, test } from "bun:test";
import { createGate } from "./gate.ts";
import { boundedMap } from "./hot.ts";

test("a bounded map never holds more than its bound, and keeps what is used", () => {
  const map = boundedMap<number>(100);
  map.set("used", 0);
  for (let i = 0; i < 10_000; i++) {
    map.set(`key ${i}`, i);
    expect(map.get("used")).toBe(0);
    expect(map.size).toBeLessThanOrEqual(101);
  }
  expect(map.get("key 0")).toBeUndefined();
  expect(map.get("key 9999")).toBe(9_999);
  map.delete("used");
  expect(map.get("used")).toBeUndefined();
  map.clear();
  expect(map.size).toBe(0);
});

test("a gate lets so many in, the others in their order, and counts who holds a place already", async () => {
  const gate = createGate({ insideMax: 2, urgentMax: 2 });
  const turn = { isUrgent: () => false, isWanted: () => true };
  const order: number[] = [];
  const leaves = [await gate.enter(turn), await gate.enter(turn)];
  const waiting = [3, 4].map(async (number) => {
    const leave = await gate.enter(turn);
    order.push(number);
    return leave;
  });
  const extra = gate.enterNow();
  expect(gate).toMatchObject({ inside: 3, waiting: 2 });
  leaves[0]?.();
  leaves[0]?.(); // leaving twice is leaving once
  expect(gate).toMatchObject({ inside: 2, waiting: 2 });
  extra();
  (await waiting[0])?.();
  leaves[1]?.();
  await waiting[1];
  expect(order).toEqual([3, 4]);
});

test("a gate lets the urgent in first and beyond the bound of others, and sends away who is no longer wanted", async () => {
  const gate = createGate({ insideMax: 1, urgentMax: 2 });
  const order: string[] = [];
  const leaves: (() => void)[] = [];
  const wanted = new Set(["first", "second", "urgent", "also urgent"]);
  const urgent = new Set<string>();
  const all: Promise<void>[] = [];
  const enter = (name: string): void => {
    const turn = { isUrgent: () => urgent.has(name), isWanted: () => wanted.has(name) };
    const entered = gate.enter(turn).then((leave) => {
      order.push(leave === null ? `${name} left` : name);
      if (leave !== null) leaves.push(leave);
    });
    all.push(entered);
  };
  leaves.push(gate.enterNow());
  for (const name of ["first", "second", "urgent", "also urgent"]) enter(name);
  wanted.delete("second");
  urgent.add("urgent").add("also urgent");
  gate.review();
  gate.hurry();
  expect(gate).toMatchObject({ inside: 2, waiting: 2 });
  leaves[0]?.();
  expect(gate).toMatchObject({ inside: 2, waiting: 1 });
  await all[3];
  leaves[1]?.();
  expect(gate).toMatchObject({ inside: 1, waiting: 1 });
  leaves[2]?.();
  await Promise.all(all);
  expect(order).toEqual(["second left", "urgent", "also urgent", "first"]);
  expect(await gate.enter({ isUrgent: () => true, isWanted: () => false })).toBe(null);
});
