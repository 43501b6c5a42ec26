/** Runs programs for the scripts: shown as they go, bounded in time, and counted. */
import { join } from "node:path";

/** The repository's root. */
export const ROOT = join(import.meta.dir, "..");

/** How many of something passed, failed and were skipped. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const NO_COUNTS: Counts = { passed: 0, failed: 0, skipped: 0 };

export function addCounts(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** The line that ends a suite's output. */
export function countsLine(counts: Counts): string {
  return `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
}

/** The counts of the last {@link countsLine} in an output, or null. */
export function countsIn(output: string): Counts | null {
  const found = [...output.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm)].at(-1);
  if (found === undefined) return null;
  return { passed: Number(found[1]), failed: Number(found[2]), skipped: Number(found[3]) };
}

/** The totals of a JUnit report of `bun test`, or null when it is none. */
export function countsOfJunit(xml: string): Counts | null {
  const head = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  const value = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head ?? "")?.[1] ?? 0);
  if (head === undefined) return null;
  const [failed, skipped] = [value("failures") + value("errors"), value("skipped")];
  return { passed: value("tests") - failed - skipped, failed, skipped };
}

/** How a program ended. */
export interface Ended {
  /** 124 when it was ended for taking too long. */
  readonly status: number;
  readonly output: string;
  readonly seconds: number;
}

const KILL_AFTER_MS = 30_000;
const STATUS_TIMEOUT = 124;

/** Runs a program in the root with its output passed on (and kept). After `minutesMax` it is ended. */
export async function runShown(command: readonly string[], minutesMax: number): Promise<Ended> {
  const start = performance.now();
  const child = Bun.spawn([...command], { cwd: ROOT, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  let timedOut = false;
  const soft = setTimeout(() => {
    timedOut = true;
    child.kill("SIGTERM");
  }, minutesMax * 60_000);
  const hard = setTimeout(() => child.kill("SIGKILL"), minutesMax * 60_000 + KILL_AFTER_MS);
  const parts: string[] = [];
  const pass = async (from: ReadableStream<Uint8Array>, to: NodeJS.WriteStream): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of from) {
      to.write(chunk);
      parts.push(decoder.decode(chunk, { stream: true }));
    }
  };
  const reading = Promise.all([pass(child.stdout, process.stdout), pass(child.stderr, process.stderr)]);
  const ended = await child.exited;
  // A left-over grandchild may hold the pipes: what it says no longer counts.
  await Promise.race([reading, Bun.sleep(2_000)]);
  clearTimeout(soft);
  clearTimeout(hard);
  const seconds = (performance.now() - start) / 1000;
  return { status: timedOut ? STATUS_TIMEOUT : ended, output: parts.join(""), seconds };
}

/** The bun that runs this. */
export const BUN = process.execPath;
