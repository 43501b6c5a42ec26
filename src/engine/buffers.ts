/**
 * Memory for blocks on their way from the lake to flash: a fixed number of buffers, made when first needed and used
 * again and again, so that filling has a bound of its own and leaves nothing to the collector.
 */
import { assert } from "../base/assert.ts";

export interface Buffers {
  /** A buffer at once, or null: all are in use. */
  takeNow(): Buffer | null;
  /** A buffer when one is free; first come, first served. */
  take(): Promise<Buffer>;
  give(buffer: Buffer): void;
  readonly inUse: number;
}

/** At most `countMax` buffers of `sizeBytes` each. */
export function createBuffers(countMax: number, sizeBytes: number): Buffers {
  const idle: Buffer[] = [];
  const waiting: ((buffer: Buffer) => void)[] = [];
  let made = 0;
  const takeNow = (): Buffer | null => {
    const held = idle.pop();
    if (held !== undefined) return held;
    if (made >= countMax) return null;
    made++;
    return Buffer.allocUnsafeSlow(sizeBytes);
  };
  return {
    takeNow,
    take: () => {
      const buffer = takeNow();
      return buffer === null ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(buffer);
    },
    give: (buffer) => {
      assert(buffer.length === sizeBytes && !idle.includes(buffer), "a buffer comes back once, to where it is from");
      const next = waiting.shift();
      if (next === undefined) idle.push(buffer);
      else next(buffer);
    },
    get inUse() {
      return made - idle.length;
    },
  };
}
