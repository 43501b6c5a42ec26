import { describe, expect, test } from "bun:test";
import {
  AccountSASPermissions,
  ContainerSASPermissions,
  generateAccountSASQueryParameters,
  SASProtocol,
} from "@azure/storage-blob";
import { addressAllowed, parseIpv4 } from "./address.ts";
import { type PolicyLookup, type StoredPolicy, verifySas } from "./sas.ts";
import { accountSasText, createAccountSas, createServiceSas, type SasFields, serviceSasText } from "./sas-text.ts";
import { TEST_ACCOUNT, testCredential } from "./test-client.ts";
import { clientSas, HOUR, key, madeSas, NOW, question, SNAPSHOT, verdict } from "./test-sas.ts";

const VERSIONS = ["2015-04-05", "2018-03-28", "2018-11-09", "2020-02-10", "2020-12-06", "2024-11-04", "2025-11-05"];

describe("signatures of the real client", () => {
  for (const version of VERSIONS) {
    test(`service SAS ${version}`, () => {
      const blobName = "a/b";
      const r = ContainerSASPermissions.parse("r");
      expect(verdict(clientSas({ version }))).toBe("yes");
      expect(verdict(clientSas({ version, blobName, permissions: r }))).toBe("yes");
      expect(verdict(clientSas({ version, blobName: "a/c", permissions: r }))).toBe("no");
      expect(verdict(clientSas({ version, containerName: "c01" }))).toBe("no");
      const full = { protocol: SASProtocol.HttpsAndHttp, ipRange: { start: "10.0.0.0", end: "10.0.0.9" } };
      const headers = { cacheControl: "no-cache", contentDisposition: "file; x", contentType: "a/b; c=d" };
      expect(verdict(clientSas({ version, ...full, ...headers, startsOn: new Date(NOW - HOUR) }))).toBe("yes");
      expect(verdict(clientSas({ version, expiresOn: new Date(NOW) }))).toBe("no");
      expect(verdict(clientSas({ version, startsOn: new Date(NOW + 1000) }))).toBe("no");
      const changed = clientSas({ version, cacheControl: "a" }).replace("rscc=a", "rscc=b");
      expect(verdict(changed)).toBe("no");
    });

    test(`account SAS ${version}`, () => {
      const make = (permissions: string, services = "b", resourceTypes = "sco") =>
        generateAccountSASQueryParameters(
          {
            permissions: AccountSASPermissions.parse(permissions),
            services,
            resourceTypes,
            version,
            expiresOn: new Date(NOW + HOUR),
          },
          testCredential(),
        ).toString();
      expect(verdict(make("rl"))).toBe("yes");
      expect(verdict(make("rwdlacup", "bqtf"))).toBe("yes");
      expect(verdict(make("rl"), { operation: "ListBlobs", path: "/c00" })).toBe("yes");
      expect(verdict(make("l"))).toBe("no");
      expect(verdict(make("r", "qtf"))).toBe("no");
      expect(verdict(make("r", "b", "sc"))).toBe("no");
      expect(verdict(make("l", "b", "so"), { operation: "ListBlobs", path: "/c00" })).toBe("no");
      expect(verdict(make("r"), { keys: [Buffer.alloc(32)] })).toBe("no");
      expect(verdict(make("r"), { keys: [] })).toBe("unknown");
    });
  }

  test("snapshots and versions", () => {
    const r = ContainerSASPermissions.parse("r");
    for (const version of ["2018-11-09", "2020-12-06"]) {
      const snapshot = clientSas({ version, blobName: "a/b", permissions: r, snapshotTime: SNAPSHOT });
      expect(snapshot).toContain("sr=bs");
      expect(verdict(`${snapshot}&snapshot=${SNAPSHOT}`)).toBe("yes");
      expect(verdict(`${snapshot}&snapshot=2012${SNAPSHOT.slice(4)}`)).toBe("no");
      expect(verdict(snapshot)).toBe("unknown");
      expect(verdict(`${snapshot}&versionid=${SNAPSHOT}`)).toBe("unknown");
    }
    const id = clientSas({ version: "2020-02-10", blobName: "a/b", permissions: r, versionId: SNAPSHOT });
    expect(verdict(`${id}&versionid=${SNAPSHOT}`)).toBe("yes");
    expect(verdict(`${id}&snapshot=${SNAPSHOT}`)).toBe("unknown");
    // A SAS for the blob itself or its container does not certainly reach its snapshots and versions.
    for (const sas of [clientSas(), clientSas({ blobName: "a/b", permissions: r })]) {
      expect(verdict(sas)).toBe("yes");
      expect(verdict(`${sas}&snapshot=${SNAPSHOT}`)).toBe("unknown");
      expect(verdict(`${sas}&versionid=${SNAPSHOT}`)).toBe("unknown");
    }
  });

  test("names as the service sees them", () => {
    const sas = clientSas({ blobName: "ä b/+%c", permissions: ContainerSASPermissions.parse("r") });
    expect(verdict(sas, { path: "/c00/%C3%A4%20b/+%25c" })).toBe("yes");
    expect(verdict(sas, { path: "/c00/%c3%a4%20b%2F%2B%25c" })).toBe("yes");
    expect(verdict(sas, { path: "/c00/%C3%A4%20b//+%25c" })).toBe("unknown");
    expect(verdict(clientSas(), { path: "/c00/a%5Cb" })).toBe("unknown");
    expect(verdict(clientSas(), { path: "/c00/../c01/b" })).toBe("unknown");
    expect(verdict(clientSas(), { path: "/c01/a/b" })).toBe("no");
    expect(verdict(clientSas(), { path: "/c00%2Fa/b" })).toBe("unknown");
  });
});

describe("texts as documented", () => {
  const blank = { sip: "", spr: "", ses: "", ss: "", srt: "", si: "", rscc: "", rsce: "", rscl: "" };
  const docs: SasFields = {
    ...blank,
    ...{ sv: "2013-08-15", sp: "r", st: "2013-08-16", se: "2013-08-17", sr: "c" },
    ...{ rscd: "file; attachment", rsct: "binary" },
  };

  test("2013-08-15, from the documentation's example", () => {
    expect(serviceSasText("/myaccount/pictures", "", docs)).toBe(
      "r\n2013-08-16\n2013-08-17\n/myaccount/pictures\n\n2013-08-15\n\nfile; attachment\n\n\nbinary",
    );
  });

  test("the other versions", () => {
    const of = (sv: string) => serviceSasText("/a/c", "T", { ...docs, sv, sip: "I", spr: "P", ses: "E", si: "S" });
    expect(of("2012-02-12")).toBe("r\n2013-08-16\n2013-08-17\n/a/c\nS\n2012-02-12");
    expect(of("2015-02-21")).toStartWith("r\n2013-08-16\n2013-08-17\n/blob/a/c\nS\n2015-02-21\n\nfile");
    expect(of("2015-04-05")).toContain("/blob/a/c\nS\nI\nP\n2015-04-05\n\nfile");
    expect(of("2018-11-09")).toContain("\n2018-11-09\nc\nT\n\nfile");
    expect(of("2020-12-06")).toContain("\n2020-12-06\nc\nT\nE\n\nfile");
    const account = { ...docs, ss: "b", srt: "o", sv: "2020-10-02" };
    expect(accountSasText("a", account)).toBe("a\nr\nb\no\n2013-08-16\n2013-08-17\n\n\n2020-10-02\n");
    expect(accountSasText("a", { ...account, sv: "2020-12-06", ses: "E" })).toEndWith("\n2020-12-06\nE\n");
  });

  test("older versions are verified", () => {
    for (const sv of ["2012-02-12", "2013-08-15", "2014-02-14", "2015-02-21"])
      expect(verdict(madeSas({ sv }))).toBe("yes");
    expect(verdict(madeSas({ sv: "2012-02-12", rscc: "x" }))).toBe("unknown");
    expect(verdict(madeSas({ sv: "2013-08-15", spr: "https,http" }))).toBe("unknown");
    expect(verdict(madeSas({ sv: "2011-08-18" }))).toBe("unknown");
    expect(verdict(madeSas({ sv: "2019-01-01" }))).toBe("unknown");
  });
});

describe("the client's address and protocol are judged here, and finally", () => {
  const wrong = "here: AuthorizationSourceIPMismatch";
  const plain = "here: AuthorizationProtocolMismatch";

  test("address", () => {
    const sas = madeSas({ sip: "10.0.0.1-10.0.0.3" });
    expect(verdict(sas)).toBe("yes");
    expect(verdict(sas, { address: "::ffff:10.0.0.3" })).toBe("yes");
    for (const address of ["10.0.0.0", "10.0.0.4", "::1", "", "10.0.0.01", "10.0.0.1 "]) {
      expect(verdict(sas, { address })).toBe(wrong);
    }
    for (const sip of ["10.0.0.1,10.0.0.2", "10.0.0.9-10.0.0.0", "10.0.0", "10.0.0.0/8", "x", "-"]) {
      expect(verdict(madeSas({ sip }))).toBe(wrong);
    }
  });

  test("protocol", () => {
    expect(verdict(madeSas({ spr: "https" }))).toBe(plain);
    expect(verdict(madeSas({ spr: "https" }), { secure: true })).toBe("yes");
    expect(verdict(madeSas({ spr: "https,http" }))).toBe("yes");
    expect(verdict(madeSas({ spr: "http" }))).toBe(plain);
    expect(verdict(madeSas({ spr: "http" }), { secure: true })).toBe("unknown");
  });

  test("even where the signature cannot be judged", () => {
    for (const more of ["&skoid=x", "&%78=1", "&sv=1&sv=2", "&a=%ff", "&x"]) {
      expect(verdict(madeSas({ sip: "10.9.9.9" }, undefined, "", more))).toBe(wrong);
      expect(verdict(madeSas({ spr: "https" }, undefined, "", more))).toBe(plain);
    }
    expect(verdict(`${madeSas({})}&%73ip=10.9.9.9`)).toBe(wrong);
    expect(verdict(`${madeSas({ sip: "10.0.0.1" })}&SIP=10.9.9.9`)).toBe(wrong);
    expect(verdict(madeSas({ sip: "10.9.9.9", si: "p" }))).toBe(wrong);
    expect(verdict(madeSas({ sip: "10.9.9.9" }), { keys: [] })).toBe(wrong);
  });

  test("reading addresses", () => {
    expect(parseIpv4("255.255.255.255")).toBe(0xffffffff);
    for (const text of ["1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4", "1.2.3.", "0x1.2.3.4", "::1"]) {
      expect(parseIpv4(text)).toBeNull();
    }
    expect(addressAllowed("0.0.0.0-255.255.255.255", "9.9.9.9")).toBe(true);
  });
});

describe("stored access policies", () => {
  const policies =
    (policy: StoredPolicy): PolicyLookup =>
    (account, container, id) =>
      account === "acct" && container === "c00" && id === "p" ? policy : "missing";
  const si = { si: "p", sp: "", se: "" };

  test("their fields stand in for the missing ones", () => {
    const full = policies({
      start: "2025-05-01T00:00:00.0000000Z",
      expiry: "2025-06-02T00:00:00.0000000Z",
      permissions: "r",
    });
    expect(verifySas(question(madeSas(si), { policies: full }))).toEqual({
      verdict: "yes",
      expiresAtMs: Date.UTC(2025, 5, 2),
    });
    expect(verdict(madeSas(si), { policies: full, nowMs: Date.UTC(2025, 5, 2) })).toBe("no");
    expect(verdict(madeSas(si), { policies: full, nowMs: Date.UTC(2025, 3, 2) })).toBe("no");
    expect(verdict(madeSas({ ...si, sp: "r" }), { policies: policies({ expiry: "2025-06-02" }) })).toBe("yes");
    expect(verdict(madeSas(si), { policies: policies({ expiry: "2025-06-02", permissions: "wl" }) })).toBe("no");
  });

  test("a doubtful policy grants nothing", () => {
    expect(verdict(madeSas(si))).toBe("unknown");
    expect(verdict(madeSas({ ...si, si: "q" }), { policies: policies({}) })).toBe("no");
    expect(verdict(madeSas(si), { policies: policies({}) })).toBe("unknown");
    expect(verdict(madeSas(si), { policies: policies({ expiry: "2025-06-02" }) })).toBe("unknown");
    expect(verdict(madeSas(si), { policies: policies({ permissions: "r" }) })).toBe("unknown");
    const both = policies({ expiry: "2025-06-02", permissions: "r" });
    expect(verdict(madeSas({ ...si, sp: "r" }), { policies: both })).toBe("unknown");
    expect(verdict(madeSas({ ...si, se: "2025-06-03" }), { policies: both })).toBe("unknown");
    // An account SAS knows no policies.
    expect(verdict(madeSas({ si: "p", ss: "b", srt: "o", sr: "" }), { policies: both })).toBe("unknown");
  });
});

describe("a SAS of our own", () => {
  const wish = { permissions: "rl", expiresAtMs: NOW + HOUR, startsAtMs: NOW - HOUR, httpsOnly: true };

  test("is granted here", () => {
    const container = createServiceSas(TEST_ACCOUNT, key, { container: "c00" }, wish);
    expect(verdict(container, { secure: true })).toBe("yes");
    expect(verdict(container, { secure: true, path: "/c01/b" })).toBe("no");
    const blob = createServiceSas(TEST_ACCOUNT, key, { container: "c00", blob: "a/b" }, { ...wish, permissions: "r" });
    expect(verdict(blob, { secure: true })).toBe("yes");
    expect(verdict(createAccountSas(TEST_ACCOUNT, key, wish), { secure: true })).toBe("yes");
  });

  test("is what the real client makes", () => {
    const times = { startsOn: new Date(NOW - HOUR), expiresOn: new Date(NOW + HOUR) };
    const theirs = clientSas({ ...times, protocol: SASProtocol.Https, version: "2025-01-05" });
    const sorted = (sas: string) => sas.split("&").sort();
    expect(sorted(createServiceSas(TEST_ACCOUNT, key, { container: "c00" }, wish))).toEqual(sorted(theirs));
  });
});
