/**
 * One error type with a closed set of codes. Rooms throw it; the edges (the Blob endpoint, the command line, the
 * admin API) map a code to a status, an XML error or an exit code, once. `cause` keeps what happened below.
 */

/** What went wrong, as a closed set: every edge has a total table over it. */
export type ErrorCode =
  | "config" // a setting is unknown or wrong: the message names it and the remedy
  | "usage" // a command was called wrongly
  | "http-malformed" // bytes that are no acceptable HTTP/1.1 message
  | "http-too-large" // a message beyond a bound (head, chunk line, trailer)
  | "timeout" // a bounded wait ran out
  | "overloaded" // a bound of ours is reached: try again later
  | "lake-unreachable" // no connection to the lake could be made: nothing was sent
  | "lake-lost" // the lake's answer never came or broke off: the outcome is unknown
  | "lake-refused" // the lake answered with an error that is not ours to interpret
  | "lake-changed" // the blob changed between two reads of one version (ETag, length)
  | "lake-corrupt" // what came from the lake is not what it announced (length, range, MD5)
  | "flash-failed" // the flash folder cannot be read or written
  | "flash-full" // no space within the bound
  | "gone" // a file, lease or version that existed does not any more
  | "void" // a generation moved: the work must be begun again
  | "cancelled" // the caller went away
  | "closed" // this end is shutting down
  | "internal"; // none of the above: a bug

/** The one error type of the product. */
export class ForebayError extends Error {
  override name = "ForebayError";
  readonly code: ErrorCode;
  /** Whether the same call may succeed later without anything being changed. */
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? RETRYABLE.has(code);
  }
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "timeout",
  "overloaded",
  "lake-unreachable",
  "lake-lost",
  "lake-changed",
  "lake-corrupt",
  "void",
]);

/** `error` itself when it is a {@link ForebayError}, else one of code `internal` that has it as its cause. */
export function asForebayError(error: unknown): ForebayError {
  if (error instanceof ForebayError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ForebayError("internal", message, { cause: error });
}

/** Whether `error` is a {@link ForebayError} of one of `codes`. */
export function hasCode(error: unknown, ...codes: ErrorCode[]): boolean {
  return error instanceof ForebayError && codes.includes(error.code);
}
