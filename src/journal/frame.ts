/**
 * Records as bytes of a file. A file begins with a page that names the format; batches of records follow, each from a
 * new page on, so that what is durable is never written again. A record has a head with a checksum of its own (its
 * length holds even where its body does not), what it says, and inline content; both are checked by sums in the head.
 *
 * Head sums are seeded with the journal's random id, the number of the file and the offset: bytes that a client wrote,
 * or that stood elsewhere, are never taken for a record.
 */
import { assert } from "../base/assert.ts";
import { limits, MIB } from "../base/limits.ts";
import { getUint64, hexOf, setUint64 } from "./bytes.ts";

/** The layout written here. */
export const JOURNAL_FORMAT = 1;
export const PAGE_BYTES = 4096;

const HEAD_BYTES = 72;
const ALIGN = 8;
const MAGIC = 0x31_52_4a_46; // "FJR1"
const FILE_MAGIC = 0x4a_42_52_46; // "FRBJ"

const HASH = Bun.hash.xxHash64;

/** Names a file of the journal. */
export interface SegmentName {
  readonly number: number;
  /** 16 hex digits, one journal's own. */
  readonly journal: string;
}

export function segmentFile({ number, journal }: SegmentName): string {
  return `${String(number).padStart(12, "0")}-${journal}.journal`;
}

/** Null: the name of something else. */
export function parseSegmentFile(file: string): SegmentName | null {
  const match = /^(\d{12})-([0-9a-f]{16})\.journal$/.exec(file);
  return match === null ? null : { number: Number(match[1]), journal: match[2] ?? "" };
}

const seedOf = ({ number, journal }: SegmentName): bigint => HASH(`${journal} ${number}`);

/** Writes the first page of a file, whose first record is number `firstRecord`. */
export function writeFilePage(bytes: Uint8Array, name: SegmentName, firstRecord: number): void {
  bytes.fill(0, 0, PAGE_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint32(0, FILE_MAGIC, true);
  view.setUint32(4, JOURNAL_FORMAT, true);
  setUint64(view, 8, name.number);
  view.setBigUint64(16, BigInt(`0x${name.journal}`), true);
  setUint64(view, 24, firstRecord);
  view.setBigUint64(32, HASH(bytes.subarray(0, 32), seedOf(name)), true);
}

/** What the first page says. Null: it cannot be read. */
export function readFilePage(
  bytes: Uint8Array,
  name: SegmentName,
): { readonly format: number; readonly firstRecord: number } | null {
  if (bytes.length < PAGE_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (view.getUint32(0, true) !== FILE_MAGIC) return null;
  if (view.getBigUint64(32, true) !== HASH(bytes.subarray(0, 32), seedOf(name))) return null;
  return { format: view.getUint32(4, true), firstRecord: getUint64(view, 24) };
}

/** A record to be written. */
export interface RawRecord {
  readonly kind: number;
  readonly subject: number;
  readonly said: Uint8Array;
  readonly inline: Uint8Array | null;
}

/** What all records of a batch have in common. */
export interface BatchHead {
  readonly segment: SegmentName;
  readonly term: number;
  /** All records up to this one were durable when the batch was made. */
  readonly durable: number;
}

const aligned = (length: number): number => Math.ceil(length / ALIGN) * ALIGN;
export const pageAligned = (length: number): number => Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;

/** Bytes that a record takes. */
export function recordBytes(record: RawRecord): number {
  return aligned(HEAD_BYTES + record.said.length + (record.inline?.length ?? 0));
}

/** Where the inline content of a record begins, from its own beginning. */
export function inlineOffset(record: RawRecord): number {
  return HEAD_BYTES + record.said.length;
}

/** Writes record number `record` at `at` of `bytes`, which will stand at `fileOffset` of the file. The rest is zeros. */
export function writeRecord(
  bytes: Uint8Array,
  at: number,
  fileOffset: number,
  number: number,
  head: BatchHead,
  record: RawRecord,
): void {
  const { said, inline } = record;
  const total = recordBytes(record);
  assert(total <= limits.journalRecordBytesMax && at + total <= bytes.length, "a record fits its bound and its batch");
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, total);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, record.kind, true);
  view.setUint32(8, said.length, true);
  view.setUint32(12, inline?.length ?? 0, true);
  setUint64(view, 16, number);
  setUint64(view, 24, head.durable);
  setUint64(view, 32, head.term);
  setUint64(view, 40, record.subject);
  view.setBigUint64(48, HASH(said), true);
  view.setBigUint64(56, inline === null ? 0n : HASH(inline), true);
  const sum = HASH(bytes.subarray(at, at + HEAD_BYTES - 8), seedOf(head.segment) ^ BigInt(fileOffset));
  view.setBigUint64(HEAD_BYTES - 8, sum, true);
  bytes.set(said, at + HEAD_BYTES);
  if (inline !== null) bytes.set(inline, at + HEAD_BYTES + said.length);
}

/** A record found in a file. Its head is right; `said` and `inline` are null where their sum is not. */
export interface FoundRecord {
  readonly offset: number;
  readonly bytes: number;
  readonly number: number;
  readonly durable: number;
  readonly term: number;
  readonly subject: number;
  readonly kind: number;
  readonly said: Uint8Array | null;
  /** Null when there is none, too. */
  readonly inline: { readonly offset: number; readonly length: number; readonly checksum: string } | null;
  readonly inlineBad: boolean;
}

export interface Scan {
  readonly records: readonly FoundRecord[];
  /** Bytes that are neither zeros nor part of a record, between records and behind the last one. */
  readonly strayBytes: number;
  readonly strayBehind: number;
}

/** Every record of a file, whatever else it holds. Never throws. */
export function scanFile(bytes: Uint8Array, name: SegmentName): Scan {
  const seed = seedOf(name);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: FoundRecord[] = [];
  let [strayBytes, strayBehind] = [0, 0];
  for (let at = PAGE_BYTES; at + ALIGN <= bytes.length; ) {
    const word = view.getUint32(at, true);
    const found = word === MAGIC ? readRecord(bytes, view, at, seed) : null;
    if (found !== null) {
      records.push(found);
      strayBytes += strayBehind;
      strayBehind = 0;
      at += found.bytes;
    } else {
      if (word !== 0 || view.getUint32(at + 4, true) !== 0) strayBehind += ALIGN;
      at += ALIGN;
    }
  }
  return { records, strayBytes, strayBehind };
}

function readRecord(bytes: Uint8Array, view: DataView, at: number, seed: bigint): FoundRecord | null {
  if (at + HEAD_BYTES > bytes.length) return null;
  const sum = HASH(bytes.subarray(at, at + HEAD_BYTES - 8), seed ^ BigInt(at));
  if (view.getBigUint64(at + HEAD_BYTES - 8, true) !== sum) return null;
  const saidLength = view.getUint32(at + 8, true);
  const inlineLength = view.getUint32(at + 12, true);
  const total = aligned(HEAD_BYTES + saidLength + inlineLength);
  if (total > limits.journalRecordBytesMax || at + total > bytes.length) return null;
  const said = bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + saidLength);
  const saidGood = HASH(said) === view.getBigUint64(at + 48, true);
  const inlineAt = at + HEAD_BYTES + saidLength;
  const inlineSum = view.getBigUint64(at + 56, true);
  const hasInline = inlineLength > 0 || inlineSum !== 0n;
  const inlineGood = !hasInline || HASH(bytes.subarray(inlineAt, inlineAt + inlineLength)) === inlineSum;
  return {
    offset: at,
    bytes: total,
    number: getUint64(view, at + 16),
    durable: getUint64(view, at + 24),
    term: getUint64(view, at + 32),
    subject: getUint64(view, at + 40),
    kind: view.getUint32(at + 4, true),
    said: saidGood ? said.slice() : null,
    inline: hasInline && inlineGood ? { offset: inlineAt, length: inlineLength, checksum: hexOf(inlineSum) } : null,
    inlineBad: !inlineGood,
  };
}

assert(limits.journalRecordBytesMax <= 16 * MIB, "a record is read whole");
