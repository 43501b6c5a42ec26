/** The lake of the demo: Microsoft's Azurite on a loopback port, with its data under the demo's folder. */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ForebayError } from "../src/base/errors.ts";

/** Azurite's account and key, which Microsoft publishes: they open nothing but an emulator. */
export const DEMO_ACCOUNT = "devstoreaccount1";
export const DEMO_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/** The connection string of the demo's account at `origin` (`http://HOST:PORT`). */
export function demoConnectionString(origin: string): string {
  return `DefaultEndpointsProtocol=http;AccountName=${DEMO_ACCOUNT};AccountKey=${DEMO_KEY};BlobEndpoint=${origin}/${DEMO_ACCOUNT};`;
}

/** A running Azurite. */
export interface DemoLake {
  /** Resolves when it ends, with the last lines it wrote. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

const START_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 5_000;
const KEPT_OUTPUT_CHARS = 2_000;

const HERE = import.meta.dir;
const AZURITE = join(HERE, "../node_modules/azurite/dist/src/blob/main.js");

/** Starts Azurite and resolves when it listens on `port`. Rejects with `lake-unreachable` and what it said. */
export async function startDemoLake(folder: string, port: number): Promise<DemoLake> {
  mkdirSync(folder, { recursive: true });
  const preload = join(HERE, "end-with-parent.cjs");
  const flags = ["--blobHost", "127.0.0.1", "--blobPort", String(port), "--location", folder];
  const quiet = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"];
  // A process group of its own: Ctrl-C shall reach Forebay first, which may still need its lake to finish.
  const child = spawn("node", ["--require", preload, AZURITE, ...flags, ...quiet], {
    cwd: folder,
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  let started: () => void = () => {};
  const listening = new Promise<void>((resolve) => {
    started = resolve;
  });
  const take = (chunk: Buffer): void => {
    output = (output + chunk.toString("utf8")).slice(-KEPT_OUTPUT_CHARS);
    if (output.includes("successfully listens")) started();
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error: NodeJS.ErrnoException) => {
      resolve(error.code === "ENOENT" ? 'there is no "node" on the PATH' : error.message);
    });
    child.on("close", () => resolve(output.trim()));
  });
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN_MS);
    await ended;
    clearTimeout(timer);
  };
  const timer = setTimeout(() => child.kill("SIGKILL"), START_WITHIN_MS);
  const failure = await Promise.race([listening.then(() => null), ended]);
  clearTimeout(timer);
  if (failure !== null) throw new ForebayError("lake-unreachable", `Azurite did not start: ${failure}`);
  return { ended, stop };
}
