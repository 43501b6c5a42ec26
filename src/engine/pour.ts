/**
 * The way of one run's bytes into the file of its version: written chunk by chunk as they come, so that readers can
 * follow, reported block by block with a checksum, verified against the lake's MD5 where the run is the whole blob.
 */
import { asForebayError, ForebayError } from "../base/errors.ts";
import { checksumOf } from "../flash/files.ts";
import type { FilledBlock } from "../flash/types.ts";
import type { ClientResponse } from "../http/types.ts";
import type { EngineContext } from "./context.ts";
import { type FillSource, openRange } from "./range.ts";
import { bump } from "./stats.ts";
import type { CachedVersion } from "./version.ts";

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
  /** Blocks of the run that are not known to be there. */
  blocksLeft(): number[];
  /** Takes an answer's body from {@link offset} to {@link end}; bytes beyond that are not read. */
  take(response: ClientResponse): Promise<void>;
  /** After the last byte: verifies the digest, where there is one, and reports. May be tried again. */
  finish(): Promise<void>;
  /** After a failure: reports the blocks that are good all the same. Never rejects. */
  salvage(): Promise<void>;
}

export function createPour(
  context: EngineContext,
  version: CachedVersion,
  source: FillSource,
  run: Run,
  md5: string | undefined,
): Pour {
  const { disk, files, keeper, stats } = context;
  const endBlock = run.first + run.count;
  const end = Math.min(version.sizeBytes, endBlock * version.blockBytes);
  const digest = md5 !== undefined && run.first === 0 && end === version.sizeBytes ? new Bun.CryptoHasher("md5") : null;
  const block = Buffer.allocUnsafeSlow(Math.min(version.blockBytes, end - run.first * version.blockBytes));
  let fd = -1;
  let offset = run.first * version.blockBytes;
  let current = run.first;
  const finished: FilledBlock[] = [];
  let found: string | null = null;
  let verified = digest === null;

  const report = async (): Promise<void> => {
    const blocks = finished.splice(0);
    if (blocks.length === 0) return;
    try {
      await keeper.filled(version.id, blocks);
    } catch (error) {
      finished.unshift(...blocks);
      throw error;
    }
  };
  const finishBlock = async (length: number): Promise<void> => {
    finished.push({ block: current, checksum: checksumOf(block.subarray(0, length)) });
    // Where a digest is to be verified, nothing counts as present before the last byte was.
    if (digest === null) {
      version.setPresent(current);
      if (finished.length >= 4) await report();
    }
    current++;
  };
  const takeBytes = async (bytes: Uint8Array): Promise<void> => {
    let at = 0;
    while (at < bytes.length) {
      const start = current * version.blockBytes;
      const length = version.blockLength(current);
      const piece = bytes.subarray(at, at + Math.min(bytes.length - at, start + length - offset));
      await disk.write(fd, piece, offset);
      block.set(piece, offset - start);
      digest?.update(piece);
      at += piece.length;
      offset += piece.length;
      stats.bytesFilled += piece.length;
      const whole = offset === start + length;
      // The last block of a body with a digest is held back until the digest is known to be right.
      if (!(digest !== null && current === endBlock - 1)) version.progress(current, offset - start);
      if (whole) await finishBlock(length);
    }
  };
  return {
    open: () => {
      fd = files.pin(version.fileId);
    },
    close: () => {
      if (fd < 0) return;
      fd = -1;
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
    blocksLeft: () => {
      const left: number[] = [];
      for (let b = run.first; b < endBlock; b++) if (!version.has(b)) left.push(b);
      return left;
    },
    take: async (response) => {
      while (offset < end) {
        const bytes = await response.body.read();
        if (bytes === null) throw new ForebayError("lake-lost", "the lake's answer ended before its length");
        await takeBytes(bytes.subarray(0, Math.min(bytes.length, end - offset)));
      }
      response.body.cancel();
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
