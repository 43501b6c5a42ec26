/** Numbers and texts as bytes, little-endian, for the records of the journal. What is read is checked, never trusted. */
import { assert } from "../base/assert.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const TWO_32 = 0x1_0000_0000;

/** Writes a safe integer that is not negative as 64 bits. */
export function setUint64(view: DataView, offset: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, "a number of the journal is a safe integer");
  view.setUint32(offset, value % TWO_32, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
}

/** NaN if it is no safe integer. */
export function getUint64(view: DataView, offset: number): number {
  const value = view.getUint32(offset + 4, true) * TWO_32 + view.getUint32(offset, true);
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

/** A hash as 16 hex digits: how checksums are written outside the journal's files. */
export function hexOf(hash: bigint): string {
  return hash.toString(16).padStart(16, "0");
}

/** Collects bytes. */
export class ByteWriter {
  #bytes = new Uint8Array(512);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  #room(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  // Room first: making it may replace the view.

  u8(value: number): void {
    const at = this.#room(1);
    this.#view.setUint8(at, value);
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: number): void {
    const at = this.#room(8);
    setUint64(this.#view, at, value);
  }

  /** 16 hex digits. */
  hash(hex: string): void {
    assert(/^[0-9a-f]{16}$/.test(hex), "a checksum is 16 hex digits");
    const at = this.#room(8);
    this.#view.setBigUint64(at, BigInt(`0x${hex}`), true);
  }

  text(text: string): void {
    // A lone surrogate has no UTF-8; names come from decoded UTF-8 and have none.
    assert(text.isWellFormed(), "a text of the journal is well formed");
    const bytes = encoder.encode(text);
    this.u32(bytes.length);
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  optional(text: string | null): void {
    this.u8(text === null ? 0 : 1);
    if (text !== null) this.text(text);
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** Thrown by a {@link ByteReader}, and caught by those who own one. */
export class Malformed extends Error {}

/** Reads what a {@link ByteWriter} wrote; throws {@link Malformed} at anything else. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length) throw new Malformed("it ends too early");
    this.#at += count;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): number {
    const value = getUint64(this.#view, this.#take(8));
    if (Number.isNaN(value)) throw new Malformed("a number is too large");
    return value;
  }

  hash(): string {
    return hexOf(this.#view.getBigUint64(this.#take(8), true));
  }

  text(): string {
    const length = this.u32();
    const at = this.#take(length);
    try {
      return decoder.decode(this.#bytes.subarray(at, at + length));
    } catch {
      throw new Malformed("a text is not UTF-8");
    }
  }

  optional(): string | null {
    return this.u8() === 0 ? null : this.text();
  }

  /** How many items follow, each of at least `bytesMin`. */
  count(bytesMin: number): number {
    const count = this.u32();
    if (count * bytesMin > this.#bytes.length - this.#at) throw new Malformed("a list is longer than its record");
    return count;
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new Malformed("something is left over");
  }
}
