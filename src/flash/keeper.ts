/**
 * The keeper: the one process that writes the index of the cache. It gives the right to ask the lake (leases) and to
 * bring blocks (claims), makes what was brought durable in batches, keeps within the space allowed, and takes bad or
 * outdated versions out. See `types.ts` for what its callers are promised.
 *
 * Crash-only: it may be killed at any moment, and its start is its recovery. What was not committed is lost, and the
 * files of it are swept in the background.
 */
import { assert } from "../base/assert.ts";
import { asForebayError, ForebayError } from "../base/errors.ts";
import type { Timer } from "../io/clock.ts";
import { type Blocks, createBlocks } from "./blocks.ts";
import { type Commits, createCommits } from "./commits.ts";
import { createCounts, createLedger, DEFAULT_BOUNDS, dropVersion, type KeeperCore, watchIndex } from "./core.ts";
import { openFolder } from "./folder.ts";
import { createHealth } from "./health.ts";
import { type IdSource, openIds } from "./ids.ts";
import type { FlashKeeperOptions, KeeperStats, LocalFlashKeeper } from "./keeper-types.ts";
import { createLeases, type Leases } from "./leases.ts";
import { createMarks, type Marks } from "./marks.ts";
import { createSweep } from "./orphans.ts";
import { createPublisher, type Publisher } from "./publish.ts";
import { createRetirement } from "./retire.ts";
import { createScrub, type Scrub } from "./scrub.ts";
import { createSpace, type Space } from "./space.ts";
import { createStagedFiles } from "./staged-files.ts";
import { createStaging, type KeeperStaging } from "./staging.ts";
import type { LeaseEnd, Published } from "./types.ts";
import { createVersions } from "./versions.ts";

interface Parts {
  readonly core: KeeperCore;
  readonly ids: IdSource;
  readonly leases: Leases;
  readonly commits: Commits;
  readonly space: Space;
  readonly blocks: Blocks;
  readonly marks: Marks;
  readonly publisher: Publisher;
  readonly scrub: Scrub;
  readonly staging: KeeperStaging;
  readonly boundBytes: number;
}

/**
 * Opens the flash folder and starts a keeper on it. Rejects with `config` when the folder or its index has a format
 * that is not known here, with `flash-failed` when the folder cannot be used.
 */
export async function createFlashKeeper(options: FlashKeeperOptions): Promise<LocalFlashKeeper> {
  assert(options.flashBytesMax > 0, "a cache has room");
  const { disk, clock, log } = options;
  const bounds = { ...DEFAULT_BOUNDS, ...options.bounds };
  const line = await openFolder(disk, options.epoch);
  const health = createHealth(disk, line, log);
  const index = watchIndex(options.openIndex(), health.failForGood);
  try {
    const held = (await options.held?.()) ?? [];
    const idMax = held.reduce((max, { fileId }) => Math.max(max, fileId), index.maxId());
    const ids = await openIds(disk, idMax, bounds.idsReserved, Math.floor(clock.wallMs()) * 1000);
    const ledger = createLedger(index.totals().left);
    const staged = createStagedFiles(ledger);
    for (const { fileId, bytes } of held) staged.held(fileId, bytes, index.ownerOf(fileId));
    const { releaseWaitMsMax } = bounds;
    const retirement = createRetirement({ disk, clock, ledger, releaseWaitMsMax, failed: health.fail });
    const versions = createVersions(index);
    const counts = createCounts();
    const memory = { health, versions, ledger, retirement, staged, counts };
    const core: KeeperCore = { disk, index, clock, log, bounds, ...memory };
    return start(assemble(core, ids, options));
  } catch (error) {
    index.close();
    throw error;
  }
}

function assemble(core: KeeperCore, ids: IdSource, options: FlashKeeperOptions): Parts {
  const { clock, bounds, counts, versions } = core;
  // Lease ids of another life must mean nothing here: they start from the date.
  const firstId = Math.floor(clock.wallMs()) * 1000;
  const leases = createLeases({ clock, bounds, counts, firstId, peek: versions.peek });
  const commits: Commits = createCommits(core, () => space.review());
  const boundBytes = options.flashBytesMax;
  const space: Space = createSpace(core, { boundBytes, visited: options.visited, flush: commits.flush });
  const earlierForgotten = options.earlierForgotten ?? (() => {});
  const marks = createMarks(core, ids, { changed: commits.schedule, earlierForgotten });
  const blocks = createBlocks(core, space, commits);
  const publisher = createPublisher({ core, ids, marks, space, commits, options });
  const scrub = createScrub(core, options.dropCached ?? (() => {}), commits.schedule);
  const staging = createStaging({ core, ids, marks, space, commits, boundBytes });
  return { core, ids, leases, commits, space, blocks, marks, publisher, scrub, staging, boundBytes };
}

function start(parts: Parts): LocalFlashKeeper {
  const { core, ids, leases, commits, space, blocks, marks, publisher, scrub, staging } = parts;
  const { clock, health, retirement, bounds, counts, versions } = core;
  let stopped = false;
  let timer: Timer | null = null;

  const open = (): void => {
    if (stopped) throw new ForebayError("closed", "the keeper has stopped");
  };
  const tick = async (): Promise<void> => {
    await health.probe();
    if (stopped) return;
    leases.lapse();
    blocks.lapse();
    staging.lapse();
    if (health.state().ok) {
      marks.lapse();
      space.review();
    }
  };
  const loop = (): void => {
    if (stopped) return;
    timer = clock.after(bounds.probeIntervalMs, () => {
      tick()
        .catch((error) => core.log("warn", "a regular check failed", { cause: asForebayError(error).message }))
        .finally(loop);
    });
  };
  const sweep = createSweep(core, ids, () => stopped);
  const endOf = (published: Published): LeaseEnd =>
    published.kind === "refused" && published.reason !== "void" ? "alone" : "shared";

  loop();
  scrub.start();
  if (retirement.queued > 0) commits.schedule();
  space.review();
  if (sweep.isDue)
    sweep.run().catch((error) => core.log("warn", "the sweep failed", { cause: asForebayError(error).message }));

  return {
    acquire: async (request) => {
      open();
      return leases.acquire(request);
    },
    peek: async (versionId, first, count) => {
      open();
      return blocks.peek(versionId, first, count);
    },
    publish: async (publication) => {
      open();
      const lease = leases.find(publication.lease);
      if (lease === null) {
        counts.refusals.void++;
        return { kind: "refused", reason: "void" };
      }
      let published: Published | null = null;
      try {
        published = await publisher.publish(lease.key, publication);
        if (published.kind === "refused") counts.refusals[published.reason]++;
        return published;
      } finally {
        leases.end(lease.id, published === null ? "alone" : endOf(published));
      }
    },
    abandon: async (lease, how = "shared") => {
      open();
      leases.end(lease, how);
    },
    claim: async (holder, versionId, first, count) => {
      open();
      return blocks.claim(holder, versionId, first, count);
    },
    filled: async (versionId, filled) => {
      open();
      await blocks.filled(versionId, filled);
    },
    unclaim: async (holder, versionId, list) => {
      open();
      blocks.unclaim(holder, versionId, list);
    },
    awaitBlock: async (versionId, block) => {
      open();
      return blocks.awaitBlock(versionId, block);
    },
    drop: async (key, versionId, reason) => {
      open();
      const version = versions.load(key);
      if (version === null) return;
      if (versionId !== null && version.id !== versionId) {
        versions.settle(version);
        return;
      }
      dropVersion(core, version, reason);
      commits.schedule();
    },
    markChange: async (scope) => {
      open();
      health.check();
      return marks.mark(scope);
    },
    unmarkChange: async (mark, happened) => {
      open();
      return marks.end(mark, happened);
    },
    reportFailure: async (message) => {
      open();
      health.fail(`a server reports: ${message}`);
    },
    staging,
    subscribe: retirement.subscribe,
    holderGone: (holder) => {
      retirement.holderGone(holder);
      blocks.holderGone(holder);
      leases.holderGone(holder);
      staging.holderGone(holder);
    },
    stats: () => statsOf(parts),
    health: health.state,
    flush: commits.flush,
    scrubStep: scrub.step,
    sweepOrphans: sweep.run,
    stop: async () => {
      if (stopped) return;
      stopped = true;
      timer?.cancel();
      scrub.stop();
      space.stop();
      leases.stop();
      marks.stop();
      staging.stop();
      await Promise.all([space.idle(), marks.idle()]);
      await commits.flush().catch(() => {});
      commits.stop();
      await commits.idle();
      await sweep.end(() => space.isIdle && marks.isIdle && commits.isIdle);
    },
  };
}

function statsOf({ core, leases, commits, space, marks, boundBytes }: Parts): KeeperStats {
  const { counts, ledger } = core;
  const totals = core.index.totals();
  return {
    ...counts,
    dropped: { ...counts.dropped },
    refusals: { ...counts.refusals },
    versions: totals.versions,
    storedBytes: totals.storedBytes,
    usedBytes: space.usedBytes,
    boundBytes,
    pendingBlocks: commits.pendingBlocks,
    pendingBytes: ledger.pendingBytes,
    reservedBytes: ledger.reservedBytes,
    retiredBytes: ledger.retiredBytes,
    stagedBytes: ledger.stagedBytes,
    stagedFiles: core.staged.size,
    activeVersions: core.versions.size,
    releasesLate: core.retirement.late,
    leasesHeld: leases.held,
    leasesWaiting: leases.waiting,
    marks: marks.size,
  };
}
