import { expect, test } from "bun:test";
import { createGenerations, SHARED_BYTES } from "./generations.ts";

const memory = new ArrayBuffer(SHARED_BYTES);

test("a change moves what it covers and nothing else", () => {
  const generations = createGenerations(memory, "epoch");
  const blob = generations.slotsOf("acc/con/dir/blob");
  const other = generations.slotsOf("acc/con/other");
  const elsewhere = generations.slotsOf("acc/else/blob");
  const noted = [blob, other, elsewhere].map((slots) => ({ slots, generation: generations.at(slots) }));
  const same = (): boolean[] => noted.map(({ slots, generation }) => generations.same(slots, generation));
  expect(same()).toEqual([true, true, true]);
  generations.move({ account: "acc", container: "con", blob: "dir/blob" });
  expect(same()).toEqual([false, true, true]);
  generations.move({ account: "acc", container: "con", blob: null });
  expect(same()).toEqual([false, false, true]);
  generations.move({ account: "acc", container: null, blob: null });
  expect(same()).toEqual([false, false, false]);
});

test("a snapshot and a version move with their blob", () => {
  const generations = createGenerations(memory, "epoch");
  const blob = generations.slotsOf("acc/con/blob");
  expect(generations.slotsOf("acc/con/blob\u0000s2026-01-01T00:00:00.0000000Z")).toEqual(blob);
  expect(generations.slotsOf("acc/con/blob\u0000v2026-01-01T00:00:00.0000000Z")).toEqual(blob);
});

test("two views of one memory see each other's changes", () => {
  const [one, two] = [createGenerations(memory, "epoch"), createGenerations(memory, "epoch")];
  const slots = two.slotsOf("acc/con/blob");
  const generation = two.at(slots);
  one.move({ account: "acc", container: "con", blob: "blob" });
  expect(two.same(slots, generation)).toBe(false);
});

test("a use of a version is marked where the replacement policy looks", () => {
  const generations = createGenerations(memory, "epoch");
  generations.visit(12_345);
  expect(generations.visited[12_345 & (generations.visited.length - 1)]).toBe(1);
});
