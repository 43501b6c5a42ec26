/** `forebay demo`: a lake, a sample dataset in it and Forebay in front, all on this machine. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { startDelayProxy } from "../sim/delay-proxy.ts";
import { asForebayError, ForebayError } from "../src/base/errors.ts";
import { parseDurationMs } from "../src/base/units.ts";
import type { Config } from "../src/node/config.ts";
import { holdFolder } from "./demo-folder.ts";
import { readSample, welcome } from "./demo-guide.ts";
import { demoConnectionString, startDemoLake } from "./demo-lake.ts";
import { loadSample } from "./demo-upload.ts";
import { isLively, say } from "./output.ts";
import { choosePort } from "./ports.ts";
import { type Running, runUntilStopped } from "./run.ts";
import { configFrom } from "./settings.ts";

const DEMO_FLASH_SIZE = "4GiB";

interface DemoFlags {
  readonly data: string;
  readonly lakeLatency?: string;
  readonly port?: string;
  readonly adminPort?: string;
  readonly lakePort?: string;
  readonly servers?: string;
  readonly once?: boolean;
}

const EXAMPLES = `
Ports that are taken are replaced by the next free ones unless you name them. Ctrl-C ends everything; the data stays
under the folder for the next time.

Examples:
  forebay demo
  forebay demo --lake-latency 25ms      the lake answers as late as one that is far away
  forebay demo --once                   start, read a blob twice, stop: a quick check of everything`;

/** Adds the command. */
export function registerDemo(program: Command): void {
  program
    .command("demo")
    .description("run a local lake with sample data and Forebay in front of it")
    .option("--data <DIR>", "where the lake's data and the flash go", ".forebay")
    .option("--lake-latency <DURATION>", "let the lake wait this long before every answer, for example 25ms")
    .option("--port <N>", "port of the Blob endpoint (default: 10100 or the next free one)")
    .option("--admin-port <N>", "port of the admin API (default: 10190 or the next free one)")
    .option("--lake-port <N>", "port of the lake itself (default: 10000 or the next free one)")
    .option("--servers <N>", "how many server processes (default: one per CPU, 16 at most)")
    .option("--once", "read a blob twice through Forebay, then stop")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: DemoFlags) => {
      process.exitCode = await runDemo(flags);
    });
}

async function runDemo(flags: DemoFlags): Promise<number> {
  const latencyMs = flags.lakeLatency === undefined ? 0 : latencyOf(flags.lakeLatency);
  const folder = resolve(flags.data);
  const release = holdFolder(folder);
  try {
    const start = () => startDemo(flags, folder, latencyMs);
    return await runUntilStopped(start, {
      failed: (what, error) => say(`forebay: ${what}: ${asForebayError(error).message}`),
      ready: async (demo) => {
        if (flags.once !== true) {
          for (const line of welcome({ ...demo, folder, lively: isLively(process.stderr) })) say(line);
          return null;
        }
        return readSample(demo.blobUrls[0] ?? "");
      },
    });
  } finally {
    release();
  }
}

function latencyOf(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new ForebayError("usage", `--lake-latency: ${asForebayError(error).message}`);
  }
}

interface Demo extends Running {
  readonly lakeOrigin: string;
  readonly latencyMs: number;
}

/** Starts all parts, each behind the one before; when one fails, those before it are stopped. */
async function startDemo(flags: DemoFlags, folder: string, latencyMs: number): Promise<Demo> {
  const stops: (() => Promise<void>)[] = [];
  const stopAll = async (): Promise<void> => {
    for (const stop of stops.splice(0).reverse()) await stop();
  };
  try {
    const ports = await choosePorts(flags);
    say(`starting the lake (Azurite) on 127.0.0.1:${ports.lake}`);
    const lake = await startDemoLake(resolve(folder, "lake"), ports.lake);
    stops.push(lake.stop);
    const direct = `http://127.0.0.1:${ports.lake}`;
    await loadSample(direct);
    const far = latencyMs === 0 ? null : await startFarLake(ports.lake, latencyMs);
    if (far !== null) stops.push(far.stop);
    const lakeOrigin = far?.origin ?? direct;
    const { startForebay } = await import("../src/node/supervisor.ts");
    const forebay = await startForebay(demoConfig(flags, folder, ports, lakeOrigin));
    const state = { stopping: false, lakeFailed: false };
    const stop = (): Promise<void> => {
      state.stopping = true;
      return forebay.stop();
    };
    lake.ended.then((output) => {
      if (state.stopping) return;
      state.lakeFailed = true;
      say(`forebay: the lake ended by itself: ${output}`);
      void stop();
    });
    const done = forebay.done.then(async (status) => {
      state.stopping = true;
      await stopAll();
      return state.lakeFailed ? Math.max(status, 1) : status;
    });
    return { blobUrls: forebay.blobUrls, adminUrl: forebay.adminUrl, stop, done, lakeOrigin, latencyMs };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

interface Ports {
  readonly lake: number;
  readonly blob: number;
  readonly admin: number;
}

async function choosePorts(flags: DemoFlags): Promise<Ports> {
  const lake = await choosePort("--lake-port", flags.lakePort, 10_000, "the lake", []);
  const blob = await choosePort("--port", flags.port, 10_100, "Forebay", [lake]);
  const admin = await choosePort("--admin-port", flags.adminPort, 10_190, "the admin API", [lake, blob]);
  return { lake, blob, admin };
}

/** Defaults for a demo; the environment may say otherwise where that makes sense. */
function demoConfig(flags: DemoFlags, folder: string, ports: Ports, lakeOrigin: string): Config {
  return configFrom({
    lake: demoConnectionString(lakeOrigin),
    listen: `127.0.0.1:${ports.blob}`,
    admin: `127.0.0.1:${ports.admin}`,
    flash: resolve(folder, "flash"),
    flashSize: process.env["FOREBAY_FLASH_SIZE"] ?? DEMO_FLASH_SIZE,
    logLevel: process.env["FOREBAY_LOG_LEVEL"] ?? "warn",
    ...(flags.servers === undefined ? {} : { servers: flags.servers }),
  });
}

/** A way to the lake on which every answer takes `latencyMs` longer. */
async function startFarLake(lakePort: number, latencyMs: number): Promise<{ origin: string; stop(): Promise<void> }> {
  const options = { targetHost: "127.0.0.1", targetPort: lakePort, oneWayMs: latencyMs / 2 };
  const proxy = await startDelayProxy(options);
  return { origin: `http://127.0.0.1:${proxy.port}`, stop: () => proxy.close() };
}
