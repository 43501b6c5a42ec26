/**
 * Batches that make filled blocks durable: flush the file system, then one transaction of the index. A flush that
 * fails may have lost any page written before it, and the kernel reports that once: every version that had writes
 * under way is dropped, and nothing of it is tried again.
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import type { Timer } from "../io/clock.ts";
import { type KeeperCore, takeOut } from "./core.ts";
import { blockCount, hasOwnFile, isComplete, setBit } from "./files.ts";
import type { IndexChanges } from "./index.ts";
import type { Retired } from "./retire.ts";
import { type ActiveVersion, blockCost, snapshot } from "./versions.ts";

export interface Commits {
  /** Something is there to be written: it will be, within the commit interval. */
  schedule(): void;
  /** `count` more blocks wait. Resolves at once unless far too many do. */
  added(count: number): Promise<void>;
  /** Writes all that waits now. Resolves also when that failed. */
  flush(): Promise<void>;
  readonly pendingBlocks: number;
  /** Whether none is under way. */
  readonly isIdle: boolean;
  /** Resolves when none is. */
  idle(): Promise<void>;
  /** From now on none begins by itself. */
  stop(): void;
}

interface Item {
  readonly version: ActiveVersion;
  readonly blocks: ReadonlyMap<number, string>;
}

/** Filled blocks that may wait for a slow flush, in batches: beyond that, those who fill wait with them. */
const WAITING_BATCHES_MAX = 4;

/** `committed` is called after each batch. */
export function createCommits(core: KeeperCore, committed: () => void): Commits {
  const { clock, bounds } = core;
  let timer: Timer | null = null;
  let running: Promise<void> | null = null;
  let next: Promise<void> | null = null;
  let waiting = 0;
  let underWay = 0;
  let stopped = false;

  const run = async (): Promise<void> => {
    underWay = waiting;
    waiting = 0;
    try {
      // Read after the wait: others add to it meanwhile.
      const back = await commit(core);
      waiting += back;
    } finally {
      underWay = 0;
      if (waiting > 0 || core.retirement.queued > 0) schedule();
      committed();
    }
  };
  const flush = (): Promise<void> => {
    timer?.cancel();
    timer = null;
    if (running === null) {
      running = run().finally(() => {
        running = null;
      });
      return running;
    }
    // What is under way may have begun before the last block came: one more follows it.
    next ??= running.then(() => {
      next = null;
      return flush();
    });
    return next;
  };
  const schedule = (): void => {
    if (stopped) return;
    timer ??= clock.after(bounds.commitIntervalMs, () => void flush());
  };
  return {
    schedule,
    added: async (count) => {
      waiting += count;
      schedule();
      if (waiting >= bounds.commitBlocksMax * WAITING_BATCHES_MAX) await flush();
      else if (waiting >= bounds.commitBlocksMax) void flush();
    },
    flush,
    get pendingBlocks() {
      return waiting + underWay;
    },
    get isIdle() {
      return running === null && next === null;
    },
    idle: async () => {
      for (let last = next ?? running; last !== null; last = next ?? running) await last.catch(() => {});
    },
    stop: () => {
      stopped = true;
      timer?.cancel();
      timer = null;
    },
  };
}

/** One batch. Resolves with how many blocks have to wait for the next one, because the file system is full. */
async function commit(core: KeeperCore): Promise<number> {
  const health = core.health.state();
  if (!health.ok && health.needsReopen) return 0;
  const items: Item[] = [];
  for (const version of core.versions.all()) {
    if (version.pending.size === 0 && !version.dirty) continue;
    items.push({ version, blocks: version.pending });
    version.pending = new Map();
    version.committing = true;
  }
  const retired = core.retirement.take();
  if (items.length === 0 && retired.length === 0) return 0;
  if (items.some((item) => item.blocks.size > 0)) {
    try {
      await core.disk.syncAll();
    } catch (error) {
      failed(core, `flushing the flash failed: ${asForebayError(error).message}`);
    }
  }
  for (const { version } of items) version.committing = false;
  const alive = items.filter((item) => !item.version.gone);
  try {
    core.index.change(retired.length > 0, (changes) => {
      for (const item of alive) write(changes, item);
    });
  } catch (error) {
    if (hasCode(error, "flash-full")) return putBack(core, alive, retired);
    // The index is no longer usable: the files stay until the next keeper sweeps them.
    core.counts.failedCommits++;
    core.log("error", "a commit of the index failed", { cause: asForebayError(error).message });
    for (const { version } of alive) core.retirement.queue(takeOut(core, version));
    return 0;
  }
  for (const item of alive) settle(core, item);
  core.counts.commits++;
  core.retirement.unlink(retired);
  return 0;
}

/** The data is safe, only its record found no room: it is written with the next batch. */
function putBack(core: KeeperCore, items: readonly Item[], retired: readonly Retired[]): number {
  core.log("warn", "the file system is full: a commit waits until eviction made room");
  core.retirement.putBack(retired);
  let blocks = 0;
  for (const item of items) {
    blocks += item.blocks.size;
    item.version.pending = new Map([...item.blocks, ...item.version.pending]);
  }
  return blocks;
}

/** The bitmap of a version when `blocks` have become durable. Null: complete. */
function durableWith(version: ActiveVersion, blocks: ReadonlyMap<number, string>): Uint8Array | null {
  if (version.durable === null || blocks.size === 0) return version.durable;
  const bitmap = version.durable.slice();
  for (const block of blocks.keys()) setBit(bitmap, block);
  return isComplete(bitmap, blockCount(version)) ? null : bitmap;
}

function costOf(version: ActiveVersion, blocks: ReadonlyMap<number, string>): number {
  // What came as a whole is committed as a whole.
  if (!hasOwnFile(version)) return blocks.size > 0 ? version.pendingBytes : 0;
  let bytes = 0;
  for (const block of blocks.keys()) bytes += blockCost(version, block);
  return bytes;
}

function write(changes: IndexChanges, { version, blocks }: Item): void {
  const present = durableWith(version, blocks);
  const bytes = costOf(version, blocks);
  if (!version.inIndex) {
    changes.insert({ ...snapshot(version), present, storedBytes: bytes });
  } else {
    if (blocks.size > 0) changes.progress(version.id, present, bytes);
    if (version.dirty) changes.variants(version.id, version.etag, version.variants);
  }
  for (const [block, checksum] of blocks) changes.checksum(version.id, block, checksum);
}

function settle(core: KeeperCore, { version, blocks }: Item): void {
  const bytes = costOf(version, blocks);
  version.durable = durableWith(version, blocks);
  version.storedBytes += bytes;
  version.pendingBytes -= bytes;
  core.ledger.pendingBytes -= bytes;
  core.counts.committedBlocks += blocks.size;
  version.inIndex = true;
  version.dirty = false;
  core.versions.settle(version);
}

/** A flush failed: drops every version that had writes under way, finished or not. */
function failed(core: KeeperCore, reason: string): void {
  core.health.fail(reason);
  core.counts.failedCommits++;
  core.staged.doubt();
  const lost = [...core.versions.all()].filter((v) => v.pendingBytes > 0 || v.claims.size > 0);
  try {
    core.index.change(false, (changes) => {
      for (const version of lost) if (version.inIndex) changes.forget(version.id);
    });
  } catch (error) {
    core.health.failForGood(asForebayError(error).message);
  }
  for (const version of lost) {
    core.counts.dropped.failed++;
    core.retirement.queue(takeOut(core, version));
  }
}
