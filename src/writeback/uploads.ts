/**
 * All uploads of blocks, those of the entries whose turn it is and those ahead of their turn. The lake keeps
 * uncommitted blocks by blob and id, and throws them away at the blob's next commit: so under one name only one entry
 * has blocks under way, the oldest that the lake owes.
 */
import { limits } from "../base/limits.ts";
import type { BlobName, JournalView, PutEntry } from "../journal/types.ts";
import { type Content, contentOf } from "./content.ts";
import { type BlockParts, createUpload, type Upload } from "./upload.ts";

export interface Uploads {
  /** The upload of an entry's blocks under a name; made if need be. */
  of(entry: PutEntry, target: BlobName): Upload;
  /** Sends blocks of entries behind `headSeq` ahead, within the bounds. `isTurn`: that one's turn has just come. */
  ahead(path: string, headSeq: number, isTurn: boolean): void;
  /** The entry's turn is over. */
  forget(seq: number): void;
  /** Resolves when no request is under way. */
  quiet(): Promise<void>;
}

export interface AheadBounds {
  readonly aheadEntriesMax: number;
  readonly aheadBytesMax: number;
  readonly smallBytesMax: number;
  readonly pauseMsMax: number;
}

interface PathState {
  /** Turns since the path was last looked through. */
  turns: number;
  /** Whether more was pending than is sent ahead: then it is not looked through at every turn. */
  full: boolean;
}

const keyOf = (name: BlobName): string => `${name.account}/${name.container}/${name.blob}`;
/** Names remembered for blocks that may still arrive. */
const LOOSE_MAX = 4_096;
/** The lake refuses a request that is older than this. */
const LOOSE_MS = limits.clockSkewMs;
const BLOCKS_PER_ENTRY = 1_024;

export function createUploads(
  parts: BlockParts & { readonly view: JournalView; readonly isStopped: () => boolean },
  bounds: AheadBounds,
): Uploads {
  const { view, clock } = parts;
  const uploads = new Map<string, Upload>();
  /** The last upload under each name. */
  const byName = new Map<string, Upload>();
  const keysOf = new Map<number, string[]>();
  /** Names under which blocks of an entry that is gone may still arrive: later ones must not have the same ids. */
  const loose = new Map<string, { readonly seq: number; readonly atMs: number }>();
  const paths = new Map<string, PathState>();

  const isPendingPut = (seq: number): boolean => {
    const state = view.entry(seq)?.state.name;
    return state === "acknowledged" || state === "draining" || state === "conflicted";
  };
  const noteLoose = (name: string, upload: Upload): void => {
    const { looseAtMs: atMs, seq } = upload;
    if (atMs === null || (loose.get(name)?.atMs ?? 0) > atMs) return;
    loose.delete(name);
    loose.set(name, { seq, atMs });
    for (const [oldest] of loose) {
      if (loose.size <= LOOSE_MAX) break;
      loose.delete(oldest);
    }
  };
  const of = (entry: PutEntry, target: BlobName): Upload => {
    const name = keyOf(target);
    const key = `${entry.seq} ${name}`;
    const known = uploads.get(key);
    if (known !== undefined) return known;
    let before = byName.get(name);
    const after = before === undefined ? Promise.resolve() : before.quiet();
    const mustBeOwn = (): boolean => {
      if (before !== undefined) noteLoose(name, before);
      // Nothing more can come of it.
      if (before?.running === false) before = undefined;
      const other = loose.get(name);
      return other !== undefined && other.seq !== entry.seq && clock.monotonicMs() - other.atMs < LOOSE_MS;
    };
    const content = contentOf(entry, bounds.smallBytesMax);
    const upload = createUpload(parts, {
      entry,
      spans: content.kind === "blocks" ? content.spans : [],
      target,
      mustBeOwn,
      after,
      isWanted: () => !parts.isStopped() && isPendingPut(entry.seq),
    });
    uploads.set(key, upload);
    byName.set(name, upload);
    keysOf.set(entry.seq, [...(keysOf.get(entry.seq) ?? []), key]);
    return upload;
  };
  const forget = (seq: number): void => {
    for (const key of keysOf.get(seq) ?? []) {
      const upload = uploads.get(key);
      uploads.delete(key);
      const name = key.slice(key.indexOf(" ") + 1);
      if (upload === undefined || byName.get(name) !== upload) continue;
      void upload.quiet().then(() => {
        noteLoose(name, upload);
        if (byName.get(name) === upload) byName.delete(name);
      });
    }
    keysOf.delete(seq);
  };
  const mayGoAhead = (entry: PutEntry, content: Content): boolean => {
    if (entry.state.name !== "acknowledged" || entry.base.kind === "entry" || content.kind !== "blocks") return false;
    const known = uploads.get(`${entry.seq} ${keyOf(entry.name)}`);
    if (known === undefined) return true;
    return !known.running && known.failedAtMs !== null && clock.monotonicMs() - known.failedAtMs >= bounds.pauseMsMax;
  };
  return {
    of,
    forget,
    ahead: (path, headSeq, isTurn) => {
      const state = paths.get(path) ?? { turns: 0, full: false };
      paths.set(path, state);
      if (isTurn) state.turns++;
      if (state.full && state.turns < bounds.aheadEntriesMax / 2) return;
      let [entries, bytes] = [0, 0];
      state.turns = 0;
      state.full = false;
      for (const entry of view.pendingOf(path)) {
        if (entry.seq <= headSeq || entry.kind === "delete") continue;
        // Many blocks take as much memory as many entries.
        const blocks = entry.content.kind === "spans" ? entry.content.spans.length : 0;
        entries += Math.max(1, blocks / BLOCKS_PER_ENTRY);
        bytes += entry.put.sizeBytes;
        state.full = entries > bounds.aheadEntriesMax || bytes > bounds.aheadBytesMax;
        if (state.full) break;
        if (!mayGoAhead(entry, contentOf(entry, bounds.smallBytesMax))) continue;
        // What fails here is tried again at its turn, which also says what came of it.
        void of(entry, entry.name)
          .run()
          .catch(() => {});
      }
      // Superseded, or discarded before their turn.
      for (const seq of [...keysOf.keys()]) if (!isPendingPut(seq) && view.entry(seq) === null) forget(seq);
    },
    quiet: async () => {
      await Promise.all([...new Set([...uploads.values(), ...byName.values()])].map((upload) => upload.quiet()));
    },
  };
}
