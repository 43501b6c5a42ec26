/**
 * Remembered answers of the lake to "may this credential read this?". Only a yes is remembered: for the credential,
 * the operation and the blob (or its container, where the operator says that access is not finer), 60 seconds at
 * most and never past the credential's own life. A no is asked again every time.
 */
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import { type Bounded, boundedMap } from "./hot.ts";
import type { ReadRequest } from "./types.ts";

export interface Verdicts {
  /** Whether a yes for this request is remembered and still holds. */
  holds(request: ReadRequest): boolean;
  /** Remembers a yes, from the moment that the question was sent (monotonic). */
  remember(request: ReadRequest, askedAtMs: number): void;
  /** Forgets everything. */
  clear(): void;
}

export function createVerdicts(clock: Clock): Verdicts {
  const until: Bounded<number> = boundedMap(limits.verdictsMax);
  return {
    holds: (request) => {
      const { judgement } = request;
      if (judgement.kind === "yes") return true;
      if (judgement.expiresAtMs !== null && clock.wallMs() >= judgement.expiresAtMs) return false;
      const name = nameOf(request, judgement.credentialId);
      const end = until.get(name);
      if (end === undefined) return false;
      if (clock.monotonicMs() < end) return true;
      until.delete(name);
      return false;
    },
    remember: (request, askedAtMs) => {
      const { judgement } = request;
      if (judgement.kind === "ask") {
        until.set(nameOf(request, judgement.credentialId), askedAtMs + limits.verdictTtlMs);
      }
    },
    clear: () => until.clear(),
  };
}

function nameOf(request: ReadRequest, credentialId: string): string {
  const { account, container, blob, snapshot, versionId } = request.key;
  // Reading a blob and reading its properties need the same permission (Get Blob, Get Blob Properties: read).
  if (request.policy.verdict === "container") return `${credentialId}\n${account}/${container}`;
  return `${credentialId}\n${account}/${container}/${blob}\n${snapshot ?? ""}\n${versionId ?? ""}`;
}
