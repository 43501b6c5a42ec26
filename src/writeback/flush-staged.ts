/**
 * Takes blocks that clients staged here to the lake, uncommitted and under the clients' own ids, for whatever comes
 * next there; then the journal forgets them. Only under a fence: a block staged meanwhile would be forgotten too.
 */

import { asForebayError } from "../base/errors.ts";
import type { ChangeScope } from "../flash/types.ts";
import type { BlobName, Journal, StagedBlock } from "../journal/types.ts";
import { createBackoff, within } from "./backoff.ts";
import { type Failure, later } from "./failures.ts";
import { covers } from "./fences.ts";
import type { Flushed } from "./types.ts";
import { type BlockParts, sendBlock } from "./upload.ts";

const WORKERS_MAX = 16;

export interface StagedParts extends BlockParts {
  readonly journal: Journal;
  readonly isStopped: () => boolean;
  readonly log: (message: string, fields: Record<string, string | number>) => void;
}

/** Tries until `atMs` (monotonic). */
export async function flushStaged(parts: StagedParts, scope: ChangeScope, atMs: number): Promise<Flushed> {
  const state = { done: false };
  const work = flushAll(parts, scope, atMs).then((done) => {
    state.done = done;
  });
  await within(parts.clock, Math.max(0, atMs - parts.clock.monotonicMs()), work);
  if (state.done) return { kind: "done" };
  const rest = stagedIn(parts, scope).flatMap((name) => parts.journal.view.blocksOf(name));
  return { kind: "timeout", pendingEntries: 0, pendingBytes: rest.reduce((sum, { span }) => sum + span.length, 0) };
}

const stagedIn = (parts: StagedParts, scope: ChangeScope): BlobName[] =>
  [...parts.journal.view.stagedBlobs()].filter((name) => covers(scope, name));

/** False: the time was over first. */
async function flushAll(parts: StagedParts, scope: ChangeScope, atMs: number): Promise<boolean> {
  const backoff = createBackoff(parts.random, { minMs: parts.bounds.pauseMsMin, maxMs: parts.bounds.hurryMsMax });
  for (let attempts = 0; ; attempts++) {
    const names = stagedIn(parts, scope);
    if (names.length === 0) return true;
    let failure: Failure | null = null;
    for (const name of names) failure = (await flushBlob(parts, name, atMs, attempts)) ?? failure;
    if (failure === null) continue;
    if (isOver(parts, atMs)) return false;
    await parts.clock.sleep(backoff.next(failure.kind === "later" ? failure.waitMs : null));
    parts.retried();
  }
}

const isOver = (parts: StagedParts, atMs: number): boolean => parts.isStopped() || parts.clock.monotonicMs() >= atMs;

async function flushBlob(parts: StagedParts, name: BlobName, atMs: number, attempts: number): Promise<Failure | null> {
  const { view } = parts.journal;
  const staged = view.blocksOf(name);
  const blocks = [...staged];
  const state: { failure: Failure | null } = { failure: null };
  const isWanted = (): boolean => !isOver(parts, atMs);
  const work = async (): Promise<void> => {
    for (;;) {
      const block: StagedBlock | undefined = state.failure === null ? blocks.shift() : undefined;
      if (block === undefined) return;
      const { blockId: id, span } = block;
      const failure = await sendBlock(parts, {
        target: name,
        id,
        span,
        isUrgent: () => true,
        isWanted,
        loose: () => {},
      });
      state.failure ??= failure;
    }
  };
  await Promise.all(Array.from({ length: Math.min(WORKERS_MAX, blocks.length) }, work));
  const { failure } = state;
  if (failure !== null && (isTemporary(failure) || attempts + 1 < parts.bounds.blockAttemptsMax)) return failure;
  // What the lake does not take, or the flash has lost, its client brings again when the commit does not find it.
  if (failure !== null) {
    const { account, container, blob } = name;
    parts.log("staged blocks were given up", { account, container, blob, reason: "why" in failure ? failure.why : "" });
  }
  // Nobody waits any more: the fence may be down, and blocks be staged that the lake does not have.
  if (isOver(parts, atMs)) return { kind: "gone" };
  if (view.blocksOf(name).some((block) => !staged.includes(block))) return later("a block was staged meanwhile");
  try {
    await parts.journal.dropBlocks(name);
    return null;
  } catch (error) {
    return later(asForebayError(error).message);
  }
}

function isTemporary(failure: Failure): boolean {
  return failure.kind === "later" || failure.kind === "gone" || failure.kind === "credential";
}
