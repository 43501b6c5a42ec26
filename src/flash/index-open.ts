/** Opens the index on the real file system. A damaged one is moved aside: the index is disposable, a start is not. */
import { Database } from "bun:sqlite";
import * as fs from "node:fs";
import { ForebayError, hasCode } from "../base/errors.ts";
import { createFlashIndex, type FlashIndex, isDamage } from "./index.ts";
import { connectionOf } from "./index-rows.ts";
import { prepareSchema } from "./index-schema.ts";
import type { FlashLog } from "./keeper-types.ts";

/** What SQLite keeps of an index in memory, in KiB, at the writer. */
const CACHE_KIB = 65_536;

/**
 * Opens (or makes) the index at `path` for writing. Throws `config` when its format is newer than known here, and
 * `flash-failed` when not even an empty one can be made.
 */
export function openFlashIndex(path: string, log: FlashLog): FlashIndex {
  try {
    return open(path);
  } catch (error) {
    if (hasCode(error, "config")) throw error;
    if (!isDamaged(error)) throw wrap(error, path);
    log("warn", "the index is damaged: moved aside, the cache starts cold", { index: path, cause: String(error) });
    moveAside(path);
  }
  try {
    return open(path);
  } catch (error) {
    throw wrap(error, path);
  }
}

function wrap(error: unknown, path: string): ForebayError {
  if (error instanceof ForebayError) return error;
  const what = error instanceof Error ? error.message : String(error);
  return new ForebayError("flash-failed", `the index ${path} cannot be opened: ${what}`, { cause: error });
}

/** Damage, or a database that is not ours: both are no use here. */
function isDamaged(error: unknown): boolean {
  if (!(error instanceof ForebayError)) return isDamage(error);
  return error.cause === undefined || isDamage(error.cause);
}

function open(path: string): FlashIndex {
  const db = new Database(path, { create: true, readwrite: true });
  const connection = connectionOf(db);
  try {
    db.run("PRAGMA busy_timeout = 2000");
    db.run("PRAGMA journal_mode = WAL");
    db.run(`PRAGMA cache_size = -${CACHE_KIB}`);
    db.run("PRAGMA journal_size_limit = 67108864");
    prepareSchema(db, path);
    return createFlashIndex(connection, { discard: () => moveAside(path) });
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Moves a damaged index to `PATH.damaged` (one is kept, for those who want to look), and its companions away. */
function moveAside(path: string): void {
  try {
    fs.renameSync(path, `${path}.damaged`);
  } catch {
    fs.rmSync(path, { force: true, recursive: true });
  }
  for (const suffix of ["-wal", "-shm"]) fs.rmSync(path + suffix, { force: true });
}
