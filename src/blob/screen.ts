/**
 * The allow-list of requests that may be answered from flash: Get Blob and Get Blob Properties of which every `x-ms-`
 * header and every query parameter is known and understood. Whatever else a request carries, the lake answers it.
 */
import type { RawHeaders } from "../http/types.ts";
import { type Conditions, parseConditions, unconditional } from "./conditions.ts";
import { isVersionTime } from "./dates.ts";
import type { Operation } from "./operations.ts";
import type { Query } from "./query.ts";
import type { Target } from "./types.ts";
import { isPublishedVersion, OLDEST_HIT_VERSION } from "./versions.ts";

/** A range of bytes as asked for: `last` is inclusive, null for the rest of the blob. */
export interface AskedRange {
  readonly first: number;
  readonly last: number | null;
}

/** Header values that a SAS sets on the response, by lower-case name. */
export type ResponseOverrides = ReadonlyMap<string, string>;

/** A read that may be answered from flash. */
export interface HitAble {
  readonly kind: "hit-able";
  readonly form: "get" | "head";
  readonly apiVersion: string;
  readonly range: AskedRange | null;
  readonly conditions: Conditions;
  readonly snapshot: string | undefined;
  readonly versionId: string | undefined;
  /** To be echoed. */
  readonly clientRequestId: string | undefined;
  readonly overrides: ResponseOverrides | null;
}

export type Screened = HitAble | { readonly kind: "forward"; readonly why: string };

function forward(why: string): Screened {
  return { kind: "forward", why };
}

/** What one pass over the headers finds. */
interface Found {
  version?: string;
  clientRequestId?: string;
  msRange?: string;
  range?: string;
  ifMatch?: string;
  ifNoneMatch?: string;
  ifModifiedSince?: string;
  ifUnmodifiedSince?: string;
}

const KEPT: ReadonlyMap<string, keyof Found> = new Map<string, keyof Found>([
  ["x-ms-version", "version"],
  ["x-ms-client-request-id", "clientRequestId"],
  ["x-ms-range", "msRange"],
  ["range", "range"],
  ["if-match", "ifMatch"],
  ["if-none-match", "ifNoneMatch"],
  ["if-modified-since", "ifModifiedSince"],
  ["if-unmodified-since", "ifUnmodifiedSince"],
]);

/** `x-ms-` headers that say nothing about the answer. */
const SILENT: ReadonlySet<string> = new Set(["x-ms-date", "x-ms-useragent"]);

/** Headers of other names that change the answer in ways not modelled here. */
const FOREIGN: ReadonlySet<string> = new Set([
  "origin",
  "if-range",
  "transfer-encoding",
  "expect",
  "upgrade",
  "access-control-request-method",
  "access-control-request-headers",
]);

/** Reads the headers that matter into `found`, or says why the request is forwarded. */
function readHeaders(headers: RawHeaders, found: Found): string | null {
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = (headers[i] ?? "").toLowerCase();
    const value = headers[i + 1] ?? "";
    const kept = KEPT.get(name);
    if (kept !== undefined) {
      if (found[kept] !== undefined) return "a header stands twice";
      found[kept] = value;
    } else if (name.startsWith("x-ms-")) {
      if (!SILENT.has(name)) return "a header is not understood";
    } else if (name === "content-length") {
      if (value !== "0") return "a read with a body";
    } else if (name === "x-forebay-bypass") {
      if (value.toLowerCase() !== "false") return "bypass";
    } else if (FOREIGN.has(name) || name.startsWith("x-http-method")) {
      return "a header is not understood";
    }
  }
  return null;
}

/** Query parameters of a SAS: `sas.ts` judges them. */
const SAS: ReadonlySet<string> = new Set(
  "sp st se sip spr ses ss srt sr si sig skoid sktid skt ske sks skv saoid suoid scid sdd skdutid sduoid".split(" "),
);

const OVERRIDES: ReadonlyMap<string, string> = new Map([
  ["rscc", "cache-control"],
  ["rscd", "content-disposition"],
  ["rsce", "content-encoding"],
  ["rscl", "content-language"],
  ["rsct", "content-type"],
]);

interface FoundParameters {
  snapshot?: string;
  versionId?: string;
  signedVersion?: string;
  signed: boolean;
  overrides: Map<string, string> | null;
}

function readParameters(query: Query, found: FoundParameters): string | null {
  if (query.parameters.length === 0) return query.malformed ? "the query is malformed" : null;
  if (query.malformed || query.duplicated || query.disguised || query.plus) return "the query is odd";
  for (const { name, value } of query.parameters) {
    if (value === "") return "an empty parameter";
    if (name === "snapshot" || name === "versionid") {
      if (!isVersionTime(value)) return "an odd snapshot or version";
      if (name === "snapshot") found.snapshot = value;
      else found.versionId = value;
    } else if (name === "sv") {
      found.signedVersion = value;
    } else if (name === "sig") {
      found.signed = true;
    } else if (name === "timeout") {
      if (!isCount(value)) return "an odd timeout";
    } else if (!SAS.has(name)) {
      const header = OVERRIDES.get(name);
      if (header === undefined) return "a parameter is not understood";
      if (!isHeaderValue(value)) return "an odd response header";
      found.overrides ??= new Map();
      found.overrides.set(header, value);
    }
  }
  return null;
}

/** Whether `text` is a whole number of at most 15 digits: exact as a number. */
function isCount(text: string): boolean {
  if (text.length < 1 || text.length > 15) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 48 || code > 57) return false;
  }
  return true;
}

function isHeaderValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return text === text.trim();
}

/** `bytes=a-b` or `bytes=a-`, exactly; null for any other form. */
export function parseRange(text: string): AskedRange | null {
  if (!text.startsWith("bytes=")) return null;
  const dash = text.indexOf("-", 6);
  if (dash < 0) return null;
  const firstText = text.slice(6, dash);
  const lastText = text.slice(dash + 1);
  if (!isCount(firstText)) return null;
  const first = Number(firstText);
  if (lastText === "") return { first, last: null };
  if (!isCount(lastText)) return null;
  const last = Number(lastText);
  return last < first ? null : { first, last };
}

/** Decides whether a read may be answered from flash, and gathers what that answer needs to know. */
export function screen(operation: Operation, target: Target, headers: RawHeaders, query: Query): Screened {
  if (!operation.cacheable || target.blob === null) return forward("not a read of a blob");
  if (target.ambiguous) return forward("the name is ambiguous");
  if (target.secondary) return forward("the secondary is another copy");
  const found: Found = {};
  const headerTrouble = readHeaders(headers, found);
  if (headerTrouble !== null) return forward(headerTrouble);
  const parameters: FoundParameters = { signed: false, overrides: null };
  const queryTrouble = readParameters(query, parameters);
  if (queryTrouble !== null) return forward(queryTrouble);
  if (parameters.snapshot !== undefined && parameters.versionId !== undefined) return forward("snapshot and version");
  const form = operation.name === "GetBlob" ? "get" : "head";
  const apiVersion = found.version ?? (parameters.signed ? parameters.signedVersion : undefined);
  if (apiVersion === undefined) return forward("no x-ms-version");
  if (!isPublishedVersion(apiVersion) || apiVersion < OLDEST_HIT_VERSION) return forward("a version not understood");
  // Only a SAS may set response headers, and what it does to Get Blob Properties is the lake's to say.
  if (parameters.overrides !== null && (!parameters.signed || form === "head")) return forward("response headers");
  const id = found.clientRequestId;
  if (id !== undefined && (id.length > 1024 || !isHeaderValue(id))) return forward("an odd x-ms-client-request-id");
  const rangeText = found.msRange ?? found.range;
  const range = rangeText === undefined ? null : parseRange(rangeText);
  if (rangeText !== undefined && (range === null || form === "head")) return forward("a range not understood");
  const conditions = conditionsOf(found);
  if (conditions === "forward") return forward("a condition not understood");
  const { snapshot, versionId, overrides } = parameters;
  return {
    kind: "hit-able",
    form,
    apiVersion,
    range,
    conditions,
    snapshot,
    versionId,
    clientRequestId: id,
    overrides,
  };
}

function conditionsOf(found: Found): Conditions | "forward" {
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = found;
  if (ifMatch ?? ifNoneMatch ?? ifModifiedSince ?? ifUnmodifiedSince) return parseConditions(found);
  const empty = [ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince].some((value) => value !== undefined);
  return empty ? "forward" : unconditional;
}

/** `headers` with the values that a SAS sets in place of, or beside, the blob's own. */
export function applyOverrides(headers: RawHeaders, overrides: ResponseOverrides): string[] {
  const result: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? "";
    if (!overrides.has(name.toLowerCase())) result.push(name, headers[i + 1] ?? "");
  }
  for (const [name, value] of overrides) result.push(HEADER_NAMES.get(name) ?? name, value);
  return result;
}

const HEADER_NAMES: ReadonlyMap<string, string> = new Map([
  ["cache-control", "Cache-Control"],
  ["content-disposition", "Content-Disposition"],
  ["content-encoding", "Content-Encoding"],
  ["content-language", "Content-Language"],
  ["content-type", "Content-Type"],
]);
