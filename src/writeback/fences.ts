/**
 * Fences: while one stands, writes of its scope wait. So an operation that the journal does not model finds the lake as
 * the client believes it to be, and nothing is acknowledged in between that it would miss. Several may stand over one
 * blob; a write goes on when the last of them is gone.
 */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { ChangeScope } from "../flash/types.ts";
import type { Clock, Timer } from "../io/clock.ts";
import type { BlobName } from "../journal/types.ts";

export interface Fences {
  /** Stands at once. It falls by {@link lower}, some seconds after its holder, or when its time is over. */
  raise(holder: string, scope: ChangeScope): number;
  lower(fence: number): void;
  holderGone(holder: string): void;
  /** Resolves when no fence stands before the blob. Rejects with `overloaded` when that takes too long. */
  pass(name: BlobName): Promise<void> | null;
  readonly standing: number;
  stop(): void;
}

interface Fence {
  readonly holder: string;
  readonly scope: ChangeScope;
  readonly timer: Timer;
}

/** Whether a scope holds a blob. */
export function covers(scope: ChangeScope, name: BlobName): boolean {
  if (scope.account !== name.account) return false;
  if (scope.container === null) return true;
  return scope.container === name.container && (scope.blob === null || scope.blob === name.blob);
}

export function createFences(clock: Clock, firstId: number): Fences {
  const fences = new Map<number, Fence>();
  const waiting = new Set<() => void>();
  let nextId = firstId;
  const isFenced = (name: BlobName): boolean => {
    for (const { scope } of fences.values()) if (covers(scope, name)) return true;
    return false;
  };
  const lower = (id: number): void => {
    const fence = fences.get(id);
    if (fence === undefined) return;
    fence.timer.cancel();
    fences.delete(id);
    for (const look of [...waiting]) look();
  };
  const wait = (name: BlobName): Promise<void> =>
    new Promise((resolve, reject) => {
      const end = (): void => {
        waiting.delete(look);
        timer.cancel();
      };
      const look = (): void => {
        if (isFenced(name)) return;
        end();
        resolve();
      };
      const timer = clock.after(limits.fencePassMs, () => {
        end();
        reject(new ForebayError("overloaded", "another operation on this blob holds back its writes"));
      });
      waiting.add(look);
    });
  return {
    raise: (holder, scope) => {
      const id = nextId++;
      fences.set(id, { holder, scope, timer: clock.after(limits.fenceTtlMs, () => lower(id)) });
      return id;
    },
    lower,
    holderGone: (holder) => {
      // What it had sent may still be on its way to the lake: a write taken in before it lands would meet it there.
      for (const [id, fence] of [...fences]) {
        if (fence.holder === holder) clock.after(limits.fenceGraceMs, () => lower(id));
      }
    },
    pass: (name) => {
      if (fences.size === 0 || !isFenced(name)) return null;
      if (waiting.size >= limits.fencedWritesMax) {
        return Promise.reject(new ForebayError("overloaded", "too many writes wait for an operation to end"));
      }
      return wait(name);
    },
    get standing() {
      return fences.size;
    },
    stop: () => {
      for (const id of [...fences.keys()]) lower(id);
    },
  };
}
