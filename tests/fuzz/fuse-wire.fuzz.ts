/**
 * Fuzzes the FUSE thread of a mount: `bun tests/fuzz/fuse-wire.fuzz.ts [--cases N] [--seed S]`. Prints the seed, what
 * failed, and as its last line `N passed, N failed, 0 skipped`.
 */
import { parseArgs } from "node:util";
import { fuzzFuse } from "./fuse-judge.ts";

const { values } = parseArgs({ options: { cases: { type: "string" }, seed: { type: "string" } } });
const cases = Number(values.cases ?? 5_000);
const seed = Number(values.seed ?? Date.now() % 1_000_000_000);
process.stdout.write(`fuse wire fuzz: seed ${seed}, ${cases} cases\n`);
const { passed, failures, requests, good } = fuzzFuse(seed, cases);
for (const failure of failures) process.stdout.write(`case ${failure.case} of seed ${seed} failed: ${failure.why}\n`);
process.stdout.write(`${requests} requests, ${good} answered without an error\n`);
process.stdout.write(`${passed} passed, ${failures.length} failed, 0 skipped\n`);
process.exit(failures.length === 0 ? 0 : 1);
