import { describe, expect, test } from "bun:test";
import { failureOf } from "../../sim/failure.ts";
import { createJournalWorld, deletionOf, type JournalWorld, nameOf, putOf, putWith, spanOf } from "./test-support.ts";
import type { Entry, Journal, NewEntry } from "./types.ts";

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const settled = { name: "settle", lakeEtag: '"lake"' } as const;

async function drain(w: JournalWorld, journal: Journal, seq: number): Promise<void> {
  await w.clock.settle(journal.move(seq, { name: "begin" }));
  expect(await w.clock.settle(journal.move(seq, settled))).toMatchObject({ kind: "moved" });
}

const blobs = (entries: Iterable<Entry>): string[] => [...entries].map(({ name }) => name.blob);

describe("a journal", () => {
  test("keeps what it acknowledged through a stop, a kill and a power loss", async () => {
    for (const how of ["stop", "kill", "power"] as const) {
      const w = createJournalWorld(7);
      const first = await w.open();
      expect(first.recovery).toMatchObject({ records: 0, entries: 0, damage: [] });
      const put = await w.clock.settle(first.journal.append(putOf("one", "hello")));
      const gone = await w.clock.settle(first.journal.append(deletionOf("two")));
      const block = { name: nameOf("three"), blockId: "AAAA", span: spanOf(5, 1000) };
      await w.clock.settle(first.journal.stage(block));
      expect(gone.seq).toBeGreaterThan(put.seq);
      if (how === "stop") await w.clock.settle(first.journal.stop());
      if (how === "kill") w.disk.killProcesses();
      if (how === "power") w.disk.powerLoss();
      const second = await w.open();
      const { view } = second.journal;
      expect(second.recovery).toMatchObject({ entries: 2, stagedBlocks: 1, damage: [] });
      const found = view.latest(nameOf("one"));
      // Its bytes may stand elsewhere now.
      expect(found).toMatchObject({ ...put, content: { kind: "inline" } });
      expect(view.latest(nameOf("two"))).toEqual(gone);
      expect(view.blocksOf(nameOf("three"))).toMatchObject([block]);
      expect(text(await w.clock.settle(second.journal.readInline(put.seq)))).toBe("hello");
      const next = await w.clock.settle(second.journal.append(putOf("four", "x")));
      expect(next.seq).toBeGreaterThan(gone.seq);
      expect(view.holdsFile(5)).toBe(true);
    }
  });

  test("makes many appends durable with one flush", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const before = journal.stats().batches;
    const all = Array.from({ length: 50 }, (_, n) => journal.append(putOf(`b${n}`, "x")));
    const entries = await w.clock.settle(Promise.all(all));
    expect(journal.stats().batches - before).toBe(1);
    expect(entries.map(({ seq }) => seq)).toEqual([...entries.map(({ seq }) => seq)].sort((a, b) => a - b));
    expect(blobs(journal.view.pendingOf("p/"))).toEqual(entries.map(({ name }) => name.blob));
  });

  test("shows nothing before it is durable", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const write = journal.append(putOf("one", "x"));
    expect(journal.view.latest(nameOf("one"))).toBeNull();
    await w.clock.settle(write);
    expect(journal.view.latest(nameOf("one"))).not.toBeNull();
  });

  test("commits staged blocks without copying them, and frees what is not named", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const name = nameOf("big");
    for (const [n, id] of ["AAA=", "BBB=", "CCC="].entries()) {
      await w.clock.settle(journal.stage({ name, blockId: id, span: spanOf(n + 1, 10) }));
    }
    await w.clock.settle(journal.stage({ name, blockId: "AAA=", span: spanOf(9, 20) }));
    expect(w.freed).toEqual([1]);
    const spans = [{ stagedBlock: "BBB=" }, { stagedBlock: "AAA=" }, { stagedBlock: "BBB=" }];
    const wrong = journal.append(putWith("big", { kind: "spans", spans: [{ stagedBlock: "DDD=" }] }, 10));
    expect(await failureOf(w.clock.settle(wrong))).toMatchObject({ code: "gone" });
    const put = await w.clock.settle(journal.append(putWith("big", { kind: "spans", spans }, 40)));
    expect(put).toMatchObject({ content: { spans: [{ blockId: "BBB=", fileId: 2 }, { fileId: 9 }, { fileId: 2 }] } });
    expect(w.freed).toEqual([1, 3]);
    expect(journal.view.blocksOf(name)).toEqual([]);
    expect(journal.view.totals()).toMatchObject({ stagedBlocks: 0, stagedBytes: 0, pendingBytes: 40 });
    await drain(w, journal, put.seq);
    expect(w.freed).toEqual([1, 3, 2, 9]);
    expect(w.ended).toMatchObject([{ seq: put.seq, state: { name: "settled", lakeEtag: '"lake"' } }]);
  });

  test("a block staged and named in one go is found, and dropped blocks are forgotten", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const stage = journal.stage({ name: nameOf("big"), blockId: "AA", span: spanOf(1, 10) });
    const put = journal.append(putWith("big", { kind: "spans", spans: [{ stagedBlock: "AA" }] }, 10));
    await w.clock.settle(Promise.all([stage, put]));
    await w.clock.settle(journal.stage({ name: nameOf("big"), blockId: "AB", span: spanOf(2, 10) }));
    await w.clock.settle(journal.dropBlocks(nameOf("big")));
    await w.clock.settle(journal.dropBlocks(nameOf("nothing")));
    expect(w.freed).toEqual([2]);
    w.disk.powerLoss();
    const { journal: again } = await w.open();
    expect(again.view.blocksOf(nameOf("big"))).toEqual([]);
    expect(again.view.holdsFile(1)).toBe(true);
    expect(again.view.holdsFile(2)).toBe(false);
  });

  test("says what the next one of a blob will find in the lake", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const one = await w.clock.settle(journal.append(putOf("x", "1")));
    await w.clock.settle(journal.move(one.seq, { name: "begin" }));
    const two = await w.clock.settle(journal.append(deletionOf("x")));
    const three = await w.clock.settle(journal.append(putOf("other", "1")));
    const four = await w.clock.settle(journal.append(putOf("x", "4")));
    expect([two.base, three.base, four.base]).toEqual([
      { kind: "entry", seq: one.seq },
      { kind: "none" },
      { kind: "entry", seq: two.seq },
    ]);
    await w.clock.settle(journal.move(one.seq, settled));
    expect(journal.view.entry(two.seq)?.base).toEqual({ kind: "etag", etag: '"lake"' });
    w.disk.powerLoss();
    const { journal: again } = await w.open();
    expect(again.view.entry(two.seq)?.base).toEqual({ kind: "etag", etag: '"lake"' });
    await w.clock.settle(again.move(two.seq, { name: "discard" }));
    expect(again.view.entry(four.seq)?.base).toEqual({ kind: "etag", etag: '"lake"' });
  });

  test("says so at the next start, too, when the record of the earlier one has gone with its file", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const append = (entry: NewEntry): Promise<Entry> => w.clock.settle(journal.append(entry));
    const first = await append(putOf("a", "1"));
    for (let n = 0; n < 8; n++) {
      const filler = await append(putOf(`filler ${n}`, "x".repeat(10_000), "q/"));
      await drain(w, journal, filler.seq);
    }
    const last = await append(putOf("a", "2", "r/"));
    expect(last.base).toEqual({ kind: "entry", seq: first.seq });
    await drain(w, journal, first.seq);
    await w.clock.advance(2_000);
    const again = await w.open();
    expect(again.journal.stats().removedSegments + journal.stats().removedSegments).toBeGreaterThan(0);
    expect(again.journal.view.latest(nameOf("a"))?.base).toEqual({ kind: "etag", etag: '"lake"' });
  });

  test("a later write takes the place of one that nobody could miss", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const one = await w.clock.settle(journal.append(putOf("latest", "1")));
    const two = await w.clock.settle(journal.append(putOf("latest", "2")));
    expect(w.ended).toMatchObject([{ seq: one.seq, state: { name: "superseded", by: two.seq } }]);
    expect(two.base).toEqual({ kind: "none" });
    // Something of the path came in between: the lake has to see both.
    await w.clock.settle(journal.append(putOf("shard", "s")));
    const three = await w.clock.settle(journal.append(putOf("latest", "3")));
    expect(blobs(journal.view.pendingOf("p/"))).toEqual(["latest", "shard", "latest"]);
    // The lake may have heard of it.
    await w.clock.settle(journal.move(three.seq, { name: "begin" }));
    const four = await w.clock.settle(journal.append(putOf("latest", "4")));
    expect(four.base).toEqual({ kind: "entry", seq: three.seq });
    // Another path has an order of its own.
    const five = await w.clock.settle(journal.append(putOf("latest", "5", "q/")));
    expect(five.base).toEqual({ kind: "entry", seq: four.seq });
    w.disk.killProcesses();
    const { journal: again } = await w.open();
    expect(again.view.entry(one.seq)).toBeNull();
    expect(again.view.latest(nameOf("latest"))?.seq).toBe(five.seq);
  });

  test("what takes a place while the one before it settles hears what that left in the lake", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const one = await w.clock.settle(journal.append(putOf("x", "1")));
    await w.clock.settle(journal.move(one.seq, { name: "begin" }));
    const two = await w.clock.settle(journal.append(putOf("x", "2")));
    expect(two.base).toEqual({ kind: "entry", seq: one.seq });
    // All in one batch, behind one that is being written.
    const before = journal.append(putOf("other", "o", "q/"));
    const settling = journal.move(one.seq, settled);
    const three = await w.clock.settle(journal.append(putOf("x", "3")));
    await w.clock.settle(Promise.all([before, settling]));
    expect(journal.view.entry(two.seq)).toBeNull();
    expect(journal.view.entry(three.seq)?.base).toEqual({ kind: "etag", etag: '"lake"' });
  });

  test("gives the entries of a path in order, and holds back what stands behind a parked one", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const one = await w.clock.settle(journal.append(putOf("a", "1")));
    const two = await w.clock.settle(journal.append(putOf("b", "1")));
    await w.clock.settle(journal.append(putOf("a", "2")));
    await w.clock.settle(journal.append(putOf("elsewhere", "1", "q/")));
    expect(journal.view.nextOf("p/", false)?.seq).toBe(one.seq);
    await w.clock.settle(journal.move(one.seq, { name: "park", reason: "403" }));
    expect(journal.view.nextOf("p/", false)).toBeNull();
    expect(journal.view.nextOf("p/", true)?.seq).toBe(two.seq);
    expect(journal.view.nextOf("q/", false)?.name.blob).toBe("elsewhere");
    await drain(w, journal, two.seq);
    expect(journal.view.nextOf("p/", true)).toBeNull();
    expect(journal.view.totals()).toMatchObject({ parkedEntries: 1, pendingEntries: 3 });
    expect(await w.clock.settle(journal.move(one.seq, { name: "retry" }))).toMatchObject({ kind: "moved" });
    expect(journal.view.nextOf("p/", false)?.seq).toBe(one.seq);
    expect([...journal.view.paths()].sort()).toEqual(["p/", "q/"]);
  });

  test("a conflict is kept until it was read, and holds nothing back", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const one = await w.clock.settle(journal.append(putOf("x", "mine")));
    await w.clock.settle(journal.move(one.seq, { name: "begin" }));
    await w.clock.settle(journal.move(one.seq, { name: "conflict", sideName: "x.forebay-1" }));
    expect(journal.view.latest(nameOf("x"))?.state.name).toBe("conflicted");
    await w.clock.settle(journal.move(one.seq, settled));
    expect(journal.view.latest(nameOf("x"))).toBeNull();
    expect(journal.view.totals()).toMatchObject({
      pendingEntries: 0,
      pendingBytes: 0,
      asideEntries: 1,
      inlineBytes: 0,
    });
    w.disk.powerLoss();
    const { journal: again } = await w.open();
    const state = { name: "aside", sideName: "x.forebay-1", lakeEtag: '"lake"' };
    expect([...again.view.entries()]).toMatchObject([{ seq: one.seq, state }]);
    await w.clock.settle(again.move(one.seq, { name: "dismiss" }));
    expect([...again.view.entries()]).toEqual([]);
  });

  test("refuses what the table does not have", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const one = await w.clock.settle(journal.append(putOf("x", "1")));
    expect(await w.clock.settle(journal.move(one.seq, settled))).toEqual({ kind: "refused", state: one.state });
    const both = [journal.move(one.seq, { name: "begin" }), journal.move(one.seq, { name: "discard" })];
    expect((await w.clock.settle(Promise.all(both))).map(({ kind }) => kind)).toEqual(["moved", "refused"]);
    expect(await w.clock.settle(journal.move(999, settled))).toEqual({ kind: "refused", state: null });
  });

  test("lists pending names in the lake's order", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    for (const blob of ["b", "a", "\u{1f600}", "\uffee", "a/b", "a-b"]) {
      await w.clock.settle(journal.append(putOf(blob, "1")));
    }
    await w.clock.settle(journal.append(deletionOf("a")));
    const { view } = journal;
    expect(blobs(view.namesFrom("a", "c", "", 100))).toEqual(["a", "a-b", "a/b", "b", "\uffee", "\u{1f600}"]);
    expect(view.namesFrom("a", "c", "a", 1)).toMatchObject([{ kind: "delete" }]);
    expect(blobs(view.namesFrom("a", "c", "a-c", 2))).toEqual(["a/b", "b"]);
    expect(view.namesFrom("a", "other", "", 100)).toEqual([]);
  });

  test("has bounds", async () => {
    const bounds = { entriesMax: 2, blocksPerBlobMax: 2, blocksMax: 3, inlineTotalBytesMax: 10 };
    const w = createJournalWorld(1, { bounds });
    const { journal } = await w.open();
    const block = (blob: string, blockId: string) => ({ name: nameOf(blob), blockId, span: spanOf(1, 1) });
    const overloaded = (work: Promise<unknown>) =>
      expect(w.clock.settle(work)).rejects.toMatchObject({ code: "overloaded" });
    const staged = ["1", "2", "3"].map((id) => journal.stage(block("x", id)));
    expect((await w.clock.settle(Promise.allSettled(staged))).map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
    ]);
    await w.clock.settle(journal.stage(block("x", "1")));
    await w.clock.settle(journal.stage(block("y", "1")));
    await overloaded(journal.stage(block("z", "1")));
    await overloaded(journal.append(putOf("a", "more than ten")));
    await w.clock.settle(journal.append(putOf("a", "1")));
    await w.clock.settle(journal.append(putOf("b", "1")));
    await overloaded(journal.append(putOf("c", "1")));
    const wrong = putWith("c", { kind: "spans", spans: [] }, 5);
    expect(await failureOf(w.clock.settle(journal.append(wrong)))).toBeInstanceOf(Error);
  });

  test("stops, and says so to those who come later", async () => {
    const w = createJournalWorld();
    const { journal } = await w.open();
    const last = journal.append(putOf("x", "1"));
    await w.clock.settle(journal.stop());
    expect(await last).toMatchObject({ name: { blob: "x" } });
    expect(await failureOf(w.clock.settle(journal.append(putOf("y", "1"))))).toMatchObject({ code: "closed" });
    expect(w.disk.openDescriptors).toBe(0);
    await w.clock.runUntilIdle();
  });
});
