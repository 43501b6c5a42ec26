/**
 * The simulated world: servers, a keeper, flash and a lake in one process on simulated time, put together from the
 * product's own parts and wired by calls that take time and get lost. Everything follows from one seed. Tests make
 * things happen in it (requests, writers behind Forebay's back, crashes, power cuts, faults) and check what clients got.
 */
import { GIB, MIB } from "../src/base/limits.ts";
import { type Random, seededRandom } from "../src/base/random.ts";
import { createGenerations, type Generations, SHARED_BYTES } from "../src/engine/generations.ts";
import type { PolicyRule } from "../src/engine/policy.ts";
import type { KeeperBounds, LocalFlashKeeper } from "../src/flash/keeper-types.ts";
import type { Entry } from "../src/journal/types.ts";
import type { LakeAddress } from "../src/lake/address.ts";
import type { OwnLake } from "../src/lake/types.ts";
import type { Writes } from "../src/node/keeper-writes.ts";
import { createSimClock, type SimClock } from "./clock.ts";
import { createSimDisk, type SimDisk } from "./disk.ts";
import type { Ongoing } from "./exchange.ts";
import { createSimIndex, type SimIndex } from "./index.ts";
import { simAddress } from "./lake/client.ts";
import { type KeeperFlaws, type KeeperProcess, startKeeperProcess } from "./world-keeper.ts";
import { createWorldLake, type WorldLake } from "./world-lake.ts";
import { createLife, type KeeperEnd, type Life } from "./world-process.ts";
import { OPEN_FILES, type ServerFlaws, startServer, type WorldRequest, type WorldServer } from "./world-server.ts";

/** Broken parts, one at a time: what the checks must notice. */
export interface Flaws extends ServerFlaws, KeeperFlaws {
  readonly era?: string;
}

export interface WorldOptions {
  readonly seed: number;
  readonly servers?: number;
  readonly rules?: readonly PolicyRule[];
  readonly blockBytes?: number;
  readonly flashBytesMax?: number;
  readonly capacityBytes?: number;
  readonly bounds?: Partial<KeeperBounds>;
  /** Whether Forebay has a credential of its own; true unless said. */
  readonly ownCredential?: boolean;
  /** The longest that a message between processes takes. */
  readonly channelMsMax?: number;
  readonly flaws?: Flaws;
  /** Told when an entry of the journal is pending no more. */
  readonly entryEnded?: (entry: Entry) => void;
}

export interface World {
  readonly clock: SimClock;
  readonly random: Random;
  readonly disk: SimDisk;
  readonly index: SimIndex;
  readonly lake: WorldLake;
  /** The servers that run, by number; undefined while one does not. */
  readonly servers: readonly (WorldServer | undefined)[];
  readonly keeper: () => LocalFlashKeeper | null;
  /** The journal, the drain and the desk; null where nothing is written back, or while no keeper runs. */
  readonly writes: () => Writes | null;
  readonly generations: () => Generations;
  readonly log: readonly string[];
  /** Starts whatever does not run. */
  boot(): Promise<void>;
  killKeeper(): void;
  startKeeper(): Promise<void>;
  killServer(number: number): void;
  startServer(number: number): void;
  /** The power fails: all processes end, and with them what was not synced. */
  powerLoss(): void;
  /** Gives new rules, or the account's key (base64), to all servers as the supervisor does: each in its turn, twice. */
  reload(change: { rules?: readonly PolicyRule[]; key?: string }): Promise<void>;
  /** The rules in force at the latest start or reload. */
  readonly rules: () => readonly PolicyRule[];
  /** Sends a request to a server that runs. */
  send(server: number, request: WorldRequest): Ongoing;
  /** Ends everything. */
  end(): void;
}

const REJOIN_MS_MAX = 100;
/** How often the keeper's process looks after its flash, and the supervisor after it. */
const WATCH_MS = 5_000;

/** A world at rest: {@link World.boot} starts it. */
export function createWorld(options: WorldOptions): World {
  const { flaws = {} } = options;
  const clock = createSimClock();
  const random = seededRandom(options.seed);
  const flashBytesMax = options.flashBytesMax ?? 256 * MIB;
  const disk = createSimDisk({
    random: random.fork(),
    clock,
    capacityBytes: options.capacityBytes ?? GIB,
    delays: { ioMsMax: 2, syncMsMax: 20 },
  });
  const index = createSimIndex();
  const lake = createWorldLake(clock, random.fork());
  const log: string[] = [];
  const count = options.servers ?? 2;
  const servers: (WorldServer | undefined)[] = Array.from({ length: count }, () => undefined);
  const channelMsMax = options.channelMsMax ?? 4;
  let rules = options.rules ?? [];
  let address = simAddress(lake.service);
  if (options.ownCredential === false) address = { ...address, credential: { kind: "none" } };
  let boots = 0;
  let starts = 0;
  let eras = 0;
  let era = flaws.era ?? "era-0";
  let generations = createGenerations(new ArrayBuffer(SHARED_BYTES), "epoch-0");
  let keeper: KeeperProcess | null = null;
  let keeperStarting: Life | null = null;
  let keeperWanted = false;
  let ended = false;

  const join = (server: WorldServer, end: KeeperEnd): void => {
    clock.after(random.below(REJOIN_MS_MAX), () => {
      if (end.life.alive() && server.life.alive()) server.link.join(end);
    });
  };
  const startOne = (number: number): void => {
    if (servers[number] !== undefined) return;
    const server = startServer({
      holder: `server-${number}-${starts++}`,
      clock,
      disk,
      index: index.reader(),
      generations,
      lake,
      random: random.fork(),
      channelMsMax,
      openFilesMax: OPEN_FILES,
      settings: { rules, era, address },
      flaws,
    });
    servers[number] = server;
    // A server waits for the keeper when it starts, as the real one does.
    if (keeper !== null) server.link.join(keeper);
  };
  const startKeeper = async (): Promise<void> => {
    keeperWanted = true;
    if (keeper !== null || keeperStarting !== null) return;
    const life = createLife({ clock, disk });
    keeperStarting = life;
    const lakeOf = connecting(lake, life);
    try {
      keeper = await startKeeperProcess({
        life,
        index,
        generations,
        random,
        flashBytesMax,
        bounds: { blockBytes: options.blockBytes ?? 4096, reserveBytesMin: 0, idsReserved: 64, ...options.bounds },
        flaws,
        rules: () => rules,
        lake: () => lakeOf(address),
        log: (level, message, fields) => log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`),
        entryEnded: options.entryEnded ?? (() => {}),
      });
      for (const server of servers) if (server !== undefined) join(server, keeper);
    } catch (error) {
      // The real one tries again every few seconds; here whoever runs the history does.
      log.push(`the keeper did not start: ${error instanceof Error ? error.message : String(error)}`);
      life.end();
      index.kill();
      // Where nothing is written back, nothing can be pending that a reader would miss.
      if (!rules.some(({ write }) => write === "back")) generations.owed.recovered([]);
    } finally {
      if (keeperStarting === life) keeperStarting = null;
    }
  };
  const killKeeper = (): void => {
    (keeper?.life ?? keeperStarting)?.end();
    keeper = null;
    keeperStarting = null;
    index.kill();
    for (const server of servers) server?.link.lost();
  };
  const killServer = (number: number): void => {
    const server = servers[number];
    servers[number] = undefined;
    server?.kill();
    const end = keeper;
    if (server !== undefined && end !== null) {
      clock.after(random.below(channelMsMax + 1), () => {
        if (end.life.alive()) end.holderGone(server.holder);
      });
    }
  };
  const settle = async (next: string): Promise<void> => {
    era = next;
    for (let number = 0; number < count; number++) {
      await clock.sleep(random.below(20));
      servers[number]?.reload({ rules, era, address });
    }
  };
  /** The era kept in the flash folder, and the rules that it is of. */
  let kept = { fingerprint: fingerprintOf(rules), era };
  let reloading = Promise.resolve();
  const follow = async (change: { rules?: readonly PolicyRule[]; key?: string }): Promise<void> => {
    rules = change.rules ?? rules;
    if (change.key !== undefined && address.credential.kind === "key") {
      const keys = [new Uint8Array(Buffer.from(change.key, "base64"))];
      address = { ...address, credential: { kind: "key", keys } };
    }
    // See the supervisor: while some servers know the new rules and others do not, the era is one that nobody keeps.
    await settle(`passing-${++eras}`);
    const fingerprint = fingerprintOf(rules);
    if (fingerprint !== kept.fingerprint) kept = { fingerprint, era: flaws.era ?? `era-${++eras}` };
    await settle(kept.era);
    keeper?.writes?.reconfigured();
  };
  /** A keeper that could not start is tried again; one whose flash only a new one can use is replaced. */
  const watch = (): void => {
    clock.after(WATCH_MS, () => {
      if (ended) return;
      watch();
      const health = keeper?.local.health();
      if (health?.ok === false && health.needsReopen) killKeeper();
      else if (keeper !== null || !keeperWanted) return;
      void startKeeper();
    });
  };
  watch();

  return {
    clock,
    random,
    disk,
    index,
    lake,
    servers,
    log,
    keeper: () => keeper?.local ?? null,
    writes: () => keeper?.writes ?? null,
    generations: () => generations,
    rules: () => rules,
    boot: async () => {
      await startKeeper();
      for (let number = 0; number < count; number++) startOne(number);
    },
    killKeeper: () => {
      keeperWanted = false;
      killKeeper();
    },
    startKeeper,
    killServer,
    startServer: startOne,
    powerLoss: () => {
      keeperWanted = false;
      killKeeper();
      for (let number = 0; number < count; number++) killServer(number);
      disk.powerLoss();
      index.powerLoss(random);
      boots++;
      generations = createGenerations(new ArrayBuffer(SHARED_BYTES), `epoch-${boots}`);
    },
    reload: (change) => {
      const turn = reloading.then(() => follow(change));
      reloading = turn;
      return turn;
    },
    send: (number, request) => {
      const server = servers[number];
      if (server === undefined) throw new Error(`server ${number} does not run`);
      return server.send(request);
    },
    end: () => {
      ended = true;
      killKeeper();
      for (let number = 0; number < count; number++) killServer(number);
    },
  };
}

/** The lake as the keeper's process sees it: made anew when its address or credential changes. */
function connecting(lake: WorldLake, life: Life): (address: LakeAddress) => OwnLake {
  let made: { readonly address: LakeAddress; readonly lake: OwnLake } | null = null;
  return (address) => {
    if (made?.address !== address) made = { address, lake: lake.connect(address, life.alive, () => {}) };
    return made.lake;
  };
}

function fingerprintOf(rules: readonly PolicyRule[]): string {
  const immutable = (rule: PolicyRule): string =>
    `${rule.account} ${rule.container} ${rule.prefix} ${rule.maxStaleMs === "immutable"}`;
  return JSON.stringify(rules.map(immutable).sort());
}
