/** What Forebay says of itself is true and complete, and holds no secret. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService, SIM_ACCOUNT, SIM_KEY, type SimService } from "../../sim/lake/service.ts";
import { INDEX_FILE } from "../../src/flash/index-schema.ts";
import { headerOf } from "../../src/http/types.ts";
import { forebayCommand } from "../support/forebay.ts";
import { runChild } from "../support/process.ts";
import {
  ALL_SAS,
  admin,
  ask,
  childrenOf,
  cleanup,
  committed,
  metrics,
  pattern,
  readProc,
  type Up,
  until,
  up,
  warm,
} from "./harness.ts";

const MIB = 1 << 20;
const SIZE = 3 * MIB + 5;

const undo = cleanup();
const lake: SimService = createSimService();
/** Every request that the lake saw: its client's id for it and the id it gave. */
const seen: { clientId: string | undefined; requestId: string | undefined }[] = [];
let forebay: Up;
let folder = "";

beforeAll(async () => {
  for (let i = 0; i < 4; i++) lake.putBlob("frozen", `blob-${i}`, pattern(i, SIZE));
  const watched: SimService = {
    ...lake,
    handle: (request, context) => {
      const response = lake.handle(request, context);
      seen.push({
        clientId: headerOf(request.headers, "x-ms-client-request-id"),
        requestId: headerOf(response.headers, "x-ms-request-id"),
      });
      return response;
    },
  };
  const server = await startSimLakeServer(watched);
  undo.add(() => server.close());
  folder = undo.folder("says");
  forebay = await up({
    // The credential comes by the environment: of the supervisor alone.
    config: { policies: [{ path: "frozen/", maxStale: "immutable" }] },
    env: { FOREBAY_LAKE: server.connectionString },
    folder,
    servers: 2,
    extra: ["--access-log", join(folder, "access.log"), "--log-level", "debug"],
  });
  undo.add(() => forebay.stop(5_000));
}, 30_000);
afterAll(() => undo.run());

interface AccessLine {
  readonly path: string;
  readonly status: number;
  readonly result: string;
  readonly operation: string;
  readonly requestId: string;
  readonly clientRequestId?: string;
}

function accessLines(): AccessLine[] {
  const text = readFileSync(join(folder, "access.log"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as AccessLine);
}

test("metrics are Prometheus text, and what they count is what happened", async () => {
  const before = await metrics(forebay.adminUrl);
  await warm(forebay.blobUrl, "frozen/blob-0");
  await committed(forebay.adminUrl);
  const base = await metrics(forebay.adminUrl);
  const READS = 7;
  for (let i = 0; i < READS; i++) expect((await ask(forebay.blobUrl, "frozen/blob-0")).temperature).toBe("hit");
  const part = await ask(forebay.blobUrl, "frozen/blob-0", { first: 5, last: 104 });
  expect([part.status, part.bytes.length]).toEqual([206, 100]);
  const after = await metrics(forebay.adminUrl);
  const grown = (name: string, from: Map<string, number>): number => (after.get(name) ?? 0) - (from.get(name) ?? 0);
  expect(grown('forebay_requests_total{result="hit"}', base)).toBe(READS + 1);
  expect(grown('forebay_sent_bytes_total{source="flash"}', base)).toBe(READS * SIZE + 100);
  expect(grown("forebay_fill_bytes_total", before)).toBe(SIZE);
  expect(grown('forebay_first_byte_seconds_count{result="hit"}', base)).toBe(READS + 1);
  expect(after.get('forebay_first_byte_seconds_bucket{result="hit",le="+Inf"}')).toBe(
    after.get('forebay_first_byte_seconds_count{result="hit"}') ?? -1,
  );
  expect(after.get("forebay_flash_ok")).toBe(1);
  expect(after.get("forebay_flash_blobs")).toBe(1);
  expect(after.get("forebay_flash_used_bytes") ?? 0).toBeGreaterThanOrEqual(SIZE);
  expect(after.get('forebay_servers{state="answering"}')).toBe(2);
  expect(after.get(`forebay_lake_reachable{account="${SIM_ACCOUNT}"}`)).toBe(1);
  expect([...after.values()].every((value) => Number.isFinite(value) && value >= 0)).toBe(true);
  const { text } = await admin(forebay.adminUrl, "/metrics");
  const families = [...text.matchAll(/^# TYPE (\S+) (\w+)$/gm)];
  for (const [, name, type] of families) {
    expect(text).toContain(`# HELP ${name} `);
    expect([name, type === "counter"]).toEqual([name, name?.endsWith("_total") === true]);
  }
  expect(families.find(([, name]) => name === "forebay_first_byte_seconds")?.[2]).toBe("histogram");
}, 20_000);

test("counters do not fall when a server does", async () => {
  await warm(forebay.blobUrl, "frozen/blob-1");
  for (let i = 0; i < 10; i++) await ask(forebay.blobUrl, "frozen/blob-1");
  const before = await metrics(forebay.adminUrl);
  const server = childrenOf(forebay.pid).find((child) => child.role === "server");
  process.kill(server?.pid ?? 0, "SIGKILL");
  await until("the server to be back", 10_000, async () => {
    const samples = await metrics(forebay.adminUrl);
    const fallen = [...samples].filter(
      ([name, value]) => /_total|_count/.test(name) && value < (before.get(name) ?? 0),
    );
    expect(fallen).toEqual([]);
    const servers = childrenOf(forebay.pid).filter((child) => child.role === "server");
    return servers.length === 2 && samples.get('forebay_servers{state="answering"}') === 2;
  });
}, 20_000);

test("status --json has its fields, and the endpoints answer", async () => {
  const address = new URL(forebay.adminUrl).host;
  const command = forebayCommand(["status", "--json", "--admin", address]);
  const { status, stdout } = await runChild({ name: "forebay status", command }, 20_000);
  expect(status).toBe(0);
  const report = JSON.parse(stdout) as Record<string, unknown>;
  expect(report).toEqual(JSON.parse((await admin(forebay.adminUrl, "/api/v1/status")).text) ? report : {});
  expect(report).toMatchObject({ ready: true, problems: [], servers: 2, flash: { state: "ok", path: forebay.flash } });
  expect(report["lakes"]).toMatchObject([{ account: SIM_ACCOUNT, reachable: true, credential: "key", problem: null }]);
  expect(report["totals"]).toMatchObject({ errors: {} });
  const { totals, hitRatio } = report as { totals: Record<string, number>; hitRatio: number };
  expect(totals["hits"]).toBeGreaterThan(0);
  expect(totals["bytesFromFlash"]).toBeGreaterThan(SIZE);
  expect(hitRatio).toBeGreaterThan(0);
  expect((await admin(forebay.adminUrl, "/healthz")).text).toBe("ok\n");
  expect((await admin(forebay.adminUrl, "/nothing")).status).toBe(404);
  expect((await fetch(`${forebay.adminUrl}/healthz`, { method: "POST" })).status).toBe(405);
}, 30_000);

describe("the access log", () => {
  test("has the ids that the lake saw, and no query", async () => {
    const ids = (name: string) => ({ headers: { "x-ms-client-request-id": name } });
    await ask(forebay.blobUrl, "frozen?restype=container&comp=list&x=1", ids("a list")).catch(() => null);
    const listed = await fetch(`${forebay.blobUrl}/frozen?restype=container&comp=list&${ALL_SAS}`, {
      headers: { "x-ms-version": "2022-11-02", "x-ms-client-request-id": "the-list" },
    });
    await listed.text();
    expect(listed.status).toBe(200);
    await ask(forebay.blobUrl, "frozen/blob-2", ids("the-miss"));
    await warm(forebay.blobUrl, "frozen/blob-2");
    await ask(forebay.blobUrl, "frozen/blob-2", ids("the-hit"));
    const lines = accessLines();
    const lineOf = (id: string): AccessLine | undefined => lines.find((line) => line.clientRequestId === id);
    const list = lineOf("the-list");
    expect(list).toMatchObject({ status: 200, result: "forward", path: `/${SIM_ACCOUNT}/frozen` });
    expect(list?.requestId).toBe(seen.find((one) => one.clientId === "the-list")?.requestId ?? "none");
    expect(lineOf("the-miss")).toMatchObject({ status: 200, result: "miss", operation: "GetBlob" });
    expect(seen.some((one) => one.clientId === "the-miss")).toBe(true);
    expect(lineOf("the-hit")).toMatchObject({ status: 200, result: "hit" });
    expect(seen.some((one) => one.clientId === "the-hit")).toBe(false);
    for (const line of lines) expect(line.path).not.toContain("?");
    for (const line of lines) expect(line.requestId).not.toBe("");
  }, 20_000);
});

test("no secret in logs, metrics, status, command lines, environments or on flash", async () => {
  // Something for the logs to say: a refused signature, a target that is none, a blob that is not there.
  const forged = ALL_SAS.replace(/sig=[^&]*/, "sig=Zm9yZ2VkLXNpZ25hdHVyZQ%3D%3D");
  await fetch(`${forebay.blobUrl}/frozen/blob-0?${forged}`);
  await fetch(`${forebay.blobUrl}/frozen/none?${ALL_SAS}`);
  await fetch(`http://127.0.0.1:${forebay.port}/nobody/frozen/blob-0?${ALL_SAS}`);
  await fetch(`${forebay.blobUrl}/frozen/blob-0`, { headers: { Authorization: "Bearer secret-bearer-token" } });
  const signature = /sig=([^&]*)/.exec(ALL_SAS)?.[1] ?? "";
  const secrets = [SIM_KEY, signature, decodeURIComponent(signature), "sig=", "Zm9yZ2Vk", "secret-bearer-token"];
  const texts = new Map<string, string>();
  texts.set("the log", forebay.logs());
  texts.set("the access log", readFileSync(join(folder, "access.log"), "latin1"));
  for (const path of ["/metrics", "/api/v1/status", "/readyz", "/"]) {
    texts.set(path, (await admin(forebay.adminUrl, path)).text);
  }
  const children = childrenOf(forebay.pid);
  expect(children.length).toBe(3);
  for (const { pid, role } of [...children, { pid: forebay.pid, role: "supervisor" }]) {
    texts.set(`the command line of the ${role}`, readProc(pid, "cmdline"));
    if (role !== "supervisor") texts.set(`the environment of the ${role} ${pid}`, readProc(pid, "environ"));
  }
  for (const name of readdirSync(forebay.flash)) {
    const path = join(forebay.flash, name);
    if (statSync(path).isFile()) texts.set(path, readFileSync(path, "latin1"));
  }
  for (const [where, text] of texts) {
    for (const secret of secrets) expect([where, secret, text.includes(secret)]).toEqual([where, secret, false]);
  }
  for (const path of [forebay.flash, join(forebay.flash, INDEX_FILE)]) {
    expect([path, statSync(path).mode & 0o077 & (statSync(path).isDirectory() ? 0o077 : 0)]).toEqual([path, 0]);
  }
}, 20_000);
