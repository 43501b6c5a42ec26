/**
 * Files that no version owns: made for a version that was never committed, or unlinked too late before a crash. A sweep
 * in the background removes those of earlier lives, a few hundred at a time, so that a start does not wait for it.
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import type { KeeperCore } from "./core.ts";
import { FILE_FOLDERS, folderPath } from "./files.ts";

const STEP_FILES = 256;

/** Removes every file whose id is below `firstOfThisLife` and unknown to the index. `isStopped` ends it early. */
export async function sweepOrphans(core: KeeperCore, firstOfThisLife: number, isStopped: () => boolean): Promise<void> {
  const { disk, index, clock } = core;
  for (let folder = 0; folder < FILE_FOLDERS; folder++) {
    const path = folderPath(folder);
    const names = disk.list(path);
    for (let at = 0; at < names.length; at += STEP_FILES) {
      await clock.sleep(1);
      for (const name of names.slice(at, at + STEP_FILES)) {
        if (isStopped() || !core.health.state().ok) return;
        const id = /^\d+$/.test(name) ? Number(name) : Number.POSITIVE_INFINITY;
        if (id >= firstOfThisLife || index.has(id)) continue;
        removeOne(core, `${path}/${name}`);
      }
    }
  }
}

function removeOne(core: KeeperCore, path: string): void {
  try {
    core.disk.unlink(path);
    core.counts.orphansRemoved++;
  } catch (error) {
    if (!hasCode(error, "gone")) core.health.fail(asForebayError(error).message);
  }
}
