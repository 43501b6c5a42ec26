/**
 * Who a request says it is, and whether what is known here suffices to grant it. The server asks {@link judge} of every
 * request that it could answer itself.
 */
import type { RawHeaders } from "../http/types.ts";
import type { AccountKey } from "./hmac.ts";
import { AT, type Layout, valueAt } from "./layout.ts";
import type { Query } from "./query.ts";
import { claimsSas, type PolicyLookup, refusedHere, verifySas } from "./sas.ts";
import { verifySharedKey } from "./shared-key.ts";
import { type Target, unknown, type Verdict } from "./types.ts";

/** The kinds of credential that a request can carry. `mixed`: more than one, or one twice. */
export type CredentialKind = "anonymous" | "shared-key" | "sas" | "bearer" | "mixed" | "other";

/** The kind of credential that a request carries. */
export function credentialKind(layout: Layout, headers: RawHeaders, query: Query): CredentialKind {
  const sas = query.parameters.length > 0 && claimsSas(query);
  const authorization = valueAt(layout, headers, AT.authorization);
  if (authorization === undefined) return sas ? "sas" : "anonymous";
  if (sas || isTwice(layout, "authorization")) return "mixed";
  if (authorization.startsWith("SharedKey ") || authorization.startsWith("SharedKeyLite ")) return "shared-key";
  return authorization.slice(0, 7).toLowerCase() === "bearer " ? "bearer" : "other";
}

function isTwice(layout: Layout, name: string): boolean {
  return layout.knownTwice && layout.lower.indexOf(name) !== layout.lower.lastIndexOf(name);
}

/** A request whose right to an operation is in question. */
export interface Judged {
  readonly method: string;
  readonly target: Target;
  readonly query: Query;
  readonly headers: RawHeaders;
  readonly layout: Layout;
  /** The operation's name, as in `operations.ts`. */
  readonly operation: string;
  readonly keys: readonly AccountKey[];
  readonly nowMs: number;
  readonly clientAddress: string;
  readonly secure: boolean;
  readonly policies: PolicyLookup;
}

/** The local verdict on a request: see the rules in `types.ts`. */
export function judge(request: Judged): Verdict {
  const { headers, layout, query, target } = request;
  switch (credentialKind(layout, headers, query)) {
    case "shared-key":
      return verifySharedKey(
        { method: request.method, wirePath: target.wirePath, query, headers, layout },
        target.account,
        request.keys,
        request.nowMs,
      ).verdict;
    case "sas":
      return verifySas(request);
    case "mixed":
      return refusedHere(query, request.clientAddress, request.secure) ?? unknown("more than one credential");
    case "bearer":
      return unknown("a token is the lake's to judge");
    case "anonymous":
      return unknown("anonymous access is the lake's to judge");
    case "other":
      return unknown("an unknown form of authorization");
  }
}
