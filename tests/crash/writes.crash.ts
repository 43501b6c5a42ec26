/**
 * Writes acknowledged on flash, and processes killed: keeper, server, or all of them with the supervisor, at any moment
 * and at the moments that matter (before and after each step that the drain takes in the lake). Real SDK clients write,
 * a real Azurite takes what is carried. Afterwards every acknowledged blob is whole, through Forebay at once, and in the
 * lake after a flush.
 *
 *   bun tests/crash/writes.crash.ts --rounds 200 --seed 7
 */
import type { ContainerClient } from "@azure/storage-blob";
import { type Random, seededRandom } from "../../src/base/random.ts";
import { MAIN_ACCOUNT, startAzurite } from "../support/azurite.ts";
import { lastLines, tempFolder, within } from "../support/temp.ts";
import { admin, childrenOf, isAlive, type Up, until, up } from "../system/harness.ts";
import { type LakeGate, type Moment, startLakeGate } from "./lake-gate.ts";
import { clientOf, judge, type Ledger, nothingWritten, type Written, writeOn } from "./write-clients.ts";

const SERVERS = 2;
const WRITERS = 4;
const BLOBS_EACH = 4;
const READY_MS = 20_000;
const FLUSH_MS = 60_000;
const CONTAINER = "checkpoints";
/** A moment that does not come, because nothing of that kind is carried, is not waited for longer. */
const MOMENT_MS = 1_500;

type Victim = "keeper" | "server" | "everything";
const VICTIMS: readonly Victim[] = ["keeper", "keeper", "server", "everything"];
const MOMENTS: readonly Moment[] = (["block", "commit", "put", "delete", "look"] as const).flatMap((step) => [
  { step, when: "before" },
  { step, when: "after" },
]);

class Run {
  readonly random: Random;
  readonly folder = tempFolder("crash-writes");
  readonly totals: Written & { momentsHit: number; readyMsMax: number };
  private readonly lakeText: string;
  private readonly gate: LakeGate;
  private readonly direct: ContainerClient;
  private readonly ledgers: readonly (readonly Ledger[])[];
  private seed = 1;
  private forebay: Up | undefined;

  constructor(seed: number, gate: LakeGate, azuriteUrl: string) {
    this.random = seededRandom(seed);
    this.gate = gate;
    this.totals = { ...nothingWritten(), momentsHit: 0, readyMsMax: 0 };
    const { name, key } = MAIN_ACCOUNT;
    this.lakeText = `DefaultEndpointsProtocol=http;AccountName=${name};AccountKey=${key};BlobEndpoint=http://127.0.0.1:${gate.port}/${name};`;
    this.direct = clientOf(azuriteUrl, name, key, CONTAINER);
    this.ledgers = Array.from({ length: WRITERS }, (_, writer) =>
      Array.from({ length: BLOBS_EACH }, (_, i) => ({
        name: `run/${writer}/${i}`,
        possible: [{ seed: 0, sizeBytes: null }],
      })),
    );
  }

  get up(): Up {
    if (this.forebay === undefined) throw new Error("Forebay was not started");
    return this.forebay;
  }

  async start(): Promise<void> {
    const before = this.forebay;
    if (before === undefined) await this.direct.create();
    this.forebay = await up({
      config: {
        lake: this.lakeText,
        policies: [{ path: `${CONTAINER}/`, write: "back" }],
        stopDeadline: "5s",
        pendingNames: false,
      },
      folder: this.folder.path,
      flashSize: "1GiB",
      servers: SERVERS,
      port: before?.port ?? 0,
      adminPort: before?.adminPort ?? 0,
    });
  }

  private near(): ContainerClient {
    return clientOf(this.up.blobUrl, MAIN_ACCOUNT.name, MAIN_ACCOUNT.key, CONTAINER);
  }

  private kill(victim: Victim): void {
    const children = childrenOf(this.up.pid);
    const of = (role: string): number[] => children.filter((child) => child.role === role).map(({ pid }) => pid);
    const pid =
      victim === "everything" ? this.up.pid : victim === "keeper" ? of("keeper")[0] : this.random.pick(of("server"));
    if (pid === undefined) throw new Error(`there is no ${victim} to kill`);
    process.kill(pid, "SIGKILL");
  }

  /** Kills at a moment of the drain, or at any; resolves when it has happened. */
  private async killSometime(victim: Victim): Promise<void> {
    await Bun.sleep(this.random.below(400));
    if (this.random.chance(0.3)) return this.kill(victim);
    const moment = this.random.pick(MOMENTS);
    const happened = new Promise<boolean>((resolve) => {
      this.gate.at(moment, () => {
        this.kill(victim);
        resolve(true);
      });
      setTimeout(() => resolve(false), MOMENT_MS);
    });
    if (await happened) this.totals.momentsHit++;
    else {
      this.gate.forget();
      this.kill(victim);
    }
  }

  async round(): Promise<string[]> {
    const victim = this.random.pick(VICTIMS);
    const seen = nothingWritten();
    let stopped = false;
    const client = this.near();
    const traffic = Promise.all(
      this.ledgers.map((ledgers) =>
        writeOn(
          client,
          ledgers,
          this.random.fork(),
          seen,
          () => stopped,
          () => this.seed++,
        ),
      ),
    );
    const children = childrenOf(this.up.pid);
    await this.killSometime(victim);
    const killedAtMs = performance.now();
    if (this.random.chance(0.4)) await Bun.sleep(50 + this.random.below(600));
    stopped = true;
    await within(60_000, "writers to end", traffic);
    if (victim === "everything") {
      await until("every process to be gone", 5_000, () => !children.some((child) => isAlive(child.pid)));
      await this.start();
    }
    await until(
      "everything to be ready",
      READY_MS,
      async () => (await admin(this.up.adminUrl, "/readyz")).status === 200,
    );
    this.totals.readyMsMax = Math.max(this.totals.readyMsMax, performance.now() - killedAtMs);
    const problems = [...seen.wrong, ...(await this.check(this.near(), "through Forebay"))];
    problems.push(...(await this.flush()));
    problems.push(...(await this.check(this.direct, "in the lake")));
    problems.push(...(await this.check(this.near(), "through Forebay after the flush")));
    problems.push(...(await this.checkNames()));
    this.totals.acknowledged += seen.acknowledged;
    this.totals.acknowledgedBytes += seen.acknowledgedBytes;
    this.totals.unknown += seen.unknown;
    const names = new Set(problems.flatMap((problem) => /run\/\d+\/\d+/.exec(problem) ?? []));
    const history = [...names].slice(0, 2).flatMap((name) => this.gate.historyOf(name).slice(-40));
    return [...problems, ...history].map((problem) => `${victim}: ${problem}`);
  }

  private async check(client: ContainerClient, where: string): Promise<string[]> {
    const found: string[] = [];
    for (const ledger of this.ledgers.flat()) {
      const problem = await judge(client, ledger, where);
      if (problem !== null) found.push(problem);
    }
    return found;
  }

  private async flush(): Promise<string[]> {
    const response = await fetch(`${this.up.adminUrl}/api/v1/flush`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-forebay-admin": "true" },
      body: JSON.stringify({ scope: "", timeoutMs: FLUSH_MS, staged: false }),
      signal: AbortSignal.timeout(FLUSH_MS + 10_000),
    });
    const text = await response.text();
    const last = text.trim().split("\n").at(-1) ?? "";
    return response.ok && last.includes('"done"')
      ? []
      : [`the flush ended with ${response.status}: ${text.slice(-500)}`];
  }

  /** Nothing is in the lake that nobody wrote, side versions included: nobody else writes there. */
  private async checkNames(): Promise<string[]> {
    const wanted = this.ledgers
      .flat()
      .filter(({ possible }) => possible[0]?.sizeBytes !== null)
      .map(({ name }) => name);
    const found: string[] = [];
    for await (const { name } of this.direct.listBlobsFlat()) found.push(name);
    const differs = JSON.stringify(found.sort()) !== JSON.stringify(wanted.sort());
    return differs ? [`the lake has ${found.join(", ")} instead of ${wanted.join(", ")}`] : [];
  }
}

function argument(name: string, standard: number): number {
  const at = process.argv.indexOf(`--${name}`);
  const value = at < 0 ? standard : Number(process.argv[at + 1]);
  if (!Number.isSafeInteger(value)) throw new Error(`--${name} needs a whole number`);
  return value;
}

async function main(): Promise<number> {
  const rounds = argument("rounds", 200);
  const seed = argument("seed", Date.now() % 1_000_000_007);
  const azurite = await startAzurite();
  const gate = await startLakeGate(azurite.port);
  const run = new Run(seed, gate, azurite.blobUrl());
  process.stdout.write(`writes and kills: ${rounds} rounds, seed ${seed}\n`);
  let [passed, failed, skipped] = [0, 0, 0];
  const count = (what: string, problems: readonly string[]): void => {
    if (problems.length === 0) passed++;
    else failed++;
    for (const problem of problems.slice(0, 60)) process.stdout.write(`FAILED ${what} (seed ${seed}): ${problem}\n`);
    if (problems.length > 0) process.stdout.write(`${lastLines(run.up.logs(), 15)}\n`);
  };
  try {
    await run.start();
    for (let round = 1; round <= rounds; round++) {
      const problems = await run.round().catch((error: unknown) => [`ended: ${String(error)}`]);
      count(`round ${round}`, problems);
      // What is wrong once would be found again and again.
      if (problems.length === 0) continue;
      skipped = rounds - round;
      break;
    }
    const { acknowledged, momentsHit } = run.totals;
    const little = acknowledged < rounds || momentsHit < rounds / 4;
    if (skipped === 0)
      count("the whole", little ? [`only ${acknowledged} writes, ${momentsHit} moments: little was tested`] : []);
    const status = await run.up.stop();
    if (skipped === 0) count("the graceful stop", status === 0 ? [] : [`it ended with status ${status}`]);
  } finally {
    run.up.child.kill("SIGKILL");
    await gate.close();
    await azurite.stop();
    run.folder.remove();
  }
  const { acknowledged, acknowledgedBytes, unknown, momentsHit, readyMsMax } = run.totals;
  process.stdout.write(
    `${acknowledged} writes acknowledged (${(acknowledgedBytes / 2 ** 20).toFixed(0)} MiB), ${unknown} unanswered; ` +
      `${momentsHit} kills at a moment of the drain; ready within ${readyMsMax.toFixed(0)} ms\n`,
  );
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

process.exit(await main());
