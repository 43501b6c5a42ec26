/**
 * Folders out of a flat space of names: the lake lists what begins with a prefix, up to the next `/`. In accounts with a
 * hierarchical namespace folders are blobs of their own, and so are the markers that Hadoop's clients leave in others.
 *
 * Names that no file can have, or none that programs can open, are not shown: empty ones (`a//b`, `/a`), `.`, `..`, and
 * those of more than 255 bytes. Where a blob and a folder have the same name, the folder is shown.
 *
 * Source: "List Blobs" of the REST reference.
 */
import { XMLParser } from "fast-xml-parser";
import { ForebayError } from "../base/errors.ts";
import { compareNames } from "../base/name-order.ts";
import { headerOf, type RawHeaders } from "../http/types.ts";
import { errorCodeOf, readText } from "../lake/answers.ts";
import type { OwnLake } from "../lake/types.ts";
import { mountBounds } from "./bounds.ts";

/** A blob as a list shows it. */
export interface ListedBlob {
  readonly name: string;
  readonly sizeBytes: number;
  /** Without quotes. */
  readonly etag: string;
  readonly mtimeMs: number;
  readonly isFolder: boolean;
}

/** A page of a list: blobs, and prefixes that end with `/`. */
export interface BlobPage {
  readonly blobs: readonly ListedBlob[];
  readonly prefixes: readonly string[];
  readonly next: string | null;
}

export interface ListQuestion {
  readonly prefix: string;
  readonly marker: string | null;
  readonly max: number;
  readonly signal: AbortSignal;
}

/** Lists a container by prefix, up to the next `/`. Null: there is no such container. */
export type Lister = (question: ListQuestion) => Promise<BlobPage | null>;

/** Lists with Forebay's own credential. Rejects with `lake-refused`, `lake-corrupt`, and as the lake does. */
export function createLakeLister(lake: OwnLake, container: string): Lister {
  return async ({ prefix, marker, max, signal }) => {
    const query: [string, string][] = [
      ["restype", "container"],
      ["comp", "list"],
      ["prefix", prefix],
      ["delimiter", "/"],
      ["maxresults", String(max)],
      ["include", "metadata"],
    ];
    if (marker !== null) query.push(["marker", marker]);
    const response = await lake.own({ method: "GET", container, query, signal });
    const text = await readText(response.body, mountBounds.listPageBytesMax);
    const { status } = response.head;
    if (status === 200) return parsePage(text);
    const code = errorCodeOf(response, text) ?? "";
    if (status === 404) return null;
    throw new ForebayError("lake-refused", `the lake answered ${status} ${code} when asked for a list`, {
      retryable: status >= 500 || status === 429,
    });
  };
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  textNodeName: "#",
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  ignoreDeclaration: true,
  isArray: (name) => name === "Blob" || name === "BlobPrefix",
});

/** A page of List Blobs. Throws `lake-corrupt` when it is none. */
export function parsePage(text: string): BlobPage {
  let document: unknown;
  try {
    document = parser.parse(text.replace(/^\uFEFF/, ""));
  } catch (cause) {
    throw new ForebayError("lake-corrupt", "the lake's list cannot be read", { cause });
  }
  const results = field(document, "EnumerationResults");
  if (results === undefined) throw new ForebayError("lake-corrupt", "the lake's list is none");
  const blobs = field(results, "Blobs");
  const next = textOf(field(results, "NextMarker"));
  return {
    blobs: listOf(field(blobs, "Blob")).map(blobOf),
    prefixes: listOf(field(blobs, "BlobPrefix")).map((prefix) => nameOf(prefix)),
    next: next === "" ? null : next,
  };
}

function blobOf(item: unknown): ListedBlob {
  const properties = field(item, "Properties");
  const sizeBytes = Number(textOf(field(properties, "Content-Length")));
  const etag = withoutQuotes(textOf(field(properties, "Etag")));
  const isFolder =
    textOf(field(properties, "ResourceType")).toLowerCase() === "directory" ||
    textOf(field(field(item, "Metadata"), FOLDER_MARK)).toLowerCase() === "true";
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || (etag === "" && !isFolder)) {
    throw new ForebayError("lake-corrupt", "the lake's list has a blob without a length or an ETag");
  }
  return { name: nameOf(item), sizeBytes, etag, mtimeMs: timeOf(textOf(field(properties, "Last-Modified"))), isFolder };
}

const FOLDER_MARK = "hdi_isfolder";

/** Names that XML cannot hold are written as in a URL, and say so. */
function nameOf(item: unknown): string {
  const name = field(item, "Name");
  const text = textOf(name);
  if (textOf(field(name, "@Encoded")) !== "true") return text;
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new ForebayError("lake-corrupt", "the lake's list has a name that cannot be read", { cause });
  }
}

function field(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return (value as Readonly<Record<string, unknown>>)[name];
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** The text of an element, with or without attributes. */
function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  const inner = field(value, "#");
  return typeof inner === "string" ? inner : "";
}

export function withoutQuotes(etag: string): string {
  return etag.replace(/^"(.*)"$/, "$1");
}

/** Milliseconds since 1970 of an HTTP date; 0 when it is none. */
export function timeOf(date: string): number {
  const ms = Date.parse(date);
  return Number.isNaN(ms) ? 0 : ms;
}

/** Whether the headers are those of a folder: HNS, or a marker. */
export function isFolderAnswer(headers: RawHeaders): boolean {
  const says = (name: string, value: string): boolean => headerOf(headers, name)?.toLowerCase() === value;
  return says("x-ms-resource-type", "directory") || says(`x-ms-meta-${FOLDER_MARK}`, "true");
}

/** Whether a name can be shown as one of a folder. */
export function isShown(name: string): boolean {
  if (name === "" || name === "." || name === "..") return false;
  if (name.includes("/") || name.includes("\0")) return false;
  return name.length * 3 <= mountBounds.nameBytesMax || Buffer.byteLength(name) <= mountBounds.nameBytesMax;
}

/** A name of a folder. */
export type Shown = { readonly name: string; readonly blob: ListedBlob | null };

/** Names of a page, and how many are not shown. */
export interface ShownPage {
  readonly shown: readonly Shown[];
  readonly hidden: number;
  /** How the next page is asked for; null at the end. */
  readonly next: string | null;
}

/** What the next page has to know: the lake's marker, and names that a folder may still have, too. */
interface Position {
  readonly marker: string;
  readonly maybe: readonly string[];
}

export function readPosition(from: string | null): Position | null {
  return from === null ? null : (JSON.parse(from) as Position);
}

/** The names of a page of the lake below `prefix`. */
export function shownPage(page: BlobPage, prefix: string, before: Position | null): ShownPage {
  const shown = new Map<string, Shown>();
  const given = new Set(before?.maybe ?? []);
  let hidden = 0;
  const show = (name: string, blob: ListedBlob | null): void => {
    // The marker of the folder itself.
    if (name === "" && blob !== null) return;
    if (!isShown(name)) hidden++;
    else if (!given.has(name) && (blob === null || shown.get(name)?.blob !== null)) shown.set(name, { name, blob });
  };
  for (const blob of page.blobs) show(blob.name.slice(prefix.length), blob.isFolder ? null : blob);
  for (const folder of page.prefixes) show(folder.slice(prefix.length, -1), null);
  if (page.next === null) return { shown: [...shown.values()], hidden, next: null };
  // `a` stands before `a-b`, and that before `a/`: the folder of a name may come pages later, behind names that all
  // begin with it.
  const last = lastName(page);
  const maybe = [...given, ...page.blobs.map((blob) => blob.name.slice(prefix.length))];
  const kept = maybe.filter((name) => name !== "" && last.startsWith(prefix + name));
  const next = JSON.stringify({ marker: page.next, maybe: [...new Set(kept)] } satisfies Position);
  return { shown: [...shown.values()], hidden, next };
}

/** The name that a page ends with, in the order of the lake. */
export function lastName({ blobs, prefixes }: BlobPage): string {
  const [blob, prefix] = [blobs.at(-1)?.name ?? "", prefixes.at(-1) ?? ""];
  return compareNames(blob, prefix) > 0 ? blob : prefix;
}
