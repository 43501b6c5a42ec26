/** What of the writes that the lake does not have yet keeps Forebay from being ready: each one sentence. */
import type { WritesView } from "./writes-types.ts";

/** Empty when all is well. */
export function writesProblems(writes: WritesView): string[] {
  const problems: string[] = [];
  if (!writes.ok) problems.push(`journal: ${writes.state}; nothing is acknowledged on flash until it can be written`);
  if (writes.parkedEntries > 0) {
    const one = writes.parkedEntries === 1;
    const first = writes.attention.find((entry) => entry.state === "parked");
    const which = first === undefined ? "" : ` (#${first.seq} of ${first.path}: ${first.reason ?? "no reason given"})`;
    const count = `${writes.parkedEntries} ${one ? "entry is" : "entries are"} parked`;
    problems.push(`writes: ${count}${which}; see forebay journal list`);
  }
  for (const path of overdue(writes)) {
    const seconds = (ms: number | null): number => Math.floor((ms ?? 0) / 1000);
    const age = `${seconds(path.oldestAgeMs)} s old, ${seconds(path.maxUnflushedMs)} s are allowed (maxUnflushed)`;
    const why = path.stuck === null ? "" : `; ${path.stuck.reason}`;
    problems.push(`writes: the oldest of "${path.path}" that the lake does not have is ${age}${why}`);
  }
  return problems;
}

/** The paths whose oldest write has been waiting for longer than their policy allows. */
export function overdue(writes: WritesView): WritesView["paths"] {
  return writes.paths.filter(
    ({ oldestAgeMs, maxUnflushedMs }) =>
      oldestAgeMs !== null && maxUnflushedMs !== null && oldestAgeMs > maxUnflushedMs,
  );
}
