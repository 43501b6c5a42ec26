import { expect, test } from "bun:test";
import { layoutOf } from "./layout.ts";
import { createPlaces } from "./places.ts";

const ACCOUNTS = new Set(["acct"]);

function request(method: string, target: string, headers: string[] = ["Host", "127.0.0.1"]) {
  return { head: { method, target, minorVersion: 1, headers }, layout: layoutOf(headers) };
}

test("a read is placed once; its method, host, target and the accounts tell places apart", () => {
  const places = createPlaces();
  const find = (made: ReturnType<typeof request>, accounts = ACCOUNTS) => places.find(made.head, made.layout, accounts);
  const one = find(request("GET", "/acct/c00/b"));
  expect(one?.read).toMatchObject({ indexKey: "acct/c00/b", blob: { form: "get" } });
  expect(find(request("GET", "/acct/c00/b"))).toBe(one);
  expect(find(request("HEAD", "/acct/c00/b"))?.operation.name).toBe("GetBlobProperties");
  expect(find(request("GET", "/acct/c00/b?snapshot=2011-03-09T01:42:34.9360000Z"))?.read).toMatchObject({
    indexKey: expect.stringContaining("2011"),
  });
  expect(find(request("GET", "/c00/b", ["Host", "acct.blob.example"]))?.target.style).toBe("account");
  expect(find(request("GET", "/c00/b"))).toBeNull();
  expect(find(request("GET", "/acct/c00/b"), new Set(["other"]))).toBeNull();
  expect(find(request("GET", "/acct/c00/b"))).toEqual(one);
});

test("a method in a header, or another operation, is never taken for the read before it", () => {
  const places = createPlaces();
  const find = (made: ReturnType<typeof request>) => places.find(made.head, made.layout, ACCOUNTS);
  expect(find(request("GET", "/acct/c00/b"))?.operation.name).toBe("GetBlob");
  const tunnelled = find(request("GET", "/acct/c00/b", ["Host", "127.0.0.1", "X-HTTP-Method", "DELETE"]));
  expect(tunnelled?.operation).toMatchObject({ name: "Unknown", effect: "change" });
  expect(typeof tunnelled?.read).toBe("string");
  expect(find(request("PUT", "/acct/c00/b"))?.operation.name).toBe("PutBlob");
  expect(find(request("GET", "/acct/c00/b?comp=metadata"))?.read).toBe("GetBlobMetadata");
});
