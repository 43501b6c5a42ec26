/**
 * Runs a history of writes: its steps in the simulated world, then a return to calm in which all that was acknowledged
 * must reach the lake, then the judgement of everything that clients were told and the lake was made to do.
 */
import { SIM_ACCOUNT } from "../../sim/lake/service.ts";
import { createWorld, type Flaws, type World } from "../../sim/world.ts";
import { GIB, KIB, MIB } from "../../src/base/limits.ts";
import { type Random, seededRandom } from "../../src/base/random.ts";
import type { Entry } from "../../src/journal/types.ts";
import { bytesOf } from "./running.ts";
import { judgeWrites } from "./write-checker.ts";
import {
  backOf,
  begin,
  blocks,
  contentTypeOf,
  flush,
  put,
  read,
  remove,
  WRITER_TOKEN,
  type Writing,
  walk,
} from "./write-clients.ts";
import type { Change, EntryEnd } from "./write-evidence.ts";
import { asideNames, finalLooks, heal } from "./write-heal.ts";
import {
  drawWriteSteps,
  printWriteSteps,
  type TimedStep,
  WRITE_BLOBS,
  WRITE_CONTAINERS,
  WRITE_RULES,
  type WriteStep,
} from "./write-steps.ts";
import { storyOf } from "./write-story.ts";

export interface WriteHistoryOptions {
  readonly seed: number;
  /** Instead of those drawn from the seed. */
  readonly steps?: readonly TimedStep[];
  readonly flaws?: Flaws;
}

export interface WriteHistoryResult {
  readonly steps: readonly TimedStep[];
  readonly violations: readonly string[];
  /** What happened to the blobs that the violations name. */
  readonly story: readonly string[];
  readonly changes: number;
  /** Acknowledged on flash before the lake had them. */
  readonly onFlash: number;
  /** Set aside for others' changes. */
  readonly aside: number;
  readonly looks: number;
  /** Reads that were given bytes that the lake did not have yet. */
  readonly dirty: number;
}

const TROUBLES: ReadonlySet<WriteStep["do"]> = new Set<WriteStep["do"]>([
  ...(["kill", "power", "disk", "lake", "refuse", "outage"] as const),
]);

export async function runWriteHistory(options: WriteHistoryOptions): Promise<WriteHistoryResult> {
  const random = seededRandom(options.seed);
  const calm = random.chance(0.25);
  const foreign = random.chance(0.6);
  const tight = random.chance(0.2);
  const steps = options.steps ?? drawWriteSteps(random.fork(), { calm, foreign, steps: 20 + random.below(50) });
  const ends: EntryEnd[] = [];
  const world: World = createWorld({
    seed: random.uint32(),
    servers: 1 + random.below(3),
    rules: WRITE_RULES,
    flashBytesMax: tight ? 2 * MIB : 64 * MIB,
    capacityBytes: GIB,
    channelMsMax: random.pick([1, 4, 4, 60]),
    bounds: { probeIntervalMs: 20_000 },
    entryEnded: (entry) => ends.push(endOf(world, entry)),
    ...(options.flaws === undefined ? {} : { flaws: options.flaws }),
  });
  world.lake.way.travelMsMax = random.pick([1, 10, 10, 150, 1_500]);
  world.lake.way.ownChangeMsMax = random.pick([0, 0, 300, 3_000, 20_000]);
  world.lake.way.pieceMsMax = random.pick([0.5, 3, 3, 40]);
  world.lake.service.setToken(WRITER_TOKEN, { roles: ["contributor"], expiresAtMs: Number.POSITIVE_INFINITY });
  const writing: Writing = {
    world,
    changes: [],
    looks: [],
    walks: [],
    flushes: [],
    pending: new Set(),
    etags: new Map(),
    nextId: 1,
    calm: isQuick(world) && steps.every(({ step }) => !TROUBLES.has(step.do)),
    step: 0,
  };
  const violations: string[] = [];
  let reported: readonly string[] = [];
  try {
    prepare(writing, random.fork());
    await world.clock.settle(world.boot());
    for (const [index, { afterMs, step }] of steps.entries()) {
      writing.step = index;
      await world.clock.advance(afterMs);
      perform(writing, step);
    }
    violations.push(...(await heal(writing)));
    reported = asideNames(world);
    await finalLooks(writing);
  } catch (error) {
    violations.push(`the history itself failed: ${error instanceof Error ? error.stack : String(error)}`);
  }
  const { changes, looks, walks, flushes } = writing;
  const { commits } = world.lake;
  const evidence = { changes, looks, walks, flushes, commits, ends, reported, pathOf: backOf };
  violations.push(...judgeWrites(evidence));
  world.end();
  return {
    steps,
    violations,
    story: violations.length === 0 ? [] : storyOf(evidence, violations),
    changes: changes.length,
    onFlash: changes.filter(({ durability, outcome }) => durability === "flash" && outcome === "acknowledged").length,
    aside: reported.length,
    looks: looks.length,
    dirty: looks.filter(({ received }) => isDirty(received.headers)).length,
  };
}

/** Who waits for a slower lake than this may wait in vain. */
function isQuick({ lake: { way } }: World): boolean {
  return way.ownChangeMsMax < 1_000 && way.travelMsMax < 1_000;
}

function isDirty(headers: readonly string[]): boolean {
  return headers.some((value, i) => value === "dirty" && headers[i - 1]?.toLowerCase() === "x-forebay");
}

/** What the journal says of an entry that is pending no more. */
function endOf(world: World, entry: Entry): EntryEnd {
  const { clock } = world;
  const { container, blob } = entry.name;
  const sinceMs = clock.monotonicMs() - clock.wallMs();
  const { headers } = entry.kind === "put" ? entry.put : { headers: [] };
  const at = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === "x-ms-meta-w");
  const { state } = entry;
  const how =
    state.name === "settled" || state.name === "aside" || state.name === "superseded" ? state.name : "discarded";
  return {
    seq: entry.seq,
    base: entry.base.kind,
    name: `${container}/${blob}`,
    change: entry.kind === "put" ? Number(headers[at + 1]) : null,
    acknowledgedAtMs: entry.acknowledgedAtMs + sinceMs,
    endedAtMs: clock.monotonicMs(),
    how,
    by: state.name === "superseded" ? state.by : null,
    sideName: state.name === "aside" && state.sideName !== null ? `${container}/${state.sideName}` : null,
  };
}

/** The lake as it is found. */
function prepare(writing: Writing, random: Random): void {
  const { world } = writing;
  for (const container of WRITE_CONTAINERS) world.lake.service.addContainer(container);
  for (const [index, name] of WRITE_BLOBS.entries()) {
    const id = -1 - index;
    const size = random.below(40_000);
    if (random.chance(0.5)) foreignPut(writing, name, id, bytesOf(id, size));
    else noteForeign(writing, { id, name, kind: "delete", bytes: new Uint8Array(0) });
  }
}

function noteForeign(writing: Writing, change: Pick<Change, "id" | "name" | "kind" | "bytes">): void {
  const atMs = change.id <= 0 ? Number.NEGATIVE_INFINITY : writing.world.clock.monotonicMs();
  writing.changes.push({
    ...change,
    what: `#${change.id} ${change.kind} ${change.name} by somebody else at ${atMs.toFixed(1)}`,
    by: "foreign",
    startedAtMs: atMs,
    endedAtMs: atMs,
    outcome: "acknowledged",
    durability: null,
    status: 201,
    etag: null,
    contentType: contentTypeOf(change.id),
    condition: null,
    flush: false,
    blocksSinceMs: null,
    calm: true,
  });
}

function foreignPut(writing: Writing, name: string, id: number, bytes: Uint8Array): void {
  const { lake, clock } = writing.world;
  const [container = "", ...rest] = name.split("/");
  const headers = ["Content-Type", contentTypeOf(id), "x-ms-meta-w", String(id)];
  lake.foreign((service) => void service.putBlob(container, rest.join("/"), bytes, { nowMs: clock.wallMs(), headers }));
  noteForeign(writing, { id, name, kind: "put", bytes });
}

function foreign(writing: Writing, step: Extract<WriteStep, { do: "foreign" }>): void {
  const { lake } = writing.world;
  const { name, kind, size } = step;
  const [container = "", ...rest] = name.split("/");
  const blob = rest.join("/");
  const held = lake.service.peek(container, blob);
  const id = writing.nextId++;
  if (kind === "delete") {
    if (held === null) return;
    lake.foreign((service) => service.deleteBlob(container, blob));
    noteForeign(writing, { id, name, kind: "delete", bytes: new Uint8Array(0) });
  } else foreignPut(writing, name, id, kind === "touch" && held !== null ? held : bytesOf(id, size));
}

/** Requests of clients; null: the step is none. */
function asked(writing: Writing, step: WriteStep): Promise<void> | null {
  switch (step.do) {
    case "put":
      return put(writing, step);
    case "blocks":
      return blocks(writing, step);
    case "delete":
      return remove(writing, step);
    case "read":
      return read(writing, step);
    case "list":
      return walk(writing, step);
    default:
      return null;
  }
}

function perform(writing: Writing, step: WriteStep): void {
  const { world } = writing;
  const { clock, lake } = world;
  const later = (ms: number, run: () => void): void => void clock.after(ms, run);
  const request = asked(writing, step);
  if (request !== null) {
    begin(writing, request);
    return;
  }
  switch (step.do) {
    case "foreign":
      foreign(writing, step);
      break;
    case "flush":
      void flush(writing, step.container);
      break;
    case "evict":
      void world
        .keeper()
        ?.drop(`${SIM_ACCOUNT}/${step.name}`, null, "changed")
        .catch(() => {});
      break;
    case "kill":
      kill(world, step);
      break;
    case "power":
      world.powerLoss();
      later(step.forMs, () => void world.boot());
      break;
    case "disk":
      disk(world, step);
      break;
    case "lake":
      lake.setFault(step.fault, step.probability);
      later(step.forMs, () => lake.setFault(step.fault, 0));
      break;
    case "refuse":
      refuse(world, step);
      break;
    case "outage":
      lake.way.down = true;
      later(step.forMs, () => {
        lake.way.down = false;
      });
  }
}

function kill(world: World, { what, server, forMs }: Extract<WriteStep, { do: "kill" }>): void {
  if (what === "keeper") {
    world.killKeeper();
    world.clock.after(forMs, () => void world.startKeeper());
    return;
  }
  const number = server % world.servers.length;
  world.killServer(number);
  world.clock.after(forMs, () => world.startServer(number));
}

/** The role that allows Forebay to write was taken away, for one container. */
function refuse({ lake, clock }: World, { container, forMs }: Extract<WriteStep, { do: "refuse" }>): void {
  const refuses: NonNullable<typeof lake.way.refuses> = ({ method, target }) =>
    (method === "PUT" || method === "DELETE") && target.startsWith(`/${SIM_ACCOUNT}/${container}/`);
  lake.way.refuses = refuses;
  clock.after(forMs, () => {
    if (lake.way.refuses === refuses) lake.way.refuses = null;
  });
}

function disk({ disk, clock }: World, step: Extract<WriteStep, { do: "disk" }>): void {
  const { faults } = disk;
  const { capacityBytes } = faults;
  if (step.fault === "write") faults.failWrite = 0.3;
  else if (step.fault === "sync") faults.failSync = 0.7;
  else faults.capacityBytes = disk.usedBytes + 8 * KIB;
  clock.after(step.forMs, () => {
    if (step.fault === "full") faults.capacityBytes = Math.max(faults.capacityBytes, capacityBytes);
    else Object.assign(faults, { failWrite: 0, failSync: 0 });
  });
}

const SHRINK_RUNS_MAX = 120;

/** Leaves steps out while what is left still fails; gives the shortest failing history found. */
export async function shrinkWrites(
  options: WriteHistoryOptions,
  failing: WriteHistoryResult,
): Promise<WriteHistoryResult> {
  let best = failing;
  let runs = 0;
  for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.steps.length && runs < SHRINK_RUNS_MAX; runs++) {
      const steps = best.steps.toSpliced(at, size);
      const result = await runWriteHistory({ ...options, steps });
      if (result.violations.length > 0) best = result;
      else at += size;
    }
  }
  return best;
}

/** A failing history for people. */
export function reportWrites(seed: number, result: WriteHistoryResult): string {
  const { violations, steps, story } = result;
  const wrong = violations.slice(0, 6).join("\n");
  return `seed ${seed}: ${violations.length} violations\n${wrong}\n${printWriteSteps(steps)}\n${story.join("\n")}`;
}
