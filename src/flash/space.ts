/**
 * Room on flash: what is taken, whether more may be, and eviction. Above the high-water mark versions are evicted in
 * the background down to the low-water mark; a claim that finds no room evicts on demand and waits until the servers
 * let go. Whole versions go, by unlinking; none that is being filled. The file system itself is never filled up,
 * whoever else uses it.
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type KeeperCore, takeOutForgotten } from "./core.ts";
import { fileIdsOf, filePath } from "./files.ts";
import type { Forgotten, IndexEntry } from "./index.ts";
import { createSieve } from "./sieve.ts";

/** What a version costs in the index, about: its row, and its place in the index of keys. */
export const INDEX_ROW_BYTES = 1024;

const HIGH_WATER = 0.95;
const LOW_WATER = 0.9;

/** The file system's own free space is looked up this often, or when it seems to run out. */
const LOOK_INTERVAL_MS = 1_000;
const INODES_FREE_MIN = 1_024;
const PAGE_ENTRIES = 256;

export interface Space {
  readonly usedBytes: number;
  /** What a single version may take at most: more would evict itself. */
  readonly versionBytesMax: number;
  /** Whether `bytes` more may be taken now. */
  hasRoom(bytes: number): boolean;
  /** Evicts until there is room. False: there is none to be had. */
  makeRoom(bytes: number): Promise<boolean>;
  /** `bytes` were reserved for blocks about to be written. */
  granted(bytes: number): void;
  /** Looks whether the high-water mark is passed, and evicts in the background if so. */
  review(): void;
  /** Whether no eviction in the background is under way. */
  readonly isIdle: boolean;
  /** Resolves when none is. */
  idle(): Promise<void>;
  stop(): void;
}

/** `flush` commits what is pending: versions that are in memory alone cannot be evicted before. */
export function createSpace(
  core: KeeperCore,
  parts: { readonly boundBytes: number; readonly visited: Uint8Array; readonly flush: () => Promise<void> },
): Space {
  const { index, ledger, retirement, clock } = core;
  const { boundBytes } = parts;
  const highBytes = Math.floor(boundBytes * HIGH_WATER);
  const lowBytes = Math.floor(boundBytes * LOW_WATER);
  const free = createFreeSpace(core);
  let background: Promise<void> | null = null;
  let stopped = false;

  const sieve = createSieve<IndexEntry>({
    visited: parts.visited,
    page: (after, count) => index.page(after, count),
    pageEntries: PAGE_ENTRIES,
    mayEvict: (entry) => {
      const active = core.versions.active(entry.id);
      return active === null || (active.claims.size === 0 && active.pins === 0);
    },
  });
  /** Taken as yet, and on its way out: nothing need be evicted for it. */
  const leaving = (): number => ledger.retiredBytes + ledger.leftBytes;
  const used = (): number => {
    const { storedBytes, versions } = index.totals();
    const { pendingBytes, reservedBytes, stagedBytes } = ledger;
    return storedBytes + versions * INDEX_ROW_BYTES + pendingBytes + reservedBytes + stagedBytes + leaving();
  };
  const room = (bytes: number): number => Math.min(boundBytes - used(), free.room(bytes));
  /** One step of eviction: durable forgetting, then unlinking. How many versions went, and how many were passed. */
  const evict = (bytes: number): { readonly evicted: number; readonly passed: number } => {
    const goal = (victims: readonly IndexEntry[]): boolean =>
      victims.length >= limits.evictStepVersionsMax ||
      (victims.length > 0 && victims.reduce((sum, v) => sum + v.storedBytes + INDEX_ROW_BYTES, 0) >= bytes);
    const { victims, passed } = sieve.walk(limits.sieveStepEntriesMax, goal);
    if (victims.length === 0) return { evicted: 0, passed };
    const forgotten = forgetVictims(core, victims);
    retirement.unlink(
      forgotten.map((one) => {
        const retired = takeOutForgotten(core, one);
        ledger.retiredBytes += retired.bytes;
        core.counts.evictedVersions++;
        core.counts.evictedBytes += retired.bytes;
        return retired;
      }),
    );
    free.stale();
    return { evicted: victims.length, passed };
  };
  /** Evicts until `lacking` says 0. False: the hand went round twice and found nothing that may go. */
  const evictUntil = async (lacking: () => number): Promise<boolean> => {
    let passedInVain = 0;
    for (let bytes = lacking(); bytes > 0 && !stopped; bytes = lacking()) {
      const { evicted, passed } = evict(bytes);
      passedInVain = evicted > 0 ? 0 : passedInVain + passed;
      const lap = index.totals().versions;
      if (evicted === 0 && (passed === 0 || passedInVain > 2 * lap + PAGE_ENTRIES)) return false;
      await clock.sleep(0);
    }
    return true;
  };
  const makeRoom = async (bytes: number): Promise<boolean> => {
    // What is not the cache's to give is not made room of.
    if (bytes > boundBytes - ledger.stagedBytes) return false;
    const lacking = (): number => bytes - room(bytes) - leaving();
    if (!(await evictUntil(lacking))) {
      await parts.flush();
      if (!(await evictUntil(lacking))) return false;
    }
    // Files forgotten but not yet unlinked go with a flush; then it is for the servers to let go.
    if (room(bytes) < bytes && retirement.queued > 0) await parts.flush();
    while (room(bytes) < bytes && retirement.isReleasing && !stopped) {
      await retirement.nextRelease();
      free.stale();
    }
    return room(bytes) >= bytes;
  };
  /** How far the marks are passed, what is on its way out not counted. */
  const excess = (markBytes: number): number => Math.max(used() - leaving() - markBytes, -free.room(0) - leaving(), 0);
  const review = (): void => {
    if (background !== null || stopped || excess(highBytes) === 0) return;
    background = evictUntil(() => excess(lowBytes))
      .then(() => {})
      .catch((error) => core.log("warn", "eviction failed", { cause: asForebayError(error).message }))
      .finally(() => {
        background = null;
      });
  };
  return {
    get usedBytes() {
      return used();
    },
    versionBytesMax: highBytes,
    hasRoom: (bytes) => room(bytes) >= bytes,
    makeRoom,
    granted: free.granted,
    review,
    get isIdle() {
      return background === null;
    },
    idle: async () => {
      while (background !== null) await background;
    },
    stop: () => {
      stopped = true;
    },
  };
}

/**
 * Durably forgets `victims`. When the file system is so full that not even this can be written, their files go first:
 * after a crash just then the index would name files that are gone, which every reader takes for a miss.
 */
function forgetVictims({ index, disk, staged }: KeeperCore, victims: readonly IndexEntry[]): Forgotten[] {
  const forget = (): Forgotten[] =>
    index.change(true, (changes) => victims.flatMap(({ id }) => changes.forget(id) ?? []));
  try {
    return forget();
  } catch (error) {
    if (!hasCode(error, "flash-full")) throw error;
  }
  const fileIds = victims.flatMap(({ id }) => fileIdsOf(index.getById(id)?.spans ?? []));
  for (const fileId of fileIds.filter((id) => staged.get(id) === null)) {
    try {
      disk.unlink(filePath(fileId));
    } catch (error) {
      if (!hasCode(error, "gone")) throw error;
    }
  }
  return forget();
}

/** What the file system has left above its reserve; asked for rarely and carried forward in between. */
function createFreeSpace(core: KeeperCore) {
  const { disk, clock, bounds } = core;
  let atMs = Number.NEGATIVE_INFINITY;
  let left = 0;
  const look = (): void => {
    atMs = clock.monotonicMs();
    try {
      const space = disk.space();
      const reserve = Math.max(Math.ceil(space.totalBytes / 100), bounds.reserveBytesMin);
      const inodesShort = space.inodesTotal > 0 && space.inodesFree < INODES_FREE_MIN;
      left = inodesShort ? -1 : space.freeBytes - reserve - core.ledger.reservedBytes - core.ledger.growingBytes;
    } catch (error) {
      core.health.fail(asForebayError(error).message);
      left = 0;
    }
  };
  return {
    /** Bytes that may still be taken; negative when the reserve is touched. */
    room: (bytes: number): number => {
      if (clock.monotonicMs() - atMs >= LOOK_INTERVAL_MS) look();
      else if (left < bytes) look();
      return left;
    },
    granted: (bytes: number): void => {
      left -= bytes;
    },
    stale: (): void => {
      atMs = Number.NEGATIVE_INFINITY;
    },
  };
}
