/**
 * Remembered answers of the lake to "may this credential read this?". Only a yes is remembered: for the credential,
 * the operation and the blob (or its container, where the operator says that access is not finer), 60 seconds at
 * most and never past the credential's own life. A no is asked again every time.
 */
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import { type Bounded, boundedMap } from "./hot.ts";
import type { Judgement, ReadRequest } from "./types.ts";

export interface Verdicts {
  /** Whether a yes for this request is remembered and still holds. */
  holds(request: ReadRequest): boolean;
  /** Remembers a yes, from the moment that the question was sent (monotonic). */
  remember(request: ReadRequest, askedAtMs: number): void;
  /** Names what a yes to the lake's question for this request is remembered under. */
  nameOf(request: ReadRequest): string;
  /** Forgets everything. */
  clear(): void;
}

export function createVerdicts(clock: Clock): Verdicts {
  const until: Bounded<number> = boundedMap(limits.verdictsMax);
  const lasts = (name: string): boolean => {
    const end = until.get(name);
    if (end === undefined) return false;
    if (clock.monotonicMs() < end) return true;
    until.delete(name);
    return false;
  };
  return {
    holds: (request) => {
      const { judgement } = request;
      if (judgement.kind === "yes") return true;
      if (judgement.expiresAtMs !== null && clock.wallMs() >= judgement.expiresAtMs) return false;
      // Who may read a blob may see its properties; the reverse does not hold everywhere (hierarchical namespaces).
      if (lasts(nameOf(request, judgement, "read"))) return true;
      return request.form === "head" && lasts(nameOf(request, judgement, "properties"));
    },
    remember: (request, askedAtMs) => {
      const { judgement } = request;
      if (judgement.kind !== "ask") return;
      const operation = request.form === "head" ? "properties" : "read";
      until.set(nameOf(request, judgement, operation), askedAtMs + limits.verdictTtlMs);
    },
    nameOf: (request) => {
      const { judgement } = request;
      const operation = request.form === "head" ? "properties" : "read";
      return judgement.kind === "yes" ? "" : nameOf(request, judgement, operation);
    },
    clear: () => until.clear(),
  };
}

type Asked = Extract<Judgement, { kind: "ask" }>;

function nameOf(request: ReadRequest, judgement: Asked, operation: "read" | "properties"): string {
  const { account, container, blob, snapshot, versionId } = request.key;
  const who = `${judgement.credentialId}\n${operation}\n${account}/${container}`;
  if (request.policy.verdict === "container" && !judgement.narrow) return who;
  return `${who}/${blob}\n${snapshot ?? ""}\n${versionId ?? ""}`;
}
