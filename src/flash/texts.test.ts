import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import fc from "fast-check";
import { limits } from "../base/limits.ts";
import { realClock } from "../io/clock.ts";
import { type IndexedVersion, openIndexReader } from "./index.ts";
import { openFlashIndex } from "./index-open.ts";
import { INDEX_FILE } from "./index-schema.ts";
import { type HeaderShape, headersOf, shapeOf } from "./texts.ts";

const NAMES = ["ETag", "Last-Modified", "Content-MD5", "Content-Type", "x-ms-meta-Name", "x-ms-copy-id", "Server", "x"];

function version(id: number, headers: readonly string[]): IndexedVersion {
  const generation = [0, 0, 0] as const;
  const variant = { id: "full|v", headers, sentAtMs: 1, generation, epoch: "an epoch", era: "an era" };
  const what = { etag: '"e"', sizeBytes: 0, blockBytes: 4096, spans: [], present: null, storedBytes: 0 };
  return { id, key: `k${id}`, variants: [variant], ...what };
}

function withFile(run: (file: string) => void): void {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "forebay-texts-"));
  try {
    run(path.join(root, INDEX_FILE));
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}

function textsIn(file: string): string[] {
  const db = new Database(file, { readonly: true });
  const rows = db.query<{ text: string }, []>("SELECT text FROM texts").all();
  db.close();
  return rows.map(({ text }) => text);
}

describe("headers taken apart", () => {
  test("come together again as they were", () => {
    const header = fc.tuple(fc.constantFrom(...NAMES), fc.oneof(fc.string(), fc.constant('"e"')));
    fc.assert(
      fc.property(fc.array(header), (pairs) => {
        const headers = pairs.flat();
        const { shape, values } = shapeOf(headers, '"e"');
        const stored: typeof values = JSON.parse(JSON.stringify(values));
        expect(headersOf(JSON.parse(shape) as HeaderShape, stored, '"e"')).toEqual(headers);
      }),
    );
  });

  test("what belongs to one blob is not shared", () => {
    const headers = (n: number) => ["ETag", `"${n}"`, "x-ms-meta-n", `${n}`, "Content-Type", "text/plain"];
    expect(shapeOf(headers(1), '"1"').shape).toBe(shapeOf(headers(2), '"2"').shape);
  });
});

describe("what many blobs share", () => {
  const common = ["Content-Type", "text/plain", "x-ms-version", "2025-01-05", "Server", "s"];
  const date = (n: number): string => new Date(1e12 + n * 1e6).toUTCString();
  const own = ["x-ms-immutability-policy-until-date", "x-ms-or-policy_rule", "x-ms-expiry-time", "Via", "x-azure-ref"];

  test("is one shape, whatever else their headers say", () => {
    const shapes = new Set<string>();
    for (let n = 0; n < 100; n++) {
      const headers = [...common, ...own.flatMap((name) => [name, date(n)]), "a-header-of-tomorrow", `${n}`];
      const { shape, values } = shapeOf(headers, '"e"');
      shapes.add(shape);
      expect(values).toEqual([...own.map(() => date(n)), `${n}`]);
    }
    expect(shapes.size).toBe(1);
  });
});

describe("texts of an index", () => {
  test("are bounded by what they take, and so is what a reader remembers", () =>
    withFile((file) => {
      const index = openFlashIndex(file, () => {});
      const name = "n".repeat(4_000);
      const count = Math.ceil(limits.indexTextsLengthMax / name.length) + 20;
      index.change(false, (changes) => {
        for (let n = 1; n <= count; n++) changes.insert(version(n, [`${name}${n}`, "v"]));
      });
      const total = textsIn(file).reduce((sum, text) => sum + text.length, 0);
      expect(total).toBeLessThanOrEqual(limits.indexTextsLengthMax);
      expect(total).toBeGreaterThan(limits.indexTextsLengthMax * 0.9);
      const reader = openIndexReader(file, realClock);
      // Twice: the second time some are remembered, and others were forgotten.
      for (let n = 1; n <= 2 * count; n++) {
        const id = ((n - 1) % count) + 1;
        expect(reader.lookup(`k${id}`)?.variants[0]?.headers).toEqual([`${name}${id}`, "v"]);
      }
      reader.close();
      index.close();
    }));

  test("stand once, and a bounded number of them; beyond it rows hold their own", () =>
    withFile((file) => {
      const index = openFlashIndex(file, () => {});
      const long = ["Long", "v".repeat(5_000)];
      const count = limits.indexTextsMax + 50;
      index.change(false, (changes) => {
        changes.insert(version(count + 1, long));
        for (let n = 1; n <= count; n++) changes.insert(version(n, [`x-${n}`, "v"]));
      });
      const texts = textsIn(file);
      expect(texts.length).toBe(limits.indexTextsMax);
      expect(texts.every((text) => text.length < 100)).toBe(true);
      const reader = openIndexReader(file, realClock);
      for (const n of [1, count - 51, count]) {
        expect(reader.lookup(`k${n}`)?.variants[0]).toMatchObject({ headers: [`x-${n}`, "v"], era: "an era" });
      }
      expect(reader.lookup(`k${count + 1}`)?.variants[0]?.headers).toEqual(long);
      reader.close();
      index.close();
    }));

  test("of a change that failed are not believed in", () =>
    withFile((file) => {
      const index = openFlashIndex(file, () => {});
      const attempt = (): void =>
        index.change(false, (changes) => {
          changes.insert(version(1, ["a", "b"]));
          throw new Error("no");
        });
      expect(attempt).toThrow("no");
      expect(textsIn(file)).toEqual([]);
      index.change(false, (changes) => changes.insert(version(2, ["a", "b"])));
      expect(index.get("k2")?.variants[0]?.headers).toEqual(["a", "b"]);
      expect(textsIn(file).length).toBe(4);
      index.close();
    }));

  test("that are missing mean damage", () =>
    withFile((file) => {
      const index = openFlashIndex(file, () => {});
      index.change(false, (changes) => changes.insert(version(1, ["a", "b"])));
      index.close();
      const db = new Database(file);
      db.run("DELETE FROM texts");
      db.close();
      const again = openFlashIndex(file, () => {});
      expect(() => again.get("k1")).toThrow(/text that is not there/);
      again.close();
    }));
});

const TABLES = `
  CREATE TABLE versions (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, etag TEXT NOT NULL, size INTEGER NOT NULL,
    block INTEGER NOT NULL, stored INTEGER NOT NULL, spans TEXT, present BLOB, variants TEXT NOT NULL);
  CREATE TABLE checksums (version INTEGER, block INTEGER, sum BLOB NOT NULL, PRIMARY KEY (version, block)) WITHOUT ROWID;
  CREATE TABLE marks (id INTEGER PRIMARY KEY, scope TEXT NOT NULL, expires_wall_ms INTEGER NOT NULL);
  CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO meta VALUES ('storedBytes', 4096), ('versions', 1), ('scrubbed', 7);
  INSERT INTO versions VALUES (7, 'k', '"e"', 10, 4096, 4096, NULL, NULL, '[]');
  INSERT INTO marks VALUES (9, 'a/c/', 1);
  PRAGMA application_id = 0x46626179;
`;
const OLD_FORMATS = [
  { format: 1, more: "" },
  { format: 2, more: "CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);" },
];

for (const { format, more } of OLD_FORMATS) {
  test(`an index of format ${format} starts cold, keeps its marks and knows what its files take`, () =>
    withFile((file) => {
      const db = new Database(file, { create: true });
      db.run(`${TABLES} ${more} PRAGMA user_version = ${format};`);
      db.close();
      for (let open = 0; open < 2; open++) {
        const index = openFlashIndex(file, () => {});
        expect(index.get("k")).toBeNull();
        expect(index.totals()).toEqual({ versions: 0, storedBytes: 0, scrubbed: 0, swept: 0, left: 4096 });
        expect(index.marks()).toEqual([{ id: 9, scope: "a/c/" }]);
        index.close();
      }
      const index = openFlashIndex(file, () => {});
      index.change(false, (changes) => changes.insert(version(8, ["a", "b"])));
      expect(index.get("k8")?.variants[0]?.headers).toEqual(["a", "b"]);
      index.close();
    }));
}
