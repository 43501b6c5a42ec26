/**
 * The checksum of `x-ms-content-crc64`: CRC-64 with the polynomial 0x9A6C9329AC4BC9B5, bits reflected, all ones before
 * and after (the one that NVMe has, too), as eight bytes in little-endian order, base64. Eight bytes a step, in
 * halves of 32 bits: a BigInt in the loop would cost a hundred times as much.
 *
 * Sources: "Put Blob", "Put Block" in the REST documentation; the vectors of the Azure SDK for C++.
 */

const POLY_LOW = 0xac4bc9b5;
const POLY_HIGH = 0x9a6c9329;
/** Bytes that one step takes in. */
const STEP = 8;

/** Entry `2 * (256 * k + byte)` is the low half of what `byte` does when k bytes follow it, the next one the high half. */
const TABLE = makeTable();

function makeTable(): Int32Array {
  const table = new Int32Array(2 * 256 * STEP);
  for (let byte = 0; byte < 256; byte++) {
    let low = byte;
    let high = 0;
    for (let bit = 0; bit < 8; bit++) {
      const carry = low & 1;
      low = (low >>> 1) | (high << 31);
      high >>>= 1;
      if (carry === 1) {
        low ^= POLY_LOW;
        high ^= POLY_HIGH;
      }
    }
    table[2 * byte] = low;
    table[2 * byte + 1] = high;
  }
  for (let at = 2 * 256; at < table.length; at += 2) {
    const low = table[at - 512] as number;
    const high = table[at - 511] as number;
    const first = 2 * (low & 0xff);
    table[at] = ((low >>> 8) | (high << 24)) ^ (table[first] as number);
    table[at + 1] = (high >>> 8) ^ (table[first + 1] as number);
  }
  return table;
}

/** A checksum being taken. */
export interface Crc64 {
  add(bytes: Uint8Array): void;
  /** Base64, as the header has it. Ends nothing: more may be added. */
  value(): string;
}

export function createCrc64(): Crc64 {
  let low = -1;
  let high = -1;
  const addBytes = (bytes: Uint8Array, from: number, to: number): void => {
    for (let i = from; i < to; i++) {
      const at = 2 * ((low ^ (bytes[i] as number)) & 0xff);
      low = ((low >>> 8) | (high << 24)) ^ (TABLE[at] as number);
      high = (high >>> 8) ^ (TABLE[at + 1] as number);
    }
  };
  const addWords = (words: Int32Array): void => {
    let l = low;
    let h = high;
    for (let i = 0; i < words.length; i += 2) {
      l ^= words[i] as number;
      h ^= words[i + 1] as number;
      const a = 3584 + ((l & 0xff) << 1);
      const b = 3072 + ((l >>> 7) & 0x1fe);
      const c = 2560 + ((l >>> 15) & 0x1fe);
      const d = 2048 + ((l >>> 23) & 0x1fe);
      const e = 1536 + ((h & 0xff) << 1);
      const f = 1024 + ((h >>> 7) & 0x1fe);
      const g = 512 + ((h >>> 15) & 0x1fe);
      const k = (h >>> 23) & 0x1fe;
      l =
        (TABLE[a] as number) ^
        (TABLE[b] as number) ^
        (TABLE[c] as number) ^
        (TABLE[d] as number) ^
        (TABLE[e] as number) ^
        (TABLE[f] as number) ^
        (TABLE[g] as number) ^
        (TABLE[k] as number);
      h =
        (TABLE[a + 1] as number) ^
        (TABLE[b + 1] as number) ^
        (TABLE[c + 1] as number) ^
        (TABLE[d + 1] as number) ^
        (TABLE[e + 1] as number) ^
        (TABLE[f + 1] as number) ^
        (TABLE[g + 1] as number) ^
        (TABLE[k + 1] as number);
    }
    low = l;
    high = h;
  };
  return {
    add: (bytes) => {
      // Words are read where they are aligned; machines that this runs on are little-endian.
      const head = Math.min(bytes.length, (4 - (bytes.byteOffset & 3)) & 3);
      addBytes(bytes, 0, head);
      const steps = Math.floor((bytes.length - head) / STEP);
      if (steps > 0) addWords(new Int32Array(bytes.buffer, bytes.byteOffset + head, 2 * steps));
      addBytes(bytes, head + steps * STEP, bytes.length);
    },
    value: () => {
      const ended = Buffer.alloc(8);
      ended.writeInt32LE(~low, 0);
      ended.writeInt32LE(~high, 4);
      return ended.toString("base64");
    },
  };
}

/** The checksum of `bytes`, base64. */
export function crc64Of(bytes: Uint8Array): string {
  const sum = createCrc64();
  sum.add(bytes);
  return sum.value();
}
