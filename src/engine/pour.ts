/**
 * The way of one run's bytes into the file of its version: written as they come, so that readers can follow, reported
 * block by block with a checksum, verified against the lake's MD5 where the run is the whole blob.
 */
import { assert } from "../base/assert.ts";
import { asForebayError, ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { FilledBlock } from "../flash/types.ts";
import { type IntoReader, readerInto } from "../http/read-into.ts";
import type { ClientResponse } from "../http/types.ts";
import type { EngineContext } from "./context.ts";
import type { Lane } from "./lanes.ts";
import { type FillSource, openRange } from "./range.ts";
import { bump } from "./stats.ts";
import type { CachedVersion } from "./version.ts";
import { createWriteBehind, type WriteBehind, type WriteListener } from "./write-behind.ts";

/** Whole blocks are reported so many at a time. */
const REPORT_BLOCKS = 4;

/** Neighbouring blocks that one read brings. */
export interface Run {
  readonly first: number;
  readonly count: number;
}

/** The way of a run's bytes into the file. */
export interface Pour {
  /** Opens the file. Throws `gone`, `overloaded` (no descriptor left) or `flash-failed`. */
  open(): void;
  /** Never throws. */
  close(): void;
  /** The next byte wanted, and the end of the run. */
  offset(): number;
  end(): number;
  nextBlock(): number;
  /** Takes an answer's body from {@link offset} to {@link end}; bytes beyond that are not read. */
  take(response: ClientResponse): Promise<void>;
  /**
   * Between two answers: gives back the memory of a block that is not whole, which will be read from its start again.
   * To be called after {@link take} failed.
   */
  pause(): void;
  /** After the last byte: verifies the digest, where there is one, and reports. May be tried again. */
  finish(): Promise<void>;
  /** After a failure: reports the blocks that are good all the same. Never rejects. */
  salvage(): Promise<void>;
}

export function createPour(
  parts: { readonly context: EngineContext; readonly lane: Lane },
  version: CachedVersion,
  source: FillSource,
  run: Run,
  md5: string | undefined,
): Pour {
  const { context, lane } = parts;
  const { disk, files, keeper, stats } = context;
  const { blockBytes } = version;
  const endBlock = run.first + run.count;
  const end = Math.min(version.sizeBytes, endBlock * blockBytes);
  const digest = md5 !== undefined && run.first === 0 && end === version.sizeBytes ? new Bun.CryptoHasher("md5") : null;
  let behind: WriteBehind | null = null;
  let offset = run.first * blockBytes;
  let current = run.first;
  /** How far readers were told that bytes of `current` are there. */
  let shownBytes = 0;
  const finished: FilledBlock[] = [];
  let reporting: Promise<void> | null = null;
  let found: string | null = null;
  let verified = digest === null;

  /** Tells the keeper, one message at a time; what it did not take is told again by the next call. */
  const report = async (): Promise<void> => {
    while (reporting !== null) await reporting;
    const blocks = finished.splice(0);
    if (blocks.length === 0) return;
    const told = keeper.filled(version.id, blocks);
    reporting = told.then(
      () => {
        reporting = null;
      },
      () => {
        reporting = null;
        finished.unshift(...blocks);
      },
    );
    await told;
  };
  const listener: WriteListener = {
    progress: (block, writtenBytes) => {
      // The last block of a body with a digest is held back until the digest is known to be right.
      if ((digest !== null && block === endBlock - 1) || writtenBytes <= shownBytes) return;
      shownBytes = writtenBytes;
      version.progress(block, writtenBytes);
    },
    whole: (block, checksum) => {
      finished.push({ block, checksum });
      current = block + 1;
      shownBytes = 0;
      // Where a digest is to be verified, nothing counts as present before the last byte was.
      if (digest !== null) return;
      version.setPresent(block);
      if (finished.length >= REPORT_BLOCKS && reporting === null) void report().catch(() => {});
    },
  };
  const nextBlock = () => {
    const block = Math.floor(offset / blockBytes);
    return { block, offset, lengthBytes: version.blockLength(block) };
  };
  const receive = async (reader: IntoReader, to: WriteBehind): Promise<void> => {
    let isReady = await reader.ready();
    while (offset < end) {
      if (!isReady) throw new ForebayError("lake-lost", "the lake's answer ended before its length");
      const room = to.room(nextBlock);
      const block = room instanceof Promise ? await room : room;
      const from = block.receivedBytes;
      const count = reader.take(block.buffer, from, block.lengthBytes);
      if (count === 0) {
        to.spare();
        isReady = await reader.ready();
        continue;
      }
      // Whole blocks only: one that is given up half-way comes again.
      if (from + count === block.lengthBytes) digest?.update(block.buffer.subarray(0, block.lengthBytes));
      offset += count;
      stats.bytesFilled += count;
      lane.arrived(count);
      to.received(block, count);
    }
  };
  return {
    open: () => {
      assert(blockBytes <= limits.blockBytes, "a block fits in a buffer");
      behind = createWriteBehind(disk, files.pin(version.fileId), lane.buffers, listener);
    },
    close: () => {
      if (behind === null) return;
      behind.close();
      behind = null;
      try {
        files.unpin(version.fileId);
      } catch (error) {
        // What a close may lose, the flush before the commit notices.
        bump(stats.errors, `fill.close.${asForebayError(error).code}`);
      }
    },
    offset: () => offset,
    end: () => end,
    nextBlock: () => current,
    take: async (response) => {
      assert(behind !== null, "a pour is open while it takes");
      try {
        await receive(readerInto(response.body), behind);
      } finally {
        // Whatever happened, the file is not let go of while it is written to.
        await behind.settle();
      }
      response.body.cancel();
    },
    pause: () => {
      offset = behind?.giveUpLast() ?? offset;
    },
    finish: async () => {
      if (digest !== null && !verified) {
        found ??= digest.digest("base64");
        if (found !== md5) await confirmBytes(context, version, source, found);
        verified = true;
        for (const { block: b } of finished) version.setPresent(b);
      }
      await report();
    },
    salvage: async () => {
      if (verified) await report().catch(() => {});
    },
  };
}

/**
 * A digest that does not fit: either the bytes were damaged on the way, or the property is wrong (Put Block List and
 * Set Blob Properties store any MD5 they are given). A second read decides: bytes that come twice the same are what
 * the lake holds. Bodies with a digest to verify are small (one run), so the second read is cheap.
 */
async function confirmBytes(
  context: EngineContext,
  version: CachedVersion,
  source: FillSource,
  found: string,
): Promise<void> {
  context.stats.md5Mismatches++;
  const again = new Bun.CryptoHasher("md5");
  const response = await openRange(context, version, source, 0, version.sizeBytes);
  for (let bytes = await response.body.read(); bytes !== null; bytes = await response.body.read()) again.update(bytes);
  if (again.digest("base64") === found) return;
  throw new ForebayError("lake-corrupt", "the bytes do not have the Content-MD5 that the lake names");
}
