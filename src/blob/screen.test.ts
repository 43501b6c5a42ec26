import { expect, test } from "bun:test";
import { layoutOf } from "./layout.ts";
import { detectOperation } from "./operations.ts";
import { parseQuery } from "./query.ts";
import { applyOverrides, parseRange, screenHeaders, screenTarget } from "./screen.ts";
import { parseTarget } from "./target.ts";

const V = ["x-ms-version", "2025-01-05"];
const SNAPSHOT = "2011-03-09T01:42:34.9360000Z";

function screened(raw: string, headers: string[] = V, method = "GET") {
  const target = parseTarget(raw, "127.0.0.1", new Set(["acct"]));
  if (target === null) throw new Error(raw);
  const query = parseQuery(target.query);
  const blob = screenTarget(detectOperation(method, target, query, headers), target, query);
  return typeof blob === "string"
    ? { kind: "forward" as const, why: blob }
    : screenHeaders(blob, layoutOf(headers), headers);
}

const B = "/acct/c00/b";

test("plain reads are hit-able", () => {
  expect(screened(B)).toEqual({
    kind: "hit-able",
    blob: { form: "get", snapshot: undefined, versionId: undefined, signedVersion: undefined, overrides: null },
    apiVersion: "2025-01-05",
    range: null,
    conditions: { ifMatch: null, ifNoneMatch: null, ifModifiedSinceMs: null, ifUnmodifiedSinceMs: null },
    clientRequestId: undefined,
  });
  expect(screened(B, V, "HEAD")).toMatchObject({ kind: "hit-able", blob: { form: "head" } });
  expect(screened(`${B}?timeout=30&snapshot=${SNAPSHOT}`)).toMatchObject({
    kind: "hit-able",
    blob: { snapshot: SNAPSHOT },
  });
  expect(screened(`${B}?versionid=${SNAPSHOT}`)).toMatchObject({ blob: { versionId: SNAPSHOT } });
  const full = ["X-MS-Version", "2024-11-04", "x-ms-date", "d", "x-ms-client-request-id", "id", "User-Agent", "u"];
  expect(screened(B, [...full, "Authorization", "Bearer x", "If-Match", '"a"', "Range", "bytes=0-9"])).toMatchObject({
    apiVersion: "2024-11-04",
    clientRequestId: "id",
    range: { first: 0, last: 9 },
    conditions: { ifMatch: "a" },
  });
});

test("the version comes from the header, else from a SAS", () => {
  expect(screened(`${B}?sv=2020-12-06&sig=x`, [])).toMatchObject({ apiVersion: "2020-12-06" });
  expect(screened(`${B}?sv=2020-12-06&sig=x`)).toMatchObject({ apiVersion: "2025-01-05" });
  expect(screened(B, []).kind).toBe("forward");
  expect(screened(`${B}?sv=2020-12-06`, []).kind).toBe("forward");
  expect(screened(`${B}?sv=2013-08-15&sig=x`, []).kind).toBe("forward");
  for (const version of ["2025-01-06", "2014-02-14", "latest", "", "2025-01-05, 2025-01-05"]) {
    expect(screened(B, ["x-ms-version", version]).kind).toBe("forward");
  }
});

test("x-ms-range wins over Range", () => {
  expect(screened(B, [...V, "Range", "bytes=0-1", "x-ms-range", "bytes=5-"])).toMatchObject({
    range: { first: 5, last: null },
  });
});

test.each([
  ["Origin", "http://a"],
  ["If-Range", '"a"'],
  ["x-ms-lease-id", "x"],
  ["x-ms-encryption-key", "x"],
  ["X-Ms-Encryption-Algorithm", "AES256"],
  ["x-ms-if-tags", "a=b"],
  ["x-ms-structured-body", "XSM/1.0"],
  ["x-ms-range-get-content-md5", "true"],
  ["x-ms-range-get-content-crc64", "true"],
  ["x-ms-novel", "x"],
  ["x-forebay-bypass", "true"],
  ["Content-Length", "5"],
  ["Transfer-Encoding", "chunked"],
  ["Range", "bytes=-5"],
  ["Range", "bytes=0-1,3-4"],
  ["Range", "bytes=9-1"],
  ["Range", "bytes= 0-1"],
  ["Range", "0-1"],
  ["x-ms-range", ""],
  ["x-ms-version", "2025-01-05"],
  ["If-Match", "*"],
  ["If-None-Match", ""],
  ["If-Modified-Since", "yesterday"],
  ["x-ms-client-request-id", "x".repeat(1025)],
  ["X-HTTP-Method", "PUT"],
])("%s: %s is forwarded", (name, value) => {
  expect(screened(B, [...V, name, value]).kind).toBe("forward");
});

test.each([
  "/acct/c00/a//b",
  "/acct/c00/a%5Cb",
  "/acct-secondary/c00/b",
  "/acct/c00",
  `${B}?comp=metadata`,
  `${B}?api-version=2020-12-06`,
  `${B}?novel=1`,
  `${B}?snapshot=now`,
  `${B}?snapshot=${SNAPSHOT}&versionid=${SNAPSHOT}`,
  `${B}?snapshot=${SNAPSHOT}&snapshot=${SNAPSHOT}`,
  `${B}?Snapshot=${SNAPSHOT}`,
  `${B}?sn%61pshot=${SNAPSHOT}`,
  `${B}?snapshot=`,
  `${B}?timeout=-1`,
  `${B}?timeout=1+1`,
  `${B}?`,
  `${B}?a`,
  `${B}?rscc=no-cache`,
  `${B}?sig=x&sv=2020-12-06&rscc=%0d%0aX:%201`,
])("%s is forwarded", (raw) => {
  expect(screened(raw).kind).toBe("forward");
});

test("a HEAD with a range or response headers is forwarded", () => {
  expect(screened(B, [...V, "Range", "bytes=0-1"], "HEAD").kind).toBe("forward");
  expect(screened(`${B}?sig=x&sv=2020-12-06&rscc=a`, V, "HEAD").kind).toBe("forward");
});

test("ranges", () => {
  expect(parseRange("bytes=0-0")).toEqual({ first: 0, last: 0 });
  expect(parseRange("bytes=10-")).toEqual({ first: 10, last: null });
  for (const text of [
    "bytes=",
    "bytes=-",
    "bytes=-1",
    "bytes=a-b",
    "bytes=1-2-3",
    "Bytes=0-1",
    "bytes=0x1-2",
    "bytes=1.5-2",
  ]) {
    expect(parseRange(text)).toBeNull();
  }
  expect(parseRange(`bytes=0-${"9".repeat(16)}`)).toBeNull();
});

test("a SAS sets response headers", () => {
  const found = screened(`${B}?sv=2020-12-06&sig=x&rscc=no-store&rsct=text%2Fplain`);
  if (found.kind !== "hit-able" || found.blob.overrides === null) throw new Error("hit-able");
  const headers = applyOverrides(["content-type", "a/b", "ETag", "x"], found.blob.overrides);
  expect(headers).toEqual(["ETag", "x", "Cache-Control", "no-store", "Content-Type", "text/plain"]);
});
