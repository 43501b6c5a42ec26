import { expect, test } from "bun:test";
import { evaluateConditions, parseConditions, type RawConditions } from "./conditions.ts";

const ETAG = '"0x8D4BCC2E4835CD0"';
const MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE = "Sat, 05 Nov 1994 08:49:37 GMT";
const AFTER = "Mon, 07 Nov 1994 08:49:37 GMT";

function judged(raw: RawConditions): string {
  const conditions = parseConditions(raw);
  return conditions === "forward" ? "forward" : evaluateConditions(conditions, ETAG, MODIFIED);
}

test("single conditions", () => {
  expect(judged({})).toBe("holds");
  expect(judged({ ifMatch: ETAG })).toBe("holds");
  expect(judged({ ifMatch: "0x8D4BCC2E4835CD0" })).toBe("holds");
  expect(judged({ ifMatch: '"a", "0x8D4BCC2E4835CD0"' })).toBe("forward");
  expect(judged({ ifMatch: '"a"' })).toBe("not-held");
  expect(judged({ ifNoneMatch: '"a"' })).toBe("holds");
  expect(judged({ ifNoneMatch: ETAG })).toBe("not-held");
  expect(judged({ ifModifiedSince: BEFORE })).toBe("holds");
  expect(judged({ ifModifiedSince: MODIFIED })).toBe("not-held");
  expect(judged({ ifModifiedSince: AFTER })).toBe("not-held");
  expect(judged({ ifUnmodifiedSince: BEFORE })).toBe("not-held");
  expect(judged({ ifUnmodifiedSince: MODIFIED })).toBe("holds");
});

test("combinations follow If-Match && If-Unmodified-Since && (If-None-Match || If-Modified-Since)", () => {
  expect(judged({ ifNoneMatch: ETAG, ifModifiedSince: BEFORE })).toBe("holds");
  expect(judged({ ifNoneMatch: '"a"', ifModifiedSince: AFTER })).toBe("holds");
  expect(judged({ ifNoneMatch: ETAG, ifModifiedSince: AFTER })).toBe("not-held");
  expect(judged({ ifMatch: ETAG, ifNoneMatch: ETAG })).toBe("not-held");
  expect(judged({ ifMatch: ETAG, ifUnmodifiedSince: BEFORE })).toBe("not-held");
});

test("what is not understood is forwarded", () => {
  for (const ifMatch of ["*", "", 'W/"a"', '"a', "a,,b", '"a" "b"', "*, a"]) {
    expect(judged({ ifMatch })).toBe("forward");
    expect(judged({ ifNoneMatch: ifMatch })).toBe("forward");
  }
  expect(judged({ ifModifiedSince: "yesterday" })).toBe("forward");
  expect(judged({ ifUnmodifiedSince: "" })).toBe("forward");
  const dated = parseConditions({ ifModifiedSince: BEFORE });
  if (dated === "forward") throw new Error("parses");
  expect(evaluateConditions(dated, ETAG, undefined)).toBe("forward");
});
