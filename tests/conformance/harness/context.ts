/** What a case works with: the SDK and raw requests at one endpoint, all of it written down. */
import {
  AnonymousCredential,
  type BlobServiceClient,
  type ContainerClient,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { seededRandom } from "../../../src/base/random.ts";
import { type LakeAccount, OTHER_ACCOUNT } from "../../support/azurite.ts";
import { type RawResponse, rawRequest, requestBytes } from "../../support/raw-http.ts";
import { bearerToken, sharedKey, sharedKeyLite } from "../../support/sign.ts";
import { type Endpoint, hostOf, pathOf, targetOf, urlOf } from "./endpoint.ts";
import type { CacheExpectation, Exchange } from "./outcome.ts";
import { type Recorder, type SdkCredential, watchedService } from "./sdk.ts";

/** The version that raw requests ask for unless they say otherwise. */
export const API_VERSION = "2025-01-05";

/** A raw request of a case. */
export interface CaseRequest {
  readonly method?: string;
  /** Raw path relative to the account, e.g. `/${ctx.container}/blob`; ignored when `target` is given. */
  readonly path?: string;
  /** Raw query without `?`. */
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Headers added after the signature was made. */
  readonly unsigned?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  readonly chunkBytes?: number;
  /** How it is signed; `key` unless given. */
  readonly auth?:
    | "key"
    | "key2"
    | "lite"
    | "wrong-key"
    | "other-account"
    | "bearer"
    | "none"
    | { readonly header: string };
  /** Whether `x-ms-date` and `x-ms-version` are added; true unless given. */
  readonly date?: boolean;
  readonly version?: string | null;
  readonly label?: string;
  readonly cache?: CacheExpectation;
  readonly account?: string;
  readonly httpVersion?: "1.0" | "1.1";
}

/** One pass of a case. */
export interface CaseContext {
  readonly endpoint: Endpoint;
  readonly account: LakeAccount;
  /** The name of the case's own container. */
  readonly container: string;
  /** A further name for a container, the same in every pass of the case. */
  other(name: string): string;
  /** The SDK as the account's owner, at the endpoint. */
  readonly service: BlobServiceClient;
  readonly blobs: ContainerClient;
  /** The SDK as somebody else: with a credential, or with a SAS (`sas`, without `?`). */
  sdk(options: { credential?: SdkCredential; sas?: string }): BlobServiceClient;
  /** One raw request on a connection of its own. */
  raw(request: CaseRequest): Promise<RawResponse>;
  /** The bytes of a raw request, for cases that drive a connection themselves. */
  bytes(request: CaseRequest): Uint8Array;
  /** Writes down a response that the case read from a connection itself. */
  saw(label: string, response: RawResponse, cache?: CacheExpectation): void;
  /** Adds a value to the outcome. */
  note(name: string, value: unknown): void;
  /** Runs `work` and notes how it ended: "ok", or the error's code. */
  attempt(name: string, work: () => Promise<unknown>): Promise<void>;
  /** What the next SDK reads are expected to do on the warm pass. */
  expectCache(expectation: CacheExpectation): void;
  /** The account's owner directly at the lake: nothing of it is written down. */
  readonly lake: { readonly service: BlobServiceClient; readonly blobs: ContainerClient; readonly url: string };
}

/** Pseudo-random bytes, the same for the same seed. */
export function someBytes(length: number, seed = 1): Uint8Array {
  return seededRandom(seed).fill(new Uint8Array(length));
}

/** What a pass is made of. */
export interface PassOptions {
  readonly endpoint: Endpoint;
  readonly lake: Endpoint;
  readonly container: string;
  readonly extraHeaders?: readonly (readonly [string, string])[];
}

/** A pass: its context, and what was written down when the case is done. */
export interface Pass {
  readonly context: CaseContext;
  finish(): Promise<{ exchanges: readonly Exchange[]; notes: Readonly<Record<string, unknown>> }>;
}

/** Makes the context of one pass. */
export function startPass(options: PassOptions): Pass {
  const { endpoint, container } = options;
  const extraHeaders = options.extraHeaders ?? [];
  const pending: Promise<Exchange>[] = [];
  const notes: Record<string, unknown> = {};
  const recorder: Recorder = { extraHeaders, cache: "any", add: (exchange) => void pending.push(exchange) };
  const credential = new StorageSharedKeyCredential(endpoint.account.name, endpoint.account.key);
  const service = watchedService(endpoint, recorder, credential, urlOf(endpoint));
  const lakeService = lakeClient(options.lake);
  const build = (request: CaseRequest): Uint8Array => rawBytes(endpoint, request, extraHeaders);
  const saw = (label: string, response: RawResponse, cache: CacheExpectation = "any", id?: string): void => {
    const { status, headers, body, framing, interim } = response;
    pending.push(Promise.resolve({ label, status, headers, body, framing, interim, cache, clientRequestId: id }));
  };
  const context: CaseContext = {
    endpoint,
    account: endpoint.account,
    container,
    other: (name) => `${container}-${name}`,
    service,
    blobs: service.getContainerClient(container),
    sdk: ({ credential: other, sas }) => {
      const url = sas === undefined ? urlOf(endpoint) : `${urlOf(endpoint)}?${sas}`;
      return watchedService(endpoint, recorder, other ?? new AnonymousCredential(), url);
    },
    raw: async (request) => {
      const full = resolve(endpoint, request, extraHeaders);
      const response = await rawRequest(targetOf(endpoint), full);
      const name = full.target.split("?");
      const label = request.label ?? `${full.method} ${name[0]?.slice(0, 80)} ${(name[1] ?? "").slice(0, 30)}`;
      saw(label.replaceAll(container, "C"), response, request.cache, request.headers?.["x-ms-client-request-id"]);
      return response;
    },
    bytes: build,
    saw,
    note: (name, value) => {
      notes[name] = value;
    },
    attempt: async (name, work) => {
      try {
        await work();
        notes[name] = "ok";
      } catch (error) {
        notes[name] = errorText(error);
      }
    },
    expectCache: (expectation) => {
      recorder.cache = expectation;
    },
    lake: { service: lakeService, blobs: lakeService.getContainerClient(container), url: urlOf(options.lake) },
  };
  return { context, finish: async () => ({ exchanges: await Promise.all(pending), notes }) };
}

function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, statusCode } = error as Error & { code?: unknown; statusCode?: unknown };
  return code === undefined && statusCode === undefined ? error.message : `${statusCode} ${code}`;
}

/** The account's owner at the lake, unwatched. The lake of the tests is reached by its address. */
function lakeClient(lake: Endpoint): BlobServiceClient {
  const silent: Recorder = { extraHeaders: [], cache: "any", add: (exchange) => void exchange.catch(() => {}) };
  const credential = new StorageSharedKeyCredential(lake.account.name, lake.account.key);
  return watchedService(lake, silent, credential, urlOf(lake), 4);
}

function resolve(endpoint: Endpoint, request: CaseRequest, extra: readonly (readonly [string, string])[]) {
  const accountName = request.account ?? endpoint.account.name;
  const query = request.query === undefined ? "" : `?${request.query}`;
  const path = pathOf(endpoint, request.path ?? "", accountName);
  const target = `${path === "" ? "/" : path}${query}`;
  const method = request.method ?? "GET";
  const body = typeof request.body === "string" ? Buffer.from(request.body, "utf8") : request.body;
  const headers: (readonly [string, string])[] = [["Host", hostOf(endpoint, accountName)]];
  if (request.date !== false) headers.push(["x-ms-date", new Date().toUTCString()]);
  if (request.version !== null) headers.push(["x-ms-version", request.version ?? API_VERSION]);
  for (const [name, value] of Object.entries(request.headers ?? {})) headers.push([name, value]);
  headers.push(...extra);
  const authorization = authorize(endpoint, request.auth ?? "key", accountName, {
    method,
    target,
    headers,
    contentLength: request.chunkBytes === undefined ? body?.length : undefined,
  });
  if (authorization !== undefined) headers.push(["Authorization", authorization]);
  for (const [name, value] of Object.entries(request.unsigned ?? {})) headers.push([name, value]);
  return { method, target, headers, body, chunkBytes: request.chunkBytes, version: request.httpVersion };
}

function authorize(
  endpoint: Endpoint,
  auth: NonNullable<CaseRequest["auth"]>,
  accountName: string,
  toSign: Parameters<typeof sharedKey>[2],
): string | undefined {
  const { key, key2 } = endpoint.account;
  if (auth === "none") return undefined;
  if (typeof auth === "object") return auth.header;
  if (auth === "bearer") return `Bearer ${bearerToken()}`;
  if (auth === "lite") return sharedKeyLite(accountName, key, toSign);
  if (auth === "wrong-key") return sharedKey(accountName, Buffer.from("not the key").toString("base64"), toSign);
  if (auth === "other-account") return sharedKey(OTHER_ACCOUNT.name, OTHER_ACCOUNT.key, toSign);
  if (accountName === OTHER_ACCOUNT.name) return sharedKey(accountName, OTHER_ACCOUNT.key, toSign);
  return sharedKey(accountName, auth === "key2" ? (key2 ?? key) : key, toSign);
}

function rawBytes(endpoint: Endpoint, request: CaseRequest, extra: readonly (readonly [string, string])[]): Uint8Array {
  return requestBytes(resolve(endpoint, request, extra));
}
