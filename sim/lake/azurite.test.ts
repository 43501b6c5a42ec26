/** The lake's client, and the simulated service, against Microsoft's Azurite. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { BlobServiceClient, type ContainerClient } from "@azure/storage-blob";
import { bytesSource, type ClientResponse, headerOf } from "../../src/http/types.ts";
import { realClock } from "../../src/io/clock.ts";
import { parseLakeAddress } from "../../src/lake/address.ts";
import { errorCodeOf, readText } from "../../src/lake/answers.ts";
import { connectLake } from "../../src/lake/connect.ts";
import { fetchStoredPolicies } from "../../src/lake/policies.ts";
import { probeLake } from "../../src/lake/probe.ts";
import { LAKE_API_VERSION, type OwnLake } from "../../src/lake/types.ts";
import { AZURITE_ACCOUNT, type Azurite, startAzurite } from "../azurite.ts";
import { STEPS, type Step } from "./azurite-steps.ts";
import { simLake } from "./client.ts";
import { createSimService } from "./service.ts";

let azurite: Azurite;
let lake: OwnLake;
let container: ContainerClient;
const clock = realClock;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

beforeAll(async () => {
  azurite = await startAzurite();
  lake = connectLake({ address: parseLakeAddress(azurite.connectionString), clock });
  container = BlobServiceClient.fromConnectionString(azurite.connectionString).getContainerClient("names");
  await container.create();
}, 60_000);
afterAll(async () => {
  lake?.close();
  await azurite?.close();
});

const NAMES = [
  "plain.bin",
  "folder/of/things.bin",
  "with space and  two",
  "per%cent%20sign",
  "plus+and&and=and;",
  "hash#and?question",
  "quote'()!*~",
  'brackets[]{}|^`<>"',
  "grüße/日本語/🌊.bin",
  "é composed",
  "double//slash",
  "a:b@c,d$e",
  "-_.~",
];

describe("names", () => {
  for (const name of NAMES) {
    test(`round trip of ${JSON.stringify(name)}`, async () => {
      const body = text(`the content of ${name}`);
      await container.getBlockBlobClient(name).uploadData(body);
      const key = { account: AZURITE_ACCOUNT, container: "names", blob: name };
      const read = await lake.read({ key, method: "GET", apiVersion: LAKE_API_VERSION, credential: { kind: "own" } });
      expect(read.head.status).toBe(200);
      expect(await readText(read.body)).toBe(`the content of ${name}`);

      const headers = ["x-ms-blob-type", "BlockBlob", "Content-Type", "text/plain"];
      const written = `written by the lake: ${name}`;
      const put = await lake.own({
        method: "PUT",
        container: "names",
        blob: name,
        headers,
        body: bytesSource(text(written)),
      });
      await readText(put.body);
      expect(put.head.status).toBe(201);
      expect((await container.getBlobClient(name).downloadToBuffer()).toString()).toBe(written);
    });
  }
});

describe("reads", () => {
  const key = { account: AZURITE_ACCOUNT, container: "names", blob: "ranged" };
  const by = { apiVersion: LAKE_API_VERSION, credential: { kind: "own" } } as const;

  test("a range of one version, a snapshot, and another version", async () => {
    const blob = container.getBlockBlobClient("ranged");
    const first = await blob.uploadData(text("0123456789"));
    const { snapshot } = await blob.createSnapshot();
    const part = await lake.read({
      key,
      method: "GET",
      range: { first: 2, last: 5 },
      ifMatch: first.etag,
      clientRequestId: "its-me",
      ...by,
    });
    expect(part.head.status).toBe(206);
    expect(headerOf(part.head.headers, "content-range")).toBe("bytes 2-5/10");
    expect(headerOf(part.head.headers, "x-ms-client-request-id")).toBe("its-me");
    expect(await readText(part.body)).toBe("2345");

    await blob.uploadData(text("another"));
    const changed = await lake.read({ key, method: "GET", ifMatch: first.etag, ...by });
    expect(changed.head.status).toBe(412);
    expect(errorCodeOf(changed, await readText(changed.body))).toBe("ConditionNotMet");
    const old = await lake.read({ key: { ...key, snapshot }, method: "GET", ...by });
    expect(await readText(old.body)).toBe("0123456789");
    const head = await lake.read({ key, method: "HEAD", ...by });
    expect(headerOf(head.head.headers, "content-length")).toBe("7");
  });

  test("a wrong key is refused, and the probe says so", async () => {
    const wrong = azurite.connectionString.replace(
      /AccountKey=[^;]+/,
      `AccountKey=${Buffer.from("no").toString("base64")}`,
    );
    const stranger = connectLake({ address: parseLakeAddress(wrong), clock });
    expect(await probeLake(stranger, clock)).toMatchObject({ reachable: true, credentialOk: false, status: 403 });
    stranger.close();
  });

  test("a caller's SAS is passed on as it is, and Forebay's own SAS is appended", async () => {
    const options = { expiresOn: new Date(Date.now() + 3_600_000), permissions: "r" };
    const blob = container.getBlockBlobClient("with space and  two");
    await blob.uploadData(text("shared"));
    const { BlobSASPermissions } = await import("@azure/storage-blob");
    const url = await blob.generateSasUrl({ ...options, permissions: BlobSASPermissions.parse("r") });
    const query = url.slice(url.indexOf("?") + 1);
    const shared = { account: AZURITE_ACCOUNT, container: "names", blob: "with space and  two" };
    const nobody = connectLake({ address: parseLakeAddress(azurite.url), clock });
    const version = { method: "GET", apiVersion: LAKE_API_VERSION } as const;
    const asCaller = await nobody.read({ key: shared, ...version, credential: { kind: "caller", query } });
    expect([asCaller.head.status, await readText(asCaller.body)]).toEqual([200, "shared"]);
    const anonymous = await nobody.read({ key: shared, ...version, credential: { kind: "caller" } });
    expect(anonymous.head.status).toBeGreaterThanOrEqual(400);
    await readText(anonymous.body);
    expect(nobody.hasOwnCredential).toBe(false);
    nobody.close();
    const guest = connectLake({ address: parseLakeAddress(`${azurite.url}?${query}`), clock });
    const own = await guest.read({ key: shared, ...version, credential: { kind: "own" } });
    expect([own.head.status, await readText(own.body)]).toEqual([200, "shared"]);
    guest.close();
  });

  test("the probe and the stored policies", async () => {
    const found = await probeLake(lake, clock);
    expect(found).toMatchObject({ reachable: true, credentialOk: true, status: 200, limited: false });
    expect(Math.abs(found.clockSkewMs ?? Number.NaN)).toBeLessThan(60_000);
    const expiresOn = new Date("2031-02-03T04:05:06.000Z");
    await container.setAccessPolicy("blob", [
      { id: "readers & <more>", accessPolicy: { expiresOn, permissions: "rl" } },
    ]);
    const access = await fetchStoredPolicies(lake, "names");
    expect(access?.publicAccess).toBe("blob");
    expect(access?.policies).toEqual([{ id: "readers & <more>", expiresAtMs: expiresOn.getTime(), permissions: "rl" }]);
    expect(await fetchStoredPolicies(lake, "nothing-here")).toBeNull();
  });
});

describe("the simulated service beside Azurite", () => {
  test("the same outcomes, step by step", async () => {
    const sides = [lake, simLake({ service: createSimService(), clock })].map((side) => ({
      side,
      kept: new Map<string, string>(),
    }));
    for (const step of STEPS) {
      const [real, simulated] = await Promise.all(sides.map(({ side, kept }) => play(side, step, kept)));
      expect({ step: step.what, ...simulated, ...step.azurite }).toEqual({ step: step.what, ...real });
    }
  });

  async function play(side: OwnLake, step: Step, kept: Map<string, string>): Promise<Record<string, unknown>> {
    const fill = (value: string): string => value.replace(/\{(\w+)\}/g, (_, name: string) => kept.get(name) ?? "");
    const { request } = step;
    const response: ClientResponse = await side.own({
      ...request,
      headers: (request.headers ?? []).map(fill),
      query: (request.query ?? []).map(([name, value]) => [name, fill(value)]),
      body:
        step.body === undefined
          ? request.method === "PUT"
            ? bytesSource(text(""))
            : null
          : bytesSource(text(step.body)),
    });
    const body = await readText(response.body);
    const { status, headers } = response.head;
    for (const [name, from] of Object.entries(step.keep ?? {})) kept.set(name, headerOf(headers, from) ?? "");
    const alike = (step.alike ?? []).map((name) => [name, headerOf(headers, name)]);
    const code = status < 300 ? undefined : errorCodeOf(response, body);
    return { status, code, headers: Object.fromEntries(alike), body: step.sameBody === true ? body : undefined };
  }
});
