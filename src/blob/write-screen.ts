/**
 * The allow-list of writes that may be taken in here (`write: back`): Put Blob of a block blob, Put Block, Put Block
 * List and Delete Blob of which every header and every parameter is known and understood. Whatever else a request
 * carries, or whatever the lake might refuse, the lake answers it.
 *
 * Sources: "Put Blob", "Put Block", "Put Block List", "Delete Blob", "Naming and referencing containers, blobs, and
 * metadata", "Scalability and performance targets for Blob Storage" in the REST documentation.
 */
import { limits, MIB } from "../base/limits.ts";
import type { BodyReader, RawHeaders, RequestHead } from "../http/types.ts";
import { AT, type Layout, valueAt } from "./layout.ts";
import type { Placed } from "./respond.ts";
import { isCount, isHeaderValue, SAS } from "./screen.ts";
import type { Target } from "./types.ts";
import { isPublishedVersion, OLDEST_HIT_VERSION } from "./versions.ts";
import { parseWriteCondition, type WriteCondition } from "./write-conditions.ts";

export type WriteOperation = "PutBlob" | "PutBlock" | "PutBlockList" | "DeleteBlob";

/** A write that may be taken in, as far as its head says. */
export interface WriteAsked {
  readonly operation: WriteOperation;
  readonly container: string;
  readonly blob: string;
  readonly apiVersion: string;
  readonly clientRequestId: string | undefined;
  /** Bytes of the body. */
  readonly lengthBytes: number;
  /** What the lake is to be told of the blob (properties, metadata, tier): name, value, name, value … */
  readonly lakeHeaders: readonly string[];
  readonly condition: WriteCondition | null;
  /** `Content-MD5` of the body, base64. */
  readonly md5: string | null;
  /** `x-ms-content-crc64` of the body, base64. */
  readonly crc64: string | null;
  /** `x-ms-blob-content-md5`, base64: of Put Blob that of the body, too. */
  readonly blobMd5: string | null;
  /** Of Put Block only; else empty. */
  readonly blockId: string;
}

/** What of a request is looked at. */
export interface WriteRequest extends Pick<Placed, "operation" | "target" | "layout" | "query"> {
  readonly exchange: {
    readonly head: Pick<RequestHead, "headers">;
    readonly body: Pick<BodyReader, "lengthBytes">;
  };
}

export type ScreenedWrite =
  | { readonly kind: "take"; readonly asked: WriteAsked }
  | { readonly kind: "forward"; readonly why: string };

function forward(why: string): ScreenedWrite {
  return { kind: "forward", why };
}

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

/** Headers that say nothing about what is written: of the connection, of the caller, of those in between. */
const ALWAYS = words(`
  host connection keep-alive content-length accept accept-encoding accept-language accept-charset user-agent expect
  date authorization te priority via forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port
  x-real-ip x-request-id x-correlation-id request-id correlation-context traceparent tracestate baggage
  x-ms-date x-ms-version x-ms-client-request-id x-ms-return-client-request-id x-ms-useragent x-forebay-flush
`);
const CONDITIONS = words("if-match if-none-match if-modified-since if-unmodified-since");
const PROPERTIES = words(`
  x-ms-blob-content-type x-ms-blob-content-encoding x-ms-blob-content-language x-ms-blob-content-disposition
  x-ms-blob-cache-control x-ms-blob-content-md5 x-ms-access-tier
`);
const DIGESTS = words("content-md5 x-ms-content-crc64");

/** Of the request, where the operation takes them for the blob's; of Put Block List and Put Block they are the body's. */
const PLAIN_PROPERTIES = words("content-type content-encoding content-language cache-control");

const HEADERS: Readonly<Record<WriteOperation, ReadonlySet<string>>> = {
  PutBlob: new Set([...ALWAYS, ...CONDITIONS, ...PROPERTIES, ...DIGESTS, ...PLAIN_PROPERTIES, "x-ms-blob-type"]),
  PutBlock: new Set([...ALWAYS, ...DIGESTS, "content-type"]),
  PutBlockList: new Set([...ALWAYS, ...CONDITIONS, ...PROPERTIES, ...DIGESTS, "content-type"]),
  DeleteBlob: new Set([...ALWAYS, ...CONDITIONS, "content-type"]),
};

/** Parameters beside those of a SAS, and what `comp` must be. */
const PARAMETERS: Readonly<Record<WriteOperation, { readonly comp: string; readonly names: ReadonlySet<string> }>> = {
  PutBlob: { comp: "", names: new Set(["timeout"]) },
  PutBlock: { comp: "block", names: new Set(["timeout", "comp", "blockid"]) },
  PutBlockList: { comp: "blocklist", names: new Set(["timeout", "comp"]) },
  DeleteBlob: { comp: "", names: new Set(["timeout"]) },
};

/** Names of metadata are identifiers; the lake keeps their cases. */
const META = "x-ms-meta-";
const IDENTIFIER = /^[a-z_][a-z0-9_]*$/;
/** Bytes of all names and values of metadata. */
const META_BYTES_MAX = 8 * 1024;
/** What some lakes keep a directory as. */
const FOLDER_MARK = `${META}hdi_isfolder`;

/** What the names of headers alone say, for each layout and operation met. */
const troubles = new WeakMap<Layout, Map<WriteOperation, string>>();

function troubleOf(layout: Layout, operation: WriteOperation): string {
  let known = troubles.get(layout);
  if (known === undefined) {
    known = new Map();
    troubles.set(layout, known);
  }
  let trouble = known.get(operation);
  if (trouble === undefined) {
    trouble = findTrouble(layout, operation);
    known.set(operation, trouble);
  }
  return trouble;
}

function findTrouble(layout: Layout, operation: WriteOperation): string {
  if (layout.methodOverride) return "a header is not understood";
  const allowed = HEADERS[operation];
  const takesMetadata = operation === "PutBlob" || operation === "PutBlockList";
  for (const [i, name] of layout.lower.entries()) {
    const meta = takesMetadata && name.startsWith(META) && IDENTIFIER.test(name.slice(META.length));
    if (!(meta ? name !== FOLDER_MARK : allowed.has(name))) return "a header is not understood";
    if (layout.lower.indexOf(name) !== i) return "a header stands twice";
  }
  return "";
}

export function isWriteOperation(name: string): name is WriteOperation {
  return name === "PutBlob" || name === "PutBlock" || name === "PutBlockList" || name === "DeleteBlob";
}

/** Decides whether a write may be taken in, as far as its head says. */
export function screenWrite(placed: WriteRequest, exclusive: boolean): ScreenedWrite {
  const { operation, target, exchange, layout } = placed;
  const { headers } = exchange.head;
  const { name } = operation;
  if (!isWriteOperation(name)) return forward(name);
  if (target.container === null || target.blob === null) return forward("not a write of a blob");
  const trouble = targetTrouble(target) ?? parameterTrouble(placed, name) ?? troubleOf(layout, name);
  if (trouble !== "") return forward(trouble);
  const flush = headerValue(layout, headers, "x-forebay-flush");
  if (flush !== undefined && flush.toLowerCase() !== "false") return forward("flush");
  const apiVersion = versionOf(placed);
  if (apiVersion === null) return forward("a version not understood");
  const clientRequestId = valueAt(layout, headers, AT.clientRequestId);
  if (clientRequestId !== undefined && (clientRequestId.length > 1024 || !isHeaderValue(clientRequestId))) {
    return forward("an odd x-ms-client-request-id");
  }
  const lengthBytes = bodyLength(placed, name, apiVersion);
  if (lengthBytes === null) return forward("a body of an odd length");
  const condition = parseWriteCondition(layout, headers);
  if (condition === "forward") return forward("a condition not understood");
  if (condition !== null && !exclusive) return forward("a condition");
  const digests = digestsOf(layout, headers);
  if (digests === null) return forward("a checksum not understood");
  const lakeHeaders = lakeHeadersOf(layout, headers, name);
  if (lakeHeaders === null) return forward("a property not understood");
  const blockId = name === "PutBlock" ? blockIdOf(placed) : "";
  if (blockId === null) return forward("a block id not understood");
  const { container, blob } = target;
  const common = { operation: name, container, blob, apiVersion, clientRequestId, lengthBytes };
  return { kind: "take", asked: { ...common, ...digests, lakeHeaders, condition, blockId } };
}

/** Names that the lake refuses, or that another system gives a meaning to. */
function targetTrouble(target: Target): string | null {
  if (target.ambiguous) return "the name is ambiguous";
  if (target.secondary) return "the secondary is another copy";
  const { container, blob } = target;
  if (container === null || blob === null || container.startsWith("$")) return "a container of the system";
  if (container.startsWith("-") || container.endsWith("-") || container.includes("--")) return "an odd container name";
  if (blob.length > 1024 || blob.split("/").length > 254) return "a name too long";
  return blob.isWellFormed() ? null : "an odd name";
}

function parameterTrouble(placed: WriteRequest, name: WriteOperation): string | null {
  const { query } = placed;
  const { comp, names } = PARAMETERS[name];
  if (query.malformed || query.duplicated || query.disguised || query.plus) return "the query is odd";
  let found = "";
  for (const parameter of query.parameters) {
    if (parameter.value === "") return "an empty parameter";
    if (parameter.name === "comp") found = parameter.value;
    if (parameter.name === "timeout" && !isCount(parameter.value)) return "an odd timeout";
    const known = names.has(parameter.name) || SAS.has(parameter.name) || parameter.name === "sv";
    if (!known) return "a parameter is not understood";
  }
  return found === comp ? null : "an odd comp";
}

function headerValue(layout: Layout, headers: RawHeaders, name: string): string | undefined {
  const at = layout.lower.indexOf(name);
  return at < 0 ? undefined : headers[2 * at + 1];
}

function versionOf(placed: WriteRequest): string | null {
  const { layout, exchange, query } = placed;
  const signed = query.parameters.some(({ name }) => name === "sig");
  const given = valueAt(layout, exchange.head.headers, AT.msVersion);
  const version = given ?? (signed ? query.parameters.find(({ name }) => name === "sv")?.value : undefined);
  if (version === undefined || !isPublishedVersion(version) || version < OLDEST_HIT_VERSION) return null;
  return version;
}

/** The length of the body, or null when the lake might refuse it. */
function bodyLength(placed: WriteRequest, name: WriteOperation, version: string): number | null {
  const { body, head } = placed.exchange;
  const announced = valueAt(placed.layout, head.headers, AT.contentLength);
  const expect = headerValue(placed.layout, head.headers, "expect");
  if (expect !== undefined && expect.toLowerCase() !== "100-continue") return null;
  const { lengthBytes } = body;
  if (name === "DeleteBlob") return lengthBytes === 0 ? 0 : null;
  if (lengthBytes === null || announced === undefined) return null;
  const [modern, large] = [version >= "2019-12-12", version >= "2016-05-31"];
  switch (name) {
    case "PutBlob":
      return lengthBytes <= (modern ? 5_000 : large ? 256 : 64) * MIB ? lengthBytes : null;
    case "PutBlock":
      return lengthBytes > 0 && lengthBytes <= (modern ? 4_000 : large ? 100 : 4) * MIB ? lengthBytes : null;
    case "PutBlockList":
      return lengthBytes > 0 && lengthBytes <= limits.blockListBytesMax ? lengthBytes : null;
  }
}

function digestsOf(layout: Layout, headers: RawHeaders): Pick<WriteAsked, "md5" | "crc64" | "blobMd5"> | null {
  const md5 = valueAt(layout, headers, AT.contentMd5) ?? null;
  const crc64 = headerValue(layout, headers, "x-ms-content-crc64") ?? null;
  const blobMd5 = headerValue(layout, headers, "x-ms-blob-content-md5") ?? null;
  if (md5 !== null && crc64 !== null) return null;
  if (!isBase64Of(md5, 16) || !isBase64Of(crc64, 8) || !isBase64Of(blobMd5, 16)) return null;
  return { md5, crc64, blobMd5 };
}

function isBase64Of(text: string | null, bytes: number): boolean {
  if (text === null) return true;
  const decoded = Buffer.from(text, "base64");
  return decoded.length === bytes && decoded.toString("base64") === text;
}

/** The properties, by what the lake is told: of Put Blob the plain headers count where no `x-ms-blob-` one stands. */
const LAKE_PROPERTIES: readonly (readonly [lake: string, plain: string])[] = [
  ["x-ms-blob-content-type", "content-type"],
  ["x-ms-blob-content-encoding", "content-encoding"],
  ["x-ms-blob-content-language", "content-language"],
  ["x-ms-blob-cache-control", "cache-control"],
  ["x-ms-blob-content-disposition", ""],
];
/** What the lake takes when nothing is said. */
const DEFAULT_TYPE = "application/octet-stream";
/** Of a blob in the archive nothing can be read. */
const TIERS: ReadonlySet<string> = new Set(["Hot", "Cool", "Cold"]);

function lakeHeadersOf(layout: Layout, headers: RawHeaders, name: WriteOperation): readonly string[] | null {
  if (name === "PutBlock" || name === "DeleteBlob") return [];
  if (name === "PutBlob" && headerValue(layout, headers, "x-ms-blob-type") !== "BlockBlob") return null;
  const kept: string[] = [];
  for (const [lake, plain] of LAKE_PROPERTIES) {
    let value = headerValue(layout, headers, lake);
    if (name === "PutBlob" && plain !== "") value ??= headerValue(layout, headers, plain);
    if (lake === "x-ms-blob-content-type") value ??= DEFAULT_TYPE;
    if (value === undefined) continue;
    if (value === "" || !isHeaderValue(value)) return null;
    kept.push(lake, value);
  }
  const tier = headerValue(layout, headers, "x-ms-access-tier");
  if (tier !== undefined) {
    if (!TIERS.has(tier)) return null;
    kept.push("x-ms-access-tier", tier);
  }
  return addMetadata(layout, headers, kept) ? kept : null;
}

function addMetadata(layout: Layout, headers: RawHeaders, kept: string[]): boolean {
  let bytes = 0;
  for (const [i, lower] of layout.lower.entries()) {
    if (!lower.startsWith(META)) continue;
    const name = layout.names[i] ?? "";
    const value = headers[2 * i + 1] ?? "";
    bytes += name.length - META.length + value.length;
    if (value === "" || !isHeaderValue(value)) return false;
    kept.push(name, value);
  }
  return bytes <= META_BYTES_MAX;
}

/** Base64 of up to 64 bytes, written in the one way that there is. */
function blockIdOf(placed: WriteRequest): string | null {
  const id = placed.query.parameters.find(({ name }) => name === "blockid")?.value;
  return id === undefined || !isBlockId(id) ? null : id;
}

export function isBlockId(id: string): boolean {
  const decoded = Buffer.from(id, "base64");
  return decoded.length >= 1 && decoded.length <= 64 && decoded.toString("base64") === id;
}
