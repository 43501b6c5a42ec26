/** What processes cost: CPU seconds and memory, from /proc. */
import { readdirSync, readFileSync } from "node:fs";

/** The process `pid` and everything below it. */
export function processTree(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const fields = statOf(Number(name));
    if (fields !== null) parents.set(Number(name), Number(fields[1]));
  }
  const tree = [pid];
  for (let i = 0; i < tree.length; i++) {
    for (const [child, parent] of parents) if (parent === tree[i]) tree.push(child);
  }
  return tree;
}

/** The fields of /proc/PID/stat behind the name: state, parent, … Null when the process is gone. */
function statOf(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}

const TICKS_PER_SECOND = 100;

/** User and system CPU seconds that the tree of `pid` has used. */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const one of processTree(pid)) {
    const fields = statOf(one);
    if (fields !== null) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Proportional set size of the tree of `pid`: pages shared by several processes count once. */
export function memoryBytes(pid: number): number {
  let kib = 0;
  for (const one of processTree(pid)) {
    try {
      kib += Number(/^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${one}/smaps_rollup`, "utf8"))?.[1] ?? 0);
    } catch {
      // It ended between two looks.
    }
  }
  return kib * 1024;
}
