import { expect, test } from "bun:test";
import { limits } from "../base/limits.ts";
import { headerOf } from "../http/types.ts";
import { type BatchPassing, batchBoundary, batchRefusedHere, batchTargets, rewriteBatch } from "./batch.ts";
import { type CapturedRequest, capture, TEST_KEYS, testCredential } from "./test-client.ts";

const URLS = { path: "http://127.0.0.1:10100/acct", account: "http://acct.localhost:10100" } as const;

async function clientBatch(style: "path" | "account"): Promise<CapturedRequest> {
  const base = URLS[style];
  const blobs = [`${base}/c00/a%20b`, `${base}/c01/ä/b`];
  const [sent] = await capture(base, (c) => c.getBlobBatchClient().deleteBlobs(blobs.map(encodeURI), testCredential()));
  if (sent === undefined) throw new Error("a batch");
  return sent;
}

function passing(sent: CapturedRequest, lakeStyle: "path" | "account", more: Partial<BatchPassing> = {}): BatchPassing {
  const body = Buffer.from(sent.body ?? "");
  const date = /x-ms-date: ?(.*)/i.exec(sent.body ?? "")?.[1] ?? "";
  const contentType = headerOf(sent.headers, "content-type");
  const apiVersion = headerOf(sent.headers, "x-ms-version");
  const where = { host: sent.host, account: "acct", lakeStyle, apiVersion, contentType };
  return { body, ...where, keys: TEST_KEYS, nowMs: Date.parse(date), ...more };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

test("each part is signed again, and going there and back changes nothing", async () => {
  for (const [from, to] of [["path", "account"] as const, ["account", "path"] as const]) {
    const sent = await clientBatch(from);
    const request = passing(sent, to);
    const there = rewriteBatch(request);
    if (there.kind !== "pass") throw new Error("passes");
    expect(there.changed).toBe(true);
    const prefix = to === "path" ? "/acct" : "";
    expect(text(there.body)).toContain(`DELETE ${prefix}/c00/a%2520b HTTP/1.1`);
    const back = rewriteBatch({
      ...request,
      body: there.body,
      lakeStyle: from,
      host: to === "path" ? "127.0.0.1:10100" : "acct.localhost:10100",
    });
    if (back.kind !== "pass") throw new Error("passes");
    expect(text(back.body).replaceAll(": SharedKey", ":SharedKey")).toBe(
      (sent.body ?? "").replaceAll(": SharedKey", ":SharedKey"),
    );
    // Only true signatures are made again: the way back proves those of the way there.
    expect(text(there.body)).not.toBe(sent.body ?? "");
  }
});

test("the same style changes nothing", async () => {
  const sent = await clientBatch("path");
  expect(rewriteBatch(passing(sent, "path"))).toMatchObject({ kind: "pass", changed: false });
});

test("without a key, an error; with a false signature, the part is left to the lake", async () => {
  const sent = await clientBatch("path");
  expect(rewriteBatch(passing(sent, "account", { keys: [] })).kind).toBe("refuse");
  const forged = passing(sent, "account", { keys: [Buffer.alloc(32)] });
  const result = rewriteBatch(forged);
  if (result.kind !== "pass") throw new Error("passes");
  const signatures = (body: string) => body.match(/SharedKey .*/g);
  expect(signatures(text(result.body))).toEqual(signatures(sent.body ?? "") as RegExpMatchArray);
  expect(text(result.body)).toContain("DELETE /c00/");
});

test("what is not understood stays as it is", async () => {
  const sent = await clientBatch("path");
  const body = sent.body ?? "";
  const boundary = batchBoundary(headerOf(sent.headers, "content-type")) ?? "";
  for (const broken of [
    "",
    "x",
    body.replace(`${boundary}--`, boundary),
    body.replaceAll("HTTP/1.1", "HTTP/1.0"),
    body.replaceAll("DELETE /acct", "DELETE acct"),
    body.replaceAll("DELETE /acct", "DELETE /nobody"),
    body.replaceAll("Authorization", "Authorization: x\r\nAuthorization"),
    body.replaceAll(/x-ms-date: ?/gi, " x-ms-date: "),
    `${`--${boundary}\r\n\r\nGET /acct/c00/b HTTP/1.1\r\n\r\n`.repeat(limits.batchPartsMax + 1)}--${boundary}--`,
  ]) {
    const result = rewriteBatch(passing(sent, "account", { body: Buffer.from(broken) }));
    expect(result).toMatchObject({ kind: "pass", changed: false });
  }
  for (const contentType of [undefined, "text/plain", "multipart/mixed", "multipart/mixed; boundary=a; boundary=b"]) {
    expect(rewriteBatch(passing(sent, "account", { contentType }))).toMatchObject({ changed: false });
  }
  const huge = Buffer.alloc(limits.batchBodyBytesMax + 1);
  expect(rewriteBatch(passing(sent, "account", { body: huge }))).toMatchObject({ changed: false });
});

test("boundaries", () => {
  expect(batchBoundary("multipart/mixed; boundary=abc")).toBe("abc");
  expect(batchBoundary('Multipart/Mixed; charset=x; Boundary="a b"')).toBe("a b");
  expect(batchBoundary("multipart/mixed; boundary=")).toBeNull();
});

test("what a batch names", async () => {
  const sent = await clientBatch("path");
  const accounts = new Set(["acct"]);
  const type = headerOf(sent.headers, "content-type");
  const targets = batchTargets(Buffer.from(sent.body ?? ""), type, sent.host, accounts);
  expect(targets?.map((t) => [t.operation, t.target.container, t.target.blob])).toEqual([
    ["DeleteBlob", "c00", "a%20b"],
    ["DeleteBlob", "c01", "ä/b"],
  ]);
  expect(batchTargets(Buffer.from("x"), type, sent.host, accounts)).toBeNull();
  expect(batchTargets(Buffer.from(sent.body ?? ""), type, sent.host, new Set())).toBeNull();
});

test("what a part touches, and the addresses that its SAS allows", () => {
  const type = "multipart/mixed; boundary=b";
  const body = (line: string) => Buffer.from(`--b\r\nContent-Type: application/http\r\n\r\n${line}\r\n\r\n--b--\r\n`);
  const touched = (line: string) =>
    batchTargets(body(line), type, "127.0.0.1", new Set(["acct"]))?.map((t) => t.touched?.blob);
  expect(touched("DELETE /acct/c00/b HTTP/1.1")).toEqual(["b"]);
  expect(touched("DELETE /acct/c00/b?recursive=true HTTP/1.1")).toEqual([null]);
  expect(touched("PUT /acct/c00/b?comp=tier HTTP/1.1")).toEqual([null]);
  expect(touched("GET /acct/c00/b HTTP/1.1")).toEqual([undefined]);
  const refused = (line: string) => batchRefusedHere(body(line), type, "10.0.0.1", false)?.verdict;
  expect(refused("DELETE /acct/c00/b?sip=10.0.0.1&sig=x HTTP/1.1")).toBeUndefined();
  expect(refused("DELETE /acct/c00/b?sip=10.0.0.2&sig=x HTTP/1.1")).toBe("no");
  expect(refused("DELETE /acct/c00/b?s%70r=https&sig=x HTTP/1.1")).toBe("no");
  expect(batchRefusedHere(Buffer.from("x"), type, "10.0.0.1", false)).toBeNull();
});
