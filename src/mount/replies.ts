/** Answers to the kernel, written into one buffer. The body is put in first; the header is written when it goes out. */
import { assert } from "../base/assert.ts";
import type { Pinned } from "../io/syscalls.ts";
import { FILE_TYPE, FOLDER_TYPE, sizes } from "./protocol.ts";

const HIGH_WORD = 0x1_0000_0000;
/** The unit of `blocks` in stat(2). */
const STAT_BLOCK_BYTES = 512;

/** What stat(2) shows. */
export interface NodeAttributes {
  readonly inoLow: number;
  readonly inoHigh: number;
  readonly isFolder: boolean;
  readonly sizeBytes: number;
  readonly mtimeMs: number;
}

/** What is the same for every inode of a mount. */
export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly fileMode: number;
  readonly folderMode: number;
}

export class ReplyWriter {
  readonly buffer: Pinned;
  readonly #view: DataView;
  readonly #owner: Ownership;

  constructor(buffer: Pinned, owner: Ownership) {
    this.buffer = buffer;
    this.#view = new DataView(buffer.bytes.buffer, buffer.bytes.byteOffset, buffer.bytes.byteLength);
    this.#owner = owner;
  }

  /** Writes the header of an answer with `bodyBytes` behind it, or with an error and none. Its whole length. */
  head(uniqueLow: number, uniqueHigh: number, error: number, bodyBytes: number): number {
    assert(error === 0 || bodyBytes === 0, "an error has no body");
    const length = sizes.outHeader + bodyBytes;
    const view = this.#view;
    view.setUint32(0, length, true);
    view.setInt32(4, error === 0 ? 0 : -error, true);
    view.setUint32(8, uniqueLow, true);
    view.setUint32(12, uniqueHigh, true);
    return length;
  }

  /** Sets `count` bytes of the body to zero. */
  clear(at: number, count: number): void {
    this.buffer.bytes.fill(0, sizes.outHeader + at, sizes.outHeader + at + count);
  }

  word(at: number, value: number): void {
    this.#view.setUint32(sizes.outHeader + at, value, true);
  }

  half(at: number, value: number): void {
    this.#view.setUint16(sizes.outHeader + at, value, true);
  }

  wide(at: number, value: number): void {
    this.word(at, value % HIGH_WORD);
    this.word(at + 4, Math.floor(value / HIGH_WORD));
  }

  /** `fuse_entry_out`. A node id of 0 says that there is no such name. */
  entry(at: number, nodeId: number, attributes: NodeAttributes, ttlMs: number): void {
    this.wide(at, nodeId);
    // The generation: a node id is not used again, since it has one of its own inside.
    this.wide(at + 8, 0);
    this.#ttl(at + 16, at + 32, ttlMs);
    this.#ttl(at + 24, at + 36, ttlMs);
    this.attr(at + 40, attributes);
  }

  /** `fuse_attr_out`. */
  attrOut(at: number, attributes: NodeAttributes, ttlMs: number): void {
    this.#ttl(at, at + 8, ttlMs);
    this.word(at + 12, 0);
    this.attr(at + 16, attributes);
  }

  #ttl(secondsAt: number, nanosecondsAt: number, ttlMs: number): void {
    const whole = Math.floor(ttlMs / 1000);
    this.wide(secondsAt, whole);
    this.word(nanosecondsAt, Math.floor((ttlMs - whole * 1000) * 1e6));
  }

  /** `fuse_attr`. */
  attr(at: number, { inoLow, inoHigh, isFolder, sizeBytes, mtimeMs }: NodeAttributes): void {
    const { uid, gid, fileMode, folderMode } = this.#owner;
    this.word(at, inoLow);
    this.word(at + 4, inoHigh);
    this.wide(at + 8, sizeBytes);
    this.wide(at + 16, Math.ceil(sizeBytes / STAT_BLOCK_BYTES));
    const seconds = Math.max(0, Math.floor(mtimeMs / 1000));
    const nanoseconds = Math.max(0, Math.floor(mtimeMs - seconds * 1000)) * 1e6;
    for (let i = 0; i < 3; i++) {
      this.wide(at + 24 + 8 * i, seconds);
      this.word(at + 48 + 4 * i, nanoseconds);
    }
    this.word(at + 60, isFolder ? FOLDER_TYPE | folderMode : FILE_TYPE | fileMode);
    this.word(at + 64, 1);
    this.word(at + 68, uid);
    this.word(at + 72, gid);
    this.word(at + 76, 0);
    this.word(at + 80, 4096);
    this.word(at + 84, 0);
  }

  /**
   * A name of a folder behind `at` bytes of the body: how far the body reaches then, or null when it would pass `end`.
   * `plus`: 128 bytes are left for its entry, which begins at `at`.
   */
  dirent(at: number, end: number, name: DirentName, plus: boolean): number | null {
    const head = at + (plus ? sizes.entryOut : 0);
    const nameAt = head + sizes.direntHead;
    const nameEnd = nameAt + name.bytes.length;
    const next = (nameEnd + 7) & ~7;
    if (next > end) return null;
    this.word(head, name.inoLow);
    this.word(head + 4, name.inoHigh);
    this.wide(head + 8, name.offset);
    this.word(head + 16, name.bytes.length);
    this.word(head + 20, name.type);
    this.buffer.bytes.set(name.bytes, sizes.outHeader + nameAt);
    this.clear(nameEnd, next - nameEnd);
    return next;
  }

  text(at: number, bytes: Uint8Array): void {
    this.buffer.bytes.set(bytes, sizes.outHeader + at);
  }
}

/** One name, and where the reading of its folder goes on behind it. */
export interface DirentName {
  readonly bytes: Uint8Array;
  readonly inoLow: number;
  readonly inoHigh: number;
  readonly offset: number;
  readonly type: number;
}
