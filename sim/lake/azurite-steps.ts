/** The requests that the simulated service and Azurite must answer alike. */
import type { LakeOwnRequest } from "../../src/lake/types.ts";

/** A request, and which headers of the answer must be alike on both sides. */
export interface Step {
  readonly what: string;
  readonly request: LakeOwnRequest;
  readonly body?: string;
  readonly alike?: readonly string[];
  /** Takes a header of the answer for later steps, as `{name}` in their headers and queries. */
  readonly keep?: Readonly<Record<string, string>>;
  readonly sameBody?: boolean;
  /** Where Azurite is known to differ from what the REST reference says: what it answers instead. */
  readonly azurite?: { readonly status?: number; readonly code?: string };
}

const BLOB = { container: "twin", blob: "a b/c+d%.bin" } as const;
const READ_HEADERS = [
  ...["content-length", "content-type", "content-range", "content-md5", "accept-ranges", "x-ms-blob-type"],
  ...["x-ms-lease-status", "x-ms-lease-state", "x-ms-server-encrypted", "x-ms-meta-team", "cache-control"],
];
const block = (n: number): string => Buffer.from(`block-${n}`).toString("base64");
const blockList = (...ids: string[]): string =>
  `<?xml version="1.0" encoding="utf-8"?><BlockList>${ids.map((id) => `<Latest>${id}</Latest>`).join("")}</BlockList>`;

/** One history, from before the container exists to after it is gone. */
export const STEPS: readonly Step[] = [
  { what: "no container yet", request: { method: "GET", ...BLOB } },
  { what: "create", request: { method: "PUT", container: "twin", query: [["restype", "container"]] } },
  { what: "create again", request: { method: "PUT", container: "twin", query: [["restype", "container"]] } },
  { what: "no blob yet", request: { method: "GET", ...BLOB } },
  { what: "no blob yet, HEAD", request: { method: "HEAD", ...BLOB } },
  {
    what: "If-Match of nothing",
    request: { method: "PUT", ...BLOB, headers: ["x-ms-blob-type", "BlockBlob", "If-Match", '"0x1"'] },
    body: "x",
  },
  {
    what: "put",
    request: {
      method: "PUT",
      ...BLOB,
      headers: [
        "x-ms-blob-type",
        "BlockBlob",
        "x-ms-meta-team",
        "red",
        "x-ms-blob-cache-control",
        "no-store",
        "Content-Type",
        "text/plain",
      ],
    },
    body: "0123456789",
    keep: { etag: "etag" },
    alike: ["content-md5", "x-ms-request-server-encrypted"],
  },
  {
    what: "put where nothing may be",
    request: { method: "PUT", ...BLOB, headers: ["x-ms-blob-type", "BlockBlob", "If-None-Match", "*"] },
    body: "x",
  },
  { what: "get", request: { method: "GET", ...BLOB }, alike: READ_HEADERS, sameBody: true },
  { what: "head", request: { method: "HEAD", ...BLOB }, alike: READ_HEADERS },
  {
    what: "range",
    request: { method: "GET", ...BLOB, headers: ["Range", "bytes=2-4"] },
    alike: ["content-length", "content-range"],
    sameBody: true,
  },
  {
    what: "x-ms-range beats Range",
    request: { method: "GET", ...BLOB, headers: ["Range", "bytes=2-4", "x-ms-range", "bytes=0-0"] },
    alike: ["content-range"],
    sameBody: true,
  },
  {
    what: "open range",
    request: { method: "GET", ...BLOB, headers: ["Range", "bytes=7-"] },
    alike: ["content-range"],
    sameBody: true,
  },
  {
    what: "range past the end",
    request: { method: "GET", ...BLOB, headers: ["Range", "bytes=20-30"] },
    alike: ["content-range"],
  },
  { what: "own ETag", request: { method: "GET", ...BLOB, headers: ["If-Match", "{etag}"] }, sameBody: true },
  { what: "not changed", request: { method: "GET", ...BLOB, headers: ["If-None-Match", "{etag}"] } },
  { what: "another ETag", request: { method: "GET", ...BLOB, headers: ["If-Match", '"0x8D0000000000000"'] } },
  {
    what: "modified since",
    request: { method: "GET", ...BLOB, headers: ["If-Modified-Since", "Mon, 01 Jan 2035 00:00:00 GMT"] },
  },
  {
    what: "unmodified since",
    request: { method: "GET", ...BLOB, headers: ["If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"] },
  },
  {
    what: "wrong MD5",
    request: {
      method: "PUT",
      ...BLOB,
      headers: ["x-ms-blob-type", "BlockBlob", "Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="],
    },
    azurite: { code: "InvalidOperation" },
    body: "x",
  },
  {
    what: "block 1",
    request: {
      method: "PUT",
      ...BLOB,
      query: [
        ["comp", "block"],
        ["blockid", block(1)],
      ],
    },
    body: "first-",
  },
  {
    what: "block 2",
    request: {
      method: "PUT",
      ...BLOB,
      query: [
        ["comp", "block"],
        ["blockid", block(2)],
      ],
    },
    body: "second",
  },
  {
    what: "an unknown block",
    request: { method: "PUT", ...BLOB, query: [["comp", "blocklist"]] },
    body: blockList(block(1), block(3)),
  },
  { what: "still the old content", request: { method: "GET", ...BLOB }, sameBody: true },
  {
    what: "commit",
    request: { method: "PUT", ...BLOB, query: [["comp", "blocklist"]] },
    body: blockList(block(2), block(1)),
  },
  {
    what: "the new content",
    request: { method: "GET", ...BLOB },
    alike: ["content-length", "content-type"],
    sameBody: true,
  },
  {
    what: "snapshot",
    request: { method: "PUT", ...BLOB, query: [["comp", "snapshot"]] },
    keep: { moment: "x-ms-snapshot" },
  },
  {
    what: "read of the snapshot",
    request: { method: "GET", ...BLOB, query: [["snapshot", "{moment}"]] },
    sameBody: true,
  },
  { what: "delete despite a snapshot", request: { method: "DELETE", ...BLOB } },
  {
    what: "metadata",
    request: { method: "PUT", ...BLOB, query: [["comp", "metadata"]], headers: ["x-ms-meta-team", "blue"] },
  },
  {
    what: "metadata, read",
    request: { method: "GET", ...BLOB, query: [["comp", "metadata"]] },
    alike: ["x-ms-meta-team"],
  },
  {
    what: "lease",
    request: {
      method: "PUT",
      ...BLOB,
      query: [["comp", "lease"]],
      headers: ["x-ms-lease-action", "acquire", "x-ms-lease-duration", "-1"],
    },
    keep: { lease: "x-ms-lease-id" },
  },
  {
    what: "lease, again",
    request: {
      method: "PUT",
      ...BLOB,
      query: [["comp", "lease"]],
      headers: ["x-ms-lease-action", "acquire", "x-ms-lease-duration", "-1"],
    },
  },
  {
    what: "write without the lease",
    request: { method: "PUT", ...BLOB, headers: ["x-ms-blob-type", "BlockBlob"] },
    body: "x",
  },
  {
    what: "leased, HEAD",
    request: { method: "HEAD", ...BLOB },
    alike: ["x-ms-lease-status", "x-ms-lease-state", "x-ms-lease-duration"],
  },
  {
    what: "write with the lease",
    request: { method: "PUT", ...BLOB, headers: ["x-ms-blob-type", "BlockBlob", "x-ms-lease-id", "{lease}"] },
    body: "y",
  },
  {
    what: "release",
    request: {
      method: "PUT",
      ...BLOB,
      query: [["comp", "lease"]],
      headers: ["x-ms-lease-action", "release", "x-ms-lease-id", "{lease}"],
    },
  },
  {
    what: "archive",
    request: { method: "PUT", ...BLOB, query: [["comp", "tier"]], headers: ["x-ms-access-tier", "Archive"] },
  },
  { what: "read of the archive", request: { method: "GET", ...BLOB } },
  { what: "HEAD of the archive", request: { method: "HEAD", ...BLOB }, alike: ["x-ms-access-tier"] },
  { what: "append to a block blob", request: { method: "PUT", ...BLOB, query: [["comp", "appendblock"]] }, body: "z" },
  {
    what: "an append blob",
    request: { method: "PUT", container: "twin", blob: "log", headers: ["x-ms-blob-type", "AppendBlob"] },
    body: "",
  },
  {
    what: "append",
    request: { method: "PUT", container: "twin", blob: "log", query: [["comp", "appendblock"]] },
    body: "line",
    alike: ["x-ms-blob-append-offset"],
  },
  {
    what: "the append blob",
    request: { method: "GET", container: "twin", blob: "log" },
    alike: ["x-ms-blob-type"],
    sameBody: true,
  },
  {
    what: "delete with snapshots",
    request: { method: "DELETE", ...BLOB, headers: ["x-ms-delete-snapshots", "include"] },
  },
  { what: "delete again", request: { method: "DELETE", ...BLOB } },
  {
    what: "an unknown comp",
    request: {
      method: "GET",
      container: "twin",
      query: [
        ["restype", "container"],
        ["comp", "acl"],
      ],
    },
  },
  {
    what: "delete of the container",
    request: { method: "DELETE", container: "twin", query: [["restype", "container"]] },
  },
  {
    what: "delete of the container, again",
    request: { method: "DELETE", container: "twin", query: [["restype", "container"]] },
  },
];
