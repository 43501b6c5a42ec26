import { expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { crc64Of, createCrc64 } from "./crc64.ts";

const text = (words: string): Uint8Array => new TextEncoder().encode(words);

test("the checksum is the service's: vectors of its SDK for C++, and the check value of the NVMe polynomial", () => {
  expect(crc64Of(text(""))).toBe("AAAAAAAAAAA=");
  expect(crc64Of(text("Hello Azure!"))).toBe("DtjZpL9/o8c=");
  const check = Buffer.alloc(8);
  check.writeBigUInt64LE(0xae8b14860a799888n);
  expect(crc64Of(text("123456789"))).toBe(check.toString("base64"));
});

test("it is the same however the bytes are cut and wherever they lie, and the same as bit by bit", () => {
  const random = seededRandom(64);
  for (let round = 0; round < 50; round++) {
    const from = random.below(9);
    const bytes = random.fill(new Uint8Array(from + random.below(200))).subarray(from);
    const sum = createCrc64();
    for (let at = 0; at < bytes.length; ) {
      const count = 1 + random.below(23);
      sum.add(bytes.subarray(at, at + count));
      at += count;
    }
    expect(sum.value()).toBe(slowly(bytes));
    expect(crc64Of(bytes)).toBe(slowly(bytes));
  }
});

function slowly(bytes: Uint8Array): string {
  let crc = 0xffffffffffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ 0x9a6c9329ac4bc9b5n : crc >> 1n;
  }
  const ended = Buffer.alloc(8);
  ended.writeBigUInt64LE(crc ^ 0xffffffffffffffffn);
  return ended.toString("base64");
}
