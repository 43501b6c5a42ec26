/**
 * Stored access policies of containers, as the verification of SAS asks for them: read with Forebay's own credential,
 * kept for at most 60 seconds. While a policy is not known, the lake judges the SAS.
 */

import { asForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { PolicyLookup, StoredPolicy } from "../blob/sas.ts";
import type { EngineLog } from "../engine/context.ts";
import { boundedMap } from "../engine/hot.ts";
import type { Clock } from "../io/clock.ts";
import { fetchStoredPolicies } from "../lake/policies.ts";
import type { OwnLake } from "../lake/types.ts";

export interface StoredPolicies {
  readonly lookup: PolicyLookup;
  /** Forgets a container's policies, or an account's: they may have changed. */
  forget(account: string, container: string | null): void;
}

interface Held {
  readonly askedAtMs: number;
  readonly policies: ReadonlyMap<string, StoredPolicy>;
}

const CONTAINERS_MAX = 10_000;

export function createStoredPolicies(
  lakeOf: (account: string) => OwnLake | undefined,
  clock: Clock,
  log: EngineLog,
): StoredPolicies {
  const held = boundedMap<Held>(CONTAINERS_MAX);
  const asking = new Map<string, object>();
  const ask = async (account: string, container: string, name: string): Promise<void> => {
    const lake = lakeOf(account);
    if (lake === undefined || !lake.hasOwnCredential || asking.has(name)) return;
    const turn = {};
    asking.set(name, turn);
    const askedAtMs = clock.monotonicMs();
    try {
      const access = await fetchStoredPolicies(lake, container);
      // A change that passed through meanwhile took the turn away: what was read may be what was before.
      if (asking.get(name) !== turn) return;
      const policies = new Map((access?.policies ?? []).map((policy) => [policy.id, asWritten(policy)]));
      held.set(name, { askedAtMs, policies });
    } catch (error) {
      log("warn", "stored access policies could not be read", {
        account,
        container,
        reason: asForebayError(error).message,
      });
    } finally {
      if (asking.get(name) === turn) asking.delete(name);
    }
  };
  return {
    lookup: (account, container, id) => {
      const name = `${account}/${container}`;
      const known = held.get(name);
      const ageMs = known === undefined ? Number.POSITIVE_INFINITY : clock.monotonicMs() - known.askedAtMs;
      if (ageMs > limits.storedPolicyTtlMs / 2) void ask(account, container, name);
      if (known === undefined || ageMs >= limits.storedPolicyTtlMs) return "unknown";
      return known.policies.get(id) ?? "missing";
    },
    forget: (account, container) => {
      if (container === null) {
        held.clear();
        asking.clear();
      } else {
        held.delete(`${account}/${container}`);
        asking.delete(`${account}/${container}`);
      }
    },
  };
}

/** Times rounded to whole seconds so that the policy is never taken for longer than it is. */
function asWritten(policy: { startsAtMs?: number; expiresAtMs?: number; permissions?: string }): StoredPolicy {
  const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, "Z");
  return {
    start: policy.startsAtMs === undefined ? undefined : time(Math.ceil(policy.startsAtMs / 1000) * 1000),
    expiry: policy.expiresAtMs === undefined ? undefined : time(Math.floor(policy.expiresAtMs / 1000) * 1000),
    permissions: policy.permissions,
  };
}
