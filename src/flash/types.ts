/**
 * The cache on flash. A blob version is an ordered list of spans (file, offset, length), nearly always one sparse
 * file that blocks fill in. Its record (ETag, length, the lake's response headers, which blocks are there) stands in
 * a SQLite index that one process, the keeper, writes and every server reads for itself: a hit costs no message.
 * The keeper also hands out the right to ask the lake (leases, claims), so that many readers cost one read, makes
 * blocks durable in batches (flush the file system, then commit the index), and evicts by unlinking whole files.
 *
 * Nothing here is ever the only copy of anything: an index that is lost means a cold cache and nothing more.
 */
import type { RawHeaders } from "../http/types.ts";

/** The three counters that any change moves: see `engine/generations.ts`. */
export type Generation = readonly [blob: number, container: number, account: number];

/** One form of the lake's answer about a blob: the headers differ by method and by `x-ms-version`. */
export interface Variant {
  /** `get|2025-01-05` or `head|2025-01-05`. */
  readonly id: string;
  /** The lake's headers for the whole blob, as received: no framing, no per-request ids, no Date, no range. */
  readonly headers: RawHeaders;
  /** When the check that brought them was *sent*: milliseconds of the machine's monotonic clock. */
  readonly sentAtMs: number;
  /** The generation that the check began with. Comparable only within one `epoch`. */
  readonly generation: Generation;
  /** Names the life of the shared counters: another epoch means that changes may have gone unseen. */
  readonly epoch: string;
  /**
   * Set when the check was made under an `immutable` policy: the era of those policies (it changes whenever they do).
   * While it lasts, every change through Forebay is marked durably first, so the variant needs no further check.
   */
  readonly era?: string | undefined;
}

/** A piece of a version's bytes. `fileId` names a file and is never reused. */
export interface Span {
  readonly fileId: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * A piece of a file with the checksum of its bytes (16 hex digits), taken at ingest: see `spanChecksum` in `files.ts`.
 */
export interface CheckedSpan extends Span {
  readonly checksum: string;
}

/** Bytes that went to the lake from here, to be kept as the version that the lake now calls `etag`. */
export interface Adoption {
  readonly key: string;
  readonly etag: string;
  readonly sizeBytes: number;
  /** In the order of the blob's bytes; together exactly `sizeBytes`. A file may have bytes that no span names. */
  readonly spans: readonly CheckedSpan[];
}

/** What is known of one version of one blob. Plain data: it crosses between processes. */
export interface VersionRecord {
  /** The incarnation: never reused, increasing. Also the id of its file. */
  readonly id: number;
  readonly key: string;
  readonly etag: string;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly spans: readonly Span[];
  /** Bit b (byte b>>3, bit b&7) set: block b is there. Null: all are. */
  readonly present: Uint8Array | null;
  readonly variants: readonly Variant[];
}

/** Looks up records on behalf of a server. Never throws for a broken index: that is a miss, and counted. */
export interface IndexReader {
  lookup(key: string): VersionRecord | null;
  close(): void;
}

/** What a reader of the lake needs before it may ask about a blob. */
export interface AcquireRequest {
  /** The server that asks: its leases and claims end with it. */
  readonly holder: string;
  readonly key: string;
  readonly variantId: string;
  /** A variant checked at or after this moment (monotonic), of this generation and epoch, is fresh enough. */
  readonly sentAtMsMin: number;
  readonly generation: Generation;
  readonly epoch: string;
}

/** `fresh`: somebody else did it meanwhile. `lease`: do it, then publish or abandon. `busy`: waited too long. */
export type Acquired =
  | { readonly kind: "fresh"; readonly record: VersionRecord }
  | { readonly kind: "lease"; readonly lease: number; readonly record: VersionRecord | null }
  | { readonly kind: "busy" };

/** How a lease ends: `shared`, its result may serve those who wait; `alone`, there is none that could. */
export type LeaseEnd = "shared" | "alone";

/** What the lake said about a blob. */
export interface Publication {
  readonly lease: number;
  readonly etag: string;
  readonly sizeBytes: number;
  readonly variant: Variant;
}

/** Why a version is not kept. */
export type Refusal = "void" | "changing" | "too-large" | "no-space" | "flash-failed";

export type Published =
  | { readonly kind: "record"; readonly record: VersionRecord }
  | { readonly kind: "refused"; readonly reason: Refusal };

/** Which of the blocks asked for the caller shall bring, which are there, and which another server is bringing. */
export interface Claimed {
  readonly granted: readonly number[];
  readonly present: readonly number[];
  readonly held: readonly number[];
}

/** A block that was written to its file, with the XXH3 of its bytes (hex), taken before it was written. */
export interface FilledBlock {
  readonly block: number;
  readonly checksum: string;
}

/** What a change touches: a blob, a container (blob null) or the account (both null). */
export interface ChangeScope {
  readonly account: string;
  readonly container: string | null;
  readonly blob: string | null;
}

/** What the keeper tells a server. */
export interface KeeperListener {
  /** These files were unlinked: let go of their descriptors when no response needs them, then resolve. */
  evicted(fileIds: readonly number[]): Promise<void>;
}

/** The single writer of the index, as servers see it. Calls reject with `closed` while it is not there. */
export interface FlashKeeper {
  /** Waits until the caller may ask the lake about a blob, or until somebody else has. */
  acquire(request: AcquireRequest): Promise<Acquired>;
  /** Ends a lease with what the lake said; a version with another ETag takes the old one's place. */
  publish(publication: Publication): Promise<Published>;
  /** Which of the blocks [first, first + count) of a version are there now, durable or not. Null: it is gone. */
  peek(versionId: number, first: number, count: number): Promise<readonly number[] | null>;
  /** Ends a lease without result: the next one waiting gets it, or all of them when it ends `alone`. */
  abandon(lease: number, how?: LeaseEnd): Promise<void>;
  /** Claims blocks [first, first + count) of a version. Null: the version is gone. */
  claim(holder: string, versionId: number, first: number, count: number): Promise<Claimed | null>;
  /** Claimed blocks were written. They count as present at once, as durable after the next flush. */
  filled(versionId: number, blocks: readonly FilledBlock[]): Promise<void>;
  /** Claimed blocks will not come. */
  unclaim(holder: string, versionId: number, blocks: readonly number[]): Promise<void>;
  /** Resolves when a held block is present, or free to be claimed, or its version gone. */
  awaitBlock(versionId: number, block: number): Promise<"present" | "free" | "gone">;
  /** Forgets a version (null: whichever there is): deleted in the lake, or found bad. */
  drop(key: string, versionId: number | null, reason: "deleted" | "bad" | "changed"): Promise<void>;
  /**
   * Before a change to an `immutable` path leaves: notes durably that what is known in `scope` may not outlive this
   * run, and keeps nothing new of it until {@link unmarkChange} with the same mark, or until the mark lapses. Resolves
   * with the mark.
   */
  markChange(scope: ChangeScope): Promise<number>;
  /**
   * Ends a mark. `happened`: whether the lake may have done it; then what is known in its scope is forgotten from now
   * on, and the mark ends with that. False: the mark did not stand any more (it lapsed, or the index is another one), so
   * something read since may have been kept.
   */
  unmarkChange(mark: number, happened: boolean): Promise<boolean>;
  /** A read or write of the flash failed at a server. */
  reportFailure(message: string): Promise<void>;
}

/**
 * Files for bytes that clients bring, before any version has them: reserved for a server, then kept by the journal or
 * adopted as a version of the cache. Counted as taken from the moment they are reserved.
 */
export interface Staging {
  /** Makes an empty file with room for `bytes`. Rejects with `flash-full`, `flash-failed` or `closed`. It ends with its holder. */
  reserve(holder: string, bytes: number): Promise<number>;
  /** What came to nothing: unlinked. Files that are the holder's no more are left alone. */
  giveBack(holder: string, fileIds: readonly number[]): void;
  /**
   * The journal has them from now on: they end neither with their holder nor with this life. Throws `gone`, and keeps
   * none, when one of them is not there any more.
   */
  keep(fileIds: readonly number[]): void;
  /** The journal needs them no more: unlinked once servers let go, unless they were adopted. */
  release(fileIds: readonly number[]): void;
  /**
   * Makes a version without variants of them: its bytes serve whoever the lake gives this ETag to. Takes the place of
   * whatever is cached under the key. Files of the adoption that the journal keeps are the cache's afterwards, whether
   * or not the journal releases them later. False: not kept; the holder's files are given back, the journal's stay.
   */
  adopt(adoption: Adoption): Promise<boolean>;
  /** Blocks that passed to the lake, kept until a list of them does. */
  readonly warm: WarmBlocks;
}

/** How the way of a block, or of a list of blocks, to the lake ended. */
export type WarmEnd =
  /** The lake has the block since `answeredAtMs` (monotonic), and these are its bytes: a file of the holder's. */
  | { readonly kind: "block"; readonly span: CheckedSpan; readonly answeredAtMs: number }
  /** The lake made the blob of these blocks, none of them of an earlier version, and no other change came between. */
  | { readonly kind: "list"; readonly blockIds: readonly string[]; readonly etag: string }
  /** It certainly has what it had before, or the bytes were not kept. */
  | { readonly kind: "nothing" }
  /** What it has is not known. */
  | { readonly kind: "unknown" };

/** What is remembered of blocks that passed to the lake: see `warm-blocks.ts`. */
export interface WarmBlocks {
  /**
   * Before a block (or a list, without an id) leaves for the lake: what was remembered under the id is void from now
   * on. Resolves with a ticket for {@link end}; null: there is nothing to be remembered. `generation` is that of the
   * blob when it was begun.
   */
  begin(holder: string, key: string, blockId: string | null, generation: Generation): Promise<number | null>;
  /** Resolves with whether a block is remembered, or a blob's version was made of them. Files not needed are removed. */
  end(holder: string, ticket: number, end: WarmEnd): Promise<boolean>;
  /** Blocks of the blob reach the lake in another way. */
  forget(key: string): void;
}
