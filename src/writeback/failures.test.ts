/** What answers of the lake mean, and the small parts of the drain that need no world. */
import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { seededRandom } from "../base/random.ts";
import { createBackoff } from "./backoff.ts";
import { parseBlockList } from "./block-ids.ts";
import { askedWaitMs, failureOf } from "./failures.ts";
import { commitHeaders, hasProperties } from "./properties.ts";
import { createRate } from "./rate.ts";
import { sideNameOf } from "./side-name.ts";

const kindOf = (status: number, code?: string): string => failureOf({ status, code, headers: [] }, 0).kind;

describe("answers", () => {
  test("each has one meaning", () => {
    const table: readonly (readonly [number, string | undefined, string])[] = [
      [503, "ServerBusy", "later"],
      [500, "InternalError", "later"],
      [500, "OperationTimedOut", "later"],
      [429, undefined, "later"],
      [408, undefined, "later"],
      [409, "ContainerBeingDeleted", "later"],
      [401, "InvalidAuthenticationInfo", "credential"],
      [403, "AuthenticationFailed", "credential"],
      [403, undefined, "credential"],
      [409, "BlobImmutableDueToPolicy", "refused"],
      [404, "ContainerNotFound", "refused"],
      [412, "LeaseIdMissing", "refused"],
      [400, "SomethingNew", "refused"],
      [412, "ConditionNotMet", "condition"],
      [409, "BlobAlreadyExists", "condition"],
      [404, "BlobNotFound", "missing"],
      [404, undefined, "missing"],
      [400, "InvalidBlockList", "blocks"],
      [400, "InvalidBlobOrBlock", "ids"],
    ];
    for (const [status, code, kind] of table) expect(kindOf(status, code), `${status} ${code}`).toBe(kind);
  });

  test("how long they ask to wait", () => {
    expect(askedWaitMs(["Retry-After", "7"], 0)).toBe(7_000);
    expect(askedWaitMs(["Retry-After", "7", "x-ms-retry-after-ms", "250"], 0)).toBe(250);
    expect(askedWaitMs(["retry-after-ms", "20"], 0)).toBe(20);
    expect(askedWaitMs(["Retry-After", "Thu, 01 Jan 1970 00:00:10 GMT"], 4_000)).toBe(6_000);
    expect(askedWaitMs(["Retry-After", "999999"], 0)).toBe(300_000);
    expect(askedWaitMs(["Retry-After", "soon"], 0)).toBeNull();
    expect(askedWaitMs([], 0)).toBeNull();
  });
});

test("pauses grow to their bound, and start anew after a success", () => {
  const backoff = createBackoff(seededRandom(1), { minMs: 500, maxMs: 60_000 });
  for (let n = 0; n < 40; n++) {
    const fullMs = Math.min(60_000, 500 * 2 ** n);
    const pauseMs = backoff.next(null);
    expect(pauseMs).toBeGreaterThanOrEqual(Math.floor(fullMs / 2));
    expect(pauseMs).toBeLessThanOrEqual(fullMs);
  }
  expect(backoff.next(90_000)).toBe(90_000);
  backoff.reset();
  expect(backoff.next(null)).toBeLessThanOrEqual(500);
});

test("a rate that changes holds from the next piece on", async () => {
  const clock = createSimClock();
  let perSecond: number | null = 1000;
  const rate = createRate(clock, () => perSecond);
  const began = clock.monotonicMs();
  for (let n = 0; n < 5; n++) await clock.settle(rate.take(1000));
  expect(clock.monotonicMs() - began).toBe(3_000); // a second's worth was saved up
  perSecond = null;
  await clock.settle(rate.take(1e9));
  expect(clock.monotonicMs() - began).toBe(3_000);
});

describe("names and headers", () => {
  test("side names say when and which, and are no longer than a name may be", () => {
    const acknowledgedAtMs = Date.UTC(2026, 10, 24, 1, 2, 3, 999);
    const name = { account: "a", container: "c", blob: "dir/x.bin" };
    expect(sideNameOf({ name, seq: 12, acknowledgedAtMs })).toBe("dir/x.bin.forebay-conflict-20261124T010203Z-12");
    const long = sideNameOf({ name: { ...name, blob: "🌊".repeat(512) }, seq: 12, acknowledgedAtMs });
    expect(long.length).toBeLessThanOrEqual(1024);
    expect(long.isWellFormed()).toBe(true);
  });

  test("properties go in the form that both kinds of commit understand", () => {
    const put = { sizeBytes: 1, etag: "", lastModifiedMs: 0, contentCrc64: null };
    const headers = ["Content-Type", "a/b", "x-ms-blob-cache-control", "x", "Cache-Control", "y", "x-ms-meta-A", "1 "];
    const details = { ...put, headers, contentMd5: "md5" };
    expect(commitHeaders(details, "Cool")).toEqual([
      ...["x-ms-blob-content-type", "a/b", "x-ms-blob-cache-control", "x", "x-ms-meta-A", "1 "],
      ...["x-ms-blob-content-md5", "md5", "x-ms-access-tier", "Cool"],
    ]);
    expect(hasProperties(details, ["content-type", "a/b", "cache-control", "x", "x-ms-meta-a", "1"])).toBe(true);
    expect(hasProperties(details, ["content-type", "a/b", "cache-control", "x", "x-ms-meta-a", "2"])).toBe(false);
    expect(hasProperties(details, ["content-type", "a/b", "cache-control", "x"])).toBe(false);
    expect(hasProperties(details, ["cache-control", "x", "x-ms-meta-a", "1"])).toBe(false);
  });

  test("the lake's list of blocks", () => {
    const block = (id: string, size: number): string => `<Block><Name>${id}</Name><Size>${size}</Size></Block>`;
    const text = `<BlockList><CommittedBlocks>${block("YQ==", 1)}${block("Yg==", 22)}</CommittedBlocks><UncommittedBlocks /></BlockList>`;
    expect(parseBlockList(text, "Committed")).toEqual([
      { id: "YQ==", lengthBytes: 1 },
      { id: "Yg==", lengthBytes: 22 },
    ]);
    expect(parseBlockList(text, "Uncommitted")).toEqual([]);
  });
});
