/**
 * Fuzzes the HTTP codec against Node's parser: `bun tests/fuzz/http-codec.fuzz.ts [--cases N] [--seed N]`.
 * Exit status 1 with the case that failed.
 */
import { parseArgs } from "node:util";
import { fuzzHttp } from "./http-judge.ts";

const { values } = parseArgs({ options: { cases: { type: "string" }, seed: { type: "string" } } });
const cases = Number(values.cases ?? 10_000);
const seed = Number(values.seed ?? Date.now() % 1_000_000_000);
console.log(`http codec fuzz: seed ${seed}, ${cases} cases`);
const outcome = await fuzzHttp(seed, cases);
console.log(`${outcome.requests} requests served; ${outcome.agreed} cases with as many as Node serves`);
if (outcome.failure !== null) {
  const { index, why, text } = outcome.failure;
  console.log(`case ${index} of seed ${seed} failed: ${why}\n${JSON.stringify(text)}`);
  process.exit(1);
}
