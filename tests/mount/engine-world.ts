/** A mount on the real engine: Azurite as the lake, a keeper with its SQLite index on a real folder, all in one process. */
import { openSync } from "node:fs";
import { join } from "node:path";
import { limits, MIB } from "../../src/base/limits.ts";
import type { EngineContext } from "../../src/engine/context.ts";
import { createGenerations, type Generations, SHARED_BYTES } from "../../src/engine/generations.ts";
import { compilePolicies, defaultPolicy, type PolicyRule } from "../../src/engine/policy.ts";
import { createReader } from "../../src/engine/read.ts";
import { createStats, type Stats } from "../../src/engine/stats.ts";
import { createTrust } from "../../src/engine/trust.ts";
import { openFlashIndex } from "../../src/flash/index-open.ts";
import { openIndexReader } from "../../src/flash/index-reader.ts";
import { INDEX_FILE } from "../../src/flash/index-schema.ts";
import { createFlashKeeper } from "../../src/flash/keeper.ts";
import type { LocalFlashKeeper } from "../../src/flash/keeper-types.ts";
import { createReadFiles } from "../../src/flash/read-files.ts";
import { realClock } from "../../src/io/clock.ts";
import { realDisk } from "../../src/io/disk.ts";
import { openFolderSync } from "../../src/io/sync-folder.ts";
import { adviseDontNeed, createSharedFile, mapShared } from "../../src/io/syscalls.ts";
import { parseLakeAddress } from "../../src/lake/address.ts";
import { connectLake } from "../../src/lake/connect.ts";
import { createEngineSource } from "../../src/mount/engine-source.ts";
import type { FileSource } from "../../src/mount/types.ts";
import { createClosedDesk } from "../../src/writeback/desk-closed.ts";
import { type TempFolder, tempFolder } from "../support/temp.ts";
import { mountOn, type World } from "./harness.ts";

export interface EngineWorld {
  readonly world: World<FileSource>;
  readonly generations: Generations;
  readonly keeper: LocalFlashKeeper;
  readonly stats: Stats;
  /** What a change through Forebay does to the counters, around it. */
  changed(container: string, blob: string, change: () => Promise<unknown>): Promise<void>;
  end(): Promise<void>;
}

export interface EngineWorldOptions {
  readonly connection: string;
  readonly container: string;
  readonly prefix?: string;
  readonly maxStaleMs?: PolicyRule["maxStaleMs"];
  readonly passthrough?: boolean;
}

const EPOCH = "epoch-of-the-test";

export async function mountEngine(options: EngineWorldOptions): Promise<EngineWorld> {
  const temp: TempFolder = tempFolder("mount-flash");
  const sharedFd = createSharedFile("forebay-test", SHARED_BYTES);
  const sharedPath = `/proc/${process.pid}/fd/${sharedFd}`;
  const generations = createGenerations(mapShared(openSync(sharedPath, "r+"), SHARED_BYTES), EPOCH);
  generations.owed.recovered([]);
  const sync = openFolderSync(temp.path, () => {});
  const disk = realDisk(temp.path, () => sync.sync());
  const keeper = await createFlashKeeper({
    disk,
    openIndex: () => openFlashIndex(join(temp.path, INDEX_FILE), () => {}),
    clock: realClock,
    generations: { current: (key) => generations.at(generations.slotsOf(key)) },
    epoch: EPOCH,
    visited: generations.visited,
    flashBytesMax: 512 * MIB,
    log: () => {},
    earlierForgotten: () => generations.earlierForgotten(),
    dropCached: adviseDontNeed,
    bounds: { reserveBytesMin: 0 },
  });
  const files = createReadFiles(disk, limits.openFilesMax);
  const index = openIndexReader(join(temp.path, INDEX_FILE), realClock);
  const address = parseLakeAddress(options.connection);
  const lake = connectLake({ address, clock: realClock });
  const stats = createStats();
  const logs: string[] = [];
  const log: EngineContext["log"] = (level, message) => logs.push(`${level} ${message}`);
  const context: EngineContext = {
    holder: "mount-0",
    clock: realClock,
    disk,
    files,
    index,
    keeper,
    desk: createClosedDesk(keeper.staging),
    generations,
    era: () => "era",
    trust: createTrust(log, realClock),
    stats,
    log,
  };
  const rule: PolicyRule = {
    ...defaultPolicy,
    path: options.container,
    account: null,
    container: options.container,
    prefix: "",
    maxStaleMs: options.maxStaleMs ?? defaultPolicy.maxStaleMs,
  };
  const policies = compilePolicies([rule]);
  const reader = createReader(context);
  const make = (): FileSource =>
    createEngineSource({
      context,
      reader,
      lake: () => lake,
      policies: () => policies,
      container: options.container,
      prefix: options.prefix ?? "",
      sharedPath,
    });
  const world = await mountOn(make, { passthrough: options.passthrough ?? true });
  keeper.subscribe("mount-0", {
    evicted: async (fileIds) => {
      await Promise.all([files.release(fileIds), world.mount.evicted(fileIds)]);
    },
  });
  return {
    world,
    generations,
    keeper,
    stats,
    changed: async (container, blob, change) => {
      const scope = { account: address.account, container, blob };
      generations.move(scope);
      await change();
      generations.move(scope);
    },
    end: async () => {
      await world.end();
      index.close();
      await keeper.stop();
      files.close();
      sync.close();
      lake.close();
      temp.remove();
    },
  };
}
