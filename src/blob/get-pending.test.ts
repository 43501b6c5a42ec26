import { describe, expect, test } from "bun:test";
import {
  BACK,
  inlineContent,
  LAST_MODIFIED_MS,
  pendingPut,
  pendingScene,
  spansContent,
} from "../../sim/pending-scene.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { headerOf } from "../http/types.ts";
import type { Entry } from "../journal/types.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const bytesOf = (content: string): Uint8Array => new TextEncoder().encode(content);
const ETAG = '"0x0F0000000000001"';
const DATE = "Thu, 01 Jan 2026 00:00:09 GMT";

/** A scene in which `b` was put inline with `content`. */
function inlineScene(content: string, headers: readonly string[] = [], md5: string | null = null) {
  const it = pendingScene();
  const entry = pendingPut("b", content.length, inlineContent(content.length), { headers, contentMd5: md5 });
  it.desk.latest = async () => entry;
  it.desk.inline = async () => bytesOf(content);
  it.owe("b");
  return it;
}

const deletion = (): Entry => {
  const { put: _put, content: _content, ...common } = pendingPut("b", 0, { kind: "damaged" });
  return { ...common, kind: "delete" };
};

describe("a read of what is pending", () => {
  test("gives the acknowledged bytes under the headers that the lake will give", async () => {
    const put = ["x-ms-blob-content-type", "text/x", "x-ms-blob-cache-control", "no-store", "x-ms-meta-Two", "2"];
    const it = inlineScene("hello dirty", [...put, "x-ms-tags", "a=1&b=2", "x-ms-access-tier", "Cool"], "bWQ1");
    const got = await it.send("GET", "/acct/c00/b", ["x-ms-client-request-id", "mine"]);
    expect([got.status, got.ending, text(got.bytes)]).toEqual([200, "complete", "hello dirty"]);
    const header = (name: string) => headerOf(got.headers, name);
    expect(header("x-forebay")).toBe("dirty");
    expect(header("etag")).toBe(ETAG);
    expect(header("last-modified")).toBe(DATE);
    expect(header("content-type")).toBe("text/x");
    expect(header("cache-control")).toBe("no-store");
    expect(header("content-md5")).toBe("bWQ1");
    expect(header("x-ms-tag-count")).toBe("2");
    expect(header("x-ms-creation-time")).toBe(DATE);
    expect(header("x-ms-client-request-id")).toBe("mine");
    expect([header("accept-ranges"), header("x-ms-blob-type"), header("x-ms-version")]).toEqual([
      "bytes",
      "BlockBlob",
      "2025-01-05",
    ]);
    expect([header("x-ms-lease-status"), header("x-ms-lease-state")]).toEqual(["unlocked", "available"]);
    expect(header("x-ms-server-encrypted")).toBe("true");
    expect(header("x-ms-access-tier")).toBeUndefined();
    expect(got.headers).toContain("x-ms-meta-Two");
    expect(it.events).toEqual(["latest"]);
    expect(it.stats.dirty).toBe(1);
  });

  test("gives properties with the length and the tier, and no body", async () => {
    const it = inlineScene("hello", ["x-ms-access-tier", "Cool"], "bWQ1");
    const got = await it.send("HEAD", "/acct/c00/b");
    expect([got.status, got.announcedBytes, got.bytes.length]).toEqual([200, 5, 0]);
    expect(headerOf(got.headers, "x-ms-access-tier")).toBe("Cool");
    expect(headerOf(got.headers, "content-type")).toBe("application/octet-stream");
    expect(headerOf(got.headers, "content-md5")).toBe("bWQ1");
  });

  test("gives ranges over the spans of several files and lets go of all of them", async () => {
    const it = pendingScene();
    const all = "abcdefghijklmnopqrstuvwxyz";
    await it.file(1, bytesOf("___abcdefgh***"));
    await it.file(2, bytesOf("___ijklmnop"));
    await it.file(3, bytesOf("___qrstuvwxyz!"));
    const pieces = [8, 8, 10].map((length, i) => ({ fileId: i + 1, length }));
    const entry = pendingPut("b", 26, spansContent(pieces), { contentMd5: "bWQ1" });
    it.desk.latest = async () => entry;
    it.owe("b");
    const ranges: [string, number, number][] = [
      ["bytes=0-25", 0, 26],
      ["bytes=3-3", 3, 4],
      ["bytes=6-17", 6, 18],
      ["bytes=16-", 16, 26],
      ["bytes=20-99", 20, 26],
    ];
    for (const [range, first, end] of ranges) {
      const got = await it.send("GET", "/acct/c00/b", ["x-ms-range", range]);
      expect([got.status, text(got.bytes)]).toEqual([206, all.slice(first, end)]);
      expect(headerOf(got.headers, "content-range")).toBe(`bytes ${first}-${end - 1}/26`);
      expect(headerOf(got.headers, "x-ms-blob-content-md5")).toBe("bWQ1");
      expect(headerOf(got.headers, "content-md5")).toBeUndefined();
    }
    expect(text((await it.send("GET", "/acct/c00/b")).bytes)).toBe(all);
    await it.files.release([1, 2, 3]);
    expect(it.files.openCount).toBe(0);
  });

  test("goes on with its files when they are unlinked under way", async () => {
    const it = pendingScene();
    await it.file(1, bytesOf("___abcd"));
    await it.file(2, bytesOf("___efgh"));
    const pieces = [1, 2].map((fileId) => ({ fileId, length: 4 }));
    const entry = pendingPut("b", 8, spansContent(pieces));
    it.desk.latest = async () => entry;
    it.owe("b");
    const next = it.disk.readNow;
    let reads = 0;
    it.disk.readNow = (fd, bytes, offset) => {
      if (reads++ === 0) void it.files.release([1, 2]);
      return next(fd, bytes, offset);
    };
    const got = await it.send("GET", "/acct/c00/b");
    expect([got.ending, text(got.bytes)]).toEqual(["complete", "abcdefgh"]);
    expect(it.files.openCount).toBe(0);
  });

  test("of an empty blob is an empty answer, and any range of it is refused", async () => {
    const it = inlineScene("");
    const got = await it.send("GET", "/acct/c00/b");
    expect([got.status, got.announcedBytes]).toEqual([200, 0]);
    const ranged = await it.send("GET", "/acct/c00/b", ["Range", "bytes=0-"]);
    expect([ranged.status, headerOf(ranged.headers, "content-range")]).toEqual([416, "bytes */0"]);
    expect(headerOf(ranged.headers, "x-ms-error-code")).toBe("InvalidRange");
  });

  test("of a pending deletion is the lake's 404", async () => {
    const it = pendingScene();
    it.desk.latest = async () => deletion();
    it.owe("b");
    const got = await it.send("GET", "/acct/c00/b");
    expect([got.status, headerOf(got.headers, "x-ms-error-code")]).toEqual([404, "BlobNotFound"]);
    expect(headerOf(got.headers, "x-forebay")).toBe("dirty");
    expect(text(got.bytes)).toContain("<Code>BlobNotFound</Code>");
    const head = await it.send("HEAD", "/acct/c00/b");
    expect([head.status, head.bytes.length]).toEqual([404, 0]);
  });

  test("answers conditions on the pending version itself", async () => {
    const it = inlineScene("hello");
    const before = new Date(LAST_MODIFIED_MS - 60_000).toUTCString();
    const cases: [string[], number][] = [
      [["If-Match", ETAG], 200],
      [["If-Match", '"0x8D1"'], 412],
      [["If-None-Match", ETAG], 304],
      [["If-None-Match", '"0x8D1"'], 200],
      [["If-Modified-Since", DATE], 304],
      [["If-Modified-Since", before], 200],
      [["If-Unmodified-Since", DATE], 200],
      [["If-Unmodified-Since", before], 412],
      [["If-Match", '"0x8D1"', "If-None-Match", ETAG], 412],
      [["If-None-Match", ETAG, "If-Modified-Since", before], 200],
    ];
    for (const [headers, status] of cases) {
      const got = await it.send("GET", "/acct/c00/b", headers);
      expect([headers, got.status]).toEqual([headers, status]);
      if (status !== 200) expect(headerOf(got.headers, "x-ms-error-code")).toBe("ConditionNotMet");
      expect(headerOf(got.headers, "x-forebay")).toBe("dirty");
    }
    expect(it.forwarded).toHaveLength(0);
  });

  test("asks the desk once until the blob's generation moves", async () => {
    const it = inlineScene("hello");
    for (let i = 0; i < 3; i++) await it.send("GET", "/acct/c00/b");
    expect(it.events).toEqual(["latest"]);
    it.generations.move({ account: "acct", container: "c00", blob: "b" });
    await it.send("GET", "/acct/c00/b");
    expect(it.events).toEqual(["latest", "latest"]);
  });

  test("takes the ordinary way when nothing is pending after all, and remembers that", async () => {
    const it = pendingScene();
    it.owe("b");
    await it.send("GET", "/acct/c00/b");
    expect(it.events).toEqual(["latest", "ordinary", "lake GET /acct/c00/b"]);
    await it.send("GET", "/acct/c00/b");
    expect(it.events.filter((event) => event === "latest")).toHaveLength(1);
    await it.send("GET", "/acct/c00/untouched");
    expect(it.events.filter((event) => event === "latest")).toHaveLength(1);
  });

  test("does not touch snapshots, nor what is asked of the lake itself", async () => {
    const it = inlineScene("hello");
    await it.send("GET", "/acct/c00/b?snapshot=2026-01-01T00:00:00.0000000Z");
    await it.send("GET", "/acct/c00/b", ["x-forebay-bypass", "true"]);
    expect(it.events).toEqual(["ordinary", "lake GET /acct/c00/b", "lake GET /acct/c00/b"]);
  });

  test("carries the blob to the lake first for a caller that only the lake can judge", async () => {
    const it = inlineScene("hello");
    await it.send("GET", "/acct/c00/b", ["Authorization", "Bearer e30.e30.e30"]);
    expect(it.events.slice(0, 3)).toEqual(["latest", "flush acct/c00/b", "ordinary"]);
  });

  test("fails rather than give an older version when its bytes are damaged or gone", async () => {
    const damaged = pendingScene();
    damaged.desk.latest = async () => pendingPut("b", 5, { kind: "damaged" });
    damaged.owe("b");
    const lost = pendingScene();
    lost.desk.latest = async () => pendingPut("b", 5, spansContent([{ fileId: 99, length: 5 }]));
    lost.owe("b");
    const bad = inlineScene("hello");
    bad.desk.inline = () => Promise.reject(new ForebayError("flash-failed", "checksum"));
    for (const it of [damaged, lost, bad]) {
      const got = await it.send("GET", "/acct/c00/b");
      expect([got.status, headerOf(got.headers, "x-ms-error-code")]).toEqual([500, "InternalError"]);
      expect(text(got.bytes)).toContain("cannot be read any more");
      expect(it.ordinary).toHaveLength(0);
    }
  });

  test("looks again when the entry settled while it was opened", async () => {
    const it = inlineScene("hello");
    let settled = false;
    it.desk.inline = async () => {
      settled = true;
      return null;
    };
    const before = it.desk.latest;
    it.desk.latest = (name) => (settled ? Promise.resolve(null) : before(name));
    await it.send("GET", "/acct/c00/b");
    expect(it.events.slice(0, 3)).toEqual(["latest", "latest", "ordinary"]);
  });

  test("waits for a desk that is being started again, and not longer than it may", async () => {
    const it = inlineScene("hello");
    const real = it.desk.latest;
    it.desk.latest = () => Promise.reject(new ForebayError("closed", "the keeper is away"));
    it.clock.after(limits.deskWaitMs / 2, () => {
      it.desk.latest = real;
    });
    expect((await it.send("GET", "/acct/c00/b")).status).toBe(200);
    it.generations.move({ account: "acct", container: "c00", blob: "b" });
    it.desk.latest = () => new Promise(() => {});
    const startMs = it.clock.monotonicMs();
    const got = await it.send("GET", "/acct/c00/b");
    expect([got.status, headerOf(got.headers, "x-ms-error-code")]).toEqual([503, "ServerBusy"]);
    expect(headerOf(got.headers, "retry-after")).toBe("1");
    expect(it.clock.monotonicMs() - startMs).toBeLessThanOrEqual(limits.deskWaitMs);
    expect(it.ordinary).toHaveLength(0);
  });

  test("is not answered before it is known what is pending, where writes are acknowledged here", async () => {
    for (const [rules, status] of [
      [[BACK], 503],
      [[], 200],
    ] as const) {
      const it = pendingScene();
      it.rules = [...rules];
      it.generations.owed.recovered([]);
      Object.assign(it.generations.owed, { known: () => false });
      expect((await it.send("GET", "/acct/c00/b")).status).toBe(status);
    }
  });
});
