/** Rows of a benchmark: what was measured beside what, and whether the goal is met. */

/** One side of a row in one round. */
export interface Sample {
  readonly gbPerSecond: number;
  readonly requestsPerSecond: number;
  readonly cpuSecondsPerGb: number;
  readonly memoryMib: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface Row {
  readonly name: string;
  readonly beside: string;
  readonly ours: Sample;
  readonly theirs: Sample;
  /** Median over the rounds of ours / theirs, pair by pair. */
  readonly ratio: number;
  readonly cpuRatio: number;
  readonly rounds: number;
  readonly goal: number | null;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** The median of each figure by itself. */
export function medianSample(samples: readonly Sample[]): Sample {
  const of = (pick: (sample: Sample) => number): number => median(samples.map(pick));
  return {
    gbPerSecond: of((s) => s.gbPerSecond),
    requestsPerSecond: of((s) => s.requestsPerSecond),
    cpuSecondsPerGb: of((s) => s.cpuSecondsPerGb),
    memoryMib: of((s) => s.memoryMib),
    p50Ms: of((s) => s.p50Ms),
    p99Ms: of((s) => s.p99Ms),
  };
}

/** A row from rounds in which both sides were measured one right after the other. */
export function rowOf(
  name: string,
  beside: string,
  pairs: readonly { readonly ours: Sample; readonly theirs: Sample }[],
  goal: number | null,
): Row {
  return {
    name,
    beside,
    ours: medianSample(pairs.map((pair) => pair.ours)),
    theirs: medianSample(pairs.map((pair) => pair.theirs)),
    ratio: median(pairs.map(({ ours, theirs }) => ours.requestsPerSecond / theirs.requestsPerSecond)),
    cpuRatio: median(pairs.map(({ ours, theirs }) => ours.cpuSecondsPerGb / theirs.cpuSecondsPerGb)),
    rounds: pairs.length,
    goal,
  };
}

/** The rows as text for a terminal. */
export function renderRows(rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const side = (s: Sample): string =>
      `${s.gbPerSecond.toFixed(2)} GB/s ${Math.round(s.requestsPerSecond)} req/s ${s.cpuSecondsPerGb.toFixed(3)} s/GB ${s.memoryMib.toFixed(0)} MiB p99 ${s.p99Ms.toFixed(1)} ms`;
    const verdict =
      row.goal === null ? "" : row.ratio >= row.goal ? `  goal ${row.goal}× met` : `  goal ${row.goal}× NOT met`;
    return `${row.name}: ${row.ratio.toFixed(2)}× of ${row.beside}, CPU ${row.cpuRatio.toFixed(2)}× (${row.rounds} rounds)${verdict}\n  forebay ${side(row.ours)}\n  ${row.beside.padEnd(7)} ${side(row.theirs)}`;
  });
  return lines.join("\n");
}
