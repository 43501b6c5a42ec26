import { afterEach, expect, test } from "bun:test";
import { createAnswers, type LakeAsk, listedName } from "./shaped-answers.ts";
import { firstWrongByte, pieceOf, sizeInName } from "./shaped-content.ts";
import { type LakeCounts, type LakeShape, type ShapedServer, startShapedServer } from "./shaped-server.ts";

const OPTIONS = { listNames: 12, listSize: "100KB" };
let server: ShapedServer | null = null;
afterEach(() => {
  server?.close();
  server = null;
});

function start(shape: Partial<LakeShape> = {}): string {
  server = startShapedServer(shape, OPTIONS);
  return `http://127.0.0.1:${server.port}`;
}
const counts = async (base: string): Promise<LakeCounts> =>
  (await fetch(`${base}/__stats`)).json() as Promise<LakeCounts>;

test("a blob's length stands in its name, and every byte can be checked", () => {
  expect(["a/2GiB-x", "100KB-000", "7B-", "x", "KB-1"].map(sizeInName)).toEqual([2 ** 31, 100_000, 7, null, null]);
  const piece = pieceOf("1MiB-a", 1000, 5000);
  expect(firstWrongByte("1MiB-a", 1000, piece)).toBe(-1);
  expect(firstWrongByte("1MiB-b", 1000, piece)).toBeGreaterThanOrEqual(0);
  const damaged = Buffer.from(piece);
  damaged[4321] = (damaged[4321] ?? 0) ^ 1;
  expect(firstWrongByte("1MiB-a", 1000, damaged)).toBe(4321);
});

test("it answers reads, conditions, ranges and writes as the service does", () => {
  const answer = createAnswers(OPTIONS);
  const ask = (method: string, target: string, headers: Record<string, string> = {}, rest: Partial<LakeAsk> = {}) =>
    answer({ method, target, headers: new Map(Object.entries(headers)), bodyBytes: 0, bodyText: "", ...rest });
  const etag = /ETag: (\S+)/.exec(ask("HEAD", "/shaped/c/10KiB-a").head)?.[1] ?? "";
  expect(ask("GET", "/shaped/c/10KiB-a?sig=x")).toMatchObject({ status: 200, lengthBytes: 10_240 });
  expect(ask("GET", "/shaped/c/10KiB-a", { "if-match": etag, range: "bytes=0-0" })).toMatchObject({
    status: 206,
    lengthBytes: 1,
  });
  expect(ask("GET", "/shaped/c/10KiB-a", { "x-ms-range": "bytes=10000-99999" }).head).toStartWith(
    "Content-Range: bytes 10000-10239/10240\r\n",
  );
  expect(ask("GET", "/shaped/c/10KiB-a", { "if-match": '"other"' }).status).toBe(412);
  expect(ask("GET", "/shaped/c/10KiB-a", { range: "bytes=10240-" }).status).toBe(416);
  expect(ask("GET", "/shaped/c/none").status).toBe(404);
  expect(ask("PUT", "/shaped/c/new", {}, { bodyBytes: 77 }).status).toBe(201);
  expect(ask("HEAD", "/shaped/c/new").lengthBytes).toBe(77);
  ask("PUT", "/shaped/c/new?comp=block&blockid=AA%3D%3D", {}, { bodyBytes: 100 });
  ask("PUT", "/shaped/c/new?comp=block&blockid=AB%3D%3D", {}, { bodyBytes: 50 });
  const list = "<BlockList><Latest>AA==</Latest><Latest>AB==</Latest></BlockList>";
  expect(ask("PUT", "/shaped/c/new?comp=blocklist", {}, { bodyText: list }).status).toBe(201);
  expect(ask("HEAD", "/shaped/c/new").lengthBytes).toBe(150);
  expect(ask("PUT", "/shaped/c/new?comp=blocklist", {}, { bodyText: "<Latest>ZZ==</Latest>" }).status).toBe(400);
  expect(ask("DELETE", "/shaped/c/new").status).toBe(202);
  expect(ask("GET", "/shaped/c/new").status).toBe(404);
});

test("it lists its names page by page", () => {
  const answer = createAnswers(OPTIONS);
  const names: string[] = [];
  let marker = "";
  for (let page = 0; page < 10; page++) {
    const target = `/shaped/c?restype=container&comp=list&maxresults=5&marker=${marker}`;
    const { text } = answer({ method: "GET", target, headers: new Map(), bodyBytes: 0, bodyText: "" });
    names.push(...[...text.matchAll(/<Name>([^<]+)</g)].map((match) => match[1] ?? ""));
    marker = /<NextMarker>(\d+)</.exec(text)?.[1] ?? "";
    if (marker === "") break;
  }
  expect(names).toEqual(Array.from({ length: 12 }, (_, i) => listedName(OPTIONS, i)));
});

test("it sends the bytes over a socket, keeps the connection, and counts", async () => {
  const base = start();
  for (const name of ["9MiB-a", "300KB-b"]) {
    const bytes = await (await fetch(`${base}/shaped/c/${name}`)).bytes();
    expect(bytes.length).toBe(sizeInName(name) ?? -1);
    expect(firstWrongByte(name, 0, bytes)).toBe(-1);
  }
  const part = await fetch(`${base}/shaped/c/9MiB-a`, { headers: { range: "bytes=5000000-5999999" } });
  expect(firstWrongByte("9MiB-a", 5_000_000, await part.bytes())).toBe(-1);
  const put = await fetch(`${base}/shaped/c/new`, { method: "PUT", body: new Uint8Array(3_000_000) });
  expect(put.status).toBe(201);
  expect(await counts(base)).toMatchObject({
    requests: 4,
    bytes: 9 * 2 ** 20 + 300_000 + 1_000_000,
    answers: { "get.200": 2, "get.206": 1, "put.201": 1 },
    blobs: { "9MiB-a": { requests: 2, bytes: 9 * 2 ** 20 + 1_000_000 } },
  });
  await fetch(`${base}/__stats`, { method: "DELETE" });
  expect((await counts(base)).requests).toBe(0);
});

test("bytes that are paced are all there and right", async () => {
  const base = start({ firstByteMs: 5, connectionBytesPerSecond: 40e6 });
  const bytes = await (await fetch(`${base}/shaped/c/3MiB-a`)).bytes();
  expect([bytes.length, firstWrongByte("3MiB-a", 0, bytes)]).toEqual([3 << 20, -1]);
});

test("an account that is asked too much says so, and for how long", async () => {
  const base = start({ accountRequestsPerSecond: 0.001, retryAfterSeconds: 3 });
  const response = await fetch(`${base}/shaped/c/1KB-a`);
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "3"]);
  expect(response.headers.get("x-ms-error-code")).toBe("ServerBusy");
  await fetch(`${base}/__shape`, { method: "PUT", body: JSON.stringify({ accountRequestsPerSecond: 0 }) });
  expect((await fetch(`${base}/shaped/c/1KB-a`)).status).toBe(200);
});

test("a body may break off in the middle", async () => {
  const base = start({ resetRate: 1 });
  const response = await fetch(`${base}/shaped/c/2MiB-a`);
  await expect(response.bytes()).rejects.toThrow();
});
