/** What the parts of a keeper share: its state, its counts, and how a version leaves. */
import { asForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import { fileIdsOf } from "./files.ts";
import type { FlashHealth } from "./health.ts";
import { type FlashIndex, type Forgotten, isDamage } from "./index.ts";
import type { FlashLog, KeeperBounds } from "./keeper-types.ts";
import type { Retired, Retirement } from "./retire.ts";
import type { StagedBytes, StagedFiles } from "./staged-files.ts";
import type { ActiveVersion, Versions } from "./versions.ts";

/** Bytes on flash that the index does not count (yet, or any more). */
export interface Ledger extends StagedBytes {
  pendingBytes: number;
  reservedBytes: number;
  retiredBytes: number;
  /** In files of an earlier format, on their way out. */
  leftBytes: number;
}

export type DropReason = "deleted" | "bad" | "changed" | "replaced" | "marked" | "failed";

/** Counts since the keeper started. */
export interface Counts {
  evictedVersions: number;
  evictedBytes: number;
  commits: number;
  committedBlocks: number;
  failedCommits: number;
  leasesTimedOut: number;
  scrubbedBlocks: number;
  scrubBadBlocks: number;
  scrubRounds: number;
  orphansRemoved: number;
  adoptedVersions: number;
  adoptionsRefused: number;
  readonly dropped: Record<DropReason, number>;
  readonly refusals: Record<"void" | "changing" | "too-large" | "no-space" | "flash-failed", number>;
}

export interface KeeperCore {
  readonly disk: Disk;
  readonly index: FlashIndex;
  readonly clock: Clock;
  readonly log: FlashLog;
  readonly bounds: KeeperBounds;
  readonly health: FlashHealth;
  readonly versions: Versions;
  readonly ledger: Ledger;
  readonly retirement: Retirement;
  readonly staged: StagedFiles;
  readonly counts: Counts;
}

export const DEFAULT_BOUNDS: KeeperBounds = {
  blockBytes: limits.blockBytes,
  fileBytesMax: limits.blobFileBytesMax - limits.blockBytes, // file systems stop short of the round number
  commitIntervalMs: limits.commitIntervalMs,
  commitBlocksMax: limits.commitBlocksMax,
  leaseWaitMsMax: limits.leaseWaitMsMax,
  leaseTtlMs: limits.leaseTtlMs,
  leaseWaitersMax: limits.leaseWaitersMax,
  claimTtlMs: limits.claimTtlMs,
  changeMarkTtlMs: limits.changeMarkTtlMs,
  scrubPeriodMs: limits.scrubPeriodMs,
  probeIntervalMs: limits.probeIntervalMs,
  releaseWaitMsMax: limits.releaseWaitMsMax,
  reserveBytesMin: limits.flashReserveBytesMin,
  idsReserved: limits.fileIdsReserved,
};

export function createLedger(leftBytes: number): Ledger {
  return { pendingBytes: 0, reservedBytes: 0, retiredBytes: 0, leftBytes, stagedBytes: 0, growingBytes: 0 };
}

export function createCounts(): Counts {
  return {
    evictedVersions: 0,
    evictedBytes: 0,
    commits: 0,
    committedBlocks: 0,
    failedCommits: 0,
    leasesTimedOut: 0,
    scrubbedBlocks: 0,
    scrubBadBlocks: 0,
    scrubRounds: 0,
    orphansRemoved: 0,
    adoptedVersions: 0,
    adoptionsRefused: 0,
    dropped: { deleted: 0, bad: 0, changed: 0, replaced: 0, marked: 0, failed: 0 },
    refusals: { void: 0, changing: 0, "too-large": 0, "no-space": 0, "flash-failed": 0 },
  };
}

/**
 * Takes a version out of memory and moves what it holds to the retired bytes. The caller has forgotten it in the index
 * and gives the result to the retirement.
 */
export function takeOut(core: KeeperCore, version: ActiveVersion): Retired {
  const { ledger, versions } = core;
  const bytes = version.storedBytes + version.pendingBytes + version.claimedBytes;
  ledger.pendingBytes -= version.pendingBytes;
  ledger.reservedBytes -= version.claimedBytes;
  version.pendingBytes = 0;
  version.claimedBytes = 0;
  version.storedBytes = 0;
  version.claims.clear();
  version.pending = new Map();
  versions.remove(version);
  return core.staged.part(version.id, { fileIds: fileIdsOf(version.spans), bytes });
}

/** The same for a version that the index forgot and that may or may not be in memory. */
export function takeOutForgotten(core: KeeperCore, forgotten: Forgotten): Retired {
  const active = core.versions.active(forgotten.id);
  if (active !== null) return takeOut(core, active);
  return core.staged.part(forgotten.id, { fileIds: forgotten.fileIds, bytes: forgotten.storedBytes });
}

/**
 * Forgets a version at once for all look-ups. Its files go with the next durable commit. Throws `flash-failed` when
 * the index fails; the version is then out of memory all the same. Throws `flash-full`, and changes nothing, when there
 * is no room even for that.
 */
export function dropVersion(core: KeeperCore, version: ActiveVersion, reason: DropReason): void {
  try {
    if (version.inIndex) core.index.change(false, (changes) => changes.forget(version.id));
  } catch (error) {
    if (!hasCode(error, "flash-full")) core.retirement.queue(takeOut(core, version));
    throw error;
  }
  core.counts.dropped[reason]++;
  core.retirement.queue(takeOut(core, version));
}

/**
 * `index` with every failure reported to `failed`. A damaged database is moved aside at once: the keeper that is
 * started next must not find it again.
 */
export function watchIndex(index: FlashIndex, failed: (reason: string) => void): FlashIndex {
  let discarded = false;
  const watch = <A extends unknown[], R>(call: (...args: A) => R): ((...args: A) => R) => {
    return (...args) => {
      try {
        return call(...args);
      } catch (error) {
        // A full file system is no failure of the index: eviction mends it.
        if (hasCode(error, "flash-full")) throw error;
        failed(asForebayError(error).message);
        const damaged = isDamage(error) || isDamage((error as { cause?: unknown } | null)?.cause);
        if (damaged && !discarded) {
          discarded = true;
          index.discard();
        }
        throw error;
      }
    };
  };
  return {
    get: watch(index.get),
    getById: watch(index.getById),
    ownerOf: watch(index.ownerOf),
    maxId: watch(index.maxId),
    page: watch(index.page),
    checksums: watch(index.checksums),
    marks: watch(index.marks),
    totals: index.totals,
    change: (durable, work) => watch(() => index.change(durable, work))(),
    discard: index.discard,
    close: index.close,
  };
}
