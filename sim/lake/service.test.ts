import { beforeEach, describe, expect, test } from "bun:test";
import {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  ContainerSASPermissions,
  generateAccountSASQueryParameters,
  generateBlobSASQueryParameters,
  SASProtocol,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { type ClientResponse, headerOf } from "../../src/http/types.ts";
import { parseLakeAddress } from "../../src/lake/address.ts";
import { errorCodeOf, readText } from "../../src/lake/answers.ts";
import { fetchStoredPolicies } from "../../src/lake/policies.ts";
import { probeLake } from "../../src/lake/probe.ts";
import type { Credential, OwnLake } from "../../src/lake/types.ts";
import { createSimClock, SIM_EPOCH_MS, type SimClock } from "../clock.ts";
import { type SimLink, simAddress, simLake } from "./client.ts";
import { computedBytes, computedContent } from "./content.ts";
import { createSimService, SIM_ACCOUNT, SIM_KEY, type SimService } from "./service.ts";

const MINUTE_MS = 60_000;
const KEY = { account: SIM_ACCOUNT, container: "data", blob: "a b/ü.bin" };
const signer = new StorageSharedKeyCredential(SIM_ACCOUNT, SIM_KEY);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

let clock: SimClock;
let service: SimService;
let lake: OwnLake;
beforeEach(() => {
  clock = createSimClock();
  service = createSimService();
  lake = simLake({ service, clock });
  service.putBlob("data", KEY.blob, bytes("0123456789"), { nowMs: clock.wallMs() });
});

async function outcome(answer: Promise<ClientResponse>): Promise<string> {
  const response = await answer;
  const text = await readText(response.body);
  const { status } = response.head;
  return status < 300 ? `${status} ${text}` : `${status} ${errorCodeOf(response, text)}`;
}

function read(from: OwnLake, credential: Credential = { kind: "own" }, blob = KEY.blob): Promise<string> {
  return outcome(from.read({ key: { ...KEY, blob }, method: "GET", apiVersion: "2024-11-04", credential }));
}

/** A lake whose requests come another way: over http, or from another address. */
function via(link: Partial<SimLink>): OwnLake {
  return simLake({ service, clock, ...link });
}

describe("who may read", () => {
  test("SharedKey with either key, until it is rotated away", async () => {
    expect(await read(lake)).toBe("200 0123456789");
    const rotated = Buffer.from("a fresh key").toString("base64");
    service.rotateKey(0, rotated);
    expect(await read(lake)).toBe("403 AuthenticationFailed");
    const address = parseLakeAddress(
      `AccountName=${SIM_ACCOUNT};AccountKey=${rotated};BlobEndpoint=https://x/${SIM_ACCOUNT}`,
    );
    expect(await read(simLake({ service, clock }, { address }))).toBe("200 0123456789");
  });

  test("SharedKey within 15 minutes of the service's clock, and the probe tells the skew", async () => {
    const off = createSimClock(SIM_EPOCH_MS - 20 * MINUTE_MS);
    const ahead = { ...clock, wallMs: () => off.wallMs() };
    const { service: same, clock: right } = { service, clock };
    // The lake has the right clock; Forebay's own is 20 minutes behind.
    const handle: SimService["handle"] = (request, context) =>
      same.handle(request, { ...context, nowMs: right.wallMs() });
    const behind = simLake({ service: { ...same, handle }, clock: ahead });
    expect(await read(behind)).toBe("403 AuthenticationFailed");
    const found = await probeLake(behind, ahead);
    expect(found.credentialOk).toBe(false);
    expect(Math.round((found.clockSkewMs ?? 0) / MINUTE_MS)).toBe(20);
    expect(found.error).toMatch(/clock is 20 minutes off/);
  });

  test("a service SAS: signature, times, addresses, protocol, permissions", async () => {
    const make = (more: object): Credential => ({
      kind: "caller",
      query: generateBlobSASQueryParameters(
        {
          containerName: "data",
          permissions: ContainerSASPermissions.parse("r"),
          startsOn: new Date(SIM_EPOCH_MS),
          expiresOn: new Date(SIM_EPOCH_MS + 10 * MINUTE_MS),
          ...more,
        },
        signer,
      ).toString(),
    });
    expect(await read(lake, make({}))).toBe("200 0123456789");
    expect(await read(lake, make({ blobName: KEY.blob }))).toBe("200 0123456789");
    expect(await read(lake, make({ blobName: "other" }))).toBe("403 AuthenticationFailed");
    expect(await read(lake, make({ permissions: ContainerSASPermissions.parse("wl") }))).toBe(
      "403 AuthorizationPermissionMismatch",
    );
    const onlyHttps = make({ protocol: SASProtocol.Https });
    expect(await read(lake, onlyHttps)).toBe("200 0123456789");
    expect(await read(via({ secure: false }), onlyHttps)).toBe("403 AuthorizationProtocolMismatch");
    const near = make({ ipRange: { start: "10.0.0.1", end: "10.0.0.9" } });
    expect(await read(lake, near)).toBe("200 0123456789");
    expect(await read(via({ remoteAddress: "10.0.1.1" }), near)).toBe("403 AuthorizationSourceIPMismatch");
    expect(await read(lake, make({ startsOn: new Date(SIM_EPOCH_MS + MINUTE_MS) }))).toBe("403 AuthenticationFailed");
    await clock.advance(10 * MINUTE_MS);
    expect(await read(lake, make({}))).toBe("403 AuthenticationFailed");
  });

  test("a stored policy completes a SAS, and its removal ends it", async () => {
    const query = generateBlobSASQueryParameters({ containerName: "data", identifier: "team" }, signer).toString();
    expect(await read(lake, { kind: "caller", query })).toBe("403 AuthenticationFailed");
    const acl = (inner: string): Promise<string> => {
      const body = bytes(`<SignedIdentifiers>${inner}</SignedIdentifiers>`);
      let sent = false;
      const next = (): { kind: "bytes"; bytes: Uint8Array } | null => {
        if (sent) return null;
        sent = true;
        return { kind: "bytes", bytes: body };
      };
      const source = { lengthBytes: body.length, next, close: () => {} };
      const parameters: [string, string][] = [
        ["restype", "container"],
        ["comp", "acl"],
      ];
      return outcome(lake.own({ method: "PUT", container: "data", query: parameters, body: source }));
    };
    const policy = "<Expiry>2026-01-01T01:00:00Z</Expiry><Permission>r</Permission>";
    const stored = `<SignedIdentifier><Id>team</Id><AccessPolicy>${policy}</AccessPolicy></SignedIdentifier>`;
    expect(await acl(stored)).toBe("200 ");
    expect(await read(lake, { kind: "caller", query })).toBe("200 0123456789");
    expect((await fetchStoredPolicies(lake, "data"))?.policies).toEqual([
      { id: "team", expiresAtMs: SIM_EPOCH_MS + 60 * MINUTE_MS, permissions: "r" },
    ]);
    await acl("");
    expect(await read(lake, { kind: "caller", query })).toBe("403 AuthenticationFailed");
  });

  test("an account SAS: service, resource types, permissions", async () => {
    const make = (types: string, letters: string): Credential => ({
      kind: "caller",
      query: generateAccountSASQueryParameters(
        {
          expiresOn: new Date(SIM_EPOCH_MS + MINUTE_MS),
          permissions: AccountSASPermissions.parse(letters),
          services: AccountSASServices.parse("b").toString(),
          resourceTypes: AccountSASResourceTypes.parse(types).toString(),
        },
        signer,
      ).toString(),
    });
    expect(await read(lake, make("o", "r"))).toBe("200 0123456789");
    expect(await read(lake, make("sc", "r"))).toBe("403 AuthorizationResourceTypeMismatch");
    expect(await read(lake, make("o", "w"))).toBe("403 AuthorizationPermissionMismatch");
    const sas = make("o", "r");
    const guest = parseLakeAddress(`https://x/${SIM_ACCOUNT}?${sas.kind === "caller" ? sas.query : ""}`);
    expect(await probeLake(simLake({ service, clock }, { address: guest }), clock)).toMatchObject({
      credentialOk: true,
      limited: true,
    });
  });

  test("tokens by role, scope and time, over https only", async () => {
    const expiresAtMs = clock.wallMs() + MINUTE_MS;
    service.setToken("reader", { roles: ["reader"], expiresAtMs });
    service.setToken("elsewhere", { roles: ["contributor"], expiresAtMs, containers: ["other"] });
    const by = (token: string): Credential => ({ kind: "caller", authorization: `Bearer ${token}` });
    expect(await read(lake, by("reader"))).toBe("200 0123456789");
    expect(await read(via({ secure: false }), by("reader"))).toBe("403 AuthenticationFailed");
    expect(await read(lake, by("elsewhere"))).toBe("403 AuthorizationPermissionMismatch");
    expect(await read(lake, by("unknown"))).toBe("401 InvalidAuthenticationInfo");
    const address = { ...simAddress(service), credential: { kind: "entra" } as const };
    const own = simLake({ service, clock }, { address, tokenSource: { token: async () => "reader" } });
    expect(await probeLake(own, clock)).toMatchObject({ credentialOk: true, limited: false });
    expect(await outcome(own.own({ method: "DELETE", container: "data", blob: KEY.blob }))).toBe(
      "403 AuthorizationPermissionMismatch",
    );
    await clock.advance(MINUTE_MS);
    expect(await read(lake, by("reader"))).toBe("401 InvalidAuthenticationInfo");
  });

  test("anybody, in public containers", async () => {
    service.addContainer("open", { publicAccess: "blob" });
    service.putBlob("open", "x", bytes("public"));
    const anonymous = { kind: "caller" } as const;
    const ask = (container: string, apiVersion: string): Promise<string> =>
      outcome(lake.read({ key: { ...KEY, container, blob: "x" }, method: "GET", apiVersion, credential: anonymous }));
    expect(await ask("open", "2024-11-04")).toBe("200 public");
    expect(await ask("data", "2024-11-04")).toBe("401 NoAuthenticationInformation");
    expect(await ask("data", "2018-11-09")).toBe("404 ResourceNotFound");
  });
});

describe("content", () => {
  test("huge blobs are computed, and what was sent is counted", async () => {
    const size = 5_000_000_000_000;
    service.putBlob("data", "huge", computedContent(42, size));
    const first = 4_999_999_999_990;
    const key = { ...KEY, blob: "huge" };
    const request = {
      key,
      method: "GET",
      range: { first, last: size },
      apiVersion: "2024-11-04",
      credential: { kind: "own" },
    } as const;
    const answer = await lake.read(request);
    expect(headerOf(answer.head.headers, "content-range")).toBe(`bytes ${first}-${size - 1}/${size}`);
    expect(await answer.body.read()).toEqual(computedBytes(42, first, 10));
    const sent = service.stats.sent(`${SIM_ACCOUNT}/data/huge`);
    expect(sent).toEqual({ reads: 1, bytes: 10, ranges: [[first, 10]] });
    expect([service.stats.count("GetBlob"), service.stats.sentBytes]).toEqual([1, 10]);
  });

  test("any piece of computed content is that piece of the whole", () => {
    const whole = computedBytes(7, 0, 1000);
    for (const [at, length] of [
      [0, 1],
      [1, 5],
      [3, 97],
      [500, 500],
    ] as const) {
      expect(computedBytes(7, at, length)).toEqual(whole.slice(at, at + length));
    }
    expect(computedBytes(8, 0, 1000)).not.toEqual(whole);
  });

  test("a list by pages and by folders", async () => {
    for (const name of ["a/1", "a/2", "b", "c/d/e", "c/f"]) service.putBlob("list", name, bytes(name));
    const list = async (...more: [string, string][]): Promise<[string[], string]> => {
      const query: [string, string][] = [["restype", "container"], ["comp", "list"], ...more];
      const text = await outcome(lake.own({ method: "GET", container: "list", query }));
      const names = [...text.matchAll(/<Name>([^<]*)<\/Name>/g)].map((match) => match[1] ?? "");
      return [names, /<NextMarker>([^<]*)<\/NextMarker>/.exec(text)?.[1] ?? ""];
    };
    expect((await list())[0]).toEqual(["a/1", "a/2", "b", "c/d/e", "c/f"]);
    expect((await list(["delimiter", "/"]))[0]).toEqual(["a/", "b", "c/"]);
    expect((await list(["prefix", "c/"], ["delimiter", "/"]))[0]).toEqual(["c/d/", "c/f"]);
    const [page, marker] = await list(["maxresults", "2"]);
    expect(page).toEqual(["a/1", "a/2"]);
    expect((await list(["marker", marker]))[0]).toEqual(["b", "c/d/e", "c/f"]);
  });

  test("versions are kept where the account keeps them", async () => {
    service = createSimService({ accounts: [{ name: SIM_ACCOUNT, keys: [SIM_KEY], versioning: true }] });
    lake = simLake({ service, clock });
    service.putBlob("data", KEY.blob, bytes("old"));
    const head = { key: KEY, method: "HEAD", apiVersion: "2024-11-04", credential: { kind: "own" } } as const;
    const versionId = headerOf((await lake.read(head)).head.headers, "x-ms-version-id");
    service.putBlob("data", KEY.blob, bytes("new"));
    const past = { ...KEY, versionId };
    expect(await outcome(lake.read({ ...head, method: "GET", key: past }))).toBe("200 old");
    expect(await read(lake)).toBe("200 new");
  });

  test("copies within the service, and never of what may not be read", async () => {
    const source = `https://lake.invalid/${SIM_ACCOUNT}/data/a%20b/%C3%BC.bin`;
    const copy = (from: string, blob: string): Promise<string> =>
      outcome(lake.own({ method: "PUT", container: "data", blob, headers: ["x-ms-copy-source", from] }));
    expect(await copy(source, "copied")).toBe("202 ");
    expect(await read(lake, { kind: "own" }, "copied")).toBe("200 0123456789");
    expect(await copy(source.replace("%BC", "%B6"), "copied")).toBe("404 CannotVerifyCopySource");
  });

  test("account style takes the account from the host", async () => {
    service = createSimService({ style: "account" });
    service.putBlob("data", KEY.blob, bytes("by host"));
    expect(await read(simLake({ service, clock }))).toBe("200 by host");
  });
});
