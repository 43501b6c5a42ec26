import { describe, expect, test } from "bun:test";
import { ForebayError } from "../base/errors.ts";
import { type LakeAddressOptions, parseLakeAddress } from "./address.ts";

const KEY = Buffer.from("sixty-four bytes would be usual, but any base64 is a key here").toString("base64");
const SAS = "sv=2022-11-02&ss=b&srt=sco&sp=rl&se=2030-01-01T00:00:00Z&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D";

interface Row {
  readonly what: string;
  readonly text: string;
  readonly options?: LakeAddressOptions;
  readonly is: Record<string, unknown>;
  readonly credential: string;
}

const GOOD: readonly Row[] = [
  {
    what: "a key",
    text: `DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=${KEY};EndpointSuffix=core.windows.net`,
    is: { account: "acct", style: "account", protocol: "https", hostname: "acct.blob.core.windows.net", port: 443 },
    credential: "key",
  },
  {
    what: "another suffix, over http, with what a blob service ignores",
    text: `DefaultEndpointsProtocol=http;AccountName=acct;AccountKey=${KEY};EndpointSuffix=core.chinacloudapi.cn;QueueEndpoint=http://q`,
    is: { protocol: "http", port: 80, hostHeader: "acct.blob.core.chinacloudapi.cn", basePath: "" },
    credential: "key",
  },
  {
    what: "development storage",
    text: "UseDevelopmentStorage=true",
    is: {
      account: "devstoreaccount1",
      style: "path",
      hostname: "127.0.0.1",
      port: 10000,
      hostHeader: "127.0.0.1:10000",
      basePath: "/devstoreaccount1",
    },
    credential: "key",
  },
  {
    what: "Azurite",
    text: `DefaultEndpointsProtocol=http;AccountName=dev;AccountKey=${KEY};BlobEndpoint=http://127.0.0.1:11000/dev;`,
    is: { account: "dev", style: "path", port: 11000, basePath: "/dev" },
    credential: "key",
  },
  {
    what: "a SAS in a connection string, the account from the endpoint",
    text: `BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=?${SAS}`,
    is: { account: "acct", style: "account" },
    credential: "sas",
  },
  {
    what: "a custom domain",
    text: `AccountName=acct;AccountKey=${KEY};BlobEndpoint=https://data.example.com`,
    is: { account: "acct", style: "account", hostHeader: "data.example.com" },
    credential: "key",
  },
  {
    what: "a URL with a SAS",
    text: `https://acct.blob.core.windows.net/?${SAS}`,
    is: { account: "acct", style: "account", basePath: "" },
    credential: "sas",
  },
  {
    what: "a URL alone",
    text: "https://acct.blob.core.windows.net",
    is: { account: "acct", port: 443 },
    credential: "entra",
  },
  {
    what: "a URL alone, by anonymous choice",
    text: "https://acct.blob.core.windows.net",
    options: { anonymous: true },
    is: { account: "acct" },
    credential: "none",
  },
  {
    what: "a zonal DNS name",
    text: "https://acct.z13.blob.storage.azure.net/",
    is: { style: "account", account: "acct", hostHeader: "acct.z13.blob.storage.azure.net" },
    credential: "entra",
  },
  { what: "path style", text: "http://localhost:10000/dev", is: { account: "dev", style: "path" }, credential: "none" },
  {
    what: "an IPv6 host",
    text: "http://[::1]:10000/dev",
    is: { hostname: "::1", port: 10000, hostHeader: "[::1]:10000" },
    credential: "none",
  },
  {
    what: "another place to connect to",
    text: "https://acct.blob.core.windows.net",
    options: { connectTo: "10.1.2.3:8443" },
    is: {
      hostname: "10.1.2.3",
      port: 8443,
      hostHeader: "acct.blob.core.windows.net",
      serverName: "acct.blob.core.windows.net",
    },
    credential: "entra",
  },
  {
    what: "another place at the usual port",
    text: "https://acct.blob.core.windows.net",
    options: { connectTo: "[fd00::1]" },
    is: { hostname: "fd00::1", port: 443 },
    credential: "entra",
  },
];

describe("addresses that are understood", () => {
  for (const { what, text, options, is, credential } of GOOD) {
    test(what, () => {
      const address = parseLakeAddress(text, options);
      expect(address).toMatchObject(is);
      expect(address.credential.kind as string).toBe(credential);
    });
  }

  test("keys come newest first, and a SAS without its question mark", () => {
    const more = Buffer.from("another key").toString("base64");
    const byKey = parseLakeAddress(`AccountName=acct;AccountKey=${KEY}`, { moreKeys: [more] }).credential;
    expect(byKey.kind === "key" && byKey.keys.map((key) => Buffer.from(key).toString("base64"))).toEqual([KEY, more]);
    const bySas = parseLakeAddress(`AccountName=acct;SharedAccessSignature=?${SAS}`).credential;
    expect(bySas.kind === "sas" && bySas.query).toBe(SAS);
  });
});

const BAD: readonly [text: string, says: RegExp, options?: LakeAddressOptions][] = [
  ["", /empty.*connection string/],
  ["acct", /neither a URL nor a connection string/],
  [`AccountKey=${KEY}`, /names no account; add AccountName/],
  [`AccountName=acct;AccountKey=${KEY.slice(1)}`, /not base64/],
  [`AccountName=acct;AcountKey=${KEY}`, /unknown setting "AcountKey"/],
  [`AccountName=acct;${KEY}`, /not NAME=VALUE/],
  [`AccountName=acct;AccountName=other;AccountKey=${KEY}`, /AccountName twice/],
  [`AccountName=Bad_Name;AccountKey=${KEY}`, /cannot exist/],
  [`AccountName=acct;AccountKey=${KEY};DefaultEndpointsProtocol=ftp`, /neither http nor https/],
  [`AccountName=acct;AccountKey=${KEY};BlobEndpoint=acct.blob.core.windows.net`, /does not begin with http/],
  [`AccountName=acct;AccountKey=${KEY};BlobEndpoint=https://other.blob.core.windows.net`, /make them agree/],
  [`AccountName=acct;AccountKey=${KEY};BlobEndpoint=http://127.0.0.1:10000`, /127\.0\.0\.1:10000\/acct/],
  [`AccountName=acct;SharedAccessSignature=sv=2022-11-02&se=2030`, /no signature/],
  [`BlobEndpoint=https://acct.blob.core.windows.net?${SAS}`, /put the SAS in SharedAccessSignature/],
  ["https://acct.blob.core.windows.net?se=2030-01-01", /no signature/],
  ["https://acct.blob.core.windows.net/data", /goes beyond the account; leave out "\/data"/],
  ["https://acct.dfs.core.windows.net", /dfs endpoint.*https:\/\/acct\.blob/],
  ["https://acct-secondary.blob.core.windows.net", /secondary/],
  ["https://data.example.com", /which account/],
  ["http://127.0.0.1:10000", /http:\/\/127\.0\.0\.1:10000\/ACCOUNT/],
  ["http://127.0.0.1:10000/dev/data", /goes beyond the account/],
  ["https://user:secret@acct.blob.core.windows.net", /user name or password/],
  [`https://acct.blob.core.windows.net?${SAS}#x`, /# in its URL/],
  ["https://acct.blob.core.windows.net", /write HOST or HOST:PORT/, { connectTo: "http://x:1" }],
];

describe("addresses that are refused", () => {
  for (const [text, says, options] of BAD) {
    test(`${says.source}`, () => {
      let error: unknown;
      try {
        parseLakeAddress(text, options);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(ForebayError);
      const { code, message } = error as ForebayError;
      expect(code).toBe("config");
      expect(message).toMatch(says);
      expect(message).not.toContain("\n");
      for (const secret of [KEY, KEY.slice(1, 20), "c2VjcmV0", "secret@"]) expect(message).not.toContain(secret);
    });
  }
});
