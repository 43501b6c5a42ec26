/**
 * Real processes, killed at any moment: keeper, server, or all of them with the supervisor, while readers fill and evict
 * and the lake changes. Afterwards no byte may ever have been wrong, what was on flash before the kill is still a hit,
 * nobody is left behind, and the port is served again.
 *
 *   bun tests/crash/kill.crash.ts --rounds 50 --seed 7
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createFaultPlan } from "../../sim/lake/faults.ts";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService, SIM_ACCOUNT } from "../../sim/lake/service.ts";
import { type Random, seededRandom } from "../../src/base/random.ts";
import { openIndexReader } from "../../src/flash/index-reader.ts";
import { INDEX_FILE } from "../../src/flash/index-schema.ts";
import { realClock } from "../../src/io/clock.ts";
import { lastLines, tempFolder, within } from "../support/temp.ts";
import { admin, childrenOf, isAlive, metrics, type Process, readProc, type Up, until, up } from "../system/harness.ts";
import { type Footprint, footprintOf } from "./footprint.ts";
import { type BlobSet, nothingSeen, planRead, readOnce, type Seen, writeOnce } from "./traffic.ts";
import { type Truth, watchTruth } from "./truth.ts";

const FLASH_BYTES = 32 << 20;
const READERS = 8;
const SERVERS = 2;
const SERVED_MS = 10_000;
const READY_MS = 20_000;

/** Sizes around what matters: nothing much, one block exactly, runs, read-ahead. */
const SIZES = [17, 64 << 10, 1 << 20, (1 << 20) + 1, (3 << 20) + 7, 5 << 20, 9 << 20];
const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `blob-${i}`);
const STILL: BlobSet = { container: "still", names: names(14), staleMsMax: 0, changedBy: "nobody" };
const SETS: readonly BlobSet[] = [
  STILL,
  { container: "frozen", names: names(8), staleMsMax: 0, changedBy: "forebay" },
  { container: "strict", names: names(8), staleMsMax: 0, changedBy: "others" },
  { container: "soft", names: names(8), staleMsMax: 1_000, changedBy: "others" },
];
const POLICIES = [
  { path: "still/", maxStale: "immutable" },
  { path: "frozen/", maxStale: "immutable" },
  { path: "strict/", maxStale: "0s" },
  { path: "soft/", maxStale: "1s" },
];

type Victim = "keeper" | "server" | "everything";
const VICTIMS: readonly Victim[] = ["keeper", "keeper", "server", "everything"];

interface Totals {
  readonly seen: Seen;
  warm: number;
  /** Blobs that were on flash before the kill, and evicted before they were looked for. */
  warmEvicted: number;
  /** All evictions that were counted, at the end of each round and before each kill of a keeper. */
  evictions: number;
  roundsWithNothingWarm: number;
  uncountedBytes: number;
  servedMsMax: number;
  readyMsMax: number;
}

class Run {
  readonly random: Random;
  readonly truth: Truth;
  readonly folder = tempFolder("crash");
  readonly totals: Totals = {
    seen: nothingSeen(),
    warm: 0,
    warmEvicted: 0,
    evictions: 0,
    roundsWithNothingWarm: 0,
    uncountedBytes: 0,
    servedMsMax: 0,
    readyMsMax: 0,
  };
  private seed = 1;
  private forebay: Up | undefined;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.truth = watchTruth(createSimService());
    for (const set of SETS) for (const name of set.names) this.change(`${set.container}/${name}`);
  }

  get up(): Up {
    if (this.forebay === undefined) throw new Error("Forebay was not started");
    return this.forebay;
  }

  async start(lake: string): Promise<void> {
    const before = this.forebay;
    this.forebay = await up({
      config: { lake, policies: POLICIES, stopDeadline: "5s" },
      folder: this.folder.path,
      flashSize: String(FLASH_BYTES),
      servers: SERVERS,
      // The same ports as before, as a service manager would start it again.
      port: before?.port ?? 0,
      adminPort: before?.adminPort ?? 0,
    });
  }

  change(name: string): void {
    this.truth.change(name, this.seed++, this.random.pick(SIZES));
  }

  /** Reads and writes until `stopped`. */
  traffic(seen: Seen, stopped: () => boolean): Promise<unknown> {
    const reader = async (random: Random): Promise<void> => {
      while (!stopped()) {
        const how = await readOnce(this.up.blobUrl, this.truth, seen, planRead(random, this.truth, SETS));
        if (how === "no answer") await Bun.sleep(20);
      }
    };
    const writer = async (random: Random): Promise<void> => {
      while (!stopped()) {
        await Bun.sleep(20 + random.below(80));
        const set = random.pick(SETS.filter(({ changedBy }) => changedBy !== "nobody"));
        const name = `${set.container}/${random.pick(set.names)}`;
        if (set.changedBy === "others" && random.chance(0.6)) this.change(name);
        else await writeOnce(this.up.blobUrl, this.truth, seen, name, this.seed++);
      }
    };
    const readers = Array.from({ length: READERS }, () => reader(this.random.fork()));
    return Promise.all([...readers, writer(this.random.fork())]);
  }

  /** The blobs that nobody changes and that are wholly on flash, as the index in `folder` says. */
  onFlash(folder: string): string[] {
    const index = openIndexReader(join(folder, INDEX_FILE), realClock);
    const found = STILL.names.filter((name) => index.lookup(`${SIM_ACCOUNT}/still/${name}`)?.present === null);
    index.close();
    return found;
  }

  /**
   * Those of them that a change under way does not touch: what is in the index's log but not seen yet by those who have
   * it open may be found by the next keeper, or not. Only while the keeper stands still.
   */
  onFlashForSure(): string[] {
    const copy = join(this.folder.path, "copy");
    rmSync(copy, { recursive: true, force: true });
    mkdirSync(copy);
    for (const name of [INDEX_FILE, `${INDEX_FILE}-wal`]) {
      if (existsSync(join(this.up.flash, name))) copyFileSync(join(this.up.flash, name), join(copy, name));
    }
    const seenByAll = this.onFlash(this.up.flash);
    return this.onFlash(copy).filter((name) => seenByAll.includes(name));
  }

  evictions(): Promise<number> {
    return until("metrics", READY_MS, async () =>
      (await metrics(this.up.adminUrl)).get("forebay_flash_evictions_total"),
    ).catch(() => 0);
  }

  /** Kills `victim` and returns what was on flash at that moment. The keeper stands still while that is looked at. */
  async kill(victim: Victim): Promise<{ warm: string[]; children: readonly Process[]; evictionsBefore: number }> {
    const children = childrenOf(this.up.pid);
    const keeper = children.find((child) => child.role === "keeper");
    const servers = children.filter((child) => child.role === "server");
    const counted = victim === "server" ? (await metrics(this.up.adminUrl)).get("forebay_flash_evictions_total") : 0;
    if (victim === "server") {
      // The keeper goes on meanwhile: what it evicts is counted, and that before the index has it.
      await this.commits(2);
      const warm = this.onFlash(this.up.flash);
      process.kill(this.random.pick(servers).pid, "SIGKILL");
      return { warm, children, evictionsBefore: counted ?? 0 };
    }
    this.totals.evictions += await this.evictions();
    if (keeper === undefined) throw new Error("there is no keeper to kill");
    process.kill(keeper.pid, "SIGSTOP");
    await until("the keeper to stand still", 10_000, () => standsStill(keeper.pid));
    const warm = this.onFlashForSure();
    process.kill(victim === "keeper" ? keeper.pid : this.up.pid, "SIGKILL");
    return { warm, children, evictionsBefore: 0 };
  }

  /** Waits for so many commits, or until nothing is committed any more. */
  private async commits(count: number): Promise<void> {
    const now = async (): Promise<number> => (await metrics(this.up.adminUrl)).get("forebay_flash_commits_total") ?? 0;
    const before = await now();
    await until("commits", 2_000, async () => (await now()) >= before + count).catch(() => {});
  }

  /** Waits until the port answers reads and everything says that it is well. */
  async recover(sinceMs: number): Promise<void> {
    const quiet = nothingSeen();
    const plan = { name: "still/blob-0", staleMsMax: 0, method: "GET", range: { first: 0, last: 9 } } as const;
    await until("the port to be served again", SERVED_MS, async () => {
      await readOnce(this.up.blobUrl, this.truth, quiet, plan);
      return quiet.reads > 0;
    });
    this.totals.servedMsMax = Math.max(this.totals.servedMsMax, performance.now() - sinceMs);
    await until(
      "everything to be ready",
      READY_MS,
      async () => (await admin(this.up.adminUrl, "/readyz")).status === 200,
    );
    this.totals.readyMsMax = Math.max(this.totals.readyMsMax, performance.now() - sinceMs);
  }

  /** What was on flash is given from there; what is not was evicted since. */
  async checkWarm(before: readonly string[], evictionsBefore: number): Promise<string[]> {
    const problems: string[] = [];
    const seen = nothingSeen();
    const missing: string[] = [];
    for (const blob of before) {
      const name = `still/${blob}`;
      const sent = this.truth.service.stats.sent(`${SIM_ACCOUNT}/${name}`).bytes;
      const how = await readOnce(this.up.blobUrl, this.truth, seen, {
        name,
        staleMsMax: 0,
        method: "GET",
        range: { first: 0, last: null },
      });
      const lakeSent = this.truth.service.stats.sent(`${SIM_ACCOUNT}/${name}`).bytes - sent;
      // A check may cost one byte. A server that did not know of another one's blocks may call the read a miss.
      if (["hit", "partial", "miss"].includes(how) && lakeSent <= 1) this.totals.warm++;
      else missing.push(`${name}: ${how}, ${lakeSent} bytes from the lake`);
    }
    const evictions = (await this.evictions()) - evictionsBefore;
    this.totals.warmEvicted += missing.length;
    this.totals.evictions += evictions;
    if (missing.length > evictions) {
      problems.push(`of ${before.length} warm blobs, with ${evictions} evictions, lost: ${missing.join("; ")}`);
    }
    if (before.length === 0) this.totals.roundsWithNothingWarm++;
    const samples = await metrics(this.up.adminUrl);
    for (const reason of ["bad", "failed"]) {
      const dropped = samples.get(`forebay_flash_dropped_${reason}_total`);
      if (dropped !== 0) problems.push(`${dropped} versions were dropped as ${reason}`);
    }
    return [...problems, ...seen.wrong];
  }

  async round(lake: string): Promise<string[]> {
    const { random } = this;
    const victim = random.pick(VICTIMS);
    const problems: string[] = [];
    const seen = nothingSeen();
    let stopped = false;
    const traffic = this.traffic(seen, () => stopped);
    await Bun.sleep(100 + random.below(700));
    const killedAtMs = performance.now();
    const { warm, children, evictionsBefore } = await this.kill(victim);
    // In some rounds the readers go on through the fall and the return.
    if (random.chance(0.4)) await Bun.sleep(50 + random.below(600));
    stopped = true;
    await within(40_000, "readers and writers to end", traffic);
    if (victim === "everything") {
      await until("every process to be gone", 5_000, () => !children.some((child) => isAlive(child.pid)));
      await this.start(lake);
    }
    await this.recover(killedAtMs);
    problems.push(...(await this.checkWarm(warm, evictionsBefore)));
    const after = nothingSeen();
    for (let i = 0; i < 6; i++) {
      await readOnce(this.up.blobUrl, this.truth, after, planRead(random, this.truth, SETS));
    }
    for (const what of after.broken.keys()) problems.push(`after the recovery: ${what}`);
    if (victim === "keeper") {
      for (const [what, times] of seen.broken) {
        if (!what.startsWith("write"))
          problems.push(`the keeper alone was killed, but reads broke: ${what} × ${times}`);
      }
    }
    problems.push(...seen.wrong, ...after.wrong);
    this.add(seen);
    return problems.map((problem) => `${victim}: ${problem}`);
  }

  private add(seen: Seen): void {
    const { seen: all } = this.totals;
    all.reads += seen.reads;
    all.bytes += seen.bytes;
    all.hits += seen.hits;
    all.writes += seen.writes;
    for (const [what, times] of seen.broken) all.broken.set(what, (all.broken.get(what) ?? 0) + times);
  }
}

/** Whether every thread of a process has stopped: one that waits for the disk does so only afterwards. */
function standsStill(pid: number): boolean {
  const states = readdirSync(`/proc/${pid}/task`).map((task) => readProc(pid, `task/${task}/stat`));
  return states.every((stat) => /^[TtZX]$/.test(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[0] ?? ""));
}

function argument(name: string, standard: number): number {
  const at = process.argv.indexOf(`--${name}`);
  const value = at < 0 ? standard : Number(process.argv[at + 1]);
  if (!Number.isSafeInteger(value)) throw new Error(`--${name} needs a whole number`);
  return value;
}

/** What is true of the run as a whole. */
async function finish(run: Run, rounds: number): Promise<string[]> {
  const { totals } = run;
  const problems: string[] = [];
  if (totals.evictions === 0) problems.push("nothing was evicted");
  if (totals.seen.hits === 0 || totals.seen.writes === 0) problems.push("nothing was hit or nothing written");
  if (totals.warm < rounds) problems.push(`only ${totals.warm} warm blobs in ${rounds} rounds: little was tested`);
  if (totals.roundsWithNothingWarm > rounds / 2) {
    problems.push(`nothing was warm in ${totals.roundsWithNothingWarm} of ${rounds} rounds: they tested nothing`);
  }
  const keys = SETS.flatMap((set) => set.names.map((name) => `${SIM_ACCOUNT}/${set.container}/${name}`));
  const footprint = (): Footprint => footprintOf(run.up.flash, keys);
  await until(
    "orphans",
    15_000,
    () => footprint().orphans.length === 0 && footprint().countedBytes <= FLASH_BYTES,
  ).catch(() => problems.push(`on flash: ${JSON.stringify(footprint())}, bound ${FLASH_BYTES}`));
  // Each keeper that fell may leave what was under way; it must not add up.
  if (footprint().uncountedBytes > FLASH_BYTES / 2) problems.push(`not counted on flash: ${totals.uncountedBytes}`);
  const children = childrenOf(run.up.pid);
  const status = await run.up.stop();
  if (status !== 0) problems.push(`the graceful stop ended with status ${status}`);
  if (children.some((child) => isAlive(child.pid))) problems.push("a child outlived the graceful stop");
  return problems;
}

async function main(): Promise<number> {
  const rounds = argument("rounds", 50);
  const seed = argument("seed", Date.now() % 1_000_000_007);
  const run = new Run(seed);
  const faults = createFaultPlan(run.random.fork());
  faults.shape({ firstByteMs: [0, 12] });
  const lake = await startSimLakeServer(run.truth.service, { faults });
  process.stdout.write(`kill: ${rounds} rounds, seed ${seed}\n`);
  let [passed, failed, skipped] = [0, 0, 0];
  const judge = (what: string, problems: readonly string[]): boolean => {
    if (problems.length === 0) passed++;
    else failed++;
    for (const problem of problems.slice(0, 10)) process.stdout.write(`FAILED ${what} (seed ${seed}): ${problem}\n`);
    return problems.length === 0;
  };
  try {
    await run.start(lake.connectionString);
    for (let round = 1; round <= rounds; round++) {
      const problems = await run.round(lake.connectionString).catch((error: unknown) => [`ended: ${String(error)}`]);
      if (judge(`round ${round}`, problems)) continue;
      process.stdout.write(`${lastLines(run.up.logs(), 15)}\n`);
      if (problems.some((problem) => problem.startsWith("ended"))) {
        skipped = rounds - round;
        break;
      }
    }
    if (skipped === 0) judge("the whole", await finish(run, rounds).catch((error: unknown) => [String(error)]));
  } finally {
    run.up.child.kill("SIGKILL");
    await lake.close();
    run.folder.remove();
  }
  const { seen, warm, warmEvicted, evictions, uncountedBytes, servedMsMax, readyMsMax } = run.totals;
  const broken = [...seen.broken].map(([what, times]) => `${what} ${times}`).join(", ");
  process.stdout.write(
    `${seen.reads} reads (${(seen.bytes / 2 ** 20).toFixed(0)} MiB, ${seen.hits} hits), ${seen.writes} writes; ` +
      `broken: ${broken || "none"}; ${warm} blobs warm after a kill, ${warmEvicted} evicted meanwhile; ${evictions} evictions; ${uncountedBytes} bytes not counted at the end; ` +
      `served again within ${servedMsMax.toFixed(0)} ms, ready within ${readyMsMax.toFixed(0)} ms\n`,
  );
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

process.exit(await main());
