/**
 * The bytes of a write that passes to the lake, kept on flash on their way: best effort, and never slower than the
 * lake. Pieces are copied into pooled memory and written behind the body; when flash falls too far behind, refuses or
 * fails, the copy is given up and the write goes on as if there had been none.
 */
import { assert } from "../base/assert.ts";
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { filePath, SPAN_PIECE_BYTES, spanSum } from "../flash/files.ts";
import type { CheckedSpan, FlashKeeper } from "../flash/types.ts";
import type { BodySource } from "../http/types.ts";
import type { WriteDesk } from "../writeback/types.ts";
import { type BufferShare, type Buffers, createBuffers } from "./buffers.ts";
import type { EngineContext } from "./context.ts";
import { bump } from "./stats.ts";

/** The copy of one body. */
export interface WarmWrite {
  /** `source` with its bytes copied as they pass. */
  tee(source: BodySource): BodySource;
  /** Whether all of the body was handed on. */
  readonly isWhole: boolean;
  /** Waits for the flash: where the body is, in a file that this server holds. Null: it was given up. Never rejects. */
  finish(): Promise<CheckedSpan | null>;
  /** It is not wanted any more. */
  giveUp(): void;
}

/** What the copies of one server stand on. */
export interface WarmContext extends Pick<EngineContext, "holder" | "clock" | "disk" | "stats"> {
  readonly desk: Pick<WriteDesk, "reserve" | "giveBack">;
  readonly keeper: Pick<FlashKeeper, "reportFailure">;
}

interface Piece {
  readonly buffer: Buffer;
  length: number;
}

const pools = new WeakMap<WarmContext, Buffers>();

function poolOf(context: WarmContext): Buffers {
  const known = pools.get(context);
  if (known !== undefined) return known;
  const made = createBuffers(limits.warmBuffersMax, SPAN_PIECE_BYTES, context.clock);
  pools.set(context, made);
  return made;
}

/** Begins the copy of a body of `lengthBytes` (more than none). */
export function createWarmWrite(context: WarmContext, lengthBytes: number): WarmWrite {
  assert(lengthBytes > 0, "there is something to be kept");
  const share = poolOf(context).share();
  const copy = createCopy(share, lengthBytes);
  const done = writeOut(context, copy, lengthBytes);
  return {
    tee: (source) => ({
      lengthBytes: source.lengthBytes,
      next: async () => {
        const piece = await source.next();
        if (piece?.kind === "bytes") copy.take(piece.bytes);
        else if (piece !== null) copy.giveUp();
        return piece;
      },
      close: () => {
        if (!copy.isWhole) copy.giveUp();
        source.close();
      },
    }),
    get isWhole() {
      return copy.isWhole;
    },
    finish: () => {
      if (!copy.isWhole) copy.giveUp();
      return done;
    },
    giveUp: () => {
      copy.giveUp();
      // It may be whole on flash already.
      void done.then((span) => span !== null && giveBack(context, span.fileId));
    },
  };
}

function giveBack({ desk, holder }: WarmContext, fileId: number): void {
  desk.giveBack(holder, [fileId]).catch(() => {});
}

type Copy = ReturnType<typeof createCopy>;

/** Bytes between the body and the file: whole pieces, in order. */
function createCopy(share: BufferShare, lengthBytes: number) {
  const sum = spanSum();
  const full: Piece[] = [];
  let open: Piece | null = null;
  let passedBytes = 0;
  let waitingBytes = 0;
  let givenUp = false;
  let wake: () => void = () => {};

  const giveUp = (): void => {
    if (givenUp) return;
    givenUp = true;
    if (open !== null) share.give(open.buffer);
    open = null;
    wake();
  };
  const seal = (piece: Piece): void => {
    sum.add(piece.buffer.subarray(0, piece.length));
    full.push(piece);
    open = null;
    wake();
  };
  /** A piece with room; null when flash is too slow, or memory short. */
  const room = (): Piece | null => {
    if (open !== null) return open;
    const buffer = waitingBytes > limits.warmBehindBytesMax ? null : share.takeNow();
    if (buffer !== null) open = { buffer, length: 0 };
    return open;
  };
  return {
    take: (bytes: Uint8Array): void => {
      passedBytes += bytes.length;
      for (let at = 0; at < bytes.length && !givenUp; ) {
        const piece = room();
        if (piece === null) {
          giveUp();
          return;
        }
        const count = Math.min(bytes.length - at, piece.buffer.length - piece.length);
        piece.buffer.set(bytes.subarray(at, at + count), piece.length);
        piece.length += count;
        waitingBytes += count;
        at += count;
        if (piece.length === piece.buffer.length || passedBytes - (bytes.length - at) >= lengthBytes) seal(piece);
      }
    },
    get isWhole() {
      return passedBytes === lengthBytes;
    },
    get isGivenUp() {
      return givenUp;
    },
    giveUp,
    /** The next whole piece, which is the caller's to write and then to {@link written}. Null: the copy was given up. */
    next: async (): Promise<Piece | null> => {
      while (full.length === 0 && !givenUp) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return givenUp ? null : (full.shift() ?? null);
    },
    written: (piece: Piece): void => {
      waitingBytes -= piece.length;
      share.give(piece.buffer);
    },
    /** What nobody will write. */
    close: (): void => {
      giveUp();
      for (const { buffer } of full.splice(0)) share.give(buffer);
    },
    checksum: () => sum.end(),
  };
}

/** Brings a copy into a file of its own. Never rejects. */
async function writeOut(context: WarmContext, copy: Copy, lengthBytes: number): Promise<CheckedSpan | null> {
  const { desk, holder, stats } = context;
  let fileId: number | null = null;
  try {
    const reserved = await desk.reserve(holder, lengthBytes);
    if (reserved.kind === "file") fileId = reserved.fileId;
    if (fileId !== null && (await writePieces(context, copy, fileId, lengthBytes))) {
      return { fileId, offset: 0, length: lengthBytes, checksum: copy.checksum() };
    }
  } catch (caught) {
    const error = asForebayError(caught);
    bump(stats.errors, `warm.${error.code}`);
    if (hasCode(error, "flash-failed")) void context.keeper.reportFailure(error.message).catch(() => {});
  } finally {
    copy.close();
  }
  if (fileId !== null) giveBack(context, fileId);
  return null;
}

/** Whether all of it was written. */
async function writePieces({ disk }: WarmContext, copy: Copy, fileId: number, lengthBytes: number): Promise<boolean> {
  if (copy.isGivenUp) return false;
  const fd = disk.open(filePath(fileId), "write");
  try {
    let at = 0;
    while (at < lengthBytes) {
      const piece = await copy.next();
      if (piece === null) return false;
      try {
        await disk.write(fd, piece.buffer.subarray(0, piece.length), at);
      } finally {
        copy.written(piece);
      }
      at += piece.length;
    }
    if (at !== lengthBytes) throw new ForebayError("internal", "a copy is as long as its body");
    return true;
  } finally {
    disk.close(fd);
  }
}
