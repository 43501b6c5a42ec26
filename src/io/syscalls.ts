/**
 * The system calls that the runtime does not offer, through libc. Each returns a count or a negative errno, as the
 * kernel itself does; nobody outside `io/` sees a pointer.
 */
import { dlopen, FFIType, type Pointer, ptr, read, toArrayBuffer } from "bun:ffi";
import { ForebayError } from "../base/errors.ts";

const { i32, i64, i64_fast, u32, u64 } = FFIType;
const pointer = FFIType.ptr;

function openLibc() {
  const symbols = {
    sendfile: { args: [i32, i32, pointer, u64], returns: i64_fast },
    send: { args: [i32, pointer, u64, i32], returns: i64_fast },
    recv: { args: [i32, pointer, u64, i32], returns: i64_fast },
    pread: { args: [i32, pointer, u64, i64_fast], returns: i64_fast },
    posix_fadvise: { args: [i32, i64, i64, i32], returns: i32 },
    syncfs: { args: [i32], returns: i32 },
    flock: { args: [i32, i32], returns: i32 },
    memfd_create: { args: [pointer, u32], returns: i32 },
    ftruncate: { args: [i32, i64], returns: i32 },
    mmap: { args: [pointer, u64, i32, i32, i32, i64], returns: pointer },
    clock_gettime: { args: [i32, pointer], returns: i32 },
    prctl: { args: [i32, u64, u64, u64, u64], returns: i32 },
    __errno_location: { args: [], returns: pointer },
  } as const;
  for (const name of ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1", "libc.so"]) {
    try {
      return dlopen(name, symbols).symbols;
    } catch {
      // try the next name
    }
  }
  throw new ForebayError("internal", "no C library found: Forebay runs on Linux (glibc or musl)");
}

const libc = openLibc();

/** Why the last call of this library failed. */
export function errno(): number {
  const location = libc.__errno_location();
  return location === null ? 5 : read.i32(location, 0);
}

const result = (value: number): number => (value < 0 ? -errno() : value);

// Memory of its own: that of a small typed array may move while its address is in use.
const offsetCell = new Uint32Array(new ArrayBuffer(64), 0, 2);
const offsetPointer = ptr(offsetCell);

/** A buffer of its own memory with its address, which costs more to find than a short system call's own work. */
export interface Pinned {
  readonly bytes: Buffer;
  readonly address: Pointer;
}

/** Allocates a buffer that never moves. */
export function pinnedBuffer(sizeBytes: number): Pinned {
  const bytes = Buffer.from(new ArrayBuffer(sizeBytes));
  return { bytes, address: ptr(bytes) };
}

/** Where {@link peek} puts the byte that it sees. */
const peekCell = pinnedBuffer(64);

const MSG_PEEK = 2;

/** Flags of send(2). */
export const MSG_MORE = 0x8000;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;

/** errno values that callers decide on. */
export const EAGAIN = 11;
export const EINTR = 4;
export const EIO = 5;

/** sendfile(2): up to `count` bytes of `inFd` at `offset` to socket `outFd`. The bytes sent, or -errno. */
export function sendfile(outFd: number, inFd: number, offset: number, count: number): number {
  // The kernel's loff_t, as the little-endian machines that this runs on have it.
  offsetCell[0] = offset >>> 0;
  offsetCell[1] = offset / 0x1_0000_0000;
  return result(Number(libc.sendfile(outFd, inFd, offsetPointer, count)));
}

/** send(2) of the first `length` bytes. The bytes sent, or -errno. */
export function send(fd: number, from: Pinned, length: number, flags: number): number {
  return result(Number(libc.send(fd, from.address, length, flags)));
}

/** recv(2) without waiting into `bytes[at, at + length)`. The bytes received (0 at the end of the stream), or -errno. */
export function receive(fd: number, bytes: Uint8Array, at: number, length: number): number {
  return result(Number(libc.recv(fd, (ptr(bytes) + at) as Pointer, length, MSG_DONTWAIT)));
}

/** Whether bytes wait in a socket, which stay there: 1, 0 at the end of the stream, or -errno (EAGAIN: none do). */
export function peek(fd: number): number {
  return result(Number(libc.recv(fd, peekCell.address, 1, MSG_PEEK | MSG_DONTWAIT)));
}

/** pread(2) into `into.bytes[at, at + length)`. The bytes read (0 at the end of the file), or -errno. */
export function pread(fd: number, into: Pinned, at: number, length: number, offset: number): number {
  return result(Number(libc.pread(fd, (into.address + at) as Pointer, length, offset)));
}

/** posix_fadvise(2) with POSIX_FADV_DONTNEED: lets clean pages of a range go, so that a read comes from the disk. */
export function adviseDontNeed(fd: number, offset: number, length: number): void {
  libc.posix_fadvise(fd, offset, length, 4);
}

/** posix_fadvise(2) with POSIX_FADV_WILLNEED: begins to read a range into the page cache. */
export function adviseWillNeed(fd: number, offset: number, length: number): void {
  libc.posix_fadvise(fd, offset, length, 3);
}

/** syncfs(2): everything dirty of the file system of `fd` reaches stable storage. 0, or -errno. */
export function syncfs(fd: number): number {
  return result(libc.syncfs(fd));
}

/** flock(2), exclusive and without waiting: the lock ends with the last descriptor of `fd`. 0, or -errno. */
export function lockExclusive(fd: number): number {
  return result(libc.flock(fd, 2 | 4));
}

/**
 * An anonymous file of `sizeBytes` (memfd_create(2)), to be shared by its `/proc/PID/fd/FD` path with processes of
 * the same user. It lives as long as somebody has it open or mapped, and nobody can truncate it by name.
 */
export function createSharedFile(name: string, sizeBytes: number): number {
  const fd = result(libc.memfd_create(ptr(Buffer.from(`${name}\0`)), 1));
  if (fd < 0) throw new ForebayError("internal", `memfd_create failed with errno ${-fd}`);
  const truncated = result(libc.ftruncate(fd, sizeBytes));
  if (truncated < 0) throw new ForebayError("internal", `ftruncate of shared memory failed with errno ${-truncated}`);
  return fd;
}

/** Maps `sizeBytes` of `fd` shared, readable and writable, for the life of the process. */
export function mapShared(fd: number, sizeBytes: number): ArrayBuffer {
  const address = libc.mmap(null, sizeBytes, 3, 1, fd, 0);
  if (address === null || Number(address) === -1 || Number(address) >= 2 ** 63) {
    throw new ForebayError("internal", `mmap of shared memory failed with errno ${errno()}`);
  }
  return toArrayBuffer(address, 0, sizeBytes);
}

/** CLOCK_MONOTONIC in milliseconds: the same in every process of this machine. */
export function monotonicMsNow(): number {
  const cell = new BigInt64Array(2);
  libc.clock_gettime(1, ptr(cell));
  return Number(cell[0]) * 1000 + Number(cell[1]) / 1e6;
}

/** Asks the kernel to send this process SIGKILL when the thread that started it ends (PR_SET_PDEATHSIG). */
export function dieWithParent(): void {
  libc.prctl(1, 9n, 0n, 0n, 0n);
}
