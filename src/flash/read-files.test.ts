import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { createSimDisk, type SimDisk } from "../../sim/disk.ts";
import { hasCode } from "../base/errors.ts";
import { seededRandom } from "../base/random.ts";
import { type Disk, diskError, isOutOfDescriptors } from "../io/disk.ts";
import { filePath, folderPath } from "./files.ts";
import { createReadFiles } from "./read-files.ts";

function files(openFilesMax: number) {
  const disk = createSimDisk({ random: seededRandom(1), clock: createSimClock(), capacityBytes: 1e6 });
  for (const id of [1, 2, 3, 4]) {
    disk.makeFolder(folderPath(id));
    disk.close(disk.open(filePath(id), "create"));
  }
  return { disk, pool: createReadFiles(disk, openFilesMax) };
}

/** A disk of a process that may have `openMax` descriptors. */
function scarce(disk: SimDisk, openMax: number): Disk {
  return {
    ...disk,
    open: (path, mode) => {
      if (disk.openDescriptors < openMax) return disk.open(path, mode);
      throw diskError(Object.assign(new Error("too many open files"), { code: "EMFILE" }), `open ${path}`);
    },
  };
}

describe("a process with fewer descriptors than it was promised", () => {
  test("lets go of idle ones, and fails no file when all are in use", () => {
    const { disk } = files(1);
    const pool = createReadFiles(scarce(disk, 2), 10);
    for (const id of [1, 2]) {
      pool.pin(id);
      pool.unpin(id);
    }
    pool.pin(3);
    pool.pin(4);
    expect(disk.openDescriptors).toBe(2);
    let caught: unknown = null;
    try {
      pool.pin(1);
    } catch (error) {
      caught = error;
    }
    expect(hasCode(caught, "overloaded")).toBe(true);
    expect(isOutOfDescriptors(caught)).toBe(true);
    pool.unpin(3);
    pool.pin(1);
    expect(disk.openDescriptors).toBe(2);
  });
});

describe("a server's descriptors", () => {
  test("are kept, shared and bounded; one that is idle goes", () => {
    const { disk, pool } = files(2);
    const one = pool.pin(1);
    expect(pool.pin(1)).toBe(one);
    pool.unpin(1);
    pool.pin(2);
    pool.pin(3);
    expect(pool.openCount).toBe(3); // all in use: none may be closed
    pool.unpin(2);
    expect(pool.openCount).toBe(2);
    pool.unpin(1);
    pool.unpin(3);
    expect(pool.pin(1)).toBe(one);
    pool.unpin(1);
    pool.pin(4);
    expect(pool.openCount).toBe(2);
    expect(disk.openDescriptors).toBe(2);
    pool.unpin(4);
    pool.close();
    expect(disk.openDescriptors).toBe(0);
    expect(() => pool.pin(1)).toThrow(/closed/);
  });

  test("what is used again and again stays", () => {
    const { pool } = files(2);
    const one = pool.pin(1);
    pool.unpin(1);
    for (const other of [2, 3, 4, 2, 3, 4]) {
      pool.pin(other);
      pool.unpin(other);
      expect(pool.pin(1)).toBe(one);
      pool.unpin(1);
    }
    expect(pool.openCount).toBe(2);
  });

  test("of evicted files close with the last response that needs them", async () => {
    const { disk, pool } = files(10);
    const fd = pool.pin(1);
    pool.pin(1);
    pool.pin(2);
    pool.unpin(2);
    disk.unlink(filePath(1));
    disk.unlink(filePath(2));
    let done = false;
    const released = pool.release([1, 2, 3]).then(() => {
      done = true;
    });
    expect(() => pool.pin(1)).toThrow(/evicted/);
    expect(() => pool.pin(2)).toThrow(/no such file/);
    expect(disk.readNow(fd, new Uint8Array(1), 0)).toBe(0);
    pool.unpin(1);
    await Promise.resolve();
    expect(done).toBe(false);
    pool.unpin(1);
    await released;
    expect(disk.openDescriptors).toBe(0);
  });

  test("are not kept past the end of a keeper: idle ones close at once, others with their last user", () => {
    const { disk, pool } = files(10);
    pool.pin(1);
    pool.unpin(1);
    const two = pool.pin(2);
    disk.unlink(filePath(2));
    pool.pin(3);
    pool.forgetAll();
    expect(pool.openCount).toBe(2);
    expect(pool.pin(2)).toBe(two); // whoever is at it goes on
    pool.unpin(2);
    expect(pool.openCount).toBe(2);
    pool.unpin(2);
    pool.unpin(3);
    expect(disk.openDescriptors).toBe(0);
    expect(() => pool.pin(2)).toThrow(/no such file/);
    pool.pin(3);
    pool.unpin(3);
    expect(pool.openCount).toBe(1);
  });

  test("serve from a file system that became read-only", () => {
    const { disk, pool } = files(10);
    disk.faults.readOnly = true;
    expect(pool.pin(1)).toBeGreaterThan(0);
    disk.faults.vanished = true;
    expect(() => pool.pin(2)).toThrow(/no such file/);
  });
});
