/**
 * Elements of a list for what the lake does not have yet, as the lake will write them. What only the lake can know of a
 * blob is taken from the lake's own element of that name, where there is one: a blob that is overwritten keeps the time
 * of its creation, and its tier unless it is given another.
 *
 * Source: "List Blobs" and "Put Blob" in the REST documentation.
 */
import { headerOf, type RawHeaders } from "../http/types.ts";
import type { PutDetails } from "../journal/types.ts";
import { formatHttpDate } from "./dates.ts";
import { xmlElement, xmlText } from "./list-page.ts";

/** Versions from which on an element stands in the list. */
const CREATION_TIME_VERSION = "2017-11-09";
const TIER_VERSION = "2017-04-17";
const ENCRYPTED_VERSION = "2015-12-11";
const TAGS_VERSION = "2019-12-12";
const CRC64_VERSION = "2019-02-02";
const ENCODED_VERSION = "2021-02-12";

/** How the elements of a page are written. */
export interface ElementForm {
  readonly apiVersion: string;
  readonly metadata: boolean;
  readonly tags: boolean;
  /** Whether the caller may know how many tags there are. */
  readonly tagCount: boolean;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are exactly what XML 1.0 forbids.
const UNSPEAKABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

/** Whether a name can be written in a list of this version at all. */
export function isListable(name: string, apiVersion: string): boolean {
  return apiVersion >= ENCODED_VERSION || !UNSPEAKABLE.test(name);
}

function nameElement(name: string): string {
  if (!UNSPEAKABLE.test(name)) return xmlElement("Name", name);
  return `<Name Encoded="true">${encodeURIComponent(name)}</Name>`;
}

export function prefixElement(name: string): Uint8Array {
  return Buffer.from(`<BlobPrefix>${nameElement(name)}</BlobPrefix>`);
}

/**
 * The element of a put.
 *
 * @param tier What the policy has blobs carried to; null: the account's default.
 * @param replaced The lake's element of the same name, which this one stands instead of.
 */
export function blobElement(
  name: string,
  put: PutDetails,
  form: ElementForm,
  tier: string | null,
  replaced: Uint8Array | null,
): Uint8Array {
  const { apiVersion } = form;
  const tags = form.tags && apiVersion >= TAGS_VERSION ? tagsElement(put.headers) : "";
  const metadata = form.metadata ? metadataElement(put.headers) : "";
  const replication = apiVersion >= TAGS_VERSION ? "<OrMetadata />" : "";
  const properties = propertiesOf(put, form, tier, replaced === null ? "" : Buffer.from(replaced).toString());
  const inner = `${nameElement(name)}<Properties>${properties}</Properties>${metadata}${tags}${replication}`;
  return Buffer.from(`<Blob>${inner}</Blob>`);
}

function propertiesOf(
  put: PutDetails,
  { apiVersion: version, tagCount: counts }: ElementForm,
  tier: string | null,
  replaced: string,
): string {
  const { headers } = put;
  const of = (name: string): string => headerOf(headers, `x-ms-blob-${name}`) ?? headerOf(headers, name) ?? "";
  const modified = formatHttpDate(put.lastModifiedMs);
  const created = propertyOf(replaced, "Creation-Time") ?? modified;
  const tagCount = counts ? tagsOf(headers).length : 0;
  return [
    version >= CREATION_TIME_VERSION ? xmlElement("Creation-Time", created) : "",
    xmlElement("Last-Modified", modified),
    xmlElement("Etag", put.etag.replaceAll('"', "")),
    xmlElement("Content-Length", String(put.sizeBytes)),
    xmlElement("Content-Type", of("content-type") || "application/octet-stream"),
    xmlElement("Content-Encoding", of("content-encoding")),
    xmlElement("Content-Language", of("content-language")),
    version >= CRC64_VERSION ? xmlElement("Content-CRC64", "") : "",
    xmlElement("Content-MD5", headerOf(headers, "x-ms-blob-content-md5") ?? put.contentMd5 ?? ""),
    xmlElement("Cache-Control", of("cache-control")),
    xmlElement("Content-Disposition", headerOf(headers, "x-ms-blob-content-disposition") ?? ""),
    xmlElement("BlobType", "BlockBlob"),
    version >= TIER_VERSION ? tierElements(headerOf(headers, "x-ms-access-tier") ?? tier, replaced) : "",
    xmlElement("LeaseStatus", "unlocked"),
    xmlElement("LeaseState", "available"),
    version >= ENCRYPTED_VERSION ? xmlElement("ServerEncrypted", "true") : "",
    version >= TAGS_VERSION && tagCount > 0 ? xmlElement("TagCount", String(tagCount)) : "",
  ].join("");
}

/** The account's default tier is not known here: where nobody said one, it is the one that accounts are made with. */
function tierElements(tier: string | null, replaced: string): string {
  if (tier !== null) return xmlElement("AccessTier", tier);
  const kept = propertyOf(replaced, "AccessTier");
  const inferred = kept === undefined || propertyOf(replaced, "AccessTierInferred") === "true";
  return xmlElement("AccessTier", kept ?? "Hot") + (inferred ? xmlElement("AccessTierInferred", "true") : "");
}

/** The text of a property in a whole element of the lake's; undefined where it has none, or none that is plain. */
function propertyOf(element: string, name: string): string | undefined {
  const from = element.indexOf("<Properties>");
  const to = element.indexOf("</Properties>", from);
  if (from < 0 || to < 0) return undefined;
  const value = new RegExp(`<${name}>([^<&]+)</${name}>`).exec(element.slice(from, to));
  return value?.[1];
}

const META = "x-ms-meta-";

function metadataElement(headers: RawHeaders): string {
  let inner = "";
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const header = headers[i] ?? "";
    if (!header.toLowerCase().startsWith(META)) continue;
    const name = header.slice(META.length);
    // As the service does with what cannot be the name of an element.
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) inner += xmlElement("x-ms-invalid-name", name);
    else inner += xmlElement(name, headers[i + 1] ?? "");
  }
  return inner === "" ? "<Metadata />" : `<Metadata>${inner}</Metadata>`;
}

function tagsOf(headers: RawHeaders): [string, string][] {
  return [...new URLSearchParams(headerOf(headers, "x-ms-tags") ?? "")];
}

function tagsElement(headers: RawHeaders): string {
  const tags = tagsOf(headers).map(
    ([key, value]) => `<Tag>${xmlElement("Key", key)}<Value>${xmlText(value)}</Value></Tag>`,
  );
  return tags.length === 0 ? "" : `<Tags><TagSet>${tags.join("")}</TagSet></Tags>`;
}
