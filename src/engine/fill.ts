/**
 * Fills: bringing missing blocks of one version from the lake to its file. The keeper grants each block to one server
 * at a time; the server reads runs of neighbouring blocks with ranged reads pinned to the version's ETag, writes each
 * chunk to the file as it comes (so that readers can follow), and reports whole blocks with their checksums.
 *
 * Memory: the buffers of `limits.fillBuffersMax` blocks, whatever is filled.
 */
import { assert } from "../base/assert.ts";
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { createBuffers, isOutOfBuffers } from "./buffers.ts";
import type { EngineContext } from "./context.ts";
import { createLanes, type Lane, type Lanes } from "./lanes.ts";
import { createPour, type Pour, type Run } from "./pour.ts";
import { type FillSource, type Opened, openRange, RetryAfter } from "./range.ts";
import { bump } from "./stats.ts";
import type { CachedVersion } from "./version.ts";

export interface Filler {
  /** Sees to it that blocks [first, end) are there or on their way. Resolves when that is arranged, never rejects. */
  ensure(version: CachedVersion, source: FillSource, first: number, end: number, why?: Why): Promise<void>;
  /**
   * Takes the body of an answer at hand as the first run, from its first whole block on. Resolves when it is under
   * way (or was let go because others are bringing the blocks).
   */
  adopt(version: CachedVersion, source: FillSource, opened: Opened): Promise<void>;
  /** A body began to wait for a block of which nothing has come: it goes before what was asked for ahead. */
  hurry(): void;
  /** The last body that followed a version was closed: what has not begun to come and nobody wants is given up. */
  review(): void;
}

/** `body`: an open body wants the blocks. `ahead`: one that is likely to come will. */
export type Why = "body" | "ahead";

export function createFiller(context: EngineContext): Filler {
  const lanes = createLanes(context.clock, createBuffers(limits.fillBuffersMax, limits.blockBytes, context.clock));
  const fills: Fills = { context, lanes, claiming: new Set() };
  return {
    ensure: (version, source, first, end, why = "body") => ensure(fills, version, source, first, end, why),
    adopt: (version, source, opened) => adopt(fills, version, source, opened),
    hurry: lanes.hurry,
    review: lanes.review,
  };
}

interface Fills {
  readonly context: EngineContext;
  /** Claims that the keeper was asked for and has not answered yet. */
  readonly claiming: Set<Claiming>;
  readonly lanes: Lanes;
}

/** A claim under way. An answer at hand may join it, so that nobody asks the lake for what it brings. */
interface Claiming {
  readonly version: CachedVersion;
  readonly first: number;
  readonly count: number;
  offer: Opened | null;
}

/** A run that was granted; `opened` is an answer at hand that brings it. */
interface Granted extends Run {
  readonly opened: Opened | undefined;
}

async function ensure(
  fills: Fills,
  version: CachedVersion,
  source: FillSource,
  first: number,
  end: number,
  why: Why,
): Promise<void> {
  const stop = Math.min(end, version.blockCount);
  for (let b = first; b < stop; ) {
    while (b < stop && version.isCared(b)) b++;
    let to = b;
    while (to < stop && !version.isCared(to)) to++;
    if (to > b)
      for (const run of await claim(fills, version, b, to - b, null)) void fillRun(fills, version, source, run, why);
    b = to;
  }
}

/** Claims [first, first + count) and returns what was granted, in runs of a size that suits parallel reads. */
async function claim(
  fills: Fills,
  version: CachedVersion,
  first: number,
  count: number,
  offer: Opened | null,
): Promise<Granted[]> {
  const { keeper, holder } = fills.context;
  // Until the keeper answers, the blocks count as cared for, so that this server asks once.
  for (let b = first; b < first + count; b++) version.setElsewhere(b);
  const release = (): void => {
    for (let b = first; b < first + count; b++) if (!version.has(b)) version.release(b);
  };
  const claiming: Claiming = { version, first, count, offer };
  fills.claiming.add(claiming);
  try {
    const claimed = await keeper.claim(holder, version.id, first, count);
    fills.claiming.delete(claiming);
    if (claimed === null) {
      claiming.offer?.response.body.cancel();
      version.fail(new ForebayError("gone", "the version was evicted while it was being filled"));
      release();
      return [];
    }
    for (const b of claimed.present) version.setPresent(b);
    for (const b of claimed.held) void followElsewhere(fills, version, b);
    const granted = claimed.granted.filter((b) => !version.has(b));
    // A block that came meanwhile is not brought again: nobody may wait for it.
    const spare = claimed.granted.filter((b) => version.has(b));
    if (spare.length > 0) void keeper.unclaim(holder, version.id, spare).catch(() => {});
    for (const b of granted) version.begin(b);
    return share(granted, version, claiming.offer);
  } catch (error) {
    fills.claiming.delete(claiming);
    claiming.offer?.response.body.cancel();
    // Its answer may be lost while the keeper granted all the same: what follows on the channel takes that back.
    void keeper.unclaim(holder, version.id, range(first, count)).catch(() => {});
    version.fail(asForebayError(error));
    release();
    return [];
  }
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

/** The runs of what was granted: first what `offer` brings, where that was among it. */
function share(granted: readonly number[], version: CachedVersion, offer: Opened | null): Granted[] {
  if (offer === null) return runsOf(granted);
  const [first, end] = wholeBlocks(version, offer);
  const at = granted.indexOf(first);
  let count = 0;
  while (at >= 0 && first + count < end && granted[at + count] === first + count) count++;
  if (count === 0) {
    offer.response.body.cancel();
    return runsOf(granted);
  }
  const rest = runsOf([...granted.slice(0, at), ...granted.slice(at + count)]);
  return [{ first, count, opened: offer }, ...rest];
}

/** The blocks that an answer brings wholly: the first and the end. */
function wholeBlocks(version: CachedVersion, { first, last }: Opened): readonly [number, number] {
  const { blockBytes } = version;
  assert(first % blockBytes === 0, "an adopted body begins at a block");
  const end = last + 1 === version.sizeBytes ? version.blockCount : Math.floor((last + 1) / blockBytes);
  return [first / blockBytes, Math.min(end, first / blockBytes + limits.fillRunBlocksMax)];
}

function runsOf(blocks: readonly number[]): Granted[] {
  // Eight parallel runs or so for one wide request, each no smaller than two blocks (requests are billed) and no
  // larger than the bound.
  const size = Math.max(2, Math.min(limits.fillRunBlocksMax, Math.ceil(blocks.length / 8)));
  const runs: Granted[] = [];
  let at = 0;
  while (at < blocks.length) {
    const first = blocks[at] as number;
    let count = 1;
    while (count < size && blocks[at + count] === first + count) count++;
    runs.push({ first, count, opened: undefined });
    at += count;
  }
  return runs;
}

/** Waits for a block that another server is bringing. */
async function followElsewhere(fills: Fills, version: CachedVersion, b: number): Promise<void> {
  try {
    const outcome = await fills.context.keeper.awaitBlock(version.id, b);
    if (outcome === "present") version.setPresent(b);
    else if (outcome === "free") version.release(b);
    else version.fail(new ForebayError("gone", "the version was evicted while it was being filled"));
  } catch (error) {
    // Nobody knows: whoever still wants it asks again.
    if (hasCode(error, "timeout")) version.release(b);
    else version.fail(asForebayError(error));
  }
}

async function adopt(fills: Fills, version: CachedVersion, source: FillSource, opened: Opened): Promise<void> {
  const [first, end] = wholeBlocks(version, opened);
  for (const claiming of fills.claiming) {
    const isThere = claiming.version === version && first >= claiming.first && first < claiming.first + claiming.count;
    if (!isThere || claiming.offer !== null) continue;
    // Others were faster to ask the keeper: they need not ask the lake.
    claiming.offer = opened;
    return;
  }
  if (end <= first || version.isCared(first)) {
    opened.response.body.cancel();
    return;
  }
  for (const run of await claim(fills, version, first, end - first, opened)) {
    void fillRun(fills, version, source, run, run.opened ? "body" : "ahead");
  }
}

/**
 * Brings one run when it is its turn. Never rejects: waiting readers learn through the version. However it ends, the
 * blocks are there or free, and the place at the gate is free.
 */
async function fillRun(
  fills: Fills,
  version: CachedVersion,
  source: FillSource,
  run: Granted,
  why: Why,
): Promise<void> {
  const { opened } = run;
  const { stats, keeper, holder } = fills.context;
  const { gate } = fills.lanes.of(source.key.account);
  const blocks = range(run.first, run.count);
  const isUrgent = (): boolean => version.isAwaited(run.first, run.count);
  const isWanted = (): boolean => why === "ahead" || version.followers > 0 || isUrgent();
  let leave: (() => void) | null = null;
  let failed = false;
  stats.fillsNow++;
  try {
    // An answer at hand holds a connection already: it must not wait for one.
    leave = opened ? gate.enterNow() : await gate.enter({ isUrgent, isWanted });
    if (leave !== null && version.failure === null) await bring(fills, version, source, run, opened);
    else opened?.response.body.cancel();
  } catch (caught) {
    failed = true;
    const error = asForebayError(caught);
    // A caller that went away or may not read is no reason for others to fail: they ask with their own authority.
    if (source.loan && error.code === "lake-refused") source.loan.refusal = error;
    else if (error.code !== "cancelled") version.fail(error);
  } finally {
    stats.fillsNow--;
    leave?.();
    const left = blocks.filter((b) => !version.has(b));
    // All of the run: what the keeper took as filled is claimed no more, and what it did not hear of is free again.
    if (failed || left.length > 0) await keeper.unclaim(holder, version.id, blocks).catch(() => {});
    for (const b of left) version.release(b);
  }
}

/** Brings one run, trying again a bounded number of times. Rejects with what keeps it from the rest of its blocks. */
async function bring(
  fills: Fills,
  version: CachedVersion,
  source: FillSource,
  run: Run,
  opened: Opened | undefined,
): Promise<void> {
  const { context } = fills;
  const { stats, log, keeper } = context;
  const lane = fills.lanes.of(source.key.account);
  let pour: Pour | null = null;
  stats.fills++;
  try {
    pour = createPour({ context, lane }, version, source, run, opened?.md5);
    pour.open();
    await pourRun({ context, lane }, version, source, pour, opened);
  } catch (caught) {
    const error = asForebayError(caught);
    opened?.response.body.cancel();
    stats.fillErrors++;
    bump(stats.errors, `fill.${error.code}`);
    const block = pour?.nextBlock() ?? run.first;
    log("warn", "fill failed", { code: error.code, reason: error.message, key: version.key, block });
    if (hasCode(error, "flash-failed", "flash-full")) void keeper.reportFailure(error.message).catch(() => {});
    if (hasCode(error, "lake-changed", "lake-corrupt")) {
      void keeper.drop(version.key, version.id, error.code === "lake-corrupt" ? "bad" : "changed").catch(() => {});
    }
    await pour?.salvage();
    throw error;
  } finally {
    pour?.close();
  }
}

async function pourRun(
  { context, lane }: { readonly context: EngineContext; readonly lane: Lane },
  version: CachedVersion,
  source: FillSource,
  pour: Pour,
  opened: Opened | undefined,
): Promise<void> {
  let answer = opened?.response;
  for (let attempt = 1; ; attempt++) {
    try {
      if (pour.offset() < pour.end()) {
        await lane.reading(async () => {
          answer ??= await openRange(context, version, source, pour.offset(), pour.end());
          await pour.take(answer);
        });
      }
      return await pour.finish();
    } catch (caught) {
      answer?.body.cancel();
      answer = undefined;
      const error = asForebayError(caught);
      if (!hasCode(error, "lake-lost", "lake-unreachable", "timeout", "overloaded")) throw error;
      if (isOutOfBuffers(error)) throw error;
      const isBusy = error.code === "overloaded";
      if (attempt >= (isBusy ? limits.lakeFillBusyAttemptsMax : limits.lakeFillAttemptsMax)) throw error;
      if (isBusy) lane.refused();
      pour.pause();
      await context.clock.sleep(pauseMs(error, attempt, pour.offset() / version.blockBytes));
    }
  }
}

/** How long to wait before the next attempt. What was refused together comes back one after the other. */
function pauseMs(error: ForebayError, attempt: number, block: number): number {
  const asked = error.cause instanceof RetryAfter ? error.cause.delayMs : 50 * 2 ** attempt;
  const spread = 1 + (Math.floor(block / limits.fillRunBlocksMax) % 8) / 8;
  return Math.min(asked * spread, limits.lakeRetryPauseMsMax);
}
