/**
 * Whether the bytes of a file are in the page cache, and bringing them there without holding up the thread. sendfile(2)
 * and read(2) of what is not cached wait for the disk, and everybody else of the process waits with them.
 *
 * Sources: cachestat(2) (Linux 6.5), preadv2(2) with RWF_NOWAIT (Linux 4.14), posix_fadvise(2).
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { read } from "node:fs";
import { adviseWillNeed, errno, type Pinned, pread } from "./syscalls.ts";

const { i32, i64_fast, u32 } = FFIType;
const pointer = FFIType.ptr;
const PAGE_BYTES = 4096;
const HIGH_WORD = 0x1_0000_0000;
const SYS_CACHESTAT = 451;
const RWF_NOWAIT = 8;
const EOPNOTSUPP = 95;

/** What not every C library has. */
function openOptional() {
  try {
    return dlopen("libc.so.6", {
      syscall: { args: [i64_fast, i32, pointer, pointer, u32], returns: i64_fast },
      preadv2: { args: [i32, pointer, i32, i64_fast, i32], returns: i64_fast },
    }).symbols;
  } catch {
    return null;
  }
}

const libc = openOptional();
// Memory of their own: that of small typed arrays may move while their addresses are in use. Words are little-endian.
const range = new Uint32Array(new ArrayBuffer(64), 0, 4);
const rangeAddress = ptr(range);
const stat = new Uint32Array(new ArrayBuffer(128), 0, 10);
const statAddress = ptr(stat);
const vector = new Uint32Array(new ArrayBuffer(64), 0, 4);
const vectorAddress = ptr(vector);
const nothing = Buffer.from(new ArrayBuffer(64));
let canTell = libc !== null;
let canRefuse = libc !== null;

/** Whether all of [offset, offset + length) is in the page cache. True where the kernel cannot tell. */
export function isCached(fd: number, offset: number, length: number): boolean {
  if (!canTell || libc === null) return true;
  const first = Math.floor(offset / PAGE_BYTES) * PAGE_BYTES;
  const bytes = offset + length - first;
  range[0] = first >>> 0;
  range[1] = first / HIGH_WORD;
  range[2] = bytes >>> 0;
  range[3] = bytes / HIGH_WORD;
  if (Number(libc.syscall(SYS_CACHESTAT, fd, rangeAddress, statAddress, 0)) !== 0) {
    canTell = false;
    return true;
  }
  // The first field of struct cachestat: pages in the cache.
  return (stat[0] as number) >= Math.ceil(bytes / PAGE_BYTES);
}

/** Reads exactly `length` bytes of a file into `into.bytes` at `at`, if that takes no waiting for a disk. */
export function preadCached(fd: number, into: Pinned, at: number, length: number, offset: number): boolean {
  if (!canRefuse || libc === null) return pread(fd, into, at, length, offset) === length;
  const address = into.address + at;
  vector[0] = address >>> 0;
  vector[1] = address / HIGH_WORD;
  vector[2] = length;
  vector[3] = 0;
  const count = Number(libc.preadv2(fd, vectorAddress, 1, offset, RWF_NOWAIT));
  if (count < 0 && errno() === EOPNOTSUPP) canRefuse = false;
  return count === length;
}

/**
 * Brings [offset, offset + length) of a file into the page cache, and begins with `aheadBytes` behind it. Resolves when
 * the last byte of the range is there; what the disk says of it is for the read that follows to find out.
 */
export function bringToCache(fd: number, offset: number, length: number, aheadBytes: number): Promise<void> {
  adviseWillNeed(fd, offset, length + aheadBytes);
  // Pages come in order. The read waits in a thread of the runtime's pool; it may outlive the descriptor.
  return new Promise((resolve) => read(fd, nothing, 0, 1, offset + length - 1, () => resolve()));
}
