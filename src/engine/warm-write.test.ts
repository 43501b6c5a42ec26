import { expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { createSimDisk } from "../../sim/disk.ts";
import { KIB, limits, MIB } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import { filePath, folderPath, SPAN_PIECE_BYTES, spanSum } from "../flash/files.ts";
import type { BodySource } from "../http/types.ts";
import type { Disk } from "../io/disk.ts";
import type { Reserved, WriteDesk } from "../writeback/types.ts";
import { createStats } from "./stats.ts";
import { createWarmWrite, type WarmContext } from "./warm-write.ts";

const FILE = 9;
const PIECE_BYTES = 300 * KIB;

function scene(reserve: () => Promise<Reserved> = async () => ({ kind: "file", fileId: FILE })) {
  const clock = createSimClock();
  const disk = createSimDisk({ random: seededRandom(1), clock, capacityBytes: 1 << 28 });
  disk.makeFolder(folderPath(FILE));
  disk.close(disk.open(filePath(FILE), "create"));
  const told = { givenBack: [] as number[], failures: 0, writes: 0 };
  /** Writes wait until this resolves. */
  const gate = { promise: Promise.resolve(), fail: false };
  const slow: Disk = {
    ...disk,
    write: async (fd, bytes, offset) => {
      told.writes++;
      await gate.promise;
      if (gate.fail) throw new Error("EIO");
      await disk.write(fd, bytes, offset);
    },
  };
  const desk: Pick<WriteDesk, "reserve" | "giveBack"> = {
    reserve,
    giveBack: async (_, fileIds) => void told.givenBack.push(...fileIds),
  };
  const context: WarmContext = {
    holder: "server",
    clock,
    disk: slow,
    desk,
    stats: createStats(),
    keeper: { reportFailure: async () => void told.failures++ },
  };
  return { clock, disk, context, told, gate };
}

/** A body in pieces whose memory is used again. */
function sourceOf(bytes: Uint8Array): BodySource {
  const memory = new Uint8Array(PIECE_BYTES);
  let at = 0;
  return {
    lengthBytes: bytes.length,
    next: () => {
      if (at >= bytes.length) return null;
      const piece = memory.subarray(0, Math.min(PIECE_BYTES, bytes.length - at));
      piece.set(bytes.subarray(at, at + piece.length));
      at += piece.length;
      return { kind: "bytes", bytes: piece };
    },
    close: () => {},
  };
}

async function drain(source: BodySource, piecesMax = Number.POSITIVE_INFINITY): Promise<Uint8Array> {
  const got: Uint8Array[] = [];
  for (let n = 0; n < piecesMax; n++) {
    const piece = await source.next();
    if (piece === null) break;
    if (piece.kind === "bytes") got.push(piece.bytes.slice());
  }
  source.close();
  return new Uint8Array(Buffer.concat(got));
}

const bytesOf = (length: number): Uint8Array => seededRandom(length).fill(new Uint8Array(length));

test("a body passes unchanged, and is on flash with its checksum", async () => {
  for (const length of [1, SPAN_PIECE_BYTES, SPAN_PIECE_BYTES + 1, 5 * MIB + 7]) {
    const { context, disk, told } = scene();
    const bytes = bytesOf(length);
    const write = createWarmWrite(context, length);
    expect(await drain(write.tee(sourceOf(bytes)))).toEqual(bytes);
    const sum = spanSum();
    for (let at = 0; at < length; at += SPAN_PIECE_BYTES) sum.add(bytes.subarray(at, at + SPAN_PIECE_BYTES));
    expect(await write.finish()).toEqual({ fileId: FILE, offset: 0, length, checksum: sum.end() });
    expect(disk.contents(filePath(FILE))).toEqual(bytes);
    expect([told.givenBack, disk.openDescriptors]).toEqual([[], 0]);
  }
});

test("a flash that is too slow is given up; the body does not wait for it, and its memory comes back", async () => {
  const { context, disk, told, gate } = scene();
  const held = Promise.withResolvers<void>();
  gate.promise = held.promise;
  const bytes = bytesOf(limits.warmBehindBytesMax + 4 * MIB);
  const write = createWarmWrite(context, bytes.length);
  expect(await drain(write.tee(sourceOf(bytes)))).toEqual(bytes);
  const finished = write.finish();
  held.resolve();
  expect(await finished).toBeNull();
  expect([told.givenBack, told.writes, disk.openDescriptors]).toEqual([[FILE], 1, 0]);
  // All memory is free again: as many bodies as before find some.
  for (let n = 0; n < 3; n++) {
    const again = createWarmWrite(context, bytes.length);
    await drain(again.tee(sourceOf(bytes)));
    await again.finish();
  }
  expect(told.givenBack.length).toBe(1);
});

test("nothing is kept where there is no room, where the flash fails, or of a body that broke off", async () => {
  const bytes = bytesOf(3 * MIB);
  const refusing = scene(async () => ({ kind: "refused", why: "no-room" }));
  const refused = createWarmWrite(refusing.context, bytes.length);
  expect(await drain(refused.tee(sourceOf(bytes)))).toEqual(bytes);
  expect(await refused.finish()).toBeNull();
  expect(refusing.told.givenBack).toEqual([]);

  const failing = scene();
  failing.gate.fail = true;
  const failed = createWarmWrite(failing.context, bytes.length);
  expect(await drain(failed.tee(sourceOf(bytes)))).toEqual(bytes);
  expect(await failed.finish()).toBeNull();
  expect([failing.told.givenBack, failing.disk.openDescriptors]).toEqual([[FILE], 0]);

  const breaking = scene();
  const broken = createWarmWrite(breaking.context, bytes.length);
  await drain(broken.tee(sourceOf(bytes)), 4);
  expect([broken.isWhole, await broken.finish()]).toEqual([false, null]);
  expect([breaking.told.givenBack, breaking.disk.openDescriptors]).toEqual([[FILE], 0]);
});

test("what is whole on flash already is given back when it is not wanted", async () => {
  const { context, told } = scene();
  const write = createWarmWrite(context, 10);
  await drain(write.tee(sourceOf(bytesOf(10))));
  expect(await write.finish()).not.toBeNull();
  write.giveUp();
  await Promise.resolve();
  expect(told.givenBack).toEqual([FILE]);
});
