/** Who brings which block of a version: claims, what came of them, and those who wait for one. */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import type { Commits } from "./commits.ts";
import { dropVersion, type KeeperCore } from "./core.ts";
import { blockCount, FILE_FOLDERS, fileIdsOf, filePath, folderPath, isEmpty } from "./files.ts";
import type { Space } from "./space.ts";
import type { Claimed, FilledBlock } from "./types.ts";
import {
  type ActiveVersion,
  type BlockOutcome,
  blockCost,
  type Claim,
  hasBlock,
  setPresent,
  wake,
} from "./versions.ts";

/** How often a claim looks for room again when others took what it had made. */
const ROOM_ATTEMPTS_MAX = 8;

export interface Blocks {
  peek(versionId: number, first: number, count: number): readonly number[] | null;
  claim(holder: string, versionId: number, first: number, count: number): Promise<Claimed | null>;
  filled(versionId: number, blocks: readonly FilledBlock[]): Promise<void>;
  unclaim(holder: string, versionId: number, blocks: readonly number[]): void;
  awaitBlock(versionId: number, block: number): Promise<BlockOutcome>;
  holderGone(holder: string): void;
  /** Ends claims that are too old: those who wait for their blocks may claim them. */
  lapse(): void;
}

/** A claim being made: it may have to wait for room, and its holder may end meanwhile. */
interface ClaimCall {
  readonly holder: string;
  cancelled: boolean;
}

export function createBlocks(core: KeeperCore, space: Space, commits: Commits): Blocks {
  const { versions, ledger, health, clock, bounds } = core;
  const calls = new Set<ClaimCall>();

  const give = (version: ActiveVersion, block: number): void => {
    const cost = blockCost(version, block);
    version.claims.delete(block);
    version.claimedBytes -= cost;
    ledger.reservedBytes -= cost;
  };
  /** Frees the claims of which that is true. */
  const free = (ended: (claim: Claim) => boolean): void => {
    for (const version of [...versions.all()]) {
      for (const [block, claim] of [...version.claims]) {
        if (!ended(claim)) continue;
        give(version, block);
        wake(version, block, "free");
      }
      versions.settle(version);
    }
  };
  const take = (version: ActiveVersion, holder: string, blocks: readonly number[], bytes: number): void => {
    const givenAtMs = clock.monotonicMs();
    for (const block of blocks) version.claims.set(block, { holder, givenAtMs });
    version.claimedBytes += bytes;
    ledger.reservedBytes += bytes;
    space.granted(bytes);
    space.review();
  };
  const claimLoaded = async (
    version: ActiveVersion,
    call: ClaimCall,
    first: number,
    count: number,
  ): Promise<Claimed | null> => {
    for (let attempt = 0; attempt < ROOM_ATTEMPTS_MAX; attempt++) {
      health.check();
      const claimed = sort(version, first, count);
      const bytes = claimed.granted.reduce((sum, block) => sum + blockCost(version, block), 0);
      if (bytes === 0) return claimed;
      if (space.hasRoom(bytes)) {
        if (!makeFile(core, version)) return null;
        take(version, call.holder, claimed.granted, bytes);
        return claimed;
      }
      if (!(await space.makeRoom(bytes))) break;
      if (version.gone || call.cancelled) return null;
    }
    throw new ForebayError("flash-full", "no room on flash for the blocks, even after eviction");
  };
  return {
    peek: (versionId, first, count) => {
      const version = versions.loadById(versionId);
      if (version === null) return null;
      const { present } = sort(version, first, count);
      versions.settle(version);
      return present;
    },
    claim: async (holder, versionId, first, count) => {
      health.check();
      const version = versions.loadById(versionId);
      if (version === null) return null;
      const call: ClaimCall = { holder, cancelled: false };
      calls.add(call);
      version.pins++;
      try {
        return await claimLoaded(version, call, first, count);
      } finally {
        calls.delete(call);
        version.pins--;
        versions.settle(version);
      }
    },
    filled: async (versionId, blocks) => {
      const version = versions.active(versionId);
      if (version === null) return;
      let added = 0;
      for (const { block, checksum } of blocks) {
        // Only what this keeper granted: an earlier one's claims ended with it.
        if (!version.claims.has(block)) continue;
        const cost = blockCost(version, block);
        give(version, block);
        version.pendingBytes += cost;
        ledger.pendingBytes += cost;
        version.pending.set(block, checksum.padStart(16, "0"));
        setPresent(version, block);
        wake(version, block, "present");
        added++;
      }
      if (added > 0) await commits.added(added);
    },
    unclaim: (holder, versionId, blocks) => {
      const version = versions.active(versionId);
      if (version === null) return;
      for (const block of blocks) {
        if (version.claims.get(block)?.holder !== holder) continue;
        give(version, block);
        wake(version, block, "free");
      }
      versions.settle(version);
    },
    awaitBlock: async (versionId, block) => {
      const version = versions.loadById(versionId);
      if (version === null) return "gone";
      const present = hasBlock(version, block);
      if (present || !version.claims.has(block)) {
        versions.settle(version);
        return present ? "present" : "free";
      }
      return new Promise((resolve) => {
        const waiting = version.waiters.get(block) ?? [];
        waiting.push(resolve);
        version.waiters.set(block, waiting);
      });
    },
    holderGone: (holder) => {
      for (const call of calls) if (call.holder === holder) call.cancelled = true;
      free((claim) => claim.holder === holder);
    },
    lapse: () => {
      const oldestMs = clock.monotonicMs() - bounds.claimTtlMs;
      free((claim) => claim.givenAtMs <= oldestMs);
    },
  };
}

/** Sorts the blocks asked for; those to be granted are not taken yet. */
function sort(version: ActiveVersion, first: number, count: number) {
  const granted: number[] = [];
  const present: number[] = [];
  const held: number[] = [];
  const end = Math.min(first + count, blockCount(version));
  for (let block = Math.max(0, first); block < end; block++) {
    if (hasBlock(version, block)) present.push(block);
    else if (version.claims.has(block)) held.push(block);
    else granted.push(block);
  }
  return { granted, present, held };
}

/**
 * Makes the version's file before its first block is written. False: the file should be there and is not (the power
 * failed, or somebody removed it), so the version is dropped.
 */
function makeFile(core: KeeperCore, version: ActiveVersion): boolean {
  if (version.fileReady) return true;
  const nothingStored = version.durable !== null && isEmpty(version.durable);
  const mayExist = !version.isNew;
  version.isNew = false;
  try {
    for (const fileId of fileIdsOf(version.spans)) {
      if (mayExist && core.disk.sizeOf(filePath(fileId)) !== null) continue;
      if (!nothingStored) {
        core.log("warn", "a file of the cache is gone: its version is dropped", { version: version.id });
        dropVersion(core, version, "bad");
        return false;
      }
      createFile(core, fileId);
    }
  } catch (error) {
    if (!hasCode(error, "flash-full", "overloaded")) core.health.fail(asForebayError(error).message);
    throw error;
  }
  version.fileReady = true;
  return true;
}

/** An empty file. Throws what the disk throws. */
export function createFile(core: Pick<KeeperCore, "disk">, fileId: number): void {
  const { disk } = core;
  try {
    disk.close(disk.open(filePath(fileId), "create"));
  } catch (error) {
    if (!hasCode(error, "gone")) throw error;
    disk.makeFolder(folderPath(fileId % FILE_FOLDERS));
    disk.close(disk.open(filePath(fileId), "create"));
  }
}
