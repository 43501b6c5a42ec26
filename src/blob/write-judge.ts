/**
 * Whether a write may be taken in for its caller: only for one who is judged "yes" here, and while Forebay's own
 * credential is believed, because the drain writes with that one.
 */
import type { Placed } from "./respond.ts";
import type { ServiceError } from "./types.ts";
import { judge } from "./verdict.ts";

export type Writer =
  /** `mayReplace`: else it may only create what does not exist. */
  | { readonly kind: "yes"; readonly mayReplace: boolean }
  | { readonly kind: "forward"; readonly why: string }
  | { readonly kind: "refuse"; readonly error: ServiceError };

export function judgeWriter(placed: Placed): Writer {
  const { front, target, lake, operation } = placed;
  if (!lake.hasOwnCredential) return { kind: "forward", why: "no-own-credential" };
  if (front.engine.trust.suspended(target.account, target.container ?? "")) {
    return { kind: "forward", why: "own-credential-refused" };
  }
  const verdict = judgeAs(placed, operation.name);
  if (verdict.verdict === "yes") return { kind: "yes", mayReplace: true };
  if (verdict.verdict === "no") {
    if (verdict.localOnly === true && verdict.error) return { kind: "refuse", error: verdict.error };
    return { kind: "forward", why: "refused-here" };
  }
  // `c` without `w` creates, and replaces nothing.
  const creates = operation.name === "PutBlob" && judgeAs(placed, "PutBlobNew").verdict === "yes";
  return creates ? { kind: "yes", mayReplace: false } : { kind: "forward", why: "writer-unknown" };
}

function judgeAs(placed: Placed, operation: string) {
  const { front, exchange, layout, target, query, lake } = placed;
  const { headers, method } = exchange.head;
  return judge({
    method,
    target,
    query,
    headers,
    layout,
    operation,
    keys: front.engine.trust.keys(target.account, lake.keys),
    nowMs: front.engine.clock.wallMs(),
    clientAddress: exchange.remoteAddress,
    secure: exchange.secure,
    policies: front.storedPolicies,
  });
}
