/**
 * The conditional headers of a write, judged against what stands under the name. Only where nobody else writes
 * (`exclusive`) may they be judged here at all; what is not certain is the lake's to say.
 *
 * Source: "Specifying conditional headers for Blob service operations": a write takes one of the four headers.
 */
import type { RawHeaders } from "../http/types.ts";
import { bareEtag } from "./conditions.ts";
import { parseHttpDateMs } from "./dates.ts";
import { AT, type Layout, valueAt } from "./layout.ts";
import type { ServiceError } from "./types.ts";
import { writeErrors } from "./write-errors.ts";

/** One condition. ETags stand without their quotes, or are `*`. Dates have whole seconds. */
export type WriteCondition =
  | { readonly kind: "match" | "none-match"; readonly etag: string }
  | { readonly kind: "modified-since" | "unmodified-since"; readonly atMs: number };

/** What a condition is judged against. `own`: its ETag was given by Forebay, and the lake has another or none for it. */
export type Standing =
  | { readonly kind: "absent" }
  | { readonly kind: "there"; readonly etag: string; readonly lastModifiedMs: number | null; readonly own: boolean };

/** How ETags that Forebay gives begin; the lake's begin with `0x8D`. */
const OWN_ETAG = "0x0F";

/** The condition of a write, null without one, or `forward` when it is not understood. */
export function parseWriteCondition(layout: Layout, headers: RawHeaders): WriteCondition | null | "forward" {
  const match = valueAt(layout, headers, AT.ifMatch);
  const noneMatch = valueAt(layout, headers, AT.ifNoneMatch);
  const modified = valueAt(layout, headers, AT.ifModifiedSince);
  const unmodified = valueAt(layout, headers, AT.ifUnmodifiedSince);
  const given = [match, noneMatch, modified, unmodified].filter((value) => value !== undefined);
  if (given.length === 0) return null;
  // More than one is an error of the lake's own.
  if (given.length > 1) return "forward";
  const tag = match ?? noneMatch;
  if (tag !== undefined) {
    const etag = tag.trim() === "*" ? "*" : tag.includes(",") ? null : bareEtag(tag.trim());
    return etag === null ? "forward" : { kind: match === undefined ? "none-match" : "match", etag };
  }
  const atMs = parseHttpDateMs(modified ?? unmodified ?? "");
  return atMs === null ? "forward" : { kind: modified === undefined ? "unmodified-since" : "modified-since", atMs };
}

/**
 * Whether a condition of a write holds: null when it does, the lake's error when it does not, `forward` when that is
 * for the lake to say.
 */
export function judgeWriteCondition(
  condition: WriteCondition,
  standing: Standing,
  operation: string,
): ServiceError | "forward" | null {
  if (standing.kind === "absent") return judgeAbsent(condition);
  switch (condition.kind) {
    case "match":
    case "none-match":
      return judgeEtag(condition, standing, operation);
    case "modified-since":
    case "unmodified-since": {
      if (standing.lastModifiedMs === null) return "forward";
      // Headers have whole seconds.
      const newer = Math.floor(standing.lastModifiedMs / 1000) * 1000 > condition.atMs;
      return newer === (condition.kind === "modified-since") ? null : writeErrors.conditionNotMet;
    }
  }
}

function judgeAbsent(condition: WriteCondition): ServiceError | "forward" | null {
  if (condition.kind === "none-match" || condition.kind === "modified-since") return null;
  if (condition.kind === "match" && condition.etag !== "*") return writeErrors.conditionNotMet;
  return "forward";
}

function judgeEtag(
  condition: Extract<WriteCondition, { etag: string }>,
  standing: Extract<Standing, { kind: "there" }>,
  operation: string,
): ServiceError | "forward" | null {
  const { etag } = condition;
  if (etag === "*") {
    if (condition.kind === "match") return null;
    return operation === "DeleteBlob" ? "forward" : writeErrors.blobAlreadyExists;
  }
  const same = bareEtag(standing.etag) === etag;
  // What Forebay called a version that the lake has by now under a name of its own.
  if (!same && !standing.own && etag.startsWith(OWN_ETAG)) return "forward";
  return same === (condition.kind === "match") ? null : writeErrors.conditionNotMet;
}
