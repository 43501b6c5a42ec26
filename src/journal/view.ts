/**
 * What is pending, in memory: rebuilt at start, changed only by records that are durable. Entries by number, by blob,
 * by policy path and by name, the staged blocks, and what each of them holds.
 */
import { assert } from "../base/assert.ts";
import { createFileUses, createHomes, filesOf, type Home, type Homes } from "./holdings.ts";
import { createSortedNames, type SortedNames } from "./names.ts";
import { blobKey, createStaged, type Staged } from "./staged.ts";
import { isEnded, isPending } from "./states.ts";
import type { Base, BlobName, Entry, EntryState, JournalListener, JournalTotals, JournalView } from "./types.ts";

/** The view with what its owner does to it. */
export interface LiveView extends JournalView {
  readonly homes: Homes;
  readonly staged: Staged;
  /** Spans of all entries and staged blocks. */
  readonly spans: number;
  readonly entryCount: number;
  /** Takes in an entry, the newest of all. */
  add(entry: Entry, home: Home): void;
  /** The entry was written again elsewhere. */
  moveHome(entry: Entry, home: Home): void;
  setState(seq: number, state: EntryState): Entry;
  /** The newest entry that a path ever had, as long as it has any. */
  newestOf(path: string): number | null;
}

export const entryHomeKey = (seq: number): string => `entry\u0000${seq}`;

/** What an entry that ended leaves in the lake under its name, as far as is known. */
export function baseAfter(entry: Entry): Base {
  return baseSettled(entry.state) ?? entry.base;
}

/** What is in the lake when an entry has settled; null: it did not. */
export function baseSettled(state: EntryState): Base | null {
  if (state.name !== "settled") return null;
  return state.lakeEtag === null ? { kind: "none" } : { kind: "etag", etag: state.lakeEtag };
}

/** `entry` in another state. What was set aside is in the lake: its bytes are needed no more. */
export function withState(entry: Entry, state: EntryState): Entry {
  if (state.name !== "aside" || entry.kind === "delete") return { ...entry, state };
  return { ...entry, state, content: { kind: "spans", spans: [] } };
}

interface PathQueue {
  readonly seqs: Set<number>;
  newest: number;
}

interface Sums {
  pendingBytes: number;
  parked: number;
  conflicted: number;
  inlineBytes: number;
  spans: number;
}

export function createView(listener: JournalListener): LiveView {
  const homes = createHomes();
  const uses = createFileUses();
  const freed = (ids: number[]): void => {
    if (ids.length > 0) listener.filesFreed(ids);
  };
  const staged = createStaged(homes, uses, freed);
  const all = new Map<number, Entry>();
  const pending = new Set<number>();
  const byBlob = new Map<string, number[]>();
  const byPath = new Map<string, PathQueue>();
  const byContainer = new Map<string, SortedNames>();
  const sums: Sums = { pendingBytes: 0, parked: 0, conflicted: 0, inlineBytes: 0, spans: 0 };

  const entryOf = (seq: number): Entry => {
    const entry = all.get(seq);
    assert(entry !== undefined, "an entry that is pending is known");
    return entry;
  };
  const tally = (entry: Entry, sign: 1 | -1): void => {
    if (entry.state.name === "parked") sums.parked += sign;
    if (entry.state.name === "conflicted") sums.conflicted += sign;
    if (entry.kind === "delete") return;
    if (isPending(entry.state)) sums.pendingBytes += sign * entry.put.sizeBytes;
    if (entry.content.kind === "inline") sums.inlineBytes += sign * entry.content.place.length;
    if (entry.content.kind === "spans") sums.spans += sign * entry.content.spans.length;
  };
  const replace = (entry: Entry): void => {
    tally(entryOf(entry.seq), -1);
    all.set(entry.seq, entry);
    tally(entry, 1);
  };
  const enlist = (entry: Entry): void => {
    pending.add(entry.seq);
    const key = blobKey(entry.name);
    const seqs = byBlob.get(key);
    if (seqs === undefined) {
      byBlob.set(key, [entry.seq]);
      namesOf(byContainer, entry.name).add(entry.name.blob);
    } else seqs.push(entry.seq);
    const path = byPath.get(entry.path) ?? { seqs: new Set(), newest: entry.seq };
    byPath.set(entry.path, path);
    path.seqs.add(entry.seq);
    path.newest = entry.seq;
  };
  /** Takes an entry from among the pending ones. What comes after it for the same blob learns what it left. */
  const delist = (entry: Entry): void => {
    if (!pending.delete(entry.seq)) return;
    const path = byPath.get(entry.path);
    path?.seqs.delete(entry.seq);
    if (path?.seqs.size === 0) byPath.delete(entry.path);
    const key = blobKey(entry.name);
    const seqs = byBlob.get(key) ?? [];
    seqs.splice(seqs.indexOf(entry.seq), 1);
    for (const seq of seqs) {
      const later = entryOf(seq);
      if (later.base.kind === "entry" && later.base.seq === entry.seq) replace({ ...later, base: baseAfter(entry) });
    }
    if (seqs.length > 0) return;
    byBlob.delete(key);
    const names = namesOf(byContainer, entry.name);
    names.remove(entry.name.blob);
    if (names.size === 0) byContainer.delete(containerKey(entry.name));
  };
  const latestOf = (key: string): Entry | null => {
    const seq = byBlob.get(key)?.at(-1);
    return seq === undefined ? null : entryOf(seq);
  };

  return {
    homes,
    staged,
    get spans() {
      return sums.spans + staged.count;
    },
    get entryCount() {
      return all.size;
    },
    add: (entry, home) => {
      assert(!all.has(entry.seq), "an entry is taken in once");
      all.set(entry.seq, entry);
      tally(entry, 1);
      homes.set(entryHomeKey(entry.seq), home);
      if (entry.kind === "put") uses.hold(filesOf(entry.content));
      if (isPending(entry.state)) enlist(entry);
    },
    moveHome: (entry, home) => {
      replace(entry);
      homes.set(entryHomeKey(entry.seq), home);
    },
    setState: (seq, state) => {
      const before = entryOf(seq);
      const entry = withState(before, state);
      replace(entry);
      if (isPending(state)) return entry;
      delist(entry);
      if (isEnded(state)) {
        tally(entry, -1);
        all.delete(seq);
        homes.delete(entryHomeKey(seq));
        listener.ended(entry);
      }
      if (before.kind === "put") freed(uses.release(filesOf(before.content)));
      return entry;
    },
    newestOf: (path) => byPath.get(path)?.newest ?? null,
    entry: (seq) => all.get(seq) ?? null,
    latest: (name) => latestOf(blobKey(name)),
    entries: () => all.values(),
    paths: () => [...byPath.keys()],
    pendingOf: (path) => [...(byPath.get(path)?.seqs ?? [])].map(entryOf),
    nextOf: (path, passParked) => nextOf(byPath.get(path)?.seqs ?? [], entryOf, passParked),
    blocksOf: staged.of,
    stagedBlock: staged.get,
    stagedBlobs: staged.blobs,
    namesFrom: (account, container, from, limit) => {
      const found: Entry[] = [];
      for (const blob of byContainer.get(`${account}/${container}`)?.from(from) ?? []) {
        if (found.length >= limit) break;
        const entry = latestOf(blobKey({ account, container, blob }));
        assert(entry !== null, "a name that is listed has an entry");
        found.push(entry);
      }
      return found;
    },
    holdsFile: uses.has,
    totals: () => totals(sums, staged, pending, all),
  };
}

const containerKey = (name: BlobName): string => `${name.account}/${name.container}`;

function namesOf(byContainer: Map<string, SortedNames>, name: BlobName): SortedNames {
  const key = containerKey(name);
  const names = byContainer.get(key) ?? createSortedNames();
  byContainer.set(key, names);
  return names;
}

function nextOf(seqs: Iterable<number>, entryOf: (seq: number) => Entry, passParked: boolean): Entry | null {
  const blocked = new Set<string>();
  for (const seq of seqs) {
    const entry = entryOf(seq);
    const parked = entry.state.name === "parked";
    if (parked && !passParked) return null;
    const key = blobKey(entry.name);
    if (parked) blocked.add(key);
    else if (!blocked.has(key)) return entry;
    // Behind its own parked one: it waits with it, and holds back no other blob either.
  }
  return null;
}

function totals(
  sums: Sums,
  staged: Staged,
  pending: ReadonlySet<number>,
  all: ReadonlyMap<number, Entry>,
): JournalTotals {
  const [oldest] = pending;
  return {
    pendingEntries: pending.size,
    pendingBytes: sums.pendingBytes,
    oldestAcknowledgedAtMs: oldest === undefined ? null : (all.get(oldest)?.acknowledgedAtMs ?? null),
    parkedEntries: sums.parked,
    conflictedEntries: sums.conflicted,
    asideEntries: all.size - pending.size,
    stagedBlocks: staged.count,
    stagedBytes: staged.bytes,
    inlineBytes: sums.inlineBytes,
  };
}
