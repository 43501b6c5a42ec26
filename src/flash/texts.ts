/**
 * What many rows of the index say alike (the names and common values of the lake's headers, the name of an epoch)
 * stands once in a table of its own, and rows name it by number: a row is a few times smaller for it, and what is read
 * from it shares its strings. Texts are never changed or taken away; there is a bound to them, beyond which rows hold
 * the text itself.
 */
import { limits } from "../base/limits.ts";
import type { RawHeaders } from "../http/types.ts";
import type { Connection } from "./index-rows.ts";

/** A text: its number in the table, or itself. */
export type TextRef = number | string;

/** A list of headers without the values that belong to one blob: null in their places. */
export type HeaderShape = readonly (string | null)[];

/** Reads texts by reference. Throws what SQLite throws, and `SyntaxError` for a number that is not there. */
export interface Texts {
  text(ref: TextRef): string;
  shape(ref: TextRef): HeaderShape;
}

/** The table as the index's writer sees it, within a transaction. */
export interface TextWriter {
  /** The reference of `text`, which is added if it is new and there is room. */
  ref(text: string): TextRef;
  /** The transaction is over. `kept`: it was committed. */
  ended(kept: boolean): void;
}

/** Longer ones stay in their rows. */
const TEXT_LENGTH_MAX = 4096;

/** What a shape takes in memory compared with its text, about. */
const SHAPE_COST = 3;

export const TEXTS_SCHEMA = "CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);";

/** Remembers what it has read, up to a bound, and then starts anew. */
export function createTexts(connection: Connection): Texts {
  const read = connection.prepare<{ text: string }, [number]>("SELECT text FROM texts WHERE id = ?");
  const texts = new Map<number, string>();
  const shapes = new Map<number, HeaderShape>();
  let remembered = 0;
  const remember = (length: number): void => {
    remembered += length;
    if (remembered <= limits.indexTextsRememberedMax) return;
    texts.clear();
    shapes.clear();
    remembered = length;
  };
  const text = (ref: TextRef): string => {
    if (typeof ref === "string") return ref;
    const known = texts.get(ref);
    if (known !== undefined) return known;
    const found = read.get(ref)?.text;
    if (found === undefined) throw new SyntaxError("a row names a text that is not there");
    remember(found.length);
    texts.set(ref, found);
    return found;
  };
  return {
    text,
    shape: (ref) => {
      if (typeof ref === "string") return JSON.parse(ref) as HeaderShape;
      const known = shapes.get(ref);
      if (known !== undefined) return known;
      const source = text(ref);
      const shape = JSON.parse(source) as HeaderShape;
      remember(source.length * SHAPE_COST);
      shapes.set(ref, shape);
      return shape;
    },
  };
}

export function createTextWriter(connection: Connection): TextWriter {
  const find = connection.prepare<{ id: number }, [string]>("SELECT id FROM texts WHERE text = ?");
  const insert = connection.prepare<{ id: number }, [string]>("INSERT INTO texts (text) VALUES (?) RETURNING id");
  const known = new Map<string, number>();
  const sums = connection.prepare<{ count: number; length: number }, []>(
    "SELECT count(*) AS count, coalesce(sum(length(text)), 0) AS length FROM texts",
  );
  let { count, length } = sums.get() ?? { count: 0, length: 0 };
  let added: string[] = [];
  const hasRoom = (text: string): boolean =>
    text.length <= TEXT_LENGTH_MAX &&
    count < limits.indexTextsMax &&
    length + text.length <= limits.indexTextsLengthMax;
  return {
    ref: (text) => {
      const id = known.get(text) ?? find.get(text)?.id;
      if (id !== undefined) {
        known.set(text, id);
        return id;
      }
      if (!hasRoom(text)) return text;
      const made = insert.get(text)?.id;
      if (made === undefined) return text;
      known.set(text, made);
      added.push(text);
      count++;
      length += text.length;
      return made;
    },
    ended: (kept) => {
      if (!kept) {
        for (const text of added) {
          known.delete(text);
          length -= text.length;
        }
        count -= added.length;
      }
      added = [];
    },
  };
}

/** Headers with few different values over all blobs. The value of any other one counts as its blob's own. */
const SHARED: ReadonlySet<string> = new Set([
  "accept-ranges",
  "access-control-allow-credentials",
  "access-control-allow-headers",
  "access-control-allow-methods",
  "access-control-allow-origin",
  "access-control-expose-headers",
  "access-control-max-age",
  "cache-control",
  "content-encoding",
  "content-language",
  "content-type",
  "server",
  "strict-transport-security",
  "timing-allow-origin",
  "vary",
  "x-content-type-options",
  "x-ms-access-tier",
  "x-ms-access-tier-inferred",
  "x-ms-archive-status",
  "x-ms-blob-sealed",
  "x-ms-blob-type",
  "x-ms-encryption-key-sha256",
  "x-ms-encryption-scope",
  "x-ms-group",
  "x-ms-immutability-policy-mode",
  "x-ms-incremental-copy",
  "x-ms-is-current-version",
  "x-ms-lease-duration",
  "x-ms-lease-state",
  "x-ms-lease-status",
  "x-ms-legal-hold",
  "x-ms-owner",
  "x-ms-permissions",
  "x-ms-rehydrate-priority",
  "x-ms-resource-type",
  "x-ms-server-encrypted",
  "x-ms-version",
]);

/** The etag of the version itself, which its row has anyway. */
const SAME_ETAG = 0;

/** A value of a row's own. */
export type OwnValue = string | typeof SAME_ETAG;

/** Takes `headers` of a version with `etag` apart into what others share (as text) and what is its own. */
export function shapeOf(headers: RawHeaders, etag: string): { readonly shape: string; readonly values: OwnValue[] } {
  const values: OwnValue[] = [];
  const shape = headers.map((text, i) => {
    if (i % 2 === 0 || SHARED.has((headers[i - 1] ?? "").toLowerCase())) return text;
    values.push(text === etag ? SAME_ETAG : text);
    return null;
  });
  return { shape: JSON.stringify(shape), values };
}

/** The reverse of {@link shapeOf}. */
export function headersOf(shape: HeaderShape, values: readonly OwnValue[], etag: string): string[] {
  let next = 0;
  return shape.map((text) => {
    if (text !== null) return text;
    const value = values[next++];
    return typeof value === "string" ? value : etag;
  });
}
