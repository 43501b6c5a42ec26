/**
 * What changes when a request passes on to the lake, and when the answer passes back. Nearly nothing: headers that
 * belong to one connection are dropped, the path takes the lake's style, and a copy's source that names Forebay becomes
 * the lake's. Where that touches what SharedKey signs, the request is verified and signed again with the lake's key.
 */
import type { RawHeaders } from "../http/types.ts";
import type { UrlStyle } from "../lake/types.ts";
import { type OwnAddresses, rewriteSource, SOURCE_HEADERS } from "./copy-source.ts";
import { frontErrors } from "./errors.ts";
import type { AccountKey } from "./hmac.ts";
import type { Query } from "./query.ts";
import { signSharedKey, verifySharedKey } from "./shared-key.ts";
import { rawPathFor } from "./target.ts";
import type { ServiceError, Target } from "./types.ts";

/** Headers of one connection (RFC 9110, 7.6.1), and those that the client towards the lake adds itself. */
const DROPPED: ReadonlySet<string> = new Set(
  "connection keep-alive proxy-connection te trailer transfer-encoding upgrade expect host content-length".split(" "),
);

/** Whether a header may be dropped because Connection names it: never one that the service acts upon. */
function isDroppable(name: string): boolean {
  if (name.startsWith("x-ms-") || name.startsWith("content-") || name.startsWith("if-")) return false;
  return name !== "authorization" && name !== "date" && name !== "range" && name !== "origin";
}

/** The lower-case names that the Connection headers of a message list. */
function connectionNames(headers: RawHeaders): ReadonlySet<string> | null {
  let names: Set<string> | null = null;
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? "";
    if (name.length !== 10 || name.toLowerCase() !== "connection") continue;
    for (const piece of (headers[i + 1] ?? "").split(",")) {
      const listed = piece.trim().toLowerCase();
      if (listed === "close" || listed === "keep-alive" || !isDroppable(listed)) continue;
      names ??= new Set();
      names.add(listed);
    }
  }
  return names;
}

function isDropped(lowerName: string, listed: ReadonlySet<string> | null): boolean {
  if (DROPPED.has(lowerName) || lowerName.startsWith("proxy-")) return true;
  if (lowerName === "x-forebay" || lowerName.startsWith("x-forebay-")) return true;
  return listed?.has(lowerName) ?? false;
}

/** Headers of a message without those that belong to the connection, to the framing, or to Forebay. */
export function endToEndHeaders(headers: RawHeaders): string[] {
  const listed = connectionNames(headers);
  const kept: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? "";
    if (!isDropped(name.toLowerCase(), listed)) kept.push(name, headers[i + 1] ?? "");
  }
  return kept;
}

/** A request that is to be passed on. */
export interface Passing {
  readonly method: string;
  readonly target: Target;
  readonly query: Query;
  /** As the client sent them. */
  readonly headers: RawHeaders;
  readonly lakeStyle: UrlStyle;
  /** The account's keys, newest first: the first one signs. */
  readonly keys: readonly AccountKey[];
  readonly own: OwnAddresses;
  readonly nowMs: number;
  /** The new length of a body that was rewritten. */
  readonly bodyLengthBytes?: number | undefined;
  /** Conditions that the lake knows by other values: by lower-case name, null to leave one out. */
  readonly conditions?: ReadonlyMap<string, string | null> | undefined;
}

/** What is sent to the lake (see `LakeForward`), or the error to give instead. */
export type Passed =
  | { readonly kind: "pass"; readonly path: string; readonly query: string; readonly headers: string[] }
  | { readonly kind: "refuse"; readonly error: ServiceError };

/** Digests of a body: no longer true of a rewritten one. */
const DIGESTS: ReadonlySet<string> = new Set(["content-md5", "x-ms-content-crc64"]);

/** Prepares a request for the lake. */
export function rewriteRequest(passing: Passing): Passed {
  const { method, target, query } = passing;
  const path = rawPathFor(passing.lakeStyle, target);
  const authorization = onlyAuthorization(passing.headers);
  const conditions = new Map(passing.conditions);
  let changed = path !== target.wirePath || passing.bodyLengthBytes !== undefined || conditions.size > 0;
  const headers: string[] = [];
  const host = firstHeader(passing.headers, "host");
  const kept = endToEndHeaders(passing.headers);
  for (let i = 0; i + 1 < kept.length; i += 2) {
    const name = kept[i] ?? "";
    const value = kept[i + 1] ?? "";
    const lower = name.toLowerCase();
    if (passing.bodyLengthBytes !== undefined && DIGESTS.has(lower)) continue;
    const condition = conditions.get(lower);
    if (condition !== undefined) {
      conditions.delete(lower);
      if (condition !== null) headers.push(name, condition);
      continue;
    }
    const source = SOURCE_HEADERS.has(lower) ? rewriteSource(value.trim(), host, passing.own) : null;
    if (source !== null) changed = true;
    headers.push(name, source ?? value);
  }
  for (const [name, value] of conditions) if (value !== null) headers.push(name, value);
  const pass: Passed = { kind: "pass", path, query: target.query, headers };
  if (!changed || authorization === null) return pass;
  if (passing.keys.length === 0) return { kind: "refuse", error: frontErrors.cannotSign };
  const original = { method, wirePath: target.wirePath, query, headers: passing.headers };
  const verified = verifySharedKey(original, target.account, passing.keys, passing.nowMs);
  // A signature that is not true stays as it is: the lake refuses it in its own words.
  if (verified.verdict.verdict !== "yes") return pass;
  const length = passing.bodyLengthBytes ?? firstHeader(passing.headers, "content-length");
  const signed = resigned(headers, length, { method, wirePath: path, query }, target.account, passing.keys, verified);
  return { ...pass, headers: signed };
}

type Verified = ReturnType<typeof verifySharedKey>;

function resigned(
  headers: readonly string[],
  length: string | number | undefined,
  request: { readonly method: string; readonly wirePath: string; readonly query: Query },
  account: string,
  keys: readonly AccountKey[],
  verified: Verified,
): string[] {
  const [key] = keys;
  if (key === undefined) return [...headers];
  // Beside x-ms-date a Date header is not signed, and some readers sign it nevertheless: send one of them only.
  const dated = firstHeader(headers, "x-ms-date") !== undefined;
  const sent = withoutHeader(withoutHeader(headers, "authorization"), dated ? "date" : "authorization");
  const signable = length === undefined ? sent : [...sent, "Content-Length", String(length)];
  const { scheme, reading } = verified;
  return [
    ...sent,
    "Authorization",
    signSharedKey({ ...request, headers: signable }, account, key, { scheme, reading }),
  ];
}

/** The SharedKey or SharedKeyLite Authorization value of a request, or null. */
function onlyAuthorization(headers: RawHeaders): string | null {
  const value = firstHeader(headers, "authorization");
  return value?.startsWith("SharedKey") ? value : null;
}

function firstHeader(headers: RawHeaders, lowerName: string): string | undefined {
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if ((headers[i] ?? "").toLowerCase() === lowerName) return headers[i + 1];
  }
  return undefined;
}

function withoutHeader(headers: readonly string[], lowerName: string): string[] {
  const kept: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if ((headers[i] ?? "").toLowerCase() !== lowerName) kept.push(headers[i] ?? "", headers[i + 1] ?? "");
  }
  return kept;
}
