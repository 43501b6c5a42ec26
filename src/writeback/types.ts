/**
 * Writes that are acknowledged on flash and carried to the lake afterwards (`write: back`), and the bytes of writes
 * that pass through, kept warm. One process, the keeper's, owns the journal and stands behind the {@link WriteDesk};
 * servers take bytes in, make them durable, and hand the desk one record of them. The {@link Drain} carries what the
 * journal holds to the lake, in the order acknowledged per policy path.
 *
 * Who reads learns from counters in shared memory whether anything may be pending for a blob (`engine/generations.ts`),
 * and asks the desk only then.
 */
import type { Adoption, ChangeScope, Generation, WarmEnd } from "../flash/types.ts";
import type {
  Base,
  BlobName,
  Entry,
  EntryState,
  NewBlock,
  NewContent,
  PutDetails,
  StagedBlock,
} from "../journal/types.ts";

/** A put as a server hands it over: ETag and Last-Modified are given by the desk, in the order of acknowledgements. */
export type NewPut = Omit<PutDetails, "etag" | "lastModifiedMs">;

/** A write to be acknowledged. */
export type NewWrite = {
  /** The path of the policy that holds: commits keep their order within it. */
  readonly path: string;
  readonly name: BlobName;
  /** What the lake held when it was asked on behalf of this write; counts only when nothing is pending for the blob. */
  readonly base: Base;
  /**
   * The generation of the blob (`engine/generations.ts`) noted before the lake was asked for `base`; null where it was
   * not asked. When it has moved by now (an earlier write reached the lake meanwhile, say), `base` may be out of date: the
   * answer is `moved`, and the lake is to be asked again.
   */
  readonly basedAt: Generation | null;
  /**
   * What conditions were judged against, or `any` without conditions: the pending entry's number, or null for none.
   * Another one by now: `moved`, to be judged again.
   */
  readonly judgedOn: number | null | "any";
} & ({ readonly kind: "put"; readonly put: NewPut; readonly content: NewContent } | { readonly kind: "delete" });

/** Why a write cannot be taken in here. It then goes through to the lake, or is refused with 503. */
export type WriteRefusal =
  /** No room on flash, or in the journal. */
  | "no-room"
  /** The flash or the journal cannot be used. */
  | "unavailable"
  /** Too much is pending already. */
  | "overloaded"
  /** A block that the list names is not staged here. */
  | "block-missing"
  /** The account has no credential of Forebay's own that may write. */
  | "no-credential";

export type Written =
  | { readonly kind: "written"; readonly entry: Entry }
  | { readonly kind: "moved" }
  | { readonly kind: "refused"; readonly why: WriteRefusal };

export type Reserved =
  | { readonly kind: "file"; readonly fileId: number }
  | { readonly kind: "refused"; readonly why: WriteRefusal };

/**
 * What Forebay called a version that the lake has by now under a name of its own: as a condition it stays valid until
 * the blob is next written, 7 days at most.
 */
export interface EtagAlias {
  /** What the client was told when its write was acknowledged. */
  readonly etag: string;
  readonly lastModifiedMs: number;
  readonly lakeEtag: string;
}

/** What a server asks of the process that owns the journal. Plain data: it crosses between processes. Rejects with
 * `closed` while that process is not there, and `timeout` when it does not answer. */
export interface WriteDesk {
  /** A new, empty file (`flash/files.ts` says where) and room for `bytes` in it. Ends with its holder unless kept. */
  reserve(holder: string, bytes: number): Promise<Reserved>;
  /** Reserved files that came to nothing: they are removed. */
  giveBack(holder: string, fileIds: readonly number[]): Promise<void>;
  /** Records a block whose bytes, and whose file's name, are durable already. Its file is the journal's from then on. */
  stage(holder: string, block: NewBlock): Promise<{ readonly kind: "staged" } | Extract<Written, { kind: "refused" }>>;
  /** Acknowledges a write: durable, and seen by every server, when it resolves with `written`. Waits while the blob is fenced. */
  write(holder: string, write: NewWrite): Promise<Written>;
  /** The newest pending version of a blob; null when there is none. */
  latest(name: BlobName): Promise<Entry | null>;
  /** The bytes of a put that stand in the journal; null when the entry has ended. Rejects `flash-failed` when they are bad. */
  inline(seq: number): Promise<Uint8Array | null>;
  /** Up to `limit` newest pending versions in a container whose names are `from` or later, in the order of UTF-8 bytes. */
  names(account: string, container: string, from: string, limit: number): Promise<readonly Entry[]>;
  /** The alias of what was last carried to the lake for a blob; null when there is none, or not any more. */
  alias(name: BlobName): Promise<EtagAlias | null>;
  /** The blocks staged for a blob. */
  blocks(name: BlobName): Promise<readonly StagedBlock[]>;
  /**
   * Carries everything pending in `scope` (staged blocks included) to the lake and then holds back writes of it until
   * {@link unfence}, or until the holder is gone, or `limits.fenceTtlMs` have passed. Resolves with the fence. Rejects
   * with `timeout` when that is not done in `timeoutMs`, and with `overloaded` when something in the way is parked.
   */
  fence(holder: string, scope: ChangeScope, timeoutMs: number): Promise<number>;
  unfence(fence: number): Promise<void>;
  /** Waits until everything in `scope` that was acknowledged before the call is in the lake. Rejects as {@link fence} does. */
  flush(scope: ChangeScope, timeoutMs: number): Promise<void>;
  /**
   * Keeps bytes that went through to the lake as a cached version. Files not kept are removed. They need not be durable
   * yet. False: they were not kept.
   */
  adopt(holder: string, adoption: Adoption): Promise<boolean>;
  /** Of blocks that pass to the lake, and their lists: see `WarmBlocks` in `flash/types.ts`. */
  warmBegin(holder: string, key: string, blockId: string | null, generation: Generation): Promise<number | null>;
  warmEnd(holder: string, ticket: number, end: WarmEnd): Promise<boolean>;
}

/** What happens to writes of one policy path. */
export interface DrainPolicy {
  /** Whether a parked entry holds back later ones of its path, or only those of its own blob. */
  readonly whenParked: "hold" | "pass";
  /** Whether nobody but this Forebay writes there: no foreign change is looked for when the base is not known. */
  readonly exclusive: boolean;
  /** `x-ms-access-tier` of what is carried; null: the account's default. */
  readonly tier: string | null;
}

/** What the drain does, for status and metrics. Counters since start. */
export interface DrainStats {
  readonly carriedEntries: number;
  readonly carriedBytes: number;
  readonly uploadsNow: number;
  readonly bytesPerSecondMax: number | null;
  readonly retries: number;
  /** Answers that asked for less: 503, 500, 429. */
  readonly throttled: number;
  readonly conflicts: number;
  readonly parked: number;
  /** Why nothing of a path gets on at the moment, by path; empty when all is well. */
  readonly stuck: readonly { readonly path: string; readonly reason: string; readonly sinceMs: number }[];
  /** Why the list of pending names in the lake could not be written last; null when all is well. */
  readonly pendingNamesFailure?: string | null;
}

/** How a flush ended. `parked`: these entries hold it up, and will until an operator decides. */
export type Flushed =
  | { readonly kind: "done" }
  | { readonly kind: "timeout"; readonly pendingEntries: number; readonly pendingBytes: number }
  | { readonly kind: "parked"; readonly seqs: readonly number[] };

/** An operator's word on a parked, conflicted or aside entry. */
export type Decision = "retry" | "discard" | "dismiss";

/** Carries the journal to the lake. */
export interface Drain {
  /** Something was appended, or may go on. Cheap. */
  wake(): void;
  /**
   * Resolves when everything in `scope` acknowledged before the call has left the journal, or cannot. `staged` also
   * uploads (uncommitted) and forgets the blocks staged in the scope.
   */
  flush(scope: ChangeScope, options: { readonly timeoutMs: number; readonly staged: boolean }): Promise<Flushed>;
  decide(seq: number, decision: Decision): Promise<EntryState | null>;
  /** Policies, lakes or the rate may have changed. */
  reconfigured(): void;
  stats(): DrainStats;
  /** Goes on for at most `deadlineMs`, then leaves the rest to the next start. */
  stop(deadlineMs: number): Promise<void>;
}
