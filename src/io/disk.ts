/**
 * The flash folder as a parameter: the real one here, a simulated one in `sim/` that drops or tears what was not
 * synced, fills up and fails. Paths are relative to the folder. What can wait goes through the thread pool; what a
 * hit does (a read of cached pages) is synchronous.
 */
import * as fs from "node:fs";
import { ForebayError } from "../base/errors.ts";

/** How much room a file system has. */
export interface DiskSpace {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly inodesTotal: number;
  readonly inodesFree: number;
}

/** How a file is opened: `create` makes it anew and fails if it exists. */
export type OpenMode = "read" | "write" | "create";

/**
 * A folder on a file system. Failures are {@link ForebayError}s: `flash-full` (no space, quota), `gone` (no such
 * file), `overloaded` (no descriptor left: no fault of the flash), `flash-failed` (all else: EIO, read-only, permission).
 */
export interface Disk {
  /** The folder's absolute path: for what must be opened by path (SQLite). */
  readonly root: string;
  open(path: string, mode: OpenMode): number;
  close(fd: number): void;
  /** Writes all of `bytes` at `offset`. */
  write(fd: number, bytes: Uint8Array, offset: number): Promise<void>;
  /** Reads up to `bytes.length` bytes at `offset` in the thread pool; 0 at the end of the file. */
  read(fd: number, bytes: Uint8Array, offset: number): Promise<number>;
  /** The same on the calling thread: for pages that are likely cached. */
  readNow(fd: number, bytes: Uint8Array, offset: number): number;
  /** Data of one file reaches stable storage. A failure must not be retried as if nothing had happened. */
  syncFile(fd: number): Promise<void>;
  /** Everything written to the folder's file system before the call reaches stable storage (syncfs). */
  syncAll(): Promise<void>;
  /** The names that one folder (`""`: the disk's own) holds reach stable storage: fsync of the folder, not of files. */
  syncFolder(path: string): Promise<void>;
  unlink(path: string): void;
  makeFolder(path: string): void;
  /** Names in a folder, unsorted; empty if it does not exist. */
  list(path: string): string[];
  /** Length of a file, or null if it does not exist. */
  sizeOf(path: string): number | null;
  space(): DiskSpace;
}

/** The {@link ForebayError} of a failed file operation. */
export function diskError(error: unknown, what: string): ForebayError {
  if (error instanceof ForebayError) return error;
  const code = (error as NodeJS.ErrnoException | null)?.code ?? "unknown error";
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new ForebayError("flash-full", `${what}: no space left (${code})`, { cause: error });
  }
  if (code === "ENOENT") return new ForebayError("gone", `${what}: no such file`, { cause: error });
  if (NO_DESCRIPTOR.has(code)) return new ForebayError("overloaded", `${what}: ${code}`, { cause: error });
  return new ForebayError("flash-failed", `${what}: ${code}`, { cause: error });
}

const NO_DESCRIPTOR: ReadonlySet<string> = new Set(["EMFILE", "ENFILE"]);

/** Whether a file could not be opened because the process, or the machine, has too many open. */
export function isOutOfDescriptors(error: unknown): boolean {
  if (!(error instanceof ForebayError) || error.code !== "overloaded") return false;
  return NO_DESCRIPTOR.has((error.cause as NodeJS.ErrnoException | undefined)?.code ?? "");
}

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: fs.constants.O_RDONLY,
  write: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
};

function attempt<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw diskError(error, what);
  }
}

/** The real folder `root`. `syncAll` runs `syncfs` on a thread of its own, given as `syncFolder`. */
export function realDisk(root: string, syncFolder: (root: string) => Promise<void>): Disk {
  const at = (path: string): string => `${root}/${path}`;
  return {
    root,
    open: (path, mode) => attempt(`open ${path}`, () => fs.openSync(at(path), FLAGS[mode], 0o600)),
    close: (fd) => attempt("close", () => fs.closeSync(fd)),
    write: (fd, bytes, offset) => writeAll(fd, bytes, offset),
    read: (fd, bytes, offset) =>
      new Promise((resolve, reject) => {
        fs.read(fd, bytes, 0, bytes.length, offset, (error, count) =>
          error ? reject(diskError(error, "read")) : resolve(count),
        );
      }),
    readNow: (fd, bytes, offset) => attempt("read", () => fs.readSync(fd, bytes, 0, bytes.length, offset)),
    syncFile: (fd) =>
      new Promise((resolve, reject) => {
        fs.fdatasync(fd, (error) => (error ? reject(diskError(error, "fdatasync")) : resolve()));
      }),
    syncAll: () => syncFolder(root),
    syncFolder: (path) => syncNames(at(path), path),
    unlink: (path) => attempt(`unlink ${path}`, () => fs.unlinkSync(at(path))),
    makeFolder: (path) =>
      attempt(`mkdir ${path}`, () => {
        fs.mkdirSync(at(path), { recursive: true, mode: 0o700 });
      }),
    list: (path) => {
      try {
        return fs.readdirSync(at(path));
      } catch (error) {
        const failure = diskError(error, `list ${path}`);
        if (failure.code === "gone") return [];
        throw failure;
      }
    },
    sizeOf: (path) => {
      try {
        return fs.statSync(at(path)).size;
      } catch (error) {
        const failure = diskError(error, `stat ${path}`);
        if (failure.code === "gone") return null;
        throw failure;
      }
    },
    space: () =>
      attempt("statfs", () => {
        const s = fs.statfsSync(root);
        return {
          totalBytes: s.blocks * s.bsize,
          freeBytes: s.bavail * s.bsize,
          inodesTotal: s.files,
          inodesFree: s.ffree,
        };
      }),
  };
}

/** fsync, not fdatasync: what changed in a folder is what the latter may leave out. */
async function syncNames(path: string, what: string): Promise<void> {
  try {
    const folder = await fs.promises.open(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    throw diskError(error, `fsync of folder ${what}`);
  }
}

function writeAll(fd: number, bytes: Uint8Array, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const step = (done: number): void => {
      fs.write(fd, bytes, done, bytes.length - done, offset + done, (error, count) => {
        if (error) reject(diskError(error, "write"));
        else if (done + count >= bytes.length) resolve();
        else if (count === 0) reject(new ForebayError("flash-failed", "write: nothing written"));
        else step(done + count);
      });
    };
    if (bytes.length === 0) resolve();
    else step(0);
  });
}
