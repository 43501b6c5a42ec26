/**
 * The blocks of one put on their way to the lake: several at a time, each verified as it leaves, each sent again when
 * the lake had too much to do. Nothing here changes what readers of the lake see. What is there already is remembered,
 * so that an upload goes on where it stopped.
 */
import type { Random } from "../base/random.ts";
import type { CheckedSpan } from "../flash/types.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { BlobName, BlockSpan, PutEntry } from "../journal/types.ts";
import type { Ask } from "./ask.ts";
import { createBackoff } from "./backoff.ts";
import { type BlockIds, blockIdsOf, idsLike, type LakeBlock, ownIds, parseBlockList } from "./block-ids.ts";
import { type Failure, later } from "./failures.ts";
import type { Rate } from "./rate.ts";
import type { Slots } from "./slots.ts";
import { createSpanSource, failureOfRead } from "./span-source.ts";

/** What sending blocks takes. */
export interface BlockParts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly ask: Ask;
  readonly slots: Slots;
  readonly rate: Rate;
  readonly bounds: {
    readonly blockBytesMax: number;
    readonly blockAttemptsMax: number;
    readonly blockListBytesMax: number;
    readonly pauseMsMin: number;
    readonly hurryMsMax: number;
  };
  /** One more attempt of something. */
  readonly retried: () => void;
}

/** Who sends a block, and for what. */
export interface BlockTask {
  readonly target: BlobName;
  readonly id: string;
  readonly span: CheckedSpan;
  readonly isUrgent: () => boolean;
  /** Whether anybody still wants it. */
  readonly isWanted: () => boolean;
  /** It was sent, and nobody knows whether it arrived: it may still do so. */
  readonly loose: () => void;
}

/** Sends one block. Null: it is in the lake. Tries again by itself a few times while the failure is a temporary one. */
export async function sendBlock(parts: BlockParts, task: BlockTask): Promise<Failure | null> {
  const { bounds, clock } = parts;
  const backoff = createBackoff(parts.random, { minMs: bounds.pauseMsMin, maxMs: bounds.hurryMsMax });
  for (;;) {
    const failure = await sendOnce(parts, task);
    if (failure?.kind !== "later") return failure;
    if (backoff.attempts + 1 >= bounds.blockAttemptsMax) return failure;
    await clock.sleep(backoff.next(failure.busy ? null : failure.waitMs));
    parts.retried();
  }
}

async function sendOnce(parts: BlockParts, task: BlockTask): Promise<Failure | null> {
  const { target, id, span } = task;
  if (span.length > parts.bounds.blockBytesMax) {
    return { kind: "refused", code: "RequestBodyTooLarge", why: "a part of it is larger than a block may be" };
  }
  const slot = await parts.slots.take(target.account, task.isUrgent);
  if (slot === null) return { kind: "gone" };
  try {
    if (!task.isWanted()) return { kind: "gone" };
    const body = createSpanSource({ ...parts, span, buffer: slot.buffer, moved: slot.moved });
    const query = [["comp", "block"] as const, ["blockid", id] as const];
    const asked = await parts.ask.ask(target, { method: "PUT", query, body });
    // Where the answer came first, or none at all, the body is not done with the buffer yet.
    await body.finished;
    if (asked.kind === "answer") return null;
    // A body that broke off here is thrown away there.
    if (body.failure !== null) return body.failure;
    const { failure } = asked;
    if (failure.kind === "gone" || (failure.kind === "later" && failure.unknown)) task.loose();
    return failure;
  } catch (error) {
    return failureOfRead(error);
  } finally {
    slot.give();
  }
}

/** The blocks of one put, under one name. */
export interface Upload {
  readonly seq: number;
  /** Sends what is not there yet. Null: all is there. One run at a time: who comes later joins it. */
  run(): Promise<Failure | null>;
  /** Its turn has come: it goes before what is only sent ahead. */
  hurry(): void;
  /** The lake has lost some: all are to be sent again. */
  reset(): void;
  readonly blocks: readonly LakeBlock[];
  readonly areIdsOwn: boolean;
  readonly running: boolean;
  /** When a run failed last, monotonic. */
  readonly failedAtMs: number | null;
  /** When (monotonic) a block was sent last whose outcome nobody knows: it may still arrive. */
  readonly looseAtMs: number | null;
  /** Resolves when no request is under way. */
  quiet(): Promise<void>;
}

/** Blocks of one put under way at a time, at most. */
const WORKERS_MAX = 8;

export interface UploadOptions {
  readonly entry: PutEntry;
  readonly spans: readonly BlockSpan[];
  readonly target: BlobName;
  /** Whether blocks of another write with the client's ids may still arrive. */
  readonly mustBeOwn: () => boolean;
  /** What was sent under this name before is done. */
  readonly after: Promise<void>;
  readonly isWanted: () => boolean;
}

export function createUpload(parts: BlockParts, options: UploadOptions): Upload {
  const { entry, target, isWanted } = options;
  const spans = options.spans.filter((span) => span.length > 0);
  const name = (): BlockIds => (options.mustBeOwn() ? ownIds(entry, spans) : blockIdsOf(entry, spans));
  let named = name();
  const done = new Set<number>();
  let urgent = false;
  let looseAtMs: number | null = null;
  let failedAtMs: number | null = null;
  let current: Promise<Failure | null> | null = null;

  const loose = (): void => {
    looseAtMs = parts.clock.monotonicMs();
  };
  const work = async (queue: number[], state: { failure: Failure | null }): Promise<void> => {
    for (;;) {
      const index = state.failure === null ? queue.shift() : undefined;
      const [span, id] = index === undefined ? [] : [spans[index], named.ids[index]];
      if (index === undefined || span === undefined || id === undefined) return;
      const failure = await sendBlock(parts, { target, id, span, isUrgent: () => urgent, isWanted, loose });
      if (failure === null) done.add(index);
      else state.failure ??= failure;
    }
  };
  const pass = async (): Promise<Failure | null> => {
    const queue = spans.map((_, index) => index).filter((index) => !done.has(index));
    const state: { failure: Failure | null } = { failure: null };
    const workers = Math.min(WORKERS_MAX, queue.length);
    await Promise.all(Array.from({ length: workers }, () => work(queue, state)));
    return state.failure;
  };
  const run = async (): Promise<Failure | null> => {
    await options.after;
    if (done.size === 0) named = name();
    let failure = await pass();
    // Once a run: a block that was under way may bring ids of yet another length.
    if (failure?.kind === "ids") {
      const like = await idsInTheLake(parts, options, spans);
      if ("failure" in like) failure = like.failure;
      else {
        named = like.ids;
        done.clear();
        failure = await pass();
      }
    }
    failedAtMs = failure === null ? null : parts.clock.monotonicMs();
    if (failure?.kind === "ids") return { kind: "refused", code: "InvalidBlobOrBlock", why: OTHER_IDS };
    return failure;
  };
  return {
    seq: entry.seq,
    run: () => {
      current ??= run().finally(() => {
        current = null;
      });
      return current;
    },
    hurry: () => {
      urgent = true;
      parts.slots.review();
    },
    reset: () => done.clear(),
    get blocks() {
      return spans.map((span, index) => ({ id: named.ids[index] ?? "", lengthBytes: span.length }));
    },
    get areIdsOwn() {
      return named.areOwn;
    },
    get running() {
      return current !== null;
    },
    get failedAtMs() {
      return failedAtMs;
    },
    get looseAtMs() {
      return looseAtMs;
    },
    quiet: async () => {
      await current?.catch(() => {});
    },
  };
}

const OTHER_IDS =
  "uncommitted blocks whose ids have another length are on the blob in the lake; they expire after a week";

/** Somebody left uncommitted blocks under the name: ours must have ids as long as theirs. */
async function idsInTheLake(
  parts: BlockParts,
  { entry, target, mustBeOwn }: UploadOptions,
  spans: readonly BlockSpan[],
): Promise<{ readonly ids: BlockIds } | { readonly failure: Failure }> {
  const query = [["comp", "blocklist"] as const, ["blocklisttype", "all"] as const];
  const asked = await parts.ask.ask(target, { method: "GET", query }, parts.bounds.blockListBytesMax);
  if (asked.kind === "failed") return { failure: asked.failure };
  const { text } = asked.answer;
  const [there] = [...parseBlockList(text, "Uncommitted"), ...parseBlockList(text, "Committed")];
  if (there === undefined) return { failure: later("the lake refused the id of a block, and names none of its own") };
  const ids = idsLike(there.id, entry, spans, mustBeOwn());
  if (ids !== null) return { ids };
  return {
    failure: mustBeOwn() ? later("blocks of an earlier write may still arrive") : { kind: "ids", why: OTHER_IDS },
  };
}
