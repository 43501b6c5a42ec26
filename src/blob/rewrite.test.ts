import { describe, expect, test } from "bun:test";
import { headerOf } from "../http/types.ts";
import type { UrlStyle } from "../lake/types.ts";
import type { LakeAddress } from "./copy-source.ts";
import { parseQuery } from "./query.ts";
import { endToEndHeaders, type Passing, rewriteRequest } from "./rewrite.ts";
import { verifySharedKey } from "./shared-key.ts";
import { parseTarget } from "./target.ts";
import { type CapturedRequest, capture, TEST_ACCOUNT, TEST_KEYS } from "./test-client.ts";

const lake: LakeAddress = { account: "acct", style: "account", origin: "https://acct.blob.core.windows.net" };
const own = { authorities: new Set(["127.0.0.1:10100", "localhost:10100"]), lakes: new Map([["acct", lake]]) };
const BASES = { path: "http://127.0.0.1:10100/acct", account: "http://acct.localhost:10100" } as const;

function passing(sent: CapturedRequest, lakeStyle: UrlStyle, more: Partial<Passing> = {}): Passing {
  const target = parseTarget(sent.target, sent.host, new Set(["acct"]));
  if (target === null) throw new Error("a target");
  const { method, headers } = sent;
  const nowMs = Date.parse(headerOf(headers, "x-ms-date") ?? "");
  return { method, target, query: parseQuery(target.query), headers, lakeStyle, keys: TEST_KEYS, own, nowMs, ...more };
}

function passed(request: Passing) {
  const result = rewriteRequest(request);
  if (result.kind !== "pass") throw new Error("passes");
  return result;
}

/** Whether the lake would take the signature of what is sent. */
function accepted(request: Passing, extra: string[] = []): string {
  const { path, query, headers } = passed(request);
  const made = { method: request.method, wirePath: path, query: parseQuery(query), headers: [...headers, ...extra] };
  return verifySharedKey(made, TEST_ACCOUNT, TEST_KEYS, request.nowMs).verdict.verdict;
}

async function one(base: string, act: Parameters<typeof capture>[1]): Promise<CapturedRequest> {
  const [sent] = await capture(base, act);
  if (sent === undefined) throw new Error("a request");
  return sent;
}

describe("all four pairs of styles", () => {
  for (const from of ["path", "account"] as const) {
    for (const to of ["path", "account"] as const) {
      test(`${from} to ${to}`, async () => {
        const get = await one(BASES[from], (c) =>
          c.getContainerClient("c00").getBlobClient("a/b +.bin").download(1, 2),
        );
        const request = passing(get, to);
        const result = passed(request);
        expect(result.path).toBe(to === "path" ? "/acct/c00/a/b%20%2B.bin" : "/c00/a/b%20%2B.bin");
        expect(accepted(request)).toBe("yes");
        if (from === to) expect(result.headers).toEqual(get.headers.filter((_, i) => kept(get.headers, i)));
        const put = await one(BASES[from], (c) =>
          c.getContainerClient("c00").getBlockBlobClient("b").upload("hello", 5),
        );
        const length = headerOf(put.headers, "content-length") ?? "";
        expect(headerOf(passed(passing(put, to)).headers, "content-length")).toBeUndefined();
        expect(accepted(passing(put, to), ["Content-Length", length])).toBe("yes");
      });
    }
  }
});

function kept(headers: string[], index: number): boolean {
  return !["content-length", "host", "connection"].includes((headers[index - (index % 2)] ?? "").toLowerCase());
}

test("a signature that is not true is passed on", async () => {
  const sent = await one(BASES.path, (c) => c.getContainerClient("c00").getBlobClient("b").download());
  const at = sent.headers.findIndex((value) => value.startsWith("SharedKey"));
  sent.headers[at] = (sent.headers[at] ?? "").replace(/:./, ":~");
  expect(headerOf(passed(passing(sent, "account")).headers, "authorization")).toBe(sent.headers[at] ?? "");
  const late = passing(sent, "account", { nowMs: Date.parse("2000-01-01") });
  expect(headerOf(passed(late).headers, "authorization")).toBe(sent.headers[at] ?? "");
});

test("without a key there is one clear error, and only where it is needed", async () => {
  const sent = await one(BASES.path, (c) => c.getContainerClient("c00").getBlobClient("b").download());
  const refused = rewriteRequest(passing(sent, "account", { keys: [] }));
  expect(refused).toMatchObject({ kind: "refuse", error: { status: 403, code: "AuthenticationFailed" } });
  expect(rewriteRequest(passing(sent, "path", { keys: [] })).kind).toBe("pass");
  const bearer = { ...sent, headers: ["Authorization", "Bearer x", "x-ms-version", "2025-01-05"] };
  expect(passed(passing(bearer, "account", { keys: [] })).headers).toEqual(bearer.headers);
});

test("the source of a copy", async () => {
  const url = "http://localhost:10100/acct/c00/s?sig=x";
  const sent = await one(BASES.account, (c) => c.getContainerClient("c00").getBlobClient("b").syncCopyFromURL(url));
  const request = passing(sent, "account");
  expect(headerOf(passed(request).headers, "x-ms-copy-source")).toBe(`${lake.origin}/c00/s?sig=x`);
  expect(accepted(request)).toBe("yes");
  const far = await one(BASES.account, (c) =>
    c.getContainerClient("c00").getBlobClient("b").syncCopyFromURL("https://far/x"),
  );
  expect(headerOf(passed(passing(far, "account")).headers, "x-ms-copy-source")).toBe("https://far/x");
});

test("a rewritten body has another length and no digest", async () => {
  const sent = await one(BASES.path, (c) => c.getContainerClient("c00").getBlockBlobClient("b").upload("hello", 5));
  const request = passing({ ...sent, headers: sent.headers }, "account", { bodyLengthBytes: 7 });
  expect(accepted(request, ["Content-Length", "7"])).toBe("yes");
  const digest = { ...sent, headers: ["Content-MD5", "x", "x-ms-content-crc64", "y", "x-ms-date", ""] };
  const { headers } = passed(passing(digest, "account", { bodyLengthBytes: 7, nowMs: 0 }));
  expect(headers).toEqual(["x-ms-date", ""]);
});

test("Date beside x-ms-date is left out of what is signed again", async () => {
  const sent = await one(BASES.path, (c) => c.getContainerClient("c00").getBlobClient("b").download());
  const request = passing({ ...sent, headers: [...sent.headers, "Date", "whatever"] }, "account");
  expect(headerOf(passed(request).headers, "date")).toBeUndefined();
  expect(accepted(request)).toBe("yes");
});

test("headers of one connection and of Forebay stay behind", () => {
  const headers = endToEndHeaders([
    ...["Host", "h", "Connection", "keep-alive, X-Mine, x-ms-version, Authorization", "X-Mine", "1", "Keep-Alive", "1"],
    ...["Proxy-Authorization", "1", "TE", "1", "Trailer", "1", "Transfer-Encoding", "chunked", "Upgrade", "1"],
    ...["Expect", "100-continue", "X-Forebay-Bypass", "true", "Content-Length", "5"],
    ...["x-ms-version", "v", "Authorization", "a", "Content-Type", "t", "X-Other", "o", "X-Other", "p"],
  ]);
  expect(headers).toEqual([
    ...["x-ms-version", "v", "Authorization", "a", "Content-Type", "t", "X-Other", "o", "X-Other", "p"],
  ]);
});
