/**
 * The keeper's process in the simulated world: the index and what writes it, and where a policy writes back the
 * journal, the drain and the desk, put together by the product's own composition.
 */
import { KIB } from "../src/base/limits.ts";
import type { Random } from "../src/base/random.ts";
import type { Generations } from "../src/engine/generations.ts";
import type { PolicyRule } from "../src/engine/policy.ts";
import { createFlashKeeper } from "../src/flash/keeper.ts";
import type { KeeperBounds, LocalFlashKeeper } from "../src/flash/keeper-types.ts";
import type { Disk } from "../src/io/disk.ts";
import type { Entry } from "../src/journal/types.ts";
import type { OwnLake } from "../src/lake/types.ts";
import { type OpenedWrites, openWrites, type Writes, writesBack } from "../src/node/keeper-writes.ts";
import { createClosedDesk } from "../src/writeback/desk-closed.ts";
import type { SimIndex } from "./index.ts";
import type { KeeperEnd, Life } from "./world-process.ts";

/** Parts of the keeper's process that a test may replace by broken ones. */
export interface KeeperFlaws {
  /** The keeper's disk. */
  readonly keeperDisk?: (real: Disk) => Disk;
  /** The disk as the journal and the drain have it. */
  readonly journalDisk?: (real: Disk) => Disk;
  /** The lake as the drain has it. */
  readonly drainLake?: (real: OwnLake) => OwnLake;
}

export interface KeeperParts {
  readonly life: Life;
  readonly index: SimIndex;
  readonly generations: Generations;
  readonly random: Random;
  readonly flashBytesMax: number;
  readonly bounds: Partial<KeeperBounds>;
  readonly flaws: KeeperFlaws;
  readonly rules: () => readonly PolicyRule[];
  readonly lake: () => OwnLake;
  readonly log: (level: string, message: string, fields?: Record<string, unknown>) => void;
  /** Told when an entry of the journal is pending no more. */
  readonly entryEnded: (entry: Entry) => void;
}

export interface KeeperProcess extends KeeperEnd {
  readonly local: LocalFlashKeeper;
  /** Null where nothing is written back. */
  readonly writes: Writes | null;
}

/** Small files of the journal: the simulated disk keeps every byte twice. */
const JOURNAL = { segmentBytes: 512 * KIB, reserveBytes: 64 * KIB, batchBytesMax: 256 * KIB } as const;

/** Opens the flash folder, and the journal in it where there is one or a rule wants one. */
export async function startKeeperProcess(parts: KeeperParts): Promise<KeeperProcess> {
  const { life, index, generations, flaws, log } = parts;
  const disk = flaws.keeperDisk?.(life.disk) ?? life.disk;
  let opened: OpenedWrites | null = null;
  const held = async (): Promise<OpenedWrites["held"]> => {
    if (!writesBack(parts.rules(), life.disk)) return [];
    opened = await openJournalOf(parts);
    return opened.held;
  };
  const local = await life.guard(
    createFlashKeeper({
      held,
      disk,
      openIndex: () => index.open(),
      clock: life.clock,
      generations: { current: (key) => generations.at(generations.slotsOf(key)) },
      epoch: generations.epoch,
      visited: generations.visited,
      earlierForgotten: generations.earlierForgotten,
      flashBytesMax: parts.flashBytesMax,
      log,
      bounds: parts.bounds,
    }),
  );
  const writes = beginWrites(parts, local, opened);
  return {
    life,
    local,
    writes,
    keeper: local,
    desk: writes?.desk ?? createClosedDesk(local.staging),
    subscribe: (holder, listener) => void local.subscribe(holder, listener),
    holderGone: (holder) => {
      local.holderGone(holder);
      writes?.desk.holderGone(holder);
    },
  };
}

function openJournalOf(parts: KeeperParts): Promise<OpenedWrites> {
  const { life, flaws, rules, generations, log } = parts;
  const lake = (): OwnLake => flaws.drainLake?.(parts.lake()) ?? parts.lake();
  return life.guard(
    openWrites({
      disk: flaws.journalDisk?.(life.disk) ?? life.disk,
      clock: life.clock,
      random: parts.random.fork(),
      generations,
      config: () => ({ policies: rules(), drainRate: null, pendingNames: true, flashFolder: "/simulated/flash" }),
      lakes: (account) => (account === lake().account ? lake() : undefined),
      accounts: () => [lake().account],
      segmentBytes: JOURNAL.segmentBytes,
      journalBounds: JOURNAL,
      log,
    }),
  );
}

function beginWrites(parts: KeeperParts, local: LocalFlashKeeper, opened: OpenedWrites | null): Writes | null {
  if (opened === null) {
    parts.generations.owed.recovered([]);
    return null;
  }
  const writes = opened.begin(local);
  const { desk } = writes;
  const { listener, entryMoved } = desk;
  const { ended } = listener;
  Object.assign(listener, {
    ended: (entry: Entry) => {
      parts.entryEnded(entry);
      ended(entry);
    },
  });
  Object.assign(desk, {
    entryMoved: (entry: Entry) => {
      if (entry.state.name === "aside") parts.entryEnded(entry);
      entryMoved(entry);
    },
  });
  return writes;
}
