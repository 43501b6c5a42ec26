/**
 * What the admin API says of acknowledged writes that the lake does not have yet, and what an operator may do about
 * them. Plain data, named here and put together where the journal is: `node/writes-view.ts`, `node/write-actions.ts`.
 */

/** Everything about writes that the lake does not have yet. */
export interface WritesView {
  readonly pendingEntries: number;
  readonly pendingBytes: number;
  /** Null: nothing is pending. */
  readonly oldestAgeMs: number | null;
  /** Held up until an operator decides. */
  readonly parkedEntries: number;
  /** The lake changed under them; on their way there under a side name. */
  readonly conflictedEntries: number;
  /** Conflicts of which both versions are in the lake: they wait only to be read. */
  readonly asideEntries: number;
  /** Blocks that clients uploaded and did not commit yet. */
  readonly stagedBlocks: number;
  readonly stagedBytes: number;
  /** What the journal's own files take on flash. */
  readonly journalBytes: number;
  readonly ok: boolean;
  /** `ok`, or why nothing can be acknowledged on flash. */
  readonly state: string;
  /** What an acknowledged write survives, in words. */
  readonly durability: string;
  readonly drain: DrainView;
  /** Policy paths that have something pending, or do not get on. */
  readonly paths: readonly PathView[];
  /** The first entries that wait for an operator: parked, conflicted or aside. */
  readonly attention: readonly EntryView[];
}

/** The drain; counters since the keeper's process started. */
export interface DrainView {
  readonly carriedEntries: number;
  readonly carriedBytes: number;
  readonly uploadsNow: number;
  /** The bound on what is sent to the lake; null: none. */
  readonly bytesPerSecondMax: number | null;
  readonly retries: number;
  /** Answers of the lake that asked for less. */
  readonly throttled: number;
  readonly conflicts: number;
  readonly parked: number;
  /** Why the list of pending names in the lake could not be written last; null: it could, or none is kept. */
  readonly pendingNamesFailure: string | null;
}

/** How a policy path gets on. */
export interface PathView {
  readonly path: string;
  readonly oldestAgeMs: number | null;
  /** How old the oldest may grow; null: any age. */
  readonly maxUnflushedMs: number | null;
  /** Why nothing of it gets on at the moment; null when it does. */
  readonly stuck: { readonly reason: string; readonly forMs: number } | null;
}

/** An entry of the journal as shown. */
export interface EntryView {
  readonly seq: number;
  readonly kind: "put" | "delete";
  readonly state: string;
  /** Why it is parked. */
  readonly reason: string | null;
  /** Where the lake has, or will have, the version that met a foreign change. */
  readonly sideName: string | null;
  /** The policy path that it belongs to. */
  readonly path: string;
  readonly account: string;
  readonly container: string;
  readonly blob: string;
  /** Null for a deletion. */
  readonly sizeBytes: number | null;
  readonly acknowledgedAtMs: number;
  readonly ageMs: number;
  /** What an operator can do about it; null: nothing needs to be done. */
  readonly next: string | null;
}

/** An operator's word on an entry. `exported`: its bytes are safe elsewhere, the lake need not have them. */
export type OperatorDecision = "retry" | "discard" | "dismiss" | "exported";

/** What a word on an entry came to. */
export type Decided =
  | { readonly result: "done"; readonly state: string }
  /** No such entry: it has ended, or never was. */
  | { readonly result: "gone" }
  /** It is in a state that does not permit that. */
  | { readonly result: "refused"; readonly state: string; readonly reason: string };

export interface FlushRequest {
  /** `[ACCOUNT:]CONTAINER/PREFIX`; `""`: everything. */
  readonly scope: string;
  readonly timeoutMs: number;
  /** Also upload (without committing) the blocks that were staged and not committed. */
  readonly staged: boolean;
}

/** What is left of what a flush waits for. */
export interface Left {
  readonly entries: number;
  readonly bytes: number;
}

export type FlushOutcome =
  | { readonly result: "done" }
  | { readonly result: "timeout"; readonly left: Left }
  /** These hold it up, and will until an operator decides. */
  | { readonly result: "parked"; readonly left: Left; readonly entries: readonly EntryView[] };

/** The bytes of an entry. */
export type EntryContent =
  /** `pieces` ends early, or throws, when they cannot all be read as they were acknowledged. */
  | { readonly result: "bytes"; readonly sizeBytes: number; readonly pieces: AsyncIterator<Uint8Array> }
  | { readonly result: "gone" }
  | { readonly result: "none"; readonly reason: string };

export interface EntryQuery {
  /** Only later ones. */
  readonly afterSeq: number;
  readonly limit: number;
  /** Only in one of these states; empty: in any. */
  readonly states: readonly string[];
}

export interface WriteActions {
  /** Entries in the order acknowledged; `more`: there are further ones. */
  entries(query: EntryQuery): { readonly entries: readonly EntryView[]; readonly more: boolean };
  entry(seq: number): EntryView | null;
  decide(seq: number, decision: OperatorDecision): Promise<Decided>;
  /** What is wrong with the scope of a flush, and what to write; null: nothing. */
  scopeProblem(scope: string): string | null;
  /** Tells now and then what is left. The scope is a good one. */
  flush(request: FlushRequest, tell: (left: Left) => void): Promise<FlushOutcome>;
  content(seq: number): EntryContent;
}
