/** What a server takes writes in with: memory within bounds, and the way to what stands under a name. */
import { limits } from "../base/limits.ts";
import { type BufferShare, type Buffers, createBuffers } from "../engine/buffers.ts";
import type { EngineContext } from "../engine/context.ts";
import { createWriteBase, type WriteBase } from "../engine/write-base.ts";

export interface WriteMeans {
  readonly base: WriteBase;
  /** Pieces of memory for bodies on their way to a file; an account has a share of its own. */
  buffers(account: string): BufferShare;
  /** Makes room for a body in memory, or says that there is none. */
  hold(bytes: number): boolean;
  release(bytes: number): void;
}

export function createWriteMeans(context: EngineContext): WriteMeans {
  let pool: Buffers | null = null;
  const shares = new Map<string, BufferShare>();
  let heldBytes = 0;
  return {
    base: createWriteBase(context),
    buffers: (account) => {
      let share = shares.get(account);
      if (share === undefined) {
        pool ??= createBuffers(limits.uploadBuffersMax, limits.blockBytes, context.clock);
        share = pool.share();
        shares.set(account, share);
      }
      return share;
    },
    hold: (bytes) => {
      if (heldBytes + bytes > limits.writesHeldBytesMax) return false;
      heldBytes += bytes;
      return true;
    },
    release: (bytes) => {
      heldBytes -= bytes;
    },
  };
}
