/**
 * Whether what the lake holds under a name is the put that was sent there, when its answer was lost. A wrong yes loses
 * an acknowledged write, a wrong no only makes a second copy: so bytes are compared unless something tells that they
 * cannot be others.
 */
import { SPAN_PIECE_BYTES, spanSum } from "../flash/files.ts";
import type { CheckedSpan } from "../flash/types.ts";
import { type BodyReader, headerOf, type RawHeaders } from "../http/types.ts";
import type { BlobName, PutEntry } from "../journal/types.ts";
import type { Ask } from "./ask.ts";
import { type LakeBlock, parseBlockList } from "./block-ids.ts";
import { type Failure, failureOfError } from "./failures.ts";
import { hasProperties } from "./properties.ts";

export type Same = { readonly kind: "same" } | { readonly kind: "other" } | Failure;

/** What was sent. `bytes`: of a put that went in one piece. */
export interface Sent {
  readonly entry: PutEntry;
  readonly target: BlobName;
  readonly content:
    | { readonly kind: "bytes"; readonly bytes: Uint8Array }
    | {
        readonly kind: "blocks";
        readonly spans: readonly CheckedSpan[];
        readonly blocks: readonly LakeBlock[];
        readonly areIdsOwn: boolean;
      };
}

const SAME = { kind: "same" } as const;
const OTHER = { kind: "other" } as const;

/** `head`: the headers of an answer to HEAD. */
export async function isSame(
  parts: { readonly ask: Ask; readonly blockListBytesMax: number; readonly clockMarginMs: number },
  sent: Sent,
  head: RawHeaders,
): Promise<Same> {
  const { entry, target, content } = sent;
  const { put } = entry;
  if (headerOf(head, "x-ms-blob-type") !== "BlockBlob") return OTHER;
  if (Number(headerOf(head, "content-length") ?? "-1") !== put.sizeBytes) return OTHER;
  if (!hasProperties(put, head)) return OTHER;
  const theirs = headerOf(head, "content-md5");
  if (content.kind === "bytes") {
    const ours = put.contentMd5 ?? new Bun.CryptoHasher("md5").update(content.bytes).digest("base64");
    if (theirs !== undefined) return theirs === ours ? SAME : OTHER;
  } else {
    // The lake makes none of its own for a list of blocks.
    if ((theirs ?? null) !== put.contentMd5) return OTHER;
    const told = await toldByBlocks(parts, sent, content, head, theirs !== undefined);
    if (told !== null) return told;
  }
  return readBack(parts.ask, target, content, headerOf(head, "etag") ?? "");
}

/** What the list of committed blocks tells; null: not enough. */
async function toldByBlocks(
  { ask, blockListBytesMax, clockMarginMs }: Parameters<typeof isSame>[0],
  { entry, target }: Sent,
  content: Extract<Sent["content"], { kind: "blocks" }>,
  head: RawHeaders,
  isMd5Same: boolean,
): Promise<Same | null> {
  const query = [["comp", "blocklist"] as const, ["blocklisttype", "committed"] as const];
  const asked = await ask.ask(target, { method: "GET", query }, blockListBytesMax);
  if (asked.kind === "failed") return asked.failure.kind === "missing" ? OTHER : asked.failure;
  const there = parseBlockList(asked.answer.text, "Committed");
  const { blocks } = content;
  const isListSame =
    there.length === blocks.length &&
    there.every((block, i) => block.id === blocks[i]?.id && block.lengthBytes === blocks[i]?.lengthBytes);
  // Our own ids are made of the checksums of their bytes. An MD5 was given by the client for these bytes.
  if (isListSame && (content.areIdsOwn || isMd5Same)) return SAME;
  if (headerOf(head, "x-ms-access-tier") !== "Archive") return null;
  // It cannot be read. The client's ids in the client's order, since the write was acknowledged, are all there is to go by.
  const modifiedMs = Date.parse(headerOf(head, "last-modified") ?? "");
  return isListSame && modifiedMs >= entry.acknowledgedAtMs - clockMarginMs ? SAME : OTHER;
}

/** Reads the blob and compares. */
async function readBack(ask: Ask, target: BlobName, content: Sent["content"], etag: string): Promise<Same> {
  if (content.kind === "bytes") {
    const { bytes } = content;
    if (bytes.length === 0) return SAME;
    let at = 0;
    return readRange(
      ask,
      target,
      etag,
      { first: 0, length: bytes.length },
      {
        add: (piece) => {
          const isEqual = Buffer.compare(piece, bytes.subarray(at, at + piece.length)) === 0;
          at += piece.length;
          return isEqual;
        },
        end: () => at === bytes.length,
      },
    );
  }
  let first = 0;
  for (const span of content.spans) {
    if (span.length === 0) continue;
    const sum = spanSum();
    const same = await readRange(
      ask,
      target,
      etag,
      { first, length: span.length },
      {
        add: (piece) => {
          sum.add(piece);
          return true;
        },
        end: () => sum.end() === span.checksum,
      },
    );
    if (same.kind !== "same") return same;
    first += span.length;
  }
  return SAME;
}

interface Judge {
  add(piece: Uint8Array): boolean;
  end(): boolean;
}

async function readRange(
  ask: Ask,
  target: BlobName,
  etag: string,
  range: { readonly first: number; readonly length: number },
  judge: Judge,
): Promise<Same> {
  const last = range.first + range.length - 1;
  const headers = ["Range", `bytes=${range.first}-${last}`, "If-Match", etag];
  const opened = await ask.open(target, { method: "GET", headers });
  if (opened.kind === "failed") {
    // Changed meanwhile: whatever it is now is looked at anew.
    const { failure } = opened;
    if (failure.kind !== "condition" && failure.kind !== "missing") return failure;
    return { kind: "later", why: "the blob changed while it was read", waitMs: null, busy: false, unknown: false };
  }
  const { body } = opened.response;
  try {
    let total = 0;
    for await (const piece of piecesOf(body)) {
      total += piece.length;
      if (total > range.length || !judge.add(piece)) return OTHER;
    }
    return total === range.length && judge.end() ? SAME : OTHER;
  } catch (error) {
    return failureOfError(error);
  } finally {
    body.cancel();
  }
}

/** The body in the pieces that checksums are made of. */
async function* piecesOf(body: BodyReader): AsyncGenerator<Uint8Array> {
  const piece = Buffer.allocUnsafe(SPAN_PIECE_BYTES);
  let held = 0;
  for (;;) {
    const chunk = await body.read();
    if (chunk === null) break;
    for (let at = 0; at < chunk.length; ) {
      const count = Math.min(chunk.length - at, SPAN_PIECE_BYTES - held);
      piece.set(chunk.subarray(at, at + count), held);
      at += count;
      held += count;
      if (held < SPAN_PIECE_BYTES) continue;
      yield piece;
      held = 0;
    }
  }
  if (held > 0) yield piece.subarray(0, held);
}
