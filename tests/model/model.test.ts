/**
 * Random histories of the whole product in the simulated world, judged by the reference model. A failure prints its
 * seed and its steps; `FOREBAY_TEST_SEED=N` runs that one again. More of them: `bun tests/fuzz/history.fuzz.ts`.
 */
import { describe, expect, test } from "bun:test";
import { report, runHistory, shrink } from "./history.ts";

const given = process.env["FOREBAY_TEST_SEED"];
const HISTORIES = 200;
const GROUPS = 10;
const FIRST_SEED = 1;

async function run(seed: number): Promise<{ reads: number; good: number; hits: number }> {
  const result = await runHistory({ seed });
  if (result.violations.length > 0) {
    throw new Error(`FOREBAY_TEST_SEED=${seed}\n${report(seed, await shrink({ seed }, result))}`);
  }
  return result;
}

describe("no history shows torn, stale or unauthorised bytes", () => {
  if (given !== undefined) {
    test(`seed ${given}`, async () => {
      await run(Number(given));
    }, 120_000);
    return;
  }
  for (let group = 0; group < GROUPS; group++) {
    const count = HISTORIES / GROUPS;
    const from = FIRST_SEED + group * count;
    test(`seeds ${from} to ${from + count - 1}`, async () => {
      let [good, hits] = [0, 0];
      for (let seed = from; seed < from + count; seed++) {
        const result = await run(seed);
        good += result.good;
        hits += result.hits;
      }
      // Histories in which nothing was ever read prove nothing.
      expect(good).toBeGreaterThan(20 * count);
      expect(hits).toBeGreaterThan(5 * count);
    }, 120_000);
  }

  test("one seed is one history", async () => {
    const [first, second] = [await runHistory({ seed: 77 }), await runHistory({ seed: 77 })];
    expect(second).toEqual(first);
  });
});
