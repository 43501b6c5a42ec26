import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { failureOf } from "../../sim/failure.ts";
import { checksumOf } from "../flash/files.ts";
import type { Disk } from "../io/disk.ts";
import { createBuffers } from "./buffers.ts";
import { createWriteBehind } from "./write-behind.ts";

/** A disk whose writes end when told to. */
function slowDisk() {
  const written: { offset: number; bytes: Uint8Array }[] = [];
  const waiting: { resolve(): void; reject(error: Error): void }[] = [];
  const disk: Pick<Disk, "write"> = {
    write: (_fd, bytes, offset) => {
      written.push({ offset, bytes: bytes.slice() });
      return new Promise((resolve, reject) => waiting.push({ resolve: () => resolve(), reject }));
    },
  };
  return { disk, written, waiting };
}

const BLOCK = 8;

function setUp(countMax: number) {
  const slow = slowDisk();
  const buffers = createBuffers(countMax, BLOCK, createSimClock());
  const share = buffers.share();
  const told: string[] = [];
  const behind = createWriteBehind(slow.disk, 5, share, {
    progress: (block, bytes) => void told.push(`${block}:${bytes}`),
    whole: (block, checksum) => void told.push(`${block}=${checksum}`),
  });
  let offset = 0;
  /** Receives bytes as long as there is room at once; how many were taken. */
  const receive = (bytes: readonly number[]): number => {
    for (const [i, byte] of bytes.entries()) {
      const room = behind.room(() => ({ block: Math.floor(offset / BLOCK), offset, lengthBytes: BLOCK }));
      if (room instanceof Promise) return i;
      room.buffer[room.receivedBytes] = byte;
      behind.received(room, 1);
      offset++;
    }
    return bytes.length;
  };
  return { ...slow, buffers, share, behind, told, receive };
}

const tick = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};
const bytesFrom = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);

describe("writing behind", () => {
  test("what comes while a write is under way is written by the next one, all at once", async () => {
    const { behind, receive, written, waiting, told, buffers } = setUp(2);
    receive([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(written).toEqual([{ offset: 0, bytes: new Uint8Array([1]) }]);
    waiting[0]?.resolve();
    await tick();
    expect(written[1]).toEqual({ offset: 1, bytes: new Uint8Array([2, 3, 4, 5, 6, 7, 8]) });
    expect(told).toEqual(["0:1"]);
    waiting[1]?.resolve();
    await behind.settle();
    expect(told).toEqual(["0:1", "0:8", `0=${checksumOf(new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]))}`]);
    expect(buffers.inUse).toBe(0);
  });

  test("it receives into a second block while the first is written, and then waits", async () => {
    const { behind, receive, waiting, told, buffers } = setUp(10);
    expect(receive(bytesFrom(0, 24))).toBe(16);
    expect(buffers.inUse).toBe(2);
    for (let i = 0; i < waiting.length; i++) {
      waiting[i]?.resolve();
      await tick();
    }
    await behind.settle();
    expect(told.filter((text) => text.includes("=")).length).toBe(2);
    expect(receive(bytesFrom(16, 8))).toBe(8);
  });

  test("without memory to spare it goes on with one block, and waits for others only with empty hands", async () => {
    const { behind, receive, waiting, buffers, share } = setUp(1);
    expect(receive(bytesFrom(0, 8))).toBe(8);
    waiting[0]?.resolve();
    await tick();
    waiting[1]?.resolve();
    await behind.settle();
    const other = share.takeNow();
    const room = behind.room(() => ({ block: 1, offset: 8, lengthBytes: BLOCK }));
    expect(room).toBeInstanceOf(Promise);
    if (other) share.give(other);
    expect((await room).block).toBe(1);
    behind.close();
    expect(buffers.inUse).toBe(0);
  });

  test("a block of which nothing came holds no memory while nothing is at hand", async () => {
    const { behind, receive, waiting, buffers } = setUp(2);
    const next = { block: 0, offset: 0, lengthBytes: BLOCK };
    expect(behind.room(() => next)).toMatchObject(next);
    behind.spare();
    expect(buffers.inUse).toBe(0);
    receive([1]);
    behind.spare();
    expect(buffers.inUse).toBe(1);
    waiting[0]?.resolve();
    await behind.settle();
  });

  test("a block begun is given up, and received from its start again", async () => {
    const { behind, receive, waiting, written, told, buffers } = setUp(2);
    receive(bytesFrom(0, 11));
    for (let i = 0; i < 3; i++) {
      waiting[i]?.resolve();
      await tick();
    }
    await behind.settle();
    expect(buffers.inUse).toBe(1);
    expect(behind.giveUpLast()).toBe(BLOCK);
    expect(behind.giveUpLast()).toBeNull();
    expect(buffers.inUse).toBe(0);
    const room = behind.room(() => ({ block: 1, offset: BLOCK, lengthBytes: BLOCK }));
    if (room instanceof Promise) throw new Error("there is room at once");
    room.buffer.set(bytesFrom(8, 8));
    behind.received(room, BLOCK);
    waiting.at(-1)?.resolve();
    await behind.settle();
    expect(written.at(-1)).toEqual({ offset: BLOCK, bytes: new Uint8Array(bytesFrom(8, 8)) });
    expect(told.at(-1)).toBe(`1=${checksumOf(new Uint8Array(bytesFrom(8, 8)))}`);
  });

  test("a write that fails is told to who receives and who waits, and the memory comes back", async () => {
    const { behind, receive, waiting, told, buffers } = setUp(2);
    receive([1, 2, 3]);
    waiting[0]?.reject(new Error("no space"));
    expect(String(await failureOf(behind.settle()))).toMatch("no space");
    expect(() => behind.room(() => ({ block: 0, offset: 0, lengthBytes: BLOCK }))).toThrow("no space");
    expect(told).toEqual([]);
    behind.close();
    expect(buffers.inUse).toBe(0);
  });
});
