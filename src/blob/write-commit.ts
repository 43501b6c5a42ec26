/**
 * The moment of a write: what stands under its name is judged, and the desk told of the write together with what it was
 * judged on. Where something else came in between, it is judged anew.
 */
import { limits } from "../base/limits.ts";
import type { Policy } from "../engine/policy.ts";
import type { Before, Found } from "../engine/write-base.ts";
import type { Base, BlobName, Entry, NewContent } from "../journal/types.ts";
import type { NewPut, Written } from "../writeback/types.ts";
import { parseHttpDateMs } from "./dates.ts";
import type { Placed } from "./respond.ts";
import type { ServiceError } from "./types.ts";
import { judgeWriteCondition, type Standing } from "./write-conditions.ts";
import { writeErrors } from "./write-errors.ts";
import type { WriteMeans } from "./write-means.ts";
import type { WriteAsked } from "./write-screen.ts";

/** A write that is being taken in. */
export interface Write {
  readonly placed: Placed;
  readonly means: WriteMeans;
  readonly asked: WriteAsked;
  readonly policy: Policy;
  /** The policy's path. */
  readonly path: string;
  readonly name: BlobName;
  /** Whether the caller may replace a blob, or only create one. */
  readonly mayReplace: boolean;
}

/** What is written. */
export type Change =
  | { readonly kind: "put"; readonly put: NewPut; readonly content: NewContent }
  | { readonly kind: "delete" };

/** Why a write is not taken in. */
export type NotTaken =
  | { readonly kind: "error"; readonly error: ServiceError }
  | { readonly kind: "forward"; readonly why: string };

export type Committed = { readonly kind: "written"; readonly entry: Entry } | NotTaken;

/**
 * Begins to look at what stands under the name: before the body is read, so that the lake answers meanwhile. Null where
 * nothing depends on it: nobody else writes there, and the write demands nothing.
 */
export function lookBefore(write: Write): Promise<Before> | null {
  const { policy, asked, mayReplace } = write;
  const free = policy.exclusive && asked.condition === null && mayReplace && asked.operation !== "DeleteBlob";
  return free ? null : look(write);
}

function look(write: Write): Promise<Before> {
  return write.means.base.look(write.placed.lake, write.name);
}

/**
 * What is known to be in the way of a write before its body is taken in; null: nothing. Only a write that demands
 * something waits for that.
 */
export async function demandsMet(write: Write, before: Promise<Before> | null): Promise<NotTaken | null> {
  if (before === null || (write.asked.condition === null && write.mayReplace)) return null;
  return judgeFound(write, (await before).found);
}

/** Has the write acknowledged by the desk. Rejects when whether it was is not known. */
export async function commit(write: Write, change: Change, looked: Promise<Before> | null): Promise<Committed> {
  const { asked } = write;
  const demanding = asked.condition !== null || !write.mayReplace || asked.operation === "DeleteBlob";
  let before = looked === null ? null : await looked;
  for (let attempt = 1; attempt <= limits.writeAttemptsMax; attempt++) {
    const trouble = before === null ? null : judgeFound(write, before.found);
    if (trouble !== null) return trouble;
    // A blob that never comes to rest is written all the same, if nothing is demanded of it: the drain then compares.
    if (attempt === limits.writeAttemptsMax && !demanding) before = null;
    const written = await tellDesk(write, change, before);
    if (written.kind === "written") return written;
    if (written.kind === "refused") return { kind: "forward", why: `write-${written.why}` };
    before = await look(write);
  }
  // Nobody else gets between when the lake is asked to judge it.
  return { kind: "forward", why: "write-moved" };
}

/** `before` is null where nothing depends on what there is. */
function tellDesk(write: Write, change: Change, before: Before | null): Promise<Written> {
  const { desk, holder } = write.placed.front.engine;
  const { path, name } = write;
  const found = before?.found ?? null;
  // Where something is pending, what the lake holds counts for nothing.
  const base: Base = found?.kind === "lake" ? found.base : { kind: "unknown" };
  const judgedOn = found === null ? "any" : found.kind === "pending" ? found.entry.seq : null;
  const common = { path, name, base, basedAt: before?.basedAt ?? null, judgedOn } as const;
  return desk.write(holder, change.kind === "put" ? { ...common, ...change } : { ...common, kind: "delete" });
}

function judgeFound(write: Write, found: Found): NotTaken | null {
  if (found.kind === "forward") return found;
  const { asked } = write;
  const isDelete = asked.operation === "DeleteBlob";
  if (!isDelete && asked.condition === null && write.mayReplace) return null;
  const standing = standingOf(found);
  if (standing === null) return { kind: "forward", why: "base-unknown" };
  if (isDelete && standing.kind === "absent") return { kind: "error", error: writeErrors.blobNotFound };
  if (!write.mayReplace && standing.kind === "there") return { kind: "forward", why: "refused-here" };
  if (asked.condition === null) return null;
  const judged = judgeWriteCondition(asked.condition, standing, asked.operation);
  if (judged === null) return null;
  return judged === "forward" ? { kind: "forward", why: "a condition" } : { kind: "error", error: judged };
}

/** What conditions are judged against; null when that is not known. */
function standingOf(found: Exclude<Found, { kind: "forward" }>): Standing | null {
  if (found.kind === "pending") {
    const { entry } = found;
    if (entry.kind === "delete") return { kind: "absent" };
    return { kind: "there", etag: entry.put.etag, lastModifiedMs: entry.put.lastModifiedMs, own: true };
  }
  const { base, lastModified } = found;
  if (base.kind === "none") return { kind: "absent" };
  if (base.kind !== "etag") return null;
  const lastModifiedMs = lastModified === undefined ? null : parseHttpDateMs(lastModified);
  return { kind: "there", etag: base.etag, lastModifiedMs, own: false };
}
