import { describe, expect, test } from "bun:test";
import { failureOf } from "../../sim/failure.ts";
import type { Left, WritesView } from "../admin/types.ts";
import { limits } from "../base/limits.ts";
import { defaultPolicy, type PolicyRule } from "../engine/policy.ts";
import { filePath, folderPath, spanSum } from "../flash/files.ts";
import type { ChangeScope, CheckedSpan } from "../flash/types.ts";
import { createJournalWorld, nameOf, putOf, putWith } from "../journal/test-support.ts";
import type { Journal } from "../journal/types.ts";
import type { Decision, DrainStats, Flushed } from "../writeback/types.ts";
import { createWriteActions } from "./write-actions.ts";
import { policyView, writesView } from "./writes-view.ts";
import { createWritesWatch } from "./writes-watch.ts";

const QUIET: DrainStats = {
  carriedEntries: 1,
  carriedBytes: 2,
  uploadsNow: 3,
  bytesPerSecondMax: null,
  retries: 4,
  throttled: 5,
  conflicts: 6,
  parked: 7,
  pendingNamesFailure: null,
  stuck: [],
};

const RULE: PolicyRule = {
  ...defaultPolicy,
  path: "p/",
  account: null,
  container: "p",
  prefix: "",
  write: "back",
  maxUnflushedMs: 600_000,
};

/** A journal with a drain that does what the test says. */
async function stage(drain: { stats?: Partial<DrainStats>; flush?: (scope: ChangeScope) => Promise<Flushed> } = {}) {
  const world = createJournalWorld();
  const { journal } = await world.open();
  const flushed: { scope: ChangeScope; options: { timeoutMs: number; staged: boolean } }[] = [];
  const told: [number, Decision][] = [];
  const logged: unknown[] = [];
  let wakes = 0;
  const actions = createWriteActions({
    journal,
    disk: world.disk,
    clock: world.clock,
    accounts: () => ["a", "b"],
    log: (_, message, fields) => logged.push({ message, ...fields }),
    drain: {
      wake: () => wakes++,
      flush: (scope, options) => {
        flushed.push({ scope, options });
        return drain.flush?.(scope) ?? Promise.resolve({ kind: "done" });
      },
      decide: async (seq, decision) => {
        told.push([seq, decision]);
        const event = { name: decision } as const;
        const moved = await journal.move(seq, event);
        return moved.kind === "moved" ? moved.entry.state : moved.state;
      },
    },
  });
  const view = (policies: readonly PolicyRule[] = [RULE]) =>
    writesView({
      journal,
      drain: { stats: () => ({ ...QUIET, ...drain.stats }) },
      policies,
      nowMs: world.clock.wallMs(),
    });
  const settle = <T>(work: Promise<T>): Promise<T> => world.clock.settle(work);
  const append = (entry: Parameters<Journal["append"]>[0]) => settle(journal.append(entry));
  return { world, journal, actions, view, flushed, told, logged, settle, append, wakes: () => wakes };
}

async function bytesOf(pieces: AsyncIterator<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) all.push(next.value);
  return Buffer.concat(all);
}

describe("the view", () => {
  test("nothing is pending", async () => {
    const { view } = await stage();
    expect(view()).toMatchObject({ pendingEntries: 0, oldestAgeMs: null, paths: [], attention: [], ok: true });
    expect(view().drain).toEqual({
      carriedEntries: 1,
      carriedBytes: 2,
      uploadsNow: 3,
      bytesPerSecondMax: null,
      retries: 4,
      throttled: 5,
      conflicts: 6,
      parked: 7,
      pendingNamesFailure: null,
    });
  });

  test("how much, how old, by path, and why it does not get on", async () => {
    const { view, append, world } = await stage({
      stats: { stuck: [{ path: "q/", reason: "the lake cannot be reached", sinceMs: 0 }] },
    });
    await append(putOf("one", "12345"));
    await world.clock.advance(60_000);
    await append(putOf("two", "123", "other/"));
    const { pendingEntries, pendingBytes, oldestAgeMs, paths } = view();
    expect([pendingEntries, pendingBytes]).toEqual([2, 8]);
    expect(oldestAgeMs).toBeGreaterThanOrEqual(60_000);
    expect(paths.map(({ path, maxUnflushedMs }) => [path, maxUnflushedMs])).toEqual([
      ["other/", null],
      ["p/", 600_000],
      ["q/", null],
    ]);
    expect(paths[1]?.oldestAgeMs).toBe(oldestAgeMs);
    expect(paths[2]).toMatchObject({ oldestAgeMs: null, stuck: { reason: "the lake cannot be reached" } });
  });

  test("what waits for an operator, with the next step, and no more of it than is shown", async () => {
    const { view, append, journal, settle } = await stage();
    const parked = await append(putOf("parked", "x"));
    await settle(journal.move(parked.seq, { name: "park", reason: "403" }));
    const met = await append(putOf("met", "x"));
    await settle(journal.move(met.seq, { name: "begin" }));
    await settle(journal.move(met.seq, { name: "conflict", sideName: "met.side" }));
    await settle(journal.move(met.seq, { name: "settle", lakeEtag: "e" }));
    const { attention, parkedEntries, asideEntries } = view();
    expect([parkedEntries, asideEntries]).toEqual([1, 1]);
    expect(attention.map(({ seq, state, reason, sideName }) => [seq, state, reason, sideName])).toEqual([
      [parked.seq, "parked", "403", null],
      [met.seq, "aside", null, "met.side"],
    ]);
    expect(attention[0]?.next).toContain(`forebay journal retry ${parked.seq}`);
    expect(attention[1]?.next).toContain(`forebay journal dismiss ${met.seq}`);
    for (let i = 0; i < limits.adminAttentionMax; i++) {
      const { seq } = await append(putOf(`more-${i}`, "x"));
      await settle(journal.move(seq, { name: "park", reason: "403" }));
    }
    expect(view().attention.length).toBe(limits.adminAttentionMax);
  });

  test("a policy is shown whole", () => {
    const { account: _account, container: _container, prefix: _prefix, ...shown } = RULE;
    expect(policyView(RULE)).toEqual(shown);
  });
});

test("the log says once what is late or failing, and once that it is over", async () => {
  const { view } = await stage();
  const said: string[] = [];
  let now: WritesView | null = null;
  const watch = createWritesWatch(
    () => now,
    (level, message, fields) => said.push([level, message, fields?.["path"] ?? fields?.["state"]].join("|")),
  );
  const calm = view();
  const late = { path: "p/", oldestAgeMs: 2, maxUnflushedMs: 1, stuck: null };
  for (const next of [
    null,
    calm,
    { ...calm, paths: [late] },
    {
      ...calm,
      paths: [
        { ...late, oldestAgeMs: 3 },
        { ...late, path: "q/" },
      ],
    },
    { ...calm, paths: [{ ...late, oldestAgeMs: 1 }], ok: false, state: "EIO" },
    { ...calm, ok: false, state: "EROFS" },
    calm,
  ]) {
    now = next;
    watch.look();
  }
  expect(said).toEqual([
    "warn|writes wait for the lake longer than their policy allows|p/",
    "warn|writes wait for the lake longer than their policy allows|q/",
    "info|writes are in time again|p/",
    "info|writes are in time again|q/",
    "warn|the journal cannot be written: nothing is acknowledged on flash|EIO",
    "info|the journal can be written again|ok",
  ]);
});

describe("decisions", () => {
  test("fit the state of the entry, or are refused with the reason", async () => {
    const { actions, append, journal, settle, told, logged, wakes } = await stage();
    const { seq } = await append(putOf("one", "x"));
    const decide = (decision: Parameters<typeof actions.decide>[1], of = seq) => settle(actions.decide(of, decision));
    for (const decision of ["retry", "discard", "dismiss", "exported"] as const) {
      expect(await decide(decision)).toMatchObject({ result: "refused", state: "acknowledged" });
      expect(await decide(decision, 99)).toEqual({ result: "gone" });
    }
    await settle(journal.move(seq, { name: "park", reason: "403" }));
    expect(await decide("dismiss")).toMatchObject({ result: "refused", state: "parked" });
    expect(told).toEqual([]);
    expect(await decide("retry")).toEqual({ result: "done", state: "draining" });
    expect(await decide("discard")).toMatchObject({ result: "refused", state: "draining" });
    await settle(journal.move(seq, { name: "park", reason: "403" }));
    logged.length = 0;
    expect(await decide("discard")).toEqual({ result: "done", state: "discarded" });
    const fields = { seq, decision: "discard", was: "parked", blob: "a:c/one" };
    expect(logged).toEqual([{ message: "an operator decided about a write", ...fields }]);
    expect(await decide("discard")).toEqual({ result: "gone" });
    const exported = await append(putOf("two", "x"));
    await settle(journal.move(exported.seq, { name: "park", reason: "403" }));
    expect(await decide("exported", exported.seq)).toEqual({ result: "done", state: "exported" });
    expect(wakes()).toBe(1);
    const aside = await append({ path: "p/", name: nameOf("gone"), base: { kind: "none" }, kind: "delete" });
    await settle(journal.move(aside.seq, { name: "conflict", sideName: null }));
    expect(await decide("discard", aside.seq)).toMatchObject({ result: "refused", state: "aside" });
    expect(await decide("dismiss", aside.seq)).toEqual({ result: "done", state: "dismissed" });
  });

  test("entries are listed in order, by state, a page at a time", async () => {
    const { actions, append, journal, settle } = await stage();
    const seqs: number[] = [];
    for (const blob of ["a", "b", "c"]) seqs.push((await append(putOf(blob, "x"))).seq);
    const [first = 0, second = 0] = seqs;
    await settle(journal.move(second, { name: "park", reason: "403" }));
    const list = (afterSeq: number, limit: number, states: string[] = []) => {
      const { entries, more } = actions.entries({ afterSeq, limit, states });
      return [entries.map(({ blob }) => blob).join(""), more];
    };
    expect([list(0, 9), list(0, 2), list(first, 1), list(0, 9, ["parked"])]).toEqual([
      ["abc", false],
      ["ab", true],
      ["b", true],
      ["b", false],
    ]);
    expect(actions.entry(second)).toMatchObject({ state: "parked", reason: "403", sizeBytes: 1 });
    expect(actions.entry(99)).toBeNull();
  });
});

describe("flush", () => {
  const ask = { timeoutMs: 5_000, staged: false };

  test("asks the drain for the accounts and the container, and says what is left", async () => {
    const { actions, flushed, settle, append } = await stage();
    await append(putOf("one", "12345"));
    const told: Left[] = [];
    expect(await settle(actions.flush({ ...ask, scope: "" }, (left) => told.push(left)))).toEqual({ result: "done" });
    expect(told).toEqual([{ entries: 1, bytes: 5 }]);
    expect(flushed.map(({ scope }) => scope)).toEqual([
      { account: "a", container: null, blob: null },
      { account: "b", container: null, blob: null },
    ]);
    await settle(actions.flush({ scope: "b:data", timeoutMs: 7, staged: true }, () => {}));
    expect(flushed[2]).toEqual({
      scope: { account: "b", container: "data", blob: null },
      options: { timeoutMs: 7, staged: true },
    });
  });

  test("of names that begin alike: the newest of each path, until all of them are gone", async () => {
    const made = await stage({
      flush: async (scope) => {
        // As the drain does: what came before on the path is carried first.
        const last = scope.blob === "x/last" || scope.blob === "x/late" ? 3 : 0;
        for (const { seq, state } of [...made.journal.view.entries()]) {
          if (seq > last || state.name !== "acknowledged") continue;
          await made.journal.move(seq, { name: "begin" });
          await made.journal.move(seq, { name: "settle", lakeEtag: "e" });
        }
        return { kind: "done" };
      },
    });
    const put = (blob: string, path: string) => ({ ...putOf(blob, "12345", path), name: nameOf(blob, "ccc") });
    for (const [blob, path] of [
      ["x/first", "p/"],
      ["y/else", "p/"],
      ["x/last", "p/"],
      ["y/later", "p/"],
    ] as const) {
      await made.append(put(blob, path));
    }
    const flush = (scope: string) => made.settle(made.actions.flush({ ...ask, scope }, () => {}));
    expect(await flush("ccc/x/")).toEqual({ result: "done" });
    expect(made.flushed.map(({ scope }) => scope.blob)).toEqual(["x/last"]);
    expect([...made.journal.view.entries()].map(({ name }) => name.blob)).toEqual(["y/later"]);
    expect(await flush("ccc/z")).toEqual({ result: "done" });
    expect(made.flushed.length).toBe(1);
  });

  test("of names that begin alike: blocks of uploads under way, too, if asked for, and the time is for all of it", async () => {
    const { actions, journal, flushed, settle } = await stage();
    for (const [blob, container] of [
      ["x/a", "ccc"],
      ["x/b", "ccc"],
      ["y", "ccc"],
      ["x/a", "ddd"],
    ] as const) {
      const span = { fileId: 1, offset: 0, length: 1, checksum: "0".repeat(16) };
      await settle(journal.stage({ name: nameOf(blob, container), blockId: "AA==", span }));
    }
    const flush = (staged: boolean) => settle(actions.flush({ ...ask, scope: "ccc/x/", staged }, () => {}));
    expect(await flush(false)).toEqual({ result: "done" });
    expect(flushed).toEqual([]);
    expect(await flush(true)).toEqual({ result: "done" });
    expect(flushed.map(({ scope, options }) => [scope.container, scope.blob, options.staged])).toEqual([
      ["ccc", "x/a", true],
      ["ccc", "x/b", true],
    ]);
  });

  test("tells how far it is until it ends, and no longer", async () => {
    let end = (_: Flushed): void => {};
    const waits = new Promise<Flushed>((resolve) => {
      end = resolve;
    });
    const { actions, append, world, settle } = await stage({ flush: () => waits });
    await append(putOf("one", "12345"));
    const told: Left[] = [];
    const outcome = actions.flush({ ...ask, scope: "a:" }, (left) => told.push(left));
    await world.clock.advance(3 * limits.adminFlushTellMs);
    expect(told.length).toBe(4);
    end({ kind: "timeout", pendingEntries: 1, pendingBytes: 5 });
    expect(await settle(outcome)).toEqual({ result: "timeout", left: { entries: 1, bytes: 5 } });
    await world.clock.advance(3 * limits.adminFlushTellMs);
    expect(told.length).toBe(4);
  });

  test("what is parked holds it up, but not outside of its prefix", async () => {
    const { actions, append, journal, settle } = await stage({
      flush: async ({ blob }) => (blob === "x/two" || blob === null ? { kind: "parked", seqs: [1] } : { kind: "done" }),
    });
    const { seq } = await append({ ...putOf("x/one", "12345"), name: nameOf("x/one", "ccc") });
    await append({ ...putOf("x/two", "12345"), name: nameOf("x/two", "ccc") });
    expect(seq).toBe(1);
    await settle(journal.move(seq, { name: "park", reason: "403" }));
    const flush = (scope: string) => settle(actions.flush({ ...ask, scope }, () => {}));
    expect(await flush("ccc/y/")).toEqual({ result: "done" });
    const held = { result: "parked", left: { entries: 2, bytes: 10 }, entries: [{ seq, reason: "403" }] };
    expect(await flush("ccc/x/")).toMatchObject(held);
    expect(await flush("")).toMatchObject(held);
    expect(await flush("ccc/x/two")).toMatchObject({ ...held, left: { entries: 1, bytes: 5 } });
  });

  test("what is parked and lets others pass is named when these are in the lake", async () => {
    const { actions, append, journal, settle } = await stage();
    const { seq } = await append({ ...putOf("x/one", "12345"), name: nameOf("x/one", "ccc") });
    await settle(journal.move(seq, { name: "park", reason: "403" }));
    expect(await settle(actions.flush({ ...ask, scope: "ccc/x/" }, () => {}))).toMatchObject({
      result: "parked",
      entries: [{ seq }],
    });
  });

  test("a drain that says done too early is asked again, until the time is up", async () => {
    const { actions, append, settle, flushed } = await stage();
    await append({ ...putOf("x/one", "12345"), name: nameOf("x/one", "ccc") });
    const outcome = await settle(actions.flush({ ...ask, timeoutMs: 1_000, scope: "ccc/x/" }, () => {}));
    expect(outcome).toEqual({ result: "timeout", left: { entries: 1, bytes: 5 } });
    expect(flushed.length).toBe(10);
  });

  test("a scope that is none", async () => {
    const { actions } = await stage();
    expect(actions.scopeProblem("")).toBeNull();
    expect(actions.scopeProblem("a:data/x")).toBeNull();
    expect(actions.scopeProblem("/data")).toContain("does not begin with a container's name");
    expect(actions.scopeProblem("z:data")).toBe('account "z" is none of the lakes; write one of a, b');
  });
});

describe("the bytes of an entry", () => {
  const SIZES = [1 << 20, 5, 2 * (1 << 20) + 3];

  async function withFiles(hurt?: number) {
    const made = await stage();
    const { world, settle } = made;
    const spans: (CheckedSpan & { blockId: string })[] = [];
    const all: Uint8Array[] = [];
    world.disk.makeFolder("files");
    for (const [index, size] of SIZES.entries()) {
      const bytes = new Uint8Array(size).map((_, i) => (i * 7 + index) & 0xff);
      all.push(bytes);
      const sum = spanSum();
      for (let at = 0; at < size; at += 1 << 20) sum.add(bytes.subarray(at, at + (1 << 20)));
      spans.push({ fileId: index + 1, offset: 4096, length: size, checksum: sum.end(), blockId: "" });
      world.disk.makeFolder(folderPath(index + 1));
      const fd = world.disk.open(filePath(index + 1), "create");
      const written = bytes.slice();
      if (hurt === index) written[size - 1] = (written[size - 1] ?? 0) ^ 1;
      await settle(world.disk.write(fd, written, 4096));
      world.disk.close(fd);
    }
    const size = SIZES.reduce((a, b) => a + b);
    const { seq } = await made.append(putWith("big", { kind: "spans", spans }, size));
    const found = made.actions.content(seq);
    if (found.result !== "bytes") throw new Error(found.result);
    expect(found.sizeBytes).toBe(size);
    return { pieces: found.pieces, all: Buffer.concat(all), settle };
  }

  test("come whole", async () => {
    const { pieces, all, settle } = await withFiles();
    expect(all.equals(await settle(bytesOf(pieces)))).toBe(true);
  });

  test("never look whole when one of them is not what was acknowledged", async () => {
    for (const hurt of SIZES.keys()) {
      const { pieces, all, settle } = await withFiles(hurt);
      const got: Uint8Array[] = [];
      const read = async (): Promise<void> => {
        for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) got.push(next.value);
      };
      expect(String(await failureOf(settle(read())))).toMatch("not those that were acknowledged");
      expect(Buffer.concat(got).length).toBeLessThan(all.length);
    }
  });

  test("in the journal itself; none of a deletion, and none once it has ended", async () => {
    const { actions, append, settle } = await stage();
    const { seq } = await append(putOf("one", "hello"));
    const found = actions.content(seq);
    if (found.result !== "bytes") throw new Error(found.result);
    expect(new TextDecoder().decode(await settle(bytesOf(found.pieces)))).toBe("hello");
    const deleted = await append({ path: "p/", name: nameOf("x"), base: { kind: "none" }, kind: "delete" });
    expect(actions.content(deleted.seq)).toEqual({
      result: "none",
      reason: `entry ${deleted.seq} is a deletion: it has no bytes`,
    });
    expect(actions.content(99)).toEqual({ result: "gone" });
  });
});
