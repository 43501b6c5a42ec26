/**
 * The conditional headers of a read, judged against a version at hand. Only "holds" is answered here: a condition that
 * is not met goes to the lake, whose answer (304, 412) is then its own.
 *
 * Source: "Specifying conditional headers for Blob service operations": from 2013-08-15 on a read evaluates
 * `If-Match && If-Unmodified-Since && (If-None-Match || If-Modified-Since)`.
 */
import type { ConditionOutcome } from "../engine/pending.ts";
import { parseHttpDateMs } from "./dates.ts";

/** The conditions of a read, parsed. ETags stand without their quotes. */
export interface Conditions {
  readonly ifMatch: string | null;
  readonly ifNoneMatch: string | null;
  readonly ifModifiedSinceMs: number | null;
  readonly ifUnmodifiedSinceMs: number | null;
}

/** The header values as they came; undefined where absent. */
export interface RawConditions {
  readonly ifMatch?: string | undefined;
  readonly ifNoneMatch?: string | undefined;
  readonly ifModifiedSince?: string | undefined;
  readonly ifUnmodifiedSince?: string | undefined;
}

/** Conditions that always hold. */
export const unconditional: Conditions = {
  ifMatch: null,
  ifNoneMatch: null,
  ifModifiedSinceMs: null,
  ifUnmodifiedSinceMs: null,
};

/** An ETag without its quotes, or null for weak ones, `*` and anything odd. The service takes them without quotes too. */
export function bareEtag(text: string): string | null {
  const quoted = text.length >= 2 && text.startsWith('"') && text.endsWith('"');
  const bare = quoted ? text.slice(1, -1) : text;
  if (bare.length === 0 || bare.includes('"') || bare.includes("/") || bare.includes("*")) return null;
  for (let i = 0; i < bare.length; i++) {
    const code = bare.charCodeAt(i);
    if (code <= 0x20 || code > 0x7e) return null;
  }
  return bare;
}

/** An ETag, null when absent, undefined when it is not understood; what a list means is the lake's to say. */
function parseEtag(value: string | undefined): string | null | undefined {
  if (value === undefined) return null;
  if (value.includes(",")) return undefined;
  return bareEtag(value.trim()) ?? undefined;
}

function parseDate(value: string | undefined): number | null | undefined {
  return value === undefined ? null : (parseHttpDateMs(value) ?? undefined);
}

/** Parses the conditions of a read, or says that the lake should judge them. */
export function parseConditions(raw: RawConditions): Conditions | "forward" {
  const ifMatch = parseEtag(raw.ifMatch);
  const ifNoneMatch = parseEtag(raw.ifNoneMatch);
  const ifModifiedSinceMs = parseDate(raw.ifModifiedSince);
  const ifUnmodifiedSinceMs = parseDate(raw.ifUnmodifiedSince);
  if (ifMatch === undefined || ifNoneMatch === undefined) return "forward";
  if (ifModifiedSinceMs === undefined || ifUnmodifiedSinceMs === undefined) return "forward";
  return { ifMatch, ifNoneMatch, ifModifiedSinceMs, ifUnmodifiedSinceMs };
}

/** Judges as {@link evaluateConditions} does, and says which answer is due where they do not hold. */
export function judgeConditions(conditions: Conditions, etag: string, lastModified: string): ConditionOutcome {
  const found = evaluateConditions(conditions, etag, lastModified);
  if (found !== "not-held") return found === "holds" ? found : "unclear";
  const first = { ...conditions, ifNoneMatch: null, ifModifiedSinceMs: null };
  return evaluateConditions(first, etag, lastModified) === "holds" ? "not-modified" : "failed";
}

/**
 * Whether `conditions` hold for a version.
 *
 * @param etag The version's ETag as the lake wrote it.
 * @param lastModified Its Last-Modified header, or undefined; what cannot be read leaves dates to the lake.
 */
export function evaluateConditions(
  conditions: Conditions,
  etag: string,
  lastModified: string | undefined,
): "holds" | "not-held" | "forward" {
  const { ifMatch, ifNoneMatch, ifModifiedSinceMs, ifUnmodifiedSinceMs } = conditions;
  const dated = ifModifiedSinceMs !== null || ifUnmodifiedSinceMs !== null;
  if (!dated && ifMatch === null && ifNoneMatch === null) return "holds";
  const own = bareEtag(etag);
  const modifiedMs = !dated || lastModified === undefined ? null : parseHttpDateMs(lastModified);
  if (own === null || (dated && modifiedMs === null)) return "forward";
  if (ifMatch !== null && ifMatch !== own) return "not-held";
  if (ifUnmodifiedSinceMs !== null && (modifiedMs ?? 0) > ifUnmodifiedSinceMs) return "not-held";
  if (ifNoneMatch === null && ifModifiedSinceMs === null) return "holds";
  const another = ifNoneMatch !== null && ifNoneMatch !== own;
  const newer = ifModifiedSinceMs !== null && (modifiedMs ?? 0) > ifModifiedSinceMs;
  return another || newer ? "holds" : "not-held";
}
