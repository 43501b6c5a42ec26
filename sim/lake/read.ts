/** Get Blob, Get Blob Properties, Get Blob Metadata, Get Block List, Get Blob Tags. */
import { checkLease, checkRead, leaseHeaders } from "./conditions.ts";
import { slicedContent, storedContent } from "./content.ts";
import { simError } from "./errors.ts";
import { type Blob, type Call, header, httpDate, type SimResponse } from "./model.ts";
import { blobOf, md5Base64, slotOf } from "./store.ts";
import { element, xmlDocument } from "./xml.ts";

const RANGE_MD5_BYTES_MAX = 4 * 1024 * 1024;

function readable(call: Call): Blob {
  const blob = blobOf(call);
  checkLease(call, slotOf(call)?.lease, false);
  checkRead(call, blob);
  return blob;
}

/** The headers that Get Blob and Get Blob Properties share. */
function commonHeaders(call: Call, blob: Blob): string[] {
  const override = (name: string, parameter: string): string[] => {
    const value = call.query.get(parameter) ?? blob.properties.get(name.toLowerCase());
    return value === undefined ? [] : [name, value];
  };
  const isVersion = call.query.get("snapshot") === undefined && blob.versionId !== undefined;
  const isCurrent = slotOf(call)?.current === blob;
  const lease = call.query.get("snapshot") === undefined ? leaseHeaders(slotOf(call)?.lease, call.context.nowMs) : [];
  const copy =
    blob.copy === undefined
      ? []
      : [
          ...["x-ms-copy-id", blob.copy.id, "x-ms-copy-source", blob.copy.source, "x-ms-copy-status", "success"],
          ...["x-ms-copy-progress", `${blob.content.sizeBytes}/${blob.content.sizeBytes}`],
          ...["x-ms-copy-completion-time", httpDate(blob.copy.atMs)],
        ];
  return [
    ...["Content-Type", call.query.get("rsct") ?? blob.properties.get("content-type") ?? "application/octet-stream"],
    ...override("Content-Encoding", "rsce"),
    ...override("Content-Language", "rscl"),
    ...override("Cache-Control", "rscc"),
    ...override("Content-Disposition", "rscd"),
    ...["Last-Modified", httpDate(blob.modifiedMs), "Accept-Ranges", "bytes", "ETag", blob.etag],
    ...blob.metadata.flatMap(([name, value]) => [`x-ms-meta-${name}`, value]),
    ...["x-ms-creation-time", httpDate(blob.createdMs), "x-ms-blob-type", blob.type],
    ...lease,
    ...copy,
    ...["x-ms-server-encrypted", "true"],
    ...(blob.tags.size === 0 ? [] : ["x-ms-tag-count", String(blob.tags.size)]),
    ...(isVersion ? ["x-ms-version-id", blob.versionId ?? ""] : []),
    ...(isVersion && isCurrent ? ["x-ms-is-current-version", "true"] : []),
    ...(blob.type === "PageBlob" ? ["x-ms-blob-sequence-number", "0"] : []),
    ...(blob.type === "AppendBlob" ? ["x-ms-blob-committed-block-count", String(blob.blocks.length)] : []),
  ];
}

/** The bytes that a range header asks for; null for all, also where the header is not understood. */
function rangeOf(call: Call, sizeBytes: number): { first: number; last: number } | null {
  const text = header(call, "x-ms-range") ?? header(call, "range");
  const match = /^bytes=(\d{1,15})-(\d{1,15})?$/.exec(text ?? "");
  if (match === null) return null;
  const first = Number(match[1]);
  const last = match[2] === undefined ? sizeBytes - 1 : Math.min(Number(match[2]), sizeBytes - 1);
  if (match[2] !== undefined && Number(match[2]) < first) return null;
  if (first >= sizeBytes) throw simError("InvalidRange", ["Content-Range", `bytes */${sizeBytes}`]);
  return { first, last };
}

export function getBlob(call: Call): SimResponse {
  const blob = readable(call);
  if (blob.tier === "Archive") throw simError("BlobArchived");
  const { sizeBytes } = blob.content;
  const range = rangeOf(call, sizeBytes);
  const headers = commonHeaders(call, blob);
  if (range === null) {
    if (blob.contentMd5 !== undefined) headers.push("Content-MD5", blob.contentMd5);
    return { status: 200, headers, body: blob.content };
  }
  const body = slicedContent(blob.content, range.first, range.last - range.first + 1);
  headers.push("Content-Range", `bytes ${range.first}-${range.last}/${sizeBytes}`);
  if (blob.contentMd5 !== undefined) headers.push("x-ms-blob-content-md5", blob.contentMd5);
  if (header(call, "x-ms-range-get-content-md5") === "true") {
    if (body.sizeBytes > RANGE_MD5_BYTES_MAX) throw simError("OutOfRangeInput");
    headers.push("Content-MD5", md5Base64(body.read(0, body.sizeBytes)));
  }
  return { status: 206, headers, body };
}

export function getBlobProperties(call: Call): SimResponse {
  const blob = readable(call);
  const headers = commonHeaders(call, blob);
  headers.push("Content-Length", String(blob.content.sizeBytes));
  if (blob.contentMd5 !== undefined) headers.push("Content-MD5", blob.contentMd5);
  if (blob.type === "BlockBlob") {
    headers.push("x-ms-access-tier", blob.tier, "x-ms-access-tier-change-time", httpDate(blob.tierChangedMs));
    if (blob.tierInferred) headers.push("x-ms-access-tier-inferred", "true");
    if (blob.rehydrating !== undefined) {
      headers.push("x-ms-archive-status", `rehydrate-pending-to-${blob.rehydrating.toLowerCase()}`);
    }
  }
  return { status: 200, headers, body: null };
}

export function getBlobMetadata(call: Call): SimResponse {
  const blob = readable(call);
  const metadata = blob.metadata.flatMap(([name, value]) => [`x-ms-meta-${name}`, value]);
  return {
    status: 200,
    headers: ["ETag", blob.etag, "Last-Modified", httpDate(blob.modifiedMs), ...metadata],
    body: null,
  };
}

export function getBlockList(call: Call): SimResponse {
  const slot = slotOf(call);
  const blob = slot?.current;
  if (slot === undefined || (blob === undefined && slot.uncommitted.size === 0)) throw simError("BlobNotFound");
  checkLease(call, slot.lease, false);
  const kind = call.query.get("blocklisttype") ?? "committed";
  const block = (id: string, sizeBytes: number): string =>
    `<Block>${element("Name", id)}<Size>${sizeBytes}</Size></Block>`;
  const committed = (blob?.blocks ?? []).map(({ id, content }) => block(id, content.sizeBytes)).join("");
  const uncommitted = [...slot.uncommitted].map(([id, content]) => block(id, content.sizeBytes)).join("");
  const lists =
    (kind === "uncommitted" ? "" : `<CommittedBlocks>${committed}</CommittedBlocks>`) +
    (kind === "committed" ? "" : `<UncommittedBlocks>${uncommitted}</UncommittedBlocks>`);
  const headers = ["Content-Type", "application/xml", "x-ms-blob-content-length", String(blob?.content.sizeBytes ?? 0)];
  if (blob !== undefined) headers.push("ETag", blob.etag, "Last-Modified", httpDate(blob.modifiedMs));
  return { status: 200, headers, body: storedContent(xmlDocument(`<BlockList>${lists}</BlockList>`)) };
}

export function getBlobTags(call: Call): SimResponse {
  const blob = blobOf(call);
  const tags = [...blob.tags].map(([name, value]) => `<Tag>${element("Key", name)}${element("Value", value)}</Tag>`);
  const body = storedContent(xmlDocument(`<Tags><TagSet>${tags.join("")}</TagSet></Tags>`));
  return { status: 200, headers: ["Content-Type", "application/xml"], body };
}
