import { expect, test } from "bun:test";
import { layoutOf } from "./layout.ts";
import { parseQuery } from "./query.ts";
import { noPolicies } from "./sas.ts";
import { createAccountSas } from "./sas-text.ts";
import { parseTarget } from "./target.ts";
import { capture, TEST_KEYS } from "./test-client.ts";
import { credentialKind, judge } from "./verdict.ts";

const NOW = Date.UTC(2025, 5, 1);
const [key] = TEST_KEYS;
if (key === undefined) throw new Error("a key");
const SAS = createAccountSas("acct", key, { permissions: "r", expiresAtMs: NOW + 1000 });

test("kinds of credential", () => {
  const kind = (headers: string[], query = "") => credentialKind(layoutOf(headers), headers, parseQuery(query));
  expect(kind([])).toBe("anonymous");
  expect(kind(["authorization", "SharedKey a:b"])).toBe("shared-key");
  expect(kind(["Authorization", "SharedKeyLite a:b"])).toBe("shared-key");
  expect(kind(["Authorization", "bearer x"])).toBe("bearer");
  expect(kind(["Authorization", "Basic x"])).toBe("other");
  expect(kind(["Authorization", ""])).toBe("other");
  expect(kind([], "?sig=x")).toBe("sas");
  expect(kind([], "?%53IG=x")).toBe("sas");
  expect(kind([], "?se=x")).toBe("sas");
  expect(kind([], "?skoid=x")).toBe("sas");
  expect(kind(["Authorization", "Bearer x"], "?sig=x")).toBe("mixed");
  expect(kind(["Authorization", "Bearer x", "AUTHORIZATION", "Bearer x"])).toBe("mixed");
});

function judged(target: string, headers: string[], nowMs = NOW) {
  const parsed = parseTarget(target, "127.0.0.1", new Set(["acct"]));
  if (parsed === null) throw new Error("a target");
  const query = parseQuery(parsed.query);
  const client = { clientAddress: "10.0.0.1", secure: false, policies: noPolicies };
  return judge({
    method: "GET",
    target: parsed,
    query,
    headers,
    layout: layoutOf(headers),
    operation: "GetBlob",
    keys: TEST_KEYS,
    nowMs,
    ...client,
  });
}

test("each kind has its verdict", async () => {
  expect(judged("/acct/c00/b", []).verdict).toBe("unknown");
  expect(judged("/acct/c00/b", ["Authorization", "Bearer x"]).verdict).toBe("unknown");
  expect(judged("/acct/c00/b", ["Authorization", "Basic x"]).verdict).toBe("unknown");
  expect(judged(`/acct/c00/b?${SAS}`, [])).toEqual({ verdict: "yes", expiresAtMs: NOW + 1000 });
  expect(judged(`/acct/c00/b?${SAS}`, ["Authorization", "Bearer x"]).verdict).toBe("unknown");
  expect(judged(`/acct/c00/b?${SAS}&sip=1.2.3.4`, ["Authorization", "Bearer x"])).toMatchObject({ localOnly: true });
  const [sent] = await capture("http://127.0.0.1/acct", (c) =>
    c.getContainerClient("c00").getBlobClient("b").download(),
  );
  if (sent === undefined) throw new Error("a request");
  const nowMs = Date.parse(sent.headers[sent.headers.indexOf("x-ms-date") + 1] ?? "");
  expect(judged(sent.target, sent.headers, nowMs).verdict).toBe("yes");
  expect(judged(`${sent.target}?${SAS}`, sent.headers, nowMs).verdict).toBe("unknown");
});
