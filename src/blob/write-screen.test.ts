import { describe, expect, test } from "bun:test";
import { MIB } from "../base/limits.ts";
import { parseBlockList } from "./block-list.ts";
import { layoutOf } from "./layout.ts";
import { detectOperation } from "./operations.ts";
import { parseQuery } from "./query.ts";
import { parseTarget } from "./target.ts";
import { capture } from "./test-client.ts";
import { screenWrite } from "./write-screen.ts";

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers?: readonly string[];
  readonly length?: number | null;
  readonly version?: string | null;
}

function screen(asked: Asked = {}, exclusive = false) {
  const { method = "PUT", path = "/acct/c00/a/b", query = "", version = "2024-11-04" } = asked;
  const length = asked.length === undefined ? 5 : asked.length;
  const headers = [
    ...["Host", "h", "Authorization", "SharedKey acct:x", "User-Agent", "u", "Accept", "*/*"],
    ...(version === null ? [] : ["x-ms-version", version]),
    ...(length === null || length === 0 ? [] : ["Content-Length", String(length)]),
    ...(length === 0 && method === "PUT" ? ["Content-Length", "0"] : []),
    ...(method === "PUT" && query === "" ? ["x-ms-blob-type", "BlockBlob"] : []),
    ...(asked.headers ?? []),
  ];
  return screenRaw(method, path + query, headers, length, exclusive);
}

function screenRaw(method: string, path: string, headers: readonly string[], length: number | null, exclusive = false) {
  const target = parseTarget(path, "127.0.0.1", new Set(["acct"]));
  if (target === null) throw new Error("a target");
  const parsed = parseQuery(target.query);
  const operation = detectOperation(method, target, parsed, headers);
  const exchange = { head: { headers }, body: { lengthBytes: length } };
  const placed = { exchange, target, query: parsed, operation, layout: layoutOf(headers) };
  const screened = screenWrite(placed, exclusive);
  return screened.kind === "take" ? screened.asked : screened.why;
}

const isTaken = (asked: Asked, exclusive = false): boolean => typeof screen(asked, exclusive) !== "string";
const id = (text: string): string => encodeURIComponent(Buffer.from(text).toString("base64"));
const MD5 = Buffer.alloc(16, 1).toString("base64");
const CRC = Buffer.alloc(8, 1).toString("base64");
const BLOCK = { query: `?comp=block&blockid=${id("one")}` };
const LIST = { query: "?comp=blocklist" };
const DELETE = { method: "DELETE", length: 0 };

describe("what the lake is told of a blob", () => {
  test("Put Blob: its own headers, and those with x-ms-blob- before them", () => {
    const headers = [
      ...["Content-Type", "a/b", "Content-Encoding", "gzip", "Content-Language", "de", "Cache-Control", "no-cache"],
      ...["x-ms-blob-content-type", "c/d", "x-ms-blob-content-disposition", "inline", "x-ms-access-tier", "Cool"],
      ...["x-ms-meta-Ab_c1", "Some Value"],
    ];
    expect(screen({ headers })).toMatchObject({
      lakeHeaders: [
        ...["x-ms-blob-content-type", "c/d", "x-ms-blob-content-encoding", "gzip", "x-ms-blob-content-language", "de"],
        ...["x-ms-blob-cache-control", "no-cache", "x-ms-blob-content-disposition", "inline"],
        ...["x-ms-access-tier", "Cool", "x-ms-meta-Ab_c1", "Some Value"],
      ],
    });
  });

  test("Put Block List: those with x-ms-blob- alone; the type is said even when the client did not", () => {
    const lakeHeaders = ["x-ms-blob-content-type", "application/octet-stream"];
    expect(screen({ ...LIST, headers: ["Content-Type", "application/xml"] })).toMatchObject({ lakeHeaders });
    expect(screen({})).toMatchObject({ lakeHeaders });
    expect(screen({ ...BLOCK, headers: ["Content-Type", "a/b"] })).toMatchObject({ lakeHeaders: [] });
  });
});

describe("taken in", () => {
  test.each<[string, Asked]>([
    ["what SDKs send along", { headers: ["x-ms-client-request-id", "1", "x-ms-return-client-request-id", "true"] }],
    ["what proxies add", { headers: ["Via", "1.1 p", "X-Forwarded-For", "10.0.0.1", "traceparent", "00-1-1-00"] }],
    ["a client that waits", { headers: ["Expect", "100-continue"] }],
    ["a time-out", { query: "?timeout=30", headers: ["x-ms-blob-type", "BlockBlob"] }],
    ["a SAS", { ...BLOCK, query: `${BLOCK.query}&sv=2024-11-04&sr=c&sp=w&se=2026-01-01&sig=abc` }],
    ["a block", BLOCK],
    ["a list", LIST],
    ["a deletion", DELETE],
    ["an empty blob", { length: 0 }],
    ["a flush that is not wanted", { headers: ["x-forebay-flush", "false"] }],
    ["the largest blob", { length: 5_000 * MIB }],
    ["the largest block", { ...BLOCK, length: 4_000 * MIB }],
  ])("%s", (_, asked) => {
    expect(isTaken(asked)).toBe(true);
  });

  test("conditions only where nobody else writes, and never of a block", () => {
    for (const headers of [
      ["If-Match", '"a"'],
      ["If-None-Match", "*"],
      ["If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"],
    ]) {
      for (const asked of [{}, LIST, DELETE]) {
        expect([isTaken({ ...asked, headers }), isTaken({ ...asked, headers }, true)]).toEqual([false, true]);
      }
      expect(isTaken({ ...BLOCK, headers }, true)).toBe(false);
    }
  });
});

test("what the service's own client sends is taken in, and its list of blocks understood", async () => {
  const requests = await capture("http://127.0.0.1/acct", async (client) => {
    const blob = client.getContainerClient("c00").getBlockBlobClient("a/b");
    const metadata = { step: "7" };
    const blobHTTPHeaders = { blobContentType: "text/plain", blobCacheControl: "no-store" };
    const failing = (work: Promise<unknown>) => work.catch(() => {});
    await failing(blob.upload("hello", 5, { metadata, blobHTTPHeaders, tier: "Cool" }));
    await failing(blob.uploadData(Buffer.from("hello")));
    await failing(blob.stageBlock(Buffer.from("one").toString("base64"), "hello", 5));
    await failing(blob.commitBlockList([Buffer.from("one").toString("base64")], { metadata, blobHTTPHeaders }));
    await failing(blob.delete());
  });
  const taken = requests.map(({ method, target: path, headers, body }) => {
    const length = method === "DELETE" ? 0 : (body?.length ?? 5);
    return { method, path, headers, length, body };
  });
  expect(taken).toHaveLength(5);
  for (const { method, path, headers, length } of taken) {
    const more = method === "DELETE" || headers.some((name) => /^content-length$/i.test(name));
    const all = more ? headers : [...headers, "Content-Length", String(length)];
    expect([path, typeof screenRaw(method, path, all, length)]).toEqual([path, "object"]);
  }
  const list = taken[3]?.body ?? "";
  expect(parseBlockList(new TextEncoder().encode(list))).toEqual([Buffer.from("one").toString("base64")]);
});

describe("left to the lake", () => {
  test.each<[string, Asked]>([
    ["a header of the service that is not known", { headers: ["x-ms-novel", "1"] }],
    ["any other header that is not known", { headers: ["x-novel", "1"] }],
    ["a header twice", { headers: ["x-ms-meta-a", "1", "X-MS-META-A", "2"] }],
    ["a tunnelled method", { headers: ["X-HTTP-Method", "DELETE"] }],
    ["an origin", { headers: ["Origin", "https://a"] }],
    ["a key of the client", { headers: ["x-ms-encryption-key", "a"] }],
    ["a structured body", { headers: ["x-ms-structured-body", "XSM/1.0"] }],
    ["a source", { headers: ["x-ms-copy-source", "https://a/b"] }],
    ["a legal hold", { headers: ["x-ms-legal-hold", "true"] }],
    ["tags", { headers: ["x-ms-tags", "a=b"] }],
    ["another kind of blob", { headers: ["x-ms-blob-type", "PageBlob"], query: "?timeout=1" }],
    ["no kind of blob", { query: "?timeout=1" }],
    ["the archive", { headers: ["x-ms-access-tier", "Archive"] }],
    ["metadata that is no identifier", { headers: ["x-ms-meta-a-b", "1"] }],
    ["metadata without a value", { headers: ["x-ms-meta-a", ""] }],
    ["metadata beyond ASCII", { headers: ["x-ms-meta-a", "\u00e4"] }],
    ["metadata too large", { headers: ["x-ms-meta-a", "x".repeat(8192)] }],
    ["a folder's mark", { headers: ["x-ms-meta-hdi_isfolder", "true"] }],
    ["metadata of a block", { ...BLOCK, headers: ["x-ms-meta-a", "1"] }],
    ["a flush", { headers: ["x-forebay-flush", "true"] }],
    ["no version", { version: null }],
    ["an unknown version", { version: "2024-11-05" }],
    ["an old version", { version: "2014-02-14" }],
    ["a blob too large", { length: 5_000 * MIB + 1 }],
    ["a blob too large for its version", { version: "2019-07-07", length: 257 * MIB }],
    ["a block too large", { ...BLOCK, length: 4_000 * MIB + 1 }],
    ["an empty block", { ...BLOCK, length: 0 }],
    ["a list too long", { ...LIST, length: 9 * MIB }],
    ["a body of unknown length", { length: null }],
    ["a deletion with a body", { ...DELETE, length: 1 }],
    ["a checksum that is none", { headers: ["Content-MD5", "abc"] }],
    ["two checksums", { headers: ["Content-MD5", MD5, "x-ms-content-crc64", CRC] }],
    ["another parameter", { ...BLOCK, query: `${BLOCK.query}&novel=1` }],
    ["a parameter twice", { ...BLOCK, query: `${BLOCK.query}&timeout=1&timeout=2` }],
    ["a bare plus", { query: "?comp=block&blockid=a+bc" }],
    ["a block id in another form", { query: "?comp=block&blockid=QQ%3D" }],
    ["a snapshot", { ...DELETE, query: "?snapshot=2024-01-01T00:00:00.0000000Z" }],
    ["snapshots", { ...DELETE, headers: ["x-ms-delete-snapshots", "include"] }],
    ["the secondary", { path: "/acct-secondary/c00/a" }],
    ["a name that may be two", { path: "/acct/c00/a//b" }],
    ["a name too long", { path: `/acct/c00/${"a".repeat(1025)}` }],
    ["a name too deep", { path: `/acct/c00/${"a/".repeat(254)}a` }],
    ["a name that is no text", { path: "/acct/c00/%ff" }],
    ["a container of the system", { path: "/acct/$logs/a" }],
    ["an odd container", { path: "/acct/c--0/a" }],
    ["another operation", { query: "?comp=metadata" }],
    ["an expectation that is not known", { headers: ["Expect", "more"] }],
  ])("%s", (_, asked) => {
    expect(typeof screen(asked)).toBe("string");
  });
});
