/**
 * Bodies of Blob Batch: many small requests in one `multipart/mixed` body, each signed for itself. Where the lake's URL
 * style is another, each part's path is rewritten and each SharedKey part signed again; all else stays byte for byte.
 * A body that is not understood is passed on unchanged, and the lake refuses it.
 *
 * The lake may divide a body into parts in another way than it is done here. So what its parts touch is only believed
 * of a body that nobody can divide otherwise ({@link isCanonical}); of any other, all bytes are searched for the
 * restrictions of a SAS that the lake cannot see.
 *
 * Source: "Blob Batch" in the REST documentation.
 */
import { limits } from "../base/limits.ts";
import { headerOf, type RawHeaders } from "../http/types.ts";
import type { UrlStyle } from "../lake/types.ts";
import { frontErrors } from "./errors.ts";
import type { AccountKey } from "./hmac.ts";
import { detectOperation, type TouchedScope, touchedBy } from "./operations.ts";
import { decodeLoosely, parseQuery } from "./query.ts";
import { refusedHere } from "./sas.ts";
import { signSharedKey, verifySharedKey } from "./shared-key.ts";
import { parseTarget, rawPathFor } from "./target.ts";
import type { ServiceError, Target, Verdict } from "./types.ts";

/** One request of a batch. Offsets are in characters of the body read as Latin-1. */
interface Part {
  readonly method: string;
  readonly rawTarget: string;
  readonly headers: RawHeaders;
  /** Where the raw target stands. */
  readonly targetAt: readonly [from: number, to: number];
  /** Where the value of Authorization stands, if there is one. */
  readonly authorizationAt: readonly [from: number, to: number] | null;
  /** Nothing in it could be read in another way: see {@link isCanonical}. */
  readonly plain: boolean;
}

/** The boundary that a Content-Type names, or null. */
export function batchBoundary(contentType: string | undefined): string | null {
  if (contentType === undefined || !contentType.toLowerCase().startsWith("multipart/mixed")) return null;
  let found: string | null = null;
  for (const piece of contentType.split(";").slice(1)) {
    const equals = piece.indexOf("=");
    if (piece.slice(0, equals).trim().toLowerCase() !== "boundary") continue;
    if (found !== null) return null;
    const value = piece.slice(equals + 1).trim();
    const bare = value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    if (bare.length === 0 || bare.length > 200 || bare.includes('"')) return null;
    found = bare;
  }
  return found;
}

/** The lines of `text` in [from, to), each with where it begins; line ends are CRLF or LF. */
function* linesOf(text: string, from: number, to: number): Generator<{ at: number; line: string; next: number }> {
  let at = from;
  while (at < to) {
    const feed = text.indexOf("\n", at);
    const end = feed < 0 || feed >= to ? to : feed;
    const bare = end > at && text[end - 1] === "\r" ? end - 1 : end;
    yield { at, line: text.slice(at, bare), next: end + 1 };
    at = end + 1;
  }
}

/** The parts of a batch, or null when it is not understood or beyond the bounds. */
function parseParts(text: string, boundary: string): Part[] | null {
  const parts: Part[] = [];
  const delimiter = `--${boundary}`;
  let from = -1;
  for (const { at, line, next } of linesOf(text, 0, text.length)) {
    const trimmed = line.trimEnd();
    if (trimmed !== delimiter && trimmed !== `${delimiter}--`) continue;
    if (from >= 0) {
      const part = parsePart(text, from, at);
      if (part === null || parts.length >= limits.batchPartsMax) return null;
      parts.push(part);
    }
    if (trimmed !== delimiter) return parts.length === 0 ? null : parts;
    from = next;
  }
  return null;
}

/** The MIME headers that a part has in the documentation, and the only values that say nothing. */
const PLAIN_MIME = /^(content-type: ?application\/http|content-transfer-encoding: ?binary|content-id: ?[\w.@<>-]+)$/i;

/** A part: its MIME headers, an empty line, a request line, its headers. */
function parsePart(text: string, from: number, to: number): Part | null {
  let stage: "mime" | "request" | "headers" | "end" = "mime";
  let request: { method: string; rawTarget: string; targetAt: readonly [number, number] } | null = null;
  let authorizationAt: readonly [number, number] | null = null;
  let plain = true;
  const mime = new Set<string>();
  const headers: string[] = [];
  for (const { at, line } of linesOf(text, from, to)) {
    if (stage === "end") {
      if (line !== "") plain = false;
    } else if (stage === "mime") {
      if (line === "") stage = "request";
      else {
        const name = line.slice(0, line.indexOf(":")).toLowerCase();
        if (!PLAIN_MIME.test(line) || mime.has(name)) plain = false;
        mime.add(name);
      }
    } else if (stage === "request") {
      if (line === "") {
        plain = false;
        continue;
      }
      request = parseRequestLine(line, at);
      if (request === null) return null;
      stage = "headers";
    } else if (line === "") {
      stage = "end";
    } else {
      const colon = line.indexOf(":");
      if (colon <= 0 || line[0] === " " || line[0] === "\t") return null;
      const name = line.slice(0, colon);
      const value = line.slice(colon + 1);
      if (name.toLowerCase() === "authorization") {
        if (authorizationAt !== null) return null;
        authorizationAt = [at + colon + 1, at + line.length];
      }
      if (!isPlainHeader(name, value.trim())) plain = false;
      headers.push(name, value.trim());
    }
  }
  if (request === null) return null;
  return { ...request, headers, authorizationAt, plain: plain && stage === "end" && mime.has("content-type") };
}

/** Whether a part's header leaves no doubt about where the part ends and which account it is for. */
function isPlainHeader(name: string, value: string): boolean {
  const lower = name.toLowerCase();
  if (lower === "content-length") return value === "0";
  return /^[\w-]+$/.test(name) && lower !== "host" && lower !== "transfer-encoding";
}

function parseRequestLine(
  line: string,
  at: number,
): { method: string; rawTarget: string; targetAt: readonly [number, number] } | null {
  const first = line.indexOf(" ");
  const last = line.lastIndexOf(" ");
  if (first <= 0 || last <= first || line.slice(last + 1) !== "HTTP/1.1") return null;
  const rawTarget = line.slice(first + 1, last);
  if (!rawTarget.startsWith("/") || rawTarget.includes(" ")) return null;
  return { method: line.slice(0, first), rawTarget, targetAt: [at + first + 1, at + last] };
}

/** How a batch came and where it goes. */
export interface BatchPassing {
  readonly body: Uint8Array;
  readonly contentType: string | undefined;
  /** The Host header of the batch: its parts are addressed in the same way. */
  readonly host: string | undefined;
  /** The account that the batch itself names: parts of another one are not touched. */
  readonly account: string;
  readonly lakeStyle: UrlStyle;
  readonly keys: readonly AccountKey[];
  readonly apiVersion: string | undefined;
  readonly nowMs: number;
}

export type BatchPassed =
  | { readonly kind: "pass"; readonly body: Uint8Array; readonly changed: boolean }
  | { readonly kind: "refuse"; readonly error: ServiceError };

interface ReadBatch {
  readonly text: string;
  /** Null when the body is not understood or beyond the bounds. */
  readonly parts: readonly Part[] | null;
  readonly canonical: boolean;
}

function readBatch(body: Uint8Array, contentType: string | undefined): ReadBatch {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("latin1");
  const boundary = batchBoundary(contentType);
  if (boundary === null || body.length > limits.batchBodyBytesMax) return { text, parts: null, canonical: false };
  const parts = parseParts(text, boundary);
  const canonical = parts !== null && isCanonical(text, boundary, contentType ?? "", parts);
  return { text, parts, canonical };
}

/**
 * Whether a batch can be divided into its parts in one way only: a plain Content-Type, printable ASCII, lines that end
 * with CRLF, nothing before the first delimiter and after the last, the delimiter nowhere but on lines of its own, and
 * in every part one request without a body.
 */
function isCanonical(text: string, boundary: string, contentType: string, parts: readonly Part[]): boolean {
  if (!/^multipart\/mixed; ?boundary=[\w.+=-]{1,70}$/i.test(contentType)) return false;
  if (/[^\x20-\x7e]/.test(text.replaceAll("\r\n", "")) || !parts.every((part) => part.plain)) return false;
  const delimiter = `--${boundary}`;
  const last = text.endsWith("\r\n") ? text.length - 2 : text.length;
  // In any case of its letters: some reader may not tell them apart.
  const folded = text.toLowerCase();
  const foldedDelimiter = delimiter.toLowerCase();
  let found = 0;
  for (let at = folded.indexOf(foldedDelimiter); at >= 0; at = folded.indexOf(foldedDelimiter, at + 1)) {
    const end = at + delimiter.length;
    const begins = at === 0 || text.startsWith("\r\n", at - 2);
    const ends = found < parts.length ? text.startsWith("\r\n", end) : text.startsWith("--", end) && end + 2 === last;
    if (!begins || !ends || !text.startsWith(delimiter, at) || (found === 0 && at !== 0)) return false;
    found++;
  }
  return found === parts.length + 1;
}

/** Prepares the body of a batch for the lake. Its length may change. */
export function rewriteBatch(batch: BatchPassing): BatchPassed {
  const unchanged: BatchPassed = { kind: "pass", body: batch.body, changed: false };
  const { text, parts } = readBatch(batch.body, batch.contentType);
  if (parts === null) return unchanged;
  const edits: { at: readonly [number, number]; text: string }[] = [];
  for (const part of parts) {
    const target = parseTarget(part.rawTarget, batch.host, new Set([batch.account]));
    if (target === null) return unchanged;
    const path = rawPathFor(batch.lakeStyle, target);
    if (path === target.wirePath) continue;
    edits.push({ at: part.targetAt, text: path + target.query });
    const signature = signedAgain(batch, part, target, path);
    if (signature === "no-key") return { kind: "refuse", error: frontErrors.cannotSign };
    if (signature !== null && part.authorizationAt !== null) {
      edits.push({ at: part.authorizationAt, text: ` ${signature}` });
    }
  }
  if (edits.length === 0) return unchanged;
  return { kind: "pass", body: applyEdits(text, edits), changed: true };
}

/** The new Authorization value of a part; null when it keeps what it has. */
function signedAgain(batch: BatchPassing, part: Part, target: Target, path: string): string | "no-key" | null {
  if (!headerOf(part.headers, "authorization")?.startsWith("SharedKey")) return null;
  const [key] = batch.keys;
  if (key === undefined) return "no-key";
  const query = parseQuery(target.query);
  const { method, headers } = part;
  const { apiVersion } = batch;
  const request = { method, wirePath: target.wirePath, query, headers, apiVersion };
  const verified = verifySharedKey(request, target.account, batch.keys, batch.nowMs);
  if (verified.verdict.verdict !== "yes") return null;
  const { scheme, reading } = verified;
  return signSharedKey({ ...request, wirePath: path }, target.account, key, { scheme, reading });
}

function applyEdits(text: string, edits: { at: readonly [number, number]; text: string }[]): Uint8Array {
  edits.sort((a, b) => a.at[0] - b.at[0]);
  let result = "";
  let from = 0;
  for (const edit of edits) {
    result += text.slice(from, edit.at[0]) + edit.text;
    from = edit.at[1];
  }
  return Buffer.from(result + text.slice(from), "latin1");
}

/** One request of a batch, as to what it changes. */
export interface BatchTarget {
  /** The operation's name, as in `operations.ts`. */
  readonly operation: string;
  readonly target: Target;
  /** What it makes uncertain; null for nothing. */
  readonly touched: TouchedScope | null;
}

/**
 * What the parts of a batch name, or null when the lake may divide the body otherwise or some part names no configured
 * account: the batch's own container or account is then what may have changed.
 *
 * @param body As the client sent it, before any rewriting.
 */
export function batchTargets(
  body: Uint8Array,
  contentType: string | undefined,
  host: string | undefined,
  accounts: ReadonlySet<string>,
): readonly BatchTarget[] | null {
  const { parts, canonical } = readBatch(body, contentType);
  if (parts === null || !canonical) return null;
  const targets: BatchTarget[] = [];
  for (const part of parts) {
    const target = parseTarget(part.rawTarget, host, accounts);
    if (target === null) return null;
    const operation = detectOperation(part.method, target, parseQuery(target.query), part.headers);
    targets.push({ operation: operation.name, target, touched: touchedBy(operation, target) });
  }
  return targets;
}

/**
 * A final "no" when some part of a batch carries a SAS that does not allow the client's address or protocol; else
 * null. The lake cannot see either. Of a body that may be divided in more than one way all bytes are searched; one that
 * is not understood may not name these restrictions at all.
 */
export function batchRefusedHere(
  body: Uint8Array,
  contentType: string | undefined,
  clientAddress: string,
  secure: boolean,
): Verdict | null {
  const { text, parts, canonical } = readBatch(body, contentType);
  for (const part of parts ?? []) {
    const mark = part.rawTarget.indexOf("?");
    if (mark < 0) continue;
    const verdict = refusedHere(parseQuery(part.rawTarget.slice(mark)), clientAddress, secure);
    if (verdict !== null) return verdict;
  }
  if (canonical) return null;
  for (const { name, value } of restrictionsIn(text)) {
    // Nobody's address is in an empty `sip`, and an empty `spr` allows no http.
    const asked = parts === null ? `?${name}=` : `?${name}=${value}`;
    const verdict = refusedHere(parseQuery(asked), clientAddress, parts === null ? false : secure);
    if (verdict !== null) return verdict;
  }
  return null;
}

/** Every `sip=` and `spr=` in a text, in any case of letters and however encoded, with its value as it stands. */
function* restrictionsIn(text: string): Generator<{ name: "sip" | "spr"; value: string }> {
  const decoded = decodeLoosely(text);
  for (const [, name = "", value = ""] of decoded.matchAll(/(sip|spr)\s*=\s*([^&\s]*)/gi)) {
    yield { name: name.toLowerCase() === "sip" ? "sip" : "spr", value: encodeURIComponent(value) };
  }
}
