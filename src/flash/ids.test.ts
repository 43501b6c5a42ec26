import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { createSimDisk, type SimDisk } from "../../sim/disk.ts";
import { failureOf } from "../../sim/failure.ts";
import { ForebayError } from "../base/errors.ts";
import { seededRandom } from "../base/random.ts";
import type { Disk } from "../io/disk.ts";
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

/** What both slots say; NaN for one that is not whole. */
function boundsOf(disk: SimDisk): number[] {
  const bytes = disk.contents(IDS_FILE) ?? new Uint8Array();
  return [0, 512].map((at) => Number(new TextDecoder().decode(bytes.subarray(at, at + 512)).split(" ")[0]));
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

  test("go on above all that was given when either slot is damaged, after any number of ids", async () => {
    for (const offset of [0, 512]) {
      for (let count = 1; count <= 40; count++) {
        const disk = newDisk(SEED);
        await take(disk, 20); // an earlier life: either slot may then hold the newest bound
        const last = (await take(disk, count)).at(-1) ?? 0;
        expect(disk.flipBit(IDS_FILE, offset, 1)).toBe(true);
        const [next = 0] = await take(disk, 1);
        expect([offset, count, next > last, next < last + 4 * RESERVED]).toEqual([offset, count, true, true]);
      }
    }
  });

  test("of a life that begins with a torn write go on as well, and begin with the older bound", async () => {
    for (let count = 1; count <= 40; count++) {
      const disk = newDisk(SEED);
      const last = (await take(disk, count)).at(-1) ?? 0;
      const newest = Math.max(...boundsOf(disk));
      const written: number[] = [];
      const torn: Disk = {
        ...disk,
        write: async (fd, bytes, offset) => {
          written.push(offset / 512);
          await disk.write(fd, bytes.fill(0xff, 0, 8), offset);
          throw new ForebayError("flash-failed", "torn");
        },
      };
      expect(String(await failureOf(openIds(torn, 0, RESERVED)))).toMatch("torn");
      expect(written).toEqual([boundsOf(disk).findIndex(Number.isNaN)]);
      expect(Math.max(...boundsOf(disk).filter((bound) => !Number.isNaN(bound)))).toBe(newest);
      expect((await take(disk, 1))[0]).toBeGreaterThan(last);
    }
  });

  test("are read from a file written before: its sums never change", async () => {
    const disk = newDisk(SEED);
    const slots = new Uint8Array(1024);
    slots.set(new TextEncoder().encode("5000016 4a9f5e8d1c2b3a40\n"));
    slots.set(new TextEncoder().encode("5000032 44187e23418a9e1a\n"), 512);
    const fd = disk.open(IDS_FILE, "create");
    await disk.write(fd, slots, 0);
    disk.close(fd);
    disk.makeFolder(folderPath(0));
    expect((await take(disk, 1))[0]).toBe(5_000_032);
  });

  test("begin above those of any folder before when only empty folders are left", async () => {
    const disk = newDisk(SEED);
    disk.makeFolder(folderPath(0));
    const floor = 1_790_000_000_000_000;
    expect((await openIds(disk, 0, RESERVED, floor)).firstOfThisLife).toBe(floor);
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
