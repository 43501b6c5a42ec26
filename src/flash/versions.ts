/**
 * Versions that something is under way with: claimed, filled and not yet committed, newly published, or waited for.
 * All others stand in the index alone, so memory does not grow with the cache.
 */
import { allocatedBytes, blockCount, blockLength, emptyBitmap, isComplete, setBit, testBit } from "./files.ts";
import type { FlashIndex, IndexedVersion } from "./index.ts";
import { soleSpan } from "./index-rows.ts";
import type { Span, Variant, VersionRecord } from "./types.ts";

/** How waiting for a block ends. */
export type BlockOutcome = "present" | "free" | "gone";

/** The right to bring a block. */
export interface Claim {
  readonly holder: string;
  readonly givenAtMs: number;
}

/** A version in memory. `present` runs ahead of `durable`, which is what the index says. */
export interface ActiveVersion {
  readonly id: number;
  readonly key: string;
  readonly etag: string;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly spans: readonly Span[];
  variants: readonly Variant[];
  present: Uint8Array | null;
  durable: Uint8Array | null;
  inIndex: boolean;
  /** The record or its variants have to be written. */
  dirty: boolean;
  fileReady: boolean;
  /** Made in this life and never looked up since: it has no file yet. */
  isNew: boolean;
  gone: boolean;
  /** Who brings which block. */
  readonly claims: Map<number, Claim>;
  /** Filled blocks (or the spans of a version made of clients' files) for the next commit, with their checksums. */
  pending: Map<number, string>;
  readonly waiters: Map<number, ((outcome: BlockOutcome) => void)[]>;
  storedBytes: number;
  /** Filled and not committed, those of a commit under way included. */
  pendingBytes: number;
  claimedBytes: number;
  /** Calls that hold on to it: it is neither settled nor evicted meanwhile. */
  pins: number;
  /** Taken by the commit under way. */
  committing: boolean;
}

/** What a version is made of that comes as a whole. */
export type Whole = Pick<ActiveVersion, "id" | "key" | "etag" | "sizeBytes" | "blockBytes" | "spans">;

/** What a block takes on flash. */
export function blockCost(version: Pick<VersionRecord, "sizeBytes" | "blockBytes">, block: number): number {
  return allocatedBytes(blockLength(version, block));
}

/** A copy of what is known now, for others to keep. */
export function snapshot(version: ActiveVersion): VersionRecord {
  const { id, key, etag, sizeBytes, blockBytes, spans, variants } = version;
  return { id, key, etag, sizeBytes, blockBytes, spans, variants, present: version.present?.slice() ?? null };
}

/** Counts block `block` as there. */
export function setPresent(version: ActiveVersion, block: number): void {
  if (version.present === null) return;
  setBit(version.present, block);
  if (isComplete(version.present, blockCount(version))) version.present = null;
}

export function hasBlock(version: ActiveVersion, block: number): boolean {
  return version.present === null || testBit(version.present, block);
}

/** Tells those who wait for a block. */
export function wake(version: ActiveVersion, block: number, outcome: BlockOutcome): void {
  const waiting = version.waiters.get(block);
  version.waiters.delete(block);
  for (const resolve of waiting ?? []) resolve(outcome);
}

export interface Versions {
  /** The version of a blob, made active; give it back with {@link settle}. */
  load(key: string): ActiveVersion | null;
  loadById(id: number): ActiveVersion | null;
  /** The version with this id if it is active already. */
  active(id: number): ActiveVersion | null;
  /** What is known of a blob, without making it active. */
  peek(key: string): VersionRecord | null;
  create(id: number, key: string, etag: string, sizeBytes: number, blockBytes: number): ActiveVersion;
  /** A version all of whose bytes are in files already. */
  createWhole(version: Whole): ActiveVersion;
  /** Lets go of a version with which nothing is under way. */
  settle(version: ActiveVersion): void;
  /** Takes a version out: those who wait for its blocks hear that it is gone. */
  remove(version: ActiveVersion): void;
  all(): Iterable<ActiveVersion>;
  readonly size: number;
}

export function createVersions(index: FlashIndex): Versions {
  const byId = new Map<number, ActiveVersion>();
  const byKey = new Map<string, ActiveVersion>();
  const add = (version: ActiveVersion): ActiveVersion => {
    byId.set(version.id, version);
    byKey.set(version.key, version);
    return version;
  };
  const activate = (stored: IndexedVersion | null): ActiveVersion | null => {
    if (stored === null) return null;
    const { present, ...rest } = stored;
    // What the database gave is not shared with what changes here.
    return add({
      ...rest,
      ...idle(),
      present: present?.slice() ?? null,
      durable: present?.slice() ?? null,
      inIndex: true,
    });
  };
  return {
    load: (key) => byKey.get(key) ?? activate(index.get(key)),
    loadById: (id) => byId.get(id) ?? activate(index.getById(id)),
    active: (id) => byId.get(id) ?? null,
    peek: (key) => {
      const active = byKey.get(key);
      if (active !== undefined) return snapshot(active);
      const stored = index.get(key);
      if (stored === null) return null;
      const { storedBytes: _, ...record } = stored;
      return record;
    },
    create: (id, key, etag, sizeBytes, blockBytes) => {
      const count = blockCount({ sizeBytes, blockBytes });
      const bitmap = (): Uint8Array | null => (count === 0 ? null : emptyBitmap(count));
      const spans = soleSpan(id, sizeBytes);
      const what = { id, key, etag, sizeBytes, blockBytes, spans, variants: [], storedBytes: 0, inIndex: false };
      return add({ ...what, ...idle(), isNew: true, present: bitmap(), durable: bitmap() });
    },
    createWhole: (version) =>
      add({ ...version, ...idle(), variants: [], storedBytes: 0, inIndex: false, present: null, durable: null }),
    settle: (version) => {
      if (version.gone || version.pins > 0 || version.dirty || version.committing) return;
      if (version.claims.size + version.pending.size + version.waiters.size > 0) return;
      byId.delete(version.id);
      byKey.delete(version.key);
    },
    remove: (version) => {
      version.gone = true;
      byId.delete(version.id);
      if (byKey.get(version.key) === version) byKey.delete(version.key);
      for (const block of [...version.waiters.keys()]) wake(version, block, "gone");
    },
    all: () => byId.values(),
    get size() {
      return byId.size;
    },
  };
}

function idle() {
  return {
    dirty: false,
    fileReady: false,
    isNew: false,
    gone: false,
    claims: new Map<number, Claim>(),
    pending: new Map<number, string>(),
    waiters: new Map<number, ((outcome: BlockOutcome) => void)[]>(),
    pendingBytes: 0,
    claimedBytes: 0,
    pins: 0,
    committing: false,
  };
}
