/**
 * Blocks on their way from memory to their file. Bytes are received into a block's buffer while earlier ones of it are
 * being written: one write at a time, of all that came meanwhile, so that a slow lake's bytes are there at once for
 * those who follow and a fast one's are written in large pieces.
 */
import { assert } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { checksumOf } from "../flash/files.ts";
import type { Disk } from "../io/disk.ts";
import type { BufferShare } from "./buffers.ts";

/** A block being received. Its bytes are in `buffer[0, receivedBytes)`. */
export interface BlockInHand {
  readonly block: number;
  /** Of its first byte, in the file. */
  readonly offset: number;
  readonly lengthBytes: number;
  readonly buffer: Buffer;
  receivedBytes: number;
}

interface Held extends BlockInHand {
  writtenBytes: number;
  checksum: string;
}

/** What happens to the blocks, told in their order. */
export interface WriteListener {
  /** The first `writtenBytes` bytes of a block are in the file. */
  progress(block: number, writtenBytes: number): void;
  /** All of it is; the checksum was taken before the last of it was written. */
  whole(block: number, checksum: string): void;
}

export interface WriteBehind {
  /** The block to receive into: the one begun, or block `next` (see {@link BlockInHand}). Throws when writing failed. */
  room(next: () => Omit<BlockInHand, "buffer" | "receivedBytes">): BlockInHand | Promise<BlockInHand>;
  /** `count` more bytes are in the buffer of `block`. */
  received(block: BlockInHand, count: number): void;
  /** Nothing is at hand for the block to receive into: unless it was begun, its memory is given back meanwhile. */
  spare(): void;
  /** Gives up the block that was begun and is not whole, after {@link settle}: the offset of its first byte, or null. */
  giveUpLast(): number | null;
  /** Resolves when nothing is being written any more. Rejects with what a write failed with. */
  settle(): Promise<void>;
  /** Gives the memory back; after {@link settle}. */
  close(): void;
}

export function createWriteBehind(
  disk: Pick<Disk, "write">,
  fd: number,
  buffers: BufferShare,
  listener: WriteListener,
): WriteBehind {
  /** The oldest first. Of all but the last every byte was received. */
  const held: Held[] = [];
  let writing: Promise<void> | null = null;
  let failure: { readonly error: unknown } | null = null;

  const writeOnce = async (block: Held): Promise<void> => {
    const to = block.receivedBytes;
    try {
      await disk.write(fd, block.buffer.subarray(block.writtenBytes, to), block.offset + block.writtenBytes);
      block.writtenBytes = to;
      listener.progress(block.block, to);
      if (to < block.lengthBytes) return;
      held.shift();
      buffers.give(block.buffer);
      listener.whole(block.block, block.checksum);
    } catch (error) {
      failure = { error };
    }
  };
  const write = async (): Promise<void> => {
    for (let block = held[0]; block !== undefined; block = held[0]) {
      if (failure !== null || block.receivedBytes === block.writtenBytes) break;
      await writeOnce(block);
    }
    writing = null;
  };
  const pump = (): void => {
    if (writing === null && failure === null) writing = write();
  };
  const begin = (buffer: Buffer, next: Omit<BlockInHand, "buffer" | "receivedBytes">): Held => {
    const block = { ...next, buffer, receivedBytes: 0, writtenBytes: 0, checksum: "" };
    held.push(block);
    return block;
  };
  const drop = (): void => {
    const last = held.pop();
    if (last !== undefined) buffers.give(last.buffer);
  };
  const room: WriteBehind["room"] = (next) => {
    if (failure !== null) throw failure.error;
    const last = held.at(-1);
    if (last !== undefined && last.receivedBytes < last.lengthBytes) return last;
    const buffer = held.length < limits.fillBuffersEachMax ? buffers.takeNow() : null;
    if (buffer !== null) return begin(buffer, next());
    // Memory is short: what this run holds comes free by being written; only with empty hands it waits for others'.
    return writing === null ? buffers.take().then((given) => begin(given, next())) : writing.then(() => room(next));
  };
  return {
    room,
    received: (given, count) => {
      const block = held.at(-1);
      assert(block !== undefined && block === given, "bytes are received into the last block");
      block.receivedBytes += count;
      if (block.receivedBytes === block.lengthBytes) {
        block.checksum = checksumOf(block.buffer.subarray(0, block.lengthBytes));
      }
      pump();
    },
    spare: () => {
      if (held.at(-1)?.receivedBytes === 0) drop();
    },
    giveUpLast: () => {
      assert(writing === null, "a block is given up while nothing is written");
      const last = held.at(-1);
      if (last === undefined || last.receivedBytes === last.lengthBytes) return null;
      drop();
      return last.offset;
    },
    settle: async () => {
      while (writing !== null) await writing;
      if (failure !== null) throw failure.error;
    },
    close: () => {
      for (const { buffer } of held.splice(0)) buffers.give(buffer);
    },
  };
}
