/**
 * A page of List Blobs as the lake writes it, taken apart without losing a byte of its elements, and a page put together
 * again. What an element says beside its name is nobody's business here: it is passed on as it came, so that whatever
 * the service adds one day reaches the client.
 *
 * The service writes blobs and prefixes in one order of names. Some lakes write all of one kind first: such a page is
 * understood, and written again in that way. A page in any other order says of itself that it is not in order.
 *
 * Source: "List Blobs" in the REST documentation.
 */
import { compareNames } from "../base/name-order.ts";

/** A `<Blob>` or a `<BlobPrefix>`. */
export interface ListElement {
  /** The name, decoded. */
  readonly key: string;
  readonly isPrefix: boolean;
  /** The whole element as it came. */
  readonly raw: Uint8Array;
}

/** What stands before the elements: what was asked for, repeated. */
interface Echo {
  readonly name: string;
  readonly raw: Uint8Array;
}

export interface ListPage {
  /** Up to the end of the root's own tag. */
  readonly opening: Uint8Array;
  readonly echoes: readonly Echo[];
  /** In the order of their names, if `ordered`; else as they came. */
  readonly elements: readonly ListElement[];
  /** Null: nothing follows. */
  readonly next: string | null;
  readonly kinds: "mixed" | "blobs-first" | "prefixes-first";
  readonly ordered: boolean;
}

const LESS = 0x3c;
const MORE = 0x3e;
const SLASH = 0x2f;

/** Takes a page apart. Null for what is not understood. Costs one pass over its bytes. */
export function readListPage(bytes: Uint8Array): ListPage | null {
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const root = findRoot(source);
  if (root < 0) return null;
  const echoes: Echo[] = [];
  let elements: ListElement[] | null = null;
  let next: string | null | undefined;
  let at = skipSpace(source, root);
  for (;;) {
    const tag = tagAt(source, at);
    if (tag === null) return null;
    if (tag.name === "/EnumerationResults") break;
    if (tag.name === "Blobs") {
      if (elements !== null) return null;
      const read: Elements | null = tag.empty ? { elements: [], end: tag.end } : readElements(source, tag.end);
      if (read === null) return null;
      elements = read.elements;
      at = read.end;
    } else {
      const end = elementEnd(source, at);
      if (end < 0) return null;
      if (tag.name === "NextMarker") next = textOf(source, tag, "NextMarker") || null;
      else if (elements === null) echoes.push({ name: tag.name, raw: source.subarray(at, end) });
      else return null;
      at = end;
    }
    at = skipSpace(source, at);
  }
  if (elements === null || next === undefined) return null;
  return { opening: source.subarray(0, root), echoes, next, ...inOrder(elements) };
}

/** The end of the root's tag, or -1. */
function findRoot(source: Buffer): number {
  let at = source.indexOf(LESS);
  if (at >= 0 && source[at + 1] === 0x3f) at = source.indexOf(LESS, at + 1);
  const tag = at < 0 ? null : tagAt(source, at);
  return tag === null || tag.name !== "EnumerationResults" || tag.empty ? -1 : tag.end;
}

interface Tag {
  /** Without attributes; of an end tag with its slash. */
  readonly name: string;
  readonly attributes: string;
  /** `<Name />`. */
  readonly empty: boolean;
  /** After its `>`. */
  readonly end: number;
}

/** The tag that begins at `at`, or null. */
function tagAt(source: Buffer, at: number): Tag | null {
  if (source[at] !== LESS) return null;
  const close = closeOf(source, at + 1);
  if (close < 0) return null;
  const empty = source[close - 1] === SLASH;
  const text = source.toString("latin1", at + 1, empty ? close - 1 : close).trimEnd();
  const space = text.search(/\s/);
  const name = space < 0 ? text : text.slice(0, space);
  return { name, attributes: space < 0 ? "" : text.slice(space + 1), empty, end: close + 1 };
}

/** The `>` of a tag, those in the values of its attributes passed over. */
function closeOf(source: Buffer, from: number): number {
  let quote = 0;
  for (let at = from; at < source.length; at++) {
    const code = source[at];
    if (quote !== 0) {
      if (code === quote) quote = 0;
    } else if (code === MORE) {
      return at;
    } else if (code === 0x22 || code === 0x27) {
      quote = code;
    } else if (code === LESS) {
      return -1;
    }
  }
  return -1;
}

/** The end of the element that begins at `from`, with whatever is nested in it: metadata may be called `Blob`. */
function elementEnd(source: Buffer, from: number): number {
  let depth = 0;
  let at = from;
  for (;;) {
    const open = source.indexOf(LESS, at);
    if (open < 0) return -1;
    const first = source[open + 1];
    // Comments, instructions and marked sections are nothing that the service writes.
    if (first === 0x21 || first === 0x3f) return -1;
    const close = closeOf(source, open + 1);
    if (close < 0) return -1;
    if (first === SLASH) depth--;
    else if (source[close - 1] !== SLASH) depth++;
    at = close + 1;
    if (depth <= 0) return depth < 0 ? -1 : at;
  }
}

function skipSpace(source: Buffer, from: number): number {
  let at = from;
  while (at < source.length && (source[at] ?? 0) <= 0x20) at++;
  return at;
}

interface Elements {
  readonly elements: ListElement[];
  /** After `</Blobs>`. */
  readonly end: number;
}

function readElements(source: Buffer, from: number): Elements | null {
  const elements: ListElement[] = [];
  let at = skipSpace(source, from);
  for (;;) {
    const tag = tagAt(source, at);
    if (tag === null) return null;
    if (tag.name === "/Blobs") return { elements, end: tag.end };
    const isPrefix = tag.name === "BlobPrefix";
    if ((!isPrefix && tag.name !== "Blob") || tag.empty) return null;
    const end = elementEnd(source, at);
    const key = nameAt(source, skipSpace(source, tag.end));
    if (end < 0 || key === null) return null;
    elements.push({ key, isPrefix, raw: source.subarray(at, end) });
    at = skipSpace(source, end);
  }
}

function nameAt(source: Buffer, at: number): string | null {
  const tag = tagAt(source, at);
  if (tag?.name !== "Name") return null;
  const text = textOf(source, tag, "Name");
  if (text === null || text === "") return null;
  if (tag.attributes === "") return text;
  if (!/^Encoded\s*=\s*["']true["']$/i.test(tag.attributes)) return null;
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** The text of an element that has nothing but text, from its tag on. Null when it is none, or no UTF-8. */
function textOf(source: Buffer, tag: Tag, name: string): string | null {
  if (tag.empty) return "";
  const end = source.indexOf(LESS, tag.end);
  if (end < 0 || tagAt(source, end)?.name !== `/${name}`) return null;
  const text = source.toString("utf8", tag.end, end);
  return text.includes("\ufffd") && !isUtf8(source.subarray(tag.end, end)) ? null : unescapeXml(text);
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

const ENTITIES: ReadonlyMap<string, string> = new Map([
  ["amp", "&"],
  ["lt", "<"],
  ["gt", ">"],
  ["quot", '"'],
  ["apos", "'"],
]);

/** `text` with its entities resolved; null for one that is not known. */
function unescapeXml(text: string): string | null {
  if (!text.includes("&")) return text;
  let known = true;
  const plain = text.replace(/&([^;&]*;?)/g, (_, body: string) => {
    const name = body.slice(0, -1);
    const point = /^#(?:x([0-9a-f]{1,6})|([0-9]{1,7}))$/i.exec(name);
    const code = point === null ? null : Number.parseInt(point[1] ?? point[2] ?? "", point[1] === undefined ? 10 : 16);
    const character = code === null ? ENTITIES.get(name) : isScalar(code) ? String.fromCodePoint(code) : undefined;
    if (character === undefined || !body.endsWith(";")) known = false;
    return character ?? "";
  });
  return known ? plain : null;
}

const isScalar = (code: number): boolean => code < 0xd800 || (code > 0xdfff && code <= 0x10ffff);

function inOrder(elements: ListElement[]): Pick<ListPage, "elements" | "kinds" | "ordered"> {
  if (isAscending(elements)) return { elements, kinds: "mixed", ordered: true };
  const kinds = elements[0]?.isPrefix ? "prefixes-first" : "blobs-first";
  const turn = elements.findIndex(({ isPrefix }) => isPrefix !== elements[0]?.isPrefix);
  const [first, second] = [elements.slice(0, turn), elements.slice(turn)];
  const apart = turn > 0 && second.every(({ isPrefix }) => isPrefix === second[0]?.isPrefix);
  if (!apart || !isAscending(first) || !isAscending(second)) return { elements, kinds: "mixed", ordered: false };
  const sorted = elements.toSorted((a, b) => compareNames(a.key, b.key));
  return { elements: sorted, kinds, ordered: isAscending(sorted) };
}

function isAscending(elements: readonly ListElement[]): boolean {
  for (let i = 1; i < elements.length; i++) {
    if (compareNames(elements[i - 1]?.key ?? "", elements[i]?.key ?? "") >= 0) return false;
  }
  return true;
}

/** What the client asked for and a page repeats, decoded; undefined where it did not say. */
export interface ListEcho {
  readonly marker: string | undefined;
  readonly maxResults: string | undefined;
}

/** `text` as the content of an element. */
export function xmlText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\r", "&#xD;");
}

/** `<name>text</name>`, or `<name />`. */
export function xmlElement(name: string, text: string): string {
  return text === "" ? `<${name} />` : `<${name}>${xmlText(text)}</${name}>`;
}

/** Puts a page together in the manner of the lake's page `like`. An empty `next`: nothing follows. */
export function writeListPage(
  like: ListPage,
  echo: ListEcho,
  elements: readonly Pick<ListElement, "isPrefix" | "raw">[],
  next: string,
): Uint8Array {
  const raws = grouped(like.kinds, elements).map(({ raw }) => raw);
  const before = Buffer.from("<Blobs>");
  const after = Buffer.from(`</Blobs>${xmlElement("NextMarker", next)}</EnumerationResults>`);
  return Buffer.concat([like.opening, ...echoed(like, echo), before, ...raws, after]);
}

function grouped<T extends { readonly isPrefix: boolean }>(
  kinds: ListPage["kinds"],
  elements: readonly T[],
): readonly T[] {
  if (kinds === "mixed") return elements;
  const [blobs, prefixes] = [elements.filter((e) => !e.isPrefix), elements.filter((e) => e.isPrefix)];
  return kinds === "blobs-first" ? [...blobs, ...prefixes] : [...prefixes, ...blobs];
}

/** The lake was asked with a marker and a number of results of Forebay's own: the client is told what it said itself. */
function echoed(like: ListPage, echo: ListEcho): Uint8Array[] {
  const own = new Map([
    ["Marker", echo.marker],
    ["MaxResults", echo.maxResults],
  ]);
  const result: Uint8Array[] = [];
  const put = (name: string): void => {
    const said = own.get(name);
    own.delete(name);
    if (said !== undefined) result.push(Buffer.from(xmlElement(name, said)));
  };
  for (const { name, raw } of like.echoes) {
    // The service's order: Prefix, Marker, MaxResults, Delimiter.
    if (name !== "Prefix" && name !== "Marker") put("Marker");
    if (name !== "Prefix" && name !== "Marker") put("MaxResults");
    if (name === "Marker") {
      if (own.get("Marker") === undefined && isEmpty(raw)) result.push(raw);
      put("Marker");
    } else if (name !== "MaxResults") {
      result.push(raw);
    }
  }
  put("Marker");
  put("MaxResults");
  return result;
}

/** Whether an element has no content. */
function isEmpty(raw: Uint8Array): boolean {
  return /^<[^>]*(?:\/>|><\/[^>]*>)$/.test(Buffer.from(raw).toString("latin1"));
}
