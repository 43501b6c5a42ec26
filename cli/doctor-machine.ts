/** Doctor's look at the machine itself. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import type { TCPSocketListenOptions } from "bun";
import { limits } from "../src/base/limits.ts";
import { formatBytes } from "../src/base/units.ts";
import type { Check } from "./doctor-flash.ts";

const NODE_MAJOR_MIN = 20;
const MEMORY_BYTES_MIN = 1024 ** 3;

/** Findings about the runtime, the platform and its bounds. */
export async function checkMachine(): Promise<Check[]> {
  return [checkPlatform(), checkNode(), checkCpus(), checkMemory(), checkOpenFiles(), checkReusePort()];
}

function checkPlatform(): Check {
  const detail = `bun ${Bun.version}, ${process.platform} ${process.arch}`;
  const good = process.platform === "linux" && (process.arch === "x64" || process.arch === "arm64");
  if (good) return { name: "platform", status: "ok", detail };
  return { name: "platform", status: "fail", detail, remedy: "run Forebay on Linux, x64 or arm64" };
}

function checkNode(): Check {
  const run = spawnSync("node", ["--version"], { encoding: "utf8" });
  const version = run.status === 0 ? run.stdout.trim() : null;
  const remedy = `only \`demo\` needs it; install Node.js ${NODE_MAJOR_MIN} or newer`;
  if (version === null) return { name: "node", status: "warn", detail: "not on the PATH", remedy };
  const old = Number(version.replace(/^v/, "").split(".")[0]) < NODE_MAJOR_MIN;
  return old
    ? { name: "node", status: "warn", detail: version, remedy }
    : { name: "node", status: "ok", detail: version };
}

function checkCpus(): Check {
  const cpus = availableParallelism();
  const detail = `${cpus} for this process`;
  if (cpus >= 2) return { name: "CPUs", status: "ok", detail };
  return {
    name: "CPUs",
    status: "warn",
    detail,
    remedy: "give Forebay two or more: servers and keeper work side by side",
  };
}

function checkMemory(): Check {
  const detail = formatBytes(totalmem());
  if (totalmem() >= MEMORY_BYTES_MIN) return { name: "memory", status: "ok", detail };
  return {
    name: "memory",
    status: "warn",
    detail,
    remedy: "give the machine 1 GiB or more: hits come from the page cache",
  };
}

/** Judges the text of `/proc/self/limits`. */
export function judgeOpenFiles(limitsText: string): Check {
  const name = "open files";
  const match = /^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)/m.exec(limitsText);
  if (match === null) return { name, status: "warn", detail: "the bound is unknown" };
  const value = (text: string | undefined): number => (text === "unlimited" ? Number.POSITIVE_INFINITY : Number(text));
  const hard = value(match[2]);
  const needed = limits.openFilesMax + limits.connectionsMax + limits.lakeConnectionsMax + 256;
  const detail = `${match[1]} (hard ${match[2]})`;
  if (Math.max(hard, value(match[1])) >= needed) return { name, status: "ok", detail };
  const remedy = `raise it to ${needed} or more: \`ulimit -n\`, or LimitNOFILE= in a systemd unit`;
  return { name, status: "warn", detail, remedy };
}

function checkOpenFiles(): Check {
  try {
    return judgeOpenFiles(readFileSync("/proc/self/limits", "utf8"));
  } catch {
    return judgeOpenFiles("");
  }
}

function checkReusePort(): Check {
  const name = "shared ports";
  // `reusePort` is missing in the runtime's types.
  const options: TCPSocketListenOptions & { reusePort: boolean } = {
    hostname: "127.0.0.1",
    port: 0,
    reusePort: true,
    socket: { data: () => {} },
  };
  try {
    const first = Bun.listen(options);
    try {
      Bun.listen({ ...options, port: first.port }).stop(true);
    } finally {
      first.stop(true);
    }
    return { name, status: "ok", detail: "several servers can share one port (SO_REUSEPORT)" };
  } catch {
    return { name, status: "warn", detail: "SO_REUSEPORT does not work here", remedy: "run with --servers 1" };
  }
}
