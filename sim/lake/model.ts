/** What the simulated blob service keeps, and the shapes of its requests, answers and errors. */
import { headerOf, type RawHeaders } from "../../src/http/types.ts";
import type { UrlStyle } from "../../src/lake/types.ts";
import type { Content } from "./content.ts";

/** A request as it came over the wire. */
export interface SimRequest {
  readonly method: string;
  /** Raw. */
  readonly target: string;
  readonly headers: RawHeaders;
  readonly body: Uint8Array;
}

/** What the service knows of a request apart from its bytes. */
export interface SimContext {
  readonly nowMs: number;
  readonly remoteAddress: string;
  readonly secure: boolean;
}

/** An answer. For HEAD the body is null and the headers carry the length. */
export interface SimResponse {
  readonly status: number;
  /** Without Content-Length, unless the body is null and there is a length to tell. */
  readonly headers: RawHeaders;
  readonly body: Content | null;
}

export type BlobType = "BlockBlob" | "AppendBlob" | "PageBlob";

/** A lease on a blob or container. `untilMs` is Infinity for one without end. */
export interface Lease {
  id: string;
  durationSeconds: number;
  untilMs: number;
  broken: boolean;
}

/** The standard properties of a blob, by response header in lower case. */
export const PROPERTY_HEADERS = [
  "content-type",
  "content-encoding",
  "content-language",
  "cache-control",
  "content-disposition",
] as const;

export interface Blob {
  name: string;
  type: BlobType;
  content: Content;
  etag: string;
  createdMs: number;
  modifiedMs: number;
  metadata: readonly (readonly [name: string, value: string])[];
  properties: ReadonlyMap<string, string>;
  contentMd5: string | undefined;
  tier: string;
  tierInferred: boolean;
  tierChangedMs: number;
  rehydrating: string | undefined;
  tags: ReadonlyMap<string, string>;
  versionId: string | undefined;
  copy: { readonly id: string; readonly source: string; readonly atMs: number } | undefined;
  blocks: readonly { readonly id: string; readonly content: Content }[];
}

/** Everything under one name: the current blob, its past, and blocks that await their commit. */
export interface Slot {
  current: Blob | undefined;
  snapshots: Map<string, Blob>;
  versions: Map<string, Blob>;
  uncommitted: Map<string, Content>;
  lease: Lease | undefined;
}

export interface StoredPolicyRecord {
  readonly id: string;
  readonly start: string;
  readonly expiry: string;
  readonly permission: string;
}

export interface Container {
  readonly name: string;
  etag: string;
  modifiedMs: number;
  metadata: readonly (readonly [name: string, value: string])[];
  publicAccess: "container" | "blob" | null;
  policies: readonly StoredPolicyRecord[];
  lease: Lease | undefined;
  readonly slots: Map<string, Slot>;
}

/** A change of what stands under a name: one line of the service's own history. */
export interface Commit {
  readonly account: string;
  readonly container: string;
  readonly blob: string;
  /** What stood there before, and what stands there now. Values: they do not change. */
  readonly before: Blob | undefined;
  readonly after: Blob | undefined;
  readonly headers: RawHeaders;
}

/** A bearer token that the service accepts. */
export interface SimToken {
  readonly roles: readonly ("reader" | "contributor")[];
  readonly expiresAtMs: number;
  /** The containers that the roles are given on; all unless said. */
  readonly containers?: readonly string[] | undefined;
}

export interface Account {
  readonly name: string;
  /** Two keys, base64 decoded; either signs. */
  keys: Uint8Array[];
  readonly tokens: Map<string, SimToken>;
  versioning: boolean;
  readonly containers: Map<string, Container>;
}

/** The whole service, and its counters from which ids are made. */
export interface SimState {
  readonly style: UrlStyle;
  readonly accounts: Map<string, Account>;
  /** Whether bearer tokens may come over http, as no real service allows. */
  readonly httpBearer: boolean;
  serial: number;
}

/** Ends a request with the service's own kind of error. */
export class SimError extends Error {
  override name = "SimError";
  readonly status: number;
  readonly code: string;
  readonly headers: RawHeaders;

  constructor(status: number, code: string, message: string, headers: RawHeaders = []) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** A request taken apart: what every operation works on. */
export interface Call {
  readonly state: SimState;
  readonly account: Account;
  readonly containerName: string;
  /** Decoded; empty for operations on a container or the account. */
  readonly blobName: string;
  readonly method: string;
  /** The raw path, as signed. */
  readonly path: string;
  readonly rawQuery: string;
  /** Decoded; names in lower case. */
  readonly query: ReadonlyMap<string, string>;
  readonly headers: RawHeaders;
  readonly body: Uint8Array;
  readonly version: string;
  readonly context: SimContext;
}

/** The value of a request header, by lower-case name; an empty one counts as absent. */
export function header(call: Pick<Call, "headers">, name: string): string | undefined {
  const value = headerOf(call.headers, name);
  return value === "" ? undefined : value;
}

/** A fresh ETag: never given twice by one service. */
export function nextEtag(state: SimState): string {
  state.serial++;
  return `"0x8D${state.serial.toString(16).toUpperCase().padStart(12, "0")}"`;
}

/** A time as the service writes it in snapshots and versions: unique, with seven digits. */
export function nextMoment(state: SimState, nowMs: number): string {
  state.serial++;
  const ticks = String(state.serial % 10_000).padStart(4, "0");
  return `${new Date(nowMs).toISOString().slice(0, -1)}${ticks}Z`;
}

/** A GUID made of `kind` and a counter. */
export function nextGuid(state: SimState, kind: string): string {
  state.serial++;
  return `${kind.padEnd(8, "0").slice(0, 8)}-0000-4000-8000-${state.serial.toString(16).padStart(12, "0")}`;
}

export function httpDate(ms: number): string {
  return new Date(ms).toUTCString();
}
