/** A flash cache in a simulated world: disk, index and clock of one seed, and keepers that come and go on them. */
import { type Random, seededRandom } from "../src/base/random.ts";
import { checksumOf, filePath } from "../src/flash/files.ts";
import { createFlashKeeper } from "../src/flash/keeper.ts";
import type { FlashKeeperOptions, KeeperBounds, LocalFlashKeeper } from "../src/flash/keeper-types.ts";
import type { AcquireRequest, Generation, Variant, VersionRecord } from "../src/flash/types.ts";
import type { Clock } from "../src/io/clock.ts";
import { createSimClock, type SimClock } from "./clock.ts";
import { createSimDisk, type DiskDelays, type SimDisk } from "./disk.ts";
import { createSimIndex, type SimIndex } from "./index.ts";

/** Counters of changes that a test moves by hand, one for each blob. */
export interface SimGenerations {
  current(key: string): Generation;
  move(key: string): void;
}

export interface FlashWorld {
  readonly clock: SimClock;
  readonly random: Random;
  readonly disk: SimDisk;
  readonly index: SimIndex;
  readonly generations: SimGenerations;
  readonly visited: Uint8Array;
  readonly log: string[];
  /** Names the life of the counters; a new one with every power loss. */
  readonly epoch: string;
  start(changes?: Partial<FlashKeeperOptions>): Promise<LocalFlashKeeper>;
  /** The keeper's process is killed. */
  kill(): void;
  powerLoss(): void;
  request(key: string, changes?: Partial<AcquireRequest>): AcquireRequest;
  variant(key: string, changes?: Partial<Variant>): Variant;
  /** Acquires and publishes; the record, or the reason why not. */
  publish(keeper: LocalFlashKeeper, key: string, etag: string, sizeBytes: number): Promise<VersionRecord | string>;
  /** Writes blocks that were granted, as a server does, and reports them. */
  fill(keeper: LocalFlashKeeper, record: VersionRecord, blocks: readonly number[], bytes: BytesOf): Promise<void>;
}

/** The right bytes of a block. */
export type BytesOf = (record: VersionRecord, block: number) => Uint8Array;

/** Bytes that follow from the key, the ETag and the block. */
export const blockBytesOf: BytesOf = (record, block) => {
  const length = Math.min(record.blockBytes, record.sizeBytes - block * record.blockBytes);
  const seed = Number(Bun.hash.xxHash32(`${record.key} ${record.etag} ${block}`));
  return seededRandom(seed).fill(new Uint8Array(length));
};

/** An empty world. */
export function createFlashWorld(parts: {
  readonly seed: number;
  readonly flashBytesMax: number;
  readonly capacityBytes?: number;
  readonly delays?: DiskDelays;
  readonly bounds?: Partial<KeeperBounds>;
}): FlashWorld {
  const clock = createSimClock();
  const random = seededRandom(parts.seed);
  const { delays } = parts;
  const capacityBytes = parts.capacityBytes ?? parts.flashBytesMax * 4;
  const disk = createSimDisk({
    random: random.fork(),
    clock,
    capacityBytes,
    ...(delays === undefined ? {} : { delays }),
  });
  const index = createSimIndex();
  const counters = new Map<string, number>();
  const generations: SimGenerations = {
    current: (key) => [counters.get(key) ?? 0, 0, 0],
    move: (key) => void counters.set(key, (counters.get(key) ?? 0) + 1),
  };
  const visited = new Uint8Array(1 << 16);
  const log: string[] = [];
  let life = 1;
  let processes = 0; // a keeper that was killed does nothing any more: its timers never fire
  const epoch = (): string => `life-${life}`;
  const isCurrent = (mine: number) => (): boolean => mine === processes;

  const world: FlashWorld = {
    clock,
    random,
    disk,
    index,
    generations,
    visited,
    log,
    get epoch() {
      return epoch();
    },
    start: (changes) =>
      clock.settle(
        createFlashKeeper({
          disk,
          openIndex: () => index.open(),
          clock: clockWhile(clock, isCurrent(processes)),
          generations,
          epoch: epoch(),
          visited,
          flashBytesMax: parts.flashBytesMax,
          log: (level, message, fields) => void log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`),
          ...changes,
          bounds: { blockBytes: 4096, reserveBytesMin: 0, idsReserved: 16, ...parts.bounds, ...changes?.bounds },
        }),
      ),
    kill: () => {
      processes++;
      disk.killProcesses();
      index.kill();
    },
    powerLoss: () => {
      processes++;
      disk.powerLoss();
      index.powerLoss(random);
      visited.fill(0);
      life++;
    },
    request: (key, changes) => ({
      holder: "server-1",
      key,
      variantId: "get|2025-01-05",
      sentAtMsMin: clock.monotonicMs() - 5_000,
      generation: generations.current(key),
      epoch: epoch(),
      ...changes,
    }),
    variant: (key, changes) => ({
      id: "get|2025-01-05",
      headers: ["Content-Type", "application/octet-stream"],
      sentAtMs: clock.monotonicMs(),
      generation: generations.current(key),
      epoch: epoch(),
      ...changes,
    }),
    publish: async (keeper, key, etag, sizeBytes) => {
      const sentAtMsMin = Number.POSITIVE_INFINITY;
      const acquired = await clock.settle(keeper.acquire(world.request(key, { sentAtMsMin })));
      if (acquired.kind !== "lease") return acquired.kind;
      const variant = world.variant(key);
      const published = await clock.settle(keeper.publish({ lease: acquired.lease, etag, sizeBytes, variant }));
      return published.kind === "record" ? published.record : published.reason;
    },
    fill: async (keeper, record, blocks, bytesOf) => {
      const fd = disk.open(filePath(record.id), "write");
      for (const block of blocks) {
        const bytes = bytesOf(record, block);
        await clock.settle(disk.write(fd, bytes, block * record.blockBytes));
        await clock.settle(keeper.filled(record.id, [{ block, checksum: checksumOf(bytes) }]));
      }
      disk.close(fd);
    },
  };
  return world;
}

/** `clock` for a process: when it is not alive, nothing happens in it. */
function clockWhile(clock: SimClock, isAlive: () => boolean): Clock {
  return {
    wallMs: clock.wallMs,
    monotonicMs: clock.monotonicMs,
    after: (delayMs, run) => clock.after(delayMs, () => isAlive() && run()),
    sleep: (delayMs) => new Promise((resolve) => void clock.after(delayMs, () => isAlive() && resolve())),
  };
}
