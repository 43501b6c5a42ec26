/**
 * Bodies of responses. `cachedBody` sends what is in the file and waits for what is coming; `directBody` streams from
 * the lake, for when flash cannot help. Both are pinned to one version: when the lake has another one by now, the
 * body fails and the response is cut, never mixed.
 */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { BodySource, ClientResponse, Segment } from "../http/types.ts";
import { isOutOfDescriptors } from "../io/disk.ts";
import { isOutOfBuffers } from "./buffers.ts";
import type { EngineContext } from "./context.ts";
import type { Filler } from "./fill.ts";
import { letGo } from "./let-go.ts";
import { type FillSource, type Opened, openRange } from "./range.ts";
import type { CachedVersion } from "./version.ts";

/** How a body came to its bytes, for the counters. */
interface Range {
  readonly first: number;
  /** Exclusive. */
  readonly end: number;
}

/** The body of a range that is wholly in the file: one piece, no waiting. `fd` is pinned by the caller. */
export function presentBody(context: EngineContext, version: CachedVersion, fd: number, range: Range): BodySource {
  const offset = version.fileOffset + range.first;
  let piece: Segment | null = { kind: "file", fd, offset, length: range.end - range.first };
  return {
    lengthBytes: range.end - range.first,
    next: () => {
      const next = piece;
      piece = null;
      return next;
    },
    close: () => {
      context.files.unpin(version.fileId);
      context.stats.bytesFromFlash += range.end - range.first;
    },
  };
}

/**
 * The body of a range of a complete version of several files: piece by piece, with a few files held open ahead. A file
 * that goes meanwhile is made up for by the lake. Throws as {@link VersionFiles.pin} does for the first ones.
 */
export function spannedBody(
  context: EngineContext,
  version: CachedVersion,
  source: FillSource,
  range: Range,
  lost: () => void,
): BodySource {
  const { files, stats } = context;
  const pieces = version.pieces(range.first, range.end);
  const fds: number[] = [];
  /** Pieces whose files are let go of, and the first one that was not handed out. */
  let freed = 0;
  let next = 0;
  let at = range.first;
  let direct: BodySource | null = null;

  const pin = (): void => {
    for (const { fileId } of pieces.slice(fds.length, next + limits.bodyFilesPinnedMax)) fds.push(files.pin(fileId));
  };
  const unpin = (to: number): void => {
    for (const { fileId } of pieces.slice(freed, Math.min(to, fds.length))) files.unpin(fileId);
    freed = Math.max(freed, to);
  };
  const fromLake = (error: unknown): Segment | null | Promise<Segment | null> => {
    if (hasCode(error, "gone", "flash-failed")) lost();
    else if (!isOutOfDescriptors(error)) throw error;
    direct = directBody(context, version, source, { first: at, end: range.end }, null);
    return direct.next();
  };
  try {
    pin();
  } catch (error) {
    unpin(fds.length);
    throw error;
  }
  return {
    lengthBytes: range.end - range.first,
    next: () => {
      if (direct !== null) return direct.next();
      unpin(next);
      const piece = pieces[next];
      if (piece === undefined) return null;
      try {
        pin();
      } catch (error) {
        // What is open already goes first.
        if (next >= fds.length) return fromLake(error);
      }
      const fd = fds[next++] as number;
      at += piece.length;
      stats.bytesFromFlash += piece.length;
      return { kind: "file", fd, offset: piece.offset, length: piece.length };
    },
    close: () => {
      unpin(fds.length);
      direct?.close();
    },
  };
}

/** The body of a range that is only partly there: follows the fills. The file may not exist before the first. */
export function fillingBody(
  context: EngineContext,
  filler: Filler,
  version: CachedVersion,
  source: FillSource,
  range: Range,
): BodySource {
  let fd = -1;
  let at = range.first;
  /** The first block that nobody was asked for yet on behalf of this body. */
  let askedTo = Math.floor(range.first / version.blockBytes);
  let direct: BodySource | null = null;
  let closed = false;
  /** The block that this body last began to wait for. */
  let hurried = -1;
  const endBlock = Math.ceil(range.end / version.blockBytes);
  const windowBlocks = limits.followAheadBytesMax / version.blockBytes;

  const askAhead = (): void => {
    const here = Math.floor(at / version.blockBytes);
    const to = Math.min(endBlock, here + windowBlocks);
    if (
      version.complete ||
      closed ||
      source.loan?.refusal ||
      askedTo >= to ||
      (askedTo > here && askedTo - here > windowBlocks / 2)
    )
      return;
    const from = Math.max(askedTo, here);
    askedTo = to;
    void filler.ensure(version, source, from, to);
  };
  const piece = (): Segment | null => {
    const length = version.readableBytes(at, range.end);
    if (length === 0) return null;
    if (fd < 0) fd = context.files.pin(version.fileId);
    const offset = at;
    at += length;
    context.stats.bytesWhileFilling += length;
    askAhead();
    return { kind: "file", fd, offset, length };
  };
  const follow = async (): Promise<Segment | null> => {
    for (;;) {
      // Nobody takes it any more: what is under way goes on for others, nothing more is asked for.
      if (closed) throw new ForebayError("cancelled", "the body was let go of");
      const ready = piece();
      if (ready) return ready;
      if (version.failure !== null) throw version.failure;
      const b = Math.floor(at / version.blockBytes);
      if (version.isCared(b)) {
        askAhead();
        const change = version.changed(b);
        if (b !== hurried && version.isQueued(b)) filler.hurry();
        hurried = b;
        await change;
      } else if (source.loan?.refusal) throw source.loan.refusal;
      else await filler.ensure(version, source, b, Math.min(endBlock, b + windowBlocks));
    }
  };
  /** When flash cannot go on, the lake can: the rest of the body comes straight from it. */
  const wait = async (): Promise<Segment | null> => {
    try {
      return await follow();
    } catch (error) {
      const elsewhere = hasCode(error, "flash-failed", "flash-full", "gone", "closed", "timeout", "void");
      if (!elsewhere && !isOutOfDescriptors(error) && !isOutOfBuffers(error)) throw error;
      if (closed) throw error;
      // The file went away: whoever comes next looks the blob up anew.
      if (hasCode(error, "gone")) version.fail(asForebayError(error));
      direct = directBody(context, version, source, { first: at, end: range.end }, null);
      return direct.next();
    }
  };
  version.followers++;
  return {
    lengthBytes: range.end - range.first,
    next: () => {
      if (direct) return direct.next();
      if (at >= range.end) return null;
      return fd < 0 ? wait() : (piece() ?? wait());
    },
    close: () => {
      closed = true;
      if (source.loan) source.loan.over = true;
      if (fd >= 0) context.files.unpin(version.fileId);
      fd = -1;
      direct?.close();
      version.followers--;
      if (version.followers === 0) filler.review();
    },
  };
}

/** The body of a range straight from the lake, going on after a broken connection where it stopped. */
export function directBody(
  context: EngineContext,
  version: { readonly etag: string; readonly sizeBytes: number },
  source: FillSource,
  range: Range,
  opened: Opened | null,
): BodySource {
  let at = range.first;
  let answer = opened?.response ?? null;
  let skip = opened ? range.first - opened.first : 0;
  let answerEnd = opened ? opened.last + 1 : 0;
  let attempts = 0;
  let closed = false;

  const checkOpen = (): void => {
    if (closed) throw new ForebayError("cancelled", "the body was let go of");
  };
  const reopen = async (): Promise<ClientResponse> => {
    const response = await openRange(context, version, source, at, range.end);
    // Whoever wanted it may have left while it was on its way.
    if (closed) letGo(response.body);
    checkOpen();
    return response;
  };
  const readOnce = async (): Promise<Uint8Array | null> => {
    if (answer === null || at >= answerEnd) {
      answer?.body.cancel();
      answer = null;
      answer = await reopen();
      answerEnd = range.end;
      skip = 0;
    }
    const bytes = await answer.body.read();
    if (bytes === null) throw new ForebayError("lake-lost", "the lake's answer ended before its length");
    const dropped = Math.min(skip, bytes.length);
    skip -= dropped;
    return bytes.subarray(dropped, Math.min(bytes.length, dropped + range.end - at));
  };
  const next = async (): Promise<Segment | null> => {
    while (at < range.end) {
      try {
        const bytes = await readOnce();
        if (bytes === null || bytes.length === 0) continue;
        at += bytes.length;
        context.stats.bytesForwarded += bytes.length;
        return { kind: "bytes", bytes };
      } catch (caught) {
        answer?.body.cancel();
        answer = null;
        const error = asForebayError(caught);
        attempts++;
        if (!error.retryable || error.code === "lake-changed" || attempts >= limits.lakeFillAttemptsMax) throw error;
        checkOpen();
        await context.clock.sleep(50 * 2 ** attempts);
        checkOpen();
      }
    }
    return null;
  };
  return {
    lengthBytes: range.end - range.first,
    next: () => (at >= range.end ? null : next()),
    close: () => {
      closed = true;
      answer?.body.cancel();
    },
  };
}
