/**
 * SharedKey and SharedKeyLite for the Blob service, version 2009-09-19 and later.
 *
 * Where the documentation and its readers differ (the order of rare header names, `+` in a query, white space in a
 * value, ACCOUNT-secondary in path style) a signature is tried in each reading that the request admits, plain first; a
 * request signed again keeps the reading that its own signature showed. A request whose signed parts could be read in
 * two ways (a signed header twice, characters beyond ASCII) is not judged.
 *
 * Source: "Authorize with Shared Key" in the REST documentation.
 */
import { limits } from "../base/limits.ts";
import type { RawHeaders } from "../http/types.ts";
import { compareHeaderNames } from "../lake/sign.ts";
import { parseHttpDateMs } from "./dates.ts";
import { type AccountKey, sign, signedByAny } from "./hmac.ts";
import { AT, type Layout, layoutOf, SIGNED_BY_POSITION, valueAt } from "./layout.ts";
import type { Query } from "./query.ts";
import { refused, unknown, type Verdict } from "./types.ts";
import { hasVersionForm } from "./versions.ts";

/** What a signature covers. */
export interface SignableRequest {
  readonly method: string;
  /** The raw path as it is sent: with the account in path style. */
  readonly wirePath: string;
  readonly query: Query;
  readonly headers: RawHeaders;
  /** The layout of `headers`, where it is known already. */
  readonly layout?: Layout;
  /** The version that rules the text when the request has no `x-ms-version` of its own (a part of a batch). */
  readonly apiVersion?: string | undefined;
}

export type SharedKeyScheme = "SharedKey" | "SharedKeyLite";

/** An Authorization header of one of the two schemes. */
export interface SharedKeyHeader {
  readonly scheme: SharedKeyScheme;
  readonly account: string;
  readonly signature: string;
}

/**
 * How `x-ms-` header names are sorted. The documentation says "lexicographically"; the service and the newer SDKs sort
 * as .NET does for the en-US culture. The orders differ only for rare names (`x-ms-meta-a_b`).
 */
type HeaderOrder = "ordinal" | "culture";

/** One reading of what the documentation leaves open. */
export interface Reading {
  readonly order: HeaderOrder;
  /** Whether a `+` in the query is a space or stands for itself. */
  readonly plus: "space" | "literal";
  /** Whether runs of white space in header values become one space. */
  readonly fold: boolean;
  /** Whether `-secondary` is left out of a path that begins with the account. */
  readonly plainAccount: boolean;
}

const PLAIN: Reading = { order: "ordinal", plus: "space", fold: false, plainAccount: true };

/** The signed parts of a request. */
interface SignedParts {
  readonly layout: Layout;
  readonly headers: RawHeaders;
  readonly msDate: string | undefined;
  readonly version: string | undefined;
}

function isPlain(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if ((code < 0x20 && code !== 0x09) || code > 0x7e) return false;
  }
  return true;
}

function gather(request: SignableRequest): SignedParts {
  const { headers } = request;
  const layout = request.layout ?? layoutOf(headers);
  const version = valueAt(layout, headers, AT.msVersion)?.trim() ?? request.apiVersion;
  return { layout, headers, msDate: valueAt(layout, headers, AT.msDate)?.trim(), version };
}

/** Whether the signed headers can be read in one way only. */
function isClear({ layout, headers }: SignedParts): boolean {
  if (layout.signedTwice) return false;
  for (let i = 0; i < SIGNED_BY_POSITION.length; i++) {
    const at = layout.at[i] as number;
    if (at >= 0 && !isPlain(headers[at] ?? "")) return false;
  }
  for (const { at } of layout.ms) if (!isPlain(headers[at] ?? "")) return false;
  return true;
}

/** Whether some `x-ms-` value has a tab or two spaces together. */
function isSpaced({ layout, headers }: SignedParts): boolean {
  return layout.ms.some(({ at }) => {
    const value = (headers[at] ?? "").trim();
    return value.includes("  ") || value.includes("\t");
  });
}

/** Runs of spaces and tabs as one space, but for what stands in double quotes. */
function foldWhiteSpace(value: string): string {
  let folded = "";
  let quoted = false;
  let space = false;
  for (const character of value) {
    if (character === '"') quoted = !quoted;
    if (!quoted && (character === " " || character === "\t")) {
      space = true;
      continue;
    }
    if (space) folded += " ";
    space = false;
    folded += character;
  }
  return folded;
}

function inCultureOrder(ms: Layout["ms"]): Layout["ms"] {
  return [...ms].sort((a, b) => compareHeaderNames(a.name, b.name));
}

function canonicalHeaders({ layout, headers }: SignedParts, version: string, reading: Reading): string {
  const inOrder = reading.order === "ordinal" ? layout.ms : inCultureOrder(layout.ms);
  let text = "";
  for (const { name, at } of inOrder) {
    const value = (headers[at] ?? "").trim();
    // From 2016-05-31 on headers with empty values are signed, before that they are left out.
    if (value === "" && version < "2016-05-31") continue;
    text += `${name}:${reading.fold ? foldWhiteSpace(value) : value}\n`;
  }
  return text;
}

function signedPath(account: string, request: SignableRequest, reading: Reading): string {
  const path = request.wirePath === "" ? "/" : request.wirePath;
  const secondary = `/${account}-secondary`;
  if (!reading.plainAccount || !path.startsWith(secondary)) return `/${account}${path}`;
  const next = path[secondary.length];
  if (next !== undefined && next !== "/") return `/${account}${path}`;
  return `/${account}/${account}${path.slice(secondary.length)}`;
}

/** A query value as it is signed in one reading. */
function signedValue(value: string, rawValue: string | null, reading: Reading): string {
  if (reading.plus === "space" || rawValue === null || !rawValue.includes("+")) return value;
  return decodeURIComponent(rawValue);
}

function canonicalQuery(query: Query, reading: Reading): string {
  const { parameters } = query;
  if (parameters.length === 0) return "";
  const pairs = parameters.map((p) => ({ name: p.name, value: signedValue(p.value, p.rawValue, reading) }));
  pairs.sort((a, b) =>
    a.name === b.name ? (a.value < b.value ? -1 : a.value > b.value ? 1 : 0) : a.name < b.name ? -1 : 1,
  );
  let text = "";
  let previous: string | undefined;
  for (const { name, value } of pairs) {
    text += name === previous ? `,${value}` : `\n${name}:${value}`;
    previous = name;
  }
  return text;
}

function textOf(
  scheme: SharedKeyScheme,
  account: string,
  request: SignableRequest,
  parts: SignedParts,
  reading: Reading,
): string {
  const { layout, headers } = parts;
  const version = parts.version ?? "";
  const standard = (where: number): string => valueAt(layout, headers, where)?.trim() ?? "";
  const path = signedPath(account, request, reading);
  const date = parts.msDate === undefined ? standard(AT.date) : "";
  const canonical = canonicalHeaders(parts, version, reading);
  let text = `${request.method}\n`;
  if (scheme === "SharedKeyLite") {
    const comp = request.query.parameters.find((p) => p.name === "comp");
    const suffix = comp === undefined ? "" : `?comp=${signedValue(comp.value, comp.rawValue, reading)}`;
    text += `${standard(AT.contentMd5)}\n${standard(AT.contentType)}\n${date}\n`;
    return text + canonical + path + suffix;
  }
  for (let i = 0; i < SIGNED_BY_POSITION.length; i++) {
    const value = i === AT.date ? date : standard(i);
    const left = i === AT.contentLength && value === "0" && version >= "2015-02-21";
    text += left ? "\n" : `${value}\n`;
  }
  return text + canonical + path + canonicalQuery(request.query, reading);
}

/** The text that a request's signature covers, in the plain reading. */
export function stringToSign(scheme: SharedKeyScheme, account: string, request: SignableRequest): string {
  return textOf(scheme, account, request, gather(request), PLAIN);
}

/** The parts of a SharedKey or SharedKeyLite Authorization value, or null when it is none. */
export function parseSharedKey(authorization: string): SharedKeyHeader | null {
  const lite = authorization.startsWith("SharedKeyLite ");
  if (!lite && !authorization.startsWith("SharedKey ")) return null;
  const from = lite ? 14 : 10;
  const colon = authorization.indexOf(":", from);
  if (colon <= from) return null;
  const account = authorization.slice(from, colon);
  const signature = authorization.slice(colon + 1);
  // 32 bytes in base64.
  if (signature.length !== 44 || account.includes(" ")) return null;
  return { scheme: lite ? "SharedKeyLite" : "SharedKey", account, signature };
}

/** The readings that this request admits, the plain one first. */
function readingsOf(request: SignableRequest, parts: SignedParts, account: string): Reading[] {
  let readings: Reading[] = [PLAIN];
  const also = (change: Partial<Reading>): void => {
    readings = readings.concat(readings.map((reading) => ({ ...reading, ...change })));
  };
  if (ordersDiffer(parts.layout.ms)) also({ order: "culture" });
  if (request.query.plus) also({ plus: "literal" });
  if (isSpaced(parts)) also({ fold: true });
  if (request.wirePath.startsWith(`/${account}-secondary`)) also({ plainAccount: false });
  return readings;
}

function ordersDiffer(ms: Layout["ms"]): boolean {
  const culture = inCultureOrder(ms);
  return ms.some(({ name }, i) => name !== culture[i]?.name);
}

/** What a verification found: a verdict, and of a true signature the way it was made. */
export interface Verified {
  readonly verdict: Verdict;
  readonly scheme?: SharedKeyScheme;
  readonly reading?: Reading;
}

/**
 * Judges a request that claims SharedKey or SharedKeyLite. A "yes" says that the account's key holder made exactly this
 * request within the last 15 minutes; it lapses when its date does.
 */
export function verifySharedKey(
  request: SignableRequest,
  account: string,
  keys: readonly AccountKey[],
  nowMs: number,
): Verified {
  const parts = gather(request);
  const { layout, headers, version } = parts;
  const authorization = valueAt(layout, headers, AT.authorization);
  if (authorization === undefined) return { verdict: unknown("no Authorization header") };
  const header = parseSharedKey(authorization);
  if (header === null) return { verdict: unknown("not a SharedKey signature") };
  if (keys.length === 0) return { verdict: unknown("the account's key is not configured") };
  if (!isClear(parts)) return { verdict: unknown("a signed header stands twice or is not plain ASCII") };
  if (request.query.malformed) return { verdict: unknown("the query is malformed") };
  if (version === undefined || !hasVersionForm(version) || version < "2009-09-19") {
    return { verdict: unknown("x-ms-version is missing or too old") };
  }
  const dateMs = parseHttpDateMs(parts.msDate ?? valueAt(layout, headers, AT.date)?.trim() ?? "");
  if (dateMs === null) return { verdict: unknown("the date is missing or malformed") };
  if (header.account !== account) return { verdict: refused("signed for another account") };
  if (Math.abs(nowMs - dateMs) > limits.clockSkewMs) return { verdict: refused("the date is too far from now") };
  return match(request, header, parts, keys, dateMs + limits.clockSkewMs);
}

function match(
  request: SignableRequest,
  header: SharedKeyHeader,
  parts: SignedParts,
  keys: readonly AccountKey[],
  expiresAtMs: number,
): Verified {
  const { scheme, account, signature } = header;
  const found = (reading: Reading): boolean =>
    signedByAny(textOf(scheme, account, request, parts, reading), signature, keys);
  if (found(PLAIN)) return { verdict: { verdict: "yes", expiresAtMs }, scheme, reading: PLAIN };
  for (const reading of readingsOf(request, parts, account).slice(1)) {
    if (found(reading)) return { verdict: { verdict: "yes", expiresAtMs }, scheme, reading };
  }
  return { verdict: refused("the signature is another") };
}

/**
 * The Authorization value of a request that Forebay signs. The request carries its `x-ms-version` and its `x-ms-date`
 * or Date already, and what it carries is what is sent.
 */
export function signSharedKey(
  request: SignableRequest,
  account: string,
  key: AccountKey,
  as: { readonly scheme?: SharedKeyScheme | undefined; readonly reading?: Reading | undefined } = {},
): string {
  const scheme = as.scheme ?? "SharedKey";
  const text = textOf(scheme, account, request, gather(request), as.reading ?? PLAIN);
  return `${scheme} ${account}:${sign(text, key)}`;
}
