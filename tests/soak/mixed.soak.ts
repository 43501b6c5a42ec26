/**
 * Hours in minutes: 500 connections that ask, pipeline, read slowly and break off; a flash smaller than the data; a
 * lake that others change, and writers through Forebay. Every byte is held against the version that its ETag names,
 * every version against how old it may be. Nothing may fail, and neither memory nor descriptors may grow.
 *
 *   npm run soak -- --minutes 10 --seed 7 --servers 2
 *
 * The lake and the clients share this process; Forebay has its own.
 */
import { parseArgs } from "node:util";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService } from "../../sim/lake/service.ts";
import { seededRandom } from "../../src/base/random.ts";
import { watchTruth } from "../crash/truth.ts";
import { lastLines } from "../support/temp.ts";
import { admin, childrenOf, cleanup, metrics, type Process, until, up } from "../system/harness.ts";
import { caretaker, fillLake, foreignChanges, POLICIES, type Scene, session, sortOut, writer } from "./sessions.ts";
import { growthOf, type Look, lookAt, tooManyFiles } from "./watch.ts";
import { nothingSeen, WRONG_MAX } from "./wire.ts";

const MIB = 1 << 20;
const FLASH_BYTES = 256 * MIB;
const LOOK_EVERY_MS = 2_000;
/** Growth is judged when there is so much time to see it in, after the warm-up. */
const JUDGED_MS_MIN = 60_000;
const WARM_UP_MS_MIN = 60_000;
const SAY_EVERY_MS = 30_000;
const SETTLE_MS = 30_000;
/** Connections to the lake, the keeper and the admin endpoint that may stay when the clients are gone. */
const SOCKETS_LEFT_MAX = 32;
const LOG_LEVEL_ERROR = 50;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string" },
    servers: { type: "string", default: "1" },
    connections: { type: "string", default: "500" },
  },
});
const seed = values.seed === undefined ? Date.now() % 1_000_000_000 : Number(values.seed);
const runMs = Number(values.minutes) * 60_000;
const [servers, connections] = [Number(values.servers), Number(values.connections)];
if (!(runMs > 0) || !Number.isInteger(seed) || !(servers >= 1) || !(connections >= 1)) {
  process.stderr.write("usage: mixed.soak.ts [--minutes M] [--seed S] [--servers 1|2] [--connections N]\n");
  process.exit(2);
}

/** What is to be true, and what is found against it. Null: too little time to tell. */
const checks = new Map<string, readonly string[] | null>();

async function main(): Promise<void> {
  const undo = cleanup();
  try {
    const random = seededRandom(seed);
    const truth = watchTruth(createSimService());
    const { blobs, totalBytes } = fillLake(truth, random);
    const lake = await startSimLakeServer(truth.service);
    undo.add(() => lake.close());
    const forebay = await up({
      config: { lake: lake.connectionString, policies: POLICIES },
      folder: undo.folder("soak"),
      flashSize: `${FLASH_BYTES / MIB}MiB`,
      servers,
    });
    undo.add(() => forebay.stop(5_000));
    say(`seed ${seed}: ${connections} connections, ${servers} servers, ${values.minutes} minutes,`);
    say(`${blobs.length} blobs of ${Math.round(totalBytes / MIB)} MiB before a flash of ${FLASH_BYTES / MIB} MiB`);
    const startMs = performance.now();
    const seen = nothingSeen();
    const over = (): boolean => performance.now() - startMs >= runMs || seen.wrong.length >= WRONG_MAX;
    const scene: Scene = {
      port: forebay.port,
      truth,
      seen,
      blobs,
      kinds: sortOut(blobs),
      over,
      wires: new Set(),
      changes: 0,
    };
    const processes = childrenOf(forebay.pid);
    const looks: Look[] = [];
    const watching = watch(scene, looks, processes, forebay.flash, startMs);
    await Promise.all([
      ...Array.from({ length: connections }, () => session(scene, random.fork())),
      foreignChanges(scene, random.fork(), 50),
      writer(scene, random.fork(), 200),
      caretaker(scene, truth.service),
      watching,
    ]);
    const seconds = (performance.now() - startMs) / 1000;
    say(summary(scene, seconds));
    checks.set("every answer is right", seen.wrong);

    const samples = await metrics(forebay.adminUrl);
    const evictions = samples.get("forebay_flash_evictions_total") ?? 0;
    const hits = seen.temperatures.get("hit") ?? 0;
    say(`${evictions} evictions, ${scene.changes} changes in the lake, ${seen.writes} writes through Forebay`);
    const happened = { evictions, hits, changes: scene.changes, writes: seen.writes, aborts: seen.aborted };
    const missing = Object.entries({ ...happened, slowReads: seen.slowReads, pipelined: seen.pipelined });
    checks.set(
      "everything that was to happen did",
      missing.filter(([, count]) => count === 0).map(([name]) => `no ${name}`),
    );

    const warmMs = startMs + Math.max(runMs / 3, WARM_UP_MS_MIN);
    const { said, grown } = growthOf(looks, warmMs);
    for (const line of said) say(line);
    const judged = startMs + runMs - warmMs >= JUDGED_MS_MIN;
    checks.set("neither memory nor descriptors grow", judged ? grown : null);
    checks.set("no more files are open than there are blobs", tooManyFiles(looks, blobs.length));
    checks.set("what clients and evicted files held is given back", await leftOver(processes, forebay.flash));

    const ready = await admin(forebay.adminUrl, "/readyz");
    const [before, after] = [processes, childrenOf(forebay.pid)].map((all) => all.map(({ pid }) => pid).join());
    checks.set("no process died, and all are ready", [
      ...(ready.status === 200 ? [] : [`/readyz: ${ready.status} ${ready.text}`]),
      ...(before === after ? [] : [`processes ${before} became ${after}`]),
    ]);
    const status = await forebay.stop();
    const errors = errorLines(forebay.logs());
    checks.set("it ends well and logged no error", [...(status === 0 ? [] : [`status ${status}`]), ...errors]);
    if (status !== 0) say(lastLines(forebay.logs(), 20));
  } finally {
    await undo.run();
  }
}

/** Looks once a second, and says how it goes now and then. */
async function watch(
  scene: Scene,
  looks: Look[],
  processes: readonly Process[],
  flash: string,
  startMs: number,
): Promise<void> {
  let saidMs = startMs;
  while (!scene.over()) {
    await Bun.sleep(LOOK_EVERY_MS);
    looks.push(...lookAt(processes, flash));
    if (performance.now() - saidMs < SAY_EVERY_MS) continue;
    saidMs = performance.now();
    say(summary(scene, (saidMs - startMs) / 1000));
  }
  for (const wire of scene.wires) wire.abort();
}

/** What is still held when everybody has gone, after a while. */
async function leftOver(processes: readonly Process[], flash: string): Promise<string[]> {
  const held = (): string[] =>
    lookAt(processes, flash).flatMap(({ role, pid, sockets, unlinked }) => [
      ...(sockets > SOCKETS_LEFT_MAX ? [`${role} ${pid}: ${sockets} sockets`] : []),
      ...(unlinked > 0 ? [`${role} ${pid}: ${unlinked} unlinked files`] : []),
    ]);
  try {
    await until("everything to be given back", SETTLE_MS, () => held().length === 0);
    return [];
  } catch {
    return held();
  }
}

function errorLines(logs: string): string[] {
  const lines = logs.split("\n").filter((line) => {
    try {
      const level: unknown = JSON.parse(line).level;
      return level === "error" || level === "fatal" || (typeof level === "number" && level >= LOG_LEVEL_ERROR);
    } catch {
      return line.trim() !== "";
    }
  });
  return lines.slice(0, WRONG_MAX);
}

function summary({ seen }: Scene, seconds: number): string {
  const temperatures = [...seen.temperatures].map(([name, count]) => `${count} ${name === "" ? "other" : name}`);
  return (
    `${seconds.toFixed(0)} s: ${seen.requests} answers (${temperatures.join(", ")}), ` +
    `${(seen.bytes / 1e9).toFixed(2)} GB, ${seen.aborted} aborted, ${seen.slowReads} read slowly, ` +
    `${seen.pipelined} pipelined, ${seen.cut} cut by a change, ${seen.wrong.length} wrong`
  );
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

await main();
const count = { passed: 0, failed: 0, skipped: 0 };
for (const [name, found] of checks) {
  const outcome = found === null ? "skipped" : found.length === 0 ? "passed" : "failed";
  count[outcome]++;
  say(`${outcome}: ${name}${found === null ? " (needs two minutes or more)" : ""}`);
  for (const line of found ?? []) say(`    ${line}`);
}
say(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
process.exit(count.failed === 0 ? 0 : 1);
