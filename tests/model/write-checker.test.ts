/** The checker of writes can fail: histories made by hand, each with one thing wrong. */
import { describe, expect, test } from "bun:test";
import type { Received } from "../../sim/exchange.ts";
import type { LakeBlob, LakeCommit } from "../../sim/world-lake.ts";
import { bytesOf } from "./running.ts";
import { judgeWrites } from "./write-checker.ts";
import { backOf, contentTypeOf } from "./write-clients.ts";
import { type Change, changeOf, type EntryEnd, type Listed, type Look, type WriteEvidence } from "./write-evidence.ts";

const NONE = Number.NEGATIVE_INFINITY;

/** A history under the pen: changes take two milliseconds, acknowledged on flash unless said. */
function story() {
  const evidence = {
    changes: [] as Change[],
    looks: [] as Look[],
    walks: [] as WriteEvidence["walks"][number][],
    flushes: [] as WriteEvidence["flushes"][number][],
    commits: [] as LakeCommit[],
    ends: [] as EntryEnd[],
    reported: [] as string[],
    pathOf: backOf,
  };
  let next = 1;
  const held = new Map<string, LakeBlob>();
  const change = (name: string, atMs: number, more: Partial<Change>): Change => {
    const id = more.id ?? next++;
    const made: Change = {
      ...{ id, name, kind: "put", by: "client", outcome: "acknowledged", durability: "flash", status: 201 },
      ...{ startedAtMs: atMs, endedAtMs: atMs + 2, bytes: bytesOf(id, 100), contentType: contentTypeOf(id) },
      ...{ etag: `"0x0F${String(id).padStart(13, "0")}"`, condition: null, flush: false, blocksSinceMs: null },
      ...{ calm: true, what: `#${id}` },
      ...more,
    };
    evidence.changes.push(made);
    return made;
  };
  const commit = (made: Change, atMs: number, more: Partial<LakeCommit> & { bytes?: Uint8Array } = {}): void => {
    const name = more.name ?? made.name;
    const after: LakeBlob | null =
      made.kind === "delete"
        ? null
        : {
            etag: `"0x8D${evidence.commits.length}"`,
            bytes: more.bytes ?? made.bytes,
            contentType: made.contentType,
            metadata: new Map([["w", String(made.id)]]),
            blockIds: [],
          };
    const before = held.get(name) ?? null;
    if (after === null) held.delete(name);
    else held.set(name, after);
    const by = made.by === "foreign" ? "foreign" : "own";
    const { bytes: _, ...rest } = more;
    evidence.commits.push({ atMs, name, by, before, after, ifMatch: null, ifNoneMatch: null, again: false, ...rest });
  };
  const names = ["ckpt/a", "ckpt/b", "excl/a"];
  for (const [index, name] of names.entries()) {
    const nothing = { id: -1 - index, kind: "delete", by: "foreign", startedAtMs: NONE, endedAtMs: NONE } as const;
    change(name, 0, { ...nothing, durability: null, etag: null });
  }
  const foreign = (name: string, atMs: number, kind: Change["kind"] = "put"): Change => {
    const made = change(name, atMs, { by: "foreign", kind, endedAtMs: atMs, durability: null, etag: null });
    commit(made, atMs);
    return made;
  };
  const look = (
    name: string,
    atMs: number,
    seen: Change | null,
    more: Omit<Partial<Look>, "received"> & { received?: Partial<Received> } = {},
  ): void => {
    const lake = evidence.commits.findLast(({ after }) => after !== null && changeOf(after.metadata) === seen?.id);
    const etag = seen === null ? "" : (seen.etag ?? lake?.after?.etag ?? "");
    const headers =
      seen === null ? [] : ["ETag", etag, "Content-Type", seen.contentType, "x-ms-meta-w", String(seen.id)];
    const bytes = seen?.bytes ?? new Uint8Array(0);
    evidence.looks.push({
      ...{ what: `read of ${name}`, name, method: "GET", range: null, condition: null, boundMs: 5_000, calm: true },
      ...more,
      received: {
        ...{ ending: "complete", status: seen === null ? 404 : 200, headers, announcedBytes: bytes.length, bytes },
        ...{ startedAtMs: atMs, headAtMs: atMs + 1, endedAtMs: atMs + 2, cause: null },
        ...more.received,
      },
    });
  };
  const list = (atMs: number, names: readonly string[], more: Partial<WriteEvidence["walks"][number]> = {}): void => {
    const entries: Listed[] = names.map((name) => {
      const made = evidence.changes.findLast((one) => one.name === `ckpt/${name}` && one.kind === "put");
      return { name, isPrefix: false, sizeBytes: made?.bytes.length ?? 0, etag: made?.etag ?? "" };
    });
    evidence.walks.push({
      ...{ what: "list", container: "ckpt", prefix: "", delimiter: "", pageMax: 10, pages: [entries], whole: true },
      ...{ startedAtMs: atMs, endedAtMs: atMs + 5, failure: null, calm: true },
      ...more,
    });
  };
  const ended = (made: Change, atMs: number, how: EntryEnd["how"], by: number | null = null): void => {
    const { name, id, startedAtMs } = made;
    const common = { seq: id, by, base: "etag", sideName: null };
    evidence.ends.push({ ...common, name, change: id, acknowledgedAtMs: startedAtMs + 1, endedAtMs: atMs, how });
  };
  const judge = (): string => judgeWrites(evidence).join("\n");
  return { evidence, change, commit, foreign, look, list, ended, judge };
}

describe("a history that is right passes", () => {
  test("put, read, commit, read, delete", () => {
    const { change, commit, look, list, judge } = story();
    look("ckpt/a", 1, null);
    const first = change("ckpt/a", 10, {});
    look("ckpt/a", 15, first);
    list(17, ["a"]);
    commit(first, 30);
    const second = change("ckpt/b", 40, {});
    commit(second, 45);
    const gone = change("ckpt/a", 50, { kind: "delete", etag: null, status: 202 });
    look("ckpt/a", 55, null);
    list(56, ["b"]);
    commit(gone, 60);
    expect(judge()).toBe("");
  });
  test("a version that a later one took the place of", () => {
    const { change, commit, judge } = story();
    change("ckpt/a", 10, {});
    commit(change("ckpt/a", 20, {}), 30);
    expect(judge()).toBe("");
  });
  test("a conflict, both versions kept", () => {
    const { change, commit, foreign, look, evidence, ended, judge } = story();
    const ours = change("ckpt/a", 10, {});
    const theirs = foreign("ckpt/a", 20);
    look("ckpt/a", 25, ours);
    commit(ours, 30, { name: "ckpt/a.forebay-conflict-1" });
    evidence.reported.push("ckpt/a.forebay-conflict-1");
    ended(ours, 31, "aside");
    look("ckpt/a", 40, theirs);
    expect(judge()).toBe("");
  });
  test("what nobody heard of may have happened or not", () => {
    const { change, commit, judge } = story();
    const unknown = { outcome: "unknown", status: 503, durability: null, etag: null, calm: false } as const;
    change("ckpt/a", 10, unknown);
    commit(change("ckpt/b", 10, unknown), 50);
    expect(judge()).toBe("");
  });
});

describe("what the lake was made to do", () => {
  test("an acknowledged write is lost", () => {
    const { change, judge } = story();
    change("ckpt/a", 10, {});
    expect(judge()).toMatch(/^LOST: #1/);
  });
  test("an acknowledged deletion is lost", () => {
    const { change, commit, judge } = story();
    commit(change("ckpt/a", 10, {}), 20);
    change("ckpt/a", 30, { kind: "delete", etag: null, status: 202 });
    expect(judge()).toMatch(/^LOST: in the end/);
  });
  test("a version is left out although another blob came between", () => {
    const { change, commit, judge } = story();
    change("ckpt/a", 10, {});
    commit(change("ckpt/b", 20, {}), 40);
    commit(change("ckpt/a", 30, {}), 50);
    expect(judge()).toMatch(/^LOST: left out/);
  });
  test("a commit out of order, within a blob and within a path", () => {
    const one = story();
    const [first, second] = [one.change("ckpt/a", 10, {}), one.change("ckpt/a", 20, {})];
    one.commit(second, 30);
    one.commit(first, 40);
    one.commit(second, 50, { again: true });
    expect(one.judge()).toMatch(/^REORDERED: #1 after #2/m);
    const two = story();
    const [shard, latest] = [two.change("ckpt/a", 10, {}), two.change("ckpt/b", 20, {})];
    two.commit(latest, 30);
    two.commit(shard, 40);
    expect(two.judge()).toMatch(/^REORDERED: #2 was committed before #1/);
  });
  test("a commit is doubled", () => {
    const { change, commit, judge } = story();
    const made = change("ckpt/a", 10, {});
    commit(made, 20);
    commit(made, 30);
    expect(judge()).toMatch(/^DOUBLED/);
  });
  test("somebody else's change is overwritten", () => {
    const { change, commit, foreign, judge } = story();
    const ours = change("ckpt/a", 10, {});
    foreign("ckpt/a", 20);
    commit(ours, 30);
    expect(judge()).toMatch(/^OVERWRITTEN/);
  });
  test("somebody else's change is overwritten by one that came behind a pending write", () => {
    const { change, commit, foreign, ended, judge } = story();
    const first = change("ckpt/a", 10, {});
    foreign("ckpt/a", 20);
    const second = change("ckpt/a", 30, {});
    ended(first, 31, "superseded", second.id);
    ended(second, 41, "settled");
    commit(second, 40);
    expect(judge()).toMatch(/^OVERWRITTEN/);
  });
  test("somebody else's version is deleted unseen", () => {
    const { change, commit, foreign, judge } = story();
    commit(change("ckpt/a", 10, {}), 12);
    const gone = change("ckpt/a", 20, { kind: "delete", etag: null, status: 202 });
    foreign("ckpt/a", 30);
    commit(gone, 40);
    expect(judge()).toMatch(/^OVERWRITTEN.*deleted/);
  });
  test("other bytes, and versions that nobody asked for", () => {
    const torn = story();
    torn.commit(torn.change("ckpt/a", 10, {}), 20, { bytes: bytesOf(9, 100) });
    expect(torn.judge()).toMatch(/^TORN/);
    const refused = story();
    refused.commit(refused.change("ckpt/a", 10, { outcome: "refused", status: 412, etag: null }), 20);
    expect(refused.judge()).toMatch(/INVENTED/);
  });
  test("set aside in silence, or for no reason", () => {
    const { change, commit, judge } = story();
    commit(change("ckpt/a", 10, {}), 20, { name: "ckpt/a.forebay-conflict-1" });
    expect(judge()).toMatch(/^SILENT/m);
    expect(judge()).toMatch(/^ASIDE/m);
  });
  test("a flush that ends too early", () => {
    const { change, commit, evidence, judge } = story();
    commit(change("ckpt/a", 10, {}), 50);
    evidence.flushes.push({ container: "ckpt", startedAtMs: 20, endedAtMs: 40 });
    expect(judge()).toMatch(/^UNFLUSHED/);
  });
});

describe("what readers are given", () => {
  test("an older version than one that was acknowledged", () => {
    const { change, commit, look, judge } = story();
    const [first, second] = [change("ckpt/a", 10, {}), change("ckpt/a", 20, {})];
    commit(second, 40);
    look("ckpt/a", 25, first);
    expect(judge()).toMatch(/^STALE: #1/);
  });
  test("nothing, where something was acknowledged; and something that was deleted", () => {
    const { change, commit, look, judge } = story();
    commit(change("ckpt/a", 10, {}), 40);
    look("ckpt/a", 25, null);
    expect(judge()).toMatch(/^STALE: 404/);
  });
  test("somebody else's version while one of ours is pending", () => {
    const { change, commit, foreign, look, judge } = story();
    const theirs = foreign("ckpt/a", 5);
    const ours = change("ckpt/a", 10, {});
    look("ckpt/a", 15, theirs);
    commit(ours, 20);
    expect(judge()).toMatch(/^STALE: #1/);
  });
  test("a version that somebody else replaced long ago", () => {
    const { change, commit, foreign, look, ended, judge } = story();
    const ours = change("ckpt/a", 10, {});
    commit(ours, 20);
    ended(ours, 21, "settled");
    foreign("ckpt/a", 100);
    look("ckpt/a", 5_000, ours);
    expect(judge()).toBe("");
    look("ckpt/a", 5_200, ours);
    expect(judge()).toMatch(/^STALE: #1.*gone for 5100/);
  });
  test("torn bytes, cut short, or a wrong ETag", () => {
    const at = (received: Partial<Received>): string => {
      const { change, commit, look, judge } = story();
      const made = change("ckpt/a", 10, {});
      commit(made, 40);
      look("ckpt/a", 20, made, { received });
      return judge();
    };
    expect(at({})).toBe("");
    expect(at({ bytes: bytesOf(7, 100) })).toMatch(/^TORN/);
    expect(at({ bytes: bytesOf(1, 100).subarray(0, 99) })).toMatch(/as if whole/);
    const headers = ["ETag", '"0x8DOTHER"', "Content-Type", contentTypeOf(1), "x-ms-meta-w", "1"];
    expect(at({ headers })).toMatch(/^an ETag/);
  });
});

describe("lists", () => {
  const walked = (names: readonly string[], more: Partial<WriteEvidence["walks"][number]> = {}): string => {
    const { change, commit, list, judge } = story();
    const [first, second] = [change("ckpt/a", 10, {}), change("ckpt/b", 12, {})];
    list(20, names, more);
    commit(first, 40);
    commit(second, 41);
    return judge();
  };
  test("whole", () => expect(walked(["a", "b"])).toBe(""));
  test("a missing name", () => expect(walked(["b"])).toMatch(/^LIST: ckpt\/a was there/));
  test("a doubled name", () => expect(walked(["a", "a", "b"])).toMatch(/^LIST: a after a/));
  test("a name that never was", () => expect(walked(["a", "b", "c"])).toMatch(/^LIST: ckpt\/c never existed/));
  test("a part of a walk owes only what it came past", () => {
    expect(walked(["a"], { whole: false, failure: "503", calm: false })).toBe("");
  });
  test("a deleted name", () => {
    const { change, commit, list, judge } = story();
    commit(change("ckpt/a", 10, {}), 12);
    commit(change("ckpt/a", 20, { kind: "delete", etag: null, status: 202 }), 90);
    list(30, ["a"]);
    expect(judge()).toMatch(/^LIST: ckpt\/a was not there/);
  });
});

describe("conditions and answers", () => {
  test("two that replaced one version", () => {
    const { change, commit, judge } = story();
    const base = change("excl/a", 10, {});
    const condition = { kind: "match", etag: base.etag ?? "" } as const;
    const [first, second] = [change("excl/a", 20, { condition }), change("excl/a", 21, { condition })];
    for (const [index, made] of [base, first, second].entries()) commit(made, 30 + index);
    expect(judge()).toMatch(/^CONDITION: #1 was replaced twice/);
  });
  test("one that created what was there, and one that could not create what was not", () => {
    const { change, commit, judge } = story();
    commit(change("excl/a", 10, {}), 12);
    commit(change("excl/a", 20, { condition: { kind: "create" } }), 30);
    expect(judge()).toMatch(/^CONDITION: created/);
    const other = story();
    other.change("excl/a", 20, { condition: { kind: "create" }, outcome: "refused", status: 409, etag: null });
    expect(other.judge()).toMatch(/^CONDITION: 409/);
  });
  test("a refusal though the version stood", () => {
    const { change, commit, judge } = story();
    const base = change("excl/a", 10, {});
    commit(base, 12);
    const condition = { kind: "match", etag: base.etag ?? "" } as const;
    change("excl/a", 20, { condition, outcome: "refused", status: 412, etag: null });
    expect(judge()).toMatch(/^CONDITION: 412/);
  });
  test("blocks that were acknowledged and are gone", () => {
    const { change, judge } = story();
    change("ckpt/a", 20, { outcome: "refused", status: 400, etag: null, blocksSinceMs: 10 });
    expect(judge()).toMatch(/^LOST: blocks/);
  });
  test("a failure though nothing was wrong", () => {
    const { change, judge } = story();
    change("ckpt/a", 20, { outcome: "unknown", status: 503, etag: null, durability: null });
    expect(judge()).toMatch(/^FAILED: 503/);
  });
});
