/** What a keeper is made of and what it says about itself. */
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { FlashIndex } from "./index.ts";
import type { FlashKeeper, Generation, KeeperListener, Staging } from "./types.ts";

/** The shared counters of changes, as the keeper sees them. */
export interface GenerationReader {
  /** The counters that cover the blob `key` now. */
  current(key: string): Generation;
}

/** Where log lines go. Fields hold no secrets. */
export type FlashLog = (
  level: "info" | "warn" | "error",
  message: string,
  fields?: Readonly<Record<string, string | number>>,
) => void;

/** Bounds that tests make smaller. The defaults are those of `base/limits.ts`. */
export interface KeeperBounds {
  readonly blockBytes: number;
  readonly fileBytesMax: number;
  readonly commitIntervalMs: number;
  readonly commitBlocksMax: number;
  readonly leaseWaitMsMax: number;
  readonly leaseTtlMs: number;
  readonly leaseWaitersMax: number;
  readonly claimTtlMs: number;
  readonly changeMarkTtlMs: number;
  readonly scrubPeriodMs: number;
  readonly probeIntervalMs: number;
  readonly releaseWaitMsMax: number;
  /** The file system is never filled further than this many free bytes (or a hundredth of it, if that is more). */
  readonly reserveBytesMin: number;
  readonly idsReserved: number;
}

/** A file of an earlier life that the journal needs. */
export interface HeldFile {
  readonly fileId: number;
  readonly bytes: number;
}

/** What {@link FlashKeeper} is created from. */
export interface FlashKeeperOptions {
  readonly disk: Disk;
  /** Opens the index; throws `config` for a format that is not known here. */
  readonly openIndex: () => FlashIndex;
  readonly clock: Clock;
  readonly generations: GenerationReader;
  /** Names the life of the shared counters. */
  readonly epoch: string;
  /** Marks of hits, shared with the servers; the length is a power of two. */
  readonly visited: Uint8Array;
  /** How many bytes the cache may take on flash. */
  readonly flashBytesMax: number;
  readonly log: FlashLog;
  /**
   * Called when everything is forgotten that changes of earlier lives may have replaced: until then nothing of another
   * epoch may be believed without a check.
   */
  readonly earlierForgotten?: () => void;
  /**
   * The files that the journal needs, found when the folder is known to be ours and before anything is removed: they
   * are kept (see {@link Staging}) from then on. `bytes`: what they take. A rejection fails the start.
   */
  readonly held?: () => Promise<readonly HeldFile[]>;
  /** Lets the page cache forget a range of a file, so that the scrub reads the flash itself. */
  readonly dropCached?: (fd: number, offset: number, length: number) => void;
  readonly bounds?: Partial<KeeperBounds>;
}

/** Whether the flash can be used. `needsReopen`: only a new keeper can help (the folder or the index is lost). */
export type Health =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: string; readonly needsReopen: boolean };

/** What a keeper counted since it started, and where it stands. */
export interface KeeperStats {
  readonly versions: number;
  /** Committed in the index. */
  readonly storedBytes: number;
  /** Stored, pending, reserved for claims, staged, and unlinked but not let go of yet. */
  readonly usedBytes: number;
  readonly boundBytes: number;
  readonly pendingBlocks: number;
  readonly pendingBytes: number;
  readonly reservedBytes: number;
  readonly retiredBytes: number;
  /** In files of clients' bytes that no version of the cache counts to its own: being written, or the journal's. */
  readonly stagedBytes: number;
  readonly stagedFiles: number;
  /** Versions held in memory: claimed, not yet committed, or waited for. */
  readonly activeVersions: number;
  readonly evictedVersions: number;
  readonly evictedBytes: number;
  /** Files that a server still held when its time to let go ran out. */
  readonly releasesLate: number;
  readonly commits: number;
  readonly committedBlocks: number;
  readonly failedCommits: number;
  readonly dropped: Readonly<Record<"deleted" | "bad" | "changed" | "replaced" | "marked" | "failed", number>>;
  readonly refusals: Readonly<Record<"void" | "changing" | "too-large" | "no-space" | "flash-failed", number>>;
  readonly leasesHeld: number;
  readonly leasesWaiting: number;
  readonly leasesTimedOut: number;
  readonly marks: number;
  readonly scrubbedBlocks: number;
  readonly scrubBadBlocks: number;
  readonly scrubRounds: number;
  readonly orphansRemoved: number;
  /** Versions made of bytes that clients brought, and how often that was not to be. */
  readonly adoptedVersions: number;
  readonly adoptionsRefused: number;
}

/** The keeper with what its own process needs of it. */
export interface LocalFlashKeeper extends FlashKeeper {
  readonly staging: Staging;
  /** From now on tells `holder` which files were unlinked. Ends with {@link holderGone} or the returned call. */
  subscribe(holder: string, listener: KeeperListener): () => void;
  /** A server ended: its leases and claims pass on, its descriptors are closed. */
  holderGone(holder: string): void;
  stats(): KeeperStats;
  health(): Health;
  /** Makes durable all that was filled before the call. Resolves also when that failed: see {@link health}. */
  flush(): Promise<void>;
  /** Checks the next few stored blocks; resolves with how many. */
  scrubStep(): Promise<number>;
  /** Removes files that no version owns; in small steps. The keeper starts it by itself where there may be some. */
  sweepOrphans(): Promise<void>;
  /** Writes what is pending, ends all timers and closes the index. Later calls reject with `closed`. */
  stop(): Promise<void>;
}
