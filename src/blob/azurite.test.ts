/**
 * What the verdicts and rewrites say, against a real Blob service: whatever is granted here, Azurite grants, and what
 * is signed again, it takes. (It ignores addresses and knows no SharedKeyLite: those are covered by vectors.)
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  AccountSASPermissions,
  type BlobServiceClient,
  ContainerSASPermissions,
  generateAccountSASQueryParameters,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { AZURITE_ACCOUNT, AZURITE_KEY, type Azurite, startAzurite } from "../../sim/azurite.ts";
import { headerOf } from "../http/types.ts";
import { rewriteBatch } from "./batch.ts";
import { parseQuery } from "./query.ts";
import { rewriteRequest } from "./rewrite.ts";
import { type StoredPolicy, verifySas } from "./sas.ts";
import { createAccountSas, createServiceSas } from "./sas-text.ts";
import { parseTarget } from "./target.ts";
import { type CapturedRequest, capture } from "./test-client.ts";

const HOSTED = `http://${AZURITE_ACCOUNT}.localhost:10100`;
const key = Buffer.from(AZURITE_KEY, "base64");
const credential = new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY);
const VERSION = "2025-01-05";
const POLICY = { start: "2020-01-01T00:00:00.0000000Z", expiry: "2090-01-01T00:00:00.0000000Z", permissions: "r" };

let azurite: Azurite;
let origin = "";
let nowMs = 0;

beforeAll(async () => {
  azurite = await startAzurite();
  origin = `http://127.0.0.1:${azurite.port}`;
  await sendHosted((c) => c.getContainerClient("c00").create());
  await sendHosted((c) => c.getContainerClient("c00").getBlockBlobClient("a/b").upload("hello", 5));
  nowMs = Date.parse(headerOf((await captured((c) => c.getProperties())).headers, "x-ms-date") ?? "");
}, 60_000);

afterAll(async () => {
  await azurite.close();
});

async function captured(
  act: (client: BlobServiceClient) => Promise<unknown>,
  account: { base?: string; key?: string } = {},
): Promise<CapturedRequest> {
  const base = account.base ?? HOSTED;
  const [sent] = await capture(base, act, { name: AZURITE_ACCOUNT, key: account.key ?? AZURITE_KEY });
  if (sent === undefined) throw new Error("a request");
  return sent;
}

/** Sends a request that was made for an account-style URL to Azurite's path-style one. */
async function passOn(sent: CapturedRequest, body?: Uint8Array): Promise<Response> {
  const target = parseTarget(sent.target, sent.host, new Set([AZURITE_ACCOUNT]));
  if (target === null) throw new Error("a target");
  const { method, headers } = sent;
  const lakes = new Map([[AZURITE_ACCOUNT, { account: AZURITE_ACCOUNT, style: "path", origin } as const]]);
  const passed = rewriteRequest({
    method,
    target,
    query: parseQuery(target.query),
    headers,
    lakeStyle: "path",
    keys: [key],
    own: { authorities: new Set(["localhost:10100"]), lakes },
    nowMs: Date.parse(headerOf(headers, "x-ms-date") ?? ""),
    bodyLengthBytes: body?.length,
  });
  if (passed.kind !== "pass") throw new Error("passes");
  const pairs: [string, string][] = [];
  for (let i = 0; i < passed.headers.length; i += 2) pairs.push([passed.headers[i] ?? "", passed.headers[i + 1] ?? ""]);
  const content = body ?? sent.body;
  return fetch(origin + passed.path + passed.query, {
    method,
    headers: pairs,
    ...(content === undefined ? {} : { body: typeof content === "string" ? content : Buffer.from(content) }),
  });
}

async function sendHosted(act: (client: BlobServiceClient) => Promise<unknown>): Promise<Response> {
  return passOn(await captured(act));
}

describe("signed again", () => {
  const reads: Record<string, (client: BlobServiceClient) => Promise<unknown>> = {
    get: (c) => c.getContainerClient("c00").getBlobClient("a/b").download(1, 2),
    head: (c) => c.getContainerClient("c00").getBlobClient("a/b").getProperties(),
    list: (c) => c.getContainerClient("c00").listBlobsFlat({ prefix: "a b/+ä" }).next(),
    put: (c) =>
      c
        .getContainerClient("c00")
        .getBlockBlobClient("ä b+%/c")
        .upload("hello", 5, { metadata: { ab: "1", a1: "2" } }),
    copy: (c) => c.getContainerClient("c00").getBlobClient("copy").syncCopyFromURL(`${HOSTED}/c00/a/b?${readSas()}`),
  };
  for (const [name, act] of Object.entries(reads)) {
    test(`${name} is taken`, async () => {
      const response = await sendHosted(act);
      expect(response.status, await response.text()).toBeLessThan(300);
    });
    test(`${name} with a false signature is refused`, async () => {
      const forged = await captured(act, { key: Buffer.alloc(64).toString("base64") });
      const response = await passOn(forged);
      expect(response.status).toBe(403);
      await response.text();
    });
  }

  test("a batch, part by part", async () => {
    for (const name of ["d1", "d 2"]) {
      await sendHosted((c) => c.getContainerClient("c00").getBlockBlobClient(name).upload("x", 1));
    }
    const urls = [`${HOSTED}/c00/d1`, `${HOSTED}/c00/d%202`, `${HOSTED}/c00/none`];
    const sent = await captured((c) => c.getBlobBatchClient().deleteBlobs(urls, credential));
    const rewritten = rewriteBatch({
      body: Buffer.from(sent.body ?? ""),
      contentType: headerOf(sent.headers, "content-type"),
      host: sent.host,
      account: AZURITE_ACCOUNT,
      lakeStyle: "path",
      keys: [key],
      apiVersion: headerOf(sent.headers, "x-ms-version"),
      nowMs: Date.parse(headerOf(sent.headers, "x-ms-date") ?? ""),
    });
    if (rewritten.kind !== "pass") throw new Error("passes");
    const response = await passOn(sent, rewritten.body);
    const text = await response.text();
    expect(response.status, text).toBe(202);
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 202", "HTTP/1.1 202", "HTTP/1.1 404"]);
  });
});

function readSas(): string {
  return createServiceSas(AZURITE_ACCOUNT, key, { container: "c00" }, { permissions: "r", expiresAtMs: 4e12 });
}

/** The local verdict on a SAS for `c00/a/b`, with the stored policy `p` of {@link POLICY}. */
function verdict(sas: string): string {
  const target = parseTarget(`/${AZURITE_ACCOUNT}/c00/a/b?${sas}`, "127.0.0.1", new Set([AZURITE_ACCOUNT]));
  if (target === null) throw new Error("a target");
  const policies = (_account: string, _container: string, id: string): StoredPolicy | "missing" =>
    id === "p" ? POLICY : "missing";
  const client = { clientAddress: "127.0.0.1", secure: false, policies };
  const query = parseQuery(target.query);
  return verifySas({ query, target, operation: "GetBlob", keys: [key], nowMs, ...client }).verdict;
}

async function statusOf(sas: string): Promise<number> {
  const response = await fetch(`${origin}/${AZURITE_ACCOUNT}/c00/a/b?${sas}`, { headers: { "x-ms-version": VERSION } });
  await response.text();
  return response.status;
}

describe("shared access signatures", () => {
  const later = new Date(4e12);
  const before = new Date(1e12);
  const versions = ["2015-04-05", "2018-11-09", "2020-02-10", "2020-12-06", "2024-11-04"];

  /** Signatures of many kinds, good and bad, made by the real client and by our own code. */
  function candidates(): string[] {
    const all: string[] = [];
    for (const version of versions) {
      const service = (more: object, permissions = "r") =>
        generateBlobSASQueryParameters(
          {
            containerName: "c00",
            permissions: ContainerSASPermissions.parse(permissions),
            expiresOn: later,
            version,
            ...more,
          },
          credential,
        ).toString();
      all.push(
        service({}),
        service({ blobName: "a/b" }),
        service({ blobName: "a/c" }),
        service({ containerName: "c01" }),
      );
      all.push(service({}, "l"), service({}, "rl"), service({ expiresOn: before }), service({ startsOn: later }));
      all.push(service({ startsOn: before }), service({ contentType: "x/y", cacheControl: "no-cache" }));
      const byPolicy = (identifier: string) =>
        generateBlobSASQueryParameters({ containerName: "c00", identifier, version }, credential).toString();
      all.push(byPolicy("p"), byPolicy("none"));
      const account = (permissions: string, services: string, resourceTypes: string, expiresOn = later) =>
        generateAccountSASQueryParameters(
          { permissions: AccountSASPermissions.parse(permissions), services, resourceTypes, expiresOn, version },
          credential,
        ).toString();
      all.push(account("r", "b", "o"), account("rwdl", "bqtf", "sco"), account("l", "b", "o"), account("r", "q", "o"));
      all.push(account("r", "b", "sc"), account("r", "b", "o", before));
    }
    const wish = { permissions: "r", expiresAtMs: 4e12 };
    all.push(
      createAccountSas(AZURITE_ACCOUNT, key, wish),
      createServiceSas(AZURITE_ACCOUNT, key, { container: "c00" }, wish),
    );
    const [good] = all;
    if (good !== undefined) {
      for (const letter of ["s", "x"]) all.push(good.replace(/sig=./, `sig=${letter}`));
      all.push(good.replace("sp=r", "sp=rw"), good.replace("sr=c", "sr=b"), good.replace("sv=2015", "sv=2016"));
      all.push(`${good}&skoid=x`, `${good}&sp=r`, good.replace("sig=", "%73ig="));
    }
    return all;
  }

  test("what is granted here is granted there, and what is refused here is refused there", async () => {
    const policy = {
      id: "p",
      accessPolicy: { ...POLICY, startsOn: new Date(POLICY.start), expiresOn: new Date(POLICY.expiry) },
    };
    const acl = await sendHosted((c) => c.getContainerClient("c00").setAccessPolicy(undefined, [policy]));
    expect(acl.status, await acl.text()).toBe(200);
    const seen = { yes: 0, no: 0, unknown: 0 };
    for (const sas of candidates()) {
      const here = verdict(sas);
      const there = await statusOf(sas);
      if (here === "yes") expect(`${there} ${sas}`).toBe(`200 ${sas}`);
      if (here === "no") expect(`${there} ${sas}`).toBe(`403 ${sas}`);
      if (here === "yes" || here === "no" || here === "unknown") seen[here]++;
    }
    expect(seen.yes).toBeGreaterThanOrEqual(versions.length * 7);
    expect(seen.no).toBeGreaterThanOrEqual(versions.length * 9);
  }, 30_000);
});
