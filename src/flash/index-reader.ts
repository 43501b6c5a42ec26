/**
 * A server's own read-only view of the index: a hit costs one prepared look-up and no message. Whatever is wrong with
 * the database is a miss, counted; the connection is then opened again, a few times a second at most.
 */
import { Database } from "bun:sqlite";
import * as fs from "node:fs";
import type { Clock } from "../io/clock.ts";
import { type Connection, connectionOf, createLookup, type Lookup } from "./index-rows.ts";
import { INDEX_APPLICATION, INDEX_FORMAT } from "./index-schema.ts";
import type { IndexReader, VersionRecord } from "./types.ts";

/** Pause between two attempts to open, and between two looks whether the file is still the same. */
const RECHECK_MS = 100;
/** Holds the inner pages of an index of ten million versions. */
const CACHE_KIB = 32_768;

/** Counts of a reader since it was made. */
export interface IndexReaderStats {
  readonly lookups: number;
  /** Look-ups that found the database missing, damaged or busy: answered as misses. */
  readonly failures: number;
  readonly opens: number;
}

/** An {@link IndexReader} on a database file. */
export interface FileIndexReader extends IndexReader {
  /** Lets go of the database; the next look-up opens what is there then. For when the keeper was restarted. */
  reopen(): void;
  stats(): IndexReaderStats;
}

interface View {
  readonly connection: Connection;
  readonly lookup: Lookup;
  readonly identity: string;
}

/** Reads the index at `path`, which need not exist yet. */
export function openIndexReader(path: string, clock: Clock): FileIndexReader {
  const stats = { lookups: 0, failures: 0, opens: 0 };
  let view: View | null = null;
  let recheckAtMs = Number.NEGATIVE_INFINITY;
  let closed = false;

  const drop = (): void => {
    view?.connection.close();
    view = null;
  };
  /** Opens when there is no connection; lets go of one whose file was replaced. */
  const recheck = (): void => {
    const nowMs = clock.monotonicMs();
    if (nowMs < recheckAtMs) return;
    recheckAtMs = nowMs + RECHECK_MS;
    const identity = identityOf(path);
    if (view !== null && view.identity !== identity) drop();
    if (view !== null || identity === null) return;
    view = connect(path, identity);
    if (view !== null) stats.opens++;
  };
  const lookup = (key: string): VersionRecord | null => {
    if (closed) return null;
    stats.lookups++;
    recheck();
    if (view === null) {
      stats.failures++;
      return null;
    }
    try {
      return view.lookup.byKey(key);
    } catch (error) {
      stats.failures++;
      const code = (error as { code?: unknown } | null)?.code;
      if (typeof code !== "string" || !code.startsWith("SQLITE_BUSY")) drop();
      return null;
    }
  };
  return {
    lookup,
    reopen: () => {
      drop();
      recheckAtMs = Number.NEGATIVE_INFINITY;
    },
    stats: () => ({ ...stats }),
    close: () => {
      closed = true;
      drop();
    },
  };
}

function identityOf(path: string): string | null {
  try {
    const { dev, ino } = fs.statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return null;
  }
}

function connect(path: string, identity: string): View | null {
  let connection: Connection | null = null;
  try {
    connection = connectionOf(new Database(path, { readonly: true }));
    const { db } = connection;
    db.run(`PRAGMA cache_size = -${CACHE_KIB}`);
    const format = db.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version;
    const application = db.query<{ application_id: number }, []>("PRAGMA application_id").get()?.application_id;
    if (format === INDEX_FORMAT && application === INDEX_APPLICATION) {
      return { connection, lookup: createLookup(connection), identity };
    }
  } catch {
    // Not there, not readable or not ours: a miss.
  }
  connection?.close();
  return null;
}
