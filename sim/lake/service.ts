/**
 * A simulated blob service: in memory, deterministic, strict where Azurite is lax. It is one function from a request
 * to an answer; `client.ts` puts it behind the product's own client interface, `server.ts` behind a socket.
 */
import type { RawHeaders } from "../../src/http/types.ts";
import type { UrlStyle } from "../../src/lake/types.ts";
import { authorise } from "./auth.ts";
import * as containers from "./containers.ts";
import type { Content } from "./content.ts";
import { storedContent } from "./content.ts";
import * as copies from "./copy.ts";
import { simError } from "./errors.ts";
import { listBlobs } from "./list.ts";
import {
  type Account,
  type Blob,
  type Call,
  type Commit,
  header,
  httpDate,
  nextGuid,
  type SimContext,
  SimError,
  type SimRequest,
  type SimResponse,
  type SimState,
  type SimToken,
} from "./model.ts";
import { detect, NEEDS, type Operation } from "./operations.ts";
import * as reads from "./read.ts";
import { createStats, type SimStats } from "./stats.ts";
import { type Place, parseTarget } from "./target.ts";
import * as writes from "./write.ts";
import { errorDocument } from "./xml.ts";

/** The newest version of the REST API that the service knows. */
const NEWEST_VERSION = "2026-06-06";

/** The account and key of simulated lakes, unless a test says otherwise. */
export const SIM_ACCOUNT = "simlake";
export const SIM_KEY = Buffer.from("the first key of the simulated account, good for nothing else...").toString(
  "base64",
);
const SIM_KEY_2 = Buffer.from("the second key of the simulated account, good for nothing else..").toString("base64");

export interface SimServiceOptions {
  readonly style?: UrlStyle;
  readonly accounts?: readonly { name: string; keys: readonly string[]; versioning?: boolean }[];
  /** Let bearer tokens come over http, as no real service does. */
  readonly httpBearer?: boolean;
  /** Told of every change of a blob (a new ETag, or none any more), in the order in which the service made them. */
  readonly committed?: (commit: Commit) => void;
}

/** The service, and what a test may do to it behind everybody's back. */
export interface SimService {
  readonly style: UrlStyle;
  readonly stats: SimStats;
  handle(request: SimRequest, context: SimContext): SimResponse;
  /** Creates a container if need be. */
  addContainer(name: string, options?: { account?: string; publicAccess?: "container" | "blob" }): void;
  /** Writes a block blob as a foreign writer would; the answer's ETag is given back. */
  putBlob(container: string, blob: string, content: Uint8Array | Content, options?: PutOptions): string;
  /** The same from blocks with these ids. */
  putBlocks(container: string, blob: string, blocks: readonly (readonly [id: string, bytes: Uint8Array])[]): void;
  deleteBlob(container: string, blob: string, account?: string): void;
  deleteContainer(container: string, account?: string): void;
  /** A blob as it is now, all of it, or null. */
  properties(container: string, blob: string, account?: string): Blob | null;
  /** The ids of the blocks that await their commit, sorted. */
  uncommitted(container: string, blob: string, account?: string): string[];
  /** The bytes of a blob now, or null. */
  peek(container: string, blob: string, account?: string): Uint8Array | null;
  /** Replaces key 0 or 1 of an account (base64). */
  rotateKey(index: 0 | 1, key: string, account?: string): void;
  setToken(token: string, rights: SimToken | null, account?: string): void;
}

export interface PutOptions {
  readonly account?: string;
  readonly nowMs?: number;
  /** Request headers, for example `["x-ms-meta-a", "1"]`. */
  readonly headers?: RawHeaders;
}

const RUN: Readonly<Record<Operation, (call: Call) => SimResponse>> = {
  ListContainers: containers.listContainers,
  GetAccountInfo: containers.getAccountInfo,
  CreateContainer: containers.createContainer,
  GetContainerProperties: containers.getContainerProperties,
  DeleteContainer: containers.deleteContainer,
  SetContainerMetadata: containers.setContainerMetadata,
  GetContainerAcl: containers.getContainerAcl,
  SetContainerAcl: containers.setContainerAcl,
  LeaseContainer: containers.leaseContainer,
  ListBlobs: listBlobs,
  GetBlob: reads.getBlob,
  GetBlobProperties: reads.getBlobProperties,
  GetBlobMetadata: reads.getBlobMetadata,
  SetBlobMetadata: writes.setBlobMetadata,
  SetBlobProperties: writes.setBlobProperties,
  DeleteBlob: writes.deleteBlob,
  PutBlob: writes.putBlob,
  PutBlobFromUrl: copies.putBlobFromUrl,
  CopyBlob: copies.copyBlob,
  PutBlock: writes.putBlock,
  PutBlockFromUrl: copies.putBlockFromUrl,
  PutBlockList: writes.putBlockList,
  GetBlockList: reads.getBlockList,
  SnapshotBlob: writes.snapshotBlob,
  LeaseBlob: writes.leaseBlob,
  SetBlobTier: writes.setBlobTier,
  GetBlobTags: reads.getBlobTags,
  SetBlobTags: writes.setBlobTags,
  AppendBlock: writes.appendBlock,
  PutPage: writes.putPage,
};

/** A service with one account ({@link SIM_ACCOUNT}) unless told otherwise. */
export function createSimService(options: SimServiceOptions = {}): SimService {
  const accounts = new Map<string, Account>();
  for (const { name, keys, versioning = false } of options.accounts ?? [
    { name: SIM_ACCOUNT, keys: [SIM_KEY, SIM_KEY_2] },
  ]) {
    const decoded = keys.map((key) => new Uint8Array(Buffer.from(key, "base64")));
    accounts.set(name, { name, keys: decoded, tokens: new Map(), versioning, containers: new Map() });
  }
  const first = [...accounts.keys()][0] ?? SIM_ACCOUNT;
  const state: SimState = {
    style: options.style ?? "path",
    accounts,
    httpBearer: options.httpBearer ?? false,
    serial: 0,
  };
  const stats = createStats();
  const noting = noter(options.committed);
  const accountNamed = (name: string = first): Account => {
    const account = accounts.get(name);
    if (account === undefined) throw new Error(`the simulated service has no account ${name}`);
    return account;
  };
  const direct = (account: Account, container: string, blob: string, nowMs: number, parts: Partial<Call>): Call => ({
    state,
    account,
    containerName: container,
    blobName: blob,
    method: "PUT",
    path: "/",
    rawQuery: "",
    query: new Map(),
    headers: [],
    body: new Uint8Array(0),
    version: NEWEST_VERSION,
    context: { nowMs, remoteAddress: "127.0.0.1", secure: true },
    ...parts,
  });
  let lastMs = 0;
  const service: SimService = {
    style: state.style,
    stats,
    handle: (request, context) => {
      lastMs = context.nowMs;
      return handle(state, stats, request, context, noting);
    },
    addContainer: (name, { account, publicAccess } = {}) => {
      const owner = accountNamed(account);
      if (owner.containers.has(name)) return;
      const headers = publicAccess === undefined ? [] : ["x-ms-blob-public-access", publicAccess];
      containers.createContainer(direct(owner, name, "", lastMs, { headers }));
    },
    putBlob: (container, blob, content, { account, nowMs, headers = [] } = {}) => {
      const owner = accountNamed(account);
      service.addContainer(container, { account: owner.name });
      const isBytes = content instanceof Uint8Array;
      const all = ["x-ms-blob-type", "BlockBlob", ...headers];
      const body = isBytes ? content : new Uint8Array(0);
      const call = direct(owner, container, blob, nowMs ?? lastMs, { headers: all, body });
      noting(call, () => {
        writes.putBlob(call);
        const stored = owner.containers.get(container)?.slots.get(blob)?.current;
        if (stored === undefined || isBytes) return;
        stored.content = content;
        stored.contentMd5 = undefined;
      });
      const slot = owner.containers.get(container)?.slots.get(blob);
      if (slot?.current === undefined) throw new Error("a blob that was just put is not there");
      return slot.current.etag;
    },
    putBlocks: (container, blob, blocks) => {
      const owner = accountNamed();
      service.addContainer(container);
      for (const [id, bytes] of blocks) {
        writes.stageBlock(
          direct(owner, container, blob, lastMs, { query: new Map([["blockid", id]]) }),
          storedContent(bytes),
        );
      }
      const list = blocks.map(([id]) => `<Latest>${id}</Latest>`).join("");
      const body = new TextEncoder().encode(`<?xml version="1.0"?><BlockList>${list}</BlockList>`);
      writes.putBlockList(direct(owner, container, blob, lastMs, { body }));
    },
    deleteBlob: (container, blob, account) => {
      const call = direct(accountNamed(account), container, blob, lastMs, {});
      noting(call, () => void writes.deleteBlob(call));
    },
    peek: (container, blob, account) => {
      const content = accountNamed(account).containers.get(container)?.slots.get(blob)?.current?.content;
      return content === undefined ? null : content.read(0, content.sizeBytes);
    },
    deleteContainer: (container, account) => void accountNamed(account).containers.delete(container),
    properties: (container, blob, account) =>
      accountNamed(account).containers.get(container)?.slots.get(blob)?.current ?? null,
    uncommitted: (container, blob, account) => {
      const slot = accountNamed(account).containers.get(container)?.slots.get(blob);
      return [...(slot?.uncommitted.keys() ?? [])].sort();
    },
    rotateKey: (index, key, account) => {
      accountNamed(account).keys[index] = new Uint8Array(Buffer.from(key, "base64"));
    },
    setToken: (token, rights, account) => {
      const { tokens } = accountNamed(account);
      if (rights === null) tokens.delete(token);
      else tokens.set(token, rights);
    },
  };
  return service;
}

/** Runs what may change blobs, and says afterwards which it did change. */
type Noting = (call: Call, work: () => void) => void;

function noter(committed: SimServiceOptions["committed"]): Noting {
  return (call, work) => {
    if (committed === undefined) {
      work();
      return;
    }
    const { account, containerName: container, headers } = call;
    const now = (): Map<string, Blob> => {
      const slots = account.containers.get(container)?.slots;
      const names = call.blobName === "" ? [...(slots?.keys() ?? [])] : [call.blobName];
      const found = new Map<string, Blob>();
      for (const name of names) {
        const current = slots?.get(name)?.current;
        if (current !== undefined) found.set(name, { ...current });
      }
      return found;
    };
    const earlier = now();
    work();
    const later = now();
    for (const blob of new Set([...earlier.keys(), ...later.keys()])) {
      const [before, after] = [earlier.get(blob), later.get(blob)];
      if (before?.etag !== after?.etag) {
        committed({ account: account.name, container, blob, before, after, headers });
      }
    }
  };
}

function handle(
  state: SimState,
  stats: SimStats,
  request: SimRequest,
  context: SimContext,
  noting: Noting,
): SimResponse {
  const requestId = nextGuid(state, "5e41a");
  const clientId = header(request, "x-ms-client-request-id");
  const asked = header(request, "x-ms-version");
  const finish = (response: SimResponse, version: string): SimResponse => ({
    ...response,
    headers: [
      ...response.headers,
      ...["Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0", "x-ms-request-id", requestId],
      ...["x-ms-version", version, "Date", httpDate(context.nowMs)],
      ...(clientId === undefined ? [] : ["x-ms-client-request-id", clientId]),
    ],
  });
  let version = asked ?? NEWEST_VERSION;
  try {
    const place = parseTarget(state, request.target, header(request, "host") ?? "");
    version = versionOf(request, place);
    return finish(run({ state, stats, noting }, request, context, place, version), version);
  } catch (error) {
    if (!(error instanceof SimError)) throw error;
    const known = asked !== undefined && asked <= NEWEST_VERSION ? asked : version;
    return finish(errorAnswer(request, error, requestId, context.nowMs), known);
  }
}

function run(
  { state, stats, noting }: { readonly state: SimState; readonly stats: SimStats; readonly noting: Noting },
  request: SimRequest,
  context: SimContext,
  place: Place,
  version: string,
): SimResponse {
  const account = state.accounts.get(place.accountName);
  if (account === undefined) throw simError("ResourceNotFound");
  const { method, headers, body } = request;
  const call: Call = { ...place, state, account, method, headers, body, version, context };
  const operation = detect(call);
  if (operation === null) {
    throw simError(place.query.has("comp") ? "InvalidQueryParameterValue" : "UnsupportedHttpVerb");
  }
  stats.sawRequest(operation, body.length);
  authorise(call, operation, NEEDS[operation]);
  const response = NEEDS[operation].writes ? changing(call, operation, noting) : RUN[operation](call);
  if (operation === "GetBlob" && response.body !== null) {
    stats.sawRead(
      `${account.name}/${place.containerName}/${place.blobName}`,
      response.headers,
      response.body.sizeBytes,
    );
  }
  return response;
}

function changing(call: Call, operation: Operation, noting: Noting): SimResponse {
  let response: SimResponse | undefined;
  noting(call, () => {
    response = RUN[operation](call);
  });
  if (response === undefined) throw new Error("an operation answers or throws");
  return response;
}

/** The version that the request speaks. Throws where it is none that the service knows. */
function versionOf(request: SimRequest, place: Place): string {
  const version = header(request, "x-ms-version") ?? place.query.get("api-version") ?? place.query.get("sv");
  if (version === undefined) {
    if (header(request, "authorization") !== undefined) throw simError("MissingRequiredHeader");
    return "2009-09-19"; // what anonymous requests get that name none
  }
  if (!/^\d{4}-\d\d-\d\d$/.test(version) || version > NEWEST_VERSION) throw simError("InvalidHeaderValue");
  return version;
}

/** An answer that is an error, as the service gives its own. Also made by faults. */
export function errorAnswer(
  request: Pick<SimRequest, "method">,
  error: SimError,
  requestId: string,
  nowMs: number,
): SimResponse {
  const headers = ["x-ms-error-code", error.code, ...error.headers];
  if (request.method === "HEAD" || error.status === 304) return { status: error.status, headers, body: null };
  const body = storedContent(errorDocument(error.code, error.message, requestId, nowMs));
  return { status: error.status, headers: ["Content-Type", "application/xml", ...headers], body };
}
