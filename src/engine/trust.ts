/** Belief in Forebay's own credential for the lake. */
import type { EngineLog } from "./context.ts";

/**
 * Whether Forebay's own credential is believed to be good. Once the lake refused it, no local "yes" counts until a
 * probe succeeded: keys may have been rotated, and what they signed may not hold any more.
 */
export interface Trust {
  suspended(account: string): boolean;
  refused(account: string): void;
  restored(account: string): void;
}

export function createTrust(log: EngineLog): Trust {
  const suspended = new Set<string>();
  return {
    suspended: (account) => suspended.has(account),
    refused: (account) => {
      if (suspended.has(account)) return;
      suspended.add(account);
      log("error", "the lake refused Forebay's own credential; every request is asked of the lake", { account });
    },
    restored: (account) => {
      if (suspended.delete(account)) log("info", "the lake takes Forebay's own credential again", { account });
    },
  };
}
