/**
 * Any number of random histories in the simulated world: `bun tests/fuzz/history.fuzz.ts --cases N --seed S`, or
 * `--minutes M`. Seeds count up from S (drawn when not given). Ends with `N passed, N failed, N skipped`.
 */
import { parseArgs } from "node:util";
import { report, runHistory, shrink } from "../model/history.ts";

const { values } = parseArgs({
  options: { cases: { type: "string" }, seed: { type: "string" }, minutes: { type: "string" } },
});
const FAILURES_MAX = 5;
const first = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
const endMs = values.minutes === undefined ? Number.POSITIVE_INFINITY : Date.now() + Number(values.minutes) * 60_000;
const cases = values.cases !== undefined ? Number(values.cases) : values.minutes === undefined ? 500 : 1e9;
const totals = { reads: 0, good: 0, hits: 0 };
let [passed, failed] = [0, 0];

process.stdout.write(`seed ${first}\n`);
const startMs = Date.now();
for (let seed = first; seed < first + cases && Date.now() < endMs && failed < FAILURES_MAX; seed++) {
  const result = await runHistory({ seed });
  totals.reads += result.reads;
  totals.good += result.good;
  totals.hits += result.hits;
  if (result.violations.length === 0) {
    passed++;
    continue;
  }
  failed++;
  process.stdout.write(`FAILED\n${result.violations.slice(0, 6).join("\n")}\nshortest history found:\n`);
  process.stdout.write(`${report(seed, await shrink({ seed }, result))}\n`);
}
const perSecond = ((passed + failed) / ((Date.now() - startMs) / 1_000)).toFixed(1);
process.stdout.write(`${JSON.stringify(totals)}, ${perSecond} histories/s\n`);
process.stdout.write(`${passed} passed, ${failed} failed, 0 skipped\n`);
process.exit(failed === 0 ? 0 : 1);
