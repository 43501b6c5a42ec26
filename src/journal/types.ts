/**
 * What was acknowledged on flash and is not in the lake yet. A path with `write: back` answers a client when its bytes
 * and one record here are on stable storage; from then on this room, and nothing else, knows that the lake owes a
 * version. So it is kept apart from the index, which may be lost at any time: append-only files of checksummed
 * records, read back whole at start, with what is pending in memory.
 *
 * One process owns a journal. It appends (a put, a deletion, a block staged for a later put), moves entries through
 * their states as the drain gets on (`states.ts`: a total table), and reads the view: the newest version of a blob,
 * what may be committed next, which names belong into a listing. What an append resolves with is durable and visible;
 * what it rejects is neither, or, when the machine fails at that moment, unknown. Entries end when the lake has them
 * or an operator decided; files of the journal go when nothing in them is alive (`docs/journal.md`).
 */
import type { CheckedSpan } from "../flash/types.ts";

/** Which blob. Names are decoded, as the service sees them. */
export interface BlobName {
  readonly account: string;
  readonly container: string;
  readonly blob: string;
}

/** A span of a put, with the id of the block that it was staged as; `""`: none. */
export interface BlockSpan extends CheckedSpan {
  readonly blockId: string;
}

/** Where inline bytes stand: part of one of the journal's files. Moves when the entry is carried forward. */
export interface Place {
  /** Relative to the flash folder. */
  readonly file: string;
  readonly offset: number;
  readonly length: number;
  /** xxHash64, 16 hex digits. */
  readonly checksum: string;
}

/** The bytes of a put. `damaged`: they stood in the journal and cannot be read any more; the entry is parked. */
export type Content =
  | { readonly kind: "inline"; readonly place: Place }
  | { readonly kind: "spans"; readonly spans: readonly BlockSpan[] }
  | { readonly kind: "damaged" };

/**
 * What the lake is believed to hold under the name when the entry's turn comes. `entry`: whatever an earlier entry
 * leaves there; replaced as soon as that one has ended.
 */
export type Base =
  | { readonly kind: "none" }
  | { readonly kind: "etag"; readonly etag: string }
  | { readonly kind: "unknown" }
  | { readonly kind: "entry"; readonly seq: number };

/** Where an entry stands. The last five are its end: it is in the view no more. */
export type EntryState =
  | { readonly name: "acknowledged" }
  /** The lake may have heard of it. */
  | { readonly name: "draining" }
  | { readonly name: "parked"; readonly reason: string; readonly atMs: number }
  /** The lake changed under it: to be written under `sideName`. */
  | { readonly name: "conflicted"; readonly sideName: string }
  /** Both versions are in the lake (or a deletion was given up: null); kept only to be reported. */
  | { readonly name: "aside"; readonly sideName: string | null; readonly lakeEtag: string | null }
  /** `lakeEtag` is null after a deletion. */
  | { readonly name: "settled"; readonly lakeEtag: string | null }
  | { readonly name: "superseded"; readonly by: number }
  | { readonly name: "discarded" }
  | { readonly name: "exported" }
  | { readonly name: "dismissed" };

/** What happens to an entry. Supersession is not among what callers may say: an append decides it. */
export type EntryEvent =
  /** The first request that may change the lake is about to leave. */
  | { readonly name: "begin" }
  /** The lake has it (under its side name, if conflicted). `lakeEtag` is null for a deletion. */
  | { readonly name: "settle"; readonly lakeEtag: string | null }
  | { readonly name: "park"; readonly reason: string }
  /** A foreign change was found. `sideName` is null for a deletion, which is then given up. */
  | { readonly name: "conflict"; readonly sideName: string | null }
  | { readonly name: "retry" }
  | { readonly name: "discard" }
  | { readonly name: "export" }
  | { readonly name: "dismiss" };

/** What a put carries besides its bytes. */
export interface PutDetails {
  readonly sizeBytes: number;
  /** What the client was told. */
  readonly etag: string;
  readonly lastModifiedMs: number;
  /** Headers for the lake (properties, metadata, tags, tier): name, value, name, value … */
  readonly headers: readonly string[];
  /** As the client gave them, base64. */
  readonly contentMd5: string | null;
  readonly contentCrc64: string | null;
}

interface EntryCommon {
  /** Strictly increasing in the order acknowledged; never reused. */
  readonly seq: number;
  readonly term: number;
  /** The policy path that it belongs to: commits keep their order within it. */
  readonly path: string;
  readonly name: BlobName;
  readonly base: Base;
  /** Wall clock. */
  readonly acknowledgedAtMs: number;
  readonly state: EntryState;
}

export interface PutEntry extends EntryCommon {
  readonly kind: "put";
  readonly put: PutDetails;
  readonly content: Content;
}

export interface DeleteEntry extends EntryCommon {
  readonly kind: "delete";
}

export type Entry = PutEntry | DeleteEntry;

/** A block that a client staged and did not commit yet. */
export interface StagedBlock {
  readonly name: BlobName;
  /** As the client gave it, base64. */
  readonly blockId: string;
  readonly span: CheckedSpan;
  readonly stagedAtMs: number;
}

/** Bytes of a put: given here (64 KiB at most), or on flash already. A staged block is committed without being copied. */
export type NewContent =
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  | { readonly kind: "spans"; readonly spans: readonly (BlockSpan | { readonly stagedBlock: string })[] };

/** A write to be acknowledged. `base` counts only when nothing is pending for the blob. */
export type NewEntry = {
  readonly path: string;
  readonly name: BlobName;
  readonly base: Base;
} & ({ readonly kind: "put"; readonly put: PutDetails; readonly content: NewContent } | { readonly kind: "delete" });

export type NewBlock = Omit<StagedBlock, "stagedAtMs">;

/** What a move came to. `refused`: the table does not have it in the state that the entry is in (null: it has ended). */
export type Moved =
  | { readonly kind: "moved"; readonly entry: Entry }
  | { readonly kind: "refused"; readonly state: EntryState | null };

/** Where else a batch of records goes before it counts as durable. This machine's flash is always one of the copies. */
export interface Copies {
  /** Copies that an acknowledgement promises, this machine's included. */
  readonly count: number;
  /** Resolves when `count - 1` other copies are durable. A rejection fails the batch here, too. */
  others(batch: BatchCopy): Promise<void>;
}

export interface BatchCopy {
  readonly term: number;
  readonly firstRecord: number;
  readonly lastRecord: number;
  /** Valid during the call. */
  readonly bytes: Uint8Array;
}

export interface JournalTotals {
  /** Entries that the lake does not have yet, and the bytes of the puts among them. */
  readonly pendingEntries: number;
  readonly pendingBytes: number;
  readonly oldestAcknowledgedAtMs: number | null;
  readonly parkedEntries: number;
  readonly conflictedEntries: number;
  /** Conflicts that wait only to be read. */
  readonly asideEntries: number;
  readonly stagedBlocks: number;
  readonly stagedBytes: number;
  /** Bytes of small blobs that stand in the journal itself. */
  readonly inlineBytes: number;
}

/** What is pending, as of the last durable record. Entries are values: they do not change once read. */
export interface JournalView {
  entry(seq: number): Entry | null;
  /** The newest pending version of a blob, a deletion included: what its readers see. */
  latest(name: BlobName): Entry | null;
  /** All entries in the order acknowledged, those set aside included. */
  entries(): Iterable<Entry>;
  paths(): readonly string[];
  /** The pending entries of a path in the order acknowledged: what may be uploaded ahead. */
  pendingOf(path: string): Iterable<Entry>;
  /**
   * The one entry of a path that may be committed now. With `passParked`, parked entries let later ones by, save those
   * of their own blob.
   */
  nextOf(path: string, passParked: boolean): Entry | null;
  /** The blocks staged for a blob, in no order. */
  blocksOf(name: BlobName): readonly StagedBlock[];
  stagedBlock(name: BlobName, blockId: string): StagedBlock | null;
  /** Every blob that has staged blocks, in no order. */
  stagedBlobs(): Iterable<BlobName>;
  /**
   * Up to `limit` newest pending versions of a container's blobs whose names are `from` or later, in the order of
   * their UTF-8 bytes. A snapshot.
   */
  namesFrom(account: string, container: string, from: string, limit: number): readonly Entry[];
  /** Whether an entry or a staged block needs the file. */
  holdsFile(fileId: number): boolean;
  totals(): JournalTotals;
}

/** Told at once, in order, when something became durable. */
export interface JournalListener {
  /** An entry left the view. `entry.state` says how. Called before `filesFreed` for its files. */
  ended(entry: Entry): void;
  /** No entry and no staged block needs these files any more. */
  filesFreed(fileIds: readonly number[]): void;
}

export type JournalHealth =
  | { readonly ok: true }
  /** The last attempt to write failed. The next append tries again, in a new file. */
  | { readonly ok: false; readonly reason: string; readonly sinceMs: number };

export interface JournalStats extends JournalTotals {
  readonly segments: number;
  readonly diskBytes: number;
  readonly records: number;
  readonly batches: number;
  readonly failedBatches: number;
  readonly carriedRecords: number;
  readonly removedSegments: number;
}

/** Something durable that could not be read back. */
export interface Damage {
  readonly file: string | null;
  /** Records lost or hurt: [first, last]. */
  readonly firstRecord: number;
  readonly lastRecord: number;
  /** `lost`: what the records said is unknown. `content`: an entry is there without its bytes, and parked. */
  readonly what: "lost" | "content";
  /** The entry that it is about, where that can still be told. */
  readonly seq: number | null;
  readonly name: BlobName | null;
}

/** What was found at start. */
export interface Recovery {
  readonly segments: number;
  readonly records: number;
  readonly entries: number;
  readonly stagedBlocks: number;
  /** Records that nobody was told were durable, and that were there: kept. */
  readonly keptUnconfirmed: number;
  /** Bytes at the end of the newest file that are no whole record: an append that the machine did not survive. */
  readonly tornBytes: number;
  readonly damage: readonly Damage[];
}

export interface Journal {
  readonly view: JournalView;
  /**
   * Appends a put or a deletion. Resolves with the entry once it is durable. Rejects with `overloaded` (a bound of
   * pending work), `flash-full` (room is kept for what frees some), `gone` (a staged block named is not there),
   * `flash-failed` (it did not happen, and will not), `timeout` (it could neither be made durable nor made void: it did
   * not happen in this life, but the next start may find it), `closed`.
   */
  append(entry: NewEntry): Promise<Entry>;
  /** Records a block whose bytes are durable already. Takes the place of one of the same id. Rejects as `append` does. */
  stage(block: NewBlock): Promise<StagedBlock>;
  /** Forgets all blocks staged for a blob. A put does so by itself. */
  dropBlocks(name: BlobName): Promise<void>;
  /** Moves an entry. Its record may use the room that is kept for a full disk. */
  move(seq: number, event: EntryEvent): Promise<Moved>;
  /** The bytes of an inline put, checked. Rejects with `gone` if the entry has ended, `flash-failed` if they are bad. */
  readInline(seq: number): Promise<Uint8Array>;
  health(): JournalHealth;
  stats(): JournalStats;
  /** Ends when all that was appended before has been answered. Later calls reject with `closed`. */
  stop(): Promise<void>;
}
