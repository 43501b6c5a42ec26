/**
 * Files that one process at a time may hold, by flock(2): the kernel lets go when the process ends, however it ends, so
 * nothing is left to clean up after a crash.
 */
import * as fs from "node:fs";
import { ForebayError } from "../base/errors.ts";
import { diskError } from "./disk.ts";
import { EAGAIN, lockExclusive } from "./syscalls.ts";

/** A lock that is held. */
export interface FileLock {
  /** Idempotent. The end of the process does it as well. */
  release(): void;
}

/** Who holds a lock, as far as the file says. */
export interface LockHolder {
  /** 0 when it is not known. */
  readonly pid: number;
}

/**
 * Takes the lock of `path`, which is made if need be, or says who holds it. `existing`: the file is left as it is,
 * neither made nor written. A symbolic link is not followed. Throws `flash-failed`, `flash-full` or `gone` when the file
 * cannot be opened or its file system has no locks.
 */
export function takeFileLock(path: string, existing = false): FileLock | LockHolder {
  const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDWR } = fs.constants;
  let fd: number;
  try {
    // Not blocking: what stands there may be a pipe, whose opening waits for a writer.
    fd = fs.openSync(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | (existing ? 0 : O_CREAT), 0o600);
  } catch (error) {
    throw diskError(error, `open ${path}`);
  }
  const locked = lockExclusive(fd);
  if (locked < 0) {
    const pid = locked === -EAGAIN ? holderOf(fd) : -1;
    fs.closeSync(fd);
    if (pid < 0) throw new ForebayError("flash-failed", `flock of ${path} failed with errno ${-locked}`);
    return { pid };
  }
  if (!existing) writeHolder(fd);
  let held = true;
  return {
    release: () => {
      if (!held) return;
      held = false;
      fs.closeSync(fd);
    },
  };
}

function writeHolder(fd: number): void {
  try {
    fs.ftruncateSync(fd);
    fs.writeSync(fd, `${process.pid}\n`, 0);
  } catch {
    // The name of the holder is only for people; a full disk may keep it out.
  }
}

function holderOf(fd: number): number {
  const bytes = new Uint8Array(32);
  const length = fs.readSync(fd, bytes, 0, bytes.length, 0);
  const pid = Number(new TextDecoder().decode(bytes.subarray(0, length)).trim());
  return Number.isSafeInteger(pid) && pid > 0 ? pid : 0;
}
