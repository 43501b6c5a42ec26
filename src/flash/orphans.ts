/**
 * Files that no version owns: made for a version that was never committed, or unlinked too late before a crash. A sweep
 * in the background removes those of earlier lives, a few hundred at a time, so that a start does not wait for it.
 *
 * A life that ends in order leaves none, and says so by noting where the ids of the next life begin: a start that finds
 * its own beginning noted has nothing to sweep. No other life begins there, so the note need not be taken back.
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import type { KeeperCore } from "./core.ts";
import { FILE_FOLDERS, folderPath } from "./files.ts";
import type { IdSource } from "./ids.ts";

const STEP_FILES = 256;
/** It rests so many times as long as it works: a start has better things to do. */
const REST = 3;

export interface Sweep {
  /** Whether a sweep has to find out if there are orphans. */
  readonly isDue: boolean;
  /** Removes every file of an earlier life that is unknown to the index. */
  run(): Promise<void>;
  /** After the last commit of a life: notes that it left no file without a version, if that is so. */
  note(): Promise<void>;
}

/** `isStopped` ends a sweep early. */
export function createSweep(core: KeeperCore, ids: IdSource, isStopped: () => boolean): Sweep {
  const { disk, index, clock, health } = core;
  let isDue = index.totals().swept !== ids.firstOfThisLife;

  const sweepSome = (path: string, names: readonly string[]): boolean => {
    for (const name of names) {
      if (isStopped() || !health.state().ok) return false;
      const id = /^\d+$/.test(name) ? Number(name) : Number.POSITIVE_INFINITY;
      if (id < ids.firstOfThisLife && !index.has(id)) removeOne(core, `${path}/${name}`);
    }
    return true;
  };
  return {
    get isDue() {
      return isDue;
    },
    run: async () => {
      for (let folder = 0; folder < FILE_FOLDERS; folder++) {
        const path = folderPath(folder);
        const names = disk.list(path);
        for (let at = 0; at < names.length; at += STEP_FILES) {
          const startMs = clock.monotonicMs();
          if (!sweepSome(path, names.slice(at, at + STEP_FILES))) return;
          await clock.sleep(Math.max(1, (clock.monotonicMs() - startMs) * REST));
        }
      }
      isDue = false;
    },
    note: async () => {
      // Whatever failed, or waits for room, may have left a file behind.
      if (isDue || health.failures > 0 || core.retirement.queued > 0) return;
      for (const version of core.versions.all()) if (!version.inIndex) return;
      await disk.syncAll(); // what was unlinked stays so
      index.change(false, (changes) => changes.swept(ids.firstOfNextLife));
    },
  };
}

function removeOne(core: KeeperCore, path: string): void {
  try {
    core.disk.unlink(path);
    core.counts.orphansRemoved++;
  } catch (error) {
    if (!hasCode(error, "gone")) core.health.fail(asForebayError(error).message);
  }
}
