import { describe, expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { etagHash, InodeTable, type NewNode, NOWHERE, ways } from "./inodes.ts";

const ROOT = 0;
const bytesOf = (text: string): Buffer => Buffer.from(text);

function node(etag: string, sizeBytes = 1): NewNode {
  const [etagLow, etagHigh] = etagHash(etag);
  return { isFolder: false, sizeBytes, mtimeMs: 5, etagLow, etagHigh, freshUntilMs: 10, stamp: { slot: 1, sum: 2 } };
}

const folder: NewNode = { ...node("", 0), isFolder: true };

function tableOf() {
  const forgotten: number[] = [];
  const table = new InodeTable((place) => forgotten.push(place), 0);
  const add = (parent: number, name: string, what: NewNode): number => {
    const place = table.add(parent, bytesOf(name), what);
    table.refer(place);
    return place;
  };
  const find = (parent: number, name: string): number => {
    const bytes = bytesOf(`xx${name}yy`);
    return table.find(parent, bytes, 2, bytes.length - 4);
  };
  return { table, forgotten, add, find };
}

describe("the inode table", () => {
  test("finds what was added, by its bytes and its parent", () => {
    const { table, add, find } = tableOf();
    const a = add(ROOT, "a", folder);
    const b = add(a, "bé", node("1"));
    expect(find(ROOT, "a")).toBe(a);
    expect(find(a, "bé")).toBe(b);
    expect(find(ROOT, "bé")).toBe(NOWHERE);
    expect(table.path(b)).toBe("a/bé");
    expect(table.path(ROOT)).toBe("");
    expect(table.placeOf(table.idOf(b))).toBe(b);
    for (const wrong of [0, -1, 77, Number.NaN, table.idOf(b) + 2 ** 32]) expect(table.placeOf(wrong)).toBe(NOWHERE);
  });

  test("another version is another inode with the same number", () => {
    const { table, add, find } = tableOf();
    const old = add(ROOT, "f", node("1"));
    const { inoLow, inoHigh } = table.attributes(old);
    const now = add(ROOT, "f", node("2"));
    expect(now).not.toBe(old);
    expect(find(ROOT, "f")).toBe(now);
    expect(table.attributes(now)).toMatchObject({ inoLow, inoHigh });
    expect(table.isNamed(old)).toBe(false);
    expect(table.path(old)).toBe("f");
    table.forget(old, 1);
    expect(table.isUsed(old)).toBe(false);
    expect(find(ROOT, "f")).toBe(now);
  });

  test("a forgotten place is used again under another id, and only once nothing needs it", () => {
    const { table, add, find, forgotten } = tableOf();
    const a = add(ROOT, "a", folder);
    const b = add(a, "b", node("1"));
    const id = table.idOf(a);
    table.forget(a, 1);
    expect(table.isUsed(a)).toBe(true);
    table.forget(b, 1);
    expect([table.isUsed(b), table.isUsed(a), table.count]).toEqual([false, false, 1]);
    expect(forgotten).toEqual([b, a]);
    expect(table.placeOf(id)).toBe(NOWHERE);
    const c = add(ROOT, "c", node("1"));
    expect([a, b]).toContain(c);
    expect(table.idOf(c)).not.toBe(id);
    expect(find(ROOT, "a")).toBe(NOWHERE);
    table.forget(ROOT, 100);
    expect(table.isUsed(ROOT)).toBe(true);
  });

  test("an inode is read in one way, and becomes another version only before that", () => {
    const { table, add } = tableOf();
    const place = add(ROOT, "f", node("1"));
    table.keepFile(place, 7);
    table.become(place, 1, 2, 9);
    expect([table.fileOf(place), table.attributes(place).mtimeMs]).toEqual([0, 9]);
    expect(table.isVersion(place, 1, 2, 1)).toBe(true);
    table.decide(place, ways.passthrough);
    expect(() => table.decide(place, ways.copying)).toThrow();
    expect(() => table.become(place, 3, 4, 9)).toThrow();
    expect(table.way(place)).toBe(ways.passthrough);
    table.keepFile(place, 2 ** 50);
    expect(table.fileOf(place)).toBe(2 ** 50);
  });

  test("behaves like a map through growth and forgetting", () => {
    const seed = 20_260_214;
    const random = seededRandom(seed);
    const { table, add, find } = tableOf();
    const model = new Map<string, number>();
    for (let step = 0; step < 30_000; step++) {
      const name = `name-${random.below(9_000)}-${"x".repeat(random.below(20))}`;
      const known = model.get(name);
      if (known === undefined) model.set(name, add(ROOT, name, node(name, step)));
      else if (random.below(2) === 0) {
        table.forget(known, 1);
        model.delete(name);
      } else expect(find(ROOT, name), `seed ${seed} step ${step}`).toBe(known);
    }
    expect(table.count).toBe(model.size + 1);
    for (const [name, place] of model) {
      expect(find(ROOT, name)).toBe(place);
      expect(table.path(place)).toBe(name);
    }
  });

  test("a million files take less than 200 bytes each, their names included", () => {
    const { table } = tableOf();
    const count = 1_000_000;
    const what = node("e", 4096);
    for (let i = 0; i < count; i++) table.refer(table.add(ROOT, bytesOf(`sample-${i}-of-the-training-set.jpg`), what));
    expect(table.count).toBe(count + 1);
    expect(table.heldBytes / count).toBeLessThan(200);
    // Just after it grew, too.
    for (let i = count; i < 1_020_000; i++)
      table.refer(table.add(ROOT, bytesOf(`sample-${i}-of-the-training-set.jpg`), what));
    expect(table.heldBytes / table.count).toBeLessThan(200);
  });
});
