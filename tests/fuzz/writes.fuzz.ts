/**
 * Any number of random histories of writes in the simulated world: `bun tests/fuzz/writes.fuzz.ts --cases N --seed S`,
 * or `--minutes M`. Seeds count up from S (drawn when not given). Ends with `N passed, N failed, N skipped`.
 */
import { parseArgs } from "node:util";
import { reportWrites, runWriteHistory, shrinkWrites } from "../model/write-history.ts";

const { values } = parseArgs({
  options: { cases: { type: "string" }, seed: { type: "string" }, minutes: { type: "string" } },
});
const FAILURES_MAX = 5;
const first = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
const endMs = values.minutes === undefined ? Number.POSITIVE_INFINITY : Date.now() + Number(values.minutes) * 60_000;
const cases = values.cases !== undefined ? Number(values.cases) : values.minutes === undefined ? 500 : 1e9;
const totals = { changes: 0, onFlash: 0, aside: 0, looks: 0, dirty: 0 };
let [passed, failed] = [0, 0];

process.stdout.write(`seed ${first}\n`);
const startMs = Date.now();
for (let seed = first; seed < first + cases && Date.now() < endMs && failed < FAILURES_MAX; seed++) {
  const result = await runWriteHistory({ seed });
  totals.changes += result.changes;
  totals.onFlash += result.onFlash;
  totals.aside += result.aside;
  totals.looks += result.looks;
  totals.dirty += result.dirty;
  if (result.violations.length === 0) {
    passed++;
    continue;
  }
  failed++;
  process.stdout.write(`FAILED\n${result.violations.slice(0, 6).join("\n")}\nshortest history found:\n`);
  process.stdout.write(`${reportWrites(seed, await shrinkWrites({ seed }, result))}\n`);
}
const perSecond = ((passed + failed) / ((Date.now() - startMs) / 1_000)).toFixed(1);
process.stdout.write(`${JSON.stringify(totals)}, ${perSecond} histories/s\n`);
process.stdout.write(`${passed} passed, ${failed} failed, 0 skipped\n`);
process.exit(failed === 0 ? 0 : 1);
