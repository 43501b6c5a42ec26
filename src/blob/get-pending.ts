/**
 * Get Blob and Get Blob Properties of what was acknowledged on flash and is not in the lake yet. The lake does not know
 * this version, so what it would say of it (304, 404, 412, 416) is said here. Only callers judged here read it; for any
 * other it is carried to the lake first, which then judges the caller.
 */

import { ForebayError } from "../base/errors.ts";
import { owedIsKnown } from "../engine/desk.ts";
import type { PendingOutcome, PendingRead } from "../engine/pending.ts";
import type { ReadRequest, Serve } from "../engine/types.ts";
import { judgeConditions, unconditional } from "./conditions.ts";
import { pendingErrors } from "./errors.ts";
import { asksForFlush, flushScope } from "./fences.ts";
import { forwardRequest } from "./forward.ts";
import type { Front } from "./front.ts";
import type { ReadPlace } from "./places.ts";
import { queryValue } from "./query.ts";
import { type Placed, refuseDirty } from "./respond.ts";
import type { HitAble } from "./screen.ts";

/** Whether a read has to ask first. Costs a hit two reads of shared memory. */
export function mayBePending({ engine }: Front, { blob, slots }: ReadPlace): boolean {
  const { owed } = engine.generations;
  // Snapshots and versions are in the lake, whatever becomes of their blob.
  return (!owed.known() || owed.blob(slots)) && blob.snapshot === undefined && blob.versionId === undefined;
}

/** The two ways on from here: with what is pending, or as if nothing were. */
interface WaysOn {
  readonly serve: (serving: Serve) => void | Promise<void>;
  readonly ordinary: () => void | Promise<void>;
}

/** Answers a read of a blob of which something may be pending. */
export async function readPending(
  placed: Placed,
  place: ReadPlace,
  asked: HitAble,
  request: ReadRequest,
  ways: WaysOn,
): Promise<void> {
  const { front, exchange } = placed;
  if (!(await owedIsKnown(front.engine))) {
    if (request.policy.write === "back") throw new ForebayError("overloaded", "it is not known yet what is pending");
    return ways.ordinary();
  }
  if (!front.engine.generations.owed.blob(place.slots)) return ways.ordinary();
  if (asksForFlush(exchange.head.headers)) return forwardRequest(placed, "flush");
  const { account, container, blob } = place.key;
  if (request.judgement.kind === "ask") {
    await flushScope(front, { account, container, blob });
    return ways.ordinary();
  }
  const outcome = await front.reader.pending.read(pendingRead(placed, place, asked, request));
  return answer(placed, outcome, ways);
}

function pendingRead(placed: Placed, place: ReadPlace, asked: HitAble, request: ReadRequest): PendingRead {
  const { account, container, blob } = place.key;
  const { form, apiVersion, range, policy } = request;
  const permissions = queryValue(placed.query, "sp");
  return {
    name: { account, container, blob },
    indexKey: place.indexKey,
    slots: place.slots,
    form,
    apiVersion,
    tier: policy.tier,
    // Who may read the bytes need not see how many tags there are.
    tags: permissions === undefined || permissions.includes("t"),
    range,
    judge: asked.conditions === unconditional ? null : (etag, date) => judgeConditions(asked.conditions, etag, date),
  };
}

function answer(placed: Placed, outcome: PendingOutcome, ways: WaysOn): void | Promise<void> {
  const { stats } = placed.front.engine;
  if (outcome.kind === "none") return ways.ordinary();
  if (outcome.kind === "serve") return ways.serve(outcome);
  stats.dirty++;
  switch (outcome.kind) {
    case "deleted":
      return refuseDirty(placed, pendingErrors.deleted);
    case "bad-range":
      return refuseDirty(placed, pendingErrors.range, ["Content-Range", `bytes */${outcome.sizeBytes}`]);
    case "lost":
      return refuseDirty(placed, pendingErrors.lost);
    case "not-held":
      // Carried to the lake first: then that can judge it.
      if (outcome.outcome === "unclear") return forwardRequest(placed, "range-or-condition");
      return refuseDirty(
        placed,
        outcome.outcome === "failed" ? pendingErrors.conditionFailed : pendingErrors.notModified,
      );
  }
}
