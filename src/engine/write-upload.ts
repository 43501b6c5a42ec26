/**
 * Takes the body of a write in to a file of its own: received into a pooled piece of memory while the one before is
 * being written, summed as it passes, and durable, with the file's name, before anybody is told. What was taken in can
 * be given on as a body again, for when the lake must answer the write after all.
 */
import { ForebayError, hasCode } from "../base/errors.ts";
import { filePath, SPAN_PIECE_BYTES, spanSum } from "../flash/files.ts";
import type { CheckedSpan } from "../flash/types.ts";
import { type IntoReader, readerInto } from "../http/read-into.ts";
import type { BodyReader } from "../http/types.ts";
import type { WriteRefusal } from "../writeback/types.ts";
import type { BufferShare } from "./buffers.ts";
import type { EngineContext } from "./context.ts";
import { createPieces } from "./write-pieces.ts";

/** Something that is taken of the bytes as they pass (MD5, CRC64). */
export interface Digest {
  add(bytes: Uint8Array): void;
}

/** What of the engine it takes. */
export interface UploadContext extends Pick<EngineContext, "holder" | "clock" | "disk"> {
  readonly desk: Pick<EngineContext["desk"], "reserve" | "giveBack">;
  readonly keeper: Pick<EngineContext["keeper"], "reportFailure">;
}

export interface UploadParts {
  readonly context: UploadContext;
  /** Of known length. */
  readonly body: BodyReader;
  readonly lengthBytes: number;
  /** Pieces of {@link SPAN_PIECE_BYTES}. */
  readonly buffers: BufferShare;
  readonly digests: readonly Digest[];
  /** Asked between pieces: the lake must answer this write, so no more of it is taken in. */
  readonly stopped: () => boolean;
}

/** A body in a file. */
export interface Upload {
  readonly fileId: number;
  /** Null: it was stopped, and only part of it is there. */
  readonly span: CheckedSpan | null;
  /** The whole body once more: what is in the file, then the rest from the client. At most once. */
  again(): BodyReader;
  /** It came to nothing: the file is removed. */
  giveBack(): void;
}

export type Uploaded =
  | { readonly kind: "uploaded"; readonly upload: Upload }
  /** There is no file to be had; nothing of the body was used. */
  | { readonly kind: "refused"; readonly why: WriteRefusal | "desk" };

/** Bytes that {@link Upload.again} reads from the file at a time. */
const AGAIN_BYTES = 256 * 1024;

/**
 * Takes a body in. Rejects as the body does, with `overloaded` when no memory comes free, and with `flash-full` or
 * `flash-failed`; the file is then given back.
 */
export async function uploadBody(parts: UploadParts): Promise<Uploaded> {
  const { context, lengthBytes } = parts;
  const { desk, holder } = context;
  const reserved = await desk.reserve(holder, lengthBytes).catch(() => null);
  if (reserved === null) return { kind: "refused", why: "desk" };
  if (reserved.kind === "refused") return reserved;
  const { fileId } = reserved;
  const giveBack = (): void => void desk.giveBack(holder, [fileId]).catch(() => {});
  const fd = openFile(context, fileId);
  if (fd === null) {
    giveBack();
    return { kind: "refused", why: "desk" };
  }
  const reader = readerInto(parts.body);
  try {
    const taken = await takeIn(parts, reader, fileId, fd);
    const again = (): BodyReader => bodyAgain(parts, reader, fileId, taken.lengthBytes);
    const span = taken.checksum === null ? null : { fileId, offset: 0, length: lengthBytes, checksum: taken.checksum };
    return { kind: "uploaded", upload: { fileId, span, again, giveBack } };
  } catch (error) {
    giveBack();
    report(context, error);
    throw error;
  }
}

/** A descriptor to write with; null where there is none to be had, or the file is not the desk's any more. */
function openFile(context: UploadContext, fileId: number): number | null {
  try {
    return context.disk.open(filePath(fileId), "write");
  } catch (error) {
    report(context, error);
    return null;
  }
}

function report({ keeper }: UploadContext, error: unknown): void {
  if (!hasCode(error, "flash-failed")) return;
  void keeper.reportFailure("a write could not be made durable").catch(() => {});
}

interface TakenIn {
  /** In the file. */
  readonly lengthBytes: number;
  /** Null: stopped. */
  readonly checksum: string | null;
}

/** Takes the body in, and closes the file. */
async function takeIn(parts: UploadParts, reader: IntoReader, fileId: number, fd: number): Promise<TakenIn> {
  const { disk } = parts.context;
  const path = filePath(fileId);
  try {
    const taken = await receiveAll(parts, reader, fd);
    if (taken.checksum === null) return taken;
    // Neither is retried: what a failed flush dropped is not there to be flushed again.
    const synced = [disk.syncFile(fd), disk.syncFolder(path.slice(0, path.lastIndexOf("/")))];
    for (const outcome of await Promise.allSettled(synced)) if (outcome.status === "rejected") throw outcome.reason;
    return taken;
  } finally {
    disk.close(fd);
  }
}

async function receiveAll(parts: UploadParts, body: IntoReader, fd: number): Promise<TakenIn> {
  const { lengthBytes, buffers, context } = parts;
  const { disk, clock } = context;
  const pieces = createPieces({ disk, clock, fd, body, buffers });
  const sum = spanSum();
  try {
    for (let offset = 0; offset < lengthBytes; ) {
      if (parts.stopped()) {
        await pieces.settled();
        return { lengthBytes: offset, checksum: null };
      }
      const piece = await pieces.receive(offset, Math.min(SPAN_PIECE_BYTES, lengthBytes - offset));
      sum.add(piece.bytes);
      for (const digest of parts.digests) digest.add(piece.bytes);
      try {
        await pieces.settled();
      } catch (error) {
        buffers.give(piece.buffer);
        throw error;
      }
      pieces.write(piece);
      offset += piece.bytes.length;
    }
    await pieces.settled();
    return { lengthBytes, checksum: sum.end() };
  } catch (error) {
    await pieces.settled().catch(() => {});
    throw error;
  }
}

/** The bytes that stand in a file, then what the client still sends. */
function bodyAgain(parts: UploadParts, rest: IntoReader, fileId: number, inFile: number): BodyReader {
  const { disk } = parts.context;
  let fd: number | null = null;
  let at = 0;
  const close = (): void => {
    if (fd !== null) disk.close(fd);
    fd = null;
  };
  const read = async (): Promise<Uint8Array | null> => {
    if (at >= inFile) {
      const bytes = new Uint8Array(AGAIN_BYTES);
      for (;;) {
        const count = rest.take(bytes, 0, bytes.length);
        if (count > 0) return bytes.subarray(0, count);
        if (!(await rest.ready())) return null;
      }
    }
    fd ??= disk.open(filePath(fileId), "read");
    const bytes = new Uint8Array(Math.min(AGAIN_BYTES, inFile - at));
    const count = await disk.read(fd, bytes, at);
    if (count === 0) throw new ForebayError("flash-failed", "a staged file is shorter than it was");
    at += count;
    if (at >= inFile) close();
    return bytes.subarray(0, count);
  };
  let reading: Promise<unknown> = Promise.resolve();
  return {
    lengthBytes: parts.lengthBytes,
    read: () => {
      const next = read();
      reading = next.catch(() => {});
      return next;
    },
    cancel: () => {
      parts.body.cancel();
      at = inFile;
      // Not while it is being read.
      void reading.then(close);
    },
  };
}
