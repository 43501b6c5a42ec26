import { expect, test } from "bun:test";
import { ForebayError } from "../base/errors.ts";
import { emptyBitmap } from "../flash/files.ts";
import type { VersionRecord } from "../flash/types.ts";
import { CachedVersion } from "./version.ts";

function versionOf(changes: Partial<VersionRecord> = {}): CachedVersion {
  const spans = [{ fileId: 7, offset: 0, length: 250 }];
  const record = { id: 7, key: "a/c/b", etag: '"1"', sizeBytes: 250, blockBytes: 100, spans, variants: [] };
  return new CachedVersion({ ...record, present: emptyBitmap(3), ...changes }, [0, 0, 0], [0, 0, 0]);
}

test("bytes are readable without a gap only", () => {
  const version = versionOf();
  expect(version.readableBytes(0, 250)).toBe(0);
  version.begin(1);
  version.progress(1, 40);
  expect(version.readableBytes(0, 250)).toBe(0);
  expect(version.readableBytes(100, 250)).toBe(40);
  expect(version.readableBytes(120, 130)).toBe(10);
  expect(version.readableBytes(150, 250)).toBe(0);
  version.setPresent(0);
  expect(version.readableBytes(0, 250)).toBe(140);
  version.setPresent(1);
  version.setPresent(2);
  expect(version.complete).toBe(true);
  expect(version.readableBytes(0, 250)).toBe(250);
});

test("those who wait for a block hear of progress, presence, release and failure", async () => {
  const events: readonly ((version: CachedVersion) => void)[] = [
    (version) => version.progress(0, 10),
    (version) => version.setPresent(0),
    (version) => version.release(0),
    (version) => version.fail(new ForebayError("gone", "evicted")),
  ];
  for (const event of events) {
    const version = versionOf();
    version.begin(0);
    const heard = version.changed(0);
    event(version);
    await heard;
  }
  expect(events.length).toBe(4);
});

test("a newer record of the same incarnation adds blocks and fresher answers, never takes any", () => {
  const version = versionOf();
  version.setPresent(0);
  const variant = { id: "full|v", headers: [], generation: [0, 0, 0] as const, epoch: "e" };
  const record = { id: 7, key: "a/c/b", etag: '"1"', sizeBytes: 250, blockBytes: 100, spans: [] };
  version.learn({ ...record, variants: [{ ...variant, sentAtMs: 10 }], present: new Uint8Array([0b010]) });
  expect([version.has(0), version.has(1), version.has(2)]).toEqual([true, true, false]);
  version.learn({ ...record, variants: [{ ...variant, sentAtMs: 5 }], present: emptyBitmap(3) });
  expect(version.variants.get("full|v")?.sentAtMs).toBe(10);
  version.learn({ ...record, variants: [{ ...variant, sentAtMs: 1, epoch: "next" }], present: null });
  expect(version.variants.get("full|v")?.sentAtMs).toBe(1);
  expect(version.complete).toBe(true);
});

test("the pieces of a version of several files, for every range", () => {
  const lengths = [3, 1, 5, 2];
  const spans = lengths.map((length, n) => ({ fileId: 20 + n, offset: 100 * n, length }));
  const version = versionOf({ spans, sizeBytes: 11, present: null });
  expect(version).toMatchObject({ complete: true, fileId: 20, fileOffset: 0 });
  const places = spans.flatMap(({ fileId, offset, length }) =>
    Array.from({ length }, (_, at) => `${fileId}:${offset + at}`),
  );
  for (let first = 0; first < 11; first++) {
    for (let end = first + 1; end <= 11; end++) {
      const found = version.pieces(first, end).flatMap(({ fileId, offset, length }) => {
        expect(length).toBeGreaterThan(0);
        return Array.from({ length }, (_, at) => `${fileId}:${offset + at}`);
      });
      expect(found).toEqual(places.slice(first, end));
    }
  }
});

test("a version with blocks missing has one file", () => {
  const spans = [0, 125].map((offset, n) => ({ fileId: 7 + n, offset, length: 125 }));
  expect(() => versionOf({ spans })).toThrow(/one file/);
});
