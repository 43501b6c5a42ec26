/**
 * Changes that pass through Forebay. Before one leaves, everything known in its scope becomes void, and again after
 * its answer: a read that the lake answered in between may have seen either side. On `immutable` paths, which are
 * never checked again, the change is first marked durably, so that not even a power cut brings the old version back.
 */
import type { ChangeScope } from "../flash/types.ts";
import type { EngineContext } from "./context.ts";

/**
 * What became of a change: `done`, or the lake may have done it and is not at work on it any more; `refused`, it
 * certainly did not happen; `unknown`, it was given up: it may have happened or may yet.
 */
export type ChangeEnd = "done" | "refused" | "unknown";

/** A change under way. */
export interface Change {
  end(how: ChangeEnd): void;
}

/** Announces a change. Rejects (nothing was announced) when a durable mark is needed and cannot be had. */
export async function beginChange(context: EngineContext, scope: ChangeScope, immutable: boolean): Promise<Change> {
  const { generations, keeper } = context;
  const mark = immutable ? await keeper.markChange(scope) : null;
  generations.move(scope);
  let ended = false;
  return {
    end: (how) => {
      if (ended) return;
      ended = true;
      generations.move(scope);
      // An unknown outcome keeps its mark until that lapses: the lake may still be at work on it.
      if (mark !== null && how !== "unknown") void keeper.unmarkChange(mark, how === "done").catch(() => {});
    },
  };
}
