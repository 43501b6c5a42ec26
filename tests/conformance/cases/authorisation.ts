/**
 * Who may read and write: every form of authorisation and its refusals. Each case first reads the blob as the owner, so
 * that the cache is warm: a warm cache must never answer what the lake refuses.
 */
import {
  BlobSASPermissions,
  generateBlobSASQueryParameters,
  SASProtocol,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { accountSas, bearerToken, type SasParameters, serviceSas, sharedKey } from "../../support/sign.ts";
import type { CaseGroup, ConformanceCase } from "../harness/case.ts";
import { API_VERSION, type CaseContext, type CaseRequest, someBytes } from "../harness/context.ts";
import { hostOf, pathOf } from "../harness/endpoint.ts";

const DAY_MS = 24 * 3_600_000;
const iso = (offsetMs: number): string => `${new Date(Date.now() + offsetMs).toISOString().slice(0, 19)}Z`;
const FUTURE = { se: iso(DAY_MS) };
const PAST = { se: iso(-DAY_MS) };
const ACCOUNT: SasParameters = { sv: "2022-11-02", ss: "b", srt: "sco", sp: "rwdlac", ...FUTURE };
const BLOB: SasParameters = { sv: "2022-11-02", sr: "b", sp: "r", ...FUTURE };

async function setup(c: CaseContext): Promise<void> {
  await c.lake.blobs.getBlockBlobClient("b").upload(Buffer.from(someBytes(5000)), 5000);
  await c.lake.blobs.getBlockBlobClient("other").upload("other", 5);
}

/** Reads `b` in all the ways that a hit may answer. */
async function reads(c: CaseContext, label: string, request: CaseRequest): Promise<void> {
  const path = request.path ?? `/${c.container}/b`;
  await c.raw({ ...request, path, label: `${label} GET` });
  await c.raw({ ...request, path, method: "HEAD", label: `${label} HEAD` });
  await c.raw({
    ...request,
    path,
    headers: { ...request.headers, "x-ms-range": "bytes=0-9" },
    label: `${label} range`,
  });
}

const warmed = (
  name: string,
  run: (c: CaseContext) => Promise<void>,
  more: Partial<ConformanceCase> = {},
): ConformanceCase => ({
  name,
  setup,
  readOnly: true,
  run: async (c) => {
    await reads(c, "owner", {});
    await run(c);
    await reads(c, "owner again", {});
  },
  ...more,
});

const sharedKeys: readonly ConformanceCase[] = [
  warmed(
    "SharedKey: both keys, wrong keys, other accounts",
    async (c) => {
      for (const auth of ["key", "key2", "wrong-key", "other-account", "none"] as const) {
        await reads(c, auth, { auth, cache: ["wrong-key", "none", "other-account"].includes(auth) ? "never" : "any" });
      }
    },
    { styles: true },
  ),
  warmed(
    "SharedKeyLite, and both date headers",
    async (c) => {
      await reads(c, "lite", { auth: "lite" });
      await reads(c, "both dates", { headers: { Date: new Date(Date.now() - 1000).toUTCString() } });
    },
    { needs: ["real-lake"] },
  ),
  warmed("SharedKey: nonsense in Authorization", async (c) => {
    const { name } = c.account;
    for (const header of [
      "SharedKey",
      "SharedKey ",
      `SharedKey ${name}`,
      `SharedKey ${name}:`,
      `SharedKey ${name}:AAAA`,
      `SharedKey ${name}:not base64 at all!`,
      `SharedKey unknown:${"A".repeat(43)}=`,
      `sharedkey ${name}:${"A".repeat(43)}=`,
      "Basic dXNlcjpwYXNz",
      "Bearer nonsense",
      "Nonsense",
      "",
    ]) {
      await reads(c, JSON.stringify(header), { auth: { header }, cache: "never" });
    }
  }),
  warmed("SharedKey: dates", async (c) => {
    const at = (offsetMs: number): string => new Date(Date.now() + offsetMs).toUTCString();
    await reads(c, "Date instead of x-ms-date", { date: false, headers: { Date: at(0) } });
    await reads(c, "no date", { date: false, cache: "never" });
    await reads(c, "an hour ago", { date: false, headers: { "x-ms-date": at(-3_600_000) }, cache: "never" });
    await reads(c, "in an hour", { date: false, headers: { "x-ms-date": at(3_600_000) }, cache: "never" });
    await reads(c, "not a date", { date: false, headers: { "x-ms-date": "yesterday" }, cache: "never" });
    await reads(c, "five minutes ago", { date: false, headers: { "x-ms-date": at(-300_000) } });
  }),
  warmed("SharedKey: changed after signing", async (c) => {
    const path = `/${c.container}/b`;
    await c.raw({ path, unsigned: { "x-ms-meta-more": "1" }, label: "more x-ms", cache: "never" });
    await c.raw({ path, unsigned: { Range: "bytes=0-1" }, label: "Range", cache: "never" });
    await c.raw({ path, unsigned: { "x-ms-range": "bytes=0-1" }, label: "x-ms-range", cache: "never" });
    await c.raw({ path, unsigned: { "If-None-Match": "*" }, label: "If-None-Match", cache: "never" });
    await c.raw({ path, unsigned: { "If-Range": "*" }, label: "a header that is not signed" });
    await c.raw({ path, unsigned: { "x-ms-client-request-id": "late" }, label: "request id", cache: "never" });
  }),
  warmed("SharedKey: for another method, path or query", async (c) => {
    const date = new Date().toUTCString();
    const headers = [
      ["x-ms-date", date],
      ["x-ms-version", API_VERSION],
    ] as const;
    const signed = (method: string, path: string): string =>
      sharedKey(c.account.name, c.account.key, { method, target: pathOf(c.endpoint, path), headers });
    const path = `/${c.container}/b`;
    const send = (label: string, header: string, more: CaseRequest = {}) =>
      c.raw({ path, auth: { header }, date: false, headers: { "x-ms-date": date }, label, ...more });
    await send("right", signed("GET", path));
    await send("signed as HEAD", signed("HEAD", path), { cache: "never" });
    await send("signed for another blob", signed("GET", `/${c.container}/other`), { cache: "never" });
    await send("signed for the container", signed("GET", `/${c.container}`), { cache: "never" });
    await send("a query added", signed("GET", path), {
      query: "snapshot=2020-01-01T00:00:00.0000000Z",
      cache: "never",
    });
    await send("escaped otherwise", signed("GET", path), { path: `/${c.container}/%62`, cache: "never" });
    await send("signed escaped", signed("GET", `/${c.container}/%62`), { path: `/${c.container}/%62` });
  }),
  {
    name: "SharedKey: header values with spaces and repeats are signed alike",
    setup,
    run: async (c) => {
      const path = `/${c.container}/spaced`;
      const headers = {
        "x-ms-blob-type": "BlockBlob",
        "x-ms-meta-a": "two  spaces",
        "x-ms-meta-b": "  edges  ",
        "x-ms-meta-c": "",
      };
      await c.raw({ method: "PUT", path, headers, body: "x", label: "PUT" });
      await c.raw({ path, label: "GET" });
      const query = "comp=metadata&timeout=10&b=2&a=1&A=3";
      await c.raw({ path, query, label: "queries in any order" });
      await c.raw({ path, query: "comp=metadata&x=a%20b%2Bc&y=%C3%A9", label: "queries with escapes" });
    },
  },
  {
    name: "writes and deletes with a wrong key change nothing",
    setup,
    run: async (c) => {
      const path = `/${c.container}/b`;
      await c.raw({ path, label: "before" });
      const headers = { "x-ms-blob-type": "BlockBlob" };
      await c.raw({ method: "PUT", path, headers, body: "forged", auth: "wrong-key", label: "PUT" });
      await c.raw({ method: "DELETE", path, auth: "wrong-key", label: "DELETE" });
      await c.raw({ method: "DELETE", path, auth: "none", label: "DELETE unsigned" });
      await c.raw({ method: "PUT", path: `/${c.container}`, query: "restype=container&comp=metadata", auth: "none" });
      await c.raw({ path, label: "after" });
    },
  },
];

const accountSasCase = (label: string, parameters: SasParameters, never = false): ConformanceCase =>
  warmed(`account SAS: ${label}`, async (c) => {
    const query = accountSas(c.account.name, c.account.key, { ...ACCOUNT, ...parameters });
    const cache = never ? "never" : "any";
    await reads(c, "read", { query, auth: "none", cache });
    await c.raw({
      path: `/${c.container}`,
      query: `restype=container&comp=list&${query}`,
      auth: "none",
      label: "list",
    });
    await c.raw({ query: `comp=list&prefix=${c.container}&${query}`, auth: "none", label: "list containers" });
    await reads(c, "read again", { query, auth: "none", cache });
  });

const without = (parameters: SasParameters, name: string): SasParameters =>
  Object.fromEntries(Object.entries(parameters).filter(([key]) => key !== name));

const accountSasCases: readonly ConformanceCase[] = [
  { ...accountSasCase("all permissions", {}), styles: true },
  accountSasCase("read only", { sp: "r" }),
  accountSasCase("without read", { sp: "wl" }, true),
  accountSasCase("objects only", { srt: "o", sp: "rl" }),
  accountSasCase("containers only", { srt: "c", sp: "rl" }, true),
  accountSasCase("for files", { ss: "f" }, true),
  accountSasCase("for several services", { ss: "bfqt" }),
  accountSasCase("expired", PAST, true),
  accountSasCase("not yet valid", { st: iso(DAY_MS), se: iso(2 * DAY_MS) }, true),
  accountSasCase("valid since yesterday", { st: iso(-DAY_MS) }),
  { ...accountSasCase("https only", { spr: "https" }, true), ownAnswers: ["AuthorizationProtocolMismatch"] },
  accountSasCase("https and http", { spr: "https,http" }),
  accountSasCase("from this address", { sip: "127.0.0.1" }),
  accountSasCase("from a range of addresses", { sip: "127.0.0.0-127.0.0.255" }),
  accountSasCase("an older version", { sv: "2019-12-12" }),
  accountSasCase("times in short form", { st: iso(-DAY_MS).slice(0, 10), se: iso(2 * DAY_MS).slice(0, 10) }),
  warmed("account SAS: tampered", async (c) => {
    const { name, key } = c.account;
    const read = accountSas(name, key, { ...ACCOUNT, sp: "l" });
    const send = (label: string, query: string) => reads(c, label, { query, auth: "none", cache: "never" });
    await send("raised permissions", read.replace("sp=l", "sp=rl"));
    await send(
      "longer life",
      accountSas(name, key, { ...ACCOUNT, ...PAST }).replace(/se=[^&]*/, `se=${encodeURIComponent(FUTURE.se)}`),
    );
    await send("no signature", accountSas(name, key, ACCOUNT).replace(/&sig=.*/, ""));
    await send("empty signature", accountSas(name, key, ACCOUNT).replace(/&sig=.*/, "&sig="));
    await send("other key", accountSas(name, Buffer.from("x").toString("base64"), ACCOUNT));
    await send("other account", accountSas("otheraccount", key, ACCOUNT));
    for (const missing of ["sv", "ss", "srt", "sp", "se"]) {
      await send(`without ${missing}`, accountSas(name, key, without(ACCOUNT, missing)));
    }
    // Azurite lets these two pass, and what the lake allows may be remembered.
    const odd = (label: string, query: string) => reads(c, label, { query, auth: "none" });
    await odd("bad date", accountSas(name, key, { ...ACCOUNT, se: "tomorrow" }));
    await odd("bad version", accountSas(name, key, { ...ACCOUNT, sv: "1999-01-01" }));
  }),
];

const blobSasCase = (
  label: string,
  parameters: SasParameters,
  options: { resource?: string; never?: boolean; sign?: string } = {},
): ConformanceCase =>
  warmed(`service SAS: ${label}`, async (c) => {
    const resource = (options.resource ?? "CONTAINER/b").replace("CONTAINER", c.container);
    const query = serviceSas(c.account.name, c.account.key, resource, { ...BLOB, ...parameters });
    const cache = options.never ? "never" : "any";
    await reads(c, "read", { query, auth: "none", cache });
    await reads(c, "other", { path: `/${c.container}/other`, query, auth: "none" });
    await c.raw({
      path: `/${c.container}`,
      query: `restype=container&comp=list&${query}`,
      auth: "none",
      label: "list",
    });
    await reads(c, "read again", { query, auth: "none", cache });
  });

const OVERRIDES: SasParameters = {
  rscc: "no-store",
  rscd: 'attachment; filename="a b.bin"',
  rsce: "identity",
  rscl: "de",
  rsct: "text/x-overridden",
};

const serviceSasCases: readonly ConformanceCase[] = [
  { ...blobSasCase("blob", {}), styles: true },
  blobSasCase("container", { sr: "c", sp: "rl" }, { resource: "CONTAINER" }),
  blobSasCase("blob, write only", { sp: "w" }, { never: true }),
  blobSasCase("blob, expired", PAST, { never: true }),
  blobSasCase("blob, not yet valid", { st: iso(DAY_MS), se: iso(2 * DAY_MS) }, { never: true }),
  blobSasCase("another container", { sr: "c", sp: "rl" }, { resource: "elsewhere", never: true }),
  blobSasCase("another blob", {}, { resource: "CONTAINER/other", never: true }),
  blobSasCase("a prefix of the name", {}, { resource: "CONTAINER/", never: true }),
  blobSasCase("sr=c signed for a blob", { sr: "c" }, { never: true }),
  blobSasCase("sr=b signed for the container", { sr: "b" }, { resource: "CONTAINER", never: true }),
  blobSasCase("sr=d", { sr: "d", sdd: "1" }, { never: true }),
  { ...blobSasCase("https only", { spr: "https" }, { never: true }), ownAnswers: ["AuthorizationProtocolMismatch"] },
  blobSasCase("from this address", { sip: "127.0.0.1" }),
  blobSasCase("version 2018-11-09", { sv: "2018-11-09" }),
  blobSasCase("version 2020-02-10", { sv: "2020-02-10" }),
  blobSasCase("version 2025-01-05", { sv: "2025-01-05" }),
  blobSasCase("overridden headers", OVERRIDES),
  blobSasCase("one overridden header", { rsct: "image/png" }),
  blobSasCase("unknown policy", { si: "nobody" }, { never: true }),
  warmed("service SAS: tampered", async (c) => {
    const { name, key } = c.account;
    const resource = `${c.container}/b`;
    const good = serviceSas(name, key, resource, BLOB);
    const send = (label: string, query: string) => reads(c, label, { query, auth: "none", cache: "never" });
    await send("raised permissions", serviceSas(name, key, resource, { ...BLOB, sp: "w" }).replace("sp=w", "sp=rw"));
    await send("raised to the container", good.replace("sr=b", "sr=c"));
    await send("an override added", `${good}&rsct=text%2Fhtml`);
    await send("signature cut", good.slice(0, -4));
    await send(
      "signature changed",
      good.replace(/sig=(.)/, (_, first) => `sig=${first === "A" ? "B" : "A"}`),
    );
    await send("other key", serviceSas(name, Buffer.from("x").toString("base64"), resource, BLOB));
    for (const missing of ["sv", "sr", "sp", "se"]) {
      await send(`without ${missing}`, serviceSas(name, key, resource, without(BLOB, missing)));
    }
    await send("snapshot added", `${good}&snapshot=2020-01-01T00%3A00%3A00.0000000Z`);
  }),
  warmed("a SAS beside SharedKey", async (c) => {
    const good = serviceSas(c.account.name, c.account.key, `${c.container}/b`, BLOB);
    const bad = serviceSas(c.account.name, c.account.key, `${c.container}/b`, { ...BLOB, ...PAST });
    await reads(c, "good and good", { query: good });
    await reads(c, "bad SAS, good key", { query: bad });
    await reads(c, "good SAS, bad key", { query: good, auth: "wrong-key" });
    await reads(c, "twice", { query: `${good}&${good}`, auth: "none" });
  }),
  {
    name: "service SAS: snapshots",
    setup: async (c) => {
      await setup(c);
      await c.lake.blobs.getBlobClient("b").createSnapshot();
    },
    readOnly: true,
    run: async (c) => {
      let time = "";
      for await (const item of c.lake.blobs.listBlobsFlat({ includeSnapshots: true })) time = item.snapshot ?? time;
      const sas = (parameters: SasParameters): string =>
        serviceSas(c.account.name, c.account.key, `${c.container}/b`, { ...BLOB, ...parameters });
      const snapshot = `snapshot=${encodeURIComponent(time)}`;
      await reads(c, "owner", { query: snapshot });
      await reads(c, "sr=bs", { query: sas({ sr: "bs", snapshot: time }), auth: "none" });
      await reads(c, "sr=b with a snapshot", { query: `${sas({})}&${snapshot}`, auth: "none" });
      await reads(c, "sr=bs without a snapshot", {
        query: sas({ sr: "bs", snapshot: time }).replace(/&snapshot=[^&]*/, ""),
        auth: "none",
      });
    },
  },
  {
    name: "service SAS through the SDK: read, write, delete",
    styles: true,
    run: async (c) => {
      const sas = generateBlobSASQueryParameters(
        {
          containerName: c.container,
          permissions: BlobSASPermissions.parse("rcw"),
          expiresOn: new Date(Date.now() + DAY_MS),
          protocol: SASProtocol.HttpsAndHttp,
        },
        new StorageSharedKeyCredential(c.account.name, c.account.key),
      ).toString();
      const blob = c.sdk({ sas }).getContainerClient(c.container).getBlockBlobClient("mine");
      await c.attempt("write", () => blob.upload("by SAS", 6));
      await c.attempt("read", async () => c.note("text", (await blob.downloadToBuffer()).toString()));
      await c.attempt("overwrite", () => blob.upload("by SAS again", 12));
      await c.attempt("read", async () => c.note("text again", (await blob.downloadToBuffer()).toString()));
      await c.attempt("delete", () => blob.delete());
      await c.attempt("list", () => c.sdk({ sas }).getContainerClient(c.container).listBlobsFlat().next());
    },
  },
];

async function setPolicies(c: CaseContext, permissions: string | null, expiresOn = new Date(Date.now() + DAY_MS)) {
  const startsOn = new Date(Date.now() - DAY_MS);
  const policies = permissions === null ? [] : [{ id: "p", accessPolicy: { startsOn, expiresOn, permissions } }];
  await c.blobs.setAccessPolicy(undefined, policies);
}

const policyCases: readonly ConformanceCase[] = [
  {
    name: "stored policy: allowed, narrowed, revoked, given again",
    styles: true,
    setup,
    run: async (c) => {
      const query = serviceSas(c.account.name, c.account.key, c.container, { sv: "2022-11-02", sr: "c", si: "p" });
      const ask = async (label: string): Promise<void> => {
        await reads(c, label, { query, auth: "none" });
        await reads(c, `${label}, again`, { query, auth: "none" });
      };
      await reads(c, "owner", {});
      await ask("before there is a policy");
      await setPolicies(c, "r");
      await ask("allowed");
      await setPolicies(c, "l");
      await ask("narrowed");
      await setPolicies(c, "rl");
      await ask("widened");
      await setPolicies(c, "r", new Date(Date.now() - 3_600_000));
      await ask("expired");
      await setPolicies(c, "r");
      await ask("renewed");
      await setPolicies(c, null);
      await ask("revoked");
    },
  },
  {
    name: "anonymous: private, blob, container, private again",
    styles: true,
    setup,
    run: async (c) => {
      const ask = async (label: string): Promise<void> => {
        await reads(c, label, { auth: "none", date: false });
        await c.raw({
          path: `/${c.container}`,
          query: "restype=container&comp=list",
          auth: "none",
          label: `${label} list`,
        });
        await c.raw({ method: "DELETE", path: `/${c.container}/absent`, auth: "none", label: `${label} DELETE` });
        await reads(c, `${label}, wrong key`, { auth: "wrong-key" });
        await reads(c, `${label}, no version`, { auth: "none", version: null, date: false });
      };
      await reads(c, "owner", {});
      await c.blobs.setAccessPolicy();
      await ask("private");
      await c.blobs.setAccessPolicy("blob");
      await ask("blob");
      await c.blobs.setAccessPolicy("container");
      await ask("container");
      await c.blobs.setAccessPolicy();
      await ask("private again");
    },
  },
];

/** Cases about keys, SAS, policies and public access. */
export const authorisation: CaseGroup = {
  name: "authorisation",
  cases: [...sharedKeys, ...accountSasCases, ...serviceSasCases, ...policyCases],
};

const bearerRead = (label: string, claims: Readonly<Record<string, unknown>>, never: boolean): ConformanceCase =>
  warmed(
    `bearer: ${label}`,
    async (c) => {
      const header = `Bearer ${bearerToken(claims)}`;
      for (const name of ["first", "second"]) {
        await reads(c, name, { auth: { header }, cache: never ? "never" : "any" });
      }
      await c.raw({ path: `/${c.container}`, query: "restype=container&comp=list", auth: { header }, label: "list" });
    },
    { needs: ["https"] },
  );

const seconds = (offset: number): number => Math.floor(Date.now() / 1000) + offset;

async function delegationSas(
  c: CaseContext,
  changes: SasParameters = {},
  edit = (text: string) => text,
): Promise<string> {
  const owner = c.sdk({
    credential: { getToken: async () => ({ token: bearerToken(), expiresOnTimestamp: Date.now() + 3_600_000 }) },
  });
  const key = await owner.getUserDelegationKey(new Date(Date.now() - 60_000), new Date(Date.now() + 3_600_000));
  const sas = generateBlobSASQueryParameters(
    {
      containerName: c.container,
      blobName: "b",
      permissions: BlobSASPermissions.parse(changes["sp"] ?? "r"),
      expiresOn: new Date(changes["se"] ?? Date.now() + 1_800_000),
      version: changes["sv"] ?? "2022-11-02",
    },
    key,
    c.account.name,
  ).toString();
  return edit(sas);
}

/** Cases that need https: bearer tokens and what hangs on them. */
export const bearer: CaseGroup = {
  name: "authorisation over https",
  cases: [
    bearerRead("good", {}, false),
    bearerRead("expired", { exp: seconds(-60), nbf: seconds(-3600) }, true),
    bearerRead("not yet valid", { nbf: seconds(3600), exp: seconds(7200) }, true),
    bearerRead("another audience", { aud: "https://management.azure.com" }, true),
    bearerRead("this account's audience", { aud: "https://devstoreaccount1.blob.core.windows.net" }, false),
    bearerRead("another issuer", { iss: "https://issuer.example/" }, true),
    {
      name: "bearer: writes through the SDK",
      needs: ["https"],
      run: async (c) => {
        const credential = {
          getToken: async () => ({ token: bearerToken(), expiresOnTimestamp: Date.now() + 3_600_000 }),
        };
        const blob = c.sdk({ credential }).getContainerClient(c.container).getBlockBlobClient("mine");
        await c.attempt("write", () => blob.upload("by token", 8));
        await c.attempt("read", async () => c.note("text", (await blob.downloadToBuffer()).toString()));
        await c.attempt("delete", () => blob.delete());
      },
    },
    warmed(
      "user delegation SAS",
      async (c) => {
        const send = async (label: string, query: string, never: boolean): Promise<void> => {
          await reads(c, label, { query, auth: "none", cache: never ? "never" : "any" });
          await reads(c, `${label}, again`, { query, auth: "none", cache: never ? "never" : "any" });
        };
        await send("good", await delegationSas(c), false);
        await send("good, 2020-02-10", await delegationSas(c, { sv: "2020-02-10" }), false);
        await send("write only", await delegationSas(c, { sp: "w" }), true);
        await send("expired", await delegationSas(c, { se: iso(-600_000) }), true);
        const raised = (text: string): string => text.replace("sp=w", "sp=rw");
        await send("raised", await delegationSas(c, { sp: "w" }, raised), true);
        const other = (text: string): string =>
          text.replace(/skoid=[^&]*/, "skoid=c0ffee00-0000-4000-8000-000000000001");
        await send("another user", await delegationSas(c, {}, other), true);
      },
      { needs: ["https"] },
    ),
    warmed(
      "https only SAS over https",
      async (c) => {
        const account = accountSas(c.account.name, c.account.key, { ...ACCOUNT, spr: "https" });
        await reads(c, "account", { query: account, auth: "none" });
        const blob = serviceSas(c.account.name, c.account.key, `${c.container}/b`, { ...BLOB, spr: "https" });
        await reads(c, "blob", { query: blob, auth: "none" });
        c.note("host", hostOf(c.endpoint).replace(/:\d+$/, ""));
      },
      { needs: ["https"] },
    ),
  ],
};
