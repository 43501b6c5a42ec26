/**
 * Random histories of writes in the simulated world, judged by the reference model of writes. A failure prints its seed,
 * its steps and what happened to the blob; `FOREBAY_TEST_SEED=N` runs that one again. More of them:
 * `bun tests/fuzz/writes.fuzz.ts`.
 */
import { describe, expect, test } from "bun:test";
import { reportWrites, runWriteHistory, shrinkWrites, type WriteHistoryResult } from "./write-history.ts";

const given = process.env["FOREBAY_TEST_SEED"];
const HISTORIES = 60;
const GROUPS = 6;
const FIRST_SEED = 1;

async function run(seed: number): Promise<WriteHistoryResult> {
  const result = await runWriteHistory({ seed });
  if (result.violations.length > 0) {
    throw new Error(`FOREBAY_TEST_SEED=${seed}\n${reportWrites(seed, await shrinkWrites({ seed }, result))}`);
  }
  return result;
}

describe("nothing acknowledged is lost, doubled, reordered or written over what others wrote", () => {
  if (given !== undefined) {
    test(`seed ${given}`, async () => {
      await run(Number(given));
    }, 120_000);
    return;
  }
  const totals = { onFlash: 0, dirty: 0, aside: 0 };
  for (let group = 0; group < GROUPS; group++) {
    const count = HISTORIES / GROUPS;
    const from = FIRST_SEED + group * count;
    test(`seeds ${from} to ${from + count - 1}`, async () => {
      let [onFlash, looks] = [0, 0];
      for (let seed = from; seed < from + count; seed++) {
        const result = await run(seed);
        onFlash += result.onFlash;
        looks += result.looks;
        totals.dirty += result.dirty;
        totals.aside += result.aside;
      }
      // Histories in which nothing was ever taken in prove nothing.
      expect(onFlash).toBeGreaterThan(3 * count);
      expect(looks).toBeGreaterThan(20 * count);
    }, 120_000);
  }

  test("some of it was read before the lake had it, and some met others' changes", () => {
    expect(totals.dirty).toBeGreaterThan(HISTORIES / 4);
    expect(totals.aside).toBeGreaterThan(HISTORIES / 20);
  });

  test("one seed is one history", async () => {
    const [first, second] = [await runWriteHistory({ seed: 23 }), await runWriteHistory({ seed: 23 })];
    expect(second).toEqual(first);
  });
});
