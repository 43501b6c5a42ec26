/**
 * The real blob service (or Azurite) over HTTP. A read is built here: the path in the lake's URL style, one version
 * pinned, and the credential. A request passed on is not touched. Nothing is retried: what to do about an error is
 * for the engine to decide, which knows what the read was for.
 */
import { ForebayError } from "../base/errors.ts";
import type { ClientResponse, HttpClient, RawHeaders } from "../http/types.ts";
import type { Clock } from "../io/clock.ts";
import type { LakeAddress } from "./address.ts";
import type { TokenSource } from "./entra.ts";
import { type SignedRequest, sharedKeyAuthorization } from "./sign.ts";
import {
  type BlobKey,
  type Credential,
  LAKE_API_VERSION,
  type LakeForward,
  type LakeOwnRequest,
  type LakeRead,
  type OwnLake,
} from "./types.ts";

/** The parts of {@link createAzureLake}. */
export interface AzureLakeParts {
  readonly address: LakeAddress;
  /** Connections to `address.hostname:port` that send `address.hostHeader` as Host. */
  readonly http: HttpClient;
  readonly clock: Clock;
  /** Needed when the address's credential is `entra`. */
  readonly tokenSource?: TokenSource | undefined;
  /** Signs with the account's newest key; {@link sharedKeyAuthorization} unless given. */
  readonly signer?: ((key: Uint8Array, request: SignedRequest) => string) | undefined;
}

/** A lake at `address`. Its calls reject as {@link OwnLake} says. */
export function createAzureLake(parts: AzureLakeParts): OwnLake {
  const { address, http } = parts;
  const { credential } = address;
  if (credential.kind === "entra" && parts.tokenSource === undefined) {
    throw new ForebayError("internal", "a lake that uses Entra ID needs a source of tokens");
  }
  const authorise = authoriser(parts);
  const send = async (draft: Draft, by: Credential): Promise<ClientResponse> => {
    let authorised: Authorised;
    try {
      authorised = await authorise(draft, by);
    } catch (error) {
      draft.body?.close();
      throw error;
    }
    const { query, headers } = authorised;
    const target = query === "" ? draft.path : `${draft.path}?${query}`;
    return http.request({ method: draft.method, target, headers, body: draft.body, signal: draft.signal });
  };
  return {
    account: address.account,
    style: address.style,
    hasOwnCredential: credential.kind !== "none",
    credentialKind: credential.kind,
    keys: credential.kind === "key" ? credential.keys : [],
    read: async (request) => send(draftRead(parts, request), request.credential),
    own: async (request) => send(draftOwn(parts, request), { kind: "own" }),
    forward: async (request: LakeForward) =>
      http.request({
        method: request.method,
        target: request.path + request.query,
        headers: request.headers,
        body: request.body,
        signal: request.signal,
      }),
    close: () => http.close(),
  };
}

/** A request before its credential. `query` is raw, without `?`. */
interface Draft {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: RawHeaders;
  readonly body: LakeForward["body"];
  readonly signal: AbortSignal | undefined;
}

function draftRead(parts: AzureLakeParts, request: LakeRead): Draft {
  const { key, range } = request;
  if (key.account !== parts.address.account) {
    throw new ForebayError("internal", "a read of one account was given to the lake of another");
  }
  const headers = stamp(parts.clock, request.apiVersion);
  if (request.clientRequestId !== undefined) headers.push("x-ms-client-request-id", request.clientRequestId);
  if (range !== undefined) headers.push("Range", `bytes=${range.first}-${range.last}`);
  if (request.ifMatch !== undefined) headers.push("If-Match", request.ifMatch);
  return {
    method: request.method,
    path: pathOf(parts.address, key.container, key.blob),
    query: versionQuery(key),
    headers,
    body: null,
    signal: request.signal,
  };
}

function draftOwn(parts: AzureLakeParts, request: LakeOwnRequest): Draft {
  const pairs = (request.query ?? []).map(([name, value]) => `${encodePart(name)}=${encodePart(value)}`);
  return {
    method: request.method,
    path: pathOf(parts.address, request.container, request.blob),
    query: pairs.join("&"),
    headers: [...stamp(parts.clock, request.apiVersion ?? LAKE_API_VERSION), ...(request.headers ?? [])],
    body: request.body ?? null,
    signal: request.signal,
  };
}

function stamp(clock: Clock, apiVersion: string): string[] {
  return ["x-ms-version", apiVersion, "x-ms-date", new Date(clock.wallMs()).toUTCString()];
}

type Authorised = { readonly query: string; readonly headers: RawHeaders };

/** Adds a credential to a draft: Forebay's own, or the caller's as it came. */
function authoriser(parts: AzureLakeParts): (draft: Draft, by: Credential) => Promise<Authorised> {
  const { address, signer = sharedKeyAuthorization } = parts;
  const { credential } = address;
  return async (draft, by) => {
    if (by.kind === "caller") return asCaller(draft, by);
    switch (credential.kind) {
      case "key": {
        const [key] = credential.keys;
        if (key === undefined) throw new ForebayError("internal", "a lake with key credentials has no key");
        const signed = { ...draft, account: address.account, contentLengthBytes: draft.body?.lengthBytes ?? null };
        return withAuthorization(draft, signer(key, signed));
      }
      case "sas":
        return { query: joinQueries(draft.query, credential.query), headers: draft.headers };
      case "entra": {
        const token = await parts.tokenSource?.token();
        return withAuthorization(draft, `Bearer ${token}`);
      }
      case "none":
        throw new ForebayError("internal", "Forebay has no credential of its own for this lake");
    }
  };
}

function asCaller(draft: Draft, by: Extract<Credential, { kind: "caller" }>): Authorised {
  const { authorization } = by;
  if (authorization !== undefined && !/^bearer /i.test(authorization)) {
    // A SharedKey signature covers the headers of the request that it came with, and no other request.
    throw new ForebayError("internal", "a caller's SharedKey signature cannot authorise another request");
  }
  const query = joinQueries(draft.query, by.query ?? "");
  return authorization === undefined
    ? { query, headers: draft.headers }
    : { ...withAuthorization(draft, authorization), query };
}

function withAuthorization(draft: Draft, value: string): Authorised {
  return { query: draft.query, headers: [...draft.headers, "Authorization", value] };
}

function joinQueries(left: string, right: string): string {
  return left === "" || right === "" ? left + right : `${left}&${right}`;
}

function versionQuery(key: BlobKey): string {
  if (key.snapshot !== undefined) return `snapshot=${encodePart(key.snapshot)}`;
  return key.versionId === undefined ? "" : `versionid=${encodePart(key.versionId)}`;
}

/** The raw path of an account, a container or a blob in the lake's URL style. */
export function pathOf(address: Pick<LakeAddress, "basePath">, container?: string, blob?: string): string {
  if (container === undefined) return `${address.basePath}/`;
  // `$root`, `$web` and `$logs` are written plainly by every client.
  const place = `${address.basePath}/${encodePart(container).replaceAll("%24", "$")}`;
  return blob === undefined ? place : `${place}/${encodeBlobName(blob)}`;
}

/** A decoded blob name as a URL path: all but `/` and what RFC 3986 leaves unreserved is percent-encoded. */
export function encodeBlobName(name: string): string {
  return encodePart(name).replaceAll("%2F", "/");
}

function encodePart(text: string): string {
  try {
    return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  } catch (cause) {
    throw new ForebayError("internal", "a name is not well-formed Unicode", { cause });
  }
}
