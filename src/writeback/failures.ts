/**
 * What an answer of the lake that is not the one hoped for means to an entry: try again, try again for a while, look at
 * the blob, or give it to the operator. Sources: "Blob service error codes", "Common REST API error codes", "Status and
 * error codes" (Azure Storage REST reference).
 */
import { ForebayError } from "../base/errors.ts";
import { headerOf, type RawHeaders } from "../http/types.ts";

export type Failure =
  /**
   * Temporary. `waitMs`: what the lake asked for. `busy`: it wants less to do. `unknown`: what was asked may have
   * happened all the same.
   */
  | {
      readonly kind: "later";
      readonly why: string;
      readonly waitMs: number | null;
      readonly busy: boolean;
      readonly unknown: boolean;
    }
  /** The lake does not accept Forebay's own credential. */
  | { readonly kind: "credential"; readonly why: string }
  /** For good, as far as the lake says. */
  | { readonly kind: "refused"; readonly why: string; readonly code: string }
  /** The blob is not what the request demanded that it be. */
  | { readonly kind: "condition"; readonly why: string }
  /** There is no such blob. */
  | { readonly kind: "missing"; readonly why: string }
  /** A block of the list is not there (any more). */
  | { readonly kind: "blocks"; readonly why: string }
  /** Blocks with ids of another length are there. */
  | { readonly kind: "ids"; readonly why: string }
  /** The bytes on flash are not those that were acknowledged. */
  | { readonly kind: "damaged"; readonly why: string }
  /** Nobody wants it any more: the entry ended, or the drain stops. */
  | { readonly kind: "gone" };

type Later = Extract<Failure, { kind: "later" }>;

/** A failure on this side, or one that is over soon. */
export function later(why: string, more: Partial<Omit<Later, "kind" | "why">> = {}): Later {
  return { kind: "later", why, waitMs: null, busy: false, unknown: false, ...more };
}

/** What makes an answer for {@link failureOf}. */
export interface FailedAnswer {
  readonly status: number;
  /** The service's own word for it, if it gave one. */
  readonly code: string | undefined;
  readonly headers: RawHeaders;
}

/** Of an answer that is no success. */
export function failureOf(answer: FailedAnswer, nowMs: number): Failure {
  const { status, code } = answer;
  const said = code === undefined ? `${status}` : `${status} ${code}`;
  const why = `the lake answered ${said}`;
  if (status === 429 || status === 503) return later(why, { busy: true, waitMs: askedWaitMs(answer.headers, nowMs) });
  if (status >= 500) return later(why, { busy: true, unknown: true, waitMs: askedWaitMs(answer.headers, nowMs) });
  if (status === 408) return later(why, { unknown: true });
  if (code !== undefined && TEMPORARY.has(code)) return later(why);
  if (code === "InvalidBlockList") return { kind: "blocks", why };
  if (code === "InvalidBlobOrBlock" || code === "InvalidBlockId") return { kind: "ids", why };
  if (code === "ConditionNotMet" || code === "BlobAlreadyExists") return { kind: "condition", why };
  if (code === "BlobNotFound") return { kind: "missing", why };
  // An answer to HEAD has no body: without the header it is not said what is not there.
  if (status === 404 && code === undefined) return { kind: "missing", why };
  if (status === 412 && code === undefined) return { kind: "condition", why };
  if (code !== undefined && MEANINGS.has(code)) {
    return { kind: "refused", code, why: `the lake refuses it for good (${said}): ${MEANINGS.get(code)}` };
  }
  if (status === 401 || status === 403) return { kind: "credential", why: `${why}: it does not accept our credential` };
  return { kind: "refused", code: code ?? "", why: `the lake refuses it for good (${said})` };
}

/** These are over by themselves. */
const TEMPORARY: ReadonlySet<string> = new Set(["ContainerBeingDeleted", "PendingCopyOperation", "OperationTimedOut"]);

/** What an operator is told of refusals that no waiting changes. */
const MEANINGS: ReadonlyMap<string, string> = new Map([
  ["BlobImmutableDueToPolicy", "the blob is under an immutability policy or a legal hold"],
  ["ContainerImmutableDueToPolicy", "the container is under an immutability policy or a legal hold"],
  ["ContainerNotFound", "the container does not exist; create it, then retry"],
  ["ContainerDisabled", "the container is switched off by its owner"],
  ["ResourceNotFound", "the account or container does not exist"],
  ["InvalidResourceName", "the lake does not accept the name of the blob"],
  ["InvalidUri", "the lake does not accept the name of the blob"],
  ["LeaseIdMissing", "somebody holds a lease on the blob; release or break it, then retry"],
  ["LeaseLost", "somebody held a lease on the blob"],
  ["LeaseIdMismatchWithBlobOperation", "somebody holds a lease on the blob; release or break it, then retry"],
  ["InvalidBlobType", "the name belongs to an append blob or a page blob"],
  ["BlobArchived", "the blob is archived; rehydrate or delete it, then retry"],
  ["BlobBeingRehydrated", "the blob is being rehydrated; retry when that is done"],
  ["SnapshotsPresent", "the blob has snapshots; delete them, then retry"],
  ["BlockCountExceedsLimit", "too many uncommitted blocks are on the blob in the lake; they expire after a week"],
  ["RequestBodyTooLarge", "it is larger than the lake accepts"],
  ["Md5Mismatch", "the MD5 that came with it is not that of its bytes"],
  ["InvalidMetadata", "the lake does not accept its metadata"],
  ["MetadataTooLarge", "its metadata is larger than the lake accepts"],
  ["InvalidHeaderValue", "the lake does not accept one of its headers"],
  ["InvalidTag", "the lake does not accept its tags"],
  ["FeatureVersionMismatch", "the account does not know one of its properties"],
]);

/** Of a call that did not resolve. */
export function failureOfError(error: unknown): Failure {
  if (!(error instanceof ForebayError)) throw error;
  const { code, message } = error;
  switch (code) {
    case "cancelled":
      return { kind: "gone" };
    case "internal":
    case "config":
      return { kind: "credential", why: message };
    case "lake-unreachable":
    case "overloaded":
    case "closed":
      return later(message);
    case "timeout":
      return later(message, { busy: true, unknown: true });
    default:
      return later(message, { unknown: true });
  }
}

/** What an answer asks to wait, at most: a lake that asks for more is asked again in between. */
const ASKED_MS_MAX = 5 * 60_000;

/** `retry-after-ms`, `x-ms-retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3). */
export function askedWaitMs(headers: RawHeaders, nowMs: number): number | null {
  const exact = headerOf(headers, "retry-after-ms") ?? headerOf(headers, "x-ms-retry-after-ms");
  if (exact !== undefined && /^\d{1,9}$/.test(exact.trim())) return Math.min(ASKED_MS_MAX, Number(exact));
  const after = headerOf(headers, "retry-after")?.trim();
  if (after === undefined) return null;
  const ms = /^\d{1,9}$/.test(after) ? Number(after) * 1000 : Date.parse(after) - nowMs;
  return Number.isNaN(ms) ? null : Math.min(ASKED_MS_MAX, Math.max(0, ms));
}
