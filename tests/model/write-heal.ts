/** The end of a history of writes: calm, in which all that was acknowledged must reach the lake, and a look at it all. */
import { SIM_ACCOUNT } from "../../sim/lake/service.ts";
import type { World } from "../../sim/world.ts";
import { GIB } from "../../src/base/limits.ts";
import { read, type Writing, walk } from "./write-clients.ts";
import { WRITE_BLOBS, WRITE_CONTAINERS } from "./write-steps.ts";

const HEAL_ROUNDS = 40;
const FLUSH_MS = 300_000;

/** Ends all trouble and waits until every request has ended and the lake has all that is pending. */
export async function heal(writing: Writing): Promise<string[]> {
  const { world, pending } = writing;
  const { clock, lake, disk } = world;
  const violations: string[] = [];
  writing.step = -1;
  if (!writing.calm) await clock.advance(25_000); // what lasts for a while ends by itself
  lake.calmFaults();
  Object.assign(lake.way, { down: false, refuses: null, ownChangeMsMax: 0 });
  Object.assign(disk.faults, { failWrite: 0, failSync: 0, capacityBytes: GIB });
  await clock.settle(world.boot());
  for (let round = 0; round < HEAL_ROUNDS && pending.size > 0; round++) await clock.advance(10_000);
  if (pending.size > 0) violations.push(`HANG: ${pending.size} requests never ended`);
  await clock.advance(writing.calm ? 1_000 : 30_000);
  await clock.settle(world.boot());
  violations.push(...(await settleAll(writing)));
  await clock.advance(6_000);
  return violations;
}

/** Carries everything to the lake; what was parked is tried again, as an operator would. */
async function settleAll({ world }: Writing): Promise<string[]> {
  const { clock } = world;
  const scope = { account: SIM_ACCOUNT, container: null, blob: null };
  for (let round = 0; round < HEAL_ROUNDS; round++) {
    const writes = world.writes();
    if (writes === null) {
      await clock.advance(5_000);
      await clock.settle(world.boot());
      continue;
    }
    const { drain, desk, journal } = writes;
    for (const entry of [...journal.view.entries()]) {
      if (entry.state.name === "parked") await clock.settle(drain.decide(entry.seq, "retry"));
    }
    // Under a fence also the blocks go that nobody committed.
    const fence = await clock.settle(desk.fence("the end", scope, FLUSH_MS).catch(() => null));
    if (fence === null) continue;
    await clock.settle(desk.unfence(fence));
    const { pendingEntries, stagedBlocks } = journal.stats();
    if (pendingEntries > 0 || stagedBlocks > 0) {
      return [`STUCK: ${pendingEntries} entries and ${stagedBlocks} blocks are pending behind a fence`];
    }
    const generations = world.generations();
    const slots = generations.slotsOf(`${SIM_ACCOUNT}/ckpt/a`);
    return generations.owed.account(slots) ? ["LEAK: something is counted as owed when nothing is"] : [];
  }
  const left = [...(world.writes()?.journal.view.entries() ?? [])]
    .slice(0, 3)
    .map(({ seq, name, state, base }) => JSON.stringify({ seq, name, state, base }));
  return [
    `STUCK: the lake is well and does not get it all: ${left.join(" ")} ${JSON.stringify(world.writes()?.drain.stats())}`,
  ];
}

/** The side names that an operator would be shown. */
export function asideNames(world: World): string[] {
  return [...(world.writes()?.journal.view.entries() ?? [])].flatMap(({ name, state }) =>
    state.name === "aside" && state.sideName !== null ? [`${name.container}/${state.sideName}`] : [],
  );
}

/** In calm, everybody gets what the lake has. */
export async function finalLooks(writing: Writing): Promise<void> {
  const { world } = writing;
  writing.calm = true;
  for (const round of [1, 2]) {
    writing.step = -round;
    for (const name of WRITE_BLOBS) {
      for (let server = 0; server < world.servers.length; server++) {
        const plain = { method: "GET", range: null, condition: null, slow: false, leaveAfterMs: null } as const;
        await world.clock.settle(read(writing, { do: "read", server, name, who: "key", ...plain }));
      }
    }
    for (const container of WRITE_CONTAINERS) {
      const all = { prefix: "", delimiter: "", pageMax: 2, pauseMs: 0 };
      await world.clock.settle(walk(writing, { do: "list", server: 0, container, ...all }));
    }
  }
}
