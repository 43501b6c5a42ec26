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

const TYPE = "multipart/mixed; boundary=b";
const MIME = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: 0\r\n\r\n";
const ONE = `--b\r\n${MIME}DELETE /acct/c00/one HTTP/1.1\r\nx-ms-date: x\r\n\r\n`;
const TWO = `--b\r\n${MIME}DELETE /acct/c00/two?sip=10.0.0.2&sig=x HTTP/1.1\r\nContent-Length: 0\r\n\r\n`;

test("only a batch that can be divided in one way tells what it touches", () => {
  const blobs = (body: string, type = TYPE) =>
    batchTargets(Buffer.from(body, "latin1"), type, "127.0.0.1", new Set(["acct"]))?.map((t) => t.touched?.blob) ??
    null;
  for (const end of ["--b--\r\n", "--b--"]) expect(blobs(`${ONE}${TWO}${end}`)).toEqual(["one", "two"]);
  const good = `${ONE}${TWO}--b--\r\n`;
  for (const odd of [
    // A delimiter that another reader could see, or not see.
    good.replace("x-ms-date: x\r\n\r\n", "x-ms-date: x"),
    good.replace("x-ms-date: x\r\n\r\n", "x-ms-date: x\r\n"),
    good.replace("x-ms-date: x", "x-ms-date: --b"),
    good.replace("x-ms-date: x", "x-ms-date: --B"),
    good.replace("\r\n--b\r\n", "\r\n--b \r\n"),
    good.replace("\r\n--b\r\n", "\n--b\r\n"),
    `${ONE}--b--\n${TWO}--b--\r\n`,
    `${ONE}--b--\r\n${TWO}--b--\r\n`,
    `\r\n${good}`,
    `x\r\n${good}`,
    `${good}\r\n`,
    `${good}x`,
    good.replaceAll("\r\n", "\n"),
    good.replace("\r\n", "\r\r\n"),
    good.replace("x-ms-date: x", "x-ms-date: \u0085"),
    // Parts that another reader could decode or continue.
    good.replace("binary", "base64"),
    good.replace("Content-ID: 0", "Content-Type: application/http"),
    good.replace("Content-ID: 0", "X: y"),
    good.replace("Content-Length: 0", "Content-Length: 40"),
    good.replace("Content-Length: 0", "Transfer-Encoding: chunked"),
    good.replace("x-ms-date: x", "Host: other.example"),
    good.replace("x-ms-date: x\r\n\r\n", "x-ms-date: x\r\n\r\nDELETE /acct/c00/three HTTP/1.1\r\n\r\n"),
    good.replace("\r\n\r\nDELETE", "\r\n\r\n\r\nDELETE"),
  ]) {
    expect(odd).not.toBe(good);
    expect(blobs(odd)).toBeNull();
  }
  for (const type of [
    'multipart/mixed; boundary="b"',
    "multipart/mixed; boundary=b; x=y",
    "multipart/mixed; x=y; boundary=b",
    "multipart/mixed; boundary=b, multipart/mixed; boundary=c",
    "multipart/mixed; boundary=b; boundary=b",
  ]) {
    expect(blobs(good, type)).toBeNull();
  }
});

test("the batch of the real client can be divided in one way, whichever style it is in", async () => {
  for (const style of ["path", "account"] as const) {
    const sent = await clientBatch(style);
    const type = headerOf(sent.headers, "content-type");
    expect(batchTargets(Buffer.from(sent.body ?? ""), type, sent.host, new Set(["acct"]))).toHaveLength(2);
  }
});

test("no way of writing a batch hides the address or the protocol that its SAS demands", () => {
  const verdict = (body: string, type: string, address: string, secure = true) =>
    batchRefusedHere(Buffer.from(body, "latin1"), type, address, secure)?.verdict;
  const body = `${ONE}${TWO}--b--\r\n`;
  const types = [
    TYPE,
    "multipart/mixed; boundary=b; boundary=b",
    'multipart/mixed; x="; boundary=z"; boundary=b',
    'multipart/mixed; x="; boundary=z; y="; boundary=b',
    "multipart/form-data; boundary=b",
    "",
  ];
  for (const type of types) {
    expect(verdict(body, type, "10.0.0.1")).toBe("no");
    for (const name of ["SIP", "s%69p", "%73%69%70", "sip%3D1.1.1.1&sip"]) {
      expect(verdict(body.replace("sip", name), type, "10.0.0.1")).toBe("no");
    }
    expect(verdict(body.replace("sip=10.0.0.2", "sPr=https"), type, "10.0.0.1", false)).toBe("no");
    expect(verdict(`${ONE}--b--\r\n`, type, "10.0.0.1", false)).toBeUndefined();
  }
  // Where it is certain which parts there are, or all values allow this client, the lake may see it.
  expect(verdict(body, TYPE, "10.0.0.2")).toBeUndefined();
  expect(verdict(`x\r\n${body}`, TYPE, "10.0.0.2")).toBeUndefined();
  expect(verdict(`${ONE}--b--\n${TWO}--b--\r\n`, TYPE, "10.0.0.1")).toBe("no");
  expect(verdict(body, "multipart/mixed; boundary=b; boundary=b", "10.0.0.2")).toBe("no");
});
