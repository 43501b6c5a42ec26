/** The schema of the index, and what brings an older one up to it. */
import type { Database } from "bun:sqlite";
import { ForebayError } from "../base/errors.ts";
import { TEXTS_SCHEMA } from "./texts.ts";

/** `application_id` of the database: "Fbay". */
export const INDEX_APPLICATION = 0x46626179;

/** The name of the index in the flash folder. */
export const INDEX_FILE = "index.sqlite";

/** The schema written here. Raise it together with a step in {@link UPGRADES}. */
export const INDEX_FORMAT = 4;

const VERSIONS_SCHEMA = `
  CREATE TABLE versions (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, etag TEXT NOT NULL, size INTEGER NOT NULL,
    block INTEGER NOT NULL, stored INTEGER NOT NULL, spans TEXT, present BLOB, variants TEXT NOT NULL);
  CREATE TABLE checksums (version INTEGER, block INTEGER, sum BLOB NOT NULL, PRIMARY KEY (version, block)) WITHOUT ROWID;
  ${TEXTS_SCHEMA}
  INSERT INTO meta VALUES ('storedBytes', 0), ('versions', 0), ('scrubbed', 0);
`;

/** Files whose versions do not have their ids: of bytes that clients brought. */
const FILES_SCHEMA = "CREATE TABLE files (id INTEGER PRIMARY KEY, version INTEGER NOT NULL);";

/**
 * The cache starts cold, its marks stay. The sweep removes the files; until then `left` says what they take (see
 * `IndexTotals` in `index.ts`).
 */
const START_COLD = `
  CREATE TEMP TABLE stored AS SELECT coalesce(sum(value), 0) AS bytes FROM meta WHERE name IN ('storedBytes', 'left');
  DROP TABLE versions;
  DROP TABLE checksums;
  DROP TABLE IF EXISTS texts;
  DELETE FROM meta;
  ${VERSIONS_SCHEMA}
  INSERT INTO meta SELECT 'left', bytes FROM temp.stored;
  DROP TABLE temp.stored;
`;

const SCHEMA = `
  CREATE TABLE marks (id INTEGER PRIMARY KEY, scope TEXT NOT NULL, expires_wall_ms INTEGER NOT NULL);
  CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  ${VERSIONS_SCHEMA}
  ${FILES_SCHEMA}
`;

/** Step n brings an index of format n + 1 to format n + 2. */
const UPGRADES: readonly ((db: Database) => void)[] = [
  // Format 2 takes headers apart into shared texts.
  (db) => db.run(START_COLD),
  // Format 3 checks blocks with XXH3 instead of xxHash64.
  (db) => db.run(START_COLD),
  // Format 4 has versions made of several files. There were none before.
  (db) => db.run(FILES_SCHEMA),
];

/** Makes sure that `db` has the current schema. Throws `config` for a newer one; SQLite's own errors pass. */
export function prepareSchema(db: Database, where: string): void {
  const format = pragma(db, "user_version");
  const application = pragma(db, "application_id");
  const tables = db.query<{ n: number }, []>("SELECT count(*) AS n FROM sqlite_schema").get()?.n ?? 0;
  if (tables === 0) {
    db.transaction(() => {
      db.run(SCHEMA);
      db.run(`PRAGMA application_id = ${INDEX_APPLICATION}`);
      db.run(`PRAGMA user_version = ${INDEX_FORMAT}`);
    })();
    return;
  }
  if (application !== INDEX_APPLICATION) throw new ForebayError("flash-failed", `${where} is no index of Forebay`);
  if (format < 1 || format > INDEX_FORMAT) {
    throw new ForebayError(
      "config",
      `the flash folder's index ${where} has format ${format}, this version knows up to ${INDEX_FORMAT}: ` +
        "use a newer Forebay, or choose another flash folder, or delete this one (the cache then starts cold)",
    );
  }
  for (let from = format; from < INDEX_FORMAT; from++) {
    db.transaction(() => {
      UPGRADES[from - 1]?.(db);
      db.run(`PRAGMA user_version = ${from + 1}`);
    })();
  }
}

function pragma(db: Database, name: string): number {
  return Number(Object.values(db.query<Record<string, number>, []>(`PRAGMA ${name}`).get() ?? {})[0] ?? 0);
}
