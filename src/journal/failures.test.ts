/** What goes wrong with the disk: flushes that fail, no room, torn ends, flipped bits, files of others. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { failureOf } from "../../sim/failure.ts";
import { hasCode } from "../base/errors.ts";
import { KIB, MIB } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import { ByteReader, ByteWriter, Malformed } from "./bytes.ts";
import { decodeSaid, encodeSaid, KIND, type Said } from "./records.ts";
import { createJournalWorld, deletionOf, type JournalWorld, nameOf, putOf, putWith, spanOf } from "./test-support.ts";
import type { EntryEvent, Journal } from "./types.ts";

const HEALTHY = { failSync: 0, failWrite: 0, capacityBytes: 4 * MIB, readOnly: false };
const blobsIn = (journal: Journal): string[] => [...journal.view.entries()].map(({ name }) => name.blob).sort();
const append = (w: JournalWorld, journal: Journal, blob: string, text = "x") =>
  w.clock.settle(journal.append(putOf(blob, text)));
const files = (w: JournalWorld): string[] => w.disk.paths().filter((path) => path.endsWith(".journal"));

describe("a flush that fails", () => {
  test("is never tried again: its writes never happened, and the journal goes on in another file", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const w = createJournalWorld(seed);
      const { journal } = await w.open();
      await append(w, journal, "before");
      const used = files(w)[0] ?? "";
      w.disk.faults.failSync = 1;
      // It could not be made void, either: a crash now might bring it back. The second one was never written.
      expect(await failureOf(append(w, journal, "failed"))).toMatchObject({ code: "timeout" });
      expect(await failureOf(append(w, journal, "failed too"))).toMatchObject({ code: "flash-failed" });
      expect(journal.health()).toMatchObject({ ok: false });
      expect(blobsIn(journal)).toEqual(["before"]);
      const frozen = w.disk.contents(used);
      Object.assign(w.disk.faults, HEALTHY);
      await append(w, journal, "after");
      expect(journal.health()).toEqual({ ok: true });
      expect(w.disk.contents(used) ?? frozen).toEqual(frozen);
      if (seed % 2 === 0) w.disk.powerLoss();
      else w.disk.killProcesses();
      const { journal: again, recovery } = await w.open();
      expect(recovery.damage).toEqual([]);
      expect(blobsIn(again)).toEqual(["after", "before"]);
    }
  });

  test("is answered when it can never count, whatever happens then", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const w = createJournalWorld(seed);
      const { journal } = await w.open();
      await append(w, journal, "before");
      w.disk.faults.failSync = 1;
      const failing = failureOf(journal.append(putOf("failed", "x")));
      await w.clock.advance(6); // the flush has failed, the next one is under way
      w.disk.faults.failSync = 0;
      const failure = await w.clock.settle(failing);
      if (seed % 2 === 0) w.disk.powerLoss();
      else w.disk.killProcesses();
      const { journal: again } = await w.open();
      if (hasCode(failure, "flash-failed")) expect(blobsIn(again)).toEqual(["before"]);
      else expect(failure).toMatchObject({ code: "timeout" });
    }
  });

  test("what a killed process never flushed is flushed before anything else is promised", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const w = createJournalWorld(seed);
      const { journal } = await w.open();
      await append(w, journal, "one");
      const write = journal.append(putOf("two", "x"));
      write.catch(() => {});
      await w.clock.advance(2); // written, and perhaps not flushed
      w.disk.killProcesses();
      const { journal: second } = await w.open();
      const found = blobsIn(second);
      w.disk.powerLoss();
      const { journal: third } = await w.open();
      expect(blobsIn(third)).toEqual(found);
    }
  });
});

test("a start that is cut short leaves what it found, not half of what it wrote again", async () => {
  let kept = 0;
  for (let seed = 0; seed < 200; seed++) {
    const w = createJournalWorld(seed);
    const { journal } = await w.open();
    // In one batch: a block, and the put that makes it pointless.
    const stage = journal.stage({ name: nameOf("x"), blockId: "AA", span: spanOf(1, 10) });
    await w.clock.settle(Promise.all([stage, journal.append(putOf("x", "y".repeat(3_000)))]));
    w.disk.killProcesses();
    await w.openInVain(seed % 25);
    w.disk.powerLoss();
    const again = await w.open();
    kept += again.recovery.keptUnconfirmed > 0 ? 1 : 0;
    expect(again.recovery.damage).toEqual([]);
    expect(blobsIn(again.journal)).toEqual(["x"]);
    expect(again.journal.view.blocksOf(nameOf("x"))).toEqual([]);
  }
  expect(kept).toBeGreaterThan(10);
});

describe("a full disk", () => {
  test("takes no new write and still ends what is there", async () => {
    const w = createJournalWorld(3);
    const { journal } = await w.open();
    w.disk.faults.capacityBytes = w.disk.usedBytes;
    const written: number[] = [];
    let error: unknown = null;
    for (let n = 0; n < 100 && error === null; n++) {
      await append(w, journal, `b${n}`, "y".repeat(3_000)).then(
        ({ seq }) => void written.push(seq),
        (reason: unknown) => {
          error = reason;
        },
      );
    }
    expect(error).toMatchObject({ code: "flash-full" });
    expect(written.length).toBeGreaterThan(5);
    const patiently = async (seq: number, event: EntryEvent): Promise<void> => {
      for (let attempt = 0; attempt < 5; attempt++) {
        // Room may have to be made first.
        const [end] = await w.clock.settle(Promise.allSettled([journal.move(seq, event)]));
        if (end.status === "fulfilled") return expect(end.value.kind).toBe("moved");
        expect(end.reason).toMatchObject({ code: "flash-full" });
        await w.clock.advance(5_000);
      }
      throw new Error(`entry ${seq} could not be ended`);
    };
    for (const seq of written) {
      await patiently(seq, { name: "begin" });
      await patiently(seq, { name: "settle", lakeEtag: '"e"' });
    }
    expect(w.disk.usedBytes).toBeLessThanOrEqual(w.disk.faults.capacityBytes);
    await w.clock.advance(5_000);
    // What was freed is enough to go on, with no more room than before: the first of them at the latest makes room.
    await append(w, journal, "asks").catch(() => {});
    await w.clock.advance(5_000);
    await append(w, journal, "again");
    w.disk.powerLoss();
    const { journal: again } = await w.open();
    expect(blobsIn(again)).toContain("again");
  });

  test("or one that cannot be written, still opens, shows what is there and takes up again later", async () => {
    for (const fault of [{ capacityBytes: 0 }, { readOnly: true }]) {
      const w = createJournalWorld(4);
      const first = await w.open();
      await append(w, first.journal, "one");
      w.disk.killProcesses();
      Object.assign(w.disk.faults, fault);
      // The spare file is lost as well.
      const { journal } = await w.open();
      expect(blobsIn(journal)).toEqual(["one"]);
      if ("readOnly" in fault) {
        expect(await failureOf(append(w, journal, "two"))).toMatchObject({ code: "flash-failed" });
      }
      Object.assign(w.disk.faults, HEALTHY);
      await append(w, journal, "three");
      w.disk.powerLoss();
      expect(blobsIn((await w.open()).journal)).toContain("three");
    }
  });
});

describe("other copies", () => {
  test("are waited for, and a write that did not reach them is not acknowledged", async () => {
    const w = createJournalWorld(5);
    let [fail, batches] = [false, 0];
    const copies = {
      count: 2,
      others: async ({ term, bytes }: { readonly term: number; readonly bytes: Uint8Array }) => {
        expect(term).toBe(3);
        expect(bytes.length % 4096).toBe(0);
        batches++;
        if (fail) throw new Error("the other machine is away");
      },
    };
    const { journal } = await w.open({ term: 3, copies });
    expect(await append(w, journal, "one")).toMatchObject({ term: 3 });
    fail = true;
    expect(await failureOf(append(w, journal, "two"))).toBeInstanceOf(Error);
    fail = false;
    await append(w, journal, "three");
    expect(batches).toBeGreaterThanOrEqual(3);
    w.disk.killProcesses();
    expect(await failureOf(w.open({ term: 2 }))).toMatchObject({ code: "config" });
    expect(blobsIn((await w.open({ term: 4 })).journal)).toEqual(["one", "three"]);
  });
});

/** A journal with some of everything, flushed and confirmed. */
async function filled(seed: number): Promise<JournalWorld> {
  const w = createJournalWorld(seed);
  const { journal } = await w.open();
  for (let n = 0; n < 12; n++) await append(w, journal, `b${n}`, `text ${n} `.repeat(60));
  await w.clock.settle(journal.stage({ name: nameOf("s"), blockId: "AA", span: spanOf(77, 100) }));
  await w.clock.settle(journal.append(deletionOf("gone")));
  await w.clock.settle(
    journal.append(putWith("big", { kind: "spans", spans: [{ ...spanOf(8, 50), blockId: "" }] }, 50)),
  );
  await w.clock.advance(5_000);
  w.disk.killProcesses();
  return w;
}

describe("damage", () => {
  test("to what one record says is reported, and the rest is there", async () => {
    const w = await filled(1);
    const path = files(w)[0] ?? "";
    const at = Buffer.from(w.disk.contents(path) ?? []).indexOf("text 5 ");
    expect(w.disk.flipBit(path, at + 3, 2)).toBe(true);
    const { journal, recovery } = await w.open();
    expect(recovery.damage).toMatchObject([{ what: "content", file: path, name: { blob: "b5" } }]);
    const seq = recovery.damage[0]?.seq ?? 0;
    // It is seen, so that nobody reads an older version for it, and its bytes are not.
    const entry = journal.view.latest(nameOf("b5"));
    expect(entry).toMatchObject({ seq, state: { name: "parked" }, content: { kind: "damaged" } });
    expect(await failureOf(w.clock.settle(journal.readInline(seq)))).toMatchObject({ code: "flash-failed" });
    expect(blobsIn(journal).length).toBe(14);
    // Who knows what else was lost: the lake may have heard of all of them.
    const states = [...journal.view.entries()].map(({ state }) => state.name);
    expect(new Set(states)).toEqual(new Set(["draining", "parked"]));
    await w.clock.advance(10_000);
    w.disk.powerLoss();
    const again = await w.open();
    expect(again.recovery.damage).toEqual([]);
    expect(again.journal.view.latest(nameOf("b5"))).toMatchObject({ state: { name: "parked" } });
    await w.clock.settle(again.journal.move(seq, { name: "discard" }));
    expect(blobsIn(again.journal).length).toBe(13);
  });

  test("to names and heads is reported with the numbers of the records", async () => {
    const w = await filled(2);
    const path = files(w)[0] ?? "";
    const bytes = Buffer.from(w.disk.contents(path) ?? []);
    w.disk.flipBit(path, bytes.indexOf("text/plain", bytes.indexOf("text 3 ") - 200), 1);
    const head = Math.floor(bytes.indexOf("text 9 ") / 4096) * 4096;
    w.disk.flipBit(path, head + 20, 1);
    const { journal, recovery } = await w.open();
    expect(recovery.damage.map(({ what }) => what)).toEqual(["lost", "lost"]);
    expect(blobsIn(journal).length).toBe(12);
  });

  test("anywhere never throws, never invents and never goes unnoticed", async () => {
    const world = await filled(3);
    const original = new Map(files(world).map((path) => [path, world.disk.contents(path) ?? new Uint8Array()]));
    const { journal } = await world.open();
    const known = new Map([...journal.view.entries()].map((entry) => [entry.seq, entry.name.blob]));
    const total = known.size;
    let noticed = 0;
    for (let seed = 0; seed < 150; seed++) {
      const random = seededRandom(seed);
      const w = createJournalWorld(seed);
      w.disk.makeFolder("journal");
      let endHurt = false;
      for (const [path, bytes] of original) {
        const fd = w.disk.open(path, "create");
        const copy = bytes.slice();
        if (copy.some((byte) => byte !== 0)) endHurt ||= hurt(copy, seed, random.below);
        await w.clock.settle(w.disk.write(fd, copy, 0));
        w.disk.close(fd);
      }
      const { journal: found, recovery } = await w.open();
      for (const entry of found.view.entries()) expect(known.get(entry.seq)).toBe(entry.name.blob);
      const intact = [...found.view.entries()].filter(
        (e) => e.kind === "delete" || e.content.kind !== "damaged",
      ).length;
      if (recovery.damage.length > 0) noticed++;
      // The last batches look like an end that was torn if their confirmation went with them.
      else if (!endHurt) expect(intact).toBe(total);
      await append(w, found, "goes on");
    }
    expect(noticed).toBeGreaterThan(50);
  });

  test("formats, journals and files of others are told apart", async () => {
    const w = await filled(6);
    const [path = ""] = files(w);
    const fd = w.disk.open("journal/notes.txt", "create");
    w.disk.close(fd);
    expect((await w.open()).recovery.damage).toEqual([]);
    const other = w.disk.open(path.replace(/-.{16}/, "-0123456789abcdef").replace("000001", "000099"), "create");
    w.disk.close(other);
    expect(await failureOf(w.open())).toMatchObject({ code: "config" });
  });
});

/** Zeros, noise or a changed byte somewhere among what was written. True: the last record was among it. */
function hurt(bytes: Uint8Array, seed: number, below: (bound: number) => number): boolean {
  const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
  const at = below(end);
  const length = seed % 3 === 0 ? 1 : Math.min(end - at, 1 + below(6 * KIB));
  for (let i = at; i < at + length; i++) bytes[i] = seed % 3 === 1 ? 0 : below(256);
  return at + length > end - 4 * KIB;
}

describe("records", () => {
  test("are read back as they were written, and nothing else is", async () => {
    const w = createJournalWorld(9);
    const { journal } = await w.open();
    const put = await append(w, journal, "größe \u{1f600}", "abc");
    const entry = { ...put, state: { name: "aside", sideName: null, lakeEtag: '"e"' } } as const;
    const place = put.kind === "put" && put.content.kind === "inline" ? put.content.place : null;
    const block = { name: nameOf("b"), blockId: "AA==", span: spanOf(3, 4), stagedAtMs: 5 };
    const all: Said[] = [
      { kind: "entry", original: true, supersedes: 7, entry },
      { kind: "entry", original: false, supersedes: null, entry: { ...put, base: { kind: "entry", seq: 5 } } },
      { kind: "entry", original: false, supersedes: null, entry: { ...put, base: { kind: "unknown" } } },
      { kind: "block", block },
      { kind: "drop", name: nameOf("b") },
      { kind: "mark", oldestSegment: 4, voidAfter: 5, voidBefore: 6 },
      { kind: "move", seq: 8, state: { name: "parked", reason: "403", atMs: 9 } },
      { kind: "move", seq: 8, state: { name: "superseded", by: 10 } },
      { kind: "move", seq: 8, state: { name: "conflicted", sideName: "side" } },
      { kind: "move", seq: 8, state: { name: "settled", lakeEtag: null } },
    ];
    for (const said of all) {
      const bytes = encodeSaid(said);
      expect(decodeSaid(KIND[said.kind], bytes, place)).toEqual(said);
      for (let length = 0; length < bytes.length; length++) {
        expect(decodeSaid(KIND[said.kind], bytes.subarray(0, length), place)).toBeNull();
      }
    }
    fc.assert(
      fc.property(fc.nat(7), fc.uint8Array({ maxLength: 300 }), (kind, bytes) => {
        const said = decodeSaid(kind, bytes, place);
        if (said !== null && said.kind !== "entry") expect(Number(KIND[said.kind])).toBe(kind);
      }),
      { seed: 20260304, numRuns: 2_000 },
    );
  });

  test("numbers beyond what is safe, and texts that are none, are refused", () => {
    const out = new ByteWriter();
    expect(() => out.u64(2 ** 60)).toThrow();
    expect(() => out.text("\ud800")).toThrow();
    expect(() => new ByteReader(new Uint8Array(8).fill(255)).u64()).toThrow(Malformed);
    expect(() => new ByteReader(new Uint8Array([1, 0, 0, 0, 0xff])).text()).toThrow(Malformed);
    expect(() => new ByteReader(new Uint8Array([255, 255, 255, 255])).count(1)).toThrow(Malformed);
  });
});
