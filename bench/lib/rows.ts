/**
 * Rows of the benchmarks: what was measured beside what, and whether the goal is met. Every `bench/*.bench.ts` makes
 * rows, prints them, and writes them as JSON for `npm run bench`.
 *
 * A ratio is the median of the ratios of rounds in which both sides were measured one right after the other: a
 * machine that is busy for a while slows both sides of a round.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

/** One side of a row: in one round, or the medians over the rounds. Null where it was not measured. */
export interface Side {
  /** In the measure of its row. */
  readonly value: number;
  /** User and system seconds of the server's processes. */
  readonly cpuSecondsPerGb: number | null;
  /** Of the server's processes; shared pages count once. */
  readonly memoryMib: number | null;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

export type Goal = { readonly atLeast: number } | { readonly atMost: number };

/** What a row is about, before it is measured. */
export interface RowHead {
  /** Unique over all programs, as `warm-8m-nginx`. */
  readonly id: string;
  readonly name: string;
  /** What `theirs` is, as `nginx`. Without it, what the goal's number is measured in. */
  readonly beside: string;
  /** The unit of the values: `GB/s`, `requests/s`, `s`, `ms p99`, … */
  readonly measure: string;
  /** Of the ratio. Null where the figure is said but nothing is asked of it. */
  readonly goal: Goal | null;
  readonly note?: string;
}

export interface BenchRow {
  readonly id: string;
  readonly name: string;
  readonly beside: string;
  readonly measure: string;
  readonly ours: Side;
  /** Null where the value stands for itself. */
  readonly theirs: Side | null;
  /** Ours / theirs; our value where there is no other; 0 where nothing could be measured. */
  readonly ratio: number;
  readonly goal: Goal | null;
  /** Null without a goal, and where it could not be measured here (the note says why). */
  readonly met: boolean | null;
  readonly rounds: number;
  readonly note: string;
}

/** Both sides of one round. */
export interface Pair {
  readonly ours: Side;
  readonly theirs: Side;
}

const NOTHING: Side = { value: 0, cpuSecondsPerGb: null, memoryMib: null, p50Ms: null, p99Ms: null };

/** A side with `value`, and what else is known of it. */
export function sideOf(value: number, rest: Partial<Omit<Side, "value">> = {}): Side {
  return { ...NOTHING, ...rest, value };
}

/** 0 of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** The median of each figure by itself. */
export function medianSide(sides: readonly Side[]): Side {
  const of = (pick: (side: Side) => number | null): number | null => {
    const known = sides.map(pick).filter((value) => value !== null);
    return known.length === 0 ? null : median(known);
  };
  return {
    value: of((side) => side.value) ?? 0,
    cpuSecondsPerGb: of((side) => side.cpuSecondsPerGb),
    memoryMib: of((side) => side.memoryMib),
    p50Ms: of((side) => side.p50Ms),
    p99Ms: of((side) => side.p99Ms),
  };
}

/** Whether a ratio is as the goal wants it; null without a goal. */
export function meets(ratio: number, goal: Goal | null): boolean | null {
  if (goal === null) return null;
  return "atLeast" in goal ? ratio >= goal.atLeast : ratio <= goal.atMost;
}

function row(head: RowHead, ours: Side, theirs: Side | null, ratio: number, rounds: number): BenchRow {
  const { id, name, beside, measure, goal, note = "" } = head;
  return { id, name, beside, measure, ours, theirs, ratio, goal, met: meets(ratio, goal), rounds, note };
}

/** A row from rounds in which both sides were measured one right after the other. */
export function rowOf(head: RowHead, pairs: readonly Pair[]): BenchRow {
  const ratio = median(pairs.map(({ ours, theirs }) => ours.value / theirs.value));
  const ours = medianSide(pairs.map((pair) => pair.ours));
  return row(head, ours, medianSide(pairs.map((pair) => pair.theirs)), ratio, pairs.length);
}

/** The CPU seconds per GB of rounds as a row of their own, for a goal on them. */
export function cpuRowOf(head: Omit<RowHead, "measure">, pairs: readonly Pair[]): BenchRow {
  const cpu = (side: Side): Side => ({ ...side, value: side.cpuSecondsPerGb ?? 0 });
  const costs = pairs.map(({ ours, theirs }) => ({ ours: cpu(ours), theirs: cpu(theirs) }));
  return rowOf({ ...head, measure: "CPU s/GB" }, costs);
}

/** A row whose value stands for itself: the goal is about the median value. */
export function aloneRowOf(head: RowHead, sides: readonly Side[]): BenchRow {
  const ours = medianSide(sides);
  return row(head, ours, null, ours.value, sides.length);
}

/** A row that cannot be measured on this machine, and why. */
export function skippedRow(head: RowHead, why: string): BenchRow {
  return { ...row({ ...head, note: why }, NOTHING, null, 0, 0), met: null };
}

/** As `goal ≥ 1.3`. */
export function goalText(goal: Goal): string {
  return "atLeast" in goal ? `≥ ${goal.atLeast}` : `≤ ${goal.atMost}`;
}

/** A number with about three digits that matter. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 10_000) return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ",");
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 4);
}

/** `met`, `NOT met`, `not measured`, or nothing where no goal is set. */
export function verdictText(row: BenchRow): string {
  if (row.rounds === 0) return "not measured";
  if (row.met === null) return "";
  return row.met ? "met" : "NOT met";
}

function sideText(name: string, side: Side, measure: string): string {
  const parts = [`${shortNumber(side.value)} ${measure}`];
  if (side.cpuSecondsPerGb !== null && measure !== "CPU s/GB")
    parts.push(`${side.cpuSecondsPerGb.toFixed(3)} CPU s/GB`);
  if (side.memoryMib !== null) parts.push(`${side.memoryMib.toFixed(0)} MiB`);
  if (side.p50Ms !== null) parts.push(`p50 ${shortNumber(side.p50Ms)} ms`);
  if (side.p99Ms !== null) parts.push(`p99 ${shortNumber(side.p99Ms)} ms`);
  return `    ${name.padEnd(10)} ${parts.join("  ")}`;
}

/** The rows as text for a terminal. */
export function renderRows(rows: readonly BenchRow[]): string {
  const lines = rows.flatMap((row) => {
    const goal = row.goal === null ? "" : `  goal ${goalText(row.goal)} ${verdictText(row)}`;
    const note = row.note === "" ? [] : [`    (${row.note})`];
    if (row.rounds === 0) return [`${row.name}: not measured here${goal}`, ...note];
    const rounds = `(${row.rounds} ${row.rounds === 1 ? "round" : "rounds"})`;
    if (row.theirs === null) {
      const head = `${row.name}: ${shortNumber(row.ratio)} ${row.measure} ${rounds}${goal}`;
      return [head, sideText("forebay", row.ours, row.measure), ...note];
    }
    return [
      `${row.name}: ${row.ratio.toFixed(2)} × ${row.beside} ${rounds}${goal}`,
      sideText("forebay", row.ours, row.measure),
      sideText(row.beside.split(/[ ,]/)[0] ?? "", row.theirs, row.measure),
      ...note,
    ];
  });
  return lines.join("\n");
}

/** How many goals are met, not met, and not measurable here. Rows without a goal do not count. */
export function countGoals(rows: readonly BenchRow[]): { passed: number; failed: number; skipped: number } {
  const asked = rows.filter((row) => row.goal !== null);
  return {
    passed: asked.filter((row) => row.met === true).length,
    failed: asked.filter((row) => row.met === false).length,
    skipped: asked.filter((row) => row.met === null).length,
  };
}

/** What every program of benchmarks is told. */
export interface BenchOptions {
  /** Fewer and shorter rounds. */
  readonly quick: boolean;
  /** Where the rows go as JSON; null: nowhere. */
  readonly json: string | null;
}

/** The program's own arguments. */
export function benchOptions(given: readonly string[] = process.argv.slice(2)): BenchOptions {
  const options = { quick: { type: "boolean" }, json: { type: "string" } } as const;
  const { values } = parseArgs({ args: [...given], options, strict: true });
  return { quick: values.quick === true, json: values.json ?? null };
}

/** How a program ends: the rows as text, as JSON where asked, and their counts as the last line. */
export function publishRows(rows: readonly BenchRow[], options: BenchOptions): void {
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify({ rows }, null, 2)}\n`);
  const { passed, failed, skipped } = countGoals(rows);
  process.stdout.write(`${renderRows(rows)}\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
}
