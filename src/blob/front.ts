/** What the Blob front stands on, given once when a server starts. */
import type { EngineContext } from "../engine/context.ts";
import type { PolicyTable } from "../engine/policy.ts";
import type { Reader } from "../engine/read.ts";
import type { Lake } from "../lake/types.ts";
import type { OwnAddresses } from "./copy-source.ts";
import type { PolicyLookup } from "./sas.ts";

/** One line of the access log. Query strings are left out: they carry signatures. */
export interface AccessEntry {
  readonly timeMs: number;
  readonly client: string;
  readonly method: string;
  readonly path: string;
  readonly operation: string;
  readonly status: number;
  /** `x-forebay` of the answer. */
  readonly result: string;
  readonly elapsedMs: number;
  /** `x-ms-request-id` of the answer: the lake's own where the lake answered. */
  readonly requestId: string;
  /** `x-ms-client-request-id`: the lake logs it too. */
  readonly clientRequestId: string | undefined;
}

/** The front's surroundings. */
export interface Front {
  readonly engine: EngineContext;
  readonly reader: Reader;
  readonly lakes: () => ReadonlyMap<string, Lake>;
  readonly accounts: () => ReadonlySet<string>;
  readonly policies: () => PolicyTable;
  readonly own: () => OwnAddresses;
  readonly storedPolicies: PolicyLookup;
  /** Access to a container may have changed (null: to any of the account): remembered policies lapse. */
  readonly forgetAccess: (account: string, container: string | null) => void;
  readonly newRequestId: () => string;
  /** Secret of this process, for naming credentials without keeping them. */
  readonly credentialSalt: Uint8Array;
  readonly accessLog: ((entry: AccessEntry) => void) | null;
}
