/**
 * Belief in Forebay's own credentials for the lake. A local "yes" is only as good as the keys it was computed with, and
 * keys get rotated: each key is shown to the lake at regular intervals, one that the lake refused judges nobody, and
 * while the credential that Forebay itself reads with is refused, everything is asked of the lake.
 *
 * A refusal that speaks of rights, not of the credential, concerns one container only: requests to it are forwarded
 * for a while.
 */
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import { lacksRight } from "../lake/probe.ts";
import type { EngineLog } from "./context.ts";
import { boundedMap } from "./hot.ts";

export interface Trust {
  /** Whether flash may answer for a container at all: the own credential is good, and may read there. */
  suspended(account: string, container: string): boolean;
  /** The lake answered 401 or 403 to the own credential, with this `x-ms-error-code`. */
  refused(account: string, container: string, code: string | undefined): void;
  restored(account: string): void;
  /** The keys of an account that callers' signatures may be judged with. */
  keys(account: string, keys: readonly Uint8Array[]): readonly Uint8Array[];
  /** Which of the account's keys the lake takes, by their order. Replaces what was said before. */
  keysTaken(account: string, taken: readonly boolean[]): void;
}

const CONTAINERS_MAX = 10_000;

export function createTrust(log: EngineLog, clock: Clock): Trust {
  const suspended = new Set<string>();
  const noRightUntilMs = boundedMap<number>(CONTAINERS_MAX);
  const refusedKeys = new Map<string, readonly boolean[]>();
  return {
    suspended: (account, container) => {
      if (suspended.has(account)) return true;
      if (noRightUntilMs.size === 0) return false;
      const untilMs = noRightUntilMs.get(`${account}/${container}`);
      return untilMs !== undefined && clock.monotonicMs() < untilMs;
    },
    refused: (account, container, code) => {
      if (lacksRight(code)) {
        noRightUntilMs.set(`${account}/${container}`, clock.monotonicMs() + limits.verdictTtlMs);
        return;
      }
      if (suspended.has(account)) return;
      suspended.add(account);
      log("error", "the lake refused Forebay's own credential; every request is asked of the lake", { account });
    },
    restored: (account) => {
      if (suspended.delete(account)) log("info", "the lake takes Forebay's own credential again", { account });
    },
    keys: (account, keys) => {
      const refused = refusedKeys.get(account);
      return refused === undefined ? keys : keys.filter((_, i) => refused[i] !== true);
    },
    keysTaken: (account, taken) => {
      const before = refusedKeys.get(account);
      taken.forEach((good, i) => {
        if (!good && before?.[i] !== true) {
          log("warn", "the lake refused an account key; nothing is judged with it", { account, key: i });
        }
      });
      if (taken.every((good) => good)) refusedKeys.delete(account);
      else
        refusedKeys.set(
          account,
          taken.map((good) => !good),
        );
    },
  };
}
