/**
 * What Forebay needs of a blob service: to pass a request on unchanged, and to read a range of one version with a
 * credential of its own or the caller's. `azure.ts` speaks to the real service (or Azurite), `sim/` plays one.
 */
import type { BodySource, ClientResponse, RawHeaders } from "../http/types.ts";

/** A blob as the service names it: decoded, exact. */
export interface BlobKey {
  readonly account: string;
  readonly container: string;
  readonly blob: string;
  /** A snapshot's time as the service wrote it. */
  readonly snapshot?: string | undefined;
  readonly versionId?: string | undefined;
}

/** Whose authority a read of the lake carries: Forebay's own, or that of the request at hand. */
export type Credential =
  | { readonly kind: "own" }
  | {
      readonly kind: "caller";
      /** The Authorization header, if there was one. Never logged. */
      readonly authorization?: string | undefined;
      /** The raw query parameters that authorise (a SAS), without `?`. Never logged. */
      readonly query?: string | undefined;
    };

/** A read of a blob or of its properties. */
export interface LakeRead {
  readonly key: BlobKey;
  readonly method: "GET" | "HEAD";
  /** Inclusive bytes; absent for the whole blob. */
  readonly range?: { readonly first: number; readonly last: number } | undefined;
  /** Demands one version: the lake answers 412 when the ETag is another. */
  readonly ifMatch?: string | undefined;
  /** The `x-ms-version` to ask with: answers differ by it. */
  readonly apiVersion: string;
  readonly credential: Credential;
  readonly clientRequestId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A request passed on. The path is the raw one in the lake's URL style, without the query. */
export interface LakeForward {
  readonly method: string;
  readonly path: string;
  /** Raw, with its `?`, or empty. */
  readonly query: string;
  readonly headers: RawHeaders;
  readonly body: BodySource | null;
  readonly signal?: AbortSignal | undefined;
}

/**
 * One account of the lake. Both calls reject with `lake-unreachable` (nothing was sent), `lake-lost` (sent, but the
 * answer never came: the outcome is unknown), `timeout` or `cancelled`; any answer of the lake, errors included,
 * resolves.
 */
export interface Lake {
  readonly account: string;
  readonly style: UrlStyle;
  /** Whether Forebay has a credential of its own here; without one, `own` reads are not possible. */
  readonly hasOwnCredential: boolean;
  /** The account's keys known here (base64 decoded), newest first: to verify SharedKey and SAS, and to sign again. */
  readonly keys: readonly Uint8Array[];
  read(request: LakeRead): Promise<ClientResponse>;
  forward(request: LakeForward): Promise<ClientResponse>;
  close(): void;
}

/**
 * A request of Forebay's own: authorised by its own credential, never a caller's. Names and values are decoded; the
 * lake encodes, stamps `x-ms-version` and `x-ms-date`, and signs.
 */
export interface LakeOwnRequest {
  readonly method: string;
  /** Absent: the account itself. */
  readonly container?: string | undefined;
  readonly blob?: string | undefined;
  readonly query?: readonly (readonly [name: string, value: string])[] | undefined;
  /** Without `x-ms-version`, `x-ms-date`, Authorization and framing. */
  readonly headers?: RawHeaders | undefined;
  readonly body?: BodySource | null | undefined;
  /** The `x-ms-version`; {@link LAKE_API_VERSION} unless given. */
  readonly apiVersion?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The version of the REST API that Forebay's own requests speak. */
export const LAKE_API_VERSION = "2025-01-05";

/** A lake that also takes requests of Forebay's own (probes, stored policies, later the drain). */
export interface OwnLake extends Lake {
  readonly credentialKind: "key" | "sas" | "entra" | "none";
  /** Rejects like {@link Lake}; also `internal` without a credential of its own, `config` where none can be had. */
  own(request: LakeOwnRequest): Promise<ClientResponse>;
}

/** `path`: HOST/ACCOUNT/CONTAINER/BLOB. `account`: ACCOUNT.HOST/CONTAINER/BLOB. */
export type UrlStyle = "path" | "account";

/** The index key of a blob: unambiguous, and sorted so that a container's blobs stand together. */
export function keyText(key: BlobKey): string {
  const base = `${key.account}/${key.container}/${key.blob}`;
  if (key.snapshot !== undefined) return `${base}\u0000s${key.snapshot}`;
  if (key.versionId !== undefined) return `${base}\u0000v${key.versionId}`;
  return base;
}
