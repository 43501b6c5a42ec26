import { describe, expect, test } from "bun:test";
import { BACK, LAST_MODIFIED_MS, pendingScene } from "../../sim/pending-scene.ts";
import { headerOf } from "../http/types.ts";
import { parseQuery } from "./query.ts";
import { verifySharedKey } from "./shared-key.ts";
import { TEST_KEYS } from "./test-client.ts";

const OURS = '"0x0F0000000000001"';
const LAKES = '"0x8DE000000000001"';
const DATE = "Thu, 01 Jan 2026 00:00:09 GMT";
const LATER = "Thu, 01 Jan 2026 00:00:10 GMT";

/** `b` of `c00` was carried to the lake. */
function carried() {
  const it = pendingScene();
  it.rules = [BACK];
  it.desk.alias = async ({ blob }) =>
    blob === "b" ? { etag: OURS, lastModifiedMs: LAST_MODIFIED_MS, lakeEtag: LAKES } : null;
  return it;
}

/** The conditions that the lake is asked with, sorted; and whether the signature still holds. */
async function asked(it: ReturnType<typeof carried>, method: string, target: string, headers: readonly string[]) {
  it.forwarded.length = 0;
  await it.send(method, target, headers, method === "PUT" ? new Uint8Array(0) : undefined);
  const [sent] = it.forwarded;
  if (sent === undefined) throw new Error("nothing was forwarded");
  const all = [...sent.headers, ...(method === "PUT" ? ["Content-Length", "0"] : [])];
  const request = { method, wirePath: sent.path, query: parseQuery(sent.query), headers: all };
  const { verdict } = verifySharedKey(request, "acct", TEST_KEYS, it.clock.wallMs()).verdict;
  const pairs: string[] = [];
  for (let i = 0; i < sent.headers.length; i += 2) {
    const name = (sent.headers[i] ?? "").toLowerCase();
    if (/^(x-ms-source-)?if-/.test(name)) pairs.push(`${name}: ${sent.headers[i + 1]}`);
  }
  return { conditions: pairs.sort(), verdict };
}

describe("a condition that names what Forebay called a version", () => {
  const cases: [string[], string[]][] = [
    [["If-Match", OURS], [`if-match: ${LAKES}`]],
    [["If-None-Match", OURS], [`if-none-match: ${LAKES}`]],
    [["If-Match", OURS.replaceAll('"', "")], [`if-match: ${LAKES}`]],
    [["If-Match", '"0x0F0000000000002"'], ['if-match: "0x0F0000000000002"']],
    [["If-Match", '"0x8D7"'], ['if-match: "0x8D7"']],
    [["If-None-Match", "*"], ["if-none-match: *"]],
    [["If-Unmodified-Since", DATE], [`if-match: ${LAKES}`]],
    [["If-Modified-Since", DATE], [`if-none-match: ${LAKES}`]],
    [["If-Unmodified-Since", LATER], [`if-unmodified-since: ${LATER}`]],
    [["If-Match", OURS, "If-Unmodified-Since", DATE], [`if-match: ${LAKES}`]],
    [
      ["If-Match", '"0x8D7"', "If-Unmodified-Since", DATE],
      ['if-match: "0x8D7"', `if-unmodified-since: ${DATE}`],
    ],
  ];
  test("goes to the lake in the lake's terms, signed again", async () => {
    const it = carried();
    for (const [headers, expected] of cases) {
      const found = await asked(it, "PUT", "/acct/c00/b?comp=metadata", headers);
      expect([headers, found]).toEqual([headers, { conditions: expected, verdict: "yes" }]);
    }
  });

  test("stays as it is for a blob of which the lake's name is not known", async () => {
    const it = carried();
    const found = await asked(it, "PUT", "/acct/c00/other?comp=metadata", ["If-Match", OURS]);
    expect(found).toEqual({ conditions: [`if-match: ${OURS}`], verdict: "yes" });
  });

  test("asks nobody where the ETag is the lake's, and the desk once for a blob that did not change", async () => {
    const it = carried();
    await asked(it, "PUT", "/acct/c00/b?comp=lease", ["If-Match", LAKES]);
    expect(it.events).not.toContain("alias");
    for (let i = 0; i < 3; i++) await it.send("GET", "/acct/c00/b", ["If-Match", OURS]);
    expect(it.events.filter((event) => event === "alias")).toHaveLength(1);
  });

  test("of a copy's source is put into terms of the source", async () => {
    const it = carried();
    const source = ["x-ms-copy-source", "https://acct.blob.core.windows.net/c00/b", "x-ms-source-if-match", OURS];
    const found = await asked(it, "PUT", "/acct/c11/copy", [...source, "If-None-Match", OURS]);
    const expected = [`if-none-match: ${OURS}`, `x-ms-source-if-match: ${LAKES}`];
    expect(found).toEqual({ conditions: expected, verdict: "yes" });
  });

  test("holds on flash for the lake's version that it means", async () => {
    const it = carried();
    let said: boolean | undefined;
    it.reading = (request) => {
      said = request.conditionsHold?.(["ETag", LAKES, "Last-Modified", LATER]);
      return { kind: "forward", why: "test" };
    };
    const judged = async (...headers: string[]) => {
      await it.send("GET", "/acct/c00/b", headers);
      return said;
    };
    expect(await judged("If-Match", OURS)).toBe(true);
    expect(await judged("If-None-Match", OURS)).toBe(false);
    expect(await judged("If-Unmodified-Since", DATE)).toBe(true);
    expect(await judged("If-Modified-Since", DATE)).toBe(false);
    expect(await judged("If-Match", '"0x0F0000000000002"')).toBe(false);
  });

  test("is translated under a token, too", async () => {
    const it = carried();
    await it.send("GET", "/acct/c00/b", ["Authorization", "Bearer e30.e30.e30", "If-Match", OURS]);
    expect(headerOf(it.forwarded[0]?.headers ?? [], "if-match")).toBe(LAKES);
  });
});
