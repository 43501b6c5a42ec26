/**
 * Read-ahead: a reader that goes on where it stopped will want what follows. The window doubles with every read in
 * sequence, up to `limits.readAheadBytesMax`; a jump ends it. Only with Forebay's own credential: what is read ahead
 * outlives the request that made it likely.
 */
import { limits, MIB } from "../base/limits.ts";
import type { Filler } from "./fill.ts";
import type { FillSource } from "./range.ts";
import type { CachedVersion } from "./version.ts";

export interface ReadAhead {
  /** Takes note that bytes [first, end) are being read. */
  noteRead(version: CachedVersion, source: FillSource, first: number, end: number): void;
}

/** How far a reader may jump (its requests overtake each other) and still be in sequence. */
const SLACK_BYTES = 8 * MIB;

export function createReadAhead(filler: Filler): ReadAhead {
  return {
    noteRead: (version, source, first, end) => {
      const reading = version.reading;
      const gap = first - reading.endsAt;
      const inSequence = reading.endsAt >= 0 && gap >= -SLACK_BYTES && gap <= SLACK_BYTES && end > reading.endsAt;
      reading.inSequence = inSequence ? reading.inSequence + 1 : 0;
      reading.endsAt = end;
      if (!inSequence) reading.aheadTo = end;
      if (reading.inSequence < 2 || source.credential.kind !== "own" || version.failure !== null) return;
      const windowBytes = Math.min(limits.readAheadBytesMax, (end - first) * 2 ** Math.min(reading.inSequence, 10));
      const to = Math.min(version.sizeBytes, end + windowBytes);
      // Topped up when half of it is used, so that the keeper is asked in large pieces.
      if (to <= reading.aheadTo || reading.aheadTo - end > windowBytes / 2) return;
      const from = Math.max(reading.aheadTo, end);
      reading.aheadTo = to;
      const firstBlock = Math.floor(from / version.blockBytes);
      void filler.ensure(version, source, firstBlock, Math.ceil(to / version.blockBytes), "ahead");
    },
  };
}
