/**
 * The names of a mount's inodes, as the bytes that they are, one behind the other in one piece of memory. Names that
 * went leave holes, which are closed when more room is needed.
 */
import { assert } from "../base/assert.ts";

const FIRST_BYTES = 4096;

export class NameStore {
  #bytes = Buffer.alloc(FIRST_BYTES);
  #end = 0;
  #used = 0;

  /** Memory taken. */
  get heldBytes(): number {
    return this.#bytes.length;
  }

  /** Puts bytes [from, from + length) of `source` in; where they are. `relocate` is called first if others have to move. */
  add(
    source: Uint8Array,
    from: number,
    length: number,
    relocate: (move: (at: number, length: number) => number) => void,
  ): number {
    if (this.#end + length > this.#bytes.length) this.#makeRoom(length, relocate);
    const at = this.#end;
    this.#bytes.set(source.subarray(from, from + length), at);
    this.#end += length;
    this.#used += length;
    return at;
  }

  /** The name at `at` is needed no more. */
  remove(length: number): void {
    this.#used -= length;
    assert(this.#used >= 0, "only names that are there are removed");
  }

  equals(at: number, length: number, other: Uint8Array, from: number): boolean {
    const bytes = this.#bytes;
    for (let i = 0; i < length; i++) if (bytes[at + i] !== other[from + i]) return false;
    return true;
  }

  text(at: number, length: number): string {
    return this.#bytes.toString("utf8", at, at + length);
  }

  /** A copy of the bytes. */
  copy(at: number, length: number): Uint8Array {
    return this.#bytes.slice(at, at + length);
  }

  #makeRoom(length: number, relocate: (move: (at: number, length: number) => number) => void): void {
    const old = this.#bytes;
    const needed = this.#used + length;
    // Not much more: doubling would leave up to half of a large store empty.
    const size = Math.max(FIRST_BYTES, Math.ceil(needed * 1.3));
    const bytes = Buffer.alloc(size);
    let end = 0;
    relocate((at, count) => {
      bytes.set(old.subarray(at, at + count), end);
      end += count;
      return end - count;
    });
    assert(end === this.#used, "every name moved");
    this.#bytes = bytes;
    this.#end = end;
  }
}
