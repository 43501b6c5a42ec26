import { describe, expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { createSieve, markVisited } from "./sieve.ts";

const SEED = 20260103;

/** A queue of ids with a hand over it. */
function queue(visitedLength = 1024, pageEntries = 3) {
  const ids: number[] = [];
  const busy = new Set<number>();
  const visited = new Uint8Array(visitedLength);
  const sieve = createSieve({
    visited,
    pageEntries,
    page: (after, count) =>
      ids
        .filter((id) => id > after)
        .slice(0, count)
        .map((id) => ({ id })),
    mayEvict: ({ id }) => !busy.has(id),
  });
  const evict = (): number | undefined => {
    const { victims } = sieve.walk(10_000, (found) => found.length === 1);
    const [victim] = victims;
    if (victim !== undefined) ids.splice(ids.indexOf(victim.id), 1);
    return victim?.id;
  };
  return { ids, busy, visited, sieve, evict };
}

describe("SIEVE", () => {
  test("the example of the paper: visited entries are passed once, the hand stays where it was", () => {
    const { ids, visited, evict } = queue();
    ids.push(1, 2, 3, 4, 5, 6, 7);
    for (const id of [1, 2, 7]) markVisited(visited, id);
    expect(evict()).toBe(3);
    ids.push(8);
    markVisited(visited, 4);
    expect(evict()).toBe(5);
    markVisited(visited, 2);
    ids.push(9);
    expect([evict(), evict(), evict(), evict()]).toEqual([6, 8, 9, 1]);
    expect([evict(), evict(), evict(), evict()]).toEqual([4, 7, 2, undefined]);
  });

  test("what is in use is passed over, and an end is found when all is", () => {
    const { ids, busy, sieve, evict } = queue();
    ids.push(1, 2, 3);
    busy.add(1);
    expect(evict()).toBe(2);
    busy.add(3);
    const { victims, passed } = sieve.walk(100, (found) => found.length === 1);
    expect({ victims, passed }).toEqual({ victims: [], passed: 100 });
  });

  test("several victims at a time are distinct", () => {
    const { ids, sieve } = queue();
    ids.push(1, 2, 3, 4);
    const { victims } = sieve.walk(100, () => false);
    expect(victims.map((v) => v.id)).toEqual([1, 2, 3, 4]);
  });

  test("entries read once do not displace those read again", () => {
    const random = seededRandom(SEED);
    const { ids, visited, evict } = queue(1 << 16, 64);
    const loved = new Set<number>();
    let next = 1;
    for (; next <= 50; next++) {
      ids.push(next);
      loved.add(next);
    }
    for (let n = 0; n < 5_000; n++) {
      ids.push(next++);
      for (let m = 0; m < 5; m++) markVisited(visited, random.pick([...loved]));
      if (ids.length > 200) evict();
    }
    const kept = ids.filter((id) => loved.has(id)).length;
    expect(kept).toBeGreaterThanOrEqual(49);
  });
});
