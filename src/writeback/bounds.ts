/** Bounds of the drain: those of `limits` unless a test makes them smaller. */
import { limits } from "../base/limits.ts";

export interface DrainBounds {
  readonly uploadsMax: number;
  readonly uploadsStart: number;
  readonly share: number;
  readonly bufferBytes: number;
  /** Puts up to this size that no client made of blocks go in one piece. At most `bufferBytes`. */
  readonly smallBytesMax: number;
  readonly blockBytesMax: number;
  readonly blockAttemptsMax: number;
  readonly blockListBytesMax: number;
  readonly aheadEntriesMax: number;
  readonly aheadBytesMax: number;
  readonly pauseMsMin: number;
  readonly pauseMsMax: number;
  readonly hurryMsMax: number;
  readonly refusedMsMax: number;
  readonly damageAttemptsMax: number;
  readonly clockMarginMs: number;
  readonly namesMax: number;
  readonly namesMs: number;
}

export const DRAIN_BOUNDS: DrainBounds = {
  uploadsMax: limits.drainUploadsMax,
  uploadsStart: limits.drainUploadsStart,
  share: limits.drainUploadShare,
  bufferBytes: limits.drainBufferBytes,
  smallBytesMax: limits.drainBufferBytes,
  blockBytesMax: limits.drainBlockBytesMax,
  blockAttemptsMax: limits.drainBlockAttemptsMax,
  blockListBytesMax: limits.drainBlockListBytesMax,
  aheadEntriesMax: limits.drainAheadEntriesMax,
  aheadBytesMax: limits.drainAheadBytesMax,
  pauseMsMin: limits.drainPauseMsMin,
  pauseMsMax: limits.drainPauseMsMax,
  hurryMsMax: limits.drainHurryMsMax,
  refusedMsMax: limits.drainRefusedMsMax,
  damageAttemptsMax: limits.drainDamageAttemptsMax,
  clockMarginMs: limits.drainClockMarginMs,
  namesMax: limits.pendingNamesMax,
  namesMs: limits.pendingNamesMs,
};
