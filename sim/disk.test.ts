import { describe, expect, test } from "bun:test";
import { seededRandom } from "../src/base/random.ts";
import { createSimClock, type SimClock } from "./clock.ts";
import { createSimDisk, type SimDisk } from "./disk.ts";

const SEED = 20260105;

function make(seed = SEED): { disk: SimDisk; clock: SimClock } {
  const clock = createSimClock();
  const disk = createSimDisk({
    random: seededRandom(seed),
    clock,
    capacityBytes: 100_000,
    delays: { ioMsMax: 2, syncMsMax: 10 },
  });
  return { disk, clock };
}

const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

async function write(world: ReturnType<typeof make>, path: string, content: Uint8Array, offset = 0): Promise<number> {
  const fd = world.disk.open(path, world.disk.sizeOf(path) === null ? "create" : "write");
  await world.clock.settle(world.disk.write(fd, content, offset));
  return fd;
}

describe(`the simulated disk (seed ${SEED})`, () => {
  test("keeps what was synced and loses or tears the rest, sector by sector", async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const w = make(seed);
      await write(w, "kept", bytes(3000, 1));
      await w.clock.settle(w.disk.syncAll());
      await write(w, "kept", bytes(2048, 2), 512);
      await write(w, "new", bytes(1000, 3));
      w.disk.powerLoss();
      const kept = w.disk.contents("kept");
      if (kept === null) throw new Error("a synced file is there");
      expect(kept.length).toBe(3000);
      expect(kept.subarray(0, 512)).toEqual(bytes(512, 1));
      expect(kept.subarray(2560)).toEqual(bytes(440, 1));
      const sectors = [0, 1, 2, 3].map((n) => {
        const sector = kept.subarray(512 + n * 512, 1024 + n * 512);
        expect(new Set(sector).size).toBe(1);
        return sector[0];
      });
      seen.add(`sectors ${sectors.join("")}`);
      const fresh = w.disk.contents("new");
      seen.add(fresh === null ? "name lost" : `length ${fresh.length}`);
      if (fresh !== null) for (const byte of fresh) expect([0, 3]).toContain(byte);
    }
    expect(seen).toContain("name lost");
    expect(seen).toContain("length 0");
    expect(seen).toContain("length 1000");
    expect([...seen].filter((what) => what.startsWith("sectors")).length).toBeGreaterThan(8);
  });

  test("a flush covers what was there when it began", async () => {
    let survived = 0;
    for (let seed = 0; seed < 30; seed++) {
      const w = make(seed);
      const fd = await write(w, "file", bytes(512, 1));
      const flush = w.disk.syncAll();
      await w.clock.settle(Promise.all([flush, w.disk.write(fd, bytes(512, 2), 512)]));
      w.disk.powerLoss();
      const content = w.disk.contents("file");
      expect(content?.subarray(0, 512)).toEqual(bytes(512, 1));
      if (content?.[512] === 2) survived++;
    }
    expect(survived).toBeGreaterThan(0);
    expect(survived).toBeLessThan(30);
  });

  test("a flush that fails may have lost anything, and a later one does not bring it back", async () => {
    let lost = 0;
    for (let seed = 0; seed < 20; seed++) {
      const w = make(seed);
      await write(w, "file", bytes(512, 1));
      w.disk.faults.failSync = 1;
      await expect(w.clock.settle(w.disk.syncAll())).rejects.toMatchObject({ code: "flash-failed" });
      w.disk.faults.failSync = 0;
      await w.clock.settle(w.disk.syncAll());
      w.disk.powerLoss();
      if (w.disk.contents("file")?.[0] !== 1) lost++;
    }
    expect(lost).toBeGreaterThan(0);
  });

  test("an unlink that was not synced may come undone; a synced one does not", async () => {
    const outcomes = new Set<boolean>();
    for (let seed = 0; seed < 20; seed++) {
      const w = make(seed);
      await write(w, "file", bytes(10, 1));
      await w.clock.settle(w.disk.syncAll());
      w.disk.unlink("file");
      w.disk.powerLoss();
      outcomes.add(w.disk.contents("file") === null);
      if (w.disk.contents("file") !== null) w.disk.unlink("file");
      await w.clock.settle(w.disk.syncAll());
      w.disk.powerLoss();
      expect(w.disk.contents("file")).toBeNull();
    }
    expect(outcomes.size).toBe(2);
  });

  test("fills up, counts what open descriptors hold, turns read-only, vanishes, flips bits", async () => {
    const w = make();
    const { disk, clock } = w;
    const fd = await write(w, "big", bytes(90_000, 1));
    await expect(write(w, "more", bytes(20_000, 1))).rejects.toMatchObject({ code: "flash-full" });
    disk.unlink("big");
    expect(disk.usedBytes).toBeGreaterThan(90_000);
    disk.close(fd);
    expect(disk.usedBytes).toBe(0);
    await write(w, "file", bytes(600, 7));
    expect(disk.flipBit("file", 599, 0)).toBe(true);
    expect(disk.flipBit("file", 600, 0)).toBe(false);
    expect(disk.contents("file")?.[599]).toBe(6);
    disk.faults.readOnly = true;
    expect(() => disk.open("file", "write")).toThrow(/EROFS/);
    const reading = disk.open("file", "read");
    const into = new Uint8Array(1000);
    expect(await clock.settle(disk.read(reading, into, 100))).toBe(500);
    disk.faults.failRead = 1;
    expect(() => disk.readNow(reading, into, 0)).toThrow(/EIO/);
    disk.faults.vanished = true;
    expect(() => disk.open("file", "read")).toThrow(/vanished/);
    expect(disk.sizeOf("file")).toBeNull();
  });

  test("needs the folder of a file, and lists it", async () => {
    const w = make();
    expect(() => w.disk.open("files/0a/10", "create")).toThrow(/no such folder/);
    w.disk.makeFolder("files/0a");
    await write(w, "files/0a/10", bytes(1, 1));
    expect(w.disk.list("files/0a")).toEqual(["10"]);
    expect(w.disk.list("files")).toEqual(["0a"]);
    expect(w.disk.list("other")).toEqual([]);
    expect(() => w.disk.open("files/0a/10", "create")).toThrow(/EEXIST/);
  });
});
