/**
 * The bytes of a body in pieces of memory on their way to a file: one piece is written while the next is received. A
 * client that is slow with a piece does not keep its memory: what there is of it waits in the file.
 */
import { assert } from "../base/assert.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { IntoReader } from "../http/read-into.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { BufferShare } from "./buffers.ts";

/** A piece that was received whole. Its memory is given back once it is written. */
export interface Piece {
  readonly buffer: Buffer;
  readonly bytes: Uint8Array;
  /** Of its first byte, in the file. */
  readonly offset: number;
}

export interface PiecesParts {
  readonly disk: Pick<Disk, "read" | "write">;
  readonly clock: Clock;
  readonly fd: number;
  readonly body: IntoReader;
  readonly buffers: BufferShare;
}

export interface Pieces {
  /** Receives the next `length` bytes. Rejects as the body does, and with `overloaded` when no memory comes free. */
  receive(offset: number, length: number): Promise<Piece>;
  /** Begins to write a piece, after {@link settled}. */
  write(piece: Piece): void;
  /** Resolves when nothing is being written. Rejects with what a write failed with. */
  settled(): Promise<void>;
}

export function createPieces(parts: PiecesParts): Pieces {
  const { disk, fd, buffers } = parts;
  let writing: Promise<void> | null = null;
  let failure: { readonly error: unknown } | null = null;
  return {
    receive: (offset, length) => receivePiece(parts, offset, length),
    write: ({ buffer, bytes, offset }) => {
      assert(writing === null, "one piece is written at a time");
      const written = disk.write(fd, bytes, offset).catch((error: unknown) => {
        failure = { error };
      });
      writing = written.then(() => {
        writing = null;
        buffers.give(buffer);
      });
    },
    settled: async () => {
      if (writing !== null) await writing;
      if (failure !== null) throw failure.error;
    },
  };
}

/** A piece while it is being received. */
interface Filling {
  /** Null: what there is stands in the file. */
  buffer: Buffer | null;
  /** Since when, on the monotonic clock. */
  heldSinceMs: number;
  received: number;
  /** Bytes of it that are in the file. */
  inFile: number;
}

async function receivePiece(parts: PiecesParts, offset: number, length: number): Promise<Piece> {
  const { body, buffers, clock } = parts;
  // What the kernel holds is had without an event, which would bring it in memory of its own.
  const filling: Filling = { buffer: buffers.takeNow(), heldSinceMs: clock.monotonicMs(), received: 0, inFile: 0 };
  try {
    for (;;) {
      const { buffer } = filling;
      const count = buffer === null ? 0 : body.take(buffer, filling.received, length);
      filling.received += count;
      if (buffer !== null && filling.received === length) {
        return { buffer, bytes: buffer.subarray(0, length), offset };
      }
      if (count === 0) await moreBytes(parts, filling, offset);
    }
  } catch (error) {
    if (filling.buffer !== null) buffers.give(filling.buffer);
    throw error;
  }
}

/** Waits for bytes. Afterwards there is memory for them. */
async function moreBytes(parts: PiecesParts, filling: Filling, offset: number): Promise<void> {
  const { body, clock } = parts;
  // Who has nothing to send yet holds no memory.
  if (filling.received === 0) giveBack(parts, filling);
  const ready = body.ready();
  ready.catch(() => {});
  if (filling.buffer !== null) {
    const leftMs = filling.heldSinceMs + limits.uploadHoldMs - clock.monotonicMs();
    if (leftMs <= 0 || !(await isWithin(clock, leftMs, ready))) await toFile(parts, filling, offset);
  }
  if (!(await ready)) throw new ForebayError("cancelled", "the body ended before its length");
  if (filling.buffer === null) await fromFile(parts, filling, offset);
}

/** Lets go of the memory: others wait for it, and this client is slow. */
async function toFile(parts: PiecesParts, filling: Filling, offset: number): Promise<void> {
  const { buffer, inFile, received } = filling;
  if (buffer === null) return;
  await parts.disk.write(parts.fd, buffer.subarray(inFile, received), offset + inFile);
  filling.inFile = received;
  giveBack(parts, filling);
}

async function fromFile({ disk, fd, buffers, clock }: PiecesParts, filling: Filling, offset: number): Promise<void> {
  const buffer = await buffers.take();
  filling.buffer = buffer;
  filling.heldSinceMs = clock.monotonicMs();
  for (let at = 0; at < filling.received; ) {
    const count = await disk.read(fd, buffer.subarray(at, filling.received), offset + at);
    if (count === 0) throw new ForebayError("flash-failed", "a staged file is shorter than it was");
    at += count;
  }
}

function giveBack({ buffers }: PiecesParts, filling: Filling): void {
  if (filling.buffer !== null) buffers.give(filling.buffer);
  filling.buffer = null;
}

/** Whether `work` ends within `ms`. */
function isWithin(clock: Clock, ms: number, work: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, () => resolve(false));
    const done = (): void => {
      timer.cancel();
      resolve(true);
    };
    work.then(done, done);
  });
}
