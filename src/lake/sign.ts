/**
 * SharedKey: the text that is signed, and its signature. Pure functions, so that verifying a client's signature (the
 * blob room) and signing a request of Forebay's own are the same code.
 *
 * Source: "Authorize with Shared Key" of the Azure Storage REST reference (Blob service, version 2015-02-21 on).
 */
import { headerOf, type RawHeaders } from "../http/types.ts";

/** What a SharedKey signature covers of a request. */
export interface SignedRequest {
  readonly method: string;
  /** The raw path as it goes over the wire; in path style it begins with the account. */
  readonly path: string;
  /** The raw query, with or without its `?`. */
  readonly query: string;
  /** The headers as sent. A Content-Length among them is used unless `contentLengthBytes` is given. */
  readonly headers: RawHeaders;
  /** The length of the body; null for a request without the header. */
  readonly contentLengthBytes?: number | null | undefined;
  readonly account: string;
}

/** The standard headers that are signed by position, in order; Content-Length and Date are handled apart. */
const AFTER_DATE = ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"] as const;

/** The text that a `SharedKey` signature covers. Throws URIError when the query is not valid percent-encoding. */
export function sharedKeyStringToSign(request: SignedRequest): string {
  const value = (name: string): string => headerOf(request.headers, name) ?? "";
  const length =
    request.contentLengthBytes === undefined
      ? value("content-length")
      : request.contentLengthBytes === null
        ? ""
        : String(request.contentLengthBytes);
  const lines = [
    request.method.toUpperCase(),
    value("content-encoding"),
    value("content-language"),
    length === "0" ? "" : length,
    value("content-md5"),
    value("content-type"),
    headerOf(request.headers, "x-ms-date") === undefined ? value("date") : "",
    ...AFTER_DATE.map(value),
  ];
  return `${lines.join("\n")}\n${canonicalHeaders(request.headers)}${canonicalResource(request)}`;
}

/** The text that a `SharedKeyLite` signature covers. */
export function sharedKeyLiteStringToSign(request: SignedRequest): string {
  const value = (name: string): string => headerOf(request.headers, name) ?? "";
  const date = headerOf(request.headers, "x-ms-date") === undefined ? value("date") : "";
  const comp = queryPairs(request.query).find(([name]) => name === "comp");
  const resource = `/${request.account}${request.path}${comp === undefined ? "" : `?comp=${comp[1]}`}`;
  const lines = [request.method.toUpperCase(), value("content-md5"), value("content-type"), date];
  return `${lines.join("\n")}\n${canonicalHeaders(request.headers)}${resource}`;
}

/** The base64 HMAC-SHA256 of `text` (UTF-8) under `key`. */
export function hmacSha256Base64(key: Uint8Array, text: string): string {
  return new Bun.CryptoHasher("sha256", key).update(text).digest("base64");
}

/** The value of the Authorization header that signs `request` with `key`. */
export function sharedKeyAuthorization(key: Uint8Array, request: SignedRequest): string {
  return `SharedKey ${request.account}:${hmacSha256Base64(key, sharedKeyStringToSign(request))}`;
}

function canonicalHeaders(headers: RawHeaders): string {
  const values = new Map<string, string>();
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] ?? "").toLowerCase();
    if (!name.startsWith("x-ms-")) continue;
    const value = (headers[i + 1] ?? "").trim();
    const before = values.get(name);
    values.set(name, before === undefined ? value : `${before},${value}`);
  }
  let text = "";
  for (const name of [...values.keys()].sort(compareHeaderNames)) text += `${name}:${values.get(name)}\n`;
  return text;
}

function canonicalResource(request: SignedRequest): string {
  const values = new Map<string, string[]>();
  for (const [name, value] of queryPairs(request.query)) {
    const list = values.get(name);
    if (list === undefined) values.set(name, [value]);
    else list.push(value);
  }
  let text = `/${request.account}${request.path}`;
  for (const name of [...values.keys()].sort()) text += `\n${name}:${(values.get(name) ?? []).sort().join(",")}`;
  return text;
}

/** The parameters of a raw query: names decoded and in lower case, values decoded. `+` stays a plus. */
function queryPairs(query: string): (readonly [string, string])[] {
  const text = query.startsWith("?") ? query.slice(1) : query;
  const pairs: (readonly [string, string])[] = [];
  for (const part of text.split("&")) {
    if (part === "") continue;
    const at = part.indexOf("=");
    const name = at < 0 ? part : part.slice(0, at);
    const value = at < 0 ? "" : part.slice(at + 1);
    pairs.push([decodeURIComponent(name).toLowerCase(), decodeURIComponent(value)]);
  }
  return pairs;
}

/**
 * The service sorts header names as .NET's en-US culture does: letters and digits first, `-` and `'` only where all
 * else is equal. This is the order of the other characters that a header name may have.
 */
const CULTURE_ORDER = "!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz";
const NAME_END = 0x1_0000;

function weight(name: string, at: number, hyphens: boolean): number {
  if (at >= name.length) return NAME_END;
  const character = name.charAt(at);
  if (hyphens) return character === "'" ? 1 : character === "-" ? 2 : 0;
  return CULTURE_ORDER.indexOf(character) + 1;
}

/** Orders two lower-case header names as the service does. Negative when `left` comes first. */
export function compareHeaderNames(left: string, right: string): number {
  for (const hyphens of [false, true]) {
    let [i, j] = [0, 0];
    for (;;) {
      // A hyphen further from the start comes first.
      if (hyphens && i !== j) return j - i;
      const [a, b] = [weight(left, i, hyphens), weight(right, j, hyphens)];
      if (a === NAME_END && b === NAME_END) break;
      if (a === b) {
        i++;
        j++;
      } else if (a === 0) i++;
      else if (b === 0) j++;
      else if (a === NAME_END || b === NAME_END) return a === NAME_END ? -1 : 1;
      else return a - b;
    }
  }
  return 0;
}
