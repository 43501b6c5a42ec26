/**
 * Bodies passed on from one connection to another: received into memory that is used again and again, in pieces as
 * large as there is, so that nothing is left to the collector and few calls are made.
 */
import { KIB } from "../base/limits.ts";
import { type BodyReader, type BodySource, type Segment, sourceOfReader } from "./types.ts";

const PIECE_BYTES = 512 * KIB;
/** Kept for the next body. */
const IDLE_MAX = 32;
const idle: Buffer[] = [];

/** What `reader` brings, as a body to be sent. */
export function passingSource(reader: BodyReader): BodySource {
  const { lengthBytes } = reader;
  const take = reader.takeInto?.bind(reader);
  const ready = reader.ready?.bind(reader);
  if (take === undefined || ready === undefined || lengthBytes === null || lengthBytes === 0) {
    return sourceOfReader(reader);
  }
  let buffer: Buffer | null = idle.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
  let left = lengthBytes;
  const atHand = (into: Buffer): Segment | null => {
    let count = 0;
    const room = Math.min(into.length, left);
    while (count < room) {
      const got = take(into, count, room);
      if (got === 0) break;
      count += got;
    }
    left -= count;
    return count === 0 ? null : { kind: "bytes", bytes: into.subarray(0, count) };
  };
  const wait = async (into: Buffer): Promise<Segment | null> => {
    while (await ready()) {
      // Let go of meanwhile: the memory is another body's by now.
      if (buffer === null) return null;
      const piece = atHand(into);
      if (piece !== null) return piece;
    }
    return null;
  };
  return {
    lengthBytes,
    next: () => {
      if (buffer === null || left === 0) return null;
      return atHand(buffer) ?? wait(buffer);
    },
    close: () => {
      if (buffer !== null && idle.length < IDLE_MAX) idle.push(buffer);
      buffer = null;
      reader.cancel();
    },
  };
}
