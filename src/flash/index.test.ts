import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { createSimClock } from "../../sim/clock.ts";
import { type FlashIndex, type IndexedVersion, openIndexReader } from "./index.ts";
import { openFlashIndex } from "./index-open.ts";
import { INDEX_FILE } from "./index-schema.ts";

async function withFolder(run: (file: string) => void | Promise<void>): Promise<void> {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "forebay-index-"));
  try {
    await run(path.join(root, INDEX_FILE));
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}

function version(id: number, key: string, changes: Partial<IndexedVersion> = {}): IndexedVersion {
  const headers = ["Content-Type", "text/plain", "x-ms-meta-Ä", "ü"];
  const variant = { id: "get|v", headers, sentAtMs: 5.25, generation: [1, 2, 3] as const, epoch: "e" };
  return {
    id,
    key,
    etag: '"0x1"',
    sizeBytes: 10_000,
    blockBytes: 4096,
    spans: [{ fileId: id, offset: 0, length: 10_000 }],
    present: new Uint8Array([0b101]),
    variants: [variant],
    storedBytes: 8192,
    ...changes,
  };
}

const put = (index: FlashIndex, ...versions: IndexedVersion[]): void =>
  index.change(false, (changes) => {
    for (const one of versions) changes.insert(one);
  });

describe("the index on disk", () => {
  test("gives back what was put, to the writer and to a reader that was there before", () =>
    withFolder((file) => {
      const clock = createSimClock();
      const reader = openIndexReader(file, clock);
      expect(reader.lookup("a/c/b")).toBeNull();
      const index = openFlashIndex(file, () => {});
      const one = version(1, "a/c/b");
      const two = version(2, "a/c/b\u0000s2026", { spans: [{ fileId: 9, offset: 3, length: 10_000 }], present: null });
      const empty = version(3, "a/c/ö\u{1f600}", { sizeBytes: 0, spans: [], present: null, storedBytes: 0 });
      put(index, one, two, empty);
      return clock.advance(200).then(() => {
        for (const v of [one, two, empty]) {
          expect(index.get(v.key)).toEqual(v);
          expect(index.getById(v.id)).toEqual(v);
          expect(reader.lookup(v.key)).toEqual(v);
        }
        index.change(false, (changes) => changes.progress(1, null, 4096));
        expect(reader.lookup("a/c/b")).toMatchObject({ present: null, storedBytes: 12_288 });
        index.change(false, (changes) => changes.forget(1));
        expect(reader.lookup("a/c/b")).toBeNull();
        expect(reader.stats().failures).toBe(1);
        reader.close();
        index.close();
      });
    }));

  test("its sums survive, and a change that throws leaves nothing behind", () =>
    withFolder((file) => {
      const index = openFlashIndex(file, () => {});
      put(index, version(1, "k1"), version(2, "k2"));
      const attempt = (): void =>
        index.change(true, (changes) => {
          changes.forget(1);
          changes.insert(version(3, "k2"));
        });
      expect(attempt).toThrow(/UNIQUE/);
      expect(index.totals()).toMatchObject({ versions: 2, storedBytes: 16_384 });
      index.change(true, (changes) => changes.forget(1));
      index.close();
      const again = openFlashIndex(file, () => {});
      expect(again.totals()).toMatchObject({ versions: 1, storedBytes: 8192 });
      expect(again.page(0, 10)).toEqual([{ id: 2, storedBytes: 8192 }]);
      expect(again.maxId()).toBe(2);
      again.close();
    }));

  test("checksums go with their version", () =>
    withFolder((file) => {
      const index = openFlashIndex(file, () => {});
      put(index, version(1, "k1"));
      index.change(false, (changes) => {
        for (const block of [2, 0]) changes.checksum(1, block, `ab${block}`);
      });
      expect(index.checksums(1, 0, 9)).toEqual([
        { block: 0, checksum: "0000000000000ab0" },
        { block: 2, checksum: "0000000000000ab2" },
      ]);
      index.change(false, (changes) => changes.forget(1));
      expect(index.checksums(1, 0, 9)).toEqual([]);
      index.close();
    }));

  test("knows which version a file is part of", () =>
    withFolder((file) => {
      const index = openFlashIndex(file, () => {});
      const spans = [7, 8, 7].map((fileId, n) => ({ fileId, offset: n * 5_000, length: 5_000 }));
      put(index, version(1, "k1"), version(20, "k2", { sizeBytes: 15_000, spans, present: null }));
      const owners = () => [1, 7, 8, 9].map((fileId) => index.ownerOf(fileId));
      expect(owners()).toEqual([1, 20, 20, null]);
      expect(index.change(false, (changes) => changes.forget(20))?.fileIds).toEqual([7, 8]);
      expect(owners()).toEqual([1, null, null, null]);
      index.close();
    }));

  test("an index of the format before keeps what is in it", () =>
    withFolder((file) => {
      const before = openFlashIndex(file, () => {});
      put(before, version(1, "k1"));
      before.close();
      const older = new Database(file);
      older.run("DROP TABLE files");
      older.run("PRAGMA user_version = 3");
      older.close();
      const clock = createSimClock();
      const index = openFlashIndex(file, () => {});
      expect([index.ownerOf(1), index.ownerOf(2)]).toEqual([1, null]);
      expect(openIndexReader(file, clock).lookup("k1")?.id).toBe(1);
      index.close();
    }));

  test("a file that is no database is moved aside; the start is a cold one, and said", () =>
    withFolder((file) => {
      const text = "no database at all, but long enough to be taken for one".repeat(50);
      for (let n = 0; n < 2; n++) {
        fs.writeFileSync(file, text);
        const lines: string[] = [];
        const index = openFlashIndex(file, (_level, message) => lines.push(message));
        expect(index.totals().versions).toBe(0);
        expect(lines).toEqual(["the index is damaged: moved aside, the cache starts cold"]);
        expect(fs.readFileSync(`${file}.damaged`, "utf8")).toBe(text);
        index.close();
      }
    }));

  test("somebody else's database is moved aside, a later format is refused with the remedy", () =>
    withFolder((file) => {
      const foreign = new Database(file, { create: true });
      foreign.run("CREATE TABLE t (x)");
      foreign.close();
      openFlashIndex(file, () => {}).close();
      const later = new Database(file);
      later.run("PRAGMA user_version = 9");
      later.close();
      expect(() => openFlashIndex(file, () => {})).toThrow(/index\.sqlite has format 9.*choose another flash folder/);
      expect(fs.existsSync(file)).toBe(true);
    }));

  test("pages damaged in the middle end in flash-failed, and discard starts anew", () =>
    withFolder((file) => {
      const index = openFlashIndex(file, () => {});
      for (let n = 1; n <= 500; n++) put(index, version(n, `key-${n}`));
      index.close();
      const bytes = fs.readFileSync(file);
      bytes.fill(0xa5, 4096 * 8); // past the roots of all tables
      fs.writeFileSync(file, bytes);
      const damaged = openFlashIndex(file, () => {});
      expect(() => {
        for (let n = 1; n <= 500; n++) damaged.getById(n);
      }).toThrow(/the index failed/);
      damaged.discard();
      const fresh = openFlashIndex(file, () => {});
      expect(fresh.totals().versions).toBe(0);
      fresh.close();
    }));
});

describe("a reader", () => {
  test("of a database that is deleted, replaced or damaged misses, counts and finds the next one", () =>
    withFolder(async (file) => {
      const clock = createSimClock();
      const reader = openIndexReader(file, clock);
      const index = openFlashIndex(file, () => {});
      put(index, version(1, "k"));
      expect(reader.lookup("k")?.id).toBe(1);
      index.discard();
      await clock.advance(200);
      expect(reader.lookup("k")).toBeNull();
      expect(reader.stats().failures).toBe(1);
      const second = openFlashIndex(file, () => {});
      put(second, version(7, "k"));
      reader.reopen();
      expect(reader.lookup("k")?.id).toBe(7);
      second.close();
      for (const suffix of ["", "-wal", "-shm"]) fs.rmSync(file + suffix, { force: true });
      fs.writeFileSync(file, "garbage".repeat(1000));
      await clock.advance(200);
      expect(reader.lookup("k")).toBeNull();
      reader.close();
      expect(reader.lookup("k")).toBeNull();
    }));
});
