/** Makers of shared access signatures for tests, true ones of any fields, and the verdict on them. */
import {
  type BlobSASSignatureValues,
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
} from "@azure/storage-blob";
import { sign } from "./hmac.ts";
import { parseQuery } from "./query.ts";
import { noPolicies, type PolicyLookup, type SasQuestion, verifySas } from "./sas.ts";
import { accountSasText, type SasFields, serviceSasText } from "./sas-text.ts";
import { parseTarget } from "./target.ts";
import { TEST_ACCOUNT, TEST_KEYS, testCredential } from "./test-client.ts";

export const NOW = Date.UTC(2025, 5, 1, 12);
export const HOUR = 3_600_000;
export const SNAPSHOT = "2011-03-09T01:42:34.9360000Z";
const [KEY] = TEST_KEYS;
if (KEY === undefined) throw new Error("a key");
export const key: Uint8Array = KEY;

export interface Asked {
  path?: string;
  operation?: string;
  address?: string;
  secure?: boolean;
  nowMs?: number;
  policies?: PolicyLookup;
  keys?: readonly Uint8Array[];
}

export function question(sas: string, asked: Asked): SasQuestion {
  const target = parseTarget(`/acct${asked.path ?? "/c00/a/b"}?${sas}`, "127.0.0.1", new Set([TEST_ACCOUNT]));
  if (target === null) throw new Error("a target");
  return {
    query: parseQuery(target.query),
    target,
    operation: asked.operation ?? "GetBlob",
    keys: asked.keys ?? TEST_KEYS,
    nowMs: asked.nowMs ?? NOW,
    clientAddress: asked.address ?? "10.0.0.1",
    secure: asked.secure ?? false,
    policies: asked.policies ?? noPolicies,
  };
}

export function verdict(sas: string, asked: Asked = {}): string {
  const found = verifySas(question(sas, asked));
  return found.verdict === "no" && found.localOnly ? `here: ${found.error?.code}` : found.verdict;
}

/** A service SAS of the real client. */
export function clientSas(values: Partial<BlobSASSignatureValues> = {}): string {
  const permissions = ContainerSASPermissions.parse("rl");
  return generateBlobSASQueryParameters(
    { containerName: "c00", permissions, expiresOn: new Date(NOW + HOUR), version: "2024-11-04", ...values },
    testCredential(),
  ).toString();
}

/** A service SAS of any fields, signed truly. */
export function madeSas(fields: Partial<SasFields>, resource = "/acct/c00/a/b", time = "", more = ""): string {
  const empty = { st: "", sip: "", spr: "", ses: "", ss: "", srt: "", si: "" };
  const overrides = { rscc: "", rscd: "", rsce: "", rscl: "", rsct: "" };
  const all: SasFields = { ...empty, ...overrides, sv: "2024-11-04", sp: "r", se: "2025-06-02", sr: "b", ...fields };
  const text = all.ss === "" ? serviceSasText(resource, time, all) : accountSasText(TEST_ACCOUNT, all);
  const pairs = Object.entries({ ...all, sig: sign(text, key) }).filter(([, value]) => value !== "");
  return pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&") + more;
}
