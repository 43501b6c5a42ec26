/**
 * The allow-list of requests that may be answered from flash: Get Blob and Get Blob Properties of which every `x-ms-`
 * header and every query parameter is known and understood. Whatever else a request carries, the lake answers it.
 */
import type { RawHeaders } from "../http/types.ts";
import { type Conditions, parseConditions, unconditional } from "./conditions.ts";
import { isVersionTime } from "./dates.ts";
import { AT, type Layout, valueAt } from "./layout.ts";
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
  readonly blob: AskedBlob;
  readonly apiVersion: string;
  readonly range: AskedRange | null;
  readonly conditions: Conditions;
  /** To be echoed. */
  readonly clientRequestId: string | undefined;
}

export type Screened = HitAble | { readonly kind: "forward"; readonly why: string };

function forward(why: string): Screened {
  return { kind: "forward", why };
}

/** `x-ms-` headers that say nothing about the answer, or whose values are looked at here. */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  "x-ms-date",
  "x-ms-useragent",
  "x-ms-version",
  "x-ms-client-request-id",
  "x-ms-range",
]);

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

/** What the names alone say, for each layout met. */
const troubles = new WeakMap<Layout, string>();

/** Why headers of these names are forwarded, or an empty text. */
function troubleOf(layout: Layout): string {
  let trouble = troubles.get(layout);
  if (trouble !== undefined) return trouble;
  const strange = layout.lower.some((name) => (name.startsWith("x-ms-") ? !UNDERSTOOD.has(name) : FOREIGN.has(name)));
  trouble = layout.knownTwice ? "a header stands twice" : "";
  if (strange || layout.methodOverride) trouble = "a header is not understood";
  troubles.set(layout, trouble);
  return trouble;
}

/** Query parameters of a SAS: `sas.ts` judges them. */
export const SAS: ReadonlySet<string> = new Set(
  "sp st se sip spr ses ss srt sr si sig skoid sktid skt ske sks skv saoid suoid scid sdd skdutid sduoid".split(" "),
);

const OVERRIDES: ReadonlyMap<string, string> = new Map([
  ["rscc", "cache-control"],
  ["rscd", "content-disposition"],
  ["rsce", "content-encoding"],
  ["rscl", "content-language"],
  ["rsct", "content-type"],
]);

/** What the target and the query of a read ask for. */
export interface AskedBlob {
  readonly form: "get" | "head";
  readonly snapshot: string | undefined;
  readonly versionId: string | undefined;
  /** `sv` of a request with a signature in its query: the version where no header names one. */
  readonly signedVersion: string | undefined;
  readonly overrides: ResponseOverrides | null;
}

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

/** What a read asks for by its target and query, or why it is forwarded. */
export function screenTarget(operation: Operation, target: Target, query: Query): AskedBlob | string {
  if (!operation.cacheable || target.blob === null) return "not a read of a blob";
  if (target.ambiguous) return "the name is ambiguous";
  if (target.secondary) return "the secondary is another copy";
  const found: FoundParameters = { signed: false, overrides: null };
  const trouble = readParameters(query, found);
  if (trouble !== null) return trouble;
  const { snapshot, versionId, signed, overrides } = found;
  if (snapshot !== undefined && versionId !== undefined) return "snapshot and version";
  const form = operation.name === "GetBlob" ? "get" : "head";
  // Only a SAS may set response headers, and what it does to Get Blob Properties is the lake's to say.
  if (overrides !== null && (!signed || form === "head")) return "response headers";
  return { form, snapshot, versionId, signedVersion: signed ? found.signedVersion : undefined, overrides };
}

/** Whether `text` is a whole number of at most 15 digits: exact as a number. */
export function isCount(text: string): boolean {
  if (text.length < 1 || text.length > 15) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 48 || code > 57) return false;
  }
  return true;
}

export function isHeaderValue(text: string): boolean {
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

/** Decides whether a read of `blob` may be answered from flash, and gathers what that answer needs to know. */
export function screenHeaders(blob: AskedBlob, layout: Layout, headers: RawHeaders): Screened {
  const trouble = troubleOf(layout);
  if (trouble !== "") return forward(trouble);
  const length = valueAt(layout, headers, AT.contentLength);
  if (length !== undefined && length !== "0") return forward("a read with a body");
  const bypass = valueAt(layout, headers, AT.bypass);
  if (bypass !== undefined && bypass.toLowerCase() !== "false") return forward("bypass");
  const apiVersion = valueAt(layout, headers, AT.msVersion) ?? blob.signedVersion;
  if (apiVersion === undefined) return forward("no x-ms-version");
  if (!isPublishedVersion(apiVersion) || apiVersion < OLDEST_HIT_VERSION) return forward("a version not understood");
  const id = valueAt(layout, headers, AT.clientRequestId);
  if (id !== undefined && (id.length > 1024 || !isHeaderValue(id))) return forward("an odd x-ms-client-request-id");
  const rangeText = valueAt(layout, headers, AT.msRange) ?? valueAt(layout, headers, AT.range);
  const range = rangeText === undefined ? null : parseRange(rangeText);
  if (rangeText !== undefined && (range === null || blob.form === "head")) return forward("a range not understood");
  const conditions = conditionsOf(layout, headers);
  if (conditions === "forward") return forward("a condition not understood");
  return { kind: "hit-able", blob, apiVersion, range, conditions, clientRequestId: id };
}

function conditionsOf(layout: Layout, headers: RawHeaders): Conditions | "forward" {
  const ifMatch = valueAt(layout, headers, AT.ifMatch);
  const ifNoneMatch = valueAt(layout, headers, AT.ifNoneMatch);
  const ifModifiedSince = valueAt(layout, headers, AT.ifModifiedSince);
  const ifUnmodifiedSince = valueAt(layout, headers, AT.ifUnmodifiedSince);
  const given = ifMatch ?? ifNoneMatch ?? ifModifiedSince ?? ifUnmodifiedSince;
  if (given === undefined) return unconditional;
  // What an empty one alone means is the lake's to say.
  if (!(ifMatch || ifNoneMatch || ifModifiedSince || ifUnmodifiedSince)) return "forward";
  return parseConditions({ ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince });
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
