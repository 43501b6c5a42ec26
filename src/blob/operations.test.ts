import { describe, expect, test } from "bun:test";
import { allOperations, detectOperation, isBatch, ODD_BATCH, touchedBy } from "./operations.ts";
import { parseQuery } from "./query.ts";
import { parseTarget } from "./target.ts";

const accounts = new Set(["acct"]);

function detect(method: string, raw: string, headers: string[] = []) {
  const target = parseTarget(raw, "127.0.0.1", accounts);
  if (target === null) throw new Error(raw);
  const operation = detectOperation(method, target, parseQuery(target.query), headers);
  return { operation, touched: touchedBy(operation, target) };
}

const B = "/acct/c00/b";
const BLOB = { account: "acct", container: "c00", blob: "b" };
const CONTAINER = { account: "acct", container: "c00", blob: null };
const ACCOUNT = { account: "acct", container: null, blob: null };

describe("documented operations", () => {
  const cases: [string, string, string, object | null, string[]?][] = [
    ["GET", "/acct?comp=list", "ListContainers", null],
    ["GET", "/acct/?restype=service&comp=properties", "GetBlobServiceProperties", null],
    ["PUT", "/acct/?restype=service&comp=properties", "SetBlobServiceProperties", ACCOUNT],
    ["POST", "/acct/?restype=service&comp=userdelegationkey", "GetUserDelegationKey", null],
    ["POST", "/acct/?comp=batch", "BlobBatch", ACCOUNT],
    ["POST", "/acct?comp=batch&restype=container", "BlobBatch", ACCOUNT],
    ["PUT", "/acct/c00?restype=container", "CreateContainer", CONTAINER],
    ["DELETE", "/acct/c00?restype=container", "DeleteContainer", CONTAINER],
    ["PUT", "/acct/c00?restype=container&comp=undelete", "RestoreContainer", CONTAINER],
    ["PUT", "/acct/c00?restype=container&comp=rename", "RenameContainer", ACCOUNT],
    ["PUT", "/acct/c00?restype=container&comp=acl", "SetContainerACL", CONTAINER],
    ["PUT", "/acct/c00?comp=lease&restype=container", "LeaseContainer", null],
    ["POST", "/acct/c00?restype=container&comp=batch", "BlobBatchInContainer", CONTAINER],
    ["GET", "/acct/c00?restype=container&comp=list&prefix=x", "ListBlobs", null],
    ["GET", B, "GetBlob", null],
    ["GET", `${B}?snapshot=x`, "GetBlob", null],
    ["HEAD", B, "GetBlobProperties", null],
    ["PUT", B, "PutBlob", BLOB, ["x-ms-blob-type", "BlockBlob"]],
    ["PUT", B, "CopyBlob", BLOB, ["X-Ms-Copy-Source", "http://x/"]],
    ["PUT", B, "CopyBlobFromURL", BLOB, ["x-ms-copy-source", "http://x/", "x-ms-requires-sync", "true"]],
    ["PUT", B, "PutBlobFromURL", BLOB, ["x-ms-copy-source", "http://x/", "x-ms-blob-type", "BlockBlob"]],
    ["DELETE", B, "DeleteBlob", BLOB],
    ["PUT", `${B}?comp=block&blockid=AA`, "PutBlock", null],
    ["PUT", `${B}?comp=blocklist`, "PutBlockList", BLOB],
    ["GET", `${B}?comp=blocklist`, "GetBlockList", null],
    ["PUT", `${B}?comp=tier`, "SetBlobTier", CONTAINER],
    ["PUT", `${B}?comp=undelete`, "UndeleteBlob", CONTAINER],
    ["PUT", `${B}?comp=immutabilityPolicies`, "SetBlobImmutabilityPolicy", BLOB],
    ["PUT", `${B}?comp=copy&copyid=1`, "AbortCopyBlob", BLOB, ["x-ms-copy-action", "abort"]],
    ["POST", `${B}?comp=query`, "QueryBlobContents", null],
    ["OPTIONS", B, "PreflightBlobRequest", null],
    ["HEAD", "/acct/c00?restype=account&comp=properties", "GetAccountInformation", null],
  ];
  for (const [method, raw, name, touched, headers] of cases) {
    test(`${method} ${raw} is ${name}`, () => {
      const found = detect(method, raw, headers ?? []);
      expect(found.operation.name).toBe(name);
      expect<object | null>(found.touched).toEqual(touched);
    });
  }

  test("only the two reads are cacheable", () => {
    expect(new Set(allOperations.filter((o) => o.cacheable).map((o) => o.name))).toEqual(
      new Set(["GetBlob", "GetBlobProperties"]),
    );
  });
});

test("what is not known is the widest change", () => {
  expect(detect("PUT", `${B}?comp=novel`).touched).toEqual(CONTAINER);
  expect(detect("PATCH", B).touched).toEqual(CONTAINER);
  expect(detect("POST", B).touched).toEqual(CONTAINER);
  expect(detect("PUT", "/acct/c00?restype=container&comp=novel").touched).toEqual(ACCOUNT);
  expect(detect("PUT", "/acct/name").touched).toEqual(ACCOUNT);
  expect(detect("DELETE", "/acct/file.txt").touched).toEqual(ACCOUNT);
  expect(detect("POST", "/acct").touched).toEqual(ACCOUNT);
  expect(detect("DELETE", `${B}?recursive=true`).touched).toEqual(CONTAINER);
  expect(detect("PUT", `${B}?comp=block&blockid=A&x=1`).touched).toEqual(CONTAINER);
  expect(detect("PUT", `${B}?comp=block&comp=x`).touched).toEqual(CONTAINER);
  expect(detect("PUT", `${B}?comp=&comp=block`).touched).toEqual(CONTAINER);
  expect(detect("PUT", `${B}?%63omp=block`).touched).toEqual(CONTAINER);
  expect(detect("PUT", `${B}?Comp=block`).touched).toEqual(CONTAINER);
  expect(detect("PUT", `${B}?comp=block&`).touched).toEqual(CONTAINER);
  expect(detect("GET", B, ["X-HTTP-Method-Override", "DELETE"]).touched).toEqual(CONTAINER);
  expect(detect("PUT", "/acct/c00/a//b").touched).toEqual(CONTAINER);
  expect(detect("PUT", "/acct/c00/a%5Cb").touched).toEqual(CONTAINER);
  expect(detect("PUT", "/acct/C00/b").touched).toEqual(ACCOUNT);
});

test("whatever could be taken for a batch is checked as one", () => {
  for (const raw of [
    "/acct/c00?comp=batch",
    "/acct?comp=batch&restype=service",
    "/acct/c00?restype=container&comp=batch&x=1",
    "/acct/c00?restype=container&comp=x&comp=batch",
    "/acct/c00?restype=container&%63omp=Batch%20",
    "/acct/c00?restype=container&comp=batch&",
    "/acct/c00/?comp=batch",
  ]) {
    const { operation, touched } = detect("POST", raw);
    expect([operation.name, isBatch(operation), touched]).toEqual([ODD_BATCH, true, ACCOUNT]);
  }
  expect(isBatch(detect("PUT", "/acct?comp=batch", ["x-http-method", "POST"]).operation)).toBe(true);
  expect(isBatch(detect("POST", `${B}?comp=batch`).operation)).toBe(false);
  expect(isBatch(detect("POST", "/acct?comp=list").operation)).toBe(false);
});

test("a rename touches the whole account: its source lies anywhere", () => {
  const source = ["X-Ms-Rename-Source", "/c01/src"];
  for (const raw of [B, `${B}?comp=rename`, `${B}?restype=directory`, `${B}?comp=block&blockid=A`]) {
    expect(detect("PUT", raw, source).touched).toEqual(ACCOUNT);
  }
  expect(detect("GET", B, source).touched).toBeNull();
});

test("reads that are not understood are not cacheable", () => {
  for (const raw of [`${B}?comp=novel`, `${B}?restype=x`, `${B}?comp=metadata`, `${B}?x`, "/acct/file.txt"]) {
    expect(detect("GET", raw).operation).toMatchObject({ effect: "read", cacheable: false });
  }
});
