/**
 * Runs a history: its steps in the simulated world, then a return to calm in which everything must work again, then
 * the judgement of every answer that any client got.
 */
import { FAULTS } from "../../sim/lake/faults.ts";
import { createWorld, type Flaws } from "../../sim/world.ts";
import { KIB, MIB } from "../../src/base/limits.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { PolicyRule } from "../../src/engine/policy.ts";
import { headerOf } from "../../src/http/types.ts";
import { judgeRead } from "./checker.ts";
import { API_VERSIONS, aclBody, createClients, OPEN_CONTAINER, POLICY_CONTAINER } from "./clients.ts";
import { type History, PLAIN, type ReadAction, startRead } from "./reads.ts";
import { RULES } from "./rules.ts";
import { bytesOf, pickServer, track } from "./running.ts";
import { type Action, BLOBS, drawSteps, printSteps, type Step } from "./steps.ts";
import { createWriters } from "./writers.ts";

export interface HistoryOptions {
  readonly seed: number;
  /** Instead of those drawn from the seed. */
  readonly steps?: readonly Step[];
  readonly flaws?: Flaws;
}

export interface HistoryResult {
  readonly steps: readonly Step[];
  readonly violations: readonly string[];
  readonly reads: number;
  readonly good: number;
  readonly hits: number;
}

/** Actions that may make an answer fail. */
const TROUBLES: ReadonlySet<Action["do"]> = new Set<Action["do"]>([
  ...(["kill", "power", "disk", "lake", "outage", "rotate", "revoke", "reload"] as const),
]);

/** Runs one history from its seed. */
export async function runHistory(options: HistoryOptions): Promise<HistoryResult> {
  const random = seededRandom(options.seed);
  const calm = random.chance(0.25);
  const tight = random.chance(0.3);
  const ownCredential = random.chance(0.9);
  const steps = options.steps ?? drawSteps(random.fork(), { calm, steps: 30 + random.below(50) });
  const world = createWorld({
    seed: random.uint32(),
    servers: 1 + random.below(3),
    rules: RULES[0] ?? [],
    flashBytesMax: tight ? 400 * KIB : 64 * MIB,
    ownCredential,
    channelMsMax: random.pick([1, 4, 4, 60]),
    bounds: { probeIntervalMs: 20_000 },
    ...(options.flaws === undefined ? {} : { flaws: options.flaws }),
  });
  // Each world has a pace of its own: what overtakes what depends on it.
  world.lake.way.travelMsMax = random.pick([1, 10, 10, 150]);
  world.lake.way.pieceMsMax = random.pick([0.5, 3, 3, 40]);
  world.lake.way.pieceBytesMax = random.pick([1_500, 32_768, 32_768]);
  const second = Buffer.from("another second key of the account, good for nothing else at all..").toString("base64");
  world.lake.service.rotateKey(1, second);
  const clients = createClients(world.lake.service, world.clock.monotonicMs(), second);
  const history: History = {
    world,
    clients,
    acknowledged: [],
    pending: new Set(),
    snapshots: new Map(),
    reads: [],
    violations: [],
    writers: createWriters(),
    rules: [{ fromMs: 0, untilMs: Number.POSITIVE_INFINITY, rules: world.rules() }],
    troubles: [],
    calm: steps.every((step) => !TROUBLES.has(step.action.do)),
    lies: false,
    marksSinceMs: 0,
    hits: 0,
    step: 0,
  };
  try {
    prepare(history, random.uint32());
    await world.clock.settle(world.boot());
    for (const [index, step] of steps.entries()) {
      history.step = index;
      await world.clock.advance(step.afterMs);
      perform(history, step.action);
    }
    await heal(history);
    await finalReads(history, !tight && ownCredential);
  } catch (error) {
    history.violations.push(`the history itself failed: ${error instanceof Error ? error.stack : String(error)}`);
  }
  judgeAll(history);
  world.end();
  const good = history.reads.filter((read) => read.received.ending === "complete" && read.received.status < 300).length;
  const { violations, reads, hits } = history;
  return { steps, violations, reads: reads.length, good, hits };
}

/** The lake as it is found: containers, some blobs, access. */
function prepare(history: History, seed: number): void {
  const { world, clients } = history;
  const random = seededRandom(seed);
  world.lake.foreign((service) => {
    for (const name of BLOBS) {
      const [container = "", blob = ""] = name.split("/");
      service.addContainer(container, container === OPEN_CONTAINER ? { publicAccess: "blob" } : {});
      if (random.chance(0.7)) service.putBlob(container, blob, bytesOf(random.uint32(), random.below(100_000)));
    }
  });
  setPolicy(history, true);
  for (const name of BLOBS) world.lake.watch(name);
  if (clients.key === "") throw new Error("the account has a key");
}

/** Sets the stored policy of its container, behind Forebay's back. */
function setPolicy(history: History, present: boolean): void {
  const { world, clients } = history;
  const body = new Uint8Array(Buffer.from(aclBody(present)));
  const draft = {
    method: "PUT",
    name: POLICY_CONTAINER,
    query: "restype=container&comp=acl",
    contentLength: body.length,
  };
  const signed = clients.sign("key", { ...draft, headers: [["x-ms-version", API_VERSIONS[0]]] }, world.clock.wallMs());
  const headers = [...signed.headers, "Content-Length", String(body.length)];
  const context = { nowMs: world.clock.wallMs(), remoteAddress: "10.9.9.9", secure: true };
  const answer = world.lake.service.handle({ method: "PUT", target: signed.target, headers, body }, context);
  if (answer.status !== 200) throw new Error(`the policy could not be set: ${answer.status}`);
}

function perform(history: History, action: Action): void {
  const { world } = history;
  const { clock } = world;
  const nowMs = clock.monotonicMs();
  const later = (ms: number, run: () => void): void => void clock.after(ms, run);
  switch (action.do) {
    case "read":
      startRead(history, action);
      break;
    case "burst":
      for (let reader = 0; reader < action.readers; reader++)
        startRead(history, { ...PLAIN, name: action.name, server: reader });
      break;
    case "write": {
      const server = pickServer(history, action.server);
      if (server !== null) track(history, history.writers.write(history, server, action));
      break;
    }
    case "foreign":
      foreign(history, action);
      break;
    case "kill":
      if (action.what === "keeper") {
        world.killKeeper();
        later(action.forMs, () => void world.startKeeper());
      } else {
        const number = action.server % world.servers.length;
        world.killServer(number);
        later(action.forMs, () => world.startServer(number));
      }
      break;
    case "power":
      world.powerLoss();
      later(action.forMs, () => void world.boot());
      break;
    case "disk":
      disk(history, action.fault, action.forMs);
      break;
    case "lake": {
      const fault = FAULTS[action.fault % FAULTS.length] ?? "serverError";
      if (fault === "wrongMd5") history.lies = true;
      history.troubles.push({ fromMs: nowMs, untilMs: nowMs + action.forMs });
      world.lake.setFault(fault, action.probability);
      later(action.forMs, () => world.lake.setFault(fault, 0));
      break;
    }
    case "outage":
      history.troubles.push({ fromMs: nowMs, untilMs: nowMs + action.forMs });
      world.lake.way.down = true;
      later(action.forMs, () => {
        world.lake.way.down = false;
      });
      break;
    case "rotate":
      history.clients.rotateKey(nowMs);
      later(action.forMs, () => reload(history, {}));
      break;
    case "revoke":
      if (action.what === "policy") {
        history.clients.removePolicy(nowMs);
        setPolicy(history, false);
      } else {
        history.clients.revokeToken(nowMs);
        later(action.forMs, () => history.clients.restoreToken(clock.monotonicMs()));
      }
      break;
    case "reload":
      reload(history, { rules: RULES[action.rules % RULES.length] ?? [] });
      break;
  }
}

function foreign(history: History, action: Extract<Action, { do: "foreign" }>): void {
  const { lake } = history.world;
  const [container = "", blob = ""] = action.name.split("/");
  lake.foreign((service) => {
    const held = service.peek(container, blob);
    if (action.kind === "delete") {
      try {
        if (held !== null) service.deleteBlob(container, blob);
      } catch {
        // It has snapshots: then it stays.
      }
      return;
    }
    const size = action.kind === "same-size" ? (held?.length ?? action.size) : action.size;
    const headers = ["Content-Type", `kind/${action.content % 7}`];
    service.putBlob(container, blob, bytesOf(action.content, size), { nowMs: history.world.clock.wallMs(), headers });
  });
}

function disk(history: History, fault: Extract<Action, { do: "disk" }>["fault"], forMs: number): void {
  const { disk, clock } = history.world;
  const { faults } = disk;
  const capacityBytes = faults.capacityBytes;
  if (fault === "read") faults.failRead = 0.3;
  else if (fault === "write") faults.failWrite = 0.3;
  else if (fault === "sync") faults.failSync = 0.7;
  else if (fault === "full") faults.capacityBytes = disk.usedBytes + 8_192;
  else if (fault === "read-only") faults.readOnly = true;
  else faults.vanished = true;
  clock.after(forMs, () => {
    if (fault === "full") faults.capacityBytes = Math.max(faults.capacityBytes, capacityBytes);
    else Object.assign(faults, { failRead: 0, failWrite: 0, failSync: 0, readOnly: false, vanished: false });
  });
}

function reload(history: History, change: { rules?: readonly PolicyRule[] }): void {
  const { world, clients } = history;
  const { clock } = world;
  const fromMs = clock.monotonicMs();
  const last = history.rules.at(-1);
  if (change.rules !== undefined) {
    history.rules.push({ fromMs, untilMs: Number.POSITIVE_INFINITY, rules: change.rules });
    history.marksSinceMs = Number.POSITIVE_INFINITY;
  }
  const done = world.reload({ ...change, key: clients.key }).then(() => {
    if (change.rules === undefined || last === undefined) return;
    last.untilMs = Math.min(last.untilMs, clock.monotonicMs());
    history.marksSinceMs = clock.monotonicMs() + 300_000;
  });
  track(history, done);
}

const HEAL_STEPS = 60;

/** Ends all trouble and waits until every request has ended. */
async function heal(history: History): Promise<void> {
  const { world } = history;
  const { clock } = world;
  history.step = -1;
  world.lake.calmFaults();
  if (!history.calm) await clock.advance(25_000); // what lasts for a while ends by itself
  world.lake.calmFaults();
  await clock.settle(world.boot());
  for (let i = 0; i < HEAL_STEPS && history.pending.size > 0; i++) await clock.advance(10_000);
  if (history.pending.size > 0) history.violations.push(`HANG: ${history.pending.size} requests never ended`);
  // Longer than any bound: what changed in the lake has been seen.
  await clock.advance(history.calm ? 6_000 : 60_000);
  await clock.settle(world.boot());
}

/** In calm, everybody gets what the lake has; and in the end it comes from flash where that has room. */
async function finalReads(history: History, demandHits: boolean): Promise<void> {
  const { world } = history;
  history.calm = true;
  for (const round of [1, 2, 3]) {
    for (const name of BLOBS) {
      for (let server = 0; server < world.servers.length; server++) {
        history.step = -round;
        const action: ReadAction = { ...PLAIN, name, server };
        const done = startRead(history, action);
        if (done === null) throw new Error("all servers run in calm");
        const received = await world.clock.settle(done);
        const temperature = headerOf(received.headers, "x-forebay");
        if (round === 3 && demandHits && received.status === 200 && temperature !== "hit") {
          const stats = world.keeper()?.stats();
          if ((stats?.marks ?? 0) > 0) continue; // what may be changing is not kept
          const health = JSON.stringify([
            world.keeper()?.health(),
            world.servers[server]?.stats.forwardReasons,
            stats?.refusals,
            received.announcedBytes,
          ]);
          history.violations.push(
            `${name} at server ${server}: ${temperature} instead of a hit in calm, flash ${health}`,
          );
        }
      }
    }
    await world.clock.advance(300);
  }
  for (const server of world.servers) {
    const open = server?.openFiles() ?? 0;
    if (open > 8) history.violations.push(`a server keeps ${open} descriptors at rest`);
    if ((server?.stats.requestsNow ?? 0) !== 0) history.violations.push("requests are counted as under way at rest");
    if ((server?.stats.fillsNow ?? 0) !== 0) history.violations.push("fills are counted as under way at rest");
  }
}

function judgeAll(history: History): void {
  const { world, acknowledged, marksSinceMs } = history;
  const evidence = { states: world.lake.states, acknowledged, marksSinceMs };
  for (const read of history.reads) {
    const wrong = judgeRead(read, evidence);
    if (wrong !== null) history.violations.push(`${wrong} — ${read.what}`);
  }
}

const SHRINK_RUNS_MAX = 80;

/** Leaves steps out while what is left still fails; gives the shortest failing history found. */
export async function shrink(options: HistoryOptions, failing: HistoryResult): Promise<HistoryResult> {
  let best = failing;
  let runs = 0;
  for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.steps.length && runs < SHRINK_RUNS_MAX; runs++) {
      const steps = best.steps.toSpliced(at, size);
      const result = await runHistory({ ...options, steps });
      if (result.violations.length > 0) best = result;
      else at += size;
    }
  }
  return best;
}

/** A failing history for people. */
export function report(seed: number, result: HistoryResult): string {
  const { violations, steps } = result;
  return `seed ${seed}: ${violations.length} violations\n${violations.slice(0, 6).join("\n")}\n${printSteps(steps)}`;
}
