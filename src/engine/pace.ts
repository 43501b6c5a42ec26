/**
 * How many reads of one account's lake go on at once: more while that brings more bytes, fewer as soon as the lake says
 * that it is too much (503, 429). Pure: told what happened and when, it says how many.
 *
 * Growing is judged by windows: when somebody had to wait all the same, a few more are tried; unless the next window
 * brought clearly more, they are taken back and tried again only after a while. A refusal halves at once; what
 * follows within the same pause is the same overload.
 */

export interface Pace {
  /** How many may be under way now. */
  readonly limit: number;
  /** A read ended well and brought `bytes`; `crowded`: others wait for a place. */
  done(bytes: number, crowded: boolean, nowMs: number): void;
  /** The lake refused a read because of its load. */
  refused(nowMs: number): void;
}

/** Bounds of {@link createPace}. */
export interface PaceBounds {
  readonly min: number;
  readonly start: number;
  readonly max: number;
}

const WINDOW_MS = 250;
/** What more reads have to bring to stay. */
const GAIN_MIN = 1.05;
const TRY_AGAIN_MS = 5_000;
const AFTER_REFUSAL_MS = 1_000;

export function createPace(bounds: PaceBounds, startMs: number): Pace {
  let limit = bounds.start;
  let windowAtMs = startMs;
  let windowBytes = 0;
  let isCrowded = false;
  let lastRate = 0;
  /** The limit before the growth that is being tried. */
  let grownFrom: number | null = null;
  let quietUntilMs = 0;
  let refusedUntilMs = 0;
  /** Once refused, it grows by one at a time. */
  let step = 0.25;

  const judge = (rate: number, nowMs: number): void => {
    if (nowMs < quietUntilMs) return;
    if (grownFrom !== null && rate < lastRate * GAIN_MIN) {
      limit = grownFrom;
      grownFrom = null;
      quietUntilMs = nowMs + TRY_AGAIN_MS;
      return;
    }
    lastRate = rate;
    grownFrom = isCrowded && limit < bounds.max ? limit : null;
    if (grownFrom !== null) limit = Math.min(bounds.max, limit + Math.max(1, Math.floor(limit * step)));
  };
  return {
    get limit() {
      return limit;
    },
    done: (bytes, crowded, nowMs) => {
      windowBytes += bytes;
      isCrowded ||= crowded;
      const elapsedMs = nowMs - windowAtMs;
      if (elapsedMs < WINDOW_MS) return;
      // A window with a pause in it says nothing about rates.
      if (elapsedMs < 4 * WINDOW_MS) judge(windowBytes / elapsedMs, nowMs);
      windowAtMs = nowMs;
      windowBytes = 0;
      isCrowded = false;
    },
    refused: (nowMs) => {
      if (nowMs < refusedUntilMs) return;
      refusedUntilMs = nowMs + AFTER_REFUSAL_MS;
      limit = Math.max(bounds.min, Math.floor(limit / 2));
      grownFrom = null;
      lastRate = 0;
      step = 0;
      quietUntilMs = refusedUntilMs;
    },
  };
}
