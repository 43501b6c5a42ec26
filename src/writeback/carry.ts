/**
 * Carries one entry whose turn it is: from the journal to the lake, to a side name, or to the operator. Whatever
 * happens between two steps, the next attempt (of this life or the next one) finds out how far it got:
 *
 *   blocks uploaded → around → begin (durable) → commit, conditional → outcome known → around ended → settle (durable)
 *
 * An entry that is found `draining`, and one whose answer was lost, is looked for in the lake before anything is sent.
 */

import { asForebayError } from "../base/errors.ts";
import type { BlobName, Entry, EntryEvent, Journal, PutEntry } from "../journal/types.ts";
import { type CommitParts, commit, conditionOf, type Job, look, type Outcome, type Seen } from "./commit.ts";
import { contentOf } from "./content.ts";
import { type Failure, later } from "./failures.ts";
import type { Sent } from "./same.ts";
import { sideNameOf } from "./side-name.ts";
import { failureOfRead, readSpan } from "./span-source.ts";
import type { BlockParts } from "./upload.ts";
import type { Uploads } from "./uploads.ts";

/** What came of an attempt. `moved`: the entry is in another state now, or somebody else moved it. */
export type Carried =
  | { readonly kind: "moved"; readonly entry: Entry | null }
  | { readonly kind: "later"; readonly why: string; readonly waitMs: number | null };

export interface Carrier {
  /** One attempt. Never rejects but for bugs. */
  carry(entry: Entry): Promise<Carried>;
  forget(seq: number): void;
}

/** Stands around whatever may change the lake under a name. */
export type Around = (name: BlobName) => Promise<{ ended(): Promise<void> }>;

export interface CarryParts extends CommitParts, Pick<BlockParts, "slots" | "disk" | "clock"> {
  readonly journal: Journal;
  readonly uploads: Uploads;
  readonly around: Around;
  readonly smallBytesMax: number;
  readonly refusedMsMax: number;
  readonly damageAttemptsMax: number;
}

/** What is known of an entry beside what is durable. */
interface Memo {
  /** The lake may have it: looked at before anything is sent. */
  doubtful: boolean;
  /** Some request that may change the lake was sent. */
  sent: boolean;
  /** An outcome that could not be made durable yet. */
  event: EntryEvent | null;
  refusedSinceMs: number | null;
  damages: number;
}

interface Prepared {
  readonly content: Sent["content"];
  readonly moved: (bytes: number) => void;
  release(): void;
}

const gone: Failure = { kind: "gone" };

export function createCarrier(parts: CarryParts): Carrier {
  const memos = new Map<string, Memo>();
  const keyOf = (entry: Entry): string => `${entry.seq} ${entry.state.name === "conflicted" ? "aside" : ""}`;
  const memoOf = (entry: Entry): Memo => {
    const key = keyOf(entry);
    const doubtful = entry.state.name !== "acknowledged";
    const memo = memos.get(key) ?? { doubtful, sent: doubtful, event: null, refusedSinceMs: null, damages: 0 };
    memos.set(key, memo);
    return memo;
  };
  return {
    carry: async (entry) => {
      const memo = memoOf(entry);
      const event = memo.event ?? (await eventOf(parts, entry, memo));
      if ("kind" in event) return event;
      memo.event = event;
      const moved = await move(parts, entry.seq, event);
      if (moved.kind === "later") return moved;
      memos.delete(keyOf(entry));
      return moved;
    },
    forget: (seq) => {
      memos.delete(`${seq} `);
      memos.delete(`${seq} aside`);
    },
  };
}

async function move({ journal }: CarryParts, seq: number, event: EntryEvent): Promise<Carried> {
  try {
    const moved = await journal.move(seq, event);
    return { kind: "moved", entry: moved.kind === "moved" ? moved.entry : journal.view.entry(seq) };
  } catch (error) {
    return { kind: "later", why: `the journal cannot be written: ${asForebayError(error).message}`, waitMs: null };
  }
}

/** Attempts, and says what the entry is to be told; or what to do instead. */
async function eventOf(parts: CarryParts, entry: Entry, memo: Memo): Promise<EntryEvent | Carried> {
  const outcome = entry.kind === "delete" ? await carryDelete(parts, entry, memo) : await carryPut(parts, entry, memo);
  const { clock } = parts;
  if (outcome.kind !== "credential") memo.refusedSinceMs = null;
  if (outcome.kind !== "damaged") memo.damages = 0;
  switch (outcome.kind) {
    case "settle":
      return { name: "settle", lakeEtag: outcome.etag };
    case "conflict":
      if (entry.state.name === "conflicted") return park("the name beside the blob is taken by something else");
      return { name: "conflict", sideName: entry.kind === "delete" ? null : sideNameOf(entry) };
    case "refused":
    case "ids":
      return park(outcome.why);
    case "damaged":
      // While the journal cannot be written either it is the whole flash that is away.
      if (++memo.damages < parts.damageAttemptsMax || !parts.journal.health().ok) return pause(outcome.why);
      return park(outcome.why);
    case "credential":
      memo.refusedSinceMs ??= clock.monotonicMs();
      if (clock.monotonicMs() - memo.refusedSinceMs < parts.refusedMsMax) return pause(outcome.why);
      return park(outcome.why);
    case "later":
      return pause(outcome.why, outcome.waitMs);
    case "gone":
      return { kind: "moved", entry: parts.journal.view.entry(entry.seq) };
    default:
      return pause(outcome.why);
  }
}

const park = (reason: string): EntryEvent => ({ name: "park", reason });
const pause = (why: string, waitMs: number | null = null): Carried => ({ kind: "later", why, waitMs });

function jobOf(entry: Entry, prepared: Prepared | null): Job | Failure {
  const { state, name, base } = entry;
  const isAside = state.name === "conflicted";
  if (!isAside && base.kind === "entry") return later(`entry ${base.seq}, of the same blob, is not in the lake yet`);
  const target = isAside ? { ...name, blob: state.sideName } : name;
  const content = prepared?.content ?? null;
  const moved = prepared?.moved ?? (() => {});
  return { entry, target, base: isAside || base.kind === "entry" ? { kind: "none" } : base, isAside, content, moved };
}

async function carryDelete(parts: CarryParts, entry: Entry, memo: Memo): Promise<Outcome> {
  const job = jobOf(entry, null);
  if ("kind" in job) return job;
  if (job.base.kind === "none") return (await begin(parts, entry)) ?? { kind: "settle", etag: null };
  return attempt(parts, job, memo);
}

async function carryPut(parts: CarryParts, entry: PutEntry, memo: Memo): Promise<Outcome> {
  const bare = jobOf(entry, null);
  if ("kind" in bare) return bare;
  const prepared = await prepare(parts, entry, bare.target);
  if ("kind" in prepared) return prepared;
  try {
    const job = jobOf(entry, prepared);
    return "kind" in job ? job : await attempt(parts, job, memo);
  } finally {
    prepared.release();
  }
}

/** Gets hold of what is sent: the bytes of a small put, the names of a large one's blocks. */
async function prepare(parts: CarryParts, entry: PutEntry, target: BlobName): Promise<Prepared | Failure> {
  const content = contentOf(entry, parts.smallBytesMax);
  const nothing = { moved: () => {}, release: () => {} };
  switch (content.kind) {
    case "damaged":
      return { kind: "refused", code: "", why: "damage of the flash: its bytes cannot be read any more" };
    case "inline":
      try {
        return { content: { kind: "bytes", bytes: await parts.journal.readInline(entry.seq) }, ...nothing };
      } catch (error) {
        return parts.journal.view.entry(entry.seq) === null ? gone : failureOfRead(error);
      }
    case "small":
      return prepareSmall(parts, entry, content.spans);
    case "blocks": {
      const upload = parts.uploads.of(entry, target);
      const spans = content.spans.filter(({ length }) => length > 0);
      return {
        content: {
          kind: "blocks",
          spans,
          get blocks() {
            return upload.blocks;
          },
          get areIdsOwn() {
            return upload.areIdsOwn;
          },
        },
        ...nothing,
      };
    }
  }
}

async function prepareSmall(
  parts: CarryParts,
  entry: PutEntry,
  spans: Extract<Sent["content"], { kind: "blocks" }>["spans"],
): Promise<Prepared | Failure> {
  if (entry.put.sizeBytes === 0) {
    return { content: { kind: "bytes", bytes: new Uint8Array(0) }, moved: () => {}, release: () => {} };
  }
  const slot = await parts.slots.take(entry.name.account, () => true);
  if (slot === null) return gone;
  try {
    let at = 0;
    for (const span of spans) {
      if (span.length === 0) continue;
      at += (await readSpan(parts.disk, span, slot.buffer.subarray(at))).length;
    }
    return { content: { kind: "bytes", bytes: slot.buffer.subarray(0, at) }, moved: slot.moved, release: slot.give };
  } catch (error) {
    slot.give();
    return parts.journal.view.entry(entry.seq) === null ? gone : failureOfRead(error);
  }
}

/** Null: it is `draining`, durably. */
async function begin(parts: CarryParts, entry: Entry): Promise<Failure | null> {
  if (entry.state.name !== "acknowledged") return null;
  // A failed attempt of this life may have got so far.
  if (parts.journal.view.entry(entry.seq)?.state.name === "draining") return null;
  const moved = await move(parts, entry.seq, { name: "begin" });
  if (moved.kind === "later") return later(moved.why);
  return moved.entry?.state.name === "draining" ? null : gone;
}

async function attempt(parts: CarryParts, job: Job, memo: Memo): Promise<Outcome> {
  if (memo.doubtful) {
    const seen = await within(parts, job.target, memo, () => look(parts, job, true));
    if (seen.kind !== "proceed") return seen;
    memo.doubtful = false;
  }
  const missing = await upload(parts, job, memo);
  if (missing !== null) return missing;
  const outcome = await within(parts, job.target, memo, () => beginAndCommit(parts, job, memo));
  if (outcome.kind !== "blocks" || job.entry.kind === "delete") return outcome;
  // The lake forgot some of the blocks: once more from the beginning.
  parts.uploads.of(job.entry, job.target).reset();
  const again = await upload(parts, job, memo);
  return again ?? within(parts, job.target, memo, () => beginAndCommit(parts, job, memo));
}

/** Brings the blocks that are not there yet. Null: all of them are. */
async function upload(parts: CarryParts, job: Job, memo: Memo): Promise<Outcome | null> {
  const { entry, target, content } = job;
  if (entry.kind === "delete" || content?.kind !== "blocks") return null;
  const blocks = parts.uploads.of(entry, target);
  blocks.hurry();
  // What was sent ahead of its turn may have failed for a reason that is over.
  const joined = blocks.running;
  let failure = await blocks.run();
  if (failure !== null && joined) failure = await blocks.run();
  if (failure?.kind !== "refused" || failure.code !== "InvalidBlobType" || job.isAside) return failure;
  // Whatever else has that name now, it is not what the write was based on.
  const seen = await within(parts, target, memo, () => look(parts, job, memo.sent));
  return seen.kind === "proceed" ? failure : seen;
}

async function beginAndCommit(parts: CarryParts, job: Job, memo: Memo): Promise<Outcome> {
  const failure = await begin(parts, job.entry);
  if (failure !== null) return failure;
  let condition = conditionOf(job.base);
  if (condition === null) {
    const seen = await look(parts, job, memo.sent);
    if (seen.kind !== "proceed") return seen;
    condition = seen.condition;
  }
  memo.sent = true;
  const outcome = await commit(parts, job, condition);
  if ((outcome.kind === "later" && outcome.unknown) || outcome.kind === "gone") memo.doubtful = true;
  return outcome;
}

/** Does what may change the lake, or finds out whether it changed, with what must stand around it. */
async function within<T extends Seen>(
  parts: CarryParts,
  target: BlobName,
  memo: Memo,
  work: () => Promise<T>,
): Promise<T | Failure> {
  let bracket: Awaited<ReturnType<Around>>;
  try {
    bracket = await parts.around(target);
  } catch (error) {
    return later(`the change could not be announced: ${asForebayError(error).message}`);
  }
  let result: T | Failure;
  try {
    result = await work();
  } finally {
    await bracket.ended().catch((error: unknown) => {
      // Whoever reads may still trust what was there before: it is looked at once more, with a new announcement.
      memo.doubtful = true;
      result = later(`the end of the change could not be announced: ${asForebayError(error).message}`);
    });
  }
  return result;
}
