/**
 * A server's descriptors of cache files, bounded: one that was not used for a while makes room (a hand goes round, and
 * takes what was not used since it last passed: a use costs no more than a mark). A descriptor that a response uses is
 * never closed (its number might come back as another file), and one whose file was unlinked is closed as soon as the
 * last response lets go, for only then the space is free.
 */
import { assert } from "../base/assert.ts";
import { ForebayError, hasCode } from "../base/errors.ts";
import { type Disk, isOutOfDescriptors, type OpenMode } from "../io/disk.ts";
import { filePath } from "./files.ts";

export interface ReadFiles {
  /**
   * An open descriptor of the file, for reading and for filling granted blocks, that stays open until {@link unpin}.
   * Throws `gone` when the file is no more, `overloaded` when no descriptor is to be had, or `flash-failed`.
   */
  pin(fileId: number): number;
  unpin(fileId: number): void;
  /** These files were unlinked: resolves when no descriptor of them is open. New pins find them gone. */
  release(fileIds: readonly number[]): Promise<void>;
  /**
   * Any file may have been unlinked unheard (by a keeper that has just started): closes what is idle now, and what is
   * in use when its last user lets go.
   */
  forgetAll(): void;
  /** Closes what is idle; the rest when its last user lets go. */
  close(): void;
  readonly openCount: number;
}

interface OpenFile {
  readonly fd: number;
  users: number;
  /** Again, since the hand last passed: what is read once goes before what is read again. */
  used: boolean;
  /** The file was unlinked: nobody new gets this descriptor. */
  released: boolean;
  /** It may have been unlinked: not kept for later. */
  doubtful: boolean;
  waiting: (() => void)[];
}

/** How many idle descriptors make room at once when the process has none left. */
const SHUT_AT_ONCE = 16;
/** How far the hand goes at a time. */
const PASS_MAX = 64;

/** At most `openFilesMax` descriptors, unless more than that are in use at once. */
export function createReadFiles(disk: Disk, openFilesMax: number): ReadFiles {
  const files = new Map<number, OpenFile>();
  // Kept from one use to the next: a walk from the start would pass what was deleted there each time.
  let hand = files.entries();
  let closed = false;

  const shut = (fileId: number, file: OpenFile): void => {
    assert(file.users === 0, "a descriptor in use stays open");
    files.delete(fileId);
    disk.close(file.fd);
    for (const resolve of file.waiting) resolve();
  };
  /** Closes up to `count` idle descriptors; whether any. */
  const makeRoom = (count: number, passMax: number): boolean => {
    let left = count;
    for (let passed = 0; left > 0 && passed < passMax; passed++) {
      const next = hand.next();
      if (next.done) {
        hand = files.entries();
        continue;
      }
      const [fileId, file] = next.value;
      if (file.users === 0 && !file.used) {
        shut(fileId, file);
        left--;
      } else file.used = false;
    }
    return left < count;
  };
  const trim = (): void => {
    if (files.size > openFilesMax) makeRoom(files.size - openFilesMax, PASS_MAX);
  };
  const openPath = (path: string, mode: OpenMode): number => {
    for (;;) {
      try {
        return disk.open(path, mode);
      } catch (error) {
        // The process has fewer descriptors than it was promised: what is idle makes room, a part of it at a time.
        // Twice round: all of them may have been used.
        if (!isOutOfDescriptors(error) || !makeRoom(SHUT_AT_ONCE, (files.size + 1) * 2)) throw error;
      }
    }
  };
  const open = (fileId: number): number => {
    const path = filePath(fileId);
    try {
      return openPath(path, "write");
    } catch (error) {
      // A file system that became read-only still serves what it has.
      if (!hasCode(error, "flash-failed")) throw error;
      return openPath(path, "read");
    }
  };
  const release = (fileId: number): Promise<void> => {
    const file = files.get(fileId);
    if (file === undefined) return Promise.resolve();
    file.released = true;
    if (file.users === 0) {
      shut(fileId, file);
      return Promise.resolve();
    }
    return new Promise((resolve) => file.waiting.push(resolve));
  };
  const shutIdle = (): void => {
    for (const [fileId, file] of [...files]) if (file.users === 0) shut(fileId, file);
  };
  return {
    pin: (fileId) => {
      if (closed) throw new ForebayError("closed", "the files were closed");
      const known = files.get(fileId);
      if (known !== undefined) {
        if (known.released) throw new ForebayError("gone", `file ${fileId} was evicted`);
        known.users++;
        known.used = true;
        return known.fd;
      }
      const file: OpenFile = { fd: open(fileId), users: 1, used: false, released: false, doubtful: false, waiting: [] };
      files.set(fileId, file);
      trim();
      return file.fd;
    },
    unpin: (fileId) => {
      const file = files.get(fileId);
      assert(file !== undefined && file.users > 0, "only what is pinned is unpinned");
      file.users--;
      if (file.users > 0) return;
      if (file.released || file.doubtful || closed) shut(fileId, file);
      else trim();
    },
    release: async (fileIds) => {
      await Promise.all(fileIds.map(release));
    },
    forgetAll: () => {
      shutIdle();
      for (const file of files.values()) file.doubtful = true;
    },
    close: () => {
      closed = true;
      shutIdle();
    },
    get openCount() {
      return files.size;
    },
  };
}
