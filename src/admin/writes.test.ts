import { afterEach, describe, expect, test } from "bun:test";
import { createStats } from "../engine/stats.ts";
import { OPERATOR_HEADER } from "./guard.ts";
import { renderMetrics } from "./metrics.ts";
import { type AdminServer, startAdminServer } from "./server.ts";
import { statusReport } from "./status.ts";
import type { AdminSources, EntryView, FlushOutcome, FlushRequest, Left, WriteActions, WritesView } from "./types.ts";
import { writesProblems } from "./writes-problems.ts";

const CALM: WritesView = {
  pendingEntries: 2,
  pendingBytes: 1_000,
  oldestAgeMs: 90_000,
  parkedEntries: 0,
  conflictedEntries: 0,
  asideEntries: 0,
  stagedBlocks: 3,
  stagedBytes: 300,
  journalBytes: 64,
  ok: true,
  state: "ok",
  durability: "flash",
  drain: {
    carriedEntries: 7,
    carriedBytes: 700,
    uploadsNow: 1,
    bytesPerSecondMax: 5_000,
    retries: 2,
    throttled: 1,
    conflicts: 4,
    parked: 5,
    pendingNamesFailure: null,
  },
  paths: [{ path: "ckpt/", oldestAgeMs: 90_000, maxUnflushedMs: 100_000, stuck: null }],
  attention: [],
};

const ENTRY: EntryView = {
  seq: 12,
  kind: "put",
  state: "parked",
  reason: "the lake refused it: AuthorizationFailure",
  sideName: null,
  path: "ckpt/",
  account: "acc",
  container: "ckpt",
  blob: "model.bin",
  sizeBytes: 5,
  acknowledgedAtMs: 1,
  ageMs: 2,
  next: "mend it",
};

function sources(writes: WritesView | null, actions: WriteActions | null = null): AdminSources {
  return {
    version: "1.2.3",
    startedAtMs: 0,
    nowMs: () => 0,
    lakes: () => [],
    policies: () => [],
    flash: () => ({
      path: "/flash",
      usedBytes: 0,
      boundBytes: 1,
      versions: 0,
      state: "ok",
      ok: true,
      evictedVersions: 0,
      evictedBytes: 0,
      counters: {},
      gauges: {},
    }),
    servers: async () => ({ stats: [createStats()], answering: 1, expected: 1 }),
    writes: () => writes,
    writeActions: () => actions,
  };
}

describe("what is not in the lake yet", () => {
  test("is part of the status; work that gets on is no problem", async () => {
    expect(await statusReport(sources(CALM))).toMatchObject({ ready: true, writes: CALM });
    expect((await statusReport(sources(null))).writes).toBeNull();
  });

  test("a journal that fails, parked entries and age are problems, one sentence each", () => {
    const waiting = { ...CALM, parkedEntries: 2, attention: [ENTRY] };
    const old = { path: "ckpt/", oldestAgeMs: 100_001, maxUnflushedMs: 100_000 };
    expect(writesProblems(CALM)).toEqual([]);
    expect(writesProblems({ ...CALM, ok: false, state: "EIO" })).toEqual([
      "journal: EIO; nothing is acknowledged on flash until it can be written",
    ]);
    expect(writesProblems(waiting)).toEqual([
      "writes: 2 entries are parked (#12 of ckpt/: the lake refused it: AuthorizationFailure); see forebay journal list",
    ]);
    expect(writesProblems({ ...CALM, paths: [{ ...old, stuck: { reason: "no answer", forMs: 1 } }] })).toEqual([
      'writes: the oldest of "ckpt/" that the lake does not have is 100 s old, 100 s are allowed (maxUnflushed); no answer',
    ]);
    expect(writesProblems({ ...CALM, paths: [{ ...old, maxUnflushedMs: null, stuck: null }] })).toEqual([]);
  });

  test("metrics", async () => {
    const lines = (await renderMetrics(sources(CALM))).split("\n");
    for (const line of [
      "forebay_writeback_pending_entries 2",
      "forebay_writeback_pending_bytes 1000",
      "forebay_writeback_oldest_unflushed_seconds 90",
      'forebay_writeback_path_oldest_unflushed_seconds{path="ckpt/"} 90',
      'forebay_writeback_path_stuck{path="ckpt/"} 0',
      "forebay_writeback_paths_overdue 0",
      "forebay_writeback_parked_entries 0",
      "forebay_writeback_staged_bytes 300",
      "forebay_writeback_journal_ok 1",
      "forebay_writeback_rate_limit_bytes 5000",
      "forebay_writeback_drained_bytes_total 700",
      "forebay_writeback_drained_entries_total 7",
      "forebay_writeback_conflicts_total 4",
      "forebay_writeback_parked_total 5",
      "forebay_writeback_pending_names_ok 1",
    ]) {
      expect(lines).toContain(line);
    }
    expect(await renderMetrics(sources(null))).not.toContain("writeback");
  });
});

describe("the operator's part", () => {
  let server: AdminServer | null = null;
  afterEach(() => server?.stop());

  interface Calls {
    readonly decisions: [number, string][];
    readonly flushes: FlushRequest[];
    readonly queries: unknown[];
  }

  function fake(more: Partial<WriteActions> = {}): WriteActions & Calls {
    const calls: Calls = { decisions: [], flushes: [], queries: [] };
    return {
      ...calls,
      entries: (query) => {
        calls.queries.push(query);
        return { entries: [ENTRY], more: false };
      },
      entry: (seq) => (seq === 12 ? ENTRY : null),
      decide: async (seq, decision) => {
        calls.decisions.push([seq, decision]);
        if (seq !== 12) return { result: "gone" };
        if (decision === "dismiss") return { result: "refused", state: "parked", reason: "it is parked" };
        return { result: "done", state: decision };
      },
      scopeProblem: (scope) => (scope === "bad" ? "no such thing" : null),
      flush: async (request, tell) => {
        calls.flushes.push(request);
        tell({ entries: 2, bytes: 20 });
        tell({ entries: 1, bytes: 10 });
        return { result: "done" };
      },
      content: () => ({ result: "gone" }),
      ...more,
    };
  }

  /** Asks as an operator, unless `headers` says otherwise. */
  async function ask(
    actions: WriteActions | null,
    method: string,
    path: string,
    { headers = { [OPERATOR_HEADER]: "true" }, body }: { headers?: Record<string, string>; body?: string } = {},
  ): Promise<Response> {
    server = startAdminServer("127.0.0.1", 0, sources(CALM, actions));
    const init = { method, headers, ...(body === undefined ? {} : { body }) };
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, init);
    const text = await response.text();
    await server.stop();
    return new Response(text, { status: response.status, headers: response.headers });
  }

  test("lists entries", async () => {
    const actions = fake();
    const listed = await ask(actions, "GET", "/api/v1/journal?after=3&limit=5&state=parked,aside");
    expect(await listed.json()).toEqual({ entries: [ENTRY], more: false });
    expect(actions.queries).toEqual([{ afterSeq: 3, limit: 5, states: ["parked", "aside"] }]);
    expect(await (await ask(actions, "GET", "/api/v1/journal/12")).json()).toEqual(ENTRY);
    const statuses: number[] = [];
    for (const path of ["/13", "/x", "/12/", "/12/content/x", "?limit=0", "?limit=x", "?after=-1", "?limit=10001"]) {
      statuses.push((await ask(actions, "GET", `/api/v1/journal${path}`)).status);
    }
    expect(statuses).toEqual([404, 404, 405, 404, 400, 400, 400, 400]);
  });

  test("takes decisions: done, refused, gone, unknown", async () => {
    const actions = fake();
    const post = (path: string) => ask(actions, "POST", `/api/v1/journal/${path}`);
    expect(await (await post("12/retry")).json()).toEqual({ result: "done", state: "retry" });
    const refused = await post("12/dismiss");
    expect([refused.status, await refused.json()]).toEqual([
      409,
      { result: "refused", state: "parked", reason: "it is parked" },
    ]);
    const gone = await post("9/discard");
    expect(gone.status).toBe(404);
    expect(await gone.json()).toEqual({ error: "there is no entry 9 in the journal: it has ended, or never was" });
    expect((await post("12/eat")).status).toBe(404);
    expect((await ask(actions, "GET", "/api/v1/journal/12/retry")).status).toBe(405);
    expect((await ask(actions, "POST", "/api/v1/journal/12")).status).toBe(405);
    expect(actions.decisions).toEqual([
      [12, "retry"],
      [12, "dismiss"],
      [9, "discard"],
    ]);
  });

  test("flushes, in one answer or line by line", async () => {
    const actions = fake();
    const body = '{"scope": "ckpt/", "timeoutMs": 5}';
    expect(await (await ask(actions, "POST", "/api/v1/flush", { body })).json()).toEqual({ result: "done" });
    const headers = { [OPERATOR_HEADER]: "true", accept: "application/x-ndjson" };
    const told = await (await ask(actions, "POST", "/api/v1/flush", { headers })).text();
    expect(told).toBe('{"left":{"entries":2,"bytes":20}}\n{"left":{"entries":1,"bytes":10}}\n{"result":"done"}\n');
    expect(actions.flushes).toEqual([
      { scope: "ckpt/", timeoutMs: 5, staged: false },
      { scope: "", timeoutMs: 600_000, staged: false },
    ]);
    for (const wrong of ['{"scope":"bad"}', "{", "[", "null", '{"scope":1}', '{"timeoutMs":-1}', '{"staged":"no"}']) {
      expect((await ask(actions, "POST", "/api/v1/flush", { body: wrong })).status).toBe(400);
    }
    const failing = fake({ flush: () => Promise.reject(new Error("a secret")) });
    expect(await (await ask(failing, "POST", "/api/v1/flush", { headers })).text()).toBe('{"result":"failed"}\n');
    const failed = await ask(failing, "POST", "/api/v1/flush");
    expect([failed.status, (await failed.text()).includes("secret")]).toEqual([500, false]);
  });

  test("says how far a flush is while it lasts, and does not mind that nobody listens any more", async () => {
    let tell = (_: Left): void => {};
    let end = (_: FlushOutcome): void => {};
    const outcome = new Promise<FlushOutcome>((resolve) => {
      end = resolve;
    });
    const actions = fake({
      flush: (_, say) => {
        tell = say;
        tell({ entries: 9, bytes: 9 });
        return outcome;
      },
    });
    server = startAdminServer("127.0.0.1", 0, sources(CALM, actions));
    const headers = { [OPERATOR_HEADER]: "true", accept: "application/x-ndjson" };
    const response = await fetch(`http://127.0.0.1:${server.port}/api/v1/flush`, { method: "POST", headers });
    const reader = response.body?.getReader();
    const line = async (): Promise<string> => new TextDecoder().decode((await reader?.read())?.value);
    expect(await line()).toBe('{"left":{"entries":9,"bytes":9}}\n');
    tell({ entries: 8, bytes: 8 });
    expect(await line()).toBe('{"left":{"entries":8,"bytes":8}}\n');
    await reader?.cancel();
    tell({ entries: 7, bytes: 7 });
    end({ result: "done" });
    expect((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status).toBe(200);
  });

  test("gives the bytes of an entry, and never a whole answer when they break off", async () => {
    async function* pieces(fail: boolean): AsyncGenerator<Uint8Array> {
      yield new TextEncoder().encode("he");
      if (fail) throw new Error("damaged");
      yield new TextEncoder().encode("llo");
    }
    const whole = fake({ content: () => ({ result: "bytes", sizeBytes: 5, pieces: pieces(false) }) });
    const got = await ask(whole, "GET", "/api/v1/journal/12/content");
    expect([await got.text(), got.headers.get("x-forebay-size"), got.headers.get("content-type")]).toEqual([
      "hello",
      "5",
      "application/octet-stream",
    ]);
    const broken = fake({ content: () => ({ result: "bytes", sizeBytes: 5, pieces: pieces(true) }) });
    const text = await ask(broken, "GET", "/api/v1/journal/12/content").then(
      (response) => response.text(),
      () => "",
    );
    expect(text).not.toBe("hello");
    const none = fake({ content: () => ({ result: "none", reason: "it is a deletion" }) });
    const refused = await ask(none, "GET", "/api/v1/journal/12/content");
    expect([refused.status, await refused.json()]).toEqual([409, { error: "it is a deletion" }]);
    expect((await ask(fake(), "GET", "/api/v1/journal/12/content")).status).toBe(404);
  });

  test("is closed to pages of other sites, and to whoever does not say that they are an operator", async () => {
    const actions = fake();
    const operator = { [OPERATOR_HEADER]: "true" };
    const refused: Record<string, string>[] = [
      {},
      { [OPERATOR_HEADER]: "yes" },
      { "content-type": "application/json" },
      { ...operator, origin: "http://evil.example" },
      { ...operator, origin: "null" },
      { ...operator, "sec-fetch-site": "cross-site" },
      { ...operator, "sec-fetch-site": "same-site" },
      // A name of the page's own that was made to mean this address.
      { ...operator, host: "evil.example", origin: "http://evil.example" },
      { ...operator, host: "evil.example", "sec-fetch-site": "same-origin" },
    ];
    for (const headers of refused) {
      for (const [method, path] of [
        ["POST", "/api/v1/journal/12/discard"],
        ["POST", "/api/v1/flush"],
        ["GET", "/api/v1/journal"],
        ["GET", "/api/v1/journal/12/content"],
      ] as const) {
        expect((await ask(actions, method, path, { headers })).status).toBe(403);
      }
    }
    expect([actions.decisions, actions.flushes, actions.queries]).toEqual([[], [], []]);
    const host = "127.0.0.1:1";
    for (const headers of [
      { ...operator, host: "forebay.internal:10190" },
      { ...operator, host, origin: `http://${host}`, "sec-fetch-site": "same-origin" },
      { ...operator, host: "[::1]:1", origin: "http://[::1]:1" },
      { ...operator, host: "localhost", "sec-fetch-site": "none" },
    ]) {
      expect((await ask(actions, "GET", "/api/v1/journal", { headers })).status).toBe(200);
    }
  });

  test("is 503 without a journal, and takes no large bodies", async () => {
    expect((await ask(null, "GET", "/api/v1/journal")).status).toBe(503);
    expect((await ask(null, "POST", "/api/v1/flush")).status).toBe(503);
    const actions = fake();
    const large = await ask(actions, "POST", "/api/v1/flush", { body: " ".repeat(1_000_000) });
    expect(large.status).toBe(413);
    expect(actions.flushes).toEqual([]);
  });
});
