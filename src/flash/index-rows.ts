/** How a version stands in a row of the index, and the prepared look-ups that the keeper and the servers share. */
import type { Database, SQLQueryBindings } from "bun:sqlite";
import { hasOwnFile } from "./files.ts";
import { decodeVariants } from "./records.ts";
import { createTexts, type Texts } from "./texts.ts";
import type { Span, VersionRecord } from "./types.ts";

/** A connection with its prepared statements. They have to end before it, or it stays open behind the scenes. */
export interface Connection {
  readonly db: Database;
  readonly prepare: Database["prepare"];
  /** Never throws: a database beyond closing is left to the end of the process. */
  close(): void;
}

/** Takes over `db`. */
export function connectionOf(db: Database): Connection {
  const statements: { finalize(): void }[] = [];
  let open = true;
  const quietly = (run: () => void): void => {
    try {
      run();
    } catch {
      // Nothing depends on it any more.
    }
  };
  return {
    db,
    prepare: <R, P extends SQLQueryBindings | SQLQueryBindings[]>(sql: string, params?: P) => {
      const statement = db.prepare<R, P>(sql, params);
      statements.push(statement);
      return statement;
    },
    close: () => {
      if (!open) return;
      open = false;
      for (const statement of statements) quietly(() => statement.finalize());
      quietly(() => db.close(false));
    },
  };
}

/** A version with the bytes that it takes on flash. */
export interface IndexedVersion extends VersionRecord {
  readonly storedBytes: number;
}

interface Row {
  readonly id: number;
  readonly key: string;
  readonly etag: string;
  readonly size: number;
  readonly block: number;
  readonly stored: number;
  readonly spans: string | null;
  readonly present: Uint8Array | null;
  readonly variants: string;
}

/** Prepared look-ups on one connection. They throw what SQLite throws. */
export interface Lookup {
  byKey(key: string): IndexedVersion | null;
  byId(id: number): IndexedVersion | null;
}

const COLUMNS = "id, key, etag, size, block, stored, spans, present, variants";

/** Prepares the look-ups. */
export function createLookup(connection: Connection): Lookup {
  const byKey = connection.prepare<Row, [string]>(`SELECT ${COLUMNS} FROM versions WHERE key = ?`);
  const byId = connection.prepare<Row, [number]>(`SELECT ${COLUMNS} FROM versions WHERE id = ?`);
  const texts = createTexts(connection);
  return { byKey: (key) => decode(byKey.get(key), texts), byId: (id) => decode(byId.get(id), texts) };
}

function decode(row: Row | null, texts: Texts): IndexedVersion | null {
  if (row === null) return null;
  return {
    id: row.id,
    key: row.key,
    etag: row.etag,
    sizeBytes: row.size,
    blockBytes: row.block,
    spans: decodeSpans(row.spans, row.id, row.size),
    present: row.present,
    variants: decodeVariants(row.variants, row.etag, texts),
    storedBytes: row.stored,
  };
}

/** The usual spans: one file that has the version's id. An empty version has none. */
export function soleSpan(id: number, sizeBytes: number): Span[] {
  return sizeBytes === 0 ? [] : [{ fileId: id, offset: 0, length: sizeBytes }];
}

/** The reverse of {@link encodeSpans}. */
export function decodeSpans(text: string | null, id: number, sizeBytes: number): Span[] {
  return text === null ? soleSpan(id, sizeBytes) : (JSON.parse(text) as Span[]);
}

/** Null for the usual spans, which follow from the id and the size. */
export function encodeSpans(version: VersionRecord): string | null {
  return hasOwnFile(version) ? null : JSON.stringify(version.spans);
}
