import { describe, expect, test } from "bun:test";
import { type LakeAddress, rewriteSource } from "./copy-source.ts";

const azure: LakeAddress = { account: "acct", style: "account", origin: "https://acct.blob.core.windows.net" };
const azurite: LakeAddress = { account: "acct", style: "path", origin: "http://127.0.0.1:10000" };

function own(lake: LakeAddress) {
  return { authorities: new Set(["127.0.0.1:10100", "localhost:10100"]), lakes: new Map([["acct", lake]]) };
}

describe("sources that name Forebay become the lake's", () => {
  const cases: [string, string | null, string | null][] = [
    [
      "http://127.0.0.1:10100/acct/c/b?sig=a%2Bb",
      "https://acct.blob.core.windows.net/c/b?sig=a%2Bb",
      "http://127.0.0.1:10000/acct/c/b?sig=a%2Bb",
    ],
    [
      "HTTP://LocalHost:10100/acct/c/a%2Fb",
      "https://acct.blob.core.windows.net/c/a%2Fb",
      "http://127.0.0.1:10000/acct/c/a%2Fb",
    ],
    ["http://acct.localhost:10100/c/b", "https://acct.blob.core.windows.net/c/b", "http://127.0.0.1:10000/acct/c/b"],
    [
      "http://127.0.0.1:10100/acct-secondary/c/b",
      "https://acct-secondary.blob.core.windows.net/c/b",
      "http://127.0.0.1:10000/acct-secondary/c/b",
    ],
    ["http://127.0.0.1:10100/other/c/b", null, null],
    ["http://127.0.0.1:10101/acct/c/b", null, null],
    ["http://x@127.0.0.1:10100/acct/c/b", null, null],
    ["https://elsewhere.blob.core.windows.net/acct/c/b", null, null],
    ["https://acct.blob.core.windows.net/c/b", null, null],
    ["/acct/c/b", null, null],
    ["", null, null],
  ];
  for (const [url, toAzure, toAzurite] of cases) {
    test(url, () => {
      expect(rewriteSource(url, undefined, own(azure))).toBe(toAzure);
      expect(rewriteSource(url, undefined, own(azurite))).toBe(toAzurite);
    });
  }

  test("the name by which this client knows Forebay counts", () => {
    const url = "http://near.example:80/acct/c/b";
    expect(rewriteSource(url, undefined, own(azurite))).toBeNull();
    expect(rewriteSource(url, "Near.Example:80", own(azurite))).toBe("http://127.0.0.1:10000/acct/c/b");
    // Behind an overridden name the source is the lake's URL already.
    const same = "https://acct.blob.core.windows.net/c/b";
    expect(rewriteSource(same, "acct.blob.core.windows.net", own(azure))).toBeNull();
  });
});
