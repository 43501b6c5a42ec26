import { describe, expect, test } from "bun:test";
import type { BlobServiceClient } from "@azure/storage-blob";
import { limits } from "../base/limits.ts";
import { formatHttpDate } from "./dates.ts";
import { parseQuery } from "./query.ts";
import { parseSharedKey, type SharedKeyScheme, signSharedKey, stringToSign, verifySharedKey } from "./shared-key.ts";
import { parseTarget } from "./target.ts";
import { capture, TEST_ACCOUNT, TEST_KEYS } from "./test-client.ts";

const NOW = Date.UTC(2025, 5, 1, 12);
const [KEY] = TEST_KEYS;
if (KEY === undefined) throw new Error("a key");
const OTHER = Buffer.from("another key, of 32 bytes, really");

function request(method: string, raw: string, headers: string[]) {
  const mark = raw.indexOf("?");
  const query = parseQuery(mark < 0 ? "" : raw.slice(mark));
  return { method, wirePath: mark < 0 ? raw : raw.slice(0, mark), query, headers };
}

function signed(method: string, raw: string, headers: string[], scheme: SharedKeyScheme = "SharedKey") {
  const plain = request(method, raw, headers);
  const authorization = signSharedKey(plain, TEST_ACCOUNT, KEY ?? OTHER, { scheme });
  return { ...plain, headers: [...headers, "Authorization", authorization] };
}

function verdict(made: ReturnType<typeof request>, nowMs = NOW, keys = TEST_KEYS): string {
  return verifySharedKey(made, TEST_ACCOUNT, keys, nowMs).verdict.verdict;
}

const DATED = ["x-ms-date", formatHttpDate(NOW), "x-ms-version", "2025-01-05"];

describe("the text to sign, as documented", () => {
  test("get container metadata", () => {
    const headers = ["x-ms-version", "2015-02-21", "x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"];
    const made = request("GET", "/mycontainer?comp=metadata&restype=container&timeout=20", headers);
    expect(stringToSign("SharedKey", "myaccount", made)).toBe(
      "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n" +
        "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20",
    );
  });

  test("list blobs: values decoded, names sorted, values of one name joined", () => {
    const raw = "/container?restype=container&comp=list&include=snapshots&include=metadata&include=uncommittedblobs";
    expect(stringToSign("SharedKey", "myaccount", request("GET", raw, []))).toEndWith(
      "/myaccount/container\ncomp:list\ninclude:metadata,snapshots,uncommittedblobs\nrestype:container",
    );
    const encoded = request("GET", "/c?Prefix=a%2Fb&comp=list", []);
    expect(stringToSign("SharedKey", "a", encoded)).toEndWith("/a/c\ncomp:list\nprefix:a/b");
  });

  test("the secondary signs the account's name", () => {
    const made = request("GET", "/acct-secondary/c/b", []);
    expect(stringToSign("SharedKey", "acct", made)).toEndWith("/acct/acct/c/b");
    expect(stringToSign("SharedKey", "acct", request("GET", "/acct-secondaryx/b", []))).toEndWith(
      "/acct/acct-secondaryx/b",
    );
  });

  test("all standard headers, in order", () => {
    const names = (
      "Content-Encoding Content-Language Content-Length Content-MD5 Content-Type Date If-Modified-Since If-Match " +
      "If-None-Match If-Unmodified-Since Range"
    ).split(" ");
    const headers = names.flatMap((name, i) => [name, String(i + 1)]).reverse();
    const pairs: string[] = [];
    for (let i = 0; i < headers.length; i += 2) pairs.push(headers[i + 1] ?? "", headers[i] ?? "");
    expect(stringToSign("SharedKey", "a", request("PUT", "/c/b", pairs))).toBe(
      "PUT\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n/a/c/b",
    );
  });

  test("the length of nothing, headers without value, and Date beside x-ms-date, by version", () => {
    const of = (version: string) =>
      stringToSign(
        "SharedKey",
        "a",
        request("PUT", "/c", ["Content-Length", "0", "x-ms-a", "", "x-ms-version", version]),
      );
    expect(of("2014-02-14")).toContain("PUT\n\n\n0\n");
    expect(of("2015-02-21")).toContain("PUT\n\n\n\n");
    expect(of("2015-12-11")).not.toContain("x-ms-a:");
    expect(of("2016-05-31")).toContain("x-ms-a:\n");
    const both = request("GET", "/c", ["Date", "D", "x-ms-date", "M"]);
    expect(stringToSign("SharedKey", "a", both)).toBe(`GET${"\n".repeat(12)}x-ms-date:M\n/a/c`);
  });

  test("SharedKeyLite", () => {
    const headers = ["x-ms-meta-m1", "v1", "x-ms-meta-m2", "v2", "x-ms-date", "Sun, 20 Sep 2009 20:36:40 GMT"];
    const made = request("PUT", "/testcontainer/testblob?comp=metadata&timeout=5", [
      "Content-Type",
      "text/plain",
      ...headers,
    ]);
    expect(stringToSign("SharedKeyLite", "testaccount1", made)).toBe(
      "PUT\n\ntext/plain\n\nx-ms-date:Sun, 20 Sep 2009 20:36:40 GMT\nx-ms-meta-m1:v1\nx-ms-meta-m2:v2\n" +
        "/testaccount1/testcontainer/testblob?comp=metadata",
    );
  });
});

describe("verdicts", () => {
  test("a true signature, with either key and either scheme", () => {
    for (const scheme of ["SharedKey", "SharedKeyLite"] as const) {
      const made = signed("GET", "/c/b?snapshot=x", DATED, scheme);
      expect(verifySharedKey(made, TEST_ACCOUNT, TEST_KEYS, NOW).verdict).toEqual({
        verdict: "yes",
        expiresAtMs: NOW + limits.clockSkewMs,
      });
      expect(verdict(made, NOW, [OTHER, ...TEST_KEYS])).toBe("yes");
      expect(verdict(made, NOW, [OTHER])).toBe("no");
      expect(verdict(made, NOW, [])).toBe("unknown");
    }
  });

  test("the date", () => {
    const made = signed("GET", "/c/b", DATED);
    expect(verdict(made, NOW + limits.clockSkewMs)).toBe("yes");
    expect(verdict(made, NOW + limits.clockSkewMs + 1)).toBe("no");
    expect(verdict(made, NOW - limits.clockSkewMs - 1)).toBe("no");
    expect(verdict(signed("GET", "/c/b", ["x-ms-version", "2025-01-05"]))).toBe("unknown");
    expect(verdict(signed("GET", "/c/b", ["x-ms-date", "now", "x-ms-version", "2025-01-05"]))).toBe("unknown");
    const byDate = ["Date", formatHttpDate(NOW), "x-ms-version", "2025-01-05"];
    expect(verdict(signed("GET", "/c/b", byDate))).toBe("yes");
    // x-ms-date rules: a fresh Date beside it helps nobody.
    const stale = ["x-ms-date", formatHttpDate(NOW - 3_600_000), "Date", formatHttpDate(NOW)];
    expect(verdict(signed("GET", "/c/b", [...stale, "x-ms-version", "2025-01-05"]))).toBe("no");
  });

  test("everything signed counts", () => {
    const made = signed("GET", "/c/b?snapshot=x", [...DATED, "Range", "bytes=0-1", "x-ms-range", "bytes=0-1"]);
    expect(verdict(made)).toBe("yes");
    const replaced = (from: string, to: string) => made.headers.map((value) => (value === from ? to : value));
    for (const forged of [
      { ...made, method: "PUT" },
      { ...made, wirePath: "/c/c" },
      { ...made, wirePath: "/c//b" },
      { ...made, wirePath: "/c/%62" },
      { ...made, query: parseQuery("") },
      { ...made, query: parseQuery("?snapshot=y") },
      { ...made, query: parseQuery("?snapshot=x&versionid=y") },
      { ...made, headers: replaced("bytes=0-1", "bytes=0-2") },
      { ...made, headers: replaced("2025-01-05", "2024-11-04") },
      { ...made, headers: [...made.headers, "x-ms-lease-id", "x"] },
      { ...made, headers: [...made.headers, "If-Match", "x"] },
    ]) {
      expect(verdict(forged)).toBe("no");
    }
  });

  test("what could be read in two ways is not judged", () => {
    const made = signed("GET", "/c/b", DATED);
    for (const more of [
      ["x-ms-date", formatHttpDate(NOW)],
      ["X-Ms-Version", "2025-01-05"],
      ["authorization", "SharedKey acct:x"],
      ["x-ms-meta-a", "\u00e9"],
    ]) {
      expect(verdict({ ...made, headers: [...made.headers, ...more] })).toBe("unknown");
    }
    expect(verdict(signed("GET", "/c/b", [...DATED, "Range", "", "Range", "bytes=0-1"]))).toBe("unknown");
    expect(verdict(signed("GET", "/c/b?x", DATED))).toBe("unknown");
    expect(verdict(signed("GET", "/c/b?a=%ff", DATED))).toBe("unknown");
    expect(verdict(signed("GET", "/c/b", ["x-ms-date", formatHttpDate(NOW)]))).toBe("unknown");
    expect(verdict(signed("GET", "/c/b", ["x-ms-date", formatHttpDate(NOW), "x-ms-version", "2008-01-01"]))).toBe(
      "unknown",
    );
  });

  test("the Authorization value itself", () => {
    const made = signed("GET", "/c/b", DATED);
    const value = made.headers.at(-1) ?? "";
    const withValue = (text: string) => verdict({ ...made, headers: [...DATED, "Authorization", text] });
    expect(withValue(value)).toBe("yes");
    expect(withValue(value.replace("acct", "other"))).toBe("no");
    for (const text of [
      value.replace("SharedKey", "sharedkey"),
      value.replace("SharedKey ", "SharedKey  "),
      value.slice(0, -1),
      `${value}=`,
      value.replace(":", " "),
      "SharedKey acct:",
      "",
    ]) {
      expect(withValue(text)).toBe("unknown");
    }
    expect(parseSharedKey("SharedKeyLite a:b")).toBeNull();
    // A signature of one scheme under the name of the other.
    expect(withValue(value.replace("SharedKey", "SharedKeyLite"))).toBe("no");
  });

  test("the other readings", () => {
    const path = signed("GET", "/acct-secondary/c/b", DATED);
    expect(verdict(path)).toBe("yes");
    const long = signSharedKey(request("GET", "/acct-secondary/c/b", DATED), TEST_ACCOUNT, KEY ?? OTHER, {
      reading: { order: "ordinal", plus: "space", fold: false, plainAccount: false },
    });
    expect(verdict({ ...path, headers: [...DATED, "Authorization", long] })).toBe("yes");
    for (const change of [{ plus: "literal" }, { fold: true }, { order: "culture" }] as const) {
      const plain = request("GET", "/c?prefix=a+b", [...DATED, "x-ms-meta-a_b", "x  y", "x-ms-meta-ab", "z"]);
      const reading = { order: "ordinal", plus: "space", fold: false, plainAccount: true, ...change } as const;
      const authorization = signSharedKey(plain, TEST_ACCOUNT, KEY ?? OTHER, { reading });
      const found = verifySharedKey(
        { ...plain, headers: [...plain.headers, "Authorization", authorization] },
        TEST_ACCOUNT,
        TEST_KEYS,
        NOW,
      );
      expect(found.verdict.verdict).toBe("yes");
    }
  });
});

describe("requests of the real client", () => {
  const acts: Record<string, (client: BlobServiceClient) => Promise<unknown>> = {
    get: (c) => c.getContainerClient("c00").getBlobClient("a/b c+d%.bin").download(5, 10),
    head: (c) =>
      c
        .getContainerClient("c00")
        .getBlobClient("ä€/b")
        .getProperties({ conditions: { ifMatch: "x" } }),
    list: (c) => c.getContainerClient("c00").listBlobsFlat({ prefix: "a b/+ä", includeMetadata: true }).next(),
    put: (c) =>
      c
        .getContainerClient("c00")
        .getBlockBlobClient("b")
        .upload("hello", 5, {
          metadata: { a_b: "1", ab: "2", a1: "3", A_c: "4" },
          tags: { x: "y z" },
          blobHTTPHeaders: { blobContentType: "text/plain" },
        }),
    empty: (c) => c.getContainerClient("c00").create(),
    snapshot: (c) =>
      c.getContainerClient("c00").getBlobClient("b").withSnapshot("2011-03-09T01:42:34.9360000Z").download(),
  };
  for (const base of [
    "http://127.0.0.1:10100/acct",
    "http://acct.localhost:10100",
    "http://127.0.0.1:1/acct-secondary",
  ]) {
    for (const [name, act] of Object.entries(acts)) {
      test(`${name} at ${base}`, async () => {
        const [sent] = await capture(base, act);
        if (sent === undefined) throw new Error("a request");
        const target = parseTarget(sent.target, sent.host, new Set([TEST_ACCOUNT]));
        if (target === null) throw new Error("a target");
        const { method, headers } = sent;
        const query = parseQuery(target.query);
        const nowMs = Date.parse(headers[headers.indexOf("x-ms-date") + 1] ?? "");
        const made = { method, wirePath: target.wirePath, query, headers };
        expect(verifySharedKey(made, TEST_ACCOUNT, TEST_KEYS, nowMs).verdict).toMatchObject({ verdict: "yes" });
        expect(verdict(made, nowMs, [OTHER])).toBe("no");
      });
    }
  }
});
