/**
 * Changes that pass through Forebay. Before one leaves, everything known in its scope becomes void, and again after
 * its answer: a read that the lake answered in between may have seen either side. On `immutable` paths, which are
 * never checked again, the change is first marked durably, so that not even a power cut brings the old version back.
 */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { ChangeScope } from "../flash/types.ts";
import type { EngineContext } from "./context.ts";

/**
 * What became of a change: `done`, or the lake may have done it and is not at work on it any more; `refused`, it
 * certainly did not happen; `unknown`, it was given up: it may have happened or may yet.
 */
export type ChangeEnd = "done" | "refused" | "unknown";

/** A change under way. */
export interface Change {
  /**
   * Resolves when its client may hear of it. Rejects when a change that was `done` could not be made certain of: what
   * was before may be given after a restart. Never rejects otherwise.
   */
  end(how: ChangeEnd): Promise<void>;
}

/** What a change is announced to. */
export type ChangeContext = Pick<EngineContext, "generations" | "keeper" | "clock">;

/** Announces a change. Rejects (nothing was announced) when a durable mark is needed and cannot be had. */
export async function beginChange(context: ChangeContext, scope: ChangeScope, immutable: boolean): Promise<Change> {
  const { generations, keeper } = context;
  const mark = immutable ? await keeper.markChange(scope) : null;
  generations.move(scope);
  let ended = false;
  return {
    end: async (how) => {
      if (ended) return;
      ended = true;
      generations.move(scope);
      // An unknown outcome keeps its mark until that lapses: the lake may still be at work on it.
      if (mark === null || how === "unknown") return;
      if (how === "refused") void keeper.unmarkChange(mark, false).catch(() => {});
      else await endMark(context, scope, mark);
    },
  };
}

/**
 * Ends the mark of a change that was done. One that did not stand any more (the change took longer than marks last, or
 * the index was lost) is made once more, so that what was kept meanwhile is forgotten. A keeper that is being started
 * again is waited for.
 */
async function endMark(context: ChangeContext, scope: ChangeScope, first: number): Promise<void> {
  const { keeper, clock } = context;
  let mark = first;
  let failure: unknown = null;
  for (let attempt = 0; attempt < limits.markEndAttemptsMax; attempt++) {
    try {
      if (await keeper.unmarkChange(mark, true)) return;
      mark = await keeper.markChange(scope);
    } catch (error) {
      failure = error;
      await clock.sleep(limits.markEndPauseMs);
    }
  }
  throw failure ?? new ForebayError("flash-failed", "the mark of a change does not last");
}
