import { describe, expect, test } from "bun:test";
import { BACK, inlineContent, pendingPut, pendingScene } from "../../sim/pending-scene.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { headerOf } from "../http/types.ts";

const BODY = new TextEncoder().encode("x");
const PUT = ["x-ms-blob-type", "BlockBlob"];

/** `b` of `c00` has a pending put. */
function owing() {
  const it = pendingScene();
  it.desk.latest = async ({ blob }) => (blob === "b" ? pendingPut("b", 1, inlineContent(1)) : null);
  it.owe("b");
  return it;
}

/** The fences and flushes that a request brought about, before the lake was asked. */
async function reach(
  it: ReturnType<typeof pendingScene>,
  method: string,
  target: string,
  headers: readonly string[] = [],
  body?: Uint8Array,
): Promise<string[]> {
  it.events.length = 0;
  await it.send(method, target, headers, body);
  const lake = it.events.findIndex((event) => event.startsWith("lake "));
  return it.events.slice(0, lake).filter((event) => event.startsWith("f"));
}

describe("a request that only the lake can answer", () => {
  test("finds what is pending in its reach carried first; a change holds back what would follow until its answer", async () => {
    const it = owing();
    it.answer = async () => {
      expect(it.events).not.toContain("unfence 7");
      return { status: 201 };
    };
    await it.send("PUT", "/acct/c00/b?comp=metadata", [], new Uint8Array());
    expect(it.events).toEqual(["fence acct/c00/b", "lake PUT /acct/c00/b", "unfence 7"]);
  });

  test("reaches as far as its operation does", async () => {
    const it = owing();
    const cases: [string, string, string[]][] = [
      ["PUT", "/acct/c00/b?comp=tier", ["fence acct/c00/b"]],
      ["PUT", "/acct/c00/b?comp=snapshot", ["fence acct/c00/b"]],
      ["PUT", "/acct/c00/b?comp=lease", ["fence acct/c00/b"]],
      ["PUT", "/acct/c00/b?comp=block&blockid=QQ==", ["fence acct/c00/b"]],
      ["PUT", "/acct/c00/b?comp=tier&strange=1", ["fence acct/c00/"]],
      ["DELETE", "/acct/c00?restype=container", ["fence acct/c00/"]],
      ["PUT", "/acct/c00?restype=container&comp=lease", []],
      ["PUT", "/acct/c00?restype=container&comp=acl", []],
      ["GET", "/acct/c00?restype=container&comp=acl", []],
      ["GET", "/acct/?comp=list", []],
      ["GET", "/acct/?comp=blobs&where=x", ["flush acct//"]],
      ["GET", "/acct/c00?restype=container&comp=list&include=versions", ["flush acct/c00/"]],
      ["GET", "/acct/c00?restype=container&comp=list&include=uncommittedblobs", ["fence acct/c00/"]],
      ["GET", "/acct/c00/b?comp=tags", ["flush acct/c00/b"]],
      ["GET", "/acct/c00/b?comp=metadata&snapshot=2026-01-01T00:00:00.0000000Z", []],
      ["GET", "/acct/c00/b?comp=blocklist", ["fence acct/c00/b"]],
      ["PUT", "/acct/c00/other?comp=metadata", []],
      ["DELETE", "/acct/c11?restype=container", []],
    ];
    for (const [method, target, expected] of cases) {
      expect([target, await reach(it, method, target)]).toEqual([target, expected]);
    }
    expect(await reach(it, "GET", "/acct/c00/b", ["x-ms-lease-id", "0"])).toEqual(["flush acct/c00/b"]);
  });

  test("that only looks at blocks lets writers go on before it is answered", async () => {
    const it = owing();
    await it.send("GET", "/acct/c00/b?comp=blocklist");
    expect(it.events).toEqual(["fence acct/c00/b", "unfence 7", "lake GET /acct/c00/b"]);
  });

  test("that copies has its source carried first, at whatever address it names it", async () => {
    const it = owing();
    const copy = (url: string) => reach(it, "PUT", "/acct/c11/new", ["x-ms-copy-source", url], new Uint8Array());
    expect(await copy("http://forebay.invalid/acct/c00/b")).toEqual(["flush acct/c00/b"]);
    expect(await copy("https://acct.blob.core.windows.net/c00/b?sig=x")).toEqual(["flush acct/c00/b"]);
    expect(await copy("https://acct.blob.core.windows.net/c00/b?snapshot=2026-01-01T00%3A00%3A00.0000000Z")).toEqual(
      [],
    );
    expect(await copy("https://elsewhere.example/c00/b")).toEqual([]);
  });

  test("in a batch has each part's blob carried, in one order for everybody", async () => {
    const it = owing();
    it.owe("a");
    let fences = 0;
    it.desk.fence = async () => ++fences;
    const part = (blob: string) =>
      `--batch\r\nContent-Type: application/http\r\n\r\nDELETE /acct/c00/${blob} HTTP/1.1\r\nContent-Length: 0\r\n\r\n`;
    const body = Buffer.from(`${part("b")}${part("a")}${part("z")}--batch--\r\n`);
    const type = ["Content-Type", "multipart/mixed; boundary=batch"];
    const got = await reach(it, "POST", "/acct/?comp=batch", type, body);
    expect(got).toEqual(["flush acct/c00/b", "fence acct/c00/a", "fence acct/c00/b"]);
    expect(it.events.slice(-2)).toEqual(["unfence 1", "unfence 2"]);
  });

  test("is fenced on paths of write-back even where nothing is pending, but for a block", async () => {
    const it = pendingScene();
    it.rules = [BACK];
    expect(await reach(it, "PUT", "/acct/c00/q?comp=metadata")).toEqual(["fence acct/c00/q"]);
    expect(await reach(it, "PUT", "/acct/c00/q?comp=block&blockid=QQ==", [], BODY)).toEqual([]);
    expect(await reach(it, "DELETE", "/acct/c00?restype=container")).toEqual(["fence acct/c00/"]);
    expect(await reach(it, "PUT", "/acct/c11/q?comp=metadata")).toEqual([]);
    expect(await reach(it, "GET", "/acct/c00/q?comp=tags")).toEqual([]);
    // Without a desk nothing is acknowledged that would have to wait.
    it.desk.fence = () => Promise.reject(new ForebayError("closed", "away"));
    expect((await it.send("PUT", "/acct/c00/q?comp=metadata")).status).toBe(200);
  });

  test("holds nobody back without a credential, or with a false one", async () => {
    const it = owing();
    it.rules = [BACK];
    expect(await reach(it, "PUT", "/acct/c00/b?comp=metadata", ["x-anonymous", "1"])).toEqual([]);
    const wrong = ["Authorization", `SharedKey acct:${Buffer.alloc(32).toString("base64")}`];
    expect(await reach(it, "PUT", "/acct/c00/b?comp=metadata", wrong)).toEqual(["flush acct/c00/b"]);
    expect(await reach(it, "PUT", "/acct/c00/b?comp=metadata", ["Authorization", "Bearer e30.e30.e30"])).toEqual([
      "fence acct/c00/b",
    ]);
  });

  test("is refused as busy when what is in its way is not carried in time, or is parked", async () => {
    for (const code of ["timeout", "overloaded"] as const) {
      const it = owing();
      it.desk.fence = () => Promise.reject(new ForebayError(code, "in the way"));
      const got = await it.send("PUT", "/acct/c00/b?comp=metadata");
      expect([got.status, headerOf(got.headers, "x-ms-error-code")]).toEqual([503, "ServerBusy"]);
      expect(headerOf(got.headers, "retry-after")).toBe("1");
      expect(it.forwarded).toHaveLength(0);
    }
    const away = owing();
    away.desk.fence = () => Promise.reject(new ForebayError("closed", "away"));
    const startMs = away.clock.monotonicMs();
    expect((await away.send("PUT", "/acct/c00/b?comp=metadata")).status).toBe(503);
    expect(away.clock.monotonicMs() - startMs).toBeLessThanOrEqual(limits.fenceWaitMs);
    expect(away.forwarded).toHaveLength(0);
  });

  test("lets go of its fences when the lake is lost, and of those raised when a later one is not had", async () => {
    const it = owing();
    it.answer = () => Promise.reject(new ForebayError("lake-lost", "gone"));
    await it.send("PUT", "/acct/c00/b?comp=metadata");
    expect(it.events.at(-1)).toBe("unfence 7");
    const two = owing();
    two.owe("a");
    two.desk.fence = async ({ blob }) => {
      if (blob === "b") throw new ForebayError("timeout", "late");
      return 5;
    };
    const part = (blob: string) =>
      `--batch\r\nContent-Type: application/http\r\n\r\nDELETE /acct/c00/${blob} HTTP/1.1\r\nContent-Length: 0\r\n\r\n`;
    const type = ["Content-Type", "multipart/mixed; boundary=batch"];
    const body = Buffer.from(`${part("a")}${part("b")}--batch--\r\n`);
    expect((await two.send("POST", "/acct/?comp=batch", type, body)).status).toBe(503);
    expect(two.events.at(-1)).toBe("unfence 5");
  });

  test("with x-forebay-flush has all before it in the container carried, and the lake does not hear of the header", async () => {
    const it = owing();
    it.rules = [BACK];
    const got = await reach(it, "PUT", "/acct/c00/q", [...PUT, "x-forebay-flush", "true", "If-Match", '"0x8D1"'], BODY);
    expect(got).toEqual(["flush acct/c00/", "fence acct/c00/q"]);
    expect(it.forwarded[0]?.headers.some((name) => name.toLowerCase().startsWith("x-forebay"))).toBe(false);
    expect(await reach(it, "GET", "/acct/c00/b", ["x-forebay-flush", "true"])).toEqual([
      "flush acct/c00/",
      "flush acct/c00/b",
    ]);
  });

  test("says that a change of a write-back path is durable in the lake", async () => {
    const it = pendingScene();
    it.rules = [BACK];
    const durability = async (method: string, target: string) =>
      headerOf((await it.send(method, target)).headers, "x-forebay-durability");
    expect(await durability("PUT", "/acct/c00/q?comp=metadata")).toBe("lake");
    expect(await durability("GET", "/acct/c00/q?comp=tags")).toBeUndefined();
    expect(await durability("PUT", "/acct/c11/q?comp=metadata")).toBeUndefined();
    it.answer = async () => ({ status: 412 });
    expect(await durability("PUT", "/acct/c00/q?comp=metadata")).toBeUndefined();
  });

  test("waits until it is known what is pending where that may be something", async () => {
    const it = pendingScene();
    Object.assign(it.generations.owed, { known: () => false });
    expect((await it.send("PUT", "/acct/c00/q?comp=metadata")).status).toBe(200);
    it.rules = [BACK];
    expect((await it.send("PUT", "/acct/c00/q?comp=metadata")).status).toBe(503);
    it.clock.after(limits.owedKnownWaitMs / 2, () => Object.assign(it.generations.owed, { known: () => true }));
    expect((await it.send("PUT", "/acct/c00/q?comp=metadata")).status).toBe(200);
  });
});
