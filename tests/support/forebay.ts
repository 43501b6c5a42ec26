/** Forebay as a test starts it: the real command, on loopback ports and a flash folder of its own. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { END_WITH_PARENT, startChild } from "./process.ts";
import { lastLines, tempFolder } from "./temp.ts";

/** What differs from the defaults. */
export interface TestForebayOptions {
  /** An Azure Storage connection string (or anything else that `--lake` takes); absent when `config` has `lakes`. */
  readonly lake?: string;
  readonly servers?: 1 | 2;
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  /** Policies as in the config file. */
  readonly policies?: readonly Readonly<Record<string, unknown>>[];
  readonly flashSize?: string;
  /** Further settings of the config file. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Further flags. */
  readonly extra?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A running Forebay. */
export interface TestForebay {
  /** `http[s]://127.0.0.1:PORT/ACCOUNT`, as the ready line says. */
  readonly blobUrl: string;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** `HOST:PORT` of the admin API. */
  readonly admin: string;
  readonly pid: number;
  readonly flash: string;
  /** What it logged so far. */
  logs(): string;
  /** Ends it with SIGTERM and removes its folder; throws unless it left with status 0. */
  stop(): Promise<void>;
}

const ROOT = join(import.meta.dir, "../..");
/** The command's entry point. */
export const FOREBAY_MAIN = join(ROOT, "cli/main.ts");

/** Whether there is a Forebay to test in this tree. */
export function forebayExists(): boolean {
  return existsSync(FOREBAY_MAIN);
}

/** The command line that runs `forebay ARGS`. */
export function forebayCommand(args: readonly string[]): readonly string[] {
  return [process.execPath, FOREBAY_MAIN, ...args];
}

/** The same, in a process that ends with this one. */
function watchingCommand(args: readonly string[]): readonly string[] {
  return [process.execPath, "--preload", END_WITH_PARENT, FOREBAY_MAIN, ...args];
}

/** Starts `forebay up` and resolves when it printed its ready line. */
export async function startTestForebay(options: TestForebayOptions): Promise<TestForebay> {
  const folder = tempFolder("up");
  const flash = join(folder.path, "flash");
  const config = join(folder.path, "forebay.yaml");
  writeFileSync(
    config,
    stringify({
      ...(options.lake === undefined ? {} : { lake: options.lake }),
      policies: options.policies ?? [],
      ...options.config,
    }),
  );
  const child = startChild({
    name: "forebay up",
    command: watchingCommand([
      "up",
      "--config",
      config,
      "--listen",
      "127.0.0.1:0",
      "--admin",
      "127.0.0.1:0",
      "--flash",
      flash,
      "--flash-size",
      options.flashSize ?? "1GiB",
      "--servers",
      String(options.servers ?? 1),
      ...(options.tls ? ["--tls-cert", options.tls.certFile, "--tls-key", options.tls.keyFile] : []),
      ...(options.extra ?? []),
    ]),
    cwd: ROOT,
    watchesParent: true,
    env: { ...options.env },
  });
  const stop = async (): Promise<void> => {
    const status = await child.stop(25_000);
    folder.remove();
    if (status !== 0) throw new Error(`forebay ended with status ${status}:\n${lastLines(child.stderr(), 20)}`);
  };
  try {
    const match = await child.line(/^forebay ready blob=(\S+) admin=http:\/\/(\S+)$/, 60_000);
    const blobUrl = match[1] ?? "";
    const url = new URL(blobUrl);
    return {
      blobUrl,
      host: url.hostname,
      port: Number(url.port),
      tls: url.protocol === "https:",
      admin: match[2] ?? "",
      pid: child.pid,
      flash,
      logs: child.stderr,
      stop,
    };
  } catch (error) {
    await child.stop(2_000);
    folder.remove();
    throw error;
  }
}
