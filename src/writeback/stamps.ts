/**
 * ETags and times of versions that are acknowledged here. The ETag has the lake's form and begins as none of the
 * lake's does (`0x8…`), so that what was given here can be told from what the lake gave.
 */
import type { Clock } from "../io/clock.ts";
import type { Entry } from "../journal/types.ts";

export interface Stamp {
  readonly etag: string;
  readonly lastModifiedMs: number;
}

const PREFIX = '"0x0F';
const DIGITS = 13;
const PATTERN = /^"0x0F([0-9A-F]{13})"$/;

/** Whether an ETag was given here and not by the lake. */
export function isOwnEtag(etag: string): boolean {
  return PATTERN.test(etag);
}

/** Stamps in the order of acknowledgements: later than all of `earlier`, whatever the wall clock does. */
export function createStamps(clock: Clock, earlier: Iterable<Entry>): { next(): Stamp } {
  let last = 0;
  let lastModifiedMs = 0;
  for (const entry of earlier) {
    if (entry.kind === "delete") continue;
    last = Math.max(last, Number.parseInt(PATTERN.exec(entry.put.etag)?.[1] ?? "0", 16));
    lastModifiedMs = Math.max(lastModifiedMs, entry.put.lastModifiedMs);
  }
  return {
    next: () => {
      // Microseconds since 1970 take 51 bits until 2041.
      last = Math.max(last + 1, Math.floor(clock.wallMs() * 1000));
      lastModifiedMs = Math.max(lastModifiedMs, Math.floor(clock.wallMs()));
      return { etag: `${PREFIX}${last.toString(16).toUpperCase().padStart(DIGITS, "0")}"`, lastModifiedMs };
    },
  };
}
