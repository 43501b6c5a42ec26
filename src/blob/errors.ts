/**
 * Errors as the Blob service gives them, for what Forebay itself has to refuse: the status, the code in
 * `x-ms-error-code` and in the XML body, so that clients retry or report as they do with the lake.
 *
 * Source: "Status and error codes" and "Blob service error codes" in the REST documentation.
 */
import { asForebayError, type ErrorCode } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import type { ResponseHead } from "../http/types.ts";
import { formatHttpDate } from "./dates.ts";
import type { ServiceError } from "./types.ts";
import { OWN_VERSION } from "./versions.ts";

/** An error of our own making, with what the client should wait before it tries again. */
interface OwnError extends ServiceError {
  readonly retryAfterSeconds?: number;
}

const BUSY = { status: 503, code: "ServerBusy" } as const;
const TIMED_OUT = { status: 500, code: "OperationTimedOut" } as const;
const INTERNAL = { status: 500, code: "InternalError" } as const;

const ERRORS: Readonly<Record<ErrorCode, OwnError>> = {
  config: { ...INTERNAL, message: "The server is not configured for this request." },
  usage: { ...INTERNAL, message: "The server encountered an internal error. Please retry the request." },
  "http-malformed": { status: 400, code: "InvalidInput", message: "One of the request inputs is not valid." },
  "http-too-large": { status: 413, code: "RequestBodyTooLarge", message: "The request is too large." },
  timeout: { ...TIMED_OUT, message: "The operation could not be completed within the specified time." },
  overloaded: { ...BUSY, message: "The server is busy. Please try again later.", retryAfterSeconds: 1 },
  "lake-unreachable": { ...BUSY, message: "The lake cannot be reached. Please try again later.", retryAfterSeconds: 5 },
  "lake-lost": { ...TIMED_OUT, message: "The lake's answer was lost: the outcome is unknown." },
  "lake-refused": { ...INTERNAL, message: "The lake refused a request of the server." },
  "lake-changed": { ...BUSY, message: "The blob changed while it was read.", retryAfterSeconds: 1 },
  "lake-corrupt": { ...INTERNAL, message: "The lake's answer was not what it announced. Please retry the request." },
  "flash-failed": { ...INTERNAL, message: "The server encountered an internal error. Please retry the request." },
  "flash-full": { ...BUSY, message: "The server has no space left. Please try again later.", retryAfterSeconds: 5 },
  gone: { ...BUSY, message: "The server is busy. Please try again later.", retryAfterSeconds: 1 },
  void: { ...BUSY, message: "The blob changed while it was read.", retryAfterSeconds: 1 },
  cancelled: { ...TIMED_OUT, message: "The operation was ended by the client." },
  closed: { ...BUSY, message: "The server is shutting down. Please try again later.", retryAfterSeconds: 1 },
  internal: { ...INTERNAL, message: "The server encountered an internal error. Please retry the request." },
};

const REASONS: ReadonlyMap<number, string> = new Map([
  [304, "Not Modified"],
  [400, "Bad Request"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [409, "Conflict"],
  [412, "Precondition Failed"],
  [413, "Request Entity Too Large"],
  [416, "Requested Range Not Satisfiable"],
  [500, "Internal Server Error"],
  [501, "Not Implemented"],
  [503, "Service Unavailable"],
]);

/** What an error answer is made for. */
export interface ErrorContext {
  readonly requestId: string;
  readonly nowMs: number;
  /** The version that the client asked with. */
  readonly apiVersion?: string | undefined;
  /** Echoed when given. */
  readonly clientRequestId?: string | undefined;
}

/** A complete answer. For HEAD the body is not sent. */
export interface ErrorAnswer {
  readonly head: ResponseHead;
  readonly body: Uint8Array;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * An error in the service's form. `details` become elements after the message (`AuthenticationErrorDetail`, …);
 * `headers` stand after the usual ones.
 */
export function azureError(
  error: ServiceError,
  context: ErrorContext,
  details: Readonly<Record<string, string>> = {},
  headers: readonly string[] = [],
): ErrorAnswer {
  const { status, code, message } = error;
  const { requestId, nowMs, clientRequestId } = context;
  const time = new Date(nowMs).toISOString().replace("Z", "0000Z");
  let elements = `<Code>${escapeXml(code)}</Code>`;
  elements += `<Message>${escapeXml(message)}\nRequestId:${requestId}\nTime:${time}</Message>`;
  for (const [name, value] of Object.entries(details)) elements += `<${name}>${escapeXml(value)}</${name}>`;
  // The service begins its error documents with a byte order mark.
  const xml = `\ufeff<?xml version="1.0" encoding="utf-8"?><Error>${elements}</Error>`;
  const all = [
    ...["Content-Type", "application/xml"],
    ...["Server", "Forebay"],
    ...["x-ms-error-code", code],
    ...["x-ms-request-id", requestId],
    ...["x-ms-version", context.apiVersion ?? OWN_VERSION],
    ...(clientRequestId === undefined ? [] : ["x-ms-client-request-id", clientRequestId]),
    ...["Date", formatHttpDate(nowMs)],
    ...headers,
  ];
  const reason = REASONS.get(status) ?? "Error";
  return { head: { status, reason, headers: all }, body: new TextEncoder().encode(xml) };
}

/** The answer to a request that ended with a thrown error: says nothing of what only the log should know. */
export function answerOf(error: unknown, context: ErrorContext): ErrorAnswer {
  const own = ERRORS[asForebayError(error).code];
  const wait = own.retryAfterSeconds;
  return azureError(own, context, {}, wait === undefined ? [] : ["Retry-After", String(wait)]);
}

/**
 * Makes request ids in the service's form: a GUID whose last six digits are zero. They are unique, not secret: a random
 * part is kept for as many as the digits before those zeros can count.
 */
export function createRequestIds(random: Random): () => string {
  const hex = (value: number): string => value.toString(16).padStart(8, "0");
  let prefix = "";
  let count = ID_COUNT;
  return () => {
    if (count === ID_COUNT) {
      const [a, b, c] = [hex(random.uint32()), hex(random.uint32()), hex(random.uint32())];
      prefix = `${a}-${b.slice(0, 3)}e-00${b.slice(3, 5)}-${c.slice(0, 4)}-`;
      count = 0;
    }
    // The leading one makes six digits of any number.
    return `${prefix}${(ID_COUNT + count++).toString(16).slice(1)}000000`;
  };
}

const ID_COUNT = 0x1_000_000;

/** What the lake would say to a read of a version that it does not have yet. */
export const pendingErrors = {
  deleted: { status: 404, code: "BlobNotFound", message: "The specified blob does not exist." },
  notModified: {
    status: 304,
    code: "ConditionNotMet",
    message: "The condition specified using HTTP conditional header(s) is not met.",
  },
  conditionFailed: {
    status: 412,
    code: "ConditionNotMet",
    message: "The condition specified using HTTP conditional header(s) is not met.",
  },
  range: {
    status: 416,
    code: "InvalidRange",
    message: "The range specified is invalid for the current size of the resource.",
  },
  lost: {
    status: 500,
    code: "InternalError",
    message:
      "The newest version of the blob was acknowledged, but its bytes on flash cannot be read any more. The operator " +
      "has to decide about it: see `forebay journal`.",
  },
} as const satisfies Readonly<Record<string, ServiceError>>;

/** The errors that the front itself gives for what it finds in a request. */
export const frontErrors = {
  unknownAccount: {
    status: 400,
    code: "InvalidUri",
    message: "The requested URI does not represent any resource on the server: it names no configured account.",
  },
  cannotSign: {
    status: 403,
    code: "AuthenticationFailed",
    message:
      "The request is signed with SharedKey for another URL than the lake's, and Forebay has no account key to sign it " +
      "again. Configure the lake with a connection string that has the account's key, or use a SAS or a token.",
  },
} as const satisfies Readonly<Record<string, ServiceError>>;
