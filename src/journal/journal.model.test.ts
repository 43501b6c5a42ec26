/**
 * The journal against what it promises, in random order over a disk that loses or tears what was not flushed, fails
 * flushes and fills up: nothing acknowledged is lost, doubled or reordered; what was never asked for, or was refused
 * and then made void, never appears; what ended stays ended; bytes are those that were written; and files do not pile up.
 *
 * FOREBAY_SEED and FOREBAY_RUNS replay and widen it.
 */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { KIB, MIB } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import { isEnded, isPending } from "./states.ts";
import { createJournalWorld, deletionOf, type JournalWorld, nameOf, putOf, putWith, spanOf } from "./test-support.ts";
import type { Entry, EntryEvent, EntryState, Journal, NewEntry } from "./types.ts";

const seed = Number(process.env["FOREBAY_SEED"] ?? 20260301);
const runs = Number(process.env["FOREBAY_RUNS"] ?? 50);

/** With FOREBAY_SEED, a failure is shown as it came. */
const replay = process.env["FOREBAY_SEED"] === undefined ? {} : { endOnFailure: true };

const BLOBS = ["a", "b", "c/d", "latest"];
const PATHS = ["p/", "q/"];
const IDS = ["AA==", "BB==", "CC=="];
const CAPACITY = 4 * MIB;

type Op =
  | { readonly op: "put"; readonly blob: number; readonly path: number; readonly length: number }
  | { readonly op: "delete"; readonly blob: number; readonly path: number }
  | { readonly op: "commit"; readonly blob: number; readonly path: number }
  | { readonly op: "stage"; readonly blob: number; readonly id: number }
  | { readonly op: "drop"; readonly blob: number }
  | { readonly op: "move"; readonly which: number; readonly event: EntryEvent["name"] }
  | { readonly op: "drain"; readonly which: number }
  | { readonly op: "advance"; readonly ms: number }
  | { readonly op: "faults"; readonly sync: number; readonly write: boolean; readonly full: boolean }
  | { readonly op: "power" | "kill" | "stop" };

const blob = fc.nat(BLOBS.length - 1);
const path = fc.constantFrom(0, 0, 0, 1);
const event = fc.constantFrom("begin", "settle", "park", "conflict", "retry", "discard", "export", "dismiss" as const);
const anyOp: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 14,
    arbitrary: fc.record({
      op: fc.constant("put" as const),
      blob,
      path,
      length: fc.oneof(fc.nat(200), fc.nat(9_000)),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("delete" as const), blob, path }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("commit" as const), blob, path }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant("stage" as const), blob, id: fc.nat(IDS.length - 1) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("drop" as const), blob }) },
  { weight: 8, arbitrary: fc.record({ op: fc.constant("move" as const), which: fc.nat(50), event }) },
  { weight: 10, arbitrary: fc.record({ op: fc.constant("drain" as const), which: fc.nat(50) }) },
  { weight: 6, arbitrary: fc.record({ op: fc.constant("advance" as const), ms: fc.nat(1500) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant("faults" as const),
      sync: fc.constantFrom(0, 0, 0.5, 1),
      write: fc.nat(3).map((n) => n === 0),
      full: fc.nat(3).map((n) => n === 0),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constantFrom("power", "power", "kill", "stop" as const) }) },
);

/** An append, as asked. `id` is in its ETag or, for a deletion, in its base. */
interface Asked {
  readonly id: string;
  readonly entry: NewEntry;
  readonly text: string | null;
}

interface Known {
  readonly asked: Asked;
  readonly seq: number;
  state: EntryState;
  /** States that it may be in after a failure: moves that nobody was told the outcome of, or that were refused. */
  moves: { readonly to: readonly string[]; refused: boolean }[];
}

const maybe = (known: Known): string[] => known.moves.flatMap(({ to }) => to);

/** A state without the moment when it came about. */
const textOf = (state: EntryState): string => JSON.stringify({ ...state, atMs: undefined });
const ENDS = ["settled", "superseded", "discarded", "exported", "dismissed"];
const mayHaveEnded = (known: Known): boolean =>
  maybe(known).some((text) => ENDS.some((name) => text.includes(`"name":"${name}"`)));

const idOf = (entry: Entry | NewEntry): string => {
  if (entry.kind === "put") return entry.put.etag;
  return entry.base.kind === "etag" ? entry.base.etag : "";
};

class Play {
  readonly w: JournalWorld;
  readonly chance;
  journal: Journal | null = null;
  life = 0;
  asked = 0;
  known = new Map<number, Known>();
  readonly over = new Set<number>();
  /** Appends whose outcome nobody was told, or that were refused when the disk failed. */
  unknown = new Set<Asked>();
  refused = new Set<Asked>();
  /** Staged blocks by blob, and the blobs whose blocks are in doubt. */
  staged = new Map<string, Map<string, number>>();
  unsure = new Map<string, number>();
  readonly counts = { acknowledged: 0, recovered: 0, settled: 0, refused: 0, carried: 0, removed: 0 };

  constructor(worldSeed: number) {
    this.chance = seededRandom(worldSeed);
    this.w = createJournalWorld(worldSeed, {
      capacityBytes: CAPACITY,
      delays: { ioMsMax: 2, syncMsMax: 10 },
      bounds: { segmentBytes: 64 * KIB, reserveBytes: 16 * KIB, batchBytesMax: 32 * KIB },
    });
  }

  heal(): void {
    Object.assign(this.w.disk.faults, { failSync: 0, failWrite: 0, capacityBytes: CAPACITY });
  }

  async start(): Promise<void> {
    this.heal();
    const { journal, recovery } = await this.w.open();
    expect(recovery.damage).toEqual([]);
    expect(journal.health()).toEqual({ ok: true });
    this.journal = journal;
    await this.reconcile(journal);
  }

  async end(how: "power" | "kill" | "stop"): Promise<void> {
    const { w } = this;
    const stats = this.journal?.stats();
    this.counts.carried += stats?.carriedRecords ?? 0;
    this.counts.removed += stats?.removedSegments ?? 0;
    // What runs without waiting for anything runs before the end.
    await w.clock.advance(0);
    if (how === "stop") await w.clock.settle(this.journal?.stop() ?? Promise.resolve());
    this.life++;
    if (how === "power") w.disk.powerLoss();
    else w.disk.killProcesses();
    // Some starts do not come to their end, whatever the disk does meanwhile.
    for (let n = this.chance.below(3); n > 0; n--) {
      await w.openInVain(this.chance.below(150));
      if (this.chance.chance(0.5)) w.disk.powerLoss();
      else w.disk.killProcesses();
    }
    await this.start();
  }

  /** What a new life found: all that was acknowledged, and of the rest what happens to be there. */
  async reconcile(journal: Journal): Promise<void> {
    const { view } = journal;
    const open = new Map([...this.unknown, ...this.refused].map((asked) => [asked.id, asked]));
    for (const entry of view.entries()) {
      if (this.known.has(entry.seq)) continue;
      expect(this.over.has(entry.seq)).toBe(false);
      const asked = open.get(idOf(entry)) ?? open.get(deletionIdOf(entry, open));
      if (asked === undefined) throw new Error(`entry ${entry.seq} ${idOf(entry)} was never asked for`);
      open.delete(asked.id); // once
      expect({ path: entry.path, name: entry.name, kind: entry.kind }).toEqual({
        path: asked.entry.path,
        name: asked.entry.name,
        kind: asked.entry.kind,
      });
      this.known.set(entry.seq, { asked, seq: entry.seq, state: entry.state, moves: [] });
      this.counts.recovered++;
    }
    for (const known of [...this.known.values()]) {
      const entry = view.entry(known.seq);
      if (entry !== null) {
        expect([textOf(known.state), ...maybe(known)]).toContain(textOf(entry.state));
        known.state = entry.state;
      } else {
        const follower = [...this.known.values()].some(
          (other) => other.seq > known.seq && other.asked.entry.name.blob === known.asked.entry.name.blob,
        );
        const superseded = known.state.name === "acknowledged" && (follower || open.size > 0);
        expect(superseded || mayHaveEnded(known)).toBe(true);
        this.forget(known.seq);
      }
      known.moves = [];
    }
    this.unknown.clear();
    this.refused.clear();
    for (const blob of BLOBS) {
      const found = new Map(view.blocksOf(nameOf(blob)).map((b) => [b.blockId, b.span.fileId]));
      if (!this.unsure.has(blob)) expect(found).toEqual(this.staged.get(blob) ?? new Map());
      this.staged.set(blob, found);
    }
    this.unsure.clear();
    await this.checkBytes(journal);
    this.check();
  }

  forget(seq: number): void {
    this.known.delete(seq);
    this.over.add(seq);
  }

  async checkBytes(journal: Journal): Promise<void> {
    for (const { seq, asked } of this.known.values()) {
      const entry = journal.view.entry(seq);
      if (entry?.kind !== "put" || entry.content.kind !== "inline") continue;
      const bytes = await this.w.clock.settle(journal.readInline(seq));
      expect(new TextDecoder().decode(bytes)).toBe(asked.text ?? "");
    }
  }

  /** Something is durable: what was refused before it never happened. */
  succeeded(): void {
    this.refused.clear();
    for (const known of this.known.values()) known.moves = known.moves.filter(({ refused }) => !refused);
    for (const [blob, inFlight] of this.unsure) if (inFlight === 0) this.unsure.delete(blob);
  }

  /** Runs a call whose effect on a blob's blocks is in doubt until it ended. */
  async call<T>(work: Promise<T>, blob: string | null, done: (value: T) => void, failed: () => void): Promise<void> {
    const { life } = this;
    const mark = (delta: number): void => {
      if (blob !== null) this.unsure.set(blob, (this.unsure.get(blob) ?? 0) + delta);
    };
    mark(1);
    work.then(
      (value) => {
        if (life !== this.life) return;
        mark(-1);
        done(value);
      },
      () => {
        if (life !== this.life) return;
        mark(-1);
        this.counts.refused++;
        failed();
      },
    );
    if (this.chance.chance(0.6)) await this.w.clock.advance(this.chance.below(12));
  }

  append(journal: Journal, entry: NewEntry, text: string | null): Promise<void> {
    const asked = { id: idOf(entry), entry, text };
    this.unknown.add(asked);
    const done = (got: Entry): void => {
      this.unknown.delete(asked);
      this.succeeded();
      this.counts.acknowledged++;
      // Numbers are given in the order in which appends were made.
      for (const seq of this.known.keys()) expect(got.seq).toBeGreaterThan(seq);
      this.known.set(got.seq, { asked, seq: got.seq, state: got.state, moves: [] });
      if (entry.kind === "put") this.staged.delete(entry.name.blob);
      this.noteEnded(journal);
    };
    const failed = (): void => {
      this.unknown.delete(asked);
      this.refused.add(asked);
    };
    return this.call(journal.append(entry), entry.kind === "put" ? entry.name.blob : null, done, failed);
  }

  /** What ended by being superseded: only what nobody could miss. */
  noteEnded(journal: Journal): void {
    for (const entry of this.w.ended.splice(0)) {
      if (entry.state.name !== "superseded") continue;
      const { by } = entry.state;
      const between = [...this.known.values()].filter(
        ({ seq, asked, state }) => seq > entry.seq && seq < by && asked.entry.path === entry.path && isPending(state),
      );
      expect(between.filter(({ seq }) => journal.view.entry(seq) !== null)).toEqual([]);
      this.forget(entry.seq);
    }
  }

  move(journal: Journal, seq: number, name: EntryEvent["name"]): Promise<void> {
    const known = this.known.get(seq);
    if (known === undefined) return Promise.resolve();
    const event = eventOf(name, known.asked.entry.kind);
    // Whatever it may lead to: the outcome of a move that nobody waits for is not known.
    const one = { to: outcomesOf(event).map(textOf), refused: false };
    known.moves.push(one);
    const done = (moved: Awaited<ReturnType<Journal["move"]>>): void => {
      known.moves.splice(known.moves.indexOf(one), 1);
      if (moved.kind === "refused") return;
      this.succeeded();
      known.state = moved.entry.state;
      if (known.state.name === "settled") this.counts.settled++;
      if (isEnded(known.state)) this.forget(seq);
    };
    return this.call(journal.move(seq, event), null, done, () => {
      one.refused = true;
    });
  }

  async step(op: Op): Promise<void> {
    const { journal, w } = this;
    if (journal === null) return;
    const blob = "blob" in op ? (BLOBS[op.blob] ?? "") : "";
    const path = "path" in op ? (PATHS[op.path] ?? "") : "";
    const id = `"${this.asked++}"`;
    switch (op.op) {
      case "put": {
        const text = id.padEnd(op.length, "x");
        const entry = putOf(blob, text, path);
        if (entry.kind === "delete") return;
        return this.append(journal, { ...entry, put: { ...entry.put, etag: id } }, text);
      }
      case "delete":
        return this.append(journal, { ...deletionOf(blob, path), base: { kind: "etag", etag: id } }, null);
      case "commit": {
        const blocks = journal.view.blocksOf(nameOf(blob));
        const length = blocks.reduce((sum, { span }) => sum + span.length, 0);
        const spans = blocks.map(({ blockId }) => ({ stagedBlock: blockId }));
        const entry = putWith(blob, { kind: "spans", spans }, length, path);
        if (entry.kind === "delete") return;
        return this.append(journal, { ...entry, put: { ...entry.put, etag: id } }, null);
      }
      case "stage": {
        const blockId = IDS[op.id] ?? "";
        const span = spanOf(this.asked, 10);
        const done = (): void => {
          this.succeeded();
          const blocks = this.staged.get(blob) ?? new Map<string, number>();
          this.staged.set(blob, blocks.set(blockId, span.fileId));
        };
        return this.call(journal.stage({ name: nameOf(blob), blockId, span }), blob, done, () => {});
      }
      case "drop":
        return this.call(
          journal.dropBlocks(nameOf(blob)),
          blob,
          () => void this.staged.delete(blob),
          () => {},
        );
      case "move":
        return this.move(journal, this.pick(op.which), op.event);
      case "drain": {
        const seq = this.pick(op.which);
        await this.move(journal, seq, "begin");
        await w.clock.advance(20);
        return this.journal === journal ? this.move(journal, seq, "settle") : undefined;
      }
      case "advance":
        return w.clock.advance(op.ms);
      case "faults":
        w.disk.faults.failSync = op.sync;
        w.disk.faults.failWrite = op.write ? 0.3 : 0;
        w.disk.faults.capacityBytes = op.full ? w.disk.usedBytes : CAPACITY;
        return;
      default:
        return this.end(op.op);
    }
  }

  pick(which: number): number {
    const seqs = [...this.known.keys()];
    return seqs[which % Math.max(1, seqs.length)] ?? 0;
  }

  /** What has to hold at any moment. */
  check(): void {
    const view = this.journal?.view;
    if (view === undefined) return;
    let before = 0;
    for (const { seq, state } of view.entries()) {
      expect(seq).toBeGreaterThan(before);
      before = seq;
      const known = this.known.get(seq);
      if (known === undefined) throw new Error(`entry ${seq} was not acknowledged`);
      if (textOf(known.state) !== textOf(state)) expect(maybe(known)).toContain(textOf(state));
    }
    for (const known of this.known.values()) {
      if (view.entry(known.seq) === null) expect(mayHaveEnded(known)).toBe(true);
    }
    for (const path of PATHS) {
      const seqs = [...view.pendingOf(path)].map(({ seq }) => seq);
      expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
    }
    for (const entry of view.namesFrom("a", "c", "", 100)) expect(view.latest(entry.name)).toEqual(entry);
  }

  /** When all is drained, next to nothing is left. */
  async finish(): Promise<void> {
    this.heal();
    const { journal, w } = this;
    if (journal === null) return;
    await w.clock.advance(5_000);
    for (const seq of [...this.known.keys()]) {
      for (const name of ["retry", "begin", "settle", "settle", "dismiss"] as const) {
        await this.move(journal, seq, name);
        await w.clock.advance(40);
      }
    }
    for (const blob of BLOBS) await w.clock.settle(journal.dropBlocks(nameOf(blob)));
    await w.clock.advance(5_000);
    expect([...journal.view.entries()]).toEqual([]);
    expect(journal.health()).toEqual({ ok: true });
    const stats = journal.stats();
    expect(stats).toMatchObject({ pendingBytes: 0, inlineBytes: 0, stagedBlocks: 0, pendingEntries: 0 });
    expect(stats.segments).toBeLessThanOrEqual(5);
    this.counts.carried += stats.carriedRecords;
    this.counts.removed += stats.removedSegments;
    await w.clock.settle(journal.stop());
    expect(w.disk.openDescriptors).toBe(0);
  }
}

function eventOf(name: EntryEvent["name"], kind: Entry["kind"]): EntryEvent {
  switch (name) {
    case "settle":
      return { name, lakeEtag: kind === "put" ? '"lake"' : null };
    case "park":
      return { name, reason: "refused" };
    case "conflict":
      return { name, sideName: kind === "put" ? "side" : null };
    default:
      return { name };
  }
}

/** All states that an event may lead to, whatever the state before. */
function outcomesOf(event: EntryEvent): EntryState[] {
  const tags = [null, '"lake"'];
  const asides = ["side", null].flatMap((sideName) =>
    tags.map((lakeEtag): EntryState => ({ name: "aside", sideName, lakeEtag })),
  );
  switch (event.name) {
    case "begin":
    case "retry":
      return [{ name: "draining" }];
    case "settle":
      return [{ name: "settled", lakeEtag: event.lakeEtag }, ...asides];
    case "park":
      return [{ name: "parked", reason: "refused", atMs: 0 }];
    case "conflict":
      return [{ name: "conflicted", sideName: "side" }, ...asides];
    case "discard":
      return [{ name: "discarded" }];
    case "export":
      return [{ name: "exported" }];
    case "dismiss":
      return [{ name: "dismissed" }];
  }
}

/** A deletion that followed another entry has that as its base, and is told by what it deletes. */
function deletionIdOf(entry: Entry, open: ReadonlyMap<string, Asked>): string {
  if (entry.kind === "put") return "";
  const alike = [...open.values()].find(
    ({ entry: other }) => other.kind === "delete" && other.name.blob === entry.name.blob && other.path === entry.path,
  );
  return alike?.id ?? "";
}

test(`the journal keeps its promises (seed ${seed}, ${runs} runs)`, async () => {
  const totals: Record<string, number> = { lives: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.array(anyOp, { minLength: 40, maxLength: 200, size: "max" }),
      async (worldSeed, ops) => {
        const play = new Play(worldSeed);
        await play.start();
        for (const op of ops) {
          await play.step(op);
          play.check();
        }
        await play.finish();
        totals["lives"] = (totals["lives"] ?? 0) + play.life;
        for (const [name, count] of Object.entries(play.counts)) totals[name] = (totals[name] ?? 0) + count;
      },
    ),
    { seed, numRuns: runs, interruptAfterTimeLimit: 240_000, markInterruptAsFailure: false, ...replay },
  );
  // A run in which nothing happened proves nothing.
  for (const name of ["acknowledged", "recovered", "settled", "refused", "removed", "lives"]) {
    expect(`${name} ${(totals[name] ?? 0) > 0}`).toBe(`${name} true`);
  }
  if (process.env["FOREBAY_RUNS"] !== undefined) console.log(totals);
}, 300_000);
