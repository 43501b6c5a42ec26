/**
 * The bytes of one span as the body of a request, read piece by piece and verified on the way: the last piece leaves
 * only when the checksum of all of them is right. A body that breaks off is one that the lake throws away, so bytes that
 * are damaged never become a block.
 */
import { asForebayError, ForebayError } from "../base/errors.ts";
import { filePath, SPAN_PIECE_BYTES, spanSum } from "../flash/files.ts";
import type { CheckedSpan } from "../flash/types.ts";
import type { BodySource, Segment } from "../http/types.ts";
import type { Disk } from "../io/disk.ts";
import { type Failure, later } from "./failures.ts";
import type { Rate } from "./rate.ts";

export interface SpanSource extends BodySource {
  /** Why the body broke off, where that was on this side. */
  readonly failure: Failure | null;
  /** Resolves after `close`, when nothing uses the buffer any more. */
  readonly finished: Promise<void>;
}

export function createSpanSource(parts: {
  readonly disk: Disk;
  readonly span: CheckedSpan;
  readonly buffer: Buffer;
  readonly rate: Rate;
  readonly moved: (bytes: number) => void;
}): SpanSource {
  const { disk, span, rate } = parts;
  const count = Math.ceil(span.length / SPAN_PIECE_BYTES);
  const sum = spanSum();
  const finished = Promise.withResolvers<void>();
  let failure: Failure | null = null;
  let fd: number | null = null;
  let closed = false;
  let reading: Promise<Uint8Array> | null = null;
  let [next, at] = [0, 0];
  let piece: Uint8Array = new Uint8Array(0);

  const read = async (index: number): Promise<Uint8Array> => {
    const start = index * SPAN_PIECE_BYTES;
    const length = Math.min(SPAN_PIECE_BYTES, span.length - start);
    const half = (index % 2) * SPAN_PIECE_BYTES;
    const target = parts.buffer.subarray(half, half + length);
    fd ??= disk.open(filePath(span.fileId), "read");
    await readWhole(disk, fd, target, span.offset + start);
    sum.add(target);
    if (index === count - 1 && sum.end() !== span.checksum) throw damaged("its bytes are not those that were written");
    return target;
  };
  const begin = (index: number): Promise<Uint8Array> => {
    const begun = read(index);
    // It may fail before anybody asks for it.
    begun.catch(() => {});
    return begun;
  };
  const advance = async (): Promise<void> => {
    try {
      piece = await (reading ?? begin(next));
    } catch (error) {
      failure ??= failureOfRead(error);
      throw error;
    }
    next++;
    at = 0;
    reading = next < count ? begin(next) : null;
  };
  return {
    lengthBytes: span.length,
    next: async (): Promise<Segment | null> => {
      if (closed) throw new ForebayError("cancelled", "the body is closed");
      if (at === piece.length) {
        if (next === count) return null;
        await advance();
      }
      const length = Math.min(rate.pieceBytesMax, piece.length - at);
      await rate.take(length);
      parts.moved(length);
      at += length;
      return { kind: "bytes", bytes: piece.subarray(at - length, at) };
    },
    close: () => {
      if (closed) return;
      closed = true;
      const end = (): void => {
        if (fd !== null) disk.close(fd);
        finished.resolve();
      };
      // A read under way still writes into the buffer.
      if (reading === null) end();
      else void reading.then(end, end);
    },
    get failure() {
      return failure;
    },
    finished: finished.promise,
  };
}

/** Fills `target` from `offset` of a file on. Rejects with {@link damaged} where the file ends before. */
async function readWhole(disk: Disk, fd: number, target: Uint8Array, offset: number): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const count = await disk.read(fd, target.subarray(done), offset + done);
    if (count === 0) throw damaged("its file is shorter than what was written");
    done += count;
  }
}

/** Reads a span that fits into `buffer`, verified. Rejects as {@link failureOfRead} understands. */
export async function readSpan(disk: Disk, span: CheckedSpan, buffer: Uint8Array): Promise<Uint8Array> {
  const target = buffer.subarray(0, span.length);
  const fd = disk.open(filePath(span.fileId), "read");
  try {
    await readWhole(disk, fd, target, span.offset);
  } finally {
    disk.close(fd);
  }
  const sum = spanSum();
  for (let at = 0; at < target.length; at += SPAN_PIECE_BYTES) sum.add(target.subarray(at, at + SPAN_PIECE_BYTES));
  if (sum.end() !== span.checksum) throw damaged("its bytes are not those that were written");
  return target;
}

const damaged = (what: string): ForebayError => new ForebayError("flash-failed", what);

/** What it means that the flash did not give an entry's bytes. */
export function failureOfRead(error: unknown): Failure {
  const { code, message } = asForebayError(error);
  if (code === "flash-failed" || code === "gone") {
    return { kind: "damaged", why: `damage of the flash: ${message}` };
  }
  return later(`the flash could not be read: ${message}`);
}

/** Bytes at hand as a body, under the same ceiling on their rate. */
export function createBytesSource(bytes: Uint8Array, rate: Rate, moved: (bytes: number) => void): SpanSource {
  const finished = Promise.withResolvers<void>();
  let at = 0;
  return {
    lengthBytes: bytes.length,
    next: async (): Promise<Segment | null> => {
      if (at === bytes.length) return null;
      const length = Math.min(rate.pieceBytesMax, bytes.length - at);
      await rate.take(length);
      moved(length);
      at += length;
      return { kind: "bytes", bytes: bytes.subarray(at - length, at) };
    },
    close: () => finished.resolve(),
    failure: null,
    finished: finished.promise,
  };
}
