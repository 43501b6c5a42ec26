/**
 * The headers that make a blob's properties, in the one form that Put Blob and Put Block List both understand, and
 * whether a blob in the lake has them.
 */
import { headerOf, type RawHeaders } from "../http/types.ts";
import type { PutDetails } from "../journal/types.ts";

/** The properties that a blob has, as its readers see them. */
const PROPERTIES = [
  "content-type",
  "content-encoding",
  "content-language",
  "cache-control",
  "content-disposition",
] as const;

const DEFAULT_TYPE = "application/octet-stream";
/** What is said by the request itself, or elsewhere in the put. */
const LEFT_OUT: ReadonlySet<string> = new Set(["content-md5", "content-length", "x-ms-blob-type"]);

/** Headers of the request that commits. `tier`: where the put does not name one itself. */
export function commitHeaders(put: PutDetails, tier: string | null): string[] {
  const headers: string[] = [];
  for (let i = 0; i < put.headers.length; i += 2) {
    const [name = "", value = ""] = [put.headers[i], put.headers[i + 1]];
    const lower = name.toLowerCase();
    if (LEFT_OUT.has(lower) || (lower === "x-ms-blob-content-md5" && put.contentMd5 !== null)) continue;
    if (!isProperty(lower)) headers.push(name, value);
    // Put Block List takes a plain Content-Type for that of its list; and in Put Blob the other form wins.
    else if (headerOf(put.headers, `x-ms-blob-${lower}`) === undefined) headers.push(`x-ms-blob-${lower}`, value);
  }
  if (put.contentMd5 !== null) headers.push("x-ms-blob-content-md5", put.contentMd5);
  if (tier !== null && headerOf(headers, "x-ms-access-tier") === undefined) headers.push("x-ms-access-tier", tier);
  return headers;
}

function isProperty(lower: string): boolean {
  return PROPERTIES.some((name) => name === lower);
}

/** Whether the headers of a blob's answer are those of a blob that was put with `put`. MD5 and tier are not compared. */
export function hasProperties(put: PutDetails, answer: RawHeaders): boolean {
  const wanted = commitHeaders(put, null);
  for (const name of PROPERTIES) {
    const default_ = name === "content-type" ? DEFAULT_TYPE : "";
    if ((headerOf(wanted, `x-ms-blob-${name}`) ?? default_) !== (headerOf(answer, name) ?? default_)) return false;
  }
  const [ours, theirs] = [metadataOf(wanted), metadataOf(answer)];
  if (ours.size !== theirs.size) return false;
  return [...ours].every(([name, value]) => theirs.get(name) === value);
}

const META = "x-ms-meta-";

/** Names without regard to case. Values beyond ASCII come back in other forms: they count as present only. */
function metadataOf(headers: RawHeaders): Map<string, string> {
  const metadata = new Map<string, string>();
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] ?? "").toLowerCase();
    if (!name.startsWith(META)) continue;
    const value = (headers[i + 1] ?? "").trim();
    metadata.set(name.slice(META.length), /^[\x20-\x7e]*$/.test(value) ? value : "?");
  }
  return metadata;
}
