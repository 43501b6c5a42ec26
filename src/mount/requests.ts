/**
 * Requests of the kernel, read out of one buffer that is used again and again. Everything is checked against the bytes
 * that came before anything is looked at: nothing here reads beyond them, whatever they say.
 */
import type { Pinned } from "../io/syscalls.ts";
import { opcodes, sizes } from "./protocol.ts";

const HIGH_WORD = 0x1_0000_0000;

/** The least bytes after the header. What has none and is not named here is answered without a look inside. */
const BODY_BYTES: Readonly<Record<number, number>> = {
  [opcodes.FORGET]: 8,
  [opcodes.GETATTR]: 16,
  [opcodes.OPEN]: 8,
  [opcodes.OPENDIR]: 8,
  [opcodes.READ]: 40,
  [opcodes.READDIR]: 40,
  [opcodes.READDIRPLUS]: 40,
  [opcodes.RELEASE]: 24,
  [opcodes.RELEASEDIR]: 24,
  [opcodes.GETXATTR]: 8,
  [opcodes.LISTXATTR]: 8,
  [opcodes.INIT]: 16,
  [opcodes.INTERRUPT]: 8,
  [opcodes.BATCH_FORGET]: 8,
  [opcodes.ACCESS]: 8,
};

/** Requests that carry a name, and how far behind the header it begins. */
const NAME_AT: Readonly<Record<number, number>> = { [opcodes.LOOKUP]: 0, [opcodes.GETXATTR]: 8 };

/** `broken`: not even a header, so nobody can be answered. `malformed`: the body is not what its opcode wants. */
export type Acceptance = "ok" | "malformed" | "broken";

/** A view of the request in the buffer, until the next one takes its place. */
export class RequestView {
  readonly buffer: Pinned;
  readonly #view: DataView;
  length = 0;
  opcode = 0;
  uniqueLow = 0;
  uniqueHigh = 0;
  /** As a number: exact, for the kernel counts up from little. */
  unique = 0;
  /** NaN for what no inode of ours can be called. */
  nodeId = 0;
  nameAt = 0;
  nameLength = 0;

  constructor(buffer: Pinned) {
    this.buffer = buffer;
    this.#view = new DataView(buffer.bytes.buffer, buffer.bytes.byteOffset, buffer.bytes.byteLength);
  }

  /** Takes the first `count` bytes of the buffer as a request. */
  accept(count: number): Acceptance {
    if (count < sizes.inHeader || count > this.buffer.bytes.length) return "broken";
    const view = this.#view;
    this.length = count;
    this.opcode = view.getUint32(4, true);
    this.uniqueLow = view.getUint32(8, true);
    this.uniqueHigh = view.getUint32(12, true);
    this.unique = this.uniqueLow + this.uniqueHigh * HIGH_WORD;
    this.nodeId = this.#wide(16);
    this.nameAt = 0;
    this.nameLength = 0;
    if (view.getUint32(0, true) !== count) return "broken";
    if (count - sizes.inHeader < (BODY_BYTES[this.opcode] ?? 0)) return "malformed";
    const nameAt = NAME_AT[this.opcode];
    if (nameAt !== undefined && !this.#acceptName(sizes.inHeader + nameAt)) return "malformed";
    if (this.opcode === opcodes.BATCH_FORGET && this.forgetCount() * 16 > count - sizes.inHeader - 8)
      return "malformed";
    return "ok";
  }

  /** A name ends with the only NUL of it, which is the last byte of the request, and has at least one byte before it. */
  #acceptName(at: number): boolean {
    const { bytes } = this.buffer;
    const end = this.length - 1;
    if (end <= at || bytes[end] !== 0 || bytes.indexOf(0, at) !== end) return false;
    this.nameAt = at;
    this.nameLength = end - at;
    return true;
  }

  /** The name as text. Blob names are UTF-8; anything else comes out as a name that no blob has. */
  name(): string {
    return this.buffer.bytes.toString("utf8", this.nameAt, this.nameAt + this.nameLength);
  }

  /** The word at `offset` behind the header. */
  word(offset: number): number {
    return this.#view.getUint32(sizes.inHeader + offset, true);
  }

  /** The 64 bits at `offset` behind the header; NaN when no number holds them exactly. */
  wide(offset: number): number {
    return this.#wide(sizes.inHeader + offset);
  }

  #wide(at: number): number {
    const value = this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * HIGH_WORD;
    return Number.isSafeInteger(value) ? value : Number.NaN;
  }

  /** How many inodes a BATCH_FORGET names. */
  forgetCount(): number {
    return this.word(0);
  }

  forgetAt(index: number): { readonly nodeId: number; readonly count: number } {
    const at = 8 + index * 16;
    return { nodeId: this.wide(at), count: this.wide(at + 8) };
  }
}
