import { expect, test } from "bun:test";
import { parseQuery, queryValue } from "./query.ts";

test("a plain query", () => {
  const query = parseQuery("?restype=container&comp=list&prefix=a%2Fb");
  expect(queryValue(query, "prefix")).toBe("a/b");
  expect(query.parameters.map((p) => p.rawValue)).toEqual(["container", "list", "a%2Fb"]);
  expect(query).toMatchObject({ malformed: false, duplicated: false, disguised: false, plus: false });
  expect(parseQuery("").parameters).toEqual([]);
});

test("what is odd is flagged", () => {
  for (const raw of ["?", "?a", "?a=1&", "?&a=1", "?=1", "?a=%", "?a=%ff", "?%zz=1", "?a=\u00e9", "?a=1#b"]) {
    expect(parseQuery(raw).malformed).toBe(true);
  }
  for (const raw of ["?a=1&a=2", "?a=1&A=2", "?a=1&%61=2"]) expect(parseQuery(raw).duplicated).toBe(true);
  const many = Array.from({ length: 100 }, (_, i) => `p${i}=1`).join("&");
  expect(parseQuery(`?${many}`).duplicated).toBe(false);
  expect(parseQuery(`?${many}&P7=1`).duplicated).toBe(true);
  for (const raw of ["?%73ig=1", "?SIG=1", "?s%69g=1"]) {
    expect(parseQuery(raw)).toMatchObject({ disguised: true });
    expect(queryValue(parseQuery(raw), "sig")).toBe("1");
  }
  expect(parseQuery("?a=b+c")).toMatchObject({ plus: true, malformed: false });
  expect(queryValue(parseQuery("?a=b+c%2B"), "a")).toBe("b c+");
  expect(queryValue(parseQuery("?a=b=c"), "a")).toBe("b=c");
});
