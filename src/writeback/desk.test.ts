import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { createSimDisk } from "../../sim/disk.ts";
import { failureOf } from "../../sim/failure.ts";
import { createLife } from "../../sim/world-process.ts";
import { seededRandom } from "../base/random.ts";
import type { Adoption, ChangeScope, Generation, Staging } from "../flash/types.ts";
import { type OpenJournal, openJournal } from "../journal/journal.ts";
import { nameOf, SMALL_FILES, spanOf } from "../journal/test-support.ts";
import type { BlobName, JournalListener } from "../journal/types.ts";
import { createDesk, type LocalDesk } from "./desk.ts";
import type { Drain, Flushed, NewWrite } from "./types.ts";

const HOLDER = "server-0";
const keyOf = (name: BlobName): string => `${name.account}/${name.container}/${name.blob}`;

interface Scene {
  readonly desk: LocalDesk;
  readonly journal: OpenJournal["journal"];
  /** In the order in which they happened. */
  readonly told: string[];
  readonly owed: Map<string, number>;
  /** The least that was ever owed for a blob since it was first owed. */
  readonly least: Map<string, number>;
  readonly adoptions: Adoption[];
  readonly released: number[];
  readonly kept: number[];
  generation: number;
  flushed: (scope: ChangeScope) => Promise<Flushed>;
  adopt: (adoption: Adoption) => Promise<boolean>;
  settle<T>(work: Promise<T>): Promise<T>;
  restart(): Promise<Scene>;
}

/** The real journal over the simulated disk; flash and drain are noted down. */
async function scene(world = simulated()): Promise<Scene> {
  const { clock, disk } = world;
  const life = createLife({ clock, disk });
  let desk: LocalDesk | null = null;
  const listener: JournalListener = {
    ended: (entry) => desk?.listener.ended(entry),
    filesFreed: (ids) => desk?.listener.filesFreed(ids),
  };
  const opening = openJournal({ ...life, random: world.random, term: 1, listener, bounds: SMALL_FILES });
  const { journal } = await clock.settle(opening);
  const [told, released, kept]: [string[], number[], number[]] = [[], [], []];
  const [owed, least] = [new Map<string, number>(), new Map<string, number>()];
  const adoptions: Adoption[] = [];
  const staging: Staging = {
    reserve: async () => 77,
    giveBack: () => {},
    keep: (ids) => void kept.push(...ids),
    release: (ids) => void released.push(...ids),
    adopt: (adoption) => {
      adoptions.push(adoption);
      return made.adopt(adoption);
    },
    warm: { begin: async () => null, end: async () => false, forget: () => {} },
  };
  const drain: Drain = {
    wake: () => void told.push("wake"),
    flush: (scope) => made.flushed(scope),
    decide: async () => null,
    reconfigured: () => {},
    stats: () => ({ carriedEntries: 0 }) as ReturnType<Drain["stats"]>,
    stop: async () => {},
  };
  const count = (name: BlobName, by: number): void => {
    const now = (owed.get(keyOf(name)) ?? 0) + by;
    owed.set(keyOf(name), now);
    least.set(keyOf(name), Math.min(least.get(keyOf(name)) ?? now, now));
  };
  const made: Scene = {
    ...{ journal, told, owed, least, adoptions, released, kept, generation: 0 },
    flushed: async () => ({ kind: "done" }),
    adopt: async () => true,
    settle: (work) => clock.settle(work),
    restart: () => {
      life.end();
      disk.powerLoss();
      return scene(world);
    },
    desk: createDesk({
      ...{ journal, staging, drain, disk, clock, keyOf, mayCarry: (account) => account === "a", log: () => {} },
      aliases: { ended: () => {}, of: () => null },
      signals: {
        owed: count,
        recovered: (names) => {
          for (const name of names) count(name, 1);
        },
        moved: (name) => void told.push(`moved ${name.blob}`),
        unmoved: (_name, generation) => generation[0] === made.generation,
      },
    }),
  };
  desk = made.desk;
  return made;
}

function simulated() {
  const random = seededRandom(3);
  const clock = createSimClock();
  const delays = { ioMsMax: 1, syncMsMax: 5 };
  return { random, clock, disk: createSimDisk({ random: random.fork(), clock, capacityBytes: 8 << 20, delays }) };
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function put(blob: string, text: string, more: Partial<NewWrite> = {}): NewWrite {
  const details = { sizeBytes: text.length, headers: [], contentMd5: null, contentCrc64: null };
  const content = { kind: "inline", bytes: bytesOf(text) } as const;
  const write = { path: "p/", name: nameOf(blob), base: { kind: "none" }, basedAt: null, judgedOn: "any" } as const;
  return { ...write, kind: "put", put: details, content, ...more } as NewWrite;
}

const written = async (s: Scene, write: NewWrite): Promise<number> => {
  const outcome = await s.settle(s.desk.write(HOLDER, write));
  if (outcome.kind !== "written") throw new Error(outcome.kind);
  return outcome.entry.seq;
};

const GENERATION: Generation = [0, 0, 0];

describe("the desk", () => {
  test("counts a write before its client hears of it, and voids what readers remember", async () => {
    const s = await scene();
    await written(s, put("b", "one"));
    expect(s.told).toEqual(["moved b", "wake"]);
    expect(s.owed.get("a/c/b")).toBe(1);
    expect(await s.settle(s.desk.latest(nameOf("b")))).toMatchObject({ kind: "put", put: { sizeBytes: 3 } });
  });

  test("never shows nothing owed while a later write takes an earlier one's place", async () => {
    const s = await scene();
    await written(s, put("b", "one"));
    await written(s, put("b", "two"));
    expect(s.owed.get("a/c/b")).toBe(1);
    expect(s.least.get("a/c/b")).toBe(1);
  });

  test("gives ETags that rise, that the lake never gives, also after a restart", async () => {
    const s = await scene();
    const etags: string[] = [];
    const take = async (from: Scene, blob: string): Promise<void> => {
      await written(from, put(blob, "x"));
      const entry = from.journal.view.latest(nameOf(blob));
      if (entry?.kind === "put") etags.push(entry.put.etag);
    };
    for (const blob of ["a", "b"]) await take(s, blob);
    const later = await s.restart();
    await take(later, "c");
    expect(etags).toEqual([...new Set(etags)].sort());
    for (const etag of etags) expect(etag).toMatch(/^"0x0F[0-9A-F]{13}"$/);
  });

  test("says that the lake is to be asked again when something moved since it was asked", async () => {
    const s = await scene();
    s.generation = 1;
    const stale = put("b", "one", { basedAt: GENERATION, base: { kind: "etag", etag: '"old"' } });
    expect(await s.settle(s.desk.write(HOLDER, stale))).toEqual({ kind: "moved" });
    await written(s, put("b", "one", { basedAt: [1, 0, 0] }));
    // What is pending is the base now: whatever the lake said does not matter.
    await written(s, put("b", "two", { basedAt: GENERATION }));
  });

  test("lets one of two writers win that judged on the same version", async () => {
    const s = await scene();
    const both = await s.settle(
      Promise.all(["one", "two"].map((text) => s.desk.write(HOLDER, put("b", text, { judgedOn: null })))),
    );
    expect(both.map(({ kind }) => kind).sort()).toEqual(["moved", "written"]);
  });

  test("knows after a power loss what is owed", async () => {
    const s = await scene();
    await written(s, put("b", "one"));
    await s.settle(s.desk.stage(HOLDER, { name: nameOf("c"), blockId: "AAAA", span: spanOf(5, 10) }));
    const later = await s.restart();
    expect([...later.owed]).toEqual([
      ["a/c/b", 1],
      ["a/c/c", 1],
    ]);
    expect(new TextDecoder().decode((await later.settle(later.desk.inline(1))) ?? undefined)).toBe("one");
  });

  test("counts staged blocks once a blob, until they are committed or dropped", async () => {
    const s = await scene();
    const stage = (blockId: string, fileId: number) =>
      s.settle(s.desk.stage(HOLDER, { name: nameOf("b"), blockId, span: spanOf(fileId, 10) }));
    await stage("AAAA", 5);
    await stage("BBBB", 6);
    expect(s.owed.get("a/c/b")).toBe(1);
    expect(s.kept).toEqual([5, 6]);
    const spans = [{ stagedBlock: "AAAA" }, { stagedBlock: "BBBB" }];
    await written(s, put("b", "x".repeat(20), { content: { kind: "spans", spans } } as Partial<NewWrite>));
    expect(s.owed.get("a/c/b")).toBe(1);
    expect(s.least.get("a/c/b")).toBe(1);
    expect(s.kept).toEqual([5, 6]);
  });

  test("offers what the lake has taken to the cache before its files go, and counts it no more", async () => {
    const s = await scene();
    let answer: (kept: boolean) => void = () => {};
    s.adopt = () => new Promise((resolve) => (answer = resolve));
    const content = { kind: "spans", spans: [{ ...spanOf(9, 10), blockId: "" }] };
    const seq = await written(s, put("b", "x".repeat(10), { content } as Partial<NewWrite>));
    await s.settle(s.journal.move(seq, { name: "begin" }));
    await s.settle(s.journal.move(seq, { name: "settle", lakeEtag: '"0x8D"' }));
    expect(s.owed.get("a/c/b")).toBe(0);
    expect(s.told.at(-1)).toBe("moved b");
    expect(s.adoptions).toMatchObject([{ key: "a/c/b", etag: '"0x8D"', sizeBytes: 10, spans: [{ fileId: 9 }] }]);
    expect(s.released).toEqual([]);
    answer(true);
    await s.settle(Promise.resolve());
    expect(s.released).toEqual([9]);
  });

  test("keeps nothing warm of a version that was written over meanwhile", async () => {
    const s = await scene();
    const content = { kind: "spans", spans: [{ ...spanOf(9, 10), blockId: "" }] };
    const seq = await written(s, put("b", "x".repeat(10), { content } as Partial<NewWrite>));
    await s.settle(s.journal.move(seq, { name: "begin" }));
    await written(s, put("b", "later"));
    await s.settle(s.journal.move(seq, { name: "settle", lakeEtag: '"0x8D"' }));
    expect(s.adoptions).toEqual([]);
    expect(s.released).toEqual([9]);
    expect(s.least.get("a/c/b")).toBe(1);
  });

  test("a fence waits for writes that passed before, holds back those after, and falls with its holder", async () => {
    const s = await scene();
    const order: string[] = [];
    s.flushed = async () => {
      order.push(`flush with ${[...s.journal.view.entries()].length} pending`);
      return { kind: "done" };
    };
    const scope = { account: "a", container: "c", blob: null };
    const first = s.desk.write(HOLDER, put("b", "one"));
    const fence = s.desk.fence("server-1", scope, 1000);
    const second = s.desk.write(HOLDER, put("b", "two")).then(() => order.push("second"));
    const elsewhere = { ...put("b", "x"), name: nameOf("b", "other") };
    expect(await s.settle(s.desk.write(HOLDER, elsewhere))).toMatchObject({ kind: "written" });
    await s.settle(Promise.all([first, fence]));
    order.push("fenced");
    s.desk.holderGone("server-1");
    await s.settle(second);
    expect(order).toEqual(["flush with 2 pending", "fenced", "second"]);
  });

  test("a fence that cannot be had stands no more", async () => {
    const s = await scene();
    s.flushed = async () => ({ kind: "parked", seqs: [4] });
    const scope = { account: "a", container: "c", blob: "b" };
    expect(await s.settle(failureOf(s.desk.fence(HOLDER, scope, 10)))).toMatchObject({ code: "overloaded" });
    await written(s, put("b", "one"));
  });

  test("takes nothing in that it could not carry, and gives up the files of what failed", async () => {
    const s = await scene();
    const foreign = { ...put("b", "x"), name: { account: "z", container: "c", blob: "b" } };
    expect(await s.settle(s.desk.write(HOLDER, foreign))).toEqual({ kind: "refused", why: "no-credential" });
    const spans = [{ ...spanOf(9, 10), blockId: "" }, { stagedBlock: "AAAA" }];
    const missing = put("b", "x".repeat(10), { content: { kind: "spans", spans } } as Partial<NewWrite>);
    expect(await s.settle(s.desk.write(HOLDER, missing))).toEqual({ kind: "refused", why: "block-missing" });
    expect(s.released).toEqual([9]);
    expect(s.owed.get("a/c/b")).toBe(0);
  });

  test("blocks that nobody commits are forgotten after a week", async () => {
    const world = simulated();
    const s = await scene(world);
    await s.settle(s.desk.stage(HOLDER, { name: nameOf("b"), blockId: "AAAA", span: spanOf(5, 10) }));
    await s.settle(s.desk.dropOldBlocks());
    expect(s.owed.get("a/c/b")).toBe(1);
    await world.clock.advance(8 * 24 * 3_600_000);
    await s.settle(s.desk.dropOldBlocks());
    expect(s.owed.get("a/c/b")).toBe(0);
    expect(s.released).toEqual([5]);
  });
});
