/**
 * The supervisor: makes the shared memory, starts the keeper and the servers, starts them again when they fall, and
 * ends them. It touches no data, so that it has no reason to fall itself.
 *
 *   supervisor ── keeper (one: index, space, leases, admin)
 *              └─ server-0 … server-N (one port, shared by SO_REUSEPORT)
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { createGenerations, type Generations, SHARED_BYTES } from "../engine/generations.ts";
import type { FileLock } from "../io/file-lock.ts";
import { createSharedFile, mapShared } from "../io/syscalls.ts";
import type { Config } from "./config.ts";
import { endEra, endpointOf, eraFingerprint, eraOf } from "./era.ts";
import { lockFolder } from "./flash-lock.ts";
import { cannotListen } from "./listen-error.ts";
import { createLogger } from "./logger.ts";
import type { FromChild, Init, ToChild } from "./messages.ts";
import { makeRunFolder } from "./run-folder.ts";
import { readTls } from "./tls.ts";

/** A running Forebay. */
export interface Forebay {
  /** `http[s]://HOST:PORT/ACCOUNT`, one for each account. */
  readonly blobUrls: readonly string[];
  /** `http://HOST:PORT`. */
  readonly adminUrl: string;
  /** Stops gracefully; a second call while that goes on ends everything at once. */
  stop(): Promise<void>;
  /** New policies, credentials and certificates; other settings need a new start. */
  reload(config: Config): Promise<void>;
  /** Resolves with the exit status when everything has ended. */
  readonly done: Promise<number>;
}

interface Child {
  readonly name: string;
  readonly role: "keeper" | "server";
  process: Bun.Subprocess | null;
  port: number;
  failures: number;
  /** Hears of the answer to the reload of this number. */
  reloaded: (number: number) => void;
}

const RESTART_PAUSE_MS_MAX = 5_000;
/** A process that ran this long had started well: its next fall is a first one. */
const SETTLED_MS = 10_000;
/** A process that does not follow a reload within this is ended: it starts again with the new settings. */
const FOLLOW_MS_MAX = 10_000;

/** Starts Forebay. Rejects with one clear error when it cannot begin (a port is taken, a certificate is wrong). */
export async function startForebay(config: Config, _options: object = {}): Promise<Forebay> {
  const log = createLogger("supervisor", config.logLevel);
  const lock = holdFlash(config, log);
  const folder = makeRunFolder();
  const sharedFd = createSharedFile("forebay", SHARED_BYTES);
  const epoch = crypto.randomUUID();
  const world: World = {
    config,
    log,
    era: eraOf(config),
    stopping: false,
    reloads: 0,
    generations: createGenerations(mapShared(sharedFd, SHARED_BYTES), epoch),
    base: {
      sharedPath: `/proc/${process.pid}/fd/${sharedFd}`,
      epoch,
      channelPath: join(folder.path, "keeper.sock"),
      startedAtMs: Date.now(),
    },
    children: [newChild("keeper", "keeper", config.admin.port)],
  };
  for (let i = 0; i < config.servers; i++) {
    world.children.push(newChild(`server-${i}`, "server", config.listen.port));
  }
  let finish: (status: number) => void = () => {};
  const done = new Promise<number>((resolve) => {
    finish = resolve;
  });
  const end = async (deadlineMs: number): Promise<void> => {
    world.stopping = true;
    await endAll(world, deadlineMs);
    folder.remove();
    lock?.release();
    finish(0);
  };
  try {
    checkPort(config);
    await startAll(world);
  } catch (error) {
    await end(0);
    throw error;
  }
  const [keeper, first] = world.children as [Child, Child];
  let reloading: Promise<void> = Promise.resolve();
  const scheme = config.tls ? "https" : "http";
  const at = `${hostInUrl(config.listen.host)}:${first.port}`;
  return {
    blobUrls: config.lakes.map((lake) => `${scheme}://${at}/${lake.account}`),
    adminUrl: `http://${hostInUrl(config.admin.host)}:${keeper.port}`,
    stop: () => end(world.stopping ? 0 : world.config.stopDeadlineMs),
    reload: (next) => {
      const mine = reloading.then(() => reload(world, next));
      reloading = mine.catch(() => {});
      return mine;
    },
    done,
  };
}

/** Takes the flash folder for this Forebay. Null: it cannot be had now; the keeper says so and goes on trying. */
function holdFlash(config: Config, log: World["log"]): FileLock | null {
  try {
    mkdirSync(config.flashFolder, { recursive: true, mode: 0o700 });
    return lockFolder(config.flashFolder);
  } catch (error) {
    if (hasCode(error, "config")) throw error;
    log("error", "the flash folder cannot be used; serving from the lake", { reason: asForebayError(error).message });
    return null;
  }
}

/** Servers that share a port would also share it with another Forebay's, unseen. */
function checkPort(config: Config): void {
  const { host, port } = config.listen;
  if (port === 0 || config.servers === 1) return;
  try {
    Bun.listen({ hostname: host, port, socket: { data: () => {} } }).stop(true);
  } catch (cause) {
    throw cannotListen(host, port, cause);
  }
}

interface World {
  config: Config;
  era: string;
  stopping: boolean;
  /** Reloads told to the processes so far: the number of the last one. */
  reloads: number;
  readonly generations: Generations;
  readonly log: ReturnType<typeof createLogger>;
  readonly base: Pick<Init, "sharedPath" | "epoch" | "channelPath" | "startedAtMs">;
  readonly children: Child[];
}

/** Makes all processes follow `next`. Rejects, and changes nothing, when its certificate is no use. */
async function reload(world: World, next: Config): Promise<void> {
  if (world.stopping) return;
  // Judged before anything follows it.
  readTls(next);
  const before = world.config;
  world.config = next;
  if (eraFingerprint(before) !== eraFingerprint(next)) {
    // While some processes know the new policies and others do not, changes to a path may go unmarked: what is
    // cached meanwhile belongs to an era that nobody keeps.
    endEra(before);
    world.era = crypto.randomUUID();
    await reloadAll(world);
    // All ask the new lakes by now: what came of others by the same name is to be checked.
    for (const account of movedAccounts(before, next)) {
      world.generations.move({ account, container: null, blob: null });
    }
    if (world.stopping) return;
    world.era = eraOf(next);
  }
  await reloadAll(world);
  if (!world.stopping) world.log("info", "settings reloaded");
}

/** The accounts whose name stands for another lake than before, or for none. */
function movedAccounts(before: Config, next: Config): string[] {
  const endpoints = (config: Config): Map<string, string> =>
    new Map(config.lakes.map((lake) => [lake.account, endpointOf(lake)]));
  const [was, is] = [endpoints(before), endpoints(next)];
  return [...new Set([...was.keys(), ...is.keys()])].filter((account) => was.get(account) !== is.get(account));
}

/** Tells every process and waits until each has followed or fallen (it then starts with the new settings). */
async function reloadAll(world: World): Promise<void> {
  const { config, era } = world;
  const number = ++world.reloads;
  const message: ToChild = { type: "reload", number, config, era };
  await Promise.all(world.children.map((child) => follow(world, child, message, number)));
}

async function follow(world: World, child: Child, message: ToChild, number: number): Promise<void> {
  const running = child.process;
  if (running === null) return;
  const followed = new Promise<void>((resolve) => {
    child.reloaded = (answered) => {
      if (answered === number) resolve();
    };
  });
  tell(child, message);
  const timer = setTimeout(() => {
    world.log("error", `${child.name} does not follow a reload: it is ended`, { waitedMs: FOLLOW_MS_MAX });
    running.kill("SIGKILL");
  }, FOLLOW_MS_MAX);
  await Promise.race([followed, running.exited]);
  clearTimeout(timer);
}

function newChild(name: string, role: Child["role"], port: number): Child {
  return { name, role, port, process: null, failures: 0, reloaded: () => {} };
}

function hostInUrl(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

async function startAll(world: World): Promise<void> {
  const [keeper, first, ...others] = world.children as [Child, Child, ...Child[]];
  keeper.port = await start(world, keeper);
  first.port = await start(world, first);
  for (const child of others) child.port = first.port;
  await Promise.all(others.map((child) => start(world, child)));
}

/** Settings reach the children over the pipe; what the environment may hold of secrets stays with the supervisor. */
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FOREBAY_")));

const ENTRY = { keeper: "keeper-process.ts", server: "server-process.ts" } as const;

/** Starts one process and resolves with its port when it is ready; from then on it is started again when it falls. */
function start(world: World, child: Child): Promise<number> {
  return new Promise((resolve, reject) => {
    let ready = false;
    let failure: ForebayError | null = null;
    const startedAtMs = performance.now();
    const heard = (raw: unknown): void => {
      const message = raw as FromChild;
      if (message.type === "ready") {
        ready = true;
        resolve(message.port);
      } else if (message.type === "reloaded") {
        child.reloaded(message.number);
      } else if (message.type === "unchanged") {
        world.log("error", `${child.name} could not reload and keeps its settings`, { reason: message.message });
        child.reloaded(message.number);
      } else {
        failure = new ForebayError(message.code === "config" ? "config" : "internal", message.message);
      }
    };
    const ended = (_process: unknown, status: number | null, signal: number | null): void => {
      child.process = null;
      if (world.stopping) return;
      if (!ready) {
        reject(
          failure ?? new ForebayError("internal", `${child.name} ended with status ${status} before it was ready`),
        );
        return;
      }
      if (performance.now() - startedAtMs > SETTLED_MS) child.failures = 0;
      world.log("error", `${child.name} ended, starting it again`, { status: status ?? -1, signal: signal ?? 0 });
      startAgain(world, child);
    };
    child.process = Bun.spawn([process.execPath, join(import.meta.dir, ENTRY[child.role])], {
      env: ENVIRONMENT,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "inherit",
      serialization: "json",
      ipc: heard,
      onExit: ended,
    });
    tell(child, {
      type: "init",
      init: {
        ...world.base,
        config: world.config,
        era: world.era,
        role: child.role,
        name: child.name,
        port: child.port,
      },
    });
  });
}

function startAgain(world: World, child: Child): void {
  const pauseMs = child.failures === 0 ? 0 : Math.min(RESTART_PAUSE_MS_MAX, 100 * 2 ** child.failures);
  child.failures++;
  setTimeout(() => {
    if (world.stopping) return;
    start(world, child).catch((error: unknown) => {
      world.log("error", `${child.name} could not be started`, { reason: asForebayError(error).message });
      if (!world.stopping) startAgain(world, child);
    });
  }, pauseMs);
}

function tell(child: Child, message: ToChild): void {
  try {
    child.process?.send(message);
  } catch {
    // It is gone: its end is handled where it is noticed.
  }
}

/** Servers first: their last responses may need the keeper. */
async function endAll(world: World, deadlineMs: number): Promise<void> {
  const servers = world.children.filter((child) => child.role === "server");
  const keepers = world.children.filter((child) => child.role === "keeper");
  await Promise.all(servers.map((child) => endOne(child, deadlineMs)));
  // What is pending is carried to the lake first, for a while.
  const drainMs = deadlineMs === 0 ? 0 : Math.max(deadlineMs, world.config.drainDeadlineMs);
  await Promise.all(keepers.map((child) => endOne(child, drainMs)));
}

async function endOne(child: Child, deadlineMs: number): Promise<void> {
  const running = child.process;
  if (running === null) return;
  if (deadlineMs === 0) running.kill("SIGKILL");
  else tell(child, { type: "stop", deadlineMs });
  const timer = setTimeout(() => running.kill("SIGKILL"), deadlineMs + 2_000);
  await running.exited;
  clearTimeout(timer);
}
