/**
 * The headers of a version that the lake does not have yet, as the lake would give them. What only the lake can know is
 * left out (version id, request id of the write, the account's tier); the creation time is when Forebay acknowledged it.
 *
 * Sources: "Get Blob", "Get Blob Properties", "Put Blob", "Put Block List" of the REST reference.
 */
import { headerOf, type RawHeaders } from "../http/types.ts";
import type { PutDetails } from "../journal/types.ts";
import type { Form } from "./types.ts";

/** Answers from this version on say how many tags a blob has. */
const TAG_COUNT_VERSION = "2019-12-12";
const CREATION_TIME_VERSION = "2017-11-09";
const ENCRYPTED_VERSION = "2015-12-11";
const TIER_VERSION = "2017-04-17";

/** Properties as they are read, and the request header that set them. */
const PROPERTIES = [
  ["Content-Encoding", "content-encoding"],
  ["Content-Language", "content-language"],
  ["Cache-Control", "cache-control"],
] as const;

export interface PendingForm {
  readonly form: Form;
  readonly apiVersion: string;
  /** The tier that the policy has blobs carried to; null: the account's default. */
  readonly tier: string | null;
  /** Whether the caller may know of tags. */
  readonly tags: boolean;
}

/** An ETag in quotes, whether or not it has them. */
export function quoted(etag: string): string {
  return etag.startsWith('"') ? etag : `"${etag}"`;
}

export function lastModifiedOf(put: PutDetails): string {
  return new Date(put.lastModifiedMs).toUTCString();
}

/** The headers of an answer, without framing, range and ids. */
export function pendingHeaders(put: PutDetails, { form, apiVersion, tier, tags }: PendingForm): string[] {
  const given = put.headers;
  const blobHeader = (name: string): string | undefined => headerOf(given, `x-ms-blob-${name}`) || undefined;
  const modified = lastModifiedOf(put);
  const headers = ["Content-Type", blobHeader("content-type") ?? (headerOf(given, "content-type") || OCTETS)];
  for (const [name, lower] of PROPERTIES) {
    const value = blobHeader(lower) ?? headerOf(given, lower);
    if (value) headers.push(name, value);
  }
  const disposition = blobHeader("content-disposition");
  if (disposition !== undefined) headers.push("Content-Disposition", disposition);
  const md5 = blobHeader("content-md5") ?? put.contentMd5;
  if (md5 !== null) headers.push(form === "range" ? "x-ms-blob-content-md5" : "Content-MD5", md5);
  headers.push("Last-Modified", modified, "Accept-Ranges", "bytes", "ETag", quoted(put.etag), "Server", "Forebay");
  headers.push("x-ms-version", apiVersion, ...metadata(given));
  if (apiVersion >= CREATION_TIME_VERSION) headers.push("x-ms-creation-time", modified);
  headers.push("x-ms-lease-status", "unlocked", "x-ms-lease-state", "available", "x-ms-blob-type", "BlockBlob");
  if (apiVersion >= ENCRYPTED_VERSION) headers.push("x-ms-server-encrypted", "true");
  const tagCount = tags && apiVersion >= TAG_COUNT_VERSION ? countTags(given) : 0;
  if (tagCount > 0) headers.push("x-ms-tag-count", String(tagCount));
  const ownTier = headerOf(given, "x-ms-access-tier") ?? tier;
  if (form === "head" && ownTier !== null && apiVersion >= TIER_VERSION) {
    headers.push("x-ms-access-tier", ownTier, "x-ms-access-tier-change-time", modified);
  }
  return headers;
}

const OCTETS = "application/octet-stream";

/** Metadata as the client wrote it: the lake keeps the case of its names. */
function metadata(given: RawHeaders): string[] {
  return given.filter((_, i) => (given[i & ~1] ?? "").toLowerCase().startsWith("x-ms-meta-"));
}

function countTags(given: RawHeaders): number {
  const text = headerOf(given, "x-ms-tags") ?? "";
  return text.split("&").filter((tag) => tag !== "").length;
}
