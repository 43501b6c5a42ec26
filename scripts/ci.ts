/**
 * Everything that is checked, each step bounded in time, and one last line that counts it all:
 * `N passed, N failed, N skipped`. A step that ends badly without a failure of its own counts as one failed.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addCounts, BUN, type Counts, countsIn, countsLine, countsOfJunit, NO_COUNTS, runShown } from "./run.ts";
import { programsOf } from "./suite.ts";
import { quickTests } from "./test.ts";

interface Step {
  readonly name: string;
  readonly minutesMax: number;
  readonly command: readonly string[];
  /** The JUnit report that the step writes; without one its output ends with a line of counts, or it counts as one. */
  readonly report?: string;
}

const CODEC_CASES = "10000";
/** Simulated histories beside those of `npm test`; some eight a second. */
const HISTORY_CASES = "200";
/** Simulated histories of writes beside those of `npm test`; some eight a second. */
const WRITES_CASES = "500";
const CRASH_ROUNDS = "50";
const WRITE_CRASH_ROUNDS = "30";
/** Growth of memory is judged from two minutes on. */
const SOAK_MINUTES = "2";

function steps(folder: string): Step[] {
  const list: Step[] = [{ name: "check", minutesMax: 6, command: [BUN, "scripts/check.ts"] }];
  const report = join(folder, "test.xml");
  const junit = ["--reporter=junit", `--reporter-outfile=${report}`];
  const quick = quickTests().map((file) => `./${file}`);
  list.push({ name: "test", minutesMax: 10, command: [BUN, "test", ...junit, ...quick], report });
  if (existsSync("tests/conformance")) list.push(conformance(folder));
  const suites = [
    ["crash", 8, ["--only", "kill", "--rounds", CRASH_ROUNDS]],
    ["crash", 6, ["--only", "writes", "--rounds", WRITE_CRASH_ROUNDS]],
    ["fuzz", 3, ["--only", "http", "--cases", CODEC_CASES]],
    ["fuzz", 6, ["--only", "history", "--cases", HISTORY_CASES]],
    ["fuzz", 6, ["--only", "writes", "--cases", WRITES_CASES]],
    ["soak", 4, ["--minutes", SOAK_MINUTES, "--servers", "2"]],
  ] as const;
  for (const [name, minutesMax, args] of suites) {
    if (programsOf(name).length > 0) list.push({ name, minutesMax, command: [BUN, "scripts/suite.ts", name, ...args] });
  }
  return list;
}

function conformance(folder: string): Step {
  const report = join(folder, "conformance.xml");
  const junit = ["--reporter=junit", `--reporter-outfile=${report}`];
  return { name: "conformance", minutesMax: 12, command: [BUN, "test", ...junit, "./tests/conformance"], report };
}

async function runStep(step: Step): Promise<Counts> {
  process.stdout.write(`\n══ ${step.name}\n`);
  const { status, output, seconds } = await runShown(step.command, step.minutesMax);
  const report = step.report !== undefined && existsSync(step.report) ? readFileSync(step.report, "utf8") : null;
  const counted = report === null ? countsIn(output) : countsOfJunit(report);
  let counts = counted ?? { ...NO_COUNTS, passed: status === 0 ? 1 : 0 };
  if (status !== 0 && counts.failed === 0) counts = addCounts(counts, { ...NO_COUNTS, failed: 1 });
  const late = status === 124 ? `; ended after ${step.minutesMax} minutes` : "";
  process.stdout.write(`\n══ ${step.name}: ${countsLine(counts)} (${seconds.toFixed(0)} s, status ${status}${late})\n`);
  return counts;
}

if (import.meta.main) {
  const folder = mkdtempSync(join(tmpdir(), "forebay-ci-"));
  const summary: string[] = [];
  let total = NO_COUNTS;
  for (const step of steps(folder)) {
    const counts = await runStep(step);
    summary.push(`${step.name.padEnd(12)} ${countsLine(counts)}`);
    total = addCounts(total, counts);
  }
  rmSync(folder, { recursive: true, force: true });
  process.stdout.write(`\n${summary.join("\n")}\n\n${countsLine(total)}\n`);
  process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
}
