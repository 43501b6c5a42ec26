/**
 * The watch over Forebay's own credentials. Rotating an account's keys is the only way to revoke what was signed with
 * them, and a server that only gives hits would never hear of it from the lake. So every server shows each key that it
 * judges callers with to the lake twice a minute; one that the lake refuses judges nobody from then on.
 */
import type { Trust } from "../engine/trust.ts";
import type { Clock } from "../io/clock.ts";
import { probeLake } from "../lake/probe.ts";
import type { OwnLake } from "../lake/types.ts";

/** What of an account is watched. */
export interface Watched {
  readonly lake: OwnLake;
  /** The same account with each of its keys alone, in their order; empty when the credential is no key. */
  readonly perKey: readonly OwnLake[];
}

/** How often a credential that is good is shown to the lake: half of what a local "yes" may outlive it. */
export const CREDENTIAL_PROBE_MS = 30_000;
/** How often one that was refused is. */
export const REFUSED_PROBE_MS = 5_000;

/** Shows every credential to the lake once and tells `trust` what it said. An answer that does not tell changes nothing. */
export async function showCredentials(
  accounts: ReadonlyMap<string, Watched>,
  trust: Trust,
  clock: Clock,
): Promise<void> {
  await Promise.all(
    [...accounts].map(async ([account, { lake, perKey }]) => {
      if (!lake.hasOwnCredential) return;
      const asked = perKey.length > 0 ? perKey : [lake];
      const taken = await Promise.all(asked.map(async (one) => (await probeLake(one, clock)).credentialOk));
      if (taken[0] === true) trust.restored(account);
      else if (taken[0] === false) trust.refused(account, "", undefined);
      if (perKey.length > 0 && !taken.includes(null))
        trust.keysTaken(
          account,
          taken.map((ok) => ok === true),
        );
    }),
  );
}

/** Watches until the returned call. `accounts` is asked anew each time: a reload may have changed them. */
export function watchCredentials(accounts: () => ReadonlyMap<string, Watched>, trust: Trust, clock: Clock): () => void {
  let stopped = false;
  let shownAtMs = Number.NEGATIVE_INFINITY;
  const turn = async (): Promise<void> => {
    const refused = [...accounts().keys()].some((account) => trust.suspended(account, ""));
    if (refused || clock.monotonicMs() - shownAtMs >= CREDENTIAL_PROBE_MS) {
      shownAtMs = clock.monotonicMs();
      // Probes do not reject; whatever else goes wrong must not end the watch.
      await showCredentials(accounts(), trust, clock).catch(() => {});
    }
    if (!stopped) clock.after(REFUSED_PROBE_MS, () => void turn());
  };
  void turn();
  return () => {
    stopped = true;
  };
}
