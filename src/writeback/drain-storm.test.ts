/** Random writes over a lake in which everything that can go wrong does, and a process that ends at any moment. */
import { expect, test } from "bun:test";
import { FAULTS, type Fault } from "../../sim/lake/faults.ts";
import { type Random, seededRandom } from "../base/random.ts";
import { bytesOf, createDrainWorld, type DrainWorld, id } from "./testing/drain-world.ts";

/** Lies about what the lake holds are not among them: nobody could do right by those. */
const LIES: ReadonlySet<Fault> = new Set(["otherEtag", "wrongMd5", "wrongContentRange", "longBody"]);
const BLOBS = ["a", "b", "c", "d"];
const WRITES = 40;

/** One write. What the blob is afterwards: its bytes, or null. */
async function write(world: DrainWorld, random: Random, blob: string, n: number): Promise<Uint8Array | null> {
  const isThere = world.journal.view.latest(nameOf(blob)) !== null;
  const path = `${BLOBS.indexOf(blob) % 2}/`;
  const etag = world.service.properties("data", blob)?.etag;
  const base = etag === undefined ? ({ kind: "none" } as const) : ({ kind: "etag", etag } as const);
  if ((isThere || etag !== undefined) && random.chance(0.2)) {
    await world.remove(blob, base, path);
    return null;
  }
  const bytes = bytesOf(1 + random.below(3_000), n + 1);
  if (random.chance(0.4)) {
    await world.putContent(blob, { kind: "inline", bytes }, bytes.length, { base, path });
  } else {
    const cut = random.below(bytes.length);
    const ids = random.pick([
      [id("block 01"), id("block 02")],
      [id("1"), id("2")],
      ["", ""],
      [id("block 01"), id("block 01")],
    ]);
    const parts = [bytes.subarray(0, cut), bytes.subarray(cut)].map((part, i) => [ids[i] ?? "", part] as const);
    await world.putSpans(blob, parts, { base, path });
  }
  return bytes;
}

const nameOf = (blob: string) => ({ account: "simlake", container: "data", blob });

async function storm(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const world = await createDrainWorld(seed);
  for (const fault of FAULTS)
    if (!LIES.has(fault) && random.chance(0.6)) world.faults.set(fault, random.below(20) / 100);
  world.faults.shape({ firstByteMs: [0, 200] });
  const wanted = new Map<string, Uint8Array | null>();
  for (let n = 0; n < WRITES; n++) {
    const blob = random.pick(BLOBS);
    wanted.set(blob, await write(world, random, blob, n));
    await world.clock.advance(random.below(400));
    if (random.chance(0.1)) {
      world.kill();
      if (random.chance(0.5)) world.disk.powerLoss();
      else world.disk.killProcesses();
      await world.restart();
    }
  }
  await world.clock.advance(60_000);
  world.faults.calm();
  await world.drained(3_600_000);
  const what = `seed ${seed}`;
  expect([...world.journal.view.entries()], what).toEqual([]);
  expect(world.drain.stats(), what).toMatchObject({ conflicts: 0, parked: 0, uploadsNow: 0 });
  const settled = world.ended.filter(({ state }) => state.name === "settled");
  expect(world.applied.length, what).toBeLessThanOrEqual(settled.length);
  for (const [blob, bytes] of wanted) expect(world.service.peek("data", blob), `${what} ${blob}`).toEqual(bytes);
}

test("in any storm everything arrives, nothing is taken for a foreign change, nothing is doubled", async () => {
  for (let seed = 1; seed <= 40; seed++) await storm(seed);
}, 120_000);
