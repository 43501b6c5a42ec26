/**
 * What the shaped lake answers: the operations of the Blob service that Forebay uses, over content that is computed.
 * Any signature is taken: this is a tool for measurements, never a model of who may read. Written blobs are remembered
 * by their length and ETag alone; their bytes are computed like all others.
 */
import { hashOf, sizeInName } from "./shaped-content.ts";

/** A request, its body thrown away. */
export interface LakeAsk {
  readonly method: string;
  /** Raw, with the query. */
  readonly target: string;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly bodyBytes: number;
  /** The body of Put Block List; of others empty. */
  readonly bodyText: string;
}

/** An answer. Bytes [first, first + length) of the blob follow, or `text`. */
export interface LakeAnswer {
  readonly status: number;
  /** `Name: value` lines, each with its CRLF, without Content-Length. */
  readonly head: string;
  readonly text: string;
  readonly blob: { readonly name: string; readonly first: number; readonly length: number } | null;
  /** What Content-Length says of a HEAD. */
  readonly lengthBytes: number;
  /** For the counters: `get`, `head`, `list`, `put`, … */
  readonly operation: string;
}

/** What {@link createAnswers} is told. */
export interface AnswersOptions {
  /** List Blobs gives so many names, each of `listSize`. */
  readonly listNames: number;
  /** As names say it: `100KB`. */
  readonly listSize: string;
}

const WRITTEN_MAX = 1_000_000;
const PAGE_NAMES_MAX = 5_000;
const MODIFIED = "Mon, 06 Jan 2025 10:00:00 GMT";
const REASONS: Readonly<Record<number, string>> = {
  400: "InvalidQueryParameterValue",
  404: "BlobNotFound",
  412: "ConditionNotMet",
  416: "InvalidRange",
  501: "NotImplemented",
};

interface Blob {
  readonly sizeBytes: number;
  readonly etag: string;
}

/** The name of blob `index` of a list. */
export function listedName(options: AnswersOptions, index: number): string {
  return `${options.listSize}-${String(index).padStart(9, "0")}`;
}

/** Answers requests. Keeps what was written, and nothing of what is computed. */
export function createAnswers(options: AnswersOptions): (ask: LakeAsk) => LakeAnswer {
  const written = new Map<string, Blob | null>();
  const blocks = new Map<string, Map<string, number>>();
  let writes = 0;

  const find = (name: string): Blob | null => {
    const own = written.get(name);
    if (own !== undefined) return own;
    const sizeBytes = sizeInName(name);
    return sizeBytes === null ? null : { sizeBytes, etag: etagOf(name, 0) };
  };
  const write = (name: string, sizeBytes: number): LakeAnswer => {
    if (written.size >= WRITTEN_MAX) written.clear();
    const etag = etagOf(name, ++writes);
    written.set(name, { sizeBytes, etag });
    return plain(201, "put", `ETag: ${etag}\r\nLast-Modified: ${MODIFIED}\r\n`);
  };
  const put = (ask: LakeAsk, name: string, query: URLSearchParams): LakeAnswer => {
    const staged = blocks.get(name) ?? new Map<string, number>();
    switch (query.get("comp")) {
      case "block":
        staged.set(query.get("blockid") ?? "", ask.bodyBytes);
        blocks.set(name, staged);
        return plain(201, "put-block", "");
      case "blocklist": {
        const ids = [...ask.bodyText.matchAll(/<(?:Latest|Uncommitted|Committed)>([^<]*)</g)].map((m) => m[1] ?? "");
        if (ids.some((id) => !staged.has(id))) return refused(400, "put");
        blocks.delete(name);
        return write(
          name,
          ids.reduce((sum, id) => sum + (staged.get(id) ?? 0), 0),
        );
      }
      case null:
        return write(name, ask.bodyBytes);
      default:
        return refused(501, "put");
    }
  };
  const read = (ask: LakeAsk, name: string): LakeAnswer => {
    const operation = ask.method === "HEAD" ? "head" : "get";
    const blob = find(name);
    if (blob === null) return refused(404, operation);
    const ifMatch = ask.headers.get("if-match");
    if (ifMatch !== undefined && ifMatch !== "*" && ifMatch !== blob.etag) return refused(412, operation);
    const range = operation === "head" ? null : rangeOf(ask.headers, blob.sizeBytes);
    if (range === "beyond") return refused(416, operation, `Content-Range: bytes */${blob.sizeBytes}\r\n`);
    const [first, end] = range ?? [0, blob.sizeBytes];
    const place = range === null ? "" : `Content-Range: bytes ${first}-${end - 1}/${blob.sizeBytes}\r\n`;
    return {
      status: range === null ? 200 : 206,
      head: `${place}${propertiesOf(blob.etag)}`,
      text: "",
      blob: { name, first, length: operation === "head" ? 0 : end - first },
      lengthBytes: end - first,
      operation,
    };
  };
  return (ask) => {
    const [path = "", search = ""] = ask.target.split("?", 2);
    const query = new URLSearchParams(search);
    const [, , container = "", ...rest] = path.split("/");
    const name = decodeURIComponent(rest.join("/"));
    if (ask.method === "GET" && query.get("comp") === "list") {
      return container === "" ? containers() : listPage(options, container, query);
    }
    if (name === "") return ofContainer(ask.method, query);
    if (ask.method === "PUT") return put(ask, name, query);
    if (ask.method === "DELETE") {
      if (find(name) === null) return refused(404, "delete");
      written.set(name, null);
      return plain(202, "delete", "");
    }
    if (query.has("comp") || (ask.method !== "GET" && ask.method !== "HEAD")) return refused(501, "other");
    return read(ask, name);
  };
}

function etagOf(name: string, writes: number): string {
  return `"0x8DD2E${(hashOf(name) + writes).toString(16).toUpperCase().padStart(10, "0")}"`;
}

function propertiesOf(etag: string): string {
  return (
    `Content-Type: application/octet-stream\r\nLast-Modified: ${MODIFIED}\r\nAccept-Ranges: bytes\r\nETag: ${etag}\r\n` +
    `x-ms-creation-time: ${MODIFIED}\r\nx-ms-blob-type: BlockBlob\r\nx-ms-lease-status: unlocked\r\n` +
    "x-ms-lease-state: available\r\nx-ms-server-encrypted: true\r\nx-ms-access-tier: Hot\r\n" +
    "x-ms-access-tier-inferred: true\r\n"
  );
}

/** First byte and end of the range asked for; null without one, and for those that the service does not know. */
function rangeOf(headers: ReadonlyMap<string, string>, sizeBytes: number): readonly [number, number] | "beyond" | null {
  const match = /^bytes=(\d+)-(\d*)$/.exec(headers.get("x-ms-range") ?? headers.get("range") ?? "");
  if (match === null) return null;
  const first = Number(match[1]);
  const last = match[2] === "" ? sizeBytes - 1 : Math.min(Number(match[2]), sizeBytes - 1);
  return first >= sizeBytes || last < first ? "beyond" : [first, last + 1];
}

function listPage(options: AnswersOptions, container: string, query: URLSearchParams): LakeAnswer {
  const max = Math.min(Number(query.get("maxresults") ?? PAGE_NAMES_MAX), PAGE_NAMES_MAX);
  const from = Number(query.get("marker") ?? "0");
  if (!Number.isInteger(max) || max < 1 || !Number.isInteger(from) || from < 0) return refused(400, "list");
  const end = Math.min(options.listNames, from + max);
  const size = sizeInName(`${options.listSize}-`) ?? 0;
  let blobs = "";
  for (let i = from; i < end; i++) {
    const name = listedName(options, i);
    blobs +=
      `<Blob><Name>${name}</Name><Properties><Creation-Time>${MODIFIED}</Creation-Time>` +
      `<Last-Modified>${MODIFIED}</Last-Modified><Etag>${etagOf(name, 0).slice(1, -1)}</Etag>` +
      `<Content-Length>${size}</Content-Length><Content-Type>application/octet-stream</Content-Type>` +
      "<BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier><LeaseStatus>unlocked</LeaseStatus>" +
      "<LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties></Blob>";
  }
  const next = end < options.listNames ? String(end) : "";
  return document(
    "list",
    `<EnumerationResults ContainerName="${container}"><Blobs>${blobs}</Blobs><NextMarker>${next}</NextMarker></EnumerationResults>`,
  );
}

function containers(): LakeAnswer {
  return document("list-containers", "<EnumerationResults><Containers/><NextMarker/></EnumerationResults>");
}

function ofContainer(method: string, query: URLSearchParams): LakeAnswer {
  if (query.get("comp") === "acl") return document("acl", "<SignedIdentifiers/>");
  if (method === "PUT") return plain(201, "container", `ETag: ${etagOf("", 0)}\r\nLast-Modified: ${MODIFIED}\r\n`);
  if (method === "GET" || method === "HEAD") return plain(200, "container", `ETag: ${etagOf("", 0)}\r\n`);
  return refused(501, "other");
}

function document(operation: string, inner: string): LakeAnswer {
  const text = `<?xml version="1.0" encoding="utf-8"?>${inner}`;
  return { ...plain(200, operation, "Content-Type: application/xml\r\n"), text, lengthBytes: Buffer.byteLength(text) };
}

function plain(status: number, operation: string, head: string): LakeAnswer {
  return { status, head, text: "", blob: null, lengthBytes: 0, operation };
}

/** An error as the service says it. */
export function refused(status: number, operation: string, head = "", code = REASONS[status] ?? "Error"): LakeAnswer {
  const text = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
  const headers = `Content-Type: application/xml\r\nx-ms-error-code: ${code}\r\n${head}`;
  return { status, head: headers, text, blob: null, lengthBytes: Buffer.byteLength(text), operation };
}
