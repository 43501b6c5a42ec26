/** The kernel as a test plays it: requests written as it writes them, answers taken apart as it does. */
import { pinnedBuffer } from "../io/syscalls.ts";
import { mountBounds } from "./bounds.ts";
import { openCounters } from "./counters.ts";
import { Front, type Going } from "./front.ts";
import type { FrontInit, ToBack } from "./messages.ts";
import { opcodes, sizes } from "./protocol.ts";
import type { Kernel } from "./session.ts";

/** An answer that went to the kernel. */
export interface Answer {
  readonly unique: number;
  /** 0, or the errno. */
  readonly errno: number;
  readonly body: Buffer;
  /** What the header says, and what was written. */
  readonly saidLength: number;
  readonly length: number;
}

export interface FakeKernel {
  readonly front: Front;
  readonly told: ToBack[];
  readonly answers: Answer[];
  /** Backing ids that the kernel holds. */
  readonly backings: Set<number>;
  readonly openFiles: Set<number>;
  nowMs: number;
  /** What opening a cache file, or handing it over, comes to when not 0. */
  openErrno: number;
  backingErrno: number;
  fileBytes: number;
  /** Counters of changes by slot. */
  readonly counters: Int32Array;
  /** Sends a request; its number. */
  send(opcode: number, nodeId: number, body?: Uint8Array): number;
  /** Sends bytes as they are. */
  sendRaw(bytes: Uint8Array): Going;
  /** The answer to a request, or undefined while there is none. */
  answerTo(unique: number): Answer | undefined;
  /** Begins the session as Linux 6.18 does. */
  agree(): void;
}

const OFFERED = 0xffff_ffff;

export function fakeKernel(given: Partial<FrontInit> = {}): FakeKernel {
  const request = pinnedBuffer(mountBounds.requestBytesMax);
  const told: ToBack[] = [];
  const answers: Answer[] = [];
  const memory = new SharedArrayBuffer(1024 * 4);
  let nextUnique = 2;
  let nextNumber = 10;
  const take = (bytes: Buffer, length: number): number => {
    answers.push({
      saidLength: bytes.readUInt32LE(0),
      length,
      errno: 0 - bytes.readInt32LE(4),
      unique: Number(bytes.readBigUInt64LE(8)),
      body: Buffer.from(bytes.subarray(sizes.outHeader, length)),
    });
    return length;
  };
  const kernel: Kernel = {
    write: (from, length) => take(from.bytes, length),
    openBacking: (fd) => {
      if (fd < 0) return self.backingErrno === 1 ? -1 : -22;
      if (self.backingErrno !== 0) return -self.backingErrno;
      self.backings.add(nextNumber);
      return nextNumber++;
    },
    closeBacking: (id) => void self.backings.delete(id),
    openFile: () => {
      if (self.openErrno !== 0) return -self.openErrno;
      self.openFiles.add(nextNumber);
      return nextNumber++;
    },
    sizeOf: () => self.fileBytes,
    closeFile: (fd) => void self.openFiles.delete(fd),
    read: (_fd, into, at, length) => {
      into.bytes.fill(1, at, at + length);
      return length;
    },
  };
  const init: FrontInit = {
    device: 0,
    event: 0,
    counters: { kind: "array", memory },
    filesRoot: "/flash",
    uid: 1,
    gid: 2,
    umask: 0,
    passthrough: true,
    ...given,
  };
  const self: FakeKernel = {
    front: new Front({
      init,
      kernel,
      counters: openCounters(init.counters),
      request,
      reply: pinnedBuffer(mountBounds.readBytesMax + sizes.outHeader),
      nowMs: () => self.nowMs,
      wallMs: 0,
      tell: (message) => told.push(message),
    }),
    told,
    answers,
    backings: new Set(),
    openFiles: new Set(),
    nowMs: 1_000,
    openErrno: 0,
    backingErrno: 0,
    fileBytes: 100,
    counters: new Int32Array(memory),
    send: (opcode, nodeId, body = new Uint8Array(0)) => {
      const unique = nextUnique;
      nextUnique += 2;
      self.sendRaw(requestBytes(opcode, unique, nodeId, body));
      return unique;
    },
    sendRaw: (bytes) => {
      request.bytes.set(bytes);
      return self.front.handle(bytes.length);
    },
    answerTo: (unique) => answers.find((answer) => answer.unique === unique),
    agree: () => {
      self.send(opcodes.INIT, 0, words(7, 45, 1 << 17, OFFERED, OFFERED, ...new Array<number>(11).fill(0)));
    },
  };
  return self;
}

/** A request as the kernel writes it. */
export function requestBytes(opcode: number, unique: number, nodeId: number, body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(sizes.inHeader + body.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(opcode, 4);
  bytes.writeBigUInt64LE(BigInt(unique), 8);
  bytes.writeBigUInt64LE(BigInt(nodeId), 16);
  bytes.set(body, sizes.inHeader);
  return bytes;
}

/** Little-endian words of 32 bits. */
export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value >>> 0, i * 4);
  return bytes;
}

/** Text with its NUL, behind `before`. */
export function named(name: string, before: Uint8Array = new Uint8Array(0)): Buffer {
  return Buffer.concat([before, Buffer.from(`${name}\0`)]);
}

/** The body of READ, READDIR and READDIRPLUS. */
export function readBody(handle: number, offset: number, size: number): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.writeBigUInt64LE(BigInt(handle), 0);
  bytes.writeBigUInt64LE(BigInt(offset), 8);
  bytes.writeUInt32LE(size, 16);
  return bytes;
}

/** The body of RELEASE and RELEASEDIR. */
export function releaseBody(handle: number): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeBigUInt64LE(BigInt(handle), 0);
  return bytes;
}

/** What an answer to OPEN or OPENDIR says. */
export function openedOf({ body }: Answer): { handle: number; flags: number; backing: number } {
  return { handle: Number(body.readBigUInt64LE(0)), flags: body.readUInt32LE(8), backing: body.readUInt32LE(12) };
}

/** The node id and the size that an entry at `at` tells. */
export function entryOf(body: Buffer, at = 0): { nodeId: number; ttlSeconds: number; sizeBytes: number; ino: bigint } {
  return {
    nodeId: Number(body.readBigUInt64LE(at)),
    ttlSeconds: Number(body.readBigUInt64LE(at + 16)),
    ino: body.readBigUInt64LE(at + 40),
    sizeBytes: Number(body.readBigUInt64LE(at + 48)),
  };
}

/** The names in an answer to READDIR, or READDIRPLUS. Throws where they are not as the kernel wants them. */
export function namesOf(body: Buffer, plus: boolean): { name: string; offset: number; nodeId: number }[] {
  const names: { name: string; offset: number; nodeId: number }[] = [];
  for (let at = 0; at < body.length; ) {
    const head = at + (plus ? sizes.entryOut : 0);
    const nameLength = body.readUInt32LE(head + 16);
    const end = (head + sizes.direntHead + nameLength + 7) & ~7;
    if (end > body.length || nameLength === 0) throw new Error(`a name at ${at} passes the end`);
    const name = body.toString("utf8", head + sizes.direntHead, head + sizes.direntHead + nameLength);
    names.push({
      name,
      offset: Number(body.readBigUInt64LE(head + 8)),
      nodeId: plus ? Number(body.readBigUInt64LE(at)) : 0,
    });
    at = end;
  }
  return names;
}
