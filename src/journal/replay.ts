/** What the records of a journal come to, in the order of their numbers: the entries and staged blocks that are left. */
import type { Home } from "./holdings.ts";
import type { Said } from "./records.ts";
import { blobKey } from "./staged.ts";
import { isEnded, isPending } from "./states.ts";
import type { Base, BlobName, Entry, EntryState, StagedBlock } from "./types.ts";
import { baseAfter, baseSettled, withState } from "./view.ts";

/** Something that lives, with where its record stands. */
export interface Living<T> {
  readonly value: T;
  readonly home: Home;
}

export interface Replay {
  take(said: Said, home: Home): void;
  /** In the order acknowledged. `damaged`: something was lost, so what looks new may have been in the lake's hands. */
  entries(damaged: boolean, nowMs: number): Living<Entry>[];
  blocks(): Living<StagedBlock>[];
}

const DAMAGED = "its bytes in the journal are damaged";

export function createReplay(): Replay {
  const entries = new Map<number, Living<Entry>>();
  /** What entries that ended left in the lake, for those that followed them. */
  const left = new Map<number, Base>();
  const staged = new Map<string, Map<string, Living<StagedBlock>>>();

  const move = (seq: number, state: EntryState): void => {
    const found = entries.get(seq);
    if (found === undefined) {
      // Its own record may have gone with an older file. What it left in the lake counts for those that followed it.
      const base = baseSettled(state);
      if (base !== null) left.set(seq, base);
      return;
    }
    const entry = withState(found.value, state);
    if (!isPending(state)) left.set(seq, baseAfter(entry));
    if (isEnded(state)) entries.delete(seq);
    else entries.set(seq, { value: entry, home: found.home });
  };
  const drop = (name: BlobName): void => void staged.delete(blobKey(name));
  const take = (said: Said, home: Home): void => {
    switch (said.kind) {
      case "entry":
        entries.set(said.entry.seq, { value: said.entry, home });
        if (said.supersedes !== null) move(said.supersedes, { name: "superseded", by: said.entry.seq });
        if (said.original && said.entry.kind === "put") drop(said.entry.name);
        break;
      case "block": {
        const key = blobKey(said.block.name);
        const blocks = staged.get(key) ?? new Map<string, Living<StagedBlock>>();
        staged.set(key, blocks.set(said.block.blockId, { value: said.block, home }));
        break;
      }
      case "move":
        move(said.seq, said.state);
        break;
      case "drop":
        drop(said.name);
        break;
      case "mark":
    }
  };
  /** What stands under the name when the entry's turn comes, as far as the entries before it are known to have ended. */
  const resolve = (base: Base): Base => {
    let now = base;
    while (now.kind === "entry" && !isLive(now.seq)) {
      const before: Base = left.get(now.seq) ?? { kind: "unknown" };
      // An entry follows older ones only, so this ends.
      now = before.kind === "entry" && before.seq >= now.seq ? { kind: "unknown" } : before;
    }
    return now;
  };
  const isLive = (seq: number): boolean => {
    const found = entries.get(seq);
    return found !== undefined && isPending(found.value.state);
  };
  return {
    take,
    entries: (damaged, nowMs) =>
      [...entries.values()]
        .sort((a, b) => a.value.seq - b.value.seq)
        .map(({ value, home }) => ({ value: mend({ ...value, base: resolve(value.base) }, damaged, nowMs), home })),
    blocks: () => [...staged.values()].flatMap((blocks) => [...blocks.values()]),
  };
}

function mend(entry: Entry, damaged: boolean, nowMs: number): Entry {
  if (entry.kind === "put" && entry.content.kind === "damaged" && isPending(entry.state)) return park(entry, nowMs);
  if (damaged && entry.state.name === "acknowledged") return { ...entry, state: { name: "draining" } };
  return entry;
}

/** An entry whose bytes are lost: it stays visible, so that nobody takes an older version for it. */
export function park(entry: Entry, nowMs: number): Entry {
  const state = { name: "parked", reason: DAMAGED, atMs: Math.floor(nowMs) } as const;
  return entry.kind === "put" ? { ...entry, state, content: { kind: "damaged" } } : { ...entry, state };
}
