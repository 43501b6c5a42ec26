/**
 * Whether the bytes of a file are in the page cache, and bringing them there without holding up the thread. sendfile(2)
 * and read(2) of what is not cached wait for the disk, and everybody else of the process waits with them.
 *
 * Sources: cachestat(2) (Linux 6.5), preadv2(2) with RWF_NOWAIT (Linux 4.14), posix_fadvise(2).
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { read } from "node:fs";
import { adviseWillNeed, errno, type Pinned, pinnedBuffer, pread } from "./syscalls.ts";

const { i32, i64_fast, u32 } = FFIType;
const pointer = FFIType.ptr;
const PAGE_BYTES = 4096;
const HIGH_WORD = 0x1_0000_0000;
/** Up to so much is not looked at closer: that would cost more than the short wait, now and then, that it saves. */
const TRUSTED_BYTES = 256 * 1024;
/** How far apart the pages lie that are looked at, behind cachestat(2) and without it. */
const PROBE_BYTES = 256 * 1024;
const BLIND_PROBE_BYTES = 64 * 1024;
const BEGIN_BYTES = 512 * 1024;
/** So often, and the file system keeps its pages where cachestat does not look (overlayfs does). */
const UNCOUNTED_MAX = 8;
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
const probe = pinnedBuffer(64);
let canTell = libc !== null;
/** How often in a row the kernel did not count a page that had just been read. */
let uncounted = 0;
let canRefuse = libc !== null;

/**
 * Whether all of [offset, offset + length) can be read without waiting for the disk, as far as the kernel tells: every
 * page is in the cache, and those looked at have their bytes (cachestat counts a page from when its reading begins).
 * True where the kernel tells nothing.
 */
export function isCached(fd: number, offset: number, length: number): boolean {
  if (canTell) {
    if (!hasPages(fd, offset, length)) return false;
    if (length <= TRUSTED_BYTES) return true;
  }
  const stride = canTell ? PROBE_BYTES : BLIND_PROBE_BYTES;
  const last = offset + length - 1;
  for (let at = offset; at < last; at += stride) if (!isRead(fd, at)) return false;
  return isRead(fd, last);
}

/** By cachestat(2). True where it is not to be had. */
function hasPages(fd: number, offset: number, length: number): boolean {
  if (libc === null) return true;
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
  const counted = stat[0] as number;
  if (counted > 0) uncounted = 0;
  return counted >= Math.ceil(bytes / PAGE_BYTES);
}

/** Whether one byte is there now. Begins to read what is not. */
function isRead(fd: number, offset: number): boolean {
  return !canRefuse || preadCached(fd, probe, 0, 1, offset);
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

/** Begins to read [offset, offset + length) into the page cache. */
export function beginReading(fd: number, offset: number, length: number): void {
  // Of a longer stretch the kernel takes only as much as the device does in one request.
  const end = offset + length;
  for (let at = offset; at < end; at += BEGIN_BYTES) adviseWillNeed(fd, at, Math.min(BEGIN_BYTES, end - at));
}

/**
 * Resolves when the byte at `offset`, whose reading began, is in the page cache; what the disk says of it is for the
 * read that follows to find out. Pages come in order, as good as always: what is before it is there, too.
 */
export function whenRead(fd: number, offset: number): Promise<void> {
  // The read waits in a thread of the runtime's pool; it may outlive the descriptor.
  return new Promise((resolve) => read(fd, nothing, 0, 1, offset, () => resolve()));
}

/** To be told of a byte that was just read: finds out where {@link isCached} would never say yes. */
export function sawRead(fd: number, offset: number): void {
  if (canTell && !hasPages(fd, offset, 1) && ++uncounted >= UNCOUNTED_MAX) canTell = false;
}
