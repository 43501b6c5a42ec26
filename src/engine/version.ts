/**
 * A server's view of one blob version: its record, plus what is happening to it right now in this process (blocks on
 * their way, who waits for them). Presence only ever grows; a version that turns out wrong is left behind, never
 * changed.
 */
import { assert } from "../base/assert.ts";
import type { ForebayError } from "../base/errors.ts";
import { blockCount, blockLength, isPresent, setBit, testBit } from "../flash/files.ts";
import type { Generation, Span, Variant, VersionRecord } from "../flash/types.ts";
import type { Slots } from "./generations.ts";

/** A block that this process is bringing: its first `receivedBytes` bytes are in the file. */
interface Incoming {
  receivedBytes: number;
}

export class CachedVersion {
  readonly id: number;
  readonly key: string;
  readonly etag: string;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly blockCount: number;
  /** Where the bytes lie. One file while blocks are missing; a complete version may have several. */
  readonly spans: readonly Span[];
  /** The file that holds the first byte, and where that lies in it; 0 for an empty blob, which has none. */
  readonly fileId: number;
  readonly fileOffset: number;
  readonly slots: Slots;
  /** The generation noted before the record was looked up: once it moved, look again. */
  readonly generation: Generation;
  readonly variants = new Map<string, Variant>();
  complete: boolean;
  /** Set when no more blocks will come: waiting readers end with it. */
  failure: ForebayError | null = null;

  /** How many bodies are open that take bytes as they come. */
  followers = 0;
  /** Where the last reader of this version stopped, and how many in a row went on from there. */
  readonly reading = { endsAt: -1, inSequence: 0, aheadTo: 0 };

  /** Where each span begins in the blob; made when first needed. */
  #starts: Float64Array | null = null;
  #present: Uint8Array | null;
  #missing: number;
  readonly #incoming = new Map<number, Incoming>();
  readonly #elsewhere = new Set<number>();
  readonly #waiting = new Map<number, (() => void)[]>();

  constructor(record: VersionRecord, slots: Slots, generation: Generation) {
    this.id = record.id;
    this.key = record.key;
    this.etag = record.etag;
    this.sizeBytes = record.sizeBytes;
    this.blockBytes = record.blockBytes;
    this.blockCount = blockCount(record);
    this.spans = record.spans;
    this.fileId = record.spans[0]?.fileId ?? 0;
    this.fileOffset = record.spans[0]?.offset ?? 0;
    const isOneFile = record.spans.length <= 1 && this.fileOffset === 0;
    assert(record.present === null || isOneFile, "a version filled from the lake is one file");
    this.slots = slots;
    this.generation = generation;
    for (const variant of record.variants) this.variants.set(variant.id, variant);
    this.complete = record.present === null || record.sizeBytes === 0;
    this.#present = this.complete || record.present === null ? null : record.present.slice();
    this.#missing = 0;
    if (this.#present) {
      for (let b = 0; b < this.blockCount; b++) if (!this.has(b)) this.#missing++;
      this.#completeIfWhole();
    }
  }

  /** Takes over what a newer record of the same incarnation knows. */
  learn(record: VersionRecord): void {
    assert(record.id === this.id, "a record of the same incarnation");
    for (const variant of record.variants) {
      const held = this.variants.get(variant.id);
      if (held === undefined || held.epoch !== variant.epoch || held.sentAtMs <= variant.sentAtMs) {
        this.variants.set(variant.id, variant);
      }
    }
    if (this.complete) return;
    for (let b = 0; b < this.blockCount; b++) {
      if (isPresent(record, b)) this.setPresent(b);
    }
  }

  /** Whether block `b` is wholly in the file. */
  has(b: number): boolean {
    return this.#present === null || testBit(this.#present, b);
  }

  /** Whether block `b` is there, on its way, or being brought by another server. */
  isCared(b: number): boolean {
    return this.has(b) || this.#incoming.has(b) || this.#elsewhere.has(b);
  }

  /** Whether this process is to bring block `b`, and nothing of it has come yet. */
  isQueued(b: number): boolean {
    return this.#incoming.get(b)?.receivedBytes === 0;
  }

  /** Whether this process itself is bringing all that is missing of the blocks [first, end). */
  isComing(first: number, end: number): boolean {
    for (let b = first; b < end; b++) if (!this.has(b) && !this.#incoming.has(b)) return false;
    return true;
  }

  blockLength(b: number): number {
    return blockLength(this, b);
  }

  /** The pieces of files that hold bytes [first, end) of a complete version, in order. */
  pieces(first: number, end: number): Span[] {
    this.#starts ??= startsOf(this.spans);
    const starts = this.#starts;
    const pieces: Span[] = [];
    let at = first;
    for (let n = lastAtMost(starts, first); at < end; n++) {
      const { fileId, offset, length } = this.spans[n] as Span;
      const skip = at - (starts[n] as number);
      const count = Math.min(end - at, length - skip);
      pieces.push({ fileId, offset: offset + skip, length: count });
      at += count;
    }
    return pieces;
  }

  /** How many bytes from `offset` on (up to `end`) are in the file without a gap. */
  readableBytes(offset: number, end: number): number {
    if (this.complete) return end - offset;
    let at = offset;
    while (at < end) {
      const b = Math.floor(at / this.blockBytes);
      const start = b * this.blockBytes;
      if (this.has(b)) {
        at = start + this.blockLength(b);
        continue;
      }
      const received = this.#incoming.get(b)?.receivedBytes ?? 0;
      return Math.max(at, Math.min(end, start + received)) - offset;
    }
    return end - offset;
  }

  /** Block `b` is now being brought by this process. */
  begin(b: number): void {
    assert(!this.has(b), "a present block is never filled again");
    this.#elsewhere.delete(b);
    this.#incoming.set(b, { receivedBytes: 0 });
  }

  /** The first `receivedBytes` bytes of block `b` are in the file. */
  progress(b: number, receivedBytes: number): void {
    const incoming = this.#incoming.get(b);
    if (incoming === undefined) return;
    assert(receivedBytes >= incoming.receivedBytes, "a block only grows");
    incoming.receivedBytes = receivedBytes;
    this.#wake(b);
  }

  /** Block `b` is wholly in the file, whoever brought it. */
  setPresent(b: number): void {
    this.#incoming.delete(b);
    this.#elsewhere.delete(b);
    if (this.#present !== null && !this.has(b)) {
      setBit(this.#present, b);
      this.#missing--;
      this.#completeIfWhole();
    }
    this.#wake(b);
  }

  /** Another server is bringing block `b`. */
  setElsewhere(b: number): void {
    if (!this.has(b) && !this.#incoming.has(b)) this.#elsewhere.add(b);
  }

  /** Block `b` will not come by the way it was expected: whoever needs it has to ask again. */
  release(b: number): void {
    this.#incoming.delete(b);
    this.#elsewhere.delete(b);
    this.#wake(b);
  }

  /** No more blocks will come: everyone who waits ends with `failure`. */
  fail(failure: ForebayError): void {
    this.failure ??= failure;
    for (const b of [...this.#waiting.keys()]) this.#wake(b);
  }

  /** Resolves at the next event of block `b`: progress, presence, release or failure. */
  changed(b: number): Promise<void> {
    return new Promise((resolve) => {
      const list = this.#waiting.get(b);
      if (list) list.push(resolve);
      else this.#waiting.set(b, [resolve]);
    });
  }

  /** Whether anybody waits for one of the blocks [first, first + count). */
  isAwaited(first: number, count: number): boolean {
    if (this.#waiting.size === 0) return false;
    for (let b = first; b < first + count; b++) if (this.#waiting.has(b)) return true;
    return false;
  }

  #wake(b: number): void {
    const list = this.#waiting.get(b);
    if (list === undefined) return;
    this.#waiting.delete(b);
    for (const resolve of list) resolve();
  }

  #completeIfWhole(): void {
    if (this.#missing > 0) return;
    this.complete = true;
    this.#present = null;
  }
}

function startsOf(spans: readonly Span[]): Float64Array {
  const starts = new Float64Array(spans.length);
  let at = 0;
  for (const [n, { length }] of spans.entries()) {
    starts[n] = at;
    at += length;
  }
  return starts;
}

/** The last index whose value is at most `value`, of values that rise from 0. */
function lastAtMost(values: Float64Array, value: number): number {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((values[middle] as number) <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}
