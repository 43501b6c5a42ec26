/**
 * Memory for blocks on their way from the lake to flash: a fixed number of buffers, made when first needed and used
 * again and again, so that filling has a bound of its own and leaves nothing to the collector. They are lent by
 * shares, one for each account: a share may hold so many times as many as are free, so that whatever an account's
 * lake does, some are left for the others.
 */
import { assert } from "../base/assert.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";

export interface Buffers {
  /** A share of its own. */
  share(): BufferShare;
  readonly inUse: number;
}

export interface BufferShare {
  /** A buffer at once, or null: too many are in use. */
  takeNow(): Buffer | null;
  /**
   * A buffer when one is free for this share; first come, first served. Rejects (see {@link isOutOfBuffers}) after
   * `limits.fillBufferWaitMs`.
   */
  take(): Promise<Buffer>;
  give(buffer: Buffer): void;
}

interface Waiter {
  readonly share: { held: number };
  readonly resolve: (buffer: Buffer) => void;
}

/** The cause of the error of who waited too long. */
class OutOfBuffers extends Error {}

/** Whether memory for blocks was wanted in vain: no fault of the lake's, who wants the bytes may read them from it. */
export function isOutOfBuffers(error: unknown): boolean {
  return error instanceof ForebayError && error.cause instanceof OutOfBuffers;
}

/** At most `countMax` buffers of `sizeBytes` each. */
export function createBuffers(countMax: number, sizeBytes: number, clock: Clock): Buffers {
  const idle: Buffer[] = [];
  let waiting: Waiter[] = [];
  let made = 0;
  const inUse = (): number => made - idle.length;
  const mayTake = (share: Waiter["share"]): boolean => share.held < limits.fillBufferShare * (countMax - inUse());
  const lend = (share: Waiter["share"]): Buffer => {
    share.held++;
    const held = idle.pop();
    if (held !== undefined) return held;
    assert(made < countMax, "buffers are lent within their bound");
    made++;
    return Buffer.allocUnsafeSlow(sizeBytes);
  };
  /** Afterwards nobody waits that may take one: who comes then and may passes nobody of its own share. */
  const serve = (): void => {
    for (;;) {
      const at = waiting.findIndex(({ share }) => mayTake(share));
      const [next] = at < 0 ? [] : waiting.splice(at, 1);
      if (next === undefined) return;
      next.resolve(lend(next.share));
    }
  };
  const wait = (share: Waiter["share"]): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const waiter: Waiter = {
        share,
        resolve: (buffer) => {
          timer.cancel();
          resolve(buffer);
        },
      };
      const timer = clock.after(limits.fillBufferWaitMs, () => {
        waiting = waiting.filter((other) => other !== waiter);
        const cause = new OutOfBuffers("no buffer became free");
        reject(new ForebayError("overloaded", "no memory for a block became free in time", { cause }));
      });
      waiting.push(waiter);
    });
  return {
    share: () => {
      const share = { held: 0 };
      return {
        takeNow: () => (mayTake(share) ? lend(share) : null),
        take: () => (mayTake(share) ? Promise.resolve(lend(share)) : wait(share)),
        give: (buffer) => {
          assert(
            buffer.length === sizeBytes && !idle.includes(buffer),
            "a buffer comes back once, to where it is from",
          );
          assert(share.held > 0, "a share gives back what it holds");
          share.held--;
          idle.push(buffer);
          serve();
        },
      };
    },
    get inUse() {
      return inUse();
    },
  };
}
