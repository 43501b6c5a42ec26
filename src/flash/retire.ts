/**
 * The end of files. A version that was forgotten leaves its files here; they are unlinked only once the forgetting is
 * on stable storage, so that the index never names a file that is gone. Servers are told, and the space counts as taken
 * until all of them let go of their descriptors (or are gone, or took too long: the file system then still holds the
 * bytes, which its own free space shows).
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import type { Clock, Timer } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import { filePath } from "./files.ts";
import type { KeeperListener } from "./types.ts";

/** Files without a version, and what they hold. */
export interface Retired {
  readonly fileIds: readonly number[];
  readonly bytes: number;
}

export interface Retirement {
  /** Files whose forgetting is not durable yet. */
  queue(retired: Retired): void;
  readonly queued: number;
  /** Puts back what was taken: its forgetting could not be made durable now. */
  putBack(retired: readonly Retired[]): void;
  /** Takes all queued ones: the caller makes their forgetting durable, then calls {@link unlink}. */
  take(): Retired[];
  unlink(retired: readonly Retired[]): void;
  /** How many files were unlinked here. */
  readonly unlinked: number;
  /** Others unlinked these: the servers let go of them. */
  announce(fileIds: readonly number[]): void;
  /** Resolves when the bytes of some unlinked files were let go of. */
  nextRelease(): Promise<void>;
  /** Whether some unlinked files are still held. */
  readonly isReleasing: boolean;
  subscribe(holder: string, listener: KeeperListener): () => void;
  holderGone(holder: string): void;
  readonly late: number;
}

interface Release {
  readonly bytes: number;
  readonly holders: Set<string>;
  readonly timer: Timer;
}

export function createRetirement(parts: {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly ledger: { retiredBytes: number };
  readonly releaseWaitMsMax: number;
  readonly failed: (reason: string) => void;
}): Retirement {
  const { disk, clock, ledger, failed } = parts;
  const listeners = new Map<string, KeeperListener>();
  const releases = new Set<Release>();
  let queue: Retired[] = [];
  let waiting: (() => void)[] = [];
  let late = 0;
  let unlinked = 0;

  const done = (release: Release): void => {
    if (!releases.delete(release)) return;
    release.timer.cancel();
    ledger.retiredBytes -= release.bytes;
    const woken = waiting;
    waiting = [];
    for (const resolve of woken) resolve();
  };
  const letGo = (release: Release, holder: string): void => {
    release.holders.delete(holder);
    if (release.holders.size === 0) done(release);
  };
  const remove = (fileId: number): void => {
    unlinked++;
    try {
      disk.unlink(filePath(fileId));
    } catch (error) {
      // Not there: no block was ever granted, or the sweep was faster. Else it stays until the next sweep.
      if (!hasCode(error, "gone")) failed(asForebayError(error).message);
    }
  };
  const announce = (fileIds: readonly number[], bytes: number): void => {
    const release: Release = {
      bytes,
      holders: new Set(listeners.keys()),
      timer: clock.after(parts.releaseWaitMsMax, () => {
        late++;
        done(release);
      }),
    };
    releases.add(release);
    if (release.holders.size === 0) done(release);
    for (const [holder, listener] of listeners) {
      listener.evicted(fileIds).then(
        () => letGo(release, holder),
        () => letGo(release, holder), // a server that cannot be told is ending: its descriptors end with it
      );
    }
  };
  const holderGone = (holder: string): void => {
    listeners.delete(holder);
    for (const release of [...releases]) letGo(release, holder);
  };
  return {
    queue: (retired) => {
      ledger.retiredBytes += retired.bytes;
      queue.push(retired);
    },
    putBack: (retired) => queue.unshift(...retired),
    get queued() {
      return queue.length;
    },
    take: () => {
      const taken = queue;
      queue = [];
      return taken;
    },
    unlink: (retired) => {
      const fileIds = retired.flatMap((r) => r.fileIds);
      for (const fileId of fileIds) remove(fileId);
      const bytes = retired.reduce((sum, r) => sum + r.bytes, 0);
      if (fileIds.length > 0) announce(fileIds, bytes);
      else ledger.retiredBytes -= bytes;
    },
    get unlinked() {
      return unlinked;
    },
    announce: (fileIds) => {
      if (fileIds.length > 0) announce(fileIds, 0);
    },
    nextRelease: () =>
      new Promise((resolve) => {
        if (releases.size === 0) resolve();
        else waiting.push(resolve);
      }),
    get isReleasing() {
      return releases.size > 0;
    },
    subscribe: (holder, listener) => {
      listeners.set(holder, listener);
      return () => {
        if (listeners.get(holder) === listener) holderGone(holder);
      };
    },
    holderGone,
    get late() {
      return late;
    },
  };
}
