/**
 * The scrub reads every stored block (or span) once in a stated period, slowly and past the page cache, and compares it
 * with the checksum taken when it came. A version with a bad block is dropped: the next reader gets it from the lake again.
 */
import { assert } from "../base/assert.ts";
import { asForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Timer } from "../io/clock.ts";
import { dropVersion, type KeeperCore } from "./core.ts";
import { blockLength, filePath, hasOwnFile, SPAN_PIECE_BYTES, spanSum } from "./files.ts";
import type { IndexedVersion } from "./index.ts";
import type { Span } from "./types.ts";

/** How much faster than the period demands: what is off or busy now and then still makes it. */
const HASTE = 1.25;
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 60_000;
/** The place is noted in the index every so many steps. */
const NOTE_STEPS = 64;
const PAGE_ENTRIES = 32;
/** What one step reads, about. */
const STEP_BYTES_MAX = limits.scrubStepBlocksMax * limits.blockBytes;

export interface Scrub {
  /** Checks the next few blocks; resolves with how many. */
  step(): Promise<number>;
  start(): void;
  stop(): void;
}

/** `dropped` is called when versions were dropped. */
export function createScrub(
  core: KeeperCore,
  dropCached: (fd: number, offset: number, length: number) => void,
  dropped: () => void,
): Scrub {
  const { index, clock, bounds, counts, health } = core;
  const place = { after: index.totals().scrubbed, id: null as number | null, block: 0 };
  let steps = 0;
  let stepBytes = 0;
  let timer: Timer | null = null;
  let running: Promise<number> | null = null;
  let stopped = false;

  const finishVersion = (id: number): void => {
    place.after = id;
    place.id = null;
    place.block = 0;
  };
  const note = (): void => index.change(false, (changes) => changes.scrubbed(place.after));
  /** The version at hand, or the next one. Null: there is none on this page, or the next round begins. */
  const current = (): number | null => {
    if (place.id !== null) return place.id;
    // A page at a time: there may be many that hold nothing.
    const entries = index.page(place.after, PAGE_ENTRIES);
    place.id = entries.find((entry) => entry.storedBytes > 0)?.id ?? null;
    if (place.id !== null) return place.id;
    const last = entries.at(-1);
    if (last !== undefined) place.after = last.id;
    else if (place.after > 0) {
      counts.scrubRounds++;
      place.after = 0;
      note();
    }
    return null;
  };
  const step = async (): Promise<number> => {
    stepBytes = 0;
    if (!health.state().ok || stopped) return 0;
    const id = current();
    if (id === null) return 0;
    const version = index.getById(id);
    const sums = version === null ? [] : index.checksums(id, place.block, limits.scrubStepBlocksMax);
    const last = sums.at(-1);
    if (version === null || last === undefined) {
      finishVersion(id);
      if (++steps % NOTE_STEPS === 0) note();
      return 0;
    }
    for (const { block, checksum } of sums) {
      if (stepBytes >= STEP_BYTES_MAX) break;
      const span = summedSpan(version, block);
      const why = await whatIsWrong(core, span, checksum, { dropCached, rest });
      if (stopped) return 0;
      counts.scrubbedBlocks++;
      if (why !== null) {
        const dealtWith = await confirmBad(version, block, why);
        if (stopped) return 0;
        if (dealtWith) finishVersion(id);
        break;
      }
      place.block = block + 1;
    }
    if (place.block > last.block && sums.length < limits.scrubStepBlocksMax) finishVersion(id);
    if (++steps % NOTE_STEPS === 0) note();
    return sums.length;
  };
  /** A block that cannot be read or is not what it was: bad, unless the version is gone or the whole flash failed. */
  const confirmBad = async (version: IndexedVersion, block: number, why: string): Promise<boolean> => {
    await health.probe();
    if (!health.state().ok || stopped) return false;
    const found = core.versions.loadById(version.id);
    if (found === null) return true;
    counts.scrubBadBlocks++;
    core.log("warn", "the scrub found a bad block: its version is dropped", { version: version.id, block, why });
    dropVersion(core, found, "bad");
    dropped();
    return true;
  };
  /** Called before each piece is read: what is large is not read in one go. */
  const rest = async (bytes: number): Promise<boolean> => {
    if (stepBytes >= STEP_BYTES_MAX) {
      await clock.sleep(pauseMs());
      stepBytes = 0;
    }
    stepBytes += bytes;
    return !stopped;
  };
  const stepOnce = (): Promise<number> => {
    running ??= step().finally(() => {
      running = null;
    });
    return running;
  };
  const pauseMs = (): number => {
    const stored = index.totals().storedBytes;
    const share = stored === 0 ? 1 : stepBytes / stored;
    return Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, (bounds.scrubPeriodMs * share) / HASTE));
  };
  const loop = (): void => {
    if (stopped) return;
    timer = clock.after(pauseMs(), () => {
      stepOnce()
        .catch((error) => core.log("warn", "the scrub failed", { cause: asForebayError(error).message }))
        .finally(loop);
    });
  };
  return {
    step: stepOnce,
    start: loop,
    stop: () => {
      stopped = true;
      timer?.cancel();
      try {
        if (health.state().ok) note();
      } catch {
        // The place is only a convenience.
      }
    },
  };
}

/** What the checksum with number `n` is of: a block in the version's own file, or a span of others. */
function summedSpan(version: IndexedVersion, n: number): Span {
  const offset = n * version.blockBytes;
  const span = hasOwnFile(version) ? { fileId: version.id, offset, length: blockLength(version, n) } : version.spans[n];
  assert(span !== undefined, "a checksum belongs to a span");
  return span;
}

interface Reading {
  readonly dropCached: (fd: number, offset: number, length: number) => void;
  /** Before a piece of so many bytes is read. False: stop. */
  readonly rest: (bytes: number) => Promise<boolean>;
}

async function whatIsWrong(core: KeeperCore, span: Span, checksum: string, reading: Reading): Promise<string | null> {
  const { disk } = core;
  const sum = spanSum();
  const piece = new Uint8Array(Math.min(SPAN_PIECE_BYTES, span.length));
  try {
    for (let at = 0; at < span.length; at += piece.length) {
      const bytes = piece.subarray(0, Math.min(piece.length, span.length - at));
      if (!(await reading.rest(bytes.length))) return null;
      // Opened for each piece: between two of them the file may go, and must not be held on to.
      const fd = disk.open(filePath(span.fileId), "read");
      try {
        reading.dropCached(fd, span.offset + at, bytes.length);
        const got = await disk.read(fd, bytes, span.offset + at);
        if (got !== bytes.length) return `${at + got} bytes of ${span.length}`;
      } finally {
        disk.close(fd);
      }
      sum.add(bytes);
    }
  } catch (error) {
    // No descriptor to read it with: nothing was found out about the block.
    if (hasCode(error, "overloaded")) throw error;
    return hasCode(error, "gone") ? "the file is gone" : asForebayError(error).message;
  }
  return sum.end() === checksum ? null : "the checksum differs";
}
