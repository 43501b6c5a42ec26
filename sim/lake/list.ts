/** List Blobs: prefix, delimiter, marker, page size, and the includes. */
import { compareNames } from "../../src/journal/names.ts";
import { leaseHeaders } from "./conditions.ts";
import { storedContent } from "./content.ts";
import { simError } from "./errors.ts";
import { type Blob, type Call, httpDate, type SimResponse, type Slot } from "./model.ts";
import { containerOf } from "./store.ts";
import { element, escapeXml, xmlDocument } from "./xml.ts";

/** One line of a list: a blob in one of its forms, or a prefix up to the delimiter. */
interface Entry {
  /** Sorts the list, and is the marker of the page that begins with it. */
  readonly key: string;
  readonly xml: () => string;
  readonly isPrefix: boolean;
}

export function listBlobs(call: Call): SimResponse {
  const { query } = call;
  const container = containerOf(call);
  const max = Number(query.get("maxresults") ?? "5000");
  if (!Number.isInteger(max) || max < 1) throw simError("OutOfRangeInput");
  const marker = Buffer.from(query.get("marker") ?? "", "base64url").toString();
  const entries = entriesOf(call, container.slots).filter((entry) => compareNames(entry.key, marker) >= 0);
  const page = entries.slice(0, Math.min(max, 5000));
  const next = entries[page.length];
  const echoed = ["prefix", "marker", "maxresults", "delimiter"] as const;
  const names = ["Prefix", "Marker", "MaxResults", "Delimiter"];
  const head = echoed.map((name, i) => element(names[i] ?? "", query.get(name))).join("");
  const blobs = page.map((entry) => entry.xml()).join("");
  const nextMarker = next === undefined ? "" : Buffer.from(next.key).toString("base64url");
  const place = `ServiceEndpoint="http://lake/" ContainerName="${escapeXml(container.name)}"`;
  const inner = `${head}<Blobs>${blobs}</Blobs><NextMarker>${nextMarker}</NextMarker>`;
  const body = storedContent(xmlDocument(`<EnumerationResults ${place}>${inner}</EnumerationResults>`));
  return { status: 200, headers: ["Content-Type", "application/xml"], body };
}

function entriesOf(call: Call, slots: ReadonlyMap<string, Slot>): Entry[] {
  const prefix = call.query.get("prefix") ?? "";
  const delimiter = call.query.get("delimiter") ?? "";
  const include = new Set((call.query.get("include") ?? "").split(","));
  const entries = new Map<string, Entry>();
  for (const [name, slot] of slots) {
    if (!name.startsWith(prefix)) continue;
    const at = delimiter === "" ? -1 : name.indexOf(delimiter, prefix.length);
    if (at >= 0) {
      const short = name.slice(0, at + delimiter.length);
      const xml = (): string => `<BlobPrefix>${element("Name", short)}</BlobPrefix>`;
      if (isListed(slot, include)) entries.set(short, { key: short, xml, isPrefix: true });
      continue;
    }
    for (const entry of formsOf(call, name, slot, include)) entries.set(entry.key, entry);
  }
  return [...entries.values()].sort((a, b) => compareNames(a.key, b.key));
}

function isListed(slot: Slot, include: ReadonlySet<string>): boolean {
  if (slot.current !== undefined) return true;
  return include.has("versions")
    ? slot.versions.size > 0
    : include.has("uncommittedblobs") && slot.uncommitted.size > 0;
}

function formsOf(call: Call, name: string, slot: Slot, include: ReadonlySet<string>): Entry[] {
  const entries: Entry[] = [];
  const add = (suffix: string, xml: () => string): void => {
    entries.push({ key: name + suffix, xml, isPrefix: false });
  };
  if (include.has("snapshots")) {
    for (const [moment, blob] of slot.snapshots) {
      add(`\u0000s${moment}`, () => blobXml(call, blob, undefined, include, element("Snapshot", moment)));
    }
  }
  if (include.has("versions")) {
    for (const [id, blob] of slot.versions) {
      add(`\u0000v${id}`, () => blobXml(call, blob, undefined, include, element("VersionId", id)));
    }
  }
  const { current } = slot;
  if (current !== undefined) {
    const version = include.has("versions") ? element("VersionId", current.versionId) : "";
    const isCurrent = version === "" ? "" : element("IsCurrentVersion", "true");
    add("\u0001", () => blobXml(call, current, slot, include, version + isCurrent));
  } else if (include.has("uncommittedblobs") && slot.uncommitted.size > 0) {
    const properties = element("Content-Length", "0") + element("BlobType", "BlockBlob");
    add("\u0001", () => `<Blob>${element("Name", name)}<Properties>${properties}</Properties></Blob>`);
  }
  return entries;
}

function blobXml(call: Call, blob: Blob, slot: Slot | undefined, include: ReadonlySet<string>, form: string): string {
  const lease = new Map(pairs(leaseHeaders(slot?.lease, call.context.nowMs)));
  const properties = [
    element("Creation-Time", httpDate(blob.createdMs)),
    element("Last-Modified", httpDate(blob.modifiedMs)),
    element("Etag", blob.etag.replaceAll('"', "")),
    element("Content-Length", String(blob.content.sizeBytes)),
    element("Content-Type", blob.properties.get("content-type") ?? "application/octet-stream"),
    element("Content-Encoding", blob.properties.get("content-encoding") ?? ""),
    element("Content-Language", blob.properties.get("content-language") ?? ""),
    element("Content-MD5", blob.contentMd5 ?? ""),
    element("Cache-Control", blob.properties.get("cache-control") ?? ""),
    element("Content-Disposition", blob.properties.get("content-disposition") ?? ""),
    element("BlobType", blob.type),
    blob.type === "BlockBlob" ? element("AccessTier", blob.tier) : "",
    blob.tierInferred && blob.type === "BlockBlob" ? element("AccessTierInferred", "true") : "",
    element("LeaseStatus", lease.get("x-ms-lease-status")),
    element("LeaseState", lease.get("x-ms-lease-state")),
    element("ServerEncrypted", "true"),
    blob.tags.size > 0 ? element("TagCount", String(blob.tags.size)) : "",
  ].join("");
  const metadata = blob.metadata.map(([name, value]) => element(name, value)).join("");
  const shown = include.has("metadata") ? `<Metadata>${metadata}</Metadata>` : "";
  return `<Blob>${nameXml(blob.name)}${form}<Properties>${properties}</Properties>${shown}</Blob>`;
}

/** Names with characters that XML cannot hold are given percent-encoded (version 2021-02-12 on). */
function nameXml(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are exactly what XML 1.0 forbids.
  if (!/[\u0000-\u0008\u000b\u000c\u000e-\u001f\uffff\ufffe]/.test(name)) return element("Name", name);
  return `<Name Encoded="true">${encodeURIComponent(name)}</Name>`;
}

function pairs(flat: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let i = 0; i < flat.length; i += 2) list.push([flat[i] ?? "", flat[i + 1] ?? ""]);
  return list;
}
