/** Where a case is run: the lake itself or Forebay in front of it, in either URL style, over http or https. */
import type { LakeAccount } from "../../support/azurite.ts";
import type { RawTarget } from "../../support/raw-http.ts";

/** One end of a comparison. */
export interface Endpoint {
  readonly kind: "lake" | "forebay";
  readonly host: string;
  readonly port: number;
  /** On https: the certificate to trust, or the system's when there is none given. */
  readonly tls?: { readonly ca?: string | undefined } | undefined;
  /** The Host of a lake that has a name of its own: `ACCOUNT.blob.core.windows.net`. */
  readonly hostName?: string | undefined;
  /** `path`: HOST:PORT/ACCOUNT. `account`: the Host header names the account. */
  readonly style: "path" | "account";
  readonly account: LakeAccount;
}

/** The Host header of requests to `endpoint` for `account`. */
export function hostOf(endpoint: Endpoint, account = endpoint.account.name): string {
  if (endpoint.hostName !== undefined) return endpoint.hostName;
  return endpoint.style === "path" ? `${endpoint.host}:${endpoint.port}` : `${account}.blob.localhost:${endpoint.port}`;
}

/** The raw path of `path` (such as `/container/blob`) in the endpoint's style. */
export function pathOf(endpoint: Endpoint, path: string, account = endpoint.account.name): string {
  return endpoint.style === "path" ? `/${account}${path}` : path;
}

/** The URL of an account at `endpoint`. */
export function urlOf(endpoint: Endpoint, account = endpoint.account.name): string {
  const base = `${endpoint.tls === undefined ? "http" : "https"}://${hostOf(endpoint, account)}`;
  return endpoint.style === "path" ? `${base}/${account}` : base;
}

/** The socket address of `endpoint`. */
export function targetOf(endpoint: Endpoint): RawTarget {
  const { host, port, tls, hostName } = endpoint;
  return tls === undefined ? { host, port } : { host, port, tls: { ...tls, name: hostName ?? "localhost" } };
}
