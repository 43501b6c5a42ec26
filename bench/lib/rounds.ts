/** Rounds of a benchmark: one load after the other at both sides, in turn, with what it cost their servers. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LoadPlan, LoadResult } from "./load.ts";
import type { Pair, Side } from "./rows.ts";
import { cpuSeconds, memoryBytes } from "./usage.ts";

const MIB = 1 << 20;

/** A server under measurement. */
export interface Target {
  readonly name: string;
  readonly port: number;
  /** The root of its processes. */
  readonly pid: number;
}

/** One load, in a process of its own, at `target`. The value is GB/s or requests/s. */
export async function measureLoad(
  target: Target,
  plan: Omit<LoadPlan, "port"> & { readonly tls?: boolean },
  measure: "GB/s" | "requests/s",
): Promise<Side> {
  const folder = mkdtempSync(join(tmpdir(), "forebay-plan-"));
  try {
    const file = join(folder, "plan.json");
    writeFileSync(file, JSON.stringify({ ...plan, port: target.port }));
    const before = cpuSeconds(target.pid);
    const load = Bun.spawn(
      [process.execPath, join(import.meta.dir, plan.tls === true ? "tls-load.ts" : "load.ts"), file],
      {
        stdout: "pipe",
        stderr: "inherit",
      },
    );
    const output = await new Response(load.stdout).text();
    if ((await load.exited) !== 0) throw new Error(`the load at ${target.name} failed`);
    const result: LoadResult = JSON.parse(output);
    const gb = result.bytes / 1e9;
    return {
      value: (measure === "GB/s" ? gb : result.requests) / result.seconds,
      cpuSecondsPerGb: (cpuSeconds(target.pid) - before) / gb,
      memoryMib: memoryBytes(target.pid) / MIB,
      p50Ms: result.p50Ms,
      p99Ms: result.p99Ms,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** `rounds` pairs; who is first alternates. */
export async function interleave<T>(
  rounds: number,
  ours: T,
  theirs: T,
  measure: (side: T) => Promise<Side>,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const first = await measure(ours);
      pairs.push({ ours: first, theirs: await measure(theirs) });
    } else {
      const first = await measure(theirs);
      pairs.push({ ours: await measure(ours), theirs: first });
    }
  }
  return pairs;
}
