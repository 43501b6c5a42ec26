/**
 * Fills: bringing missing blocks of one version from the lake to its file. The keeper grants each block to one server
 * at a time; the server reads runs of neighbouring blocks with ranged reads pinned to the version's ETag, writes each
 * chunk to the file as it comes (so that readers can follow), and reports whole blocks with their checksums.
 *
 * Memory: one block buffer for each run under way, at most `limits.lakeFillConnectionsMax` of them.
 */
import { assert } from "../base/assert.ts";
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { EngineContext } from "./context.ts";
import { createGate, type Gate } from "./gate.ts";
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
  const gate = createGate(limits.lakeFillConnectionsMax, limits.lakeUrgentFillsMax);
  const fills: Fills = { context, gate };
  return {
    ensure: (version, source, first, end, why = "body") => ensure(fills, version, source, first, end, why),
    adopt: (version, source, opened) => adopt(fills, version, source, opened),
    hurry: gate.hurry,
    review: gate.review,
  };
}

interface Fills {
  readonly context: EngineContext;
  readonly gate: Gate;
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
      for (const run of await claim(fills, version, b, to - b)) void fillRun(fills, version, source, run, why);
    b = to;
  }
}

/** Claims [first, first + count) and returns what was granted, in runs of a size that suits parallel reads. */
async function claim(fills: Fills, version: CachedVersion, first: number, count: number): Promise<Run[]> {
  const { keeper, holder } = fills.context;
  // Until the keeper answers, the blocks count as cared for, so that this server asks once.
  for (let b = first; b < first + count; b++) version.setElsewhere(b);
  const release = (): void => {
    for (let b = first; b < first + count; b++) if (!version.has(b)) version.release(b);
  };
  try {
    const claimed = await keeper.claim(holder, version.id, first, count);
    if (claimed === null) {
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
    return runsOf(granted);
  } catch (error) {
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

function runsOf(blocks: readonly number[]): Run[] {
  // Eight parallel runs or so for one wide request, each no smaller than two blocks (requests are billed) and no
  // larger than the bound.
  const size = Math.max(2, Math.min(limits.fillRunBlocksMax, Math.ceil(blocks.length / 8)));
  const runs: Run[] = [];
  let at = 0;
  while (at < blocks.length) {
    const first = blocks[at] as number;
    let count = 1;
    while (count < size && blocks[at + count] === first + count) count++;
    runs.push({ first, count });
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
  const { response } = opened;
  assert(opened.first % version.blockBytes === 0, "an adopted body begins at a block");
  const first = opened.first / version.blockBytes;
  const end = Math.floor(
    (opened.last + 1 === version.sizeBytes ? version.sizeBytes + version.blockBytes - 1 : opened.last + 1) /
      version.blockBytes,
  );
  const count = Math.min(end - first, limits.fillRunBlocksMax);
  if (count <= 0 || version.isCared(first)) {
    response.body.cancel();
    return;
  }
  const runs = await claim(fills, version, first, count);
  const granted = runs.flatMap((run) => range(run.first, run.count));
  let length = 0;
  while (granted[length] === first + length) length++;
  if (length === 0) response.body.cancel();
  else void fillRun(fills, version, source, { first, count: length }, "body", opened);
  for (const rest of runsOf(granted.slice(length))) void fillRun(fills, version, source, rest, "ahead");
}

/**
 * Brings one run when it is its turn. Never rejects: waiting readers learn through the version. However it ends, the
 * blocks are there or free, and the place at the gate is free.
 */
async function fillRun(
  fills: Fills,
  version: CachedVersion,
  source: FillSource,
  run: Run,
  why: Why,
  opened?: Opened,
): Promise<void> {
  const { context, gate } = fills;
  const { stats, keeper, holder } = context;
  const blocks = range(run.first, run.count);
  const isUrgent = (): boolean => version.isAwaited(run.first, run.count);
  const isWanted = (): boolean => why === "ahead" || version.followers > 0 || isUrgent();
  let leave: (() => void) | null = null;
  let failed = false;
  stats.fillsNow++;
  try {
    // An answer at hand holds a connection already: it must not wait for one.
    leave = opened ? gate.enterNow() : await gate.enter({ isUrgent, isWanted });
    if (leave !== null && version.failure === null) await bring(context, version, source, run, opened);
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
  context: EngineContext,
  version: CachedVersion,
  source: FillSource,
  run: Run,
  opened: Opened | undefined,
): Promise<void> {
  const { stats, log, keeper } = context;
  let pour: Pour | null = null;
  stats.fills++;
  try {
    pour = createPour(context, version, source, run, opened?.md5);
    pour.open();
    await pourRun(context, version, source, pour, opened);
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
  context: EngineContext,
  version: CachedVersion,
  source: FillSource,
  pour: Pour,
  opened: Opened | undefined,
): Promise<void> {
  let answer = opened?.response;
  for (let attempt = 1; ; attempt++) {
    try {
      if (pour.offset() < pour.end()) {
        answer ??= await openRange(context, version, source, pour.offset(), pour.end());
        await pour.take(answer);
      }
      return await pour.finish();
    } catch (caught) {
      answer?.body.cancel();
      answer = undefined;
      const error = asForebayError(caught);
      if (!hasCode(error, "lake-lost", "lake-unreachable", "timeout", "overloaded")) throw error;
      if (attempt >= limits.lakeFillAttemptsMax) throw error;
      const retryAfterMs = error.cause instanceof RetryAfter ? error.cause.delayMs : 50 * 2 ** attempt;
      await context.clock.sleep(Math.min(retryAfterMs, limits.lakeRetryPauseMsMax));
    }
  }
}
