import { describe, expect, test } from "bun:test";
import {
  compareHeaderNames,
  hmacSha256Base64,
  sharedKeyAuthorization,
  sharedKeyLiteStringToSign,
  sharedKeyStringToSign,
} from "./sign.ts";

describe("SharedKey", () => {
  test("the documentation's Get Container Metadata", () => {
    const request = {
      method: "GET",
      path: "/mycontainer",
      query: "?restype=container&comp=metadata&timeout=20",
      headers: ["x-ms-version", "2015-02-21", "x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"],
      account: "myaccount",
    };
    expect(sharedKeyStringToSign(request)).toBe(
      "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n" +
        "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20",
    );
  });

  test("every standard header has its line", () => {
    const headers = [
      ...["Content-Encoding", "gzip", "Content-Language", "de", "Content-MD5", "md5==", "Content-Type", "text/plain"],
      ...["Date", "today", "If-Modified-Since", "a", "If-Match", "b", "If-None-Match", "c", "If-Unmodified-Since", "d"],
      ...["Range", "bytes=0-1", "Content-Length", "12"],
    ];
    const request = { method: "put", path: "/c/b", query: "", headers, account: "acct" };
    const lines = "PUT\ngzip\nde\n12\nmd5==\ntext/plain\ntoday\na\nb\nc\nd\nbytes=0-1\n";
    expect(sharedKeyStringToSign(request)).toBe(`${lines}/acct/c/b`);
    expect(sharedKeyStringToSign({ ...request, contentLengthBytes: 0 }).split("\n")[3]).toBe("");
    expect(sharedKeyStringToSign({ ...request, contentLengthBytes: 7 }).split("\n")[3]).toBe("7");
  });

  test("parameters are decoded, in lower case, sorted, and repeated ones joined", () => {
    const query = "b=2&A=%C3%A9%20%2B+&a=1&empty&include=snapshots&include=metadata";
    const text = sharedKeyStringToSign({ method: "GET", path: "/x/c", query, headers: [], account: "x" });
    expect(text.slice(text.indexOf("/x/x"))).toBe("/x/x/c\na:1,é ++\nb:2\nempty:\ninclude:metadata,snapshots");
  });

  test("SharedKeyLite signs comp alone", () => {
    const headers = ["x-ms-date", "now", "Content-Type", "text/plain"];
    const request = { method: "PUT", path: "/c", query: "restype=container&comp=acl", headers, account: "acct" };
    expect(sharedKeyLiteStringToSign(request)).toBe("PUT\n\ntext/plain\n\nx-ms-date:now\n/acct/c?comp=acl");
  });

  test("the signature is an HMAC-SHA256 in base64", () => {
    // RFC 4231, test case 2.
    const hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    const key = new TextEncoder().encode("Jefe");
    expect(hmacSha256Base64(key, "what do ya want for nothing?")).toBe(Buffer.from(hex, "hex").toString("base64"));
    const signed = { method: "GET", path: "/", query: "", headers: [], account: "acct" };
    expect(sharedKeyAuthorization(key, signed)).toStartWith("SharedKey acct:");
  });
});

test("header names sort as the service sorts them: hyphens count last", () => {
  const sorted = [
    "x-ms-meta-a",
    "x-ms-meta-a_b",
    "x-ms-meta-a1",
    "x-ms-meta-ab",
    "x-ms-meta-a-b",
    "x-ms-meta-ac",
    "x-ms-metab",
  ];
  const shuffled = [...sorted].reverse();
  const result = shuffled.sort(compareHeaderNames);
  expect(result.indexOf("x-ms-meta-a_b")).toBeLessThan(result.indexOf("x-ms-meta-a1"));
  expect(result.indexOf("x-ms-meta-ab")).toBeLessThan(result.indexOf("x-ms-meta-a-b"));
  expect(result.indexOf("x-ms-meta-a-b")).toBeLessThan(result.indexOf("x-ms-meta-ac"));
  expect(compareHeaderNames("x-ms-date", "x-ms-date")).toBe(0);
  expect(compareHeaderNames("x-ms-date", "x-ms-version")).toBeLessThan(0);
});
