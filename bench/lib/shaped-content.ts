/**
 * What the shaped lake holds, without storing it: the length of a blob stands in its name (`512MiB-anything`,
 * `a/100KB-0000042`), and its bytes are a walk through one page of noise that begins at a place of the name's own. So
 * the lake can be of any size, and whoever reads it can check every byte.
 */

const PAGE_BYTES = 8_388_593; // a prime: no two blocks of a blob are the same page
/** The most that one piece holds. */
export const PIECE_BYTES_MAX = 4 << 20;

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 1 << 10,
  MiB: 1 << 20,
  GiB: 1 << 30,
};

/** The length that a blob's name says, or null: there is no such blob. */
export function sizeInName(name: string): number | null {
  const match = /^(\d{1,12})(B|KB|MB|GB|KiB|MiB|GiB)-/.exec(name.slice(name.lastIndexOf("/") + 1));
  return match === null ? null : Number(match[1]) * (UNITS[match[2] ?? ""] ?? 0);
}

const page = makePage();

function makePage(): Buffer {
  const bytes = Buffer.allocUnsafeSlow(PAGE_BYTES + PIECE_BYTES_MAX);
  let state = 0x9e3779b9;
  for (let i = 0; i + 4 <= PAGE_BYTES + 3; i += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeInt32LE(state, Math.min(i, PAGE_BYTES));
  }
  bytes.copyWithin(PAGE_BYTES, 0, PIECE_BYTES_MAX);
  return bytes;
}

/** A number that depends on all of `name` (FNV-1a, 32 bits). */
export function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Up to `lengthMax` bytes of blob `name` from `offset` on, at most {@link PIECE_BYTES_MAX}; a view, not a copy. */
export function pieceOf(name: string, offset: number, lengthMax: number): Buffer {
  const at = (hashOf(name) + offset) % PAGE_BYTES;
  return page.subarray(at, at + Math.min(lengthMax, PIECE_BYTES_MAX));
}

/** Where `bytes` first differs from blob `name` at `offset`, or -1. */
export function firstWrongByte(name: string, offset: number, bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length; ) {
    const wanted = pieceOf(name, offset + at, bytes.length - at);
    const given = bytes.subarray(at, at + wanted.length);
    if (Buffer.compare(given, wanted) !== 0) return at + given.findIndex((byte, i) => byte !== wanted[i]);
    at += wanted.length;
  }
  return -1;
}
