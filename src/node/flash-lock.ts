/**
 * One Forebay for each flash folder. The supervisor holds the folder for as long as Forebay runs, whatever happens to
 * its keeper meanwhile; the keeper holds the index, so that one that is still dying is waited for.
 */
import { join } from "node:path";
import { ForebayError } from "../base/errors.ts";
import { type FileLock, takeFileLock } from "../io/file-lock.ts";

const PREDECESSOR_WAIT_MS = 3_000;
const PREDECESSOR_STEP_MS = 20;

function inUse(folder: string, pid: number): ForebayError {
  const who = pid === 0 ? "another Forebay" : `another Forebay (process ${pid})`;
  return new ForebayError("config", `the flash folder ${folder} is in use by ${who}; choose another --flash DIR`);
}

/** Takes the folder for a Forebay. Throws `config` when another one has it, `flash-failed` and such like a disk. */
export function lockFolder(folder: string): FileLock {
  const taken = takeFileLock(join(folder, "lock"));
  if ("pid" in taken) throw inUse(folder, taken.pid);
  return taken;
}

/** Takes the index for a keeper, waiting a moment for one that ends. Throws like {@link lockFolder}. */
export async function lockIndex(folder: string): Promise<FileLock> {
  for (let waitedMs = 0; ; waitedMs += PREDECESSOR_STEP_MS) {
    const taken = takeFileLock(join(folder, "keeper.lock"));
    if (!("pid" in taken)) return taken;
    if (waitedMs >= PREDECESSOR_WAIT_MS) throw inUse(folder, taken.pid);
    await new Promise((resolve) => setTimeout(resolve, PREDECESSOR_STEP_MS));
  }
}
