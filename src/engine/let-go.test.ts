import { expect, test } from "bun:test";
import { limits } from "../base/limits.ts";
import type { BodyReader } from "../http/types.ts";
import { letGo } from "./let-go.ts";

/** A body in pieces of 100 bytes that counts what was done to it. */
function bodyOf(lengthBytes: number | null, breaksAt = Number.POSITIVE_INFINITY) {
  const seen = { readBytes: 0, cancelled: 0 };
  const body: BodyReader = {
    lengthBytes,
    read: async () => {
      if (seen.readBytes >= breaksAt) throw new Error("broken");
      const length = Math.min(100, (lengthBytes ?? 1_000) - seen.readBytes);
      seen.readBytes += length;
      return length === 0 ? null : new Uint8Array(length);
    },
    cancel: () => {
      seen.cancelled++;
    },
  };
  return { body, seen };
}

test("a small body is read out, a large or unbounded one is given up, a broken one is not waited for", async () => {
  const max = limits.lakeReadOutBytesMax;
  const small = [bodyOf(1), bodyOf(250), bodyOf(max)];
  const large = [bodyOf(max + 1), bodyOf(null), bodyOf(0)];
  const broken = bodyOf(1_000, 300);
  for (const { body } of [...small, ...large, broken]) letGo(body);
  for (let turn = 0; turn < 100; turn++) await Promise.resolve();
  expect(small.map(({ seen }) => seen)).toEqual([1, 250, max].map((readBytes) => ({ readBytes, cancelled: 0 })));
  for (const { seen } of large) expect(seen).toEqual({ readBytes: 0, cancelled: 1 });
  expect(broken.seen).toEqual({ readBytes: 300, cancelled: 1 });
});
