/** Plain sockets for what generates load: system calls without the runtime between, which cost next to nothing. */
import { dlopen, ptr, FFIType as T } from "bun:ffi";

export const libc = dlopen("libc.so.6", {
  socket: { args: [T.i32, T.i32, T.i32], returns: T.i32 },
  connect: { args: [T.i32, T.ptr, T.u32], returns: T.i32 },
  setsockopt: { args: [T.i32, T.i32, T.i32, T.ptr, T.u32], returns: T.i32 },
  recv: { args: [T.i32, T.ptr, T.u64, T.i32], returns: T.i64_fast },
  send: { args: [T.i32, T.ptr, T.u64, T.i32], returns: T.i64_fast },
  poll: { args: [T.ptr, T.u64, T.i32], returns: T.i32 },
}).symbols;

/** Flags of recv(2) and send(2), events of poll(2). */
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const POLLIN = 1;
export const POLLOUT = 4;

/** A connection to a port of this machine, with a receive buffer of so many bytes where that is said. */
export function connectTo(port: number, receiveBufferBytes?: number): number {
  const fd = libc.socket(2, 1, 0);
  if (receiveBufferBytes !== undefined) libc.setsockopt(fd, 1, 8, ptr(new Int32Array([receiveBufferBytes])), 4);
  const address = Buffer.alloc(16);
  address.writeUInt16LE(2, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  if (fd < 0 || libc.connect(fd, ptr(address), 16) !== 0) throw new Error(`cannot connect to port ${port}`);
  return fd;
}

/** Sends a whole request, which is small enough to leave at once. */
export function sendWhole(fd: number, request: Buffer): void {
  if (Number(libc.send(fd, ptr(request), request.length, MSG_NOSIGNAL)) !== request.length) {
    throw new Error("a request could not be sent at once");
  }
}

/** Throws unless a head (without its end) says 200 or 206 and a body of `bodyBytes`. */
export function checkHead(head: string, bodyBytes: number): void {
  if (!/^HTTP\/1\.1 20[06] /.test(head)) throw new Error(`unexpected answer: ${head.slice(0, 1000)}`);
  const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? Number.NaN);
  if (length !== bodyBytes) throw new Error(`a body of ${length} bytes instead of ${bodyBytes}`);
}
