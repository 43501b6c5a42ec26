/**
 * Files that no version owns: made for a version that was never committed, or unlinked too late before a crash. A sweep
 * in the background removes those of earlier lives, a few hundred at a time, so that a start does not wait for it.
 *
 * A life that ends in order leaves none, and says so by noting where the ids of the next life begin: a start that finds
 * its own beginning noted has nothing to sweep. No other life begins there, so the note need not be taken back.
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import type { KeeperCore } from "./core.ts";
import { allocatedBytes, FILE_FOLDERS, fileIdsOf, folderPath } from "./files.ts";
import type { IdSource } from "./ids.ts";

const STEP_FILES = 256;
/** It rests so many times as long as it works: a start has better things to do. */
const REST = 3;

export interface Sweep {
  /** Whether a sweep has to find out if there are orphans. */
  readonly isDue: boolean;
  /** Removes every file of an earlier life that is unknown to the index and to the journal. */
  run(): Promise<void>;
  /**
   * After the last commit of a life: notes that it left no file without a version, if that is so, and closes the index
   * before anybody can change it again. `isIdle` says whether nothing that forgets versions is under way.
   */
  end(isIdle: () => boolean): Promise<void>;
}

/** `isStopped` ends a sweep early. */
export function createSweep(core: KeeperCore, ids: IdSource, isStopped: () => boolean): Sweep {
  const { disk, index, clock, health, retirement, versions, staged } = core;
  let isDue = index.totals().swept !== ids.firstOfThisLife;

  /** Whether something needs a file: the index, the journal, or a version on its way into the index. */
  const neededNow = (): ((id: number) => boolean) => {
    const coming = new Set([...versions.all()].filter(({ inIndex }) => !inIndex).flatMap((v) => fileIdsOf(v.spans)));
    return (id) => staged.get(id) !== null || coming.has(id) || index.ownerOf(id) !== null;
  };
  const sweepSome = (path: string, names: readonly string[]): boolean => {
    const isNeeded = neededNow();
    const removed: number[] = [];
    let bytes = 0;
    for (const name of names) {
      if (isStopped() || !health.state().ok) break;
      const id = /^\d+$/.test(name) ? Number(name) : Number.POSITIVE_INFINITY;
      if (id >= ids.firstOfThisLife || isNeeded(id)) continue;
      // Read only where it is asked for: it costs as much as the removal.
      if (core.ledger.leftBytes > 0) bytes += allocatedBytes(disk.sizeOf(`${path}/${name}`) ?? 0);
      removeOne(core, `${path}/${name}`);
      removed.push(id);
    }
    // A server may still hold what it was filling when the last life ended.
    retirement.announce(removed);
    if (bytes > 0) setLeft(core, Math.max(0, core.ledger.leftBytes - bytes));
    return !isStopped() && health.state().ok;
  };
  /** What earlier lives forgot, and did not live to unlink, has to be forgotten on stable storage first. */
  const settleEarlier = (): void => {
    try {
      index.change(true, (changes) => changes.left(core.ledger.leftBytes));
    } catch (error) {
      // Removing files makes room. Should the power fail, the index names some that are gone: misses.
      if (!hasCode(error, "flash-full")) throw error;
    }
  };
  /** Whether it came to its end. */
  const sweepAll = async (): Promise<boolean> => {
    settleEarlier();
    for (let folder = 0; folder < FILE_FOLDERS; folder++) {
      const path = folderPath(folder);
      const names = disk.list(path);
      for (let at = 0; at < names.length; at += STEP_FILES) {
        const startMs = clock.monotonicMs();
        if (!sweepSome(path, names.slice(at, at + STEP_FILES))) return false;
        await clock.sleep(Math.max(1, (clock.monotonicMs() - startMs) * REST));
      }
    }
    return !isStopped();
  };
  /** Whatever failed, or waits for room, may have left a file behind. */
  const isClean = (): boolean =>
    !isDue &&
    health.failures === 0 &&
    retirement.queued === 0 &&
    [...versions.all()].every(({ inIndex }) => inIndex) &&
    [...staged.all()].every(({ kept }) => kept);
  return {
    get isDue() {
      return isDue;
    },
    run: async () => {
      try {
        if (!(await sweepAll())) return;
        isDue = false;
        setLeft(core, 0);
      } finally {
        // What it could not remove is left to the file system's own free space: this life does not try again.
        core.ledger.leftBytes = 0;
      }
    },
    end: async (isIdle) => {
      try {
        if (!isClean() || !isIdle()) return;
        const { unlinked } = retirement;
        await disk.syncAll(); // what was unlinked stays so
        // Calls that were under way when the life ended go on meanwhile.
        if (!isClean() || !isIdle() || retirement.unlinked !== unlinked) return;
        index.change(false, (changes) => changes.swept(ids.firstOfNextLife));
      } catch (error) {
        core.log("warn", "it could not be noted that the life ended in order", {
          cause: asForebayError(error).message,
        });
      } finally {
        index.close();
      }
    },
  };
}

function setLeft(core: KeeperCore, bytes: number): void {
  core.ledger.leftBytes = bytes;
  try {
    if (core.index.totals().left !== bytes) core.index.change(false, (changes) => changes.left(bytes));
  } catch (error) {
    // The next life then takes a little more for granted than there is.
    if (!hasCode(error, "flash-full")) throw error;
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
