/** A server's process in the simulated world: put together as the real one is, from the same parts. */
import { limits } from "../src/base/limits.ts";
import type { Random } from "../src/base/random.ts";
import { createRequestIds } from "../src/blob/errors.ts";
import type { Front } from "../src/blob/front.ts";
import { createBlobHandler } from "../src/blob/server.ts";
import type { EngineContext } from "../src/engine/context.ts";
import type { Generations } from "../src/engine/generations.ts";
import { compilePolicies, type PolicyRule } from "../src/engine/policy.ts";
import { createReader } from "../src/engine/read.ts";
import { createStats, type Stats } from "../src/engine/stats.ts";
import { createTrust } from "../src/engine/trust.ts";
import { createReadFiles } from "../src/flash/read-files.ts";
import type { FlashKeeper, IndexReader } from "../src/flash/types.ts";
import { type Handler, headerOf } from "../src/http/types.ts";
import type { Clock } from "../src/io/clock.ts";
import type { LakeAddress } from "../src/lake/address.ts";
import { probeLake } from "../src/lake/probe.ts";
import type { OwnLake } from "../src/lake/types.ts";
import { createStoredPolicies } from "../src/node/stored-policies.ts";
import type { WriteDesk } from "../src/writeback/types.ts";
import type { SimDisk } from "./disk.ts";
import { type Call, type Manners, type Ongoing, startExchange } from "./exchange.ts";
import { SIM_ACCOUNT } from "./lake/service.ts";
import type { WorldLake } from "./world-lake.ts";
import { createKeeperLink, createLife, type KeeperLink, type Life } from "./world-process.ts";

/** A request as a client makes it. */
export interface WorldRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
  readonly body?: Uint8Array | null;
  readonly manners?: Manners;
}

/** What a server is told when it starts, and again at each reload. */
export interface ServerSettings {
  readonly rules: readonly PolicyRule[];
  readonly era: string;
  readonly address: LakeAddress;
}

/** Parts that a test may replace by broken ones, to see that the checks notice. */
export interface ServerFlaws {
  readonly generations?: (real: Generations) => Generations;
  readonly index?: (real: IndexReader) => IndexReader;
  readonly keeper?: (real: FlashKeeper) => FlashKeeper;
  readonly desk?: (real: WriteDesk) => WriteDesk;
  readonly lake?: (real: OwnLake) => OwnLake;
  readonly clock?: (real: Clock) => Clock;
}

export interface WorldServer {
  readonly holder: string;
  readonly life: Life;
  readonly link: KeeperLink;
  readonly stats: Stats;
  readonly settings: () => ServerSettings;
  /** When the lake last refused the server's own credential; -Infinity when it never did. */
  readonly refusedAtMs: () => number;
  /** Descriptors of cache files that are open. */
  readonly openFiles: () => number;
  send(request: WorldRequest): Ongoing;
  reload(settings: ServerSettings): void;
  kill(): void;
}

const TRUST_PROBE_MS = 5_000;

export interface ServerParts {
  readonly holder: string;
  readonly clock: Clock;
  readonly disk: SimDisk;
  readonly index: IndexReader;
  readonly generations: Generations;
  readonly lake: WorldLake;
  readonly random: Random;
  readonly channelMsMax: number;
  readonly openFilesMax: number;
  readonly settings: ServerSettings;
  readonly flaws: ServerFlaws;
}

export function startServer(parts: ServerParts): WorldServer {
  const { flaws, holder } = parts;
  const life = createLife(parts);
  const clock = flaws.clock?.(life.clock) ?? life.clock;
  const files = createReadFiles(life.disk, parts.openFilesMax);
  const stats = createStats();
  const log = (): void => {};
  let settings = parts.settings;
  let refusedAtMs = Number.NEGATIVE_INFINITY;
  const connect = (): OwnLake => {
    const lake = parts.lake.connect(settings.address, life.alive, () => {
      refusedAtMs = clock.monotonicMs();
    });
    return flaws.lake?.(lake) ?? lake;
  };
  let lake = connect();
  const link = createKeeperLink({
    holder,
    life,
    clock: parts.clock,
    random: parts.random.fork(),
    delayMsMax: parts.channelMsMax,
    listener: {
      evicted: async (fileIds) => {
        await files.release(fileIds);
      },
    },
    joined: () => {
      reader.forgetAll();
      files.forgetAll();
    },
  });
  const trust = createTrust(log, clock);
  const engine: EngineContext = {
    holder,
    clock,
    disk: life.disk,
    files,
    index: flaws.index?.(parts.index) ?? parts.index,
    keeper: flaws.keeper?.(link.keeper) ?? link.keeper,
    desk: flaws.desk?.(link.desk) ?? link.desk,
    generations: flaws.generations?.(parts.generations) ?? parts.generations,
    era: () => settings.era,
    trust,
    stats,
    log,
  };
  const reader = createReader(engine);
  const storedPolicies = createStoredPolicies(() => lake, clock, log);
  const front: Front = {
    engine,
    reader,
    lakes: () => new Map([[SIM_ACCOUNT, lake]]),
    accounts: () => new Set([SIM_ACCOUNT]),
    policies: () => compilePolicies(settings.rules),
    own: () => ({ authorities: new Set(["forebay.invalid"]), lakes: new Map() }),
    storedPolicies: storedPolicies.lookup,
    forgetAccess: storedPolicies.forget,
    newRequestId: createRequestIds(parts.random.fork()),
    credentialSalt: parts.random.fill(new Uint8Array(32)),
    accessLog: null,
  };
  const handler = createBlobHandler(front);
  const ongoing = new Set<Ongoing>();
  const watchTrust = (): void => {
    clock.after(TRUST_PROBE_MS, () => {
      watchTrust();
      if (!trust.suspended(SIM_ACCOUNT, "")) return;
      void probeLake(lake, clock).then((probe) => {
        if (probe.credentialOk === true) trust.restored(SIM_ACCOUNT);
      });
    });
  };
  watchTrust();
  return {
    holder,
    life,
    link,
    stats,
    settings: () => settings,
    refusedAtMs: () => refusedAtMs,
    openFiles: () => files.openCount,
    send: (request) => {
      const sent = startExchange(callOf(parts, handler, request));
      ongoing.add(sent);
      void sent.received.then(() => ongoing.delete(sent));
      return sent;
    },
    reload: (next) => {
      settings = next;
      lake = connect();
      reader.forgetVerdicts();
      trust.restored(SIM_ACCOUNT);
    },
    kill: () => {
      life.end();
      link.lost();
      for (const sent of ongoing) sent.serverDied();
    },
  };
}

function callOf(parts: ServerParts, handler: Handler, request: WorldRequest): Call {
  const { clock, disk } = parts;
  const body = request.body ?? null;
  const named = headerOf(request.headers, "host") !== undefined;
  const headers = [...(named ? [] : ["Host", "forebay.invalid"]), ...request.headers];
  const head = { method: request.method, target: request.target, minorVersion: 1, headers };
  const manners = request.manners ?? {};
  return { handler, clock, head, body, manners, readFile: (fd, bytes, offset) => disk.readNow(fd, bytes, offset) };
}

/** Descriptors that a server of the world keeps unless told otherwise. */
export const OPEN_FILES = Math.min(8, limits.openFilesMax);
