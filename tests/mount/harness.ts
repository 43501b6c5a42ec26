/**
 * A real mount for a test, and programs that look into it. The test's own process never touches the mount: it serves it.
 * Whatever happens, the mount is ended: after the tests, or when the process ends.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Clock, realClock } from "../../src/io/clock.ts";
import { type Mounted, startMount } from "../../src/mount/mount.ts";
import type { FileSource, MountOptions } from "../../src/mount/types.ts";
import { type TempFolder, tempFolder, within } from "../support/temp.ts";
import { createMemorySource, type MemorySource } from "./memory-source.ts";

const RUN_MS = 30_000;

export interface World<S extends FileSource = MemorySource> {
  readonly source: S;
  /** Where the mount is. */
  readonly folder: string;
  /** A folder of an ordinary file system. */
  readonly plain: string;
  readonly mount: Mounted;
  readonly logs: string[];
  end(): Promise<void>;
}

const standing = new Set<string>();

/** Detaches whatever still stands. Harmless where nothing does. */
function detach(folder: string): void {
  Bun.spawnSync(["umount", "-l", folder], { stdio: ["ignore", "ignore", "ignore"] });
}

process.on("exit", () => {
  for (const folder of standing) detach(folder);
});

/** Why nothing can be mounted here; null where it can. */
export async function whyNoMount(): Promise<string | null> {
  try {
    const world = await mountMemory();
    await world.end();
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Mounts a memory source. */
export function mountMemory(options: Partial<MountOptions> = {}, clock: Clock = realClock): Promise<World> {
  return mountOn((flash) => createMemorySource(flash), options, clock);
}

export async function mountOn<S extends FileSource>(
  make: (flash: string) => S,
  options: Partial<MountOptions> = {},
  clock: Clock = realClock,
): Promise<World<S>> {
  const temp: TempFolder = tempFolder("mount");
  const [flash, folder, plain] = ["flash", "mnt", "plain"].map((name) => join(temp.path, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [flash, folder, plain]) mkdirSync(path);
  const source = make(flash);
  const logs: string[] = [];
  standing.add(folder);
  const shut = (): void => {
    detach(folder);
    standing.delete(folder);
    temp.remove();
  };
  try {
    const mount = await startMount({
      options: {
        folder,
        label: "forebay:test",
        allowOther: false,
        uid: process.getuid?.() ?? 0,
        gid: process.getgid?.() ?? 0,
        umask: 0o022,
        passthrough: true,
        ...options,
      },
      source,
      clock,
      log: (level, message, fields) => logs.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`),
    });
    const end = async (): Promise<void> => {
      try {
        await within(10_000, "the end of the mount", mount.stop());
      } finally {
        shut();
      }
    };
    return { source, folder, plain, mount, logs, end };
  } catch (error) {
    shut();
    throw error;
  }
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command to its end, which comes by force after 30 s. Never with the mount as its working folder. */
export async function run(...command: string[]): Promise<Ran> {
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "pipe"], timeout: RUN_MS, killSignal: "SIGKILL" });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}

/** The same with a shell; what it says, or an error with what it complains about. */
export async function shell(script: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await run("sh", "-c", script, "sh", ...args);
  if (code !== 0) throw new Error(`exit ${code}: ${err.trim()}`);
  return out;
}

/** A program of a few lines of Python, which are told of by name below. */
export function python(script: string, ...args: string[]): Promise<string> {
  return shell('exec python3 -c "$@"', script, ...args);
}

/** A program that runs while the test goes on: what it says, line by line, and a way to let it go on. */
export interface Companion {
  /** Its next line; an error when it ends, or says nothing for 20 s. */
  line(): Promise<string>;
  /** Gives it a line. */
  tell(text: string): void;
  /** Its status when it ends by itself. */
  end(): Promise<number>;
}

export function companion(script: string, ...args: string[]): Companion {
  const child = Bun.spawn(["python3", "-u", "-c", script, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
    timeout: RUN_MS,
    killSignal: "SIGKILL",
  });
  const reader = child.stdout.getReader();
  let text = "";
  const next = async (): Promise<string> => {
    for (;;) {
      const end = text.indexOf("\n");
      if (end >= 0) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        return line;
      }
      const { value, done } = await reader.read();
      if (done) throw new Error(`the program ended after: ${text}`);
      text += Buffer.from(value).toString();
    }
  };
  return {
    line: () => within(20_000, "a line of the program", next()),
    tell: (line) => {
      child.stdin.write(`${line}\n`);
      child.stdin.flush();
    },
    end: async () => {
      child.stdin.end();
      return child.exited;
    },
  };
}

/** Waits until `holds`, 10 s at most. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let look = 0; look < 200; look++) {
    if (await holds()) return;
    await realClock.sleep(50);
  }
  throw new Error(`not within 10 s: ${what}`);
}
