import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  allocatedBytes,
  blockCount,
  blockLength,
  checksumOf,
  emptyBitmap,
  filePath,
  isComplete,
  isEmpty,
  isPresent,
  locate,
  presentRunEnd,
  setBit,
  testBit,
} from "./files.ts";

const SEED = 20260102;

describe(`block arithmetic (seed ${SEED})`, () => {
  test("blocks cover a version exactly", () => {
    fc.assert(
      fc.property(fc.nat(100_000), fc.integer({ min: 1, max: 5_000 }), (sizeBytes, blockBytes) => {
        const shape = { sizeBytes, blockBytes };
        let sum = 0;
        for (let block = 0; block < blockCount(shape); block++) {
          expect(blockLength(shape, block)).toBeGreaterThan(0);
          sum += blockLength(shape, block);
        }
        expect(sum).toBe(sizeBytes);
      }),
      { seed: SEED },
    );
  });

  test("bitmaps agree with sets", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 70 }), fc.array(fc.nat(69)), (count, blocks) => {
        const set = new Set(blocks.filter((block) => block < count));
        const present = emptyBitmap(count);
        expect(isEmpty(present)).toBe(true);
        for (const block of set) setBit(present, block);
        for (let block = 0; block < count; block++) expect(testBit(present, block)).toBe(set.has(block));
        expect(isComplete(present, count)).toBe(set.size === count);
        const version = { sizeBytes: count * 10 - 3, blockBytes: 10, present };
        expect(isPresent(version, count)).toBe(false);
        expect(isPresent(version, -1)).toBe(false);
        for (let offset = 0; offset < version.sizeBytes; offset++) {
          let end = offset;
          while (end < version.sizeBytes && set.has(Math.floor(end / 10))) end++;
          expect(presentRunEnd(version, offset)).toBe(end);
        }
      }),
      { seed: SEED },
    );
  });

  test("a complete version reaches to its end", () => {
    expect(presentRunEnd({ sizeBytes: 25, blockBytes: 10, present: null }, 3)).toBe(25);
    expect(isPresent({ sizeBytes: 25, blockBytes: 10, present: null }, 2)).toBe(true);
    expect(isPresent({ sizeBytes: 25, blockBytes: 10, present: null }, 3)).toBe(false);
  });
});

test("bytes are found across spans", () => {
  const spans = [
    { fileId: 7, offset: 100, length: 10 },
    { fileId: 8, offset: 0, length: 5 },
    { fileId: 7, offset: 0, length: 20 },
  ];
  expect(locate(spans, 8, 10)).toEqual([
    { fileId: 7, offset: 108, length: 2 },
    { fileId: 8, offset: 0, length: 5 },
    { fileId: 7, offset: 0, length: 3 },
  ]);
  expect(locate(spans, 35, 0)).toEqual([]);
  expect(() => locate(spans, 30, 6)).toThrow(/inside the version/);
});

test("paths spread over folders, sizes are rounded to what is allocated", () => {
  expect(filePath(511)).toBe("files/ff/511");
  expect(filePath(2 ** 40 + 3)).toBe(`files/03/${2 ** 40 + 3}`);
  expect([0, 1, 4096, 4097].map(allocatedBytes)).toEqual([0, 4096, 4096, 8192]);
  expect(checksumOf(new Uint8Array(3))).toMatch(/^[0-9a-f]{16}$/);
});
