/**
 * A server's descriptors of cache files, bounded: the one idle longest makes room. A descriptor that a response uses is
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
  /** Closes what is idle; the rest when its last user lets go. */
  close(): void;
  readonly openCount: number;
}

interface OpenFile {
  readonly fd: number;
  users: number;
  /** The file was unlinked: nobody new gets this descriptor. */
  released: boolean;
  waiting: (() => void)[];
}

/** How many idle descriptors make room at once when the process has none left. */
const SHUT_AT_ONCE = 16;

/** At most `openFilesMax` descriptors, unless more than that are in use at once. */
export function createReadFiles(disk: Disk, openFilesMax: number): ReadFiles {
  const files = new Map<number, OpenFile>();
  const idle = new Map<number, OpenFile>(); // in the order in which they became idle
  let closed = false;

  const shut = (fileId: number, file: OpenFile): void => {
    assert(file.users === 0, "a descriptor in use stays open");
    files.delete(fileId);
    idle.delete(fileId);
    disk.close(file.fd);
    for (const resolve of file.waiting) resolve();
  };
  const trim = (): void => {
    for (const [fileId, file] of idle) {
      if (files.size <= openFilesMax) return;
      shut(fileId, file);
    }
  };
  const openPath = (path: string, mode: OpenMode): number => {
    for (;;) {
      try {
        return disk.open(path, mode);
      } catch (error) {
        // The process has fewer descriptors than it was promised: what is idle makes room, a part of it at a time.
        if (!isOutOfDescriptors(error) || idle.size === 0) throw error;
        let some = SHUT_AT_ONCE;
        for (const [fileId, file] of idle) {
          if (some-- === 0) break;
          shut(fileId, file);
        }
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
  return {
    pin: (fileId) => {
      if (closed) throw new ForebayError("closed", "the files were closed");
      const known = files.get(fileId);
      if (known !== undefined) {
        if (known.released) throw new ForebayError("gone", `file ${fileId} was evicted`);
        if (known.users++ === 0) idle.delete(fileId);
        return known.fd;
      }
      const file: OpenFile = { fd: open(fileId), users: 1, released: false, waiting: [] };
      files.set(fileId, file);
      trim();
      return file.fd;
    },
    unpin: (fileId) => {
      const file = files.get(fileId);
      assert(file !== undefined && file.users > 0, "only what is pinned is unpinned");
      file.users--;
      if (file.users > 0) return;
      if (file.released || closed) shut(fileId, file);
      else {
        idle.set(fileId, file);
        trim();
      }
    },
    release: async (fileIds) => {
      await Promise.all(fileIds.map(release));
    },
    close: () => {
      closed = true;
      for (const [fileId, file] of [...idle]) shut(fileId, file);
    },
    get openCount() {
      return files.size;
    },
  };
}
