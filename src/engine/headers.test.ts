import { expect, test } from "bun:test";
import { describeAnswer, keptHeaders, parseContentRange, refreshedFull, wholeMd5 } from "./headers.ts";

test("what belongs to one response is not kept, whatever its case", () => {
  const headers = ["ETag", '"1"', "DATE", "now", "x-ms-request-id", "r", "Content-Length", "5", "x-ms-meta-Date", "d"];
  expect(keptHeaders(headers)).toEqual(["ETag", '"1"', "x-ms-meta-Date", "d"]);
});

test("a check by one byte refreshes all but the digests", () => {
  const full = ["ETag", '"1"', "Content-MD5", "whole", "x-ms-lease-state", "available"];
  const range = ["ETag", '"1"', "x-ms-blob-content-md5", "whole", "x-ms-lease-state", "leased"];
  expect(refreshedFull(full, range)).toEqual(["ETag", '"1"', "x-ms-lease-state", "leased", "Content-MD5", "whole"]);
});

test("a Content-Range is read exactly or not at all", () => {
  expect(parseContentRange("bytes 0-9/10")).toEqual({ first: 0, last: 9, size: 10 });
  for (const text of [undefined, "", "bytes 0-9/*", "bytes */10", "bytes 0-9/10 ", "Bytes 0-9/10", "bytes -1-9/10"]) {
    expect(parseContentRange(text)).toBeNull();
  }
});

test("an answer is described only when it is consistent", () => {
  const range = (text: string, length: string): string[] => [
    "ETag",
    '"1"',
    "Content-Range",
    text,
    "Content-Length",
    length,
  ];
  expect(describeAnswer(206, range("bytes 5-9/20", "5"))).toEqual({ etag: '"1"', sizeBytes: 20, first: 5, last: 9 });
  expect(describeAnswer(206, range("bytes 5-9/20", "6"))).toBeNull();
  expect(describeAnswer(206, range("bytes 9-5/20", "5"))).toBeNull();
  expect(describeAnswer(206, range("bytes 5-20/20", "16"))).toBeNull();
  expect(describeAnswer(200, ["ETag", '"1"', "Content-Length", "7"])).toMatchObject({ sizeBytes: 7, last: 6 });
  expect(describeAnswer(200, ["ETag", '"1"'])).toBeNull();
  expect(describeAnswer(200, ["Content-Length", "7"])).toBeNull();
  expect(describeAnswer(304, ["ETag", '"1"', "Content-Length", "7"])).toBeNull();
});

test("the MD5 of a range is never taken for the blob's", () => {
  expect(wholeMd5("range", ["Content-MD5", "of-the-range"])).toBeUndefined();
  expect(wholeMd5("range", ["x-ms-blob-content-md5", "whole"])).toBe("whole");
  expect(wholeMd5("full", ["Content-MD5", "whole"])).toBe("whole");
});
