/**
 * Runs a suite of programs: `suite fuzz --cases 1000` runs every `tests/fuzz/*.fuzz.ts` with these arguments, one after
 * the other, and adds up their last lines (`N passed, N failed, N skipped`). A program without such a line counts as
 * one, by its exit status. `--only NAME` picks programs by a part of their names, `--minutes M` runs each for that long
 * with ever new seeds, `--seed S` names the (first) seed. A soak is told its minutes and keeps to them itself.
 */
import { Glob } from "bun";
import { addCounts, BUN, type Counts, countsIn, countsLine, NO_COUNTS, ROOT, runShown } from "./run.ts";

const FOLDERS: Readonly<Record<string, string>> = {
  fuzz: "tests/fuzz",
  crash: "tests/crash",
  soak: "tests/soak",
};
/** Suites whose programs take `--minutes` themselves: one run of each fills the time. */
const TAKES_MINUTES = new Set(["soak"]);
const MINUTES_MAX = 24 * 60;
const SEEDS = 1_000_000_000;

/** The programs of a suite, relative to the root. */
export function programsOf(suite: string): string[] {
  const folder = FOLDERS[suite];
  if (folder === undefined) return [];
  return [...new Glob(`${folder}/**/*.${suite}.ts`).scanSync({ cwd: ROOT })].sort();
}

interface Wish {
  readonly only: string;
  /** Null: every program once. Else again and again, each time with the next seed. */
  readonly minutes: number | null;
  readonly seed: number | null;
  /** What the programs get as it is. */
  readonly rest: readonly string[];
}

/** What a command line asks of a suite. */
export function wishOf(suite: string, given: readonly string[]): Wish {
  const rest = [...given];
  const take = (flag: string): string | undefined => {
    const at = rest.indexOf(flag);
    return at < 0 ? undefined : rest.splice(at, 2)[1];
  };
  const number = (text: string | undefined): number | null => (text === undefined ? null : Number(text));
  const minutes = TAKES_MINUTES.has(suite) ? null : number(take("--minutes"));
  return { only: take("--only") ?? "", minutes, seed: number(take("--seed")), rest };
}

async function runProgram(program: string, args: readonly string[]): Promise<Counts> {
  process.stdout.write(`── ${[program, ...args].join(" ")}\n`);
  const { status, output } = await runShown([BUN, program, ...args], MINUTES_MAX);
  const counts = countsIn(output) ?? { ...NO_COUNTS, passed: status === 0 ? 1 : 0 };
  if (status === 0 || counts.failed > 0) return counts;
  return addCounts(counts, { ...NO_COUNTS, failed: 1 });
}

/** One program: once, or with one seed after the other until the time is over or something fails. */
async function runOften(program: string, wish: Wish): Promise<Counts> {
  if (wish.minutes === null) {
    const seed = wish.seed === null ? [] : ["--seed", String(wish.seed)];
    return runProgram(program, [...wish.rest, ...seed]);
  }
  const until = performance.now() + wish.minutes * 60_000;
  let seed = wish.seed ?? Date.now() % SEEDS;
  let counts = NO_COUNTS;
  do {
    counts = addCounts(counts, await runProgram(program, [...wish.rest, "--seed", String(seed)]));
    seed++;
  } while (performance.now() < until && counts.failed === 0);
  return counts;
}

async function main(suite: string, given: readonly string[]): Promise<number> {
  const wish = wishOf(suite, given);
  const programs = programsOf(suite).filter((program) => program.includes(wish.only));
  if (programs.length === 0) {
    const known = FOLDERS[suite] === undefined ? `; there are ${Object.keys(FOLDERS).join(", ")}` : "";
    process.stderr.write(
      `no program of the suite "${suite}"${wish.only === "" ? "" : ` with "${wish.only}"`}${known}\n`,
    );
    return 2;
  }
  let counts = NO_COUNTS;
  for (const program of programs) counts = addCounts(counts, await runOften(program, wish));
  process.stdout.write(`${countsLine(counts)}\n`);
  return counts.failed === 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await main(process.argv[2] ?? "", process.argv.slice(3)));
