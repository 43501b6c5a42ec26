import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { createSimDisk, type SimDisk } from "../../sim/disk.ts";
import { seededRandom } from "../base/random.ts";
import { FILE_FOLDERS, filePath, folderPath } from "./files.ts";
import { IDS_FILE, openIds } from "./ids.ts";

const SEED = 20260104;
const RESERVED = 8;

function newDisk(seed: number): SimDisk {
  return createSimDisk({ random: seededRandom(seed), clock: createSimClock(), capacityBytes: 1e6 });
}

async function take(disk: SimDisk, count: number, indexIdMax = 0): Promise<number[]> {
  const ids = await openIds(disk, indexIdMax, RESERVED);
  const taken: number[] = [];
  for (let n = 0; n < count; n++) {
    await ids.ready();
    const id = ids.next();
    expect(id).toBeGreaterThanOrEqual(ids.firstOfThisLife);
    taken.push(id);
  }
  return taken;
}

describe("ids", () => {
  test("begin at 1 and rise without gaps within a life", async () => {
    const taken = await take(newDisk(SEED), 50);
    expect(taken).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
  });

  test(`are never given twice over many power losses (seed ${SEED})`, async () => {
    const random = seededRandom(SEED);
    const disk = newDisk(SEED);
    let last = 0;
    for (let life = 0; life < 200; life++) {
      const taken = await take(disk, random.below(30));
      for (const id of taken) {
        expect(id).toBeGreaterThan(last);
        last = id;
      }
      if (random.chance(0.5)) disk.powerLoss();
      else disk.killProcesses();
    }
  });

  test("survive one damaged slot", async () => {
    for (const offset of [0, 512]) {
      const disk = newDisk(SEED);
      const last = (await take(disk, 3)).at(-1) ?? 0;
      expect(disk.flipBit(IDS_FILE, offset, 1)).toBe(true);
      const [next = 0] = await take(disk, 1);
      expect(next).toBeGreaterThan(last);
      expect(next).toBeLessThan(100);
    }
  });

  test("are found again from files and index when both slots are lost", async () => {
    const disk = newDisk(SEED);
    disk.makeFolder(folderPath(70_000 % FILE_FOLDERS));
    disk.close(disk.open(filePath(70_000), "create"));
    expect((await take(disk, 1))[0]).toBeGreaterThan(70_000);
    const other = newDisk(SEED);
    expect((await take(other, 1, 5_000))[0]).toBeGreaterThan(5_000);
  });
});
