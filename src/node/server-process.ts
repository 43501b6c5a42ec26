/** A server: one process of several that share the Blob endpoint's port. It holds no state that a crash could lose. */

import { openSync } from "node:fs";
import { join } from "node:path";
import { asForebayError, ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import type { OwnAddresses } from "../blob/copy-source.ts";
import { createRequestIds } from "../blob/errors.ts";
import type { Front } from "../blob/front.ts";
import { createBlobHandler } from "../blob/server.ts";
import type { EngineContext } from "../engine/context.ts";
import { createGenerations, SHARED_BYTES } from "../engine/generations.ts";
import { compilePolicies, type PolicyTable } from "../engine/policy.ts";
import { createReader } from "../engine/read.ts";
import { createStats } from "../engine/stats.ts";
import { createTrust } from "../engine/trust.ts";
import { openIndexReader } from "../flash/index-reader.ts";
import { INDEX_FILE } from "../flash/index-schema.ts";
import { createReadFiles } from "../flash/read-files.ts";
import { type HttpServer, startHttpServer } from "../http/server.ts";
import { realClock } from "../io/clock.ts";
import { descriptorsMax } from "../io/descriptors.ts";
import { realDisk } from "../io/disk.ts";
import { mapShared } from "../io/syscalls.ts";
import type { Lake } from "../lake/types.ts";
import { createAccessLog } from "./access-log.ts";
import { type Running, runChild } from "./child.ts";
import type { Config } from "./config.ts";
import { watchCredentials } from "./credential-watch.ts";
import { remoteDesk } from "./desk-calls.ts";
import { createKeeperCaller, remoteKeeper } from "./keeper-calls.ts";
import { type KeeperLink, linkKeeper } from "./keeper-link.ts";
import { type LakeClient, lakeOrigin, openLakes } from "./lakes.ts";
import { cannotListen } from "./listen-error.ts";
import { createLogger } from "./logger.ts";
import type { Init } from "./messages.ts";
import { createStoredPolicies } from "./stored-policies.ts";
import { readTls } from "./tls.ts";

/** How long a start waits for the keeper before it serves without one. */
const KEEPER_WAIT_MS = 2_000;

async function start(init: Init): Promise<Running> {
  const log = createLogger(init.name, init.config.logLevel);
  const { config } = init;
  let era = init.era;
  let clients = openLakes(config);
  let views = viewsOf(config, clients, init.port);
  const clock = realClock;
  const stats = createStats();
  const generations = createGenerations(mapShared(openSync(init.sharedPath, "r+"), SHARED_BYTES), init.epoch);
  const disk = realDisk(config.flashFolder, () =>
    Promise.reject(new ForebayError("internal", "only the keeper syncs")),
  );
  const files = createReadFiles(disk, filesToKeep());
  const index = openIndexReader(join(config.flashFolder, INDEX_FILE), clock);
  // A fresh name for each life: what an earlier process of this place had claimed ends with it.
  const holder = `${init.name}-${process.pid}`;
  let link: KeeperLink | null = null;
  let server: HttpServer | null = null;
  const trust = createTrust(log, clock);
  const calls = createKeeperCaller(() => link?.peer() ?? null, clock);
  const engine: EngineContext = {
    get holder() {
      return link?.holder() ?? holder;
    },
    clock,
    disk,
    files,
    index,
    keeper: remoteKeeper(calls),
    desk: remoteDesk(calls),
    generations,
    era: () => era,
    trust,
    stats,
    log,
  };
  const reader = createReader(engine);
  const answer = async (method: string, args: readonly unknown[]): Promise<unknown> => {
    if (method === "stats") return { ...stats, connectionsNow: server?.connections() ?? 0 };
    if (method !== "evicted") {
      throw new ForebayError("internal", `the keeper asked for ${method}, which is not known here`);
    }
    const fileIds = args[0] as readonly number[];
    await files.release(fileIds);
    return null;
  };
  const joined = (): void => {
    index.reopen();
    reader.forgetAll();
    // It may have removed files that nobody heard of.
    files.forgetAll();
  };
  link = await linkKeeper({ path: init.channelPath, holder, answer, joined }, KEEPER_WAIT_MS);
  const storedPolicies = createStoredPolicies((account) => clients.get(account)?.lake, clock, log);
  const front: Front = {
    engine,
    reader,
    lakes: () => views.lakes,
    accounts: () => views.accounts,
    policies: () => views.policies,
    own: () => views.own,
    storedPolicies: storedPolicies.lookup,
    forgetAccess: storedPolicies.forget,
    newRequestId: createRequestIds(seededRandom(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0)),
    credentialSalt: crypto.getRandomValues(new Uint8Array(32)),
    accessLog: createAccessLog(config.accessLog, log, clock),
  };
  const listening = listen(config, init.port, createBlobHandler(front), log);
  server = listening;
  views = viewsOf(config, clients, listening.port);
  const unwatch = watchCredentials(() => clients, trust, clock);
  return {
    port: listening.port,
    reload: async (next, nextEra) => {
      // What may fail comes first: a certificate that is no use changes nothing.
      const tls = readTls(next);
      if (tls !== undefined) listening.reloadTls(tls);
      // Requests under way finish with the clients that they have; those idle connections end by themselves.
      clients = openLakes(next);
      era = nextEra;
      views = viewsOf(next, clients, listening.port);
      reader.forgetVerdicts();
      for (const account of clients.keys()) trust.restored(account);
    },
    stop: async (deadlineMs) => {
      unwatch();
      await listening.stop({ deadlineMs });
      await link?.close();
      index.close();
    },
  };
}

/** Descriptors kept for reading: as many as the process may have beside its connections. */
function filesToKeep(): number {
  const left = (descriptorsMax() ?? 0) - limits.connectionsMax - limits.descriptorsSpare;
  return Math.max(limits.openFilesMax, Math.min(limits.openFilesPlentyMax, left));
}

function listen(
  config: Config,
  port: number,
  handler: ReturnType<typeof createBlobHandler>,
  log: EngineContext["log"],
): HttpServer {
  const { host } = config.listen;
  const tls = readTls(config);
  try {
    return startHttpServer({
      hostname: host,
      port,
      reusePort: config.servers > 1,
      tls,
      handler,
      limits: { connectionsMax: Math.ceil(config.maxConnections / config.servers) },
      onError: (error) => log("warn", "a response was cut", { reason: asForebayError(error).message }),
    });
  } catch (cause) {
    throw cannotListen(host, port, cause);
  }
}

/** How clients reach Forebay, for sources of copies that name it. */
function ownAddresses(config: Config, port: number, lakes: ReadonlyMap<string, LakeClient>): OwnAddresses {
  const hosts = [config.listen.host, "localhost", "127.0.0.1", "[::1]"];
  return {
    authorities: new Set(hosts.map((host) => `${host.toLowerCase()}:${port}`)),
    lakes: new Map(
      [...lakes].map(([account, { address }]) => [
        account,
        { account, style: address.style, origin: lakeOrigin(address) },
      ]),
    ),
  };
}

/** What every request asks for, made once and again at each reload. */
interface Views {
  readonly lakes: ReadonlyMap<string, Lake>;
  readonly accounts: ReadonlySet<string>;
  readonly policies: PolicyTable;
  readonly own: OwnAddresses;
}

function viewsOf(config: Config, clients: ReadonlyMap<string, LakeClient>, port: number): Views {
  return {
    lakes: new Map([...clients].map(([account, client]) => [account, client.lake])),
    accounts: new Set(clients.keys()),
    policies: compilePolicies(config.policies),
    own: ownAddresses(config, port, clients),
  };
}

runChild(start);
