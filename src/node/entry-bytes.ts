/** The bytes of an entry of the journal, read back as they were acknowledged. */
import { ForebayError } from "../base/errors.ts";
import { filePath, SPAN_PIECE_BYTES, spanSum } from "../flash/files.ts";
import type { CheckedSpan } from "../flash/types.ts";
import type { Disk } from "../io/disk.ts";
import type { Journal, PutEntry } from "../journal/types.ts";

/**
 * The bytes, in pieces of 1 MiB at most. The last piece of each span comes only once the span's checksum is known to be
 * right: who gets them all has got them as they were. Throws `flash-failed` when they are not, `gone` when the entry has
 * ended meanwhile.
 */
export async function* entryBytes(
  entry: PutEntry,
  disk: Pick<Disk, "open" | "read" | "close">,
  journal: Pick<Journal, "readInline">,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { content } = entry;
  if (content.kind === "damaged") throw new ForebayError("flash-failed", "the bytes of the entry are damaged");
  if (content.kind === "inline") {
    yield await journal.readInline(entry.seq);
    return;
  }
  for (const span of content.spans) yield* spanBytes(span, disk);
}

async function* spanBytes(
  span: CheckedSpan,
  disk: Pick<Disk, "open" | "read" | "close">,
): AsyncGenerator<Uint8Array, void, undefined> {
  const sum = spanSum();
  const fd = disk.open(filePath(span.fileId), "read");
  try {
    let held: Uint8Array | null = null;
    for (let done = 0; done < span.length; ) {
      const piece = await readPiece(fd, span.offset + done, Math.min(SPAN_PIECE_BYTES, span.length - done), disk);
      sum.add(piece);
      done += piece.length;
      if (held !== null) yield held;
      held = piece;
    }
    if (held === null) return;
    if (sum.end() !== span.checksum) {
      throw new ForebayError("flash-failed", "the bytes of the entry are not those that were acknowledged");
    }
    yield held;
  } finally {
    disk.close(fd);
  }
}

async function readPiece(fd: number, offset: number, length: number, disk: Pick<Disk, "read">): Promise<Uint8Array> {
  const piece = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const count = await disk.read(fd, piece.subarray(at), offset + at);
    if (count === 0) throw new ForebayError("flash-failed", "a file of the entry is shorter than it was");
    at += count;
  }
  return piece;
}
