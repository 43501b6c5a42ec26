/**
 * The keeper's process: the index and everything that writes it, what the servers ask of it, and the admin endpoint.
 * Where the flash cannot be used it goes on without, says so, and tries again; a folder that came back is opened by a
 * fresh process, because start-up is recovery.
 */

import { existsSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { startAdminServer } from "../admin/server.ts";
import type { AdminSources, WriteActions, WritesView } from "../admin/types.ts";
import { asForebayError, ForebayError } from "../base/errors.ts";
import { limits, MIB } from "../base/limits.ts";
import { createGenerations, type Generations, SHARED_BYTES } from "../engine/generations.ts";
import { openFlashIndex } from "../flash/index-open.ts";
import { INDEX_FILE } from "../flash/index-schema.ts";
import { createFlashKeeper } from "../flash/keeper.ts";
import type { LocalFlashKeeper } from "../flash/keeper-types.ts";
import { listenChannel, type Peer } from "../io/channel.ts";
import { realClock } from "../io/clock.ts";
import { type Disk, realDisk } from "../io/disk.ts";
import type { FileLock } from "../io/file-lock.ts";
import { type FolderSync, openFolderSync } from "../io/sync-folder.ts";
import { adviseDontNeed, mapShared } from "../io/syscalls.ts";
import { type LakeProbe, probeLake } from "../lake/probe.ts";
import { createClosedDesk } from "../writeback/desk-closed.ts";
import type { WriteDesk } from "../writeback/types.ts";
import { type Running, runChild } from "./child.ts";
import { type Config, flashBoundBytes } from "./config.ts";
import { answerDeskCall, isDeskCall } from "./desk-calls.ts";
import { lockIndex } from "./flash-lock.ts";
import { answerKeeperCall } from "./keeper-calls.ts";
import { flashView, lakeView } from "./keeper-views.ts";
import { type OpenedWrites, openWrites, unforeseeable, type Writes, writesBack } from "./keeper-writes.ts";
import { type LakeClient, openLakes } from "./lakes.ts";
import { createLogger } from "./logger.ts";
import type { Init } from "./messages.ts";
import { collectServerStats, type ServerStats } from "./server-stats.ts";
import { VERSION } from "./version.ts";
import { createWriteActions } from "./write-actions.ts";
import { policyView, writesView } from "./writes-view.ts";
import { createWritesWatch } from "./writes-watch.ts";

const PROBE_INTERVAL_MS = 30_000;
const FLASH_RETRY_MS = 5_000;
/** A cache smaller than this has a journal of smaller files. */
const SMALL_FLASH_BYTES = 512 * MIB;
/** The answer to a reload goes out before a process that has to start anew ends. */
const RESTART_MS = 100;

interface KeeperWorld {
  readonly init: Init;
  readonly log: ReturnType<typeof createLogger>;
  readonly generations: Generations;
  readonly disk: Disk;
  readonly peers: Map<string, Peer>;
  readonly probes: Map<string, LakeProbe>;
  readonly stats: ServerStats;
  config: Config;
  lakes: Map<string, LakeClient>;
  keeper: LocalFlashKeeper | null;
  /** Null: nothing is written back. */
  writes: Writes | null;
  desk: WriteDesk | null;
  lock: FileLock | null;
  sync: FolderSync | null;
  flashProblem: string;
  flashBound: number;
}

function syncFolder(world: KeeperWorld): Promise<void> {
  return world.sync?.sync() ?? Promise.reject(new ForebayError("flash-failed", "the flash folder is not open"));
}

async function start(init: Init): Promise<Running> {
  const { config } = init;
  const log = createLogger(init.name, config.logLevel);
  const generations = createGenerations(mapShared(openSync(init.sharedPath, "r+"), SHARED_BYTES), init.epoch);
  const world: KeeperWorld = {
    init,
    log,
    generations,
    disk: realDisk(config.flashFolder, () => syncFolder(world)),
    sync: null,
    peers: new Map(),
    probes: new Map(),
    stats: collectServerStats(),
    config,
    lakes: openLakes(config),
    keeper: null,
    writes: null,
    desk: null,
    lock: null,
    flashProblem: "not opened yet",
    flashBound: 0,
  };
  const problem = await openFlash(world);
  // A folder that this version must not touch ends the start; all else is tried again.
  if (problem?.code === "config") throw problem;
  const channel = listenChannel(
    init.channelPath,
    (method, args, peer) => answer(world, method, args, peer),
    () => {},
  );
  const admin = listenAdmin(world);
  const unwatchFlash = keepWatchingFlash(world);
  const watch = createWritesWatch(() => writesOf(world), log);
  const probing = setInterval(() => {
    void probeAll(world);
    watch.look();
  }, PROBE_INTERVAL_MS);
  void probeAll(world);
  return {
    port: admin.port,
    reload: async (next) => {
      world.config = next;
      world.lakes = openLakes(next);
      void probeAll(world);
      world.writes?.reconfigured();
      if (world.writes === null && world.keeper !== null && writesBack(next.policies, world.disk)) {
        log("info", "a policy writes back now: the keeper starts anew with a journal");
        setTimeout(() => process.exit(75), RESTART_MS);
      }
    },
    stop: async (deadlineMs) => {
      unwatchFlash();
      clearInterval(probing);
      world.stats.stop();
      await world.writes?.stop(Math.min(deadlineMs, world.config.drainDeadlineMs));
      await world.keeper?.stop();
      await channel.close();
      await admin.stop();
    },
  };
}

/** Opens the flash folder. Null: it is open. */
async function openFlash(world: KeeperWorld): Promise<ForebayError | null> {
  const { config, log, disk, generations } = world;
  const indexPath = join(config.flashFolder, INDEX_FILE);
  let opened: OpenedWrites | null = null;
  try {
    mkdirSync(config.flashFolder, { recursive: true, mode: 0o700 });
    world.lock?.release();
    world.lock = null;
    world.lock = await lockIndex(config.flashFolder);
    world.sync?.close();
    world.sync = openFolderSync(config.flashFolder, (why) => log("warn", "flushes run on the main thread", { why }));
    world.flashBound = flashBound(world, indexPath);
    const held = async (): Promise<OpenedWrites["held"]> => {
      opened = await openJournalOf(world);
      return opened?.held ?? [];
    };
    const keeper = await createFlashKeeper({
      held,
      disk,
      openIndex: () => openFlashIndex(indexPath, log),
      clock: realClock,
      generations: { current: (key) => generations.at(generations.slotsOf(key)) },
      epoch: generations.epoch,
      visited: generations.visited,
      flashBytesMax: world.flashBound,
      log,
      earlierForgotten: generations.earlierForgotten,
      dropCached: adviseDontNeed,
    });
    beginWrites(world, keeper, opened);
    world.keeper = keeper;
    world.flashProblem = "";
    for (const [holder, peer] of world.peers) subscribe(world, holder, peer);
    return null;
  } catch (error) {
    await (opened as OpenedWrites | null)?.abandon();
    const problem = asForebayError(error);
    const { code, message } = problem;
    if (world.flashProblem !== message) {
      log("error", "flash cannot be used; reads are served from the lake", { code, reason: message });
    }
    world.flashProblem = message;
    // Where nothing is written back, nothing can be pending that a reader would miss.
    if (!config.policies.some(({ write }) => write === "back")) generations.owed.recovered([]);
    return problem;
  }
}

/** The journal of the flash folder, where there is one or a policy wants one. */
async function openJournalOf(world: KeeperWorld): Promise<OpenedWrites | null> {
  const { disk, generations, log, flashBound } = world;
  if (!writesBack(world.config.policies, disk)) return null;
  return openWrites({
    disk,
    clock: realClock,
    random: unforeseeable(),
    generations,
    config: () => world.config,
    lakes: (account) => world.lakes.get(account)?.lake,
    accounts: () => [...world.lakes.keys()],
    segmentBytes: flashBound < SMALL_FLASH_BYTES ? limits.journalSegmentBytes / 2 : limits.journalSegmentBytes,
    log,
  });
}

function beginWrites(world: KeeperWorld, keeper: LocalFlashKeeper, opened: OpenedWrites | null): void {
  if (opened === null) {
    world.desk = createClosedDesk(keeper.staging);
    world.generations.owed.recovered([]);
    return;
  }
  world.writes = opened.begin(keeper);
  world.desk = world.writes.desk;
}

/** Bytes that the cache may take: as said, or a share of what others leave on the file system. */
function flashBound(world: KeeperWorld, indexPath: string): number {
  const { config, disk, log } = world;
  if ("bytes" in config.flashSize || !existsSync(indexPath)) {
    return flashBoundBytes(config.flashSize, disk.space().freeBytes, 0);
  }
  const index = openFlashIndex(indexPath, log);
  const { storedBytes, left } = index.totals();
  index.close();
  return flashBoundBytes(config.flashSize, disk.space().freeBytes, storedBytes + left);
}

/** One look after the other: an opening that takes long must not meet a second one. */
function keepWatchingFlash(world: KeeperWorld): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | null = null;
  const again = (): void => {
    if (stopped) return;
    timer = setTimeout(() => {
      watchFlash(world)
        .catch((error: unknown) => {
          world.log("error", "a look after the flash failed", { reason: asForebayError(error).message });
        })
        .finally(again);
    }, FLASH_RETRY_MS);
  };
  again();
  return () => {
    stopped = true;
    if (timer !== null) clearTimeout(timer);
  };
}

/** Without flash: tries to open it. With a flash that only a new keeper can use again: makes room for one. */
async function watchFlash(world: KeeperWorld): Promise<void> {
  if (world.keeper === null) {
    if ((await openFlash(world)) === null) world.log("info", "flash can be used again");
    return;
  }
  const health = world.keeper.health();
  if (health.ok || !health.needsReopen) return;
  world.log("error", "the flash folder or its index was lost; opening it anew", { reason: health.reason });
  process.exit(75);
}

async function answer(world: KeeperWorld, method: string, args: readonly unknown[], peer: Peer): Promise<unknown> {
  if (method === "hello") {
    const holder = String(args[0]);
    world.peers.set(holder, peer);
    world.stats.joined(holder, peer);
    subscribe(world, holder, peer);
    void peer.closed.then(() => {
      if (world.peers.get(holder) !== peer) return;
      world.peers.delete(holder);
      world.stats.gone(holder);
      // Its subscription ends with it.
      world.keeper?.holderGone(holder);
      world.writes?.desk.holderGone(holder);
    });
    return null;
  }
  const { keeper, desk } = world;
  if (isDeskCall(method) && desk !== null) return answerDeskCall(desk, method, args);
  if (keeper === null) throw new ForebayError("flash-failed", `flash cannot be used: ${world.flashProblem}`);
  const result = answerKeeperCall(keeper, method, args);
  if (result === null) throw new ForebayError("internal", `a server asked for ${method}, which is not known here`);
  return result;
}

/** A server lets go of evicted files when told; where there is no flash yet, once there is. */
function subscribe(world: KeeperWorld, holder: string, peer: Peer): void {
  world.keeper?.subscribe(holder, {
    evicted: async (fileIds) => {
      await peer.call("evicted", [fileIds]);
    },
  });
}

async function probeAll(world: KeeperWorld): Promise<void> {
  await Promise.all(
    [...world.lakes].map(async ([account, { lake }]) => {
      const probe = await probeLake(lake, realClock);
      if (probe.error !== undefined && world.probes.get(account)?.error !== probe.error) {
        world.log("warn", "the lake does not answer as it should", { account, reason: probe.error });
      }
      world.probes.set(account, probe);
    }),
  );
}

function listenAdmin(world: KeeperWorld): ReturnType<typeof startAdminServer> {
  const { host } = world.config.admin;
  const { port } = world.init;
  const sources: AdminSources = {
    version: VERSION,
    startedAtMs: world.init.startedAtMs,
    nowMs: () => Date.now(),
    lakes: () => [...world.lakes].map(([account, client]) => lakeView(account, client, world.probes.get(account))),
    policies: () => world.config.policies.map(policyView),
    flash: () => flashView(world.config.flashFolder, world.flashBound, world.keeper, world.flashProblem),
    servers: async () => ({ ...(await world.stats.collect()), expected: world.config.servers }),
    writes: () => writesOf(world),
    writeActions: () => actionsOf(world),
  };
  try {
    return startAdminServer(host, port, sources);
  } catch (cause) {
    const what = `cannot listen at ${host}:${port} (${asForebayError(cause).message})`;
    throw new ForebayError("config", `${what}; is another Forebay running? choose another --admin HOST:PORT`, {
      cause,
    });
  }
}

function writesOf({ writes, config }: KeeperWorld): WritesView | null {
  return writes && writesView({ ...writes, policies: config.policies, nowMs: realClock.wallMs() });
}

function actionsOf(world: KeeperWorld): WriteActions | null {
  const { writes, disk } = world;
  const accounts = (): string[] => [...world.lakes.keys()];
  return writes && createWriteActions({ ...writes, disk, clock: realClock, accounts, log: world.log });
}

runChild(start);
