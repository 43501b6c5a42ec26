/**
 * `npm run bench`: runs every `bench/*.bench.ts`, each in a process of its own, one after the other; prints one table
 * of their rows, and writes it as `latest.json` and `latest.svg`.
 *
 * `--quick` is for all of them together under three minutes, `--only NAME` runs those with NAME in their file's name,
 * `--out DIR` says where the files go (`.forebay/bench`).
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Glob } from "bun";
import { BUN, countsLine, ROOT, runShown } from "../scripts/run.ts";
import { type BenchRow, countGoals, goalText, shortNumber, verdictText } from "./lib/rows.ts";
import { renderSvg } from "./lib/svg.ts";

const MINUTES_MAX = 60;
const MIB_PER_GIB = 1024;

/** The programs, relative to the root. */
function benchPrograms(): string[] {
  return [...new Glob("bench/*.bench.ts").scanSync({ cwd: ROOT })].sort();
}

interface Outcome {
  readonly program: string;
  readonly rows: readonly BenchRow[];
  readonly seconds: number;
  /** Null when it ran. */
  readonly trouble: string | null;
}

async function runOne(program: string, quick: boolean): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), "forebay-bench-rows-"));
  const json = join(folder, "rows.json");
  try {
    process.stdout.write(`── ${program}\n`);
    const command = [BUN, program, "--json", json, ...(quick ? ["--quick"] : [])];
    const { status, seconds } = await runShown(command, MINUTES_MAX);
    process.stdout.write(`── ${program}: ${seconds.toFixed(0)} s\n`);
    if (status !== 0) return { program, rows: [], seconds, trouble: `ended with status ${status}` };
    const { rows }: { rows: BenchRow[] } = JSON.parse(readFileSync(json, "utf8"));
    return { program, rows, seconds, trouble: null };
  } catch (error) {
    return { program, rows: [], seconds: 0, trouble: `gave no rows: ${String(error)}` };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The rows as one table in Markdown. */
function tableOf(rows: readonly BenchRow[]): string {
  const number = (value: number | null | undefined, digits: number): string => value?.toFixed(digits) ?? "–";
  const lines = rows.map((row) => {
    const measured = row.rounds > 0;
    const both = (pick: (side: BenchRow["ours"]) => string): string =>
      measured ? `${pick(row.ours)}${row.theirs === null ? "" : ` : ${pick(row.theirs)}`}` : "–";
    const ratio = !measured ? "–" : row.theirs === null ? shortNumber(row.ratio) : `${row.ratio.toFixed(2)} ×`;
    return [
      row.name,
      row.beside,
      `${both((side) => shortNumber(side.value))} ${row.measure}`,
      ratio,
      row.goal === null ? "–" : goalText(row.goal),
      verdictText(row) === "" ? "–" : verdictText(row),
      both((side) => number(side.cpuSecondsPerGb, 3)),
      both((side) => number(side.memoryMib, 0)),
      both((side) => number(side.p99Ms, 1)),
      String(row.rounds),
    ];
  });
  const titles = ["what", "beside", "ours : theirs", "ratio", "goal", "met", "CPU s/GB", "MiB", "p99 ms", "rounds"];
  const table = [titles, ...lines].map((cells) => cells.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = titles.map((_, column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0)));
  const text = table.map((cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`);
  text.splice(1, 0, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`);
  const notes = rows.filter((row) => row.note !== "").map((row) => `- ${row.name} (${row.beside}): ${row.note}`);
  return [...text, ...(notes.length === 0 ? [] : ["", ...notes])].join("\n");
}

/** The machine, in words that say how far figures carry. */
function machine(): string {
  const processors = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 20 / MIB_PER_GIB)} GiB of memory`;
  return `${processors.length} cores (${processors[0]?.model.trim() ?? "unknown"}), ${memory}, Linux ${release()}`;
}

async function main(): Promise<number> {
  const options = { quick: { type: "boolean" }, only: { type: "string" }, out: { type: "string" } } as const;
  const { values } = parseArgs({ options, strict: true });
  const quick = values.quick === true;
  const programs = benchPrograms().filter((program) => program.includes(values.only ?? ""));
  if (programs.length === 0) {
    process.stderr.write(`no benchmark has "${values.only}" in its name: ${benchPrograms().join(", ")}\n`);
    return 2;
  }
  const outcomes: Outcome[] = [];
  for (const program of programs) outcomes.push(await runOne(program, quick));
  const rows = outcomes.flatMap((outcome) => outcome.rows);
  const folder = resolve(values.out ?? join(ROOT, ".forebay/bench"));
  mkdirSync(folder, { recursive: true });
  const at = new Date().toISOString();
  const title = `Forebay ${quick ? "(quick run) " : ""}on ${machine()}`;
  const result = { at, quick, machine: machine(), programs: outcomes.map(({ rows: _, ...rest }) => rest), rows };
  writeFileSync(join(folder, "latest.json"), `${JSON.stringify(result, null, 2)}\n`);
  writeFileSync(join(folder, "latest.svg"), renderSvg(rows, title));
  process.stdout.write(`\n${title}\n\n${tableOf(rows)}\n\n`);
  for (const { program, trouble } of outcomes) {
    if (trouble !== null) process.stdout.write(`${program} could not run: ${trouble}\n`);
  }
  const seconds = outcomes.reduce((sum, outcome) => sum + outcome.seconds, 0);
  process.stdout.write(
    `all of it took ${seconds.toFixed(0)} s\nwritten: ${join(folder, "latest.json")}, ${join(folder, "latest.svg")}\n`,
  );
  process.stdout.write(`${countsLine(countGoals(rows))}\n`);
  return outcomes.some(({ trouble }) => trouble !== null) ? 1 : 0;
}

if (import.meta.main) process.exit(await main());
