/** Bodies of versions that the lake does not have yet: the files that clients' bytes came to, one after the other. */
import { limits } from "../base/limits.ts";
import type { BodySource, Segment } from "../http/types.ts";
import type { EngineContext } from "./context.ts";

/** A piece of a file. */
export interface FilePart {
  readonly fileId: number;
  readonly offset: number;
  readonly length: number;
}

/** The parts of `spans`, taken as one row of bytes, that hold [first, end). */
export function partsOf(spans: readonly FilePart[], first: number, end: number): FilePart[] {
  const parts: FilePart[] = [];
  let at = 0;
  for (const { fileId, offset, length } of spans) {
    const from = Math.max(first, at);
    const to = Math.min(end, at + length);
    if (from < to) parts.push({ fileId, offset: offset + from - at, length: to - from });
    at += length;
    if (at >= end) break;
  }
  return parts;
}

/**
 * A body that sends `parts` one after the other. The first files are held open from the start, later ones before their
 * turn comes, so that they stay when the version is overwritten meanwhile. Throws as `files.pin` does.
 */
export function partsBody(
  { files, stats }: Pick<EngineContext, "files" | "stats">,
  parts: readonly FilePart[],
): BodySource {
  let [at, held, closed] = [0, 0, false];
  const descriptors: number[] = [];
  const unpin = (index: number): void => {
    const part = parts[index];
    if (part !== undefined) files.unpin(part.fileId);
  };
  const close = (): void => {
    if (closed) return;
    closed = true;
    // The part before `at` is the one being sent.
    for (let i = Math.max(0, at - 1); i < held; i++) unpin(i);
  };
  const pinAhead = (): void => {
    try {
      for (let part = parts[held]; part !== undefined && held < at + limits.pendingPinsMax; part = parts[held]) {
        descriptors.push(files.pin(part.fileId));
        held++;
      }
    } catch (error) {
      // One that cannot be had now may be when its turn comes.
      if (held <= at) throw error;
    }
  };
  pinAhead();
  const next = (): Segment | null => {
    const part = parts[at];
    if (part === undefined) return null;
    pinAhead();
    if (at > 0) unpin(at - 1);
    const fd = descriptors[at] ?? -1;
    at++;
    stats.bytesFromFlash += part.length;
    return { kind: "file", fd, offset: part.offset, length: part.length };
  };
  return { lengthBytes: parts.reduce((sum, part) => sum + part.length, 0), next, close };
}
