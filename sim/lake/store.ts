/** Finding and replacing what the simulated service keeps. */
import { EMPTY } from "./content.ts";
import { simError } from "./errors.ts";
import {
  type Blob,
  type Call,
  type Container,
  header,
  httpDate,
  nextEtag,
  nextMoment,
  PROPERTY_HEADERS,
  type SimResponse,
  type Slot,
} from "./model.ts";

/** The container of the call. Throws ContainerNotFound. */
export function containerOf(call: Call): Container {
  const container = call.account.containers.get(call.containerName);
  if (container === undefined) throw simError("ContainerNotFound");
  return container;
}

/** The place of the call's blob, if there is or was anything under its name. */
export function slotOf(call: Call): Slot | undefined {
  return containerOf(call).slots.get(call.blobName);
}

/** The place of the call's blob, made if need be. */
export function slotForWrite(call: Call): Slot {
  const { slots } = containerOf(call);
  const found = slots.get(call.blobName);
  if (found !== undefined) return found;
  const slot: Slot = {
    current: undefined,
    snapshots: new Map(),
    versions: new Map(),
    uncommitted: new Map(),
    lease: undefined,
  };
  slots.set(call.blobName, slot);
  return slot;
}

/** The blob, snapshot or version that the call names. Throws BlobNotFound. */
export function blobOf(call: Call): Blob {
  const slot = slotOf(call);
  const snapshot = call.query.get("snapshot");
  const version = call.query.get("versionid");
  const found =
    snapshot !== undefined
      ? slot?.snapshots.get(snapshot)
      : version !== undefined && version !== slot?.current?.versionId
        ? slot?.versions.get(version)
        : slot?.current;
  if (found === undefined) throw simError("BlobNotFound");
  return found;
}

/** The metadata that a request sets, names as written. */
export function metadataOf(call: Call): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i < call.headers.length; i += 2) {
    const name = call.headers[i] ?? "";
    if (/^x-ms-meta-/i.test(name)) pairs.push([name.slice(10), call.headers[i + 1] ?? ""]);
  }
  return pairs;
}

/** The standard properties that a request sets. `plain` also takes those without the x-ms-blob- prefix (Put Blob). */
export function propertiesOf(call: Call, plain: boolean): Map<string, string> {
  const properties = new Map<string, string>();
  for (const name of PROPERTY_HEADERS) {
    const value = header(call, `x-ms-blob-${name}`) ?? (plain ? header(call, name) : undefined);
    if (value !== undefined) properties.set(name, value);
  }
  return properties;
}

export function tagsOf(call: Call): Map<string, string> {
  return new Map(new URLSearchParams(header(call, "x-ms-tags") ?? ""));
}

/** A new blob of the call's name, before it is stored. */
export function draftBlob(call: Call, parts: Partial<Blob>): Blob {
  const { nowMs } = call.context;
  return {
    name: call.blobName,
    type: "BlockBlob",
    content: EMPTY,
    etag: nextEtag(call.state),
    createdMs: nowMs,
    modifiedMs: nowMs,
    metadata: metadataOf(call),
    properties: propertiesOf(call, false),
    contentMd5: undefined,
    tier: header(call, "x-ms-access-tier") ?? "Hot",
    tierInferred: header(call, "x-ms-access-tier") === undefined,
    tierChangedMs: nowMs,
    rehydrating: undefined,
    tags: tagsOf(call),
    versionId: undefined,
    copy: undefined,
    blocks: [],
    ...parts,
  };
}

/** Makes `blob` the current one; what was current becomes a past version where the account keeps those. */
export function store(call: Call, slot: Slot, blob: Blob): Blob {
  const before = slot.current;
  const stored = { ...blob, createdMs: before?.createdMs ?? blob.createdMs };
  if (call.account.versioning) {
    if (before?.versionId !== undefined) slot.versions.set(before.versionId, before);
    stored.versionId = nextMoment(call.state, call.context.nowMs);
  }
  slot.current = stored;
  slot.uncommitted.clear();
  return stored;
}

/** The headers that answer a change: what the blob is now. */
export function changed(status: number, blob: Blob, more: readonly string[] = []): SimResponse {
  const version = blob.versionId === undefined ? [] : ["x-ms-version-id", blob.versionId];
  return {
    status,
    headers: ["ETag", blob.etag, "Last-Modified", httpDate(blob.modifiedMs), ...version, ...more],
    body: null,
  };
}

export function md5Base64(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("md5").update(bytes).digest("base64");
}

/** Throws Md5Mismatch when the request announces another MD5 than that of its body. */
export function checkBodyMd5(call: Call): void {
  const announced = header(call, "content-md5");
  if (announced !== undefined && announced !== md5Base64(call.body)) throw simError("Md5Mismatch");
}
