/** One demo per folder: two lakes on the same files would destroy each other's. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ForebayError } from "../src/base/errors.ts";

/** Takes the folder; gives the way to release it. Throws `usage` when a demo is running in it. */
export function holdFolder(folder: string): () => void {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, "demo.pid");
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(path, String(process.pid), { flag: "wx" });
      const release = (): void => rmSync(path, { force: true });
      process.on("exit", release);
      return release;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const owner = Number(readFileSync(path, "utf8"));
    if (isDemo(owner)) {
      throw new ForebayError(
        "usage",
        `a demo is running in ${folder} already (process ${owner}); stop it, or use another folder with --data DIR`,
      );
    }
    rmSync(path, { force: true });
  }
  throw new ForebayError("usage", `another demo is starting in ${folder}; use another folder with --data DIR`);
}

/** Whether a process is a demo: after a crash its id may belong to somebody else. */
function isDemo(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes("demo");
  } catch {
    return false;
  }
}
