/**
 * The Azure Blob REST front: every request is authenticated, its operation detected, then screened, then run. What
 * stands in this folder beside the server decides whose bytes go to whom, so it is pure: a request's head, the
 * account's keys and the time go in, a verdict comes out. Three rules hold everywhere:
 *
 * 1. "yes" is only said of what is wholly understood. Whatever is odd (a parameter twice, an encoded name, a form the
 *    documentation does not give) is "unknown", and the lake is asked.
 * 2. "no" is the lake's to say, with one exception: the address and the protocol of the client, which the lake does
 *    not see.
 * 3. Names are compared as the service sees them (decoded), paths and queries are passed on as they came (raw).
 */
import type { UrlStyle } from "../lake/types.ts";

/** Where a request points. */
export interface Target {
  readonly account: string;
  /** How the client wrote it: the account in the path or in the host. */
  readonly style: UrlStyle;
  /** Whether the account was written ACCOUNT-secondary. */
  readonly secondary: boolean;
  /** The raw path as it came, without the query: what SharedKey signs. */
  readonly wirePath: string;
  /** The raw path without the account of path style; empty or beginning with a slash. */
  readonly rawPath: string;
  /** The raw query with its `?`, or empty. */
  readonly query: string;
  /** Decoded; null at the level of the service. */
  readonly container: string | null;
  /** Decoded, exact, as the service names it; null at the level of a container or the service. */
  readonly blob: string | null;
  /** It is not certain which blob the service would take this for: never cached, and a change is container-wide. */
  readonly ambiguous: boolean;
}

/** Whether a credential grants an operation. */
export type Verdict =
  | { readonly verdict: "yes"; readonly expiresAtMs: number }
  | {
      readonly verdict: "no";
      readonly reason: string;
      /** The lake's error for it; only with `localOnly`. */
      readonly error?: ServiceError;
      /** True: final here, because the lake sees Forebay's address and protocol. Else the lake must confirm it. */
      readonly localOnly?: boolean;
    }
  | { readonly verdict: "unknown"; readonly reason: string };

/** An error in the service's terms. */
export interface ServiceError {
  readonly status: number;
  /** `x-ms-error-code`. */
  readonly code: string;
  readonly message: string;
}

/** The verdict of something that cannot be judged here. */
export function unknown(reason: string): Verdict {
  return { verdict: "unknown", reason };
}

/** A refusal that the lake has to confirm. */
export function refused(reason: string): Verdict {
  return { verdict: "no", reason };
}
