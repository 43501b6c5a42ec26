/**
 * How many bodies of one account's lake are under way at once, in one direction (below: reads): more while that brings
 * more bytes, fewer as soon as the lake says that it is too much (503, 429). Pure: told what happened and when, it says
 * how many.
 *
 * Growing is judged by windows: when somebody had to wait all the same, a few more are tried; unless the next window
 * brought clearly more, they are taken back and tried again only after a while. A refusal halves at once; what
 * follows within the same pause is the same overload.
 */

export interface Pace {
  /** How many may be under way now. */
  readonly limit: number;
  /** A read began, or ended however it did: a time with none under way says nothing about rates. */
  began(nowMs: number): void;
  ended(): void;
  /** Bytes of a read arrived; `crowded`: others wait for a place. */
  arrived(bytes: number, crowded: boolean, nowMs: number): void;
  /** The lake refused a read because of its load. */
  refused(nowMs: number): void;
}

/** Bounds of {@link createPace}. */
export interface PaceBounds {
  readonly min: number;
  readonly start: number;
  readonly max: number;
}

/** A window ends with the first bytes after so long. */
const WINDOW_MS = 250;
/** What more reads have to bring to stay: so much of what they would bring if each brought as much as the others. */
const GAIN_SHARE = 0.5;
/** And never more than this. */
const GAIN_MAX = 0.05;
const TRY_AGAIN_MS = 5_000;
const AFTER_REFUSAL_MS = 1_000;
/** It grows by this part of itself at a time; for so long after a refusal by one. */
const STEP = 0.25;
const CAREFUL_MS = 60_000;

export function createPace(bounds: PaceBounds, startMs: number): Pace {
  let limit = bounds.start;
  let underWay = 0;
  let windowAtMs = startMs;
  let windowBytes = 0;
  let isCrowded = false;
  let lastRate = 0;
  /** The limit before the growth that is being tried. */
  let grownFrom: number | null = null;
  let quietUntilMs = 0;
  let refusedUntilMs = 0;
  let carefulUntilMs = 0;

  const beginWindow = (nowMs: number): void => {
    windowAtMs = nowMs;
    windowBytes = 0;
    isCrowded = false;
  };
  const rateToStay = (from: number): number =>
    lastRate * (1 + Math.min(GAIN_MAX, (GAIN_SHARE * (limit - from)) / from));
  const judge = (rate: number, nowMs: number): void => {
    if (nowMs < quietUntilMs) return;
    if (grownFrom !== null && rate < rateToStay(grownFrom)) {
      limit = grownFrom;
      grownFrom = null;
      quietUntilMs = nowMs + TRY_AGAIN_MS;
      return;
    }
    lastRate = rate;
    grownFrom = isCrowded && limit < bounds.max ? limit : null;
    if (grownFrom === null) return;
    const step = nowMs < carefulUntilMs ? 1 : Math.max(1, Math.floor(limit * STEP));
    limit = Math.min(bounds.max, limit + step);
  };
  return {
    get limit() {
      return limit;
    },
    began: (nowMs) => {
      if (underWay++ === 0) beginWindow(nowMs);
    },
    ended: () => {
      underWay--;
    },
    arrived: (bytes, crowded, nowMs) => {
      windowBytes += bytes;
      isCrowded ||= crowded;
      const elapsedMs = nowMs - windowAtMs;
      if (elapsedMs < WINDOW_MS) return;
      judge(windowBytes / elapsedMs, nowMs);
      beginWindow(nowMs);
    },
    refused: (nowMs) => {
      carefulUntilMs = nowMs + CAREFUL_MS;
      if (nowMs < refusedUntilMs) return;
      refusedUntilMs = nowMs + AFTER_REFUSAL_MS;
      limit = Math.max(bounds.min, Math.floor(limit / 2));
      grownFrom = null;
      lastRate = 0;
      quietUntilMs = refusedUntilMs;
    },
  };
}
