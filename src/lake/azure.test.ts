import { describe, expect, test } from "bun:test";
import { bytesSource, type ClientRequest, type HttpClient, headerOf } from "../http/types.ts";
import type { Clock } from "../io/clock.ts";
import { parseLakeAddress } from "./address.ts";
import { createAzureLake, encodeBlobName, pathOf } from "./azure.ts";
import { parsePolicies } from "./policies.ts";
import { sharedKeyAuthorization } from "./sign.ts";
import type { LakeRead } from "./types.ts";

const clock: Clock = {
  wallMs: () => Date.UTC(2026, 0, 2, 3, 4, 5),
  monotonicMs: () => 0,
  after: () => ({ cancel: () => {} }),
  sleep: async () => {},
};
const KEY = Buffer.from("a key").toString("base64");
const SAS = "sv=2022-11-02&sp=r&sig=abc%3D";

/** A client that answers 200 to everything and keeps what it was asked. */
function recorder(): { http: HttpClient; asked: ClientRequest[] } {
  const asked: ClientRequest[] = [];
  const body = { lengthBytes: 0, read: async () => null, cancel: () => {} };
  const head = { status: 200, reason: "OK", headers: [] };
  const request = async (one: ClientRequest) => {
    asked.push(one);
    return { head, body };
  };
  return { asked, http: { request, close: () => {} } };
}

function lakeOf(text: string, token?: string) {
  const { http, asked } = recorder();
  const tokenSource = token === undefined ? undefined : { token: async () => token };
  return { lake: createAzureLake({ address: parseLakeAddress(text), http, clock, tokenSource }), asked };
}

const READ: LakeRead = {
  key: { account: "acct", container: "data", blob: "a b/ü.bin" },
  method: "GET",
  apiVersion: "2024-11-04",
  credential: { kind: "own" },
};

describe("a read", () => {
  test("with a key: stamped and signed, in both URL styles", async () => {
    for (const [endpoint, base] of [
      ["http://127.0.0.1:1/acct", "/acct"],
      ["https://acct.blob.core.windows.net", ""],
    ] as const) {
      const { lake, asked } = lakeOf(`AccountName=acct;AccountKey=${KEY};BlobEndpoint=${endpoint}`);
      await lake.read({ ...READ, range: { first: 5, last: 9 }, ifMatch: '"0x1"', clientRequestId: "id" });
      const [request] = asked;
      expect(request?.target).toBe(`${base}/data/a%20b/%C3%BC.bin`);
      const plain = [
        ...["x-ms-version", "2024-11-04", "x-ms-date", "Fri, 02 Jan 2026 03:04:05 GMT", "x-ms-client-request-id", "id"],
        ...["Range", "bytes=5-9", "If-Match", '"0x1"'],
      ];
      const path = `${base}/data/a%20b/%C3%BC.bin`;
      const signed = { method: "GET", path, query: "", headers: plain, account: "acct" };
      const signature = sharedKeyAuthorization(new Uint8Array(Buffer.from("a key")), signed);
      expect(request?.headers).toEqual([...plain, "Authorization", signature]);
    }
  });

  test("with a SAS, after the version of the blob", async () => {
    const { lake, asked } = lakeOf(`https://acct.blob.core.windows.net?${SAS}`);
    await lake.read({ ...READ, key: { ...READ.key, snapshot: "2026-01-01T00:00:00.0000000Z" } });
    await lake.read({ ...READ, key: { ...READ.key, versionId: "v:1" } });
    const targets = asked.map((request) => request.target);
    expect(targets[0]).toEndWith(`?snapshot=2026-01-01T00%3A00%3A00.0000000Z&${SAS}`);
    expect(targets[1]).toEndWith(`?versionid=v%3A1&${SAS}`);
    expect(headerOf(asked[0]?.headers ?? [], "authorization")).toBeUndefined();
  });

  test("with a token", async () => {
    const { lake, asked } = lakeOf("https://acct.blob.core.windows.net", "secret-token");
    await lake.read(READ);
    expect(headerOf(asked[0]?.headers ?? [], "authorization")).toBe("Bearer secret-token");
  });

  test("with the caller's credential, never with Forebay's", async () => {
    const { lake, asked } = lakeOf(`AccountName=acct;AccountKey=${KEY}`);
    await lake.read({ ...READ, credential: { kind: "caller", authorization: "Bearer theirs" } });
    await lake.read({ ...READ, credential: { kind: "caller", query: "sig=theirs" } });
    await lake.read({ ...READ, credential: { kind: "caller" } });
    const sent = asked.map((request) => [request.target.split("?")[1], headerOf(request.headers, "authorization")]);
    expect(sent).toEqual([
      [undefined, "Bearer theirs"],
      ["sig=theirs", undefined],
      [undefined, undefined],
    ]);
    const foreign = lake.read({ ...READ, credential: { kind: "caller", authorization: "SharedKey acct:sig" } });
    await expect(foreign).rejects.toMatchObject({ code: "internal" });
    expect(asked.length).toBe(3);
  });

  test("without any credential of its own, an own read is a bug", async () => {
    const { lake } = lakeOf("http://127.0.0.1:1/acct");
    expect(lake.hasOwnCredential).toBe(false);
    await expect(lake.read(READ)).rejects.toMatchObject({ code: "internal" });
    let closed = 0;
    const body = { ...bytesSource(new Uint8Array(1)), close: () => void closed++ };
    await expect(lake.own({ method: "PUT", container: "c", body })).rejects.toMatchObject({ code: "internal" });
    expect(closed).toBe(1);
  });

  test("of another account is a bug", async () => {
    const { lake } = lakeOf(`AccountName=other;AccountKey=${KEY}`);
    await expect(lake.read(READ)).rejects.toMatchObject({ code: "internal" });
  });
});

test("what is forwarded is not touched", async () => {
  const { lake, asked } = lakeOf(`AccountName=acct;AccountKey=${KEY}`);
  const headers = ["X-Ms-Date", "then", "authorization", "SharedKey acct:theirs"];
  await lake.forward({
    method: "PUT",
    path: "/c/a%2Fb//%5c",
    query: "?comp=block&blockid=AA%3d%3D",
    headers,
    body: null,
  });
  const request = {
    method: "PUT",
    target: "/c/a%2Fb//%5c?comp=block&blockid=AA%3d%3D",
    headers,
    body: null,
    signal: undefined,
  };
  expect(asked).toEqual([request]);
});

test("names and paths", () => {
  expect(encodeBlobName("a/b//c d?#%+'()!*~é\\")).toBe("a/b//c%20d%3F%23%25%2B%27%28%29%21%2A~%C3%A9%5C");
  expect(() => encodeBlobName("\ud800")).toThrow("Unicode");
  const at = { basePath: "/acct" };
  expect([pathOf(at), pathOf(at, "$root", "x"), pathOf(at, "c")]).toEqual(["/acct/", "/acct/$root/x", "/acct/c"]);
});

test("stored policies in the forms that services write", () => {
  const policy = "<AccessPolicy><Start>2026-01-01T00:00:00.0000000Z</Start><Expiry>2026-02-01</Expiry></AccessPolicy>";
  const one = `<SignedIdentifier><Id>007</Id>${policy}</SignedIdentifier>`;
  const text = `\uFEFF<?xml version="1.0" encoding="utf-8"?><SignedIdentifiers>${one}</SignedIdentifiers>`;
  const parsed = [{ id: "007", startsAtMs: Date.UTC(2026, 0, 1), expiresAtMs: Date.UTC(2026, 1, 1) }];
  expect(parsePolicies(text)).toEqual(parsed);
  expect(parsePolicies("<SignedIdentifiers />")).toEqual([]);
  expect(
    parsePolicies("<SignedIdentifiers><SignedIdentifier><Id>x</Id></SignedIdentifier></SignedIdentifiers>"),
  ).toEqual([{ id: "x" }]);
  for (const bad of ["", "<html>", "<Other/>", text.replace("2026-02-01", "soon")]) {
    expect(() => parsePolicies(bad)).toThrow();
  }
});
