/** Changes of blobs: put, blocks, properties, metadata, tags, tier, snapshot, lease, delete, append, pages. */
import { checkLease, checkWrite, runLease } from "./conditions.ts";
import { type Content, EMPTY, joinedContent, slicedContent, storedContent } from "./content.ts";
import { simError } from "./errors.ts";
import {
  type Blob,
  type BlobType,
  type Call,
  header,
  nextEtag,
  nextMoment,
  type SimResponse,
  type Slot,
} from "./model.ts";
import {
  blobOf,
  changed,
  checkBodyMd5,
  containerOf,
  draftBlob,
  md5Base64,
  metadataOf,
  propertiesOf,
  slotForWrite,
  slotOf,
  store,
} from "./store.ts";
import { childText, parseXml } from "./xml.ts";

/** The place of a blob that is to be written whole, its lease and conditions checked. */
export function claim(call: Call): Slot {
  containerOf(call);
  const found = slotOf(call);
  checkLease(call, found?.lease, true);
  checkWrite(call, found?.current);
  return slotForWrite(call);
}

/** An existing blob that is to be changed, its lease and conditions checked. */
function existing(call: Call): { slot: Slot; blob: Blob } {
  const slot = slotOf(call);
  const blob = slot?.current;
  if (slot === undefined || blob === undefined) throw simError("BlobNotFound");
  checkLease(call, slot.lease, true);
  checkWrite(call, blob);
  return { slot, blob };
}

function isBlobType(text: string | undefined): text is BlobType {
  return text === "BlockBlob" || text === "AppendBlob" || text === "PageBlob";
}

const ENCRYPTED = ["x-ms-request-server-encrypted", "true"];

export function putBlob(call: Call): SimResponse {
  const type = header(call, "x-ms-blob-type");
  if (!isBlobType(type)) throw simError(type === undefined ? "MissingRequiredHeader" : "InvalidHeaderValue");
  checkBodyMd5(call);
  const slot = claim(call);
  const announced = header(call, "x-ms-blob-content-md5");
  const md5 = type === "BlockBlob" ? md5Base64(call.body) : undefined;
  if (announced !== undefined && type === "BlockBlob" && announced !== md5) throw simError("Md5Mismatch");
  const pageBytes = Number(header(call, "x-ms-blob-content-length") ?? "0");
  if (type === "PageBlob" && pageBytes % 512 !== 0) throw simError("InvalidHeaderValue");
  const content =
    type === "BlockBlob"
      ? storedContent(call.body)
      : type === "PageBlob"
        ? storedContent(new Uint8Array(pageBytes))
        : EMPTY;
  const properties = propertiesOf(call, true);
  const blob = store(call, slot, draftBlob(call, { type, content, contentMd5: md5 ?? announced, properties }));
  return changed(201, blob, md5 === undefined ? ENCRYPTED : ["Content-MD5", md5, ...ENCRYPTED]);
}

/** Stages `content` as a block. */
export function stageBlock(call: Call, content: Content): SimResponse {
  const id = call.query.get("blockid") ?? "";
  if (id === "" || Buffer.from(id, "base64").toString("base64") !== id) throw simError("InvalidQueryParameterValue");
  const found = slotOf(call);
  checkLease(call, found?.lease, true);
  if (found?.current !== undefined && found.current.type !== "BlockBlob") throw simError("InvalidBlobType");
  const { uncommitted } = slotForWrite(call);
  // All blocks of a blob that await their list have ids of one length.
  const [other] = uncommitted.keys();
  if (other !== undefined && other.length !== id.length) throw simError("InvalidBlobOrBlock");
  uncommitted.set(id, content);
  return {
    status: 201,
    headers: [...ENCRYPTED, "Content-MD5", md5Base64(content.read(0, content.sizeBytes))],
    body: null,
  };
}

export function putBlock(call: Call): SimResponse {
  checkBodyMd5(call);
  return stageBlock(call, storedContent(call.body));
}

export function putBlockList(call: Call): SimResponse {
  checkBodyMd5(call);
  const list = parseXml(call.body);
  const slot = claim(call);
  const committed = new Map((slot.current?.blocks ?? []).map(({ id, content }) => [id, content]));
  const blocks = list.children.map(({ name, text }) => {
    const id = text.trim();
    const content =
      name === "Committed"
        ? committed.get(id)
        : name === "Uncommitted"
          ? slot.uncommitted.get(id)
          : (slot.uncommitted.get(id) ?? committed.get(id));
    if (content === undefined) throw simError("InvalidBlockList");
    return { id, content };
  });
  const content = joinedContent(blocks.map((block) => block.content));
  const contentMd5 = header(call, "x-ms-blob-content-md5");
  return changed(201, store(call, slot, draftBlob(call, { content, blocks, contentMd5 })), ENCRYPTED);
}

export function setBlobMetadata(call: Call): SimResponse {
  const { slot, blob } = existing(call);
  const next = { ...blob, metadata: metadataOf(call), etag: nextEtag(call.state), modifiedMs: call.context.nowMs };
  const { uncommitted } = slot;
  const kept = new Map(uncommitted);
  const stored = store(call, slot, next);
  for (const [id, content] of kept) uncommitted.set(id, content);
  return changed(200, stored, ENCRYPTED);
}

export function setBlobProperties(call: Call): SimResponse {
  const { slot, blob } = existing(call);
  const properties = propertiesOf(call, false);
  const contentMd5 = header(call, "x-ms-blob-content-md5");
  const next = { ...blob, properties, contentMd5, etag: nextEtag(call.state), modifiedMs: call.context.nowMs };
  slot.current = next;
  return changed(200, next);
}

export function setBlobTags(call: Call): SimResponse {
  const blob = blobOf(call);
  const set = parseXml(call.body).children.find((child) => child.name === "TagSet");
  // Tags change without a new ETag.
  blob.tags = new Map((set?.children ?? []).map((tag) => [childText(tag, "Key"), childText(tag, "Value")]));
  return { status: 204, headers: [], body: null };
}

export function setBlobTier(call: Call): SimResponse {
  const blob = blobOf(call);
  if (blob.type !== "BlockBlob") throw simError("InvalidBlobType");
  const tier = header(call, "x-ms-access-tier");
  if (tier === undefined) throw simError("MissingRequiredHeader");
  if (!["Hot", "Cool", "Cold", "Archive"].includes(tier)) throw simError("InvalidHeaderValue");
  // A tier changes without a new ETag. Coming back from the archive takes hours: it stays there, pending.
  if (blob.tier === "Archive" && tier !== "Archive") {
    blob.rehydrating = tier;
    return { status: 202, headers: [], body: null };
  }
  blob.tier = tier;
  blob.tierInferred = false;
  blob.tierChangedMs = call.context.nowMs;
  return { status: 200, headers: [], body: null };
}

export function snapshotBlob(call: Call): SimResponse {
  const slot = slotOf(call);
  const blob = slot?.current;
  if (slot === undefined || blob === undefined) throw simError("BlobNotFound");
  checkLease(call, slot.lease, false);
  checkWrite(call, blob);
  const moment = nextMoment(call.state, call.context.nowMs);
  const metadata = metadataOf(call);
  slot.snapshots.set(moment, { ...blob, metadata: metadata.length === 0 ? blob.metadata : metadata });
  return changed(201, blob, ["x-ms-snapshot", moment, "x-ms-request-server-encrypted", "false"]);
}

export function leaseBlob(call: Call): SimResponse {
  const slot = slotOf(call);
  if (slot?.current === undefined) throw simError("BlobNotFound");
  checkWrite(call, slot.current);
  return runLease(call, slot, slot.current);
}

export function deleteBlob(call: Call): SimResponse {
  const snapshot = call.query.get("snapshot");
  const version = call.query.get("versionid");
  const deleted: SimResponse = { status: 202, headers: ["x-ms-delete-type-permanent", "true"], body: null };
  if (snapshot !== undefined || version !== undefined) {
    blobOf(call);
    if (snapshot !== undefined) slotOf(call)?.snapshots.delete(snapshot);
    if (version !== undefined) slotOf(call)?.versions.delete(version);
    return deleted;
  }
  const { slot, blob } = existing(call);
  const mode = header(call, "x-ms-delete-snapshots");
  if (slot.snapshots.size > 0 && mode === undefined) throw simError("SnapshotsPresent");
  slot.snapshots.clear();
  if (mode === "only") return deleted;
  slot.current = undefined;
  slot.lease = undefined;
  if (call.account.versioning && blob.versionId !== undefined) slot.versions.set(blob.versionId, blob);
  if (slot.versions.size === 0 && slot.uncommitted.size === 0) containerOf(call).slots.delete(call.blobName);
  return deleted;
}

export function appendBlock(call: Call): SimResponse {
  checkBodyMd5(call);
  const { slot, blob } = existing(call);
  if (blob.type !== "AppendBlob") throw simError("InvalidBlobType");
  const offset = blob.content.sizeBytes;
  const added = storedContent(call.body);
  const content = joinedContent([blob.content, added]);
  const blocks = [...blob.blocks, { id: String(blob.blocks.length), content: added }];
  const next = { ...blob, content, blocks, etag: nextEtag(call.state), modifiedMs: call.context.nowMs };
  slot.current = next;
  const count = ["x-ms-blob-append-offset", String(offset), "x-ms-blob-committed-block-count", String(blocks.length)];
  return changed(201, next, [...count, ...ENCRYPTED]);
}

export function putPage(call: Call): SimResponse {
  const { slot, blob } = existing(call);
  if (blob.type !== "PageBlob") throw simError("InvalidBlobType");
  const match = /^bytes=(\d+)-(\d+)$/.exec(header(call, "x-ms-range") ?? header(call, "range") ?? "");
  const [first, end] = [Number(match?.[1]), Number(match?.[2]) + 1];
  const clears = header(call, "x-ms-page-write")?.toLowerCase() === "clear";
  const whole = first % 512 === 0 && end % 512 === 0 && first < end && end <= blob.content.sizeBytes;
  if (!whole || (!clears && call.body.length !== end - first)) throw simError("InvalidRange");
  const content = joinedContent([
    slicedContent(blob.content, 0, first),
    storedContent(clears ? new Uint8Array(end - first) : call.body),
    slicedContent(blob.content, end, blob.content.sizeBytes - end),
  ]);
  const next = { ...blob, content, etag: nextEtag(call.state), modifiedMs: call.context.nowMs };
  slot.current = next;
  return changed(201, next, ["x-ms-blob-sequence-number", "0"]);
}
