/** The lake's response headers: what is kept of them, and how the forms relate. */
import { headerOf, type RawHeaders } from "../http/types.ts";

/** Headers that belong to one response, not to the blob: never kept. */
const PER_RESPONSE: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "content-range",
  "date",
  "keep-alive",
  "proxy-authenticate",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "x-forebay", // of a lake that is itself a Forebay
  "x-ms-client-request-id",
  "x-ms-request-id",
]);

const DIGESTS: ReadonlySet<string> = new Set(["content-md5", "x-ms-blob-content-md5"]);

/** The headers of a response that describe the blob. */
export function keptHeaders(headers: RawHeaders): string[] {
  return headers.filter((_, i) => !PER_RESPONSE.has((headers[i & ~1] as string).toLowerCase()));
}

/**
 * The full form's headers after a check by a one-byte range: everything as the lake says it now, but for the two
 * digest headers, which differ between a whole and a range read and cannot change without the ETag
 * (Get Blob: Content-MD5, x-ms-blob-content-md5).
 */
export function refreshedFull(full: RawHeaders, range: RawHeaders): string[] {
  const isDigest = (list: RawHeaders, i: number): boolean => DIGESTS.has((list[i & ~1] as string).toLowerCase());
  return [...range.filter((_, i) => !isDigest(range, i)), ...full.filter((_, i) => isDigest(full, i))];
}

/** `Content-Range: bytes FIRST-LAST/SIZE`, or null when it is not exactly that. */
export function parseContentRange(text: string | undefined): { first: number; last: number; size: number } | null {
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(text ?? "");
  if (!match) return null;
  return { first: Number(match[1]), last: Number(match[2]), size: Number(match[3]) };
}

/** The ETag and whole length that a successful answer speaks of, or why it cannot be used. */
export function describeAnswer(
  status: number,
  headers: RawHeaders,
): { etag: string; sizeBytes: number; first: number; last: number } | null {
  const etag = headerOf(headers, "etag");
  if (etag === undefined || etag === "") return null;
  if (status === 206) {
    const range = parseContentRange(headerOf(headers, "content-range"));
    const length = headerOf(headers, "content-length");
    if (range === null || range.last < range.first || range.last >= range.size) return null;
    if (length !== undefined && Number(length) !== range.last - range.first + 1) return null;
    return { etag, sizeBytes: range.size, first: range.first, last: range.last };
  }
  const length = headerOf(headers, "content-length");
  if (status !== 200 || length === undefined || !/^\d{1,16}$/.test(length)) return null;
  return { etag, sizeBytes: Number(length), first: 0, last: Number(length) - 1 };
}

/** The whole blob's MD5 (base64), where the lake names one. */
export function wholeMd5(form: "full" | "range" | "head", headers: RawHeaders): string | undefined {
  return (
    headerOf(headers, "x-ms-blob-content-md5") ?? (form === "range" ? undefined : headerOf(headers, "content-md5"))
  );
}
