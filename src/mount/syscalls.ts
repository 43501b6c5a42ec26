/**
 * The system calls of a mount, through libc. Each returns a count or a negative errno. They may wait: what does is
 * called on the FUSE thread, which has nothing else to do.
 *
 * Sources: mount(2), umount2(2), poll(2), eventfd(2), fuse(4), include/uapi/linux/fuse.h.
 */
import { dlopen, FFIType, type Pointer, ptr, read as readMemory } from "bun:ffi";
import { ForebayError } from "../base/errors.ts";
import { type Pinned, pinnedBuffer } from "../io/syscalls.ts";

const { i32, i64_fast, u32, u64 } = FFIType;
const pointer = FFIType.ptr;

function openLibc() {
  const symbols = {
    read: { args: [i32, pointer, u64], returns: i64_fast },
    write: { args: [i32, pointer, u64], returns: i64_fast },
    ioctl: { args: [i32, u64, pointer], returns: i32 },
    poll: { args: [pointer, u64, i32], returns: i32 },
    eventfd: { args: [u32, i32], returns: i32 },
    mount: { args: [pointer, pointer, pointer, u64, pointer], returns: i32 },
    umount2: { args: [pointer, i32], returns: i32 },
    socketpair: { args: [i32, i32, i32, pointer], returns: i32 },
    fcntl: { args: [i32, i32, i32], returns: i32 },
    recvmsg: { args: [i32, pointer, i32], returns: i64_fast },
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

let opened: ReturnType<typeof openLibc> | null = null;

/** Opened when first used: most processes never mount. */
function libc(): ReturnType<typeof openLibc> {
  opened ??= openLibc();
  return opened;
}

function result(value: number): number {
  if (value >= 0) return value;
  const location = libc().__errno_location();
  return location === null ? -5 : -readMemory.i32(location, 0);
}

/** Text as C wants it. What is named in a call has to be held until it returns. */
const cText = (text: string): Buffer => Buffer.from(`${text}\0`);

/** read(2) into the whole buffer. */
export function readInto(fd: number, into: Pinned): number {
  return result(Number(libc().read(fd, into.address, into.bytes.length)));
}

/** write(2) of the first `length` bytes. */
export function writeFrom(fd: number, from: Pinned, length: number): number {
  return result(Number(libc().write(fd, from.address, length)));
}

const POLLIN = 1;

/** Waits until one of two descriptors can be read, or `timeoutMs` passed. */
export class Waiter {
  readonly #memory = pinnedBuffer(64);

  constructor(first: number, second: number) {
    const { bytes } = this.#memory;
    bytes.writeInt32LE(first, 0);
    bytes.writeInt16LE(POLLIN, 4);
    bytes.writeInt32LE(second, 8);
    bytes.writeInt16LE(POLLIN, 12);
  }

  wait(timeoutMs: number): number {
    return result(libc().poll(this.#memory.address, 2, timeoutMs));
  }
}

/** A descriptor that one thread writes to wake another that polls it. Throws `internal`. */
export function createEvent(): number {
  const nonblocking = 0o4000;
  const closeOnExec = 0o2000000;
  const fd = result(libc().eventfd(0, nonblocking | closeOnExec));
  if (fd < 0) throw new ForebayError("internal", `eventfd failed with errno ${-fd}`);
  return fd;
}

const IOC_BACKING_OPEN = 0x4010_e501;
const IOC_BACKING_CLOSE = 0x4004_e502;

/** Files that the kernel reads for a mount by itself. */
export class BackingFiles {
  readonly #device: number;
  readonly #memory = pinnedBuffer(64);

  constructor(device: number) {
    this.#device = device;
  }

  /** The id under which the kernel holds the file of `fd` from now on, which may be closed. EPERM without the right. */
  open(fd: number): number {
    const { bytes, address } = this.#memory;
    bytes.fill(0, 0, 16);
    bytes.writeInt32LE(fd, 0);
    return result(libc().ioctl(this.#device, IOC_BACKING_OPEN, address));
  }

  /** The kernel lets go of it when the last open file does. */
  close(id: number): number {
    const { bytes, address } = this.#memory;
    bytes.writeUInt32LE(id, 0);
    return result(libc().ioctl(this.#device, IOC_BACKING_CLOSE, address));
  }
}

export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOATIME = 1024;
export const MNT_FORCE = 1;
export const MNT_DETACH = 2;

/** mount(2). */
export function mount(source: string, folder: string, type: string, flags: number, data: string): number {
  const texts = [source, folder, type, data].map(cText) as [Buffer, Buffer, Buffer, Buffer];
  const [from, to, kind, options] = texts;
  return result(libc().mount(ptr(from), ptr(to), ptr(kind), flags, ptr(options)));
}

/** umount2(2). */
export function unmount(folder: string, flags: number): number {
  const path = cText(folder);
  return result(libc().umount2(ptr(path), flags));
}

/** A pair of connected sockets, closed on exec. Throws `internal`. */
export function socketPair(): [number, number] {
  const memory = pinnedBuffer(64);
  const streamCloseOnExec = 1 | 0o2000000;
  const done = result(libc().socketpair(1, streamCloseOnExec, 0, memory.address));
  if (done < 0) throw new ForebayError("internal", `socketpair failed with errno ${-done}`);
  return [memory.bytes.readInt32LE(0), memory.bytes.readInt32LE(4)];
}

/**
 * Receives a descriptor that somebody passes through a socket (SCM_RIGHTS), waiting for it. -errno; -71 (EPROTO) when
 * what came is none.
 */
export function receiveDescriptor(socket: number): number {
  const memory = pinnedBuffer(256);
  const { bytes, address } = memory;
  const at = (offset: number): Pointer => (address + offset) as Pointer;
  // msghdr (56 bytes): name, its length, iov, their count, control, its length, flags. 64-bit machines only.
  bytes.fill(0);
  bytes.writeBigUInt64LE(BigInt(at(64)), 16);
  bytes.writeBigUInt64LE(1n, 24);
  bytes.writeBigUInt64LE(BigInt(at(128)), 32);
  bytes.writeBigUInt64LE(24n, 40);
  bytes.writeBigUInt64LE(BigInt(at(96)), 64);
  bytes.writeBigUInt64LE(1n, 72);
  const closeOnExec = 0x4000_0000;
  const count = result(Number(libc().recvmsg(socket, address, closeOnExec)));
  if (count < 0) return count;
  // cmsghdr: length, level (SOL_SOCKET), type (SCM_RIGHTS), then the descriptor.
  const isDescriptor =
    bytes.readBigUInt64LE(40) >= 20n && bytes.readInt32LE(128 + 8) === 1 && bytes.readInt32LE(128 + 12) === 1;
  return isDescriptor ? bytes.readInt32LE(128 + 16) : -71;
}

/** Reads of the descriptor do not wait from now on. */
export function setNonblocking(fd: number): number {
  const setFlags = 4;
  const readWriteNonblocking = 0o2 | 0o4000;
  return result(libc().fcntl(fd, setFlags, readWriteNonblocking));
}
