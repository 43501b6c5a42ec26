/**
 * Where a version's bytes lie: the path of a file, and the arithmetic of blocks. Pure functions, shared by the keeper
 * and by the servers that read and fill.
 *
 * Who makes a file: the keeper, when it grants the first block of it (`create`). Servers open it with `write` to fill
 * granted blocks and with `read` to send them; a file that is not there (`gone`) means that the version is not, either.
 */
import { assert } from "../base/assert.ts";
import type { Span, VersionRecord } from "./types.ts";

/** The folder of all files, below the flash folder. */
export const FILES_FOLDER = "files";

/** Into how many folders the files are spread. */
export const FILE_FOLDERS = 256;

/** Space is counted in units of this many bytes, as file systems hand it out. */
export const ALLOCATION_BYTES = 4096;

/** What block arithmetic needs to know of a version. */
export type Shape = Pick<VersionRecord, "sizeBytes" | "blockBytes">;

/** A version of which some blocks may be there. */
export type Presence = Shape & Pick<VersionRecord, "present">;

/** The name of the folder with number `index`, in [0, {@link FILE_FOLDERS}). */
export function folderPath(index: number): string {
  return `${FILES_FOLDER}/${index.toString(16).padStart(2, "0")}`;
}

/** The path of a file, relative to the flash folder. */
export function filePath(fileId: number): string {
  return `${folderPath(fileId % FILE_FOLDERS)}/${fileId}`;
}

/** How many blocks a version has; none when it is empty. */
export function blockCount(shape: Shape): number {
  return Math.ceil(shape.sizeBytes / shape.blockBytes);
}

/** Bytes of block `block`: the last one may be shorter. */
export function blockLength(shape: Shape, block: number): number {
  return Math.min(shape.blockBytes, shape.sizeBytes - block * shape.blockBytes);
}

/** What `lengthBytes` of data cost on flash. */
export function allocatedBytes(lengthBytes: number): number {
  return Math.ceil(lengthBytes / ALLOCATION_BYTES) * ALLOCATION_BYTES;
}

/** A bitmap for `count` blocks, none of them set. */
export function emptyBitmap(count: number): Uint8Array {
  return new Uint8Array((count + 7) >> 3);
}

/** Whether bit `block` is set. */
export function testBit(bitmap: Uint8Array, block: number): boolean {
  return (((bitmap[block >> 3] ?? 0) >> (block & 7)) & 1) === 1;
}

/** Sets bit `block`. */
export function setBit(bitmap: Uint8Array, block: number): void {
  assert(block >= 0 && block >> 3 < bitmap.length, "a block lies inside its bitmap");
  bitmap[block >> 3] = (bitmap[block >> 3] ?? 0) | (1 << (block & 7));
}

/** Whether the first `count` bits are all set. */
export function isComplete(bitmap: Uint8Array, count: number): boolean {
  const whole = count >> 3;
  for (let i = 0; i < whole; i++) if (bitmap[i] !== 0xff) return false;
  const rest = (1 << (count & 7)) - 1;
  return rest === 0 || ((bitmap[whole] ?? 0) & rest) === rest;
}

/** Whether no bit is set. */
export function isEmpty(bitmap: Uint8Array): boolean {
  for (const byte of bitmap) if (byte !== 0) return false;
  return true;
}

/** Whether block `block` is there. */
export function isPresent(version: Presence, block: number): boolean {
  if (block < 0 || block >= blockCount(version)) return false;
  return version.present === null || testBit(version.present, block);
}

/** The end of the bytes that are there without a gap from `offset` on; `offset` itself when its block is not there. */
export function presentRunEnd(version: Presence, offset: number): number {
  if (version.present === null) return Math.max(offset, version.sizeBytes);
  let block = Math.floor(offset / version.blockBytes);
  const count = blockCount(version);
  while (block < count && testBit(version.present, block)) block++;
  return Math.max(offset, Math.min(version.sizeBytes, block * version.blockBytes));
}

/** The pieces of files that hold bytes [offset, offset + length) of a version, in order. */
export function locate(spans: readonly Span[], offset: number, length: number): Span[] {
  const pieces: Span[] = [];
  let start = 0;
  let at = offset;
  const end = offset + length;
  for (const span of spans) {
    if (at >= end) break;
    if (at < start + span.length) {
      const piece = Math.min(end, start + span.length) - at;
      pieces.push({ fileId: span.fileId, offset: span.offset + (at - start), length: piece });
      at += piece;
    }
    start += span.length;
  }
  assert(at >= end, "the bytes asked for lie inside the version");
  return pieces;
}

/**
 * Whether a version has a file of its own that blocks fill in: then its checksums are those of blocks. Else it was made
 * of files that clients' bytes came in: it is complete, and has a checksum for each span (see {@link spanSum}).
 */
export function hasOwnFile({ id, sizeBytes, spans }: Pick<VersionRecord, "id" | "sizeBytes" | "spans">): boolean {
  const [first] = spans;
  if (spans.length !== (sizeBytes === 0 ? 0 : 1)) return false;
  return first === undefined || (first.fileId === id && first.offset === 0);
}

/** The distinct files of a version. */
export function fileIdsOf(spans: readonly Span[]): number[] {
  return [...new Set(spans.map((span) => span.fileId))];
}

/** The checksum of a block as the keeper records it: XXH3 (64 bits), 16 hex digits. */
export function checksumOf(bytes: Uint8Array): string {
  return Bun.hash.xxHash3(bytes).toString(16).padStart(16, "0");
}

/** Bytes that a client brings are summed in pieces of so many: the last one may be shorter. */
export const SPAN_PIECE_BYTES = 1 << 20;

/** The checksum of a span, taken piece by piece: `add` every piece of {@link SPAN_PIECE_BYTES} in order, then `end`. */
export interface SpanSum {
  add(piece: Uint8Array): void;
  /** 16 hex digits: of a single piece its own sum, of several the sum of theirs. */
  end(): string;
}

export function spanSum(): SpanSum {
  const sums: string[] = [];
  return {
    add: (piece) => {
      assert(piece.length <= SPAN_PIECE_BYTES, "a piece is within its bound");
      sums.push(checksumOf(piece));
    },
    end: () => (sums.length === 1 ? (sums[0] as string) : checksumOf(new TextEncoder().encode(sums.join("")))),
  };
}
