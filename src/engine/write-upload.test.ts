import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { createSimDisk } from "../../sim/disk.ts";
import { failureOf } from "../../sim/failure.ts";
import { ForebayError } from "../base/errors.ts";
import { limits, MIB } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import { filePath, spanSum } from "../flash/files.ts";
import type { BodyReader } from "../http/types.ts";
import { createBuffers } from "./buffers.ts";
import { type UploadContext, type UploadParts, uploadBody } from "./write-upload.ts";

const bytesOf = (length: number): Uint8Array => seededRandom(length).fill(new Uint8Array(length));

/** A server that has a disk and a desk that hands out files, and nothing else. */
function scene(buffersMax = 8) {
  const clock = createSimClock();
  const disk = createSimDisk({
    random: seededRandom(3),
    clock,
    capacityBytes: 256 * MIB,
    delays: { ioMsMax: 4, syncMsMax: 20 },
  });
  disk.makeFolder("files/01");
  const path = filePath(1);
  const said: string[] = [];
  const disk2 = {
    ...disk,
    write: (fd: number, bytes: Uint8Array, offset: number) => {
      said.push(`write ${offset} ${bytes.length}`);
      return disk.write(fd, bytes, offset);
    },
    syncFile: (fd: number) => {
      said.push("sync file");
      return disk.syncFile(fd);
    },
    syncFolder: (folder: string) => {
      said.push(`sync ${folder}`);
      return disk.syncFolder(folder);
    },
  };
  const context: UploadContext = {
    holder: "server",
    clock,
    disk: disk2,
    desk: {
      reserve: async () => {
        disk.close(disk.open(path, "create"));
        return { kind: "file", fileId: 1 };
      },
      giveBack: async () => {
        said.push("given back");
        disk.unlink(path);
      },
    },
    keeper: { reportFailure: async () => void said.push("reported") },
  };
  const buffers = createBuffers(buffersMax, limits.blockBytes, clock);
  const upload = (body: BodyReader, more: Partial<UploadParts> = {}) =>
    uploadBody({
      context,
      body,
      lengthBytes: body.lengthBytes ?? 0,
      buffers: buffers.share(),
      digests: [],
      stopped: () => false,
      ...more,
    });
  return { clock, disk, said, buffers, upload, path };
}

/** A client that sends pieces, with a pause before each. */
function client(clock: ReturnType<typeof createSimClock>, bytes: Uint8Array, pieces: readonly [number, number][]) {
  let at = 0;
  let next = 0;
  let cancelled = false;
  const body: BodyReader = {
    lengthBytes: bytes.length,
    read: async () => {
      const [pauseMs, length] = pieces[Math.min(next++, pieces.length - 1)] ?? [0, bytes.length];
      if (pauseMs > 0) await clock.sleep(pauseMs);
      if (length < 0) throw new ForebayError("cancelled", "the client went away");
      if (at >= bytes.length) return null;
      const piece = bytes.slice(at, at + length);
      at += piece.length;
      return piece;
    },
    cancel: () => {
      cancelled = true;
    },
  };
  return { body, taken: () => at, cancelled: () => cancelled };
}

describe("taking a body in", () => {
  test("writes piece after piece, and flushes file and name once all is there", async () => {
    const it = scene();
    const bytes = bytesOf(2 * MIB + 5);
    const seen: number[] = [];
    const digests = [{ add: (piece: Uint8Array) => void seen.push(piece.length) }];
    const done = await it.clock.settle(it.upload(client(it.clock, bytes, [[0, 300_000]]).body, { digests }));
    if (done.kind !== "uploaded") throw new Error("an upload");
    const sum = spanSum();
    for (let at = 0; at < bytes.length; at += MIB) sum.add(bytes.subarray(at, at + MIB));
    expect(done.upload.span).toEqual({ fileId: 1, offset: 0, length: bytes.length, checksum: sum.end() });
    expect(it.said).toEqual([
      ...[`write 0 ${MIB}`, `write ${MIB} ${MIB}`, `write ${2 * MIB} 5`, "sync file", "sync files/01"],
    ]);
    expect(seen).toEqual([MIB, MIB, 5]);
    expect(Buffer.compare(it.disk.contents(it.path) ?? new Uint8Array(0), bytes)).toBe(0);
    expect([it.buffers.inUse, it.disk.openDescriptors]).toEqual([0, 0]);
  });

  test("holds two pieces of memory at most, and none while its client has nothing to send", async () => {
    const it = scene();
    let most = 0;
    const { body } = client(it.clock, bytesOf(5 * MIB), [[0, 200_000]]);
    const watched: BodyReader = {
      ...body,
      read: async () => {
        most = Math.max(most, it.buffers.inUse);
        return body.read();
      },
    };
    await it.clock.settle(it.upload(watched));
    expect(most).toBe(2);
    const idle = client(it.clock, bytesOf(MIB), [[3_600_000, MIB]]);
    const waiting = it.upload(idle.body);
    await it.clock.advance(10);
    expect(it.buffers.inUse).toBe(0);
    // The file is there already; only one of a name can be.
    await it.clock.settle(waiting.catch(() => null));
  });

  test("a client that pauses in the middle of a piece holds no memory, and its bytes are right all the same", async () => {
    const it = scene();
    const bytes = bytesOf(2 * MIB);
    const slow = client(it.clock, bytes, [
      [0, 400_000],
      [30_000, 300_000],
      [900, 300_000],
      [30_000, MIB],
    ]);
    const uploading = it.upload(slow.body);
    await it.clock.advance(limits.uploadHoldMs + 100);
    expect([it.buffers.inUse, it.said]).toEqual([0, ["write 0 400000"]]);
    const done = await it.clock.settle(uploading);
    const sum = spanSum();
    for (let at = 0; at < bytes.length; at += MIB) sum.add(bytes.subarray(at, at + MIB));
    expect(done.kind === "uploaded" && done.upload.span?.checksum).toBe(sum.end());
    expect(Buffer.compare(it.disk.contents(it.path) ?? new Uint8Array(0), bytes)).toBe(0);
    expect(it.buffers.inUse).toBe(0);
  });

  test.each([
    [
      "goes away",
      [
        [0, 500_000],
        [10, 900_000],
        [5_000, -1],
      ] as [number, number][],
    ],
    [
      "sends less than it announced",
      [
        [0, 500_000],
        [10, 0],
      ] as [number, number][],
    ],
  ])("nothing is left of a client that %s", async (_, pieces) => {
    const it = scene();
    const { body } = client(it.clock, bytesOf(3 * MIB), pieces);
    // A read of nothing is the end.
    const ending: BodyReader = {
      ...body,
      read: async () => {
        const piece = await body.read();
        return piece?.length === 0 ? null : piece;
      },
    };
    expect(await failureOf(it.clock.settle(it.upload(ending)))).toMatchObject({ code: "cancelled" });
    expect([it.said.at(-1), it.buffers.inUse, it.disk.openDescriptors, it.disk.usedBytes]).toEqual([
      "given back",
      0,
      0,
      0,
    ]);
  });

  test.each(["failWrite", "failSync"] as const)(
    "a disk that fails (%s) ends it, is reported, and holds nothing",
    async (fault) => {
      const it = scene();
      it.disk.faults[fault] = 1;
      const uploading = it.upload(client(it.clock, bytesOf(5 * MIB), [[0, 300_000]]).body);
      expect(await failureOf(it.clock.settle(uploading))).toMatchObject({ code: "flash-failed" });
      expect(it.said).toContain("reported");
      expect(it.said.filter((said) => said === "sync file").length).toBeLessThanOrEqual(1);
      expect([it.buffers.inUse, it.disk.openDescriptors]).toEqual([0, 0]);
    },
  );

  test("waits its turn for memory, and is refused when none comes free", async () => {
    const it = scene(1);
    const other = it.buffers.share();
    const held = other.takeNow();
    const uploading = it.upload(client(it.clock, bytesOf(MIB), [[0, MIB]]).body);
    expect(await failureOf(it.clock.settle(uploading))).toMatchObject({ code: "overloaded" });
    if (held !== null) other.give(held);
    expect(it.said).toEqual(["given back"]);
  });
});

describe("what was taken in, as a body again", () => {
  const all = async (body: BodyReader): Promise<Uint8Array> => {
    const pieces: Uint8Array[] = [];
    for (let piece = await body.read(); piece !== null; piece = await body.read()) pieces.push(piece);
    return Buffer.concat(pieces);
  };

  test("is the file's bytes, then what the client still sends", async () => {
    for (const stopAfter of [0, 1, 2]) {
      const it = scene();
      const bytes = bytesOf(3 * MIB + 7);
      let asked = 0;
      const { body } = client(it.clock, bytes, [[1, 300_000]]);
      const done = await it.clock.settle(it.upload(body, { stopped: () => asked++ === stopAfter }));
      if (done.kind !== "uploaded") throw new Error("an upload");
      expect(done.upload.span).toBeNull();
      expect(it.said.filter((said) => said.startsWith("write"))).toHaveLength(stopAfter);
      const again = done.upload.again();
      expect(again.lengthBytes).toBe(bytes.length);
      expect(Buffer.compare(await it.clock.settle(all(again)), bytes)).toBe(0);
      expect([it.buffers.inUse, it.disk.openDescriptors]).toEqual([0, 0]);
    }
  });

  test("lets go of file and client when it is not wanted to its end", async () => {
    const it = scene();
    const sender = client(it.clock, bytesOf(3 * MIB), [[1, 300_000]]);
    const done = await it.clock.settle(it.upload(sender.body));
    if (done.kind !== "uploaded") throw new Error("an upload");
    const again = done.upload.again();
    await it.clock.settle(again.read());
    const reading = again.read();
    again.cancel();
    await it.clock.settle(reading);
    await it.clock.runUntilIdle();
    expect([sender.cancelled(), it.disk.openDescriptors]).toEqual([true, 0]);
  });
});
