/** A read of exactly one range of exactly one version: anything else that the lake may answer is an error. */
import { ForebayError } from "../base/errors.ts";
import { type ClientResponse, headerOf } from "../http/types.ts";
import type { BlobKey, Credential, Lake } from "../lake/types.ts";
import type { EngineContext } from "./context.ts";
import { describeAnswer } from "./headers.ts";
import { letGo } from "./let-go.ts";
import { bump } from "./stats.ts";

/** Where and with whose authority the blocks of a version are read. */
export interface FillSource {
  readonly lake: Lake;
  readonly key: BlobKey;
  readonly apiVersion: string;
  readonly credential: Credential;
  /** Only for a caller's credential: the fill ends with the request that lent it. */
  readonly signal: AbortSignal | undefined;
  /** Only for a caller's credential. */
  readonly loan: Loan | null;
}

/** A caller's authority, lent for as long as its own request lasts. */
export interface Loan {
  /** The request was answered: nothing more may be asked in its name. */
  over: boolean;
  /** What the lake said when it refused this caller: no reason for others to fail. */
  refusal: ForebayError | null;
}

/** An answer of the lake whose body begins at byte `first` of the version. */
export interface Opened {
  readonly response: ClientResponse;
  readonly first: number;
  readonly last: number;
  /** The whole blob's MD5, when this body is the whole blob. */
  readonly md5: string | undefined;
}

/** Asks the lake for bytes [offset, end) of exactly this version. Anything but exactly that is an error. */
export async function openRange(
  context: EngineContext,
  version: { readonly etag: string; readonly sizeBytes: number },
  source: FillSource,
  offset: number,
  end: number,
): Promise<ClientResponse> {
  const { stats } = context;
  if (source.loan?.over === true) throw new ForebayError("cancelled", "the request that lent its authority is over");
  const response = await source.lake.read({
    key: source.key,
    method: "GET",
    range: { first: offset, last: end - 1 },
    ifMatch: version.etag,
    apiVersion: source.apiVersion,
    credential: source.credential,
    signal: source.signal,
  });
  const { status, headers } = response.head;
  bump(stats.lakeRequests, `fill.${status}`);
  const fail = (error: ForebayError): never => {
    letGo(response.body);
    throw error;
  };
  // A caller without the right to read may be told that there is nothing.
  if (status === 412 || (status === 404 && source.loan === null))
    fail(new ForebayError("lake-changed", `the blob changed in the lake (${status})`));
  if (status === 429 || status >= 500) fail(busy(status, headers));
  if ((status === 401 || status === 403) && source.credential.kind === "own") {
    context.trust.refused(source.key.account, source.key.container, headerOf(headers, "x-ms-error-code"));
  }
  const answer = describeAnswer(status, headers);
  if (answer === null) return fail(new ForebayError("lake-refused", `the lake answered ${status} to a range read`));
  if (answer.etag !== version.etag || answer.sizeBytes !== version.sizeBytes) {
    fail(new ForebayError("lake-changed", "the lake answered with another version of the blob"));
  }
  if (answer.first !== offset || answer.last !== end - 1) {
    fail(new ForebayError("lake-corrupt", "the lake answered with another range than was asked for"));
  }
  return response;
}

function busy(status: number, headers: readonly string[]): ForebayError {
  const ms = headerOf(headers, "x-ms-retry-after-ms") ?? headerOf(headers, "retry-after-ms");
  const seconds = headerOf(headers, "retry-after");
  const delayMs = ms !== undefined ? Number(ms) : seconds !== undefined ? Number(seconds) * 1000 : Number.NaN;
  const message = `the lake answered ${status}`;
  if (!Number.isFinite(delayMs)) return new ForebayError("overloaded", message);
  return new ForebayError("overloaded", message, { cause: new RetryAfter(Math.max(0, delayMs)) });
}

/** How long the lake asked to wait, as the cause of an error. */
export class RetryAfter extends Error {
  readonly delayMs: number;
  constructor(delayMs: number) {
    super("the lake asked to wait");
    this.delayMs = delayMs;
  }
}
