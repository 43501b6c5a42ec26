import { afterEach, describe, expect, test } from "bun:test";
import { createStats, observeLatency, type Stats } from "../engine/stats.ts";
import { renderMetrics } from "./metrics.ts";
import { type AdminServer, startAdminServer } from "./server.ts";
import { problemsOf, statusReport } from "./status.ts";
import type { AdminSources, FlashView, LakeView } from "./types.ts";

const FLASH: FlashView = {
  path: "/flash",
  usedBytes: 10,
  boundBytes: 100,
  versions: 3,
  state: "ok",
  ok: true,
  evictedVersions: 2,
  evictedBytes: 7,
  counters: { failed_commits: 1 },
  gauges: { pending_blocks: 4 },
};

const LAKE: LakeView = {
  account: "acc",
  url: "https://acc.example",
  reachable: true,
  credential: "key",
  latencyMs: 12,
  clockSkewMs: 3,
  problem: null,
};

function counted(change: (stats: Stats) => void): Stats {
  const stats = createStats();
  change(stats);
  return stats;
}

interface World {
  flash: FlashView;
  lakes: readonly LakeView[];
  stats: readonly Stats[];
  answering: number;
}

function sources(world: Partial<World> = {}): AdminSources {
  const { flash = FLASH, lakes = [LAKE], stats = [createStats()], answering = 1 } = world;
  return {
    version: "1.2.3",
    startedAtMs: 1_000,
    nowMs: () => 61_000,
    lakes: () => lakes,
    policies: () => [{ path: "a/", maxStaleMs: "immutable", onLakeOutage: "fail", verdict: "blob" }],
    flash: () => flash,
    servers: async () => ({ stats, answering, expected: 1 }),
  };
}

describe("status", () => {
  test("adds up what the servers counted", async () => {
    const one = counted((stats) => {
      stats.hits = 3;
      stats.bytesFromFlash = 300;
      stats.lakeRequests = { "fill.206": 2, "check.200": 1, "forward.200": 9 };
      stats.errors = { internal: 1 };
    });
    const two = counted((stats) => {
      stats.misses = 1;
      stats.bytesFilled = 50;
      stats.bytesForwarded = 5;
      stats.lakeRequests = { "fill.206": 1, "verdict.403": 1 };
    });
    const report = await statusReport(sources({ stats: [one, two] }));
    expect(report).toMatchObject({ version: "1.2.3", uptimeMs: 60_000, ready: true, problems: [], hitRatio: 0.75 });
    expect(report.totals).toMatchObject({ hits: 3, misses: 1, bytesFromFlash: 300, bytesFromLake: 55, lakeReads: 5 });
    expect(report.totals.errors).toEqual({ internal: 1 });
    expect(report.flash).toMatchObject({ usedBytes: 10, blobs: 3, evictions: 2, state: "ok" });
  });

  test("no reads yet: no ratio", async () => {
    expect((await statusReport(sources())).hitRatio).toBeNull();
  });

  test("each problem is one sentence", () => {
    const broken = { ...FLASH, ok: false, state: "no space" };
    const away = { ...LAKE, problem: "no answer" };
    expect(problemsOf(broken, [LAKE, away], 1, 2)).toEqual([
      "flash: no space; reads are served from the lake",
      "lake acc: no answer",
      "servers: 1 of 2 answer",
    ]);
    expect(problemsOf(FLASH, [LAKE], 2, 2)).toEqual([]);
  });
});

describe("metrics", () => {
  test("every family has its help and type once, and every line is one of the format", async () => {
    const stats = counted((one) => {
      one.hits = 2;
      one.forwardReasons = { operation: 4 };
      one.lakeRequests = { "fill.206": 1, "check.lake-unreachable": 2 };
      observeLatency(one, "hit", 0.125);
      observeLatency(one, "hit", 3);
      observeLatency(one, "hit", 60_000);
    });
    const text = await renderMetrics(sources({ stats: [stats] }));
    const lines = text.split("\n").filter((line) => line !== "");
    for (const line of lines) {
      expect(line).toMatch(/^(# (HELP|TYPE) [a-z_0-9]+ .+|[a-z_0-9]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? \S+)$/);
    }
    const families = lines.filter((line) => line.startsWith("# TYPE")).map((line) => line.split(" ")[2]);
    expect(new Set(families).size).toBe(families.length);
    for (const expected of [
      'forebay_requests_total{result="hit"} 2',
      'forebay_forwards_total{reason="operation"} 4',
      'forebay_lake_requests_total{kind="check",outcome="lake-unreachable"} 2',
      "forebay_flash_failed_commits_total 1",
      "forebay_flash_pending_blocks 4",
      'forebay_lake_reachable{account="acc"} 1',
      'forebay_first_byte_seconds_bucket{result="hit",le="0.00025"} 1',
      'forebay_first_byte_seconds_bucket{result="hit",le="0.005"} 2',
      'forebay_first_byte_seconds_bucket{result="hit",le="10"} 2',
      'forebay_first_byte_seconds_bucket{result="hit",le="+Inf"} 3',
      'forebay_first_byte_seconds_sum{result="hit"} 60.003125',
      'forebay_first_byte_seconds_count{result="hit"} 3',
    ]) {
      expect(lines).toContain(expected);
    }
  });

  test("the same again at the next scrape: nothing is counted twice", async () => {
    const given = sources({ stats: [{ ...createStats(), hits: 2 }] });
    expect(await renderMetrics(given)).toBe(await renderMetrics(given));
  });
});

describe("the endpoint", () => {
  let server: AdminServer | null = null;
  afterEach(() => server?.stop());

  async function get(path: string, given = sources(), method = "GET"): Promise<[number, string]> {
    server = startAdminServer("127.0.0.1", 0, given);
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
    const text = await response.text();
    await server.stop();
    return [response.status, text];
  }

  test("says whether it lives and is ready", async () => {
    expect(await get("/healthz")).toEqual([200, "ok\n"]);
    expect(await get("/readyz")).toEqual([200, "ready\n"]);
    const broken = sources({ flash: { ...FLASH, ok: false, state: "gone" }, answering: 0 });
    const problems = "flash: gone; reads are served from the lake\nservers: 0 of 1 answer\n";
    expect(await get("/readyz", broken)).toEqual([503, problems]);
    expect(await get("/healthz", broken)).toEqual([200, "ok\n"]);
  });

  test("gives status and metrics, and nothing else", async () => {
    const [status, text] = await get("/api/v1/status");
    expect([status, (JSON.parse(text) as { version: string }).version]).toEqual([200, "1.2.3"]);
    expect((await get("/metrics?x=1"))[0]).toBe(200);
    expect((await get("/api/v1/status/"))[0]).toBe(404);
    expect((await get("/metrics", sources(), "POST"))[0]).toBe(405);
    expect((await get("/healthz", sources(), "HEAD"))[0]).toBe(200);
  });

  test("a failure inside is a 500 without its text", async () => {
    const failing = { ...sources(), servers: () => Promise.reject(new Error("a secret path")) };
    const [status, text] = await get("/metrics", failing);
    expect([status, text.includes("secret")]).toEqual([500, false]);
  });

  test("a taken port throws", () => {
    server = startAdminServer("127.0.0.1", 0, sources());
    const { port } = server;
    expect(() => startAdminServer("127.0.0.1", port, sources())).toThrow();
  });
});
