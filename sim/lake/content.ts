/** The bytes of simulated blobs: kept, or computed from their position so that huge blobs cost no memory. */

/** Bytes that can be read at any place. */
export interface Content {
  readonly sizeBytes: number;
  /** `length` bytes from `offset`; both within the size. */
  read(offset: number, length: number): Uint8Array;
}

export const EMPTY: Content = { sizeBytes: 0, read: () => new Uint8Array(0) };

/** Content kept in memory. The caller must not change `bytes` afterwards. */
export function storedContent(bytes: Uint8Array): Content {
  return { sizeBytes: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}

/** Content of any size whose byte at a place is {@link computedBytes} of `seed`. */
export function computedContent(seed: number, sizeBytes: number): Content {
  return { sizeBytes, read: (offset, length) => computedBytes(seed, offset, length) };
}

/** The parts one after another. */
export function joinedContent(parts: readonly Content[]): Content {
  const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0);
  return {
    sizeBytes,
    read: (offset, length) => {
      const bytes = new Uint8Array(length);
      let at = 0;
      for (const part of parts) {
        const first = Math.max(offset, at);
        const end = Math.min(offset + length, at + part.sizeBytes);
        if (first < end) bytes.set(part.read(first - at, end - first), first - offset);
        at += part.sizeBytes;
      }
      return bytes;
    },
  };
}

/** `length` bytes of `content` from `offset` on. */
export function slicedContent(content: Content, offset: number, length: number): Content {
  return { sizeBytes: length, read: (at, count) => content.read(offset + at, count) };
}

/** The bytes at `offset` of the endless stream of `seed`. Any piece can be computed on its own. */
export function computedBytes(seed: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let word = Math.floor(offset / 4);
  let mixed = mix(seed, word);
  for (let i = 0; i < length; i++) {
    const at = offset + i;
    const index = Math.floor(at / 4);
    if (index !== word) {
      word = index;
      mixed = mix(seed, word);
    }
    bytes[i] = mixed >>> ((at % 4) * 8);
  }
  return bytes;
}

function mix(seed: number, word: number): number {
  const high = Math.floor(word / 0x1_0000_0000);
  let z = (seed + Math.imul(word >>> 0, 0x9e3779b9) + Math.imul(high, 0x85ebca6b)) | 0;
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return (z ^ (z >>> 16)) >>> 0;
}
