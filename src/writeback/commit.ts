/**
 * The one request that makes a pending version the lake's, and the look at the blob that goes before it where it is not
 * known what the lake holds, or whether it has ours already. Every such request carries a condition: a change by
 * somebody else is found, never written over.
 */
import { headerOf, type RawHeaders } from "../http/types.ts";
import type { Base, BlobName, Entry } from "../journal/types.ts";
import { type Ask, type Asked, etagOf } from "./ask.ts";
import { blockListXml } from "./block-ids.ts";
import { type Failure, later } from "./failures.ts";
import { commitHeaders } from "./properties.ts";
import type { Rate } from "./rate.ts";
import { isSame, type Sent } from "./same.ts";
import { createBytesSource } from "./span-source.ts";

/** An entry and where it goes now: under its own name, or aside. */
export interface Job {
  readonly entry: Entry;
  readonly target: BlobName;
  readonly base: Exclude<Base, { kind: "entry" }>;
  readonly isAside: boolean;
  /** What goes there; null for a deletion. */
  readonly content: Sent["content"] | null;
  /** Told of bytes that leave. */
  readonly moved: (bytes: number) => void;
}

/** What an attempt came to. `settle`: the lake has it. */
export type Outcome =
  | { readonly kind: "settle"; readonly etag: string | null }
  | { readonly kind: "conflict"; readonly why: string }
  | Failure;

/** `proceed`: the lake does not have it; the request goes with these conditions. */
export type Seen = Outcome | { readonly kind: "proceed"; readonly condition: RawHeaders };

export interface CommitParts {
  readonly ask: Ask;
  readonly rate: Rate;
  readonly exclusive: (path: string) => boolean;
  /** The ETag of what was carried there last from here; null where nobody knows. */
  readonly ours: (name: BlobName) => string | null;
  readonly tier: (path: string) => string | null;
  readonly blockListBytesMax: number;
  readonly clockMarginMs: number;
}

const NOTHING_THERE: RawHeaders = ["If-None-Match", "*"];
const thisOne = (etag: string): RawHeaders => ["If-Match", etag];

/** The condition that the base gives, or null where the lake must be asked first. */
export function conditionOf(base: Job["base"]): RawHeaders | null {
  if (base.kind === "none") return NOTHING_THERE;
  return base.kind === "etag" ? thisOne(base.etag) : null;
}

/** Asks the lake what it holds. `mayBeOurs`: the request may have been sent before. */
export async function look(parts: CommitParts, job: Job, mayBeOurs: boolean): Promise<Seen> {
  const { entry, base, target, content } = job;
  const asked = await parts.ask.ask(target, { method: "HEAD" });
  if (asked.kind === "failed") {
    if (asked.failure.kind !== "missing") return asked.failure;
    if (entry.kind === "delete") return { kind: "settle", etag: null };
    if (base.kind === "etag") return { kind: "conflict", why: "somebody else deleted the blob" };
    return { kind: "proceed", condition: NOTHING_THERE };
  }
  const { answer } = asked;
  const etag = etagOf(answer);
  if (etag === undefined) return later("the lake's answer has no ETag");
  if (base.kind === "etag" && base.etag === etag) return { kind: "proceed", condition: thisOne(etag) };
  if (mayBeOurs && entry.kind === "put" && content !== null) {
    const same = await isSame(parts, { entry, target, content }, answer.headers);
    if (same.kind === "same") return { kind: "settle", etag };
    if (same.kind !== "other") return same;
  }
  // What was carried there a moment ago is no change by somebody else, however young it is.
  const isKnown = parts.ours(target) === etag || isFromBefore(parts, entry, answer.headers);
  if (base.kind === "unknown" && isKnown) {
    return { kind: "proceed", condition: thisOne(etag) };
  }
  return { kind: "conflict", why: "somebody else changed the blob" };
}

/** Whether what the lake holds was there when the entry was acknowledged. Dates have whole seconds. */
function isFromBefore(parts: CommitParts, entry: Entry, headers: RawHeaders): boolean {
  if (parts.exclusive(entry.path)) return true;
  const modifiedMs = Date.parse(headerOf(headers, "last-modified") ?? "");
  return modifiedMs + 1_000 <= entry.acknowledgedAtMs - parts.clockMarginMs;
}

/** Sends the request. What it may have done when its answer is lost is for the next attempt to find out. */
export async function commit(parts: CommitParts, job: Job, condition: RawHeaders): Promise<Outcome> {
  const asked = await send(parts, job, condition);
  const { entry } = job;
  if (asked.kind === "answer") {
    if (entry.kind === "delete") return { kind: "settle", etag: null };
    const etag = etagOf(asked.answer);
    return etag === undefined ? later("the lake's answer has no ETag", { unknown: true }) : { kind: "settle", etag };
  }
  const { failure } = asked;
  if (failure.kind === "missing" && entry.kind === "delete") return { kind: "settle", etag: null };
  if (failure.kind !== "condition" && failure.kind !== "missing") return failure;
  const seen = await look(parts, job, true);
  if (seen.kind === "proceed") return later("the blob is being changed in the lake");
  return seen;
}

async function send(parts: CommitParts, job: Job, condition: RawHeaders): Promise<Asked> {
  const { entry, target, content } = job;
  if (entry.kind === "delete" || content === null) {
    return parts.ask.ask(target, { method: "DELETE", headers: condition });
  }
  const headers = [...commitHeaders(entry.put, parts.tier(entry.path)), ...condition];
  if (content.kind === "bytes") {
    const { bytes } = content;
    const md5 = new Bun.CryptoHasher("md5").update(bytes).digest("base64");
    const body = createBytesSource(bytes, parts.rate, job.moved);
    const asked = await parts.ask.ask(target, {
      method: "PUT",
      headers: ["x-ms-blob-type", "BlockBlob", "Content-MD5", md5, ...headers],
      body,
    });
    await body.finished;
    return asked;
  }
  const list = createBytesSource(blockListXml(content.blocks.map(({ id }) => id)), parts.rate, () => {});
  return parts.ask.ask(target, {
    method: "PUT",
    query: [["comp", "blocklist"]],
    headers: ["Content-Type", "application/xml", ...headers],
    body: list,
  });
}
