/**
 * The index of the cache: one SQLite database (WAL) that the keeper writes and every server reads. It is disposable:
 * without it the cache is cold, nothing more. Commits of filled blocks do not wait for the disk (their data was flushed
 * before; a commit lost with the power costs blocks, never correctness); what must not be lost is committed `durable`:
 * marks of changes, and the forgetting of versions before their files are unlinked.
 *
 * Sums (stored bytes, number of versions) stand in the same transactions, so a start costs the same for ten versions
 * as for ten million.
 */
import { assert } from "../base/assert.ts";
import { ForebayError } from "../base/errors.ts";
import { fileIdsOf } from "./files.ts";
import { type Connection, createLookup, decodeSpans, encodeSpans, type IndexedVersion } from "./index-rows.ts";
import { encodeVariants } from "./records.ts";
import { createTextWriter } from "./texts.ts";
import type { Variant } from "./types.ts";

export { openIndexReader } from "./index-reader.ts";
export type { IndexedVersion } from "./index-rows.ts";

/** A version in the order of arrival, as eviction and scrub walk over it. */
export interface IndexEntry {
  readonly id: number;
  readonly storedBytes: number;
}

/** What a forgotten version leaves to be cleaned up. */
export interface Forgotten {
  readonly id: number;
  readonly key: string;
  readonly fileIds: readonly number[];
  readonly storedBytes: number;
}

/** A mark of a change under way, as stored. */
export interface StoredMark {
  readonly id: number;
  readonly scope: string;
}

/** Changes that become visible together. */
export interface IndexChanges {
  insert(version: IndexedVersion): void;
  /** Blocks came: the bitmap (null: complete) as it is now, and `addedBytes` more on flash. */
  progress(id: number, present: Uint8Array | null, addedBytes: number): void;
  variants(id: number, etag: string, variants: readonly Variant[]): void;
  checksum(id: number, block: number, checksum: string): void;
  /** Null: there is no such version. */
  forget(id: number): Forgotten | null;
  /** Forgets up to `countMax` versions with keys in [from, to). */
  forgetRange(from: string, to: string, countMax: number): Forgotten[];
  mark(mark: StoredMark, expiresWallMs: number): void;
  unmark(id: number): void;
  scrubbed(id: number): void;
  /** See {@link IndexTotals}, as for the next one. */
  swept(nextLife: number): void;
  left(bytes: number): void;
}

/**
 * The writer's side. Every call throws `flash-failed` when the database fails, and `flash-full` when a change finds no
 * room on the file system (nothing is changed then, and the index goes on working).
 */
export interface FlashIndex {
  get(key: string): IndexedVersion | null;
  getById(id: number): IndexedVersion | null;
  /** The version that a file is part of; null: none. */
  ownerOf(fileId: number): number | null;
  /** The highest id in use, or 0. */
  maxId(): number;
  /** Up to `count` versions with ids above `after`, ascending. */
  page(after: number, count: number): IndexEntry[];
  /** Checksums (16 hex digits) of up to `count` blocks from `first` on. */
  checksums(id: number, first: number, count: number): { readonly block: number; readonly checksum: string }[];
  marks(): StoredMark[];
  totals(): IndexTotals;
  /** One transaction. `durable`: it is on stable storage when this returns. A throw of `work` changes nothing. */
  change<T>(durable: boolean, work: (changes: IndexChanges) => T): T;
  /** The database is damaged: moves it aside, so that the next start is a cold one. */
  discard(): void;
  close(): void;
}

/** What the index knows of itself without looking at its rows. */
export interface IndexTotals {
  readonly versions: number;
  readonly storedBytes: number;
  /** Where the scrub stands. */
  readonly scrubbed: number;
  /** A life whose ids begin here finds no file without a version. */
  readonly swept: number;
  /** Bytes in files of an earlier format that the sweep has not removed yet. */
  readonly left: number;
}

/** What differs between the real index and a simulated one. */
export interface IndexHost {
  /** Called after each commit. */
  committed?(durable: boolean): void;
  discard(): void;
}

/** Whether an error says that the file is damaged or no database: SQLite's own verdict, or a row that makes no sense. */
export function isDamage(error: unknown): boolean {
  if (error instanceof SyntaxError) return true;
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && (code.startsWith("SQLITE_CORRUPT") || code.startsWith("SQLITE_NOTADB"));
}

function indexError(error: unknown): ForebayError {
  if (error instanceof ForebayError) return error;
  const what = error instanceof Error ? error.message : String(error);
  const code = (error as { code?: unknown } | null)?.code === "SQLITE_FULL" ? "flash-full" : "flash-failed";
  return new ForebayError(code, `the index failed: ${what}`, { cause: error });
}

/** The index over an open connection, which it takes over, to a database whose schema is in place. */
export function createFlashIndex(connection: Connection, host: IndexHost): FlashIndex {
  const guard = <T>(run: () => T): T => {
    try {
      return run();
    } catch (error) {
      throw indexError(error);
    }
  };
  return guard(() => buildIndex(connection, host, guard));
}

function buildIndex(connection: Connection, host: IndexHost, guard: <T>(run: () => T) => T): FlashIndex {
  const { db } = connection;
  const lookup = createLookup(connection);
  const readMeta = connection.prepare<{ value: number }, [string]>("SELECT value FROM meta WHERE name = ?");
  const writeMeta = connection.prepare<null, [number, string]>(
    "INSERT OR REPLACE INTO meta (value, name) VALUES (?, ?)",
  );
  const hasId = connection.prepare<{ id: number }, [number]>("SELECT id FROM versions WHERE id = ?");
  const ownerOf = connection.prepare<{ version: number }, [number]>("SELECT version FROM files WHERE id = ?");
  const maxOf = connection.prepare<{ id: number | null }, []>("SELECT max(id) AS id FROM versions");
  const pageOf = connection.prepare<{ id: number; storedBytes: number }, [number, number]>(
    "SELECT id, stored AS storedBytes FROM versions WHERE id > ? ORDER BY id LIMIT ?",
  );
  const checksumsOf = connection.prepare<{ block: number; sum: Uint8Array }, [number, number, number]>(
    "SELECT block, sum FROM checksums WHERE version = ? AND block >= ? ORDER BY block LIMIT ?",
  );
  const marksOf = connection.prepare<StoredMark, []>("SELECT id, scope FROM marks ORDER BY id");
  const meta = (name: string): number => readMeta.get(name)?.value ?? 0;
  const totals: IndexTotals = {
    versions: meta("versions"),
    storedBytes: meta("storedBytes"),
    scrubbed: meta("scrubbed"),
    swept: meta("swept"),
    left: meta("left"),
  };
  let full = false;
  db.run("PRAGMA synchronous = NORMAL");
  const { changes, delta, ended } = createChanges(connection);

  const begin = (durable: boolean): void => {
    if (durable !== full) db.run(`PRAGMA synchronous = ${durable ? "FULL" : "NORMAL"}`);
    full = durable;
    delta.versions = 0;
    delta.storedBytes = 0;
    delta.scrubbed = null;
    delta.swept = null;
    delta.left = null;
    db.run("BEGIN IMMEDIATE");
  };
  const saveTotals = (): IndexTotals => {
    const next = {
      versions: totals.versions + delta.versions,
      storedBytes: totals.storedBytes + delta.storedBytes,
      scrubbed: delta.scrubbed ?? totals.scrubbed,
      swept: delta.swept ?? totals.swept,
      left: delta.left ?? totals.left,
    };
    assert(next.versions >= 0 && next.storedBytes >= 0, "the index's sums are never negative");
    if (delta.versions !== 0) writeMeta.run(next.versions, "versions");
    if (delta.storedBytes !== 0) writeMeta.run(next.storedBytes, "storedBytes");
    if (delta.scrubbed !== null) writeMeta.run(next.scrubbed, "scrubbed");
    if (delta.swept !== null) writeMeta.run(next.swept, "swept");
    if (delta.left !== null) writeMeta.run(next.left, "left");
    return next;
  };

  return {
    get: (key) => guard(() => lookup.byKey(key)),
    getById: (id) => guard(() => lookup.byId(id)),
    ownerOf: (fileId) => guard(() => ownerOf.get(fileId)?.version ?? (hasId.get(fileId) === null ? null : fileId)),
    maxId: () => guard(() => maxOf.get()?.id ?? 0),
    page: (after, count) => guard(() => pageOf.all(after, count)),
    checksums: (id, first, count) =>
      guard(() =>
        checksumsOf
          .all(id, first, count)
          .map(({ block, sum }) => ({ block, checksum: Buffer.from(sum).toString("hex") })),
      ),
    marks: () => guard(() => marksOf.all()),
    totals: () => totals,
    change: (durable, work) =>
      guard(() => {
        begin(durable);
        try {
          const result = work(changes);
          const next = saveTotals();
          db.run("COMMIT");
          ended(true);
          Object.assign(totals, next);
          host.committed?.(durable);
          return result;
        } catch (error) {
          ended(false);
          if (db.inTransaction) db.run("ROLLBACK");
          throw error;
        }
      }),
    discard: () => {
      connection.close();
      host.discard();
    },
    close: connection.close,
  };
}

interface Delta {
  versions: number;
  storedBytes: number;
  scrubbed: number | null;
  swept: number | null;
  left: number | null;
}

interface Changing {
  readonly changes: IndexChanges;
  /** What they do to the sums. */
  readonly delta: Delta;
  /** The transaction was committed, or not. */
  ended(kept: boolean): void;
}

/** The statements of {@link IndexChanges}. */
function createChanges(connection: Connection): Changing {
  const delta: Delta = { versions: 0, storedBytes: 0, scrubbed: null, swept: null, left: null };
  const insert = connection.prepare<
    null,
    [number, string, string, number, number, number, string | null, Uint8Array | null, string]
  >("INSERT INTO versions (id, key, etag, size, block, stored, spans, present, variants) VALUES (?,?,?,?,?,?,?,?,?)");
  const progress = connection.prepare<null, [Uint8Array | null, number, number]>(
    "UPDATE versions SET present = ?, stored = stored + ? WHERE id = ?",
  );
  const texts = createTextWriter(connection);
  const variants = connection.prepare<null, [string, number]>("UPDATE versions SET variants = ? WHERE id = ?");
  const checksum = connection.prepare<null, [number, number, Uint8Array]>(
    "INSERT OR REPLACE INTO checksums VALUES (?, ?, ?)",
  );
  const remains = connection.prepare<
    { readonly key: string; readonly size: number; readonly stored: number; readonly spans: string | null },
    [number]
  >("SELECT key, size, stored, spans FROM versions WHERE id = ?");
  const deleteVersion = connection.prepare<null, [number]>("DELETE FROM versions WHERE id = ?");
  const deleteChecksums = connection.prepare<null, [number]>("DELETE FROM checksums WHERE version = ?");
  const addFile = connection.prepare<null, [number, number]>("INSERT OR REPLACE INTO files VALUES (?, ?)");
  const deleteFile = connection.prepare<null, [number, number]>("DELETE FROM files WHERE id = ? AND version = ?");
  const range = connection.prepare<{ id: number }, [string, string, number]>(
    "SELECT id FROM versions WHERE key >= ? AND key < ? LIMIT ?",
  );
  const mark = connection.prepare<null, [number, string, number]>("INSERT INTO marks VALUES (?, ?, ?)");
  const unmark = connection.prepare<null, [number]>("DELETE FROM marks WHERE id = ?");

  const forget = (id: number): Forgotten | null => {
    const row = remains.get(id);
    if (row === null) return null;
    deleteVersion.run(id);
    if (row.stored > 0) deleteChecksums.run(id);
    delta.versions -= 1;
    delta.storedBytes -= row.stored;
    const fileIds = fileIdsOf(decodeSpans(row.spans, id, row.size));
    if (row.spans !== null) for (const fileId of fileIds) deleteFile.run(fileId, id);
    return { id, key: row.key, fileIds, storedBytes: row.stored };
  };
  const changes: IndexChanges = {
    insert: (v) => {
      const spans = encodeSpans(v);
      const answers = encodeVariants(v.variants, v.etag, texts.ref);
      insert.run(v.id, v.key, v.etag, v.sizeBytes, v.blockBytes, v.storedBytes, spans, v.present, answers);
      if (spans !== null) for (const fileId of fileIdsOf(v.spans)) addFile.run(fileId, v.id);
      delta.versions += 1;
      delta.storedBytes += v.storedBytes;
    },
    progress: (id, present, addedBytes) => {
      assert(progress.run(present, addedBytes, id).changes === 1, "a version that makes progress is in the index");
      delta.storedBytes += addedBytes;
    },
    variants: (id, etag, list) => void variants.run(encodeVariants(list, etag, texts.ref), id),
    checksum: (id, block, sum) => void checksum.run(id, block, Buffer.from(sum.padStart(16, "0"), "hex")),
    forget,
    forgetRange: (from, to, countMax) =>
      range.all(from, to, countMax).flatMap(({ id }) => {
        const forgotten = forget(id);
        return forgotten === null ? [] : [forgotten];
      }),
    mark: (m, expiresWallMs) => void mark.run(m.id, m.scope, Math.round(expiresWallMs)),
    unmark: (id) => void unmark.run(id),
    scrubbed: (id) => {
      delta.scrubbed = id;
    },
    swept: (nextLife) => {
      delta.swept = nextLife;
    },
    left: (bytes) => {
      delta.left = bytes;
    },
  };
  return { changes, delta, ended: texts.ended };
}
