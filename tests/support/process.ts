/** A child process of a test: started, watched for a line, ended by its own id. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { lastLines, within } from "./temp.ts";

/** What a child process is started with. */
export interface ChildSpec {
  readonly name: string;
  readonly command: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Gives it a standard input that closes when this process ends: see {@link END_WITH_PARENT}. */
  readonly watchesParent?: boolean;
}

/** To be preloaded by children that `watchesParent`: they end when this process has ended, however that came. */
export const END_WITH_PARENT = join(import.meta.dir, "../../cli/end-with-parent.cjs");

/** A running child process. */
export interface Child {
  readonly pid: number;
  /** What it wrote to stdout and stderr so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** The exit status (128 + signal when killed), once it ended. */
  readonly ended: Promise<number>;
  /** The first match of `pattern` in a line of stdout. Rejects with the last lines of stderr when it ends first. */
  line(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray>;
  /** SIGTERM, then SIGKILL after `graceMs`. Resolves with the exit status. */
  stop(graceMs?: number): Promise<number>;
  kill(signal: NodeJS.Signals): void;
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = {
  SIGKILL: 9,
  SIGTERM: 15,
  SIGINT: 2,
  SIGSEGV: 11,
  SIGABRT: 6,
};

/** Starts a process and keeps what it prints. */
export function startChild(spec: ChildSpec): Child {
  const [program, ...args] = spec.command;
  if (program === undefined) throw new Error("a command needs a program");
  const child = spawn(program, args, {
    cwd: spec.cwd,
    env: { ...process.env, ...spec.env },
    stdio: [spec.watchesParent ? "pipe" : "ignore", "pipe", "pipe"],
  });
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${spec.name} could not be started: ${program}`);
  let out = "";
  let err = "";
  const waiting = new Set<() => void>();
  const { stdout, stderr } = child;
  if (!stdout || !stderr) throw new Error(`${spec.name}: its output cannot be read`);
  stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString("utf8");
    for (const check of waiting) check();
  });
  stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString("utf8");
  });
  const ended = new Promise<number>((resolve) => {
    child.on("close", (code, signal) => resolve(code ?? 128 + (SIGNAL_NUMBERS[signal ?? ""] ?? 0)));
  });
  const line = (pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> => {
    const seen = new Promise<RegExpExecArray>((resolve, reject) => {
      const check = (): void => {
        const match = out
          .split("\n")
          .slice(0, -1)
          .map((text) => pattern.exec(text))
          .find((found) => found !== null);
        if (!match) return;
        waiting.delete(check);
        resolve(match);
      };
      waiting.add(check);
      check();
      ended.then((status) =>
        reject(new Error(`${spec.name} ended with status ${status}:\n${lastLines(err, 20)}\n${lastLines(out, 5)}`)),
      );
    });
    return within(timeoutMs, `${spec.name} (its stderr: ${lastLines(err, 20)})`, seen);
  };
  const stop = async (graceMs = 10_000): Promise<number> => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), graceMs);
    const status = await ended;
    clearTimeout(timer);
    return status;
  };
  return { pid, stdout: () => out, stderr: () => err, ended, line, stop, kill: (signal) => child.kill(signal) };
}

/** Runs a process to its end. */
export async function runChild(
  spec: ChildSpec,
  timeoutMs: number,
): Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }> {
  const child = startChild(spec);
  try {
    const status = await within(timeoutMs, spec.name, child.ended);
    return { status, stdout: child.stdout(), stderr: child.stderr() };
  } catch (error) {
    child.kill("SIGKILL");
    throw new Error(`${String(error)}\n${lastLines(child.stderr(), 20)}`);
  }
}
