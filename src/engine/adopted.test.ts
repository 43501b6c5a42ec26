import { expect, test } from "bun:test";
import { failureOf } from "../../sim/failure.ts";
import { createFlashWorld } from "../../sim/flash.ts";
import { seededRandom } from "../base/random.ts";
import { filePath, spanSum } from "../flash/files.ts";
import { createReadFiles } from "../flash/read-files.ts";
import type { CheckedSpan } from "../flash/types.ts";
import type { BodySource, ClientResponse } from "../http/types.ts";
import { keyText, type Lake, type LakeRead } from "../lake/types.ts";
import { createClosedDesk } from "../writeback/desk-closed.ts";
import type { EngineContext } from "./context.ts";
import { createGenerations, SHARED_BYTES } from "./generations.ts";
import { defaultPolicy } from "./policy.ts";
import { createReader } from "./read.ts";
import { createStats } from "./stats.ts";
import { createTrust } from "./trust.ts";
import type { Form, ReadOutcome, ReadRequest, Serve } from "./types.ts";

const BLOB = { account: "acct", container: "c", blob: "b" };
const KEY = keyText(BLOB);
const HOLDER = "server-1";
const BLOCK = 4096;

/** A lake with one blob, which counts what it is asked and what of its bodies is read. */
function lakeOf(bytes: Uint8Array) {
  const held = { bytes, etag: '"0x1"' };
  const asked: string[] = [];
  const read = async ({ method, range, ifMatch }: LakeRead): Promise<ClientResponse> => {
    asked.push(`${method} ${range === undefined ? "all" : `${range.first}-${range.last}`}`);
    const size = held.bytes.length;
    if (ifMatch !== undefined && ifMatch !== held.etag) return answer(412, [], new Uint8Array(0));
    const first = range?.first ?? 0;
    const last = Math.min(range?.last ?? size - 1, size - 1);
    const headers = ["ETag", held.etag, "x-ms-blob-type", "BlockBlob", "Content-Length", `${last - first + 1}`];
    if (range !== undefined) headers.push("Content-Range", `bytes ${first}-${last}/${size}`);
    const body = method === "HEAD" ? new Uint8Array(0) : held.bytes.slice(first, last + 1);
    return answer(range === undefined ? 200 : 206, headers, body);
  };
  const answer = (status: number, headers: string[], bytesOf: Uint8Array): ClientResponse => {
    let rest: Uint8Array | null = bytesOf;
    const takeAll = async (): Promise<Uint8Array | null> => {
      const piece = rest;
      rest = null;
      return piece === null || piece.length === 0 ? null : piece;
    };
    return {
      head: { status, reason: "", headers },
      body: { lengthBytes: bytesOf.length, read: takeAll, cancel: () => {} },
    };
  };
  const lake: Lake = {
    account: "acct",
    style: "path",
    hasOwnCredential: true,
    keys: [],
    read,
    forward: () => Promise.reject(new Error("not for this test")),
    close: () => {},
  };
  return { lake, held, asked };
}

async function scene(sizes: readonly number[], openFilesMax = 100) {
  const w = createFlashWorld({ seed: 3, flashBytesMax: 1 << 22 });
  const generations = createGenerations(new ArrayBuffer(SHARED_BYTES), "epoch");
  const current = (key: string) => generations.at(generations.slotsOf(key));
  const keeper = await w.start({ generations: { current }, epoch: "epoch" });
  const files = createReadFiles(w.disk, openFilesMax);
  keeper.subscribe(HOLDER, { evicted: (fileIds) => files.release(fileIds) });
  const stats = createStats();
  const context: EngineContext = {
    holder: HOLDER,
    clock: w.clock,
    disk: w.disk,
    files,
    index: w.index.reader(),
    keeper,
    desk: createClosedDesk(keeper.staging),
    generations,
    era: () => "era",
    trust: createTrust(() => {}, w.clock),
    stats,
    log: () => {},
  };
  const bytes = seededRandom(11).fill(new Uint8Array(sizes.reduce((sum, size) => sum + size, 0)));
  const spans: CheckedSpan[] = [];
  for (let n = 0, at = 0; n < sizes.length; n++) {
    const length = sizes[n] ?? 0;
    const fileId = await w.clock.settle(keeper.staging.reserve(HOLDER, length + 10));
    const fd = w.disk.open(filePath(fileId), "write");
    // A file may hold more than the version has of it.
    await w.clock.settle(w.disk.write(fd, bytes.subarray(at, at + length), 10));
    w.disk.close(fd);
    const sum = spanSum();
    sum.add(bytes.subarray(at, at + length));
    spans.push({ fileId, offset: 10, length, checksum: sum.end() });
    at += length;
  }
  const { lake, held, asked } = lakeOf(bytes);
  const reader = createReader(context);
  const read = async (form: Form, range: ReadRequest["range"] = null): Promise<Serve> => {
    const request: ReadRequest = {
      key: BLOB,
      indexKey: KEY,
      lake,
      policy: defaultPolicy,
      form,
      apiVersion: "2025-01-05",
      range,
      conditionsHold: null,
      judgement: { kind: "yes" },
      caller: { kind: "own" },
      clientRequestId: undefined,
      signal: () => new AbortController().signal,
    };
    const outcome: ReadOutcome = await w.clock.settle(Promise.resolve(reader.read(request)));
    if (outcome.kind !== "serve") throw new Error(`expected to be served, got ${outcome.kind}`);
    return outcome;
  };
  const take = async (body: BodySource | null, stopAfter = Number.POSITIVE_INFINITY): Promise<Uint8Array> => {
    const pieces: Uint8Array[] = [];
    for (let n = 0; body !== null && n < stopAfter; n++) {
      const segment = await w.clock.settle(Promise.resolve(body.next()));
      if (segment === null) break;
      if (segment.kind === "bytes") pieces.push(segment.bytes);
      else {
        const piece = new Uint8Array(segment.length);
        expect(w.disk.readNow(segment.fd, piece, segment.offset)).toBe(segment.length);
        pieces.push(piece);
      }
    }
    return new Uint8Array(Buffer.concat(pieces));
  };
  const adopt = (etag = '"0x1"'): Promise<boolean> =>
    w.clock.settle(keeper.staging.adopt({ key: KEY, etag, sizeBytes: bytes.length, spans }));
  return { w, keeper, files, stats, bytes, spans, held, asked, read, take, adopt };
}

const slice = (bytes: Uint8Array, first: number, last: number): Uint8Array => bytes.slice(first, last + 1);

for (const sizes of [[3 * BLOCK + 5], [BLOCK, 1, 2 * BLOCK + 7, BLOCK]]) {
  test(`bytes adopted in ${sizes.length} files are a hit after one question for each form`, async () => {
    const { keeper, files, stats, bytes, asked, read, take, adopt, w } = await scene(sizes);
    expect(await adopt()).toBe(true);
    const range = { first: 4090, last: 9000 };
    for (let round = 0; round < 2; round++) {
      const [full, part, head] = [await read("full"), await read("range", range), await read("head")];
      expect([full.temperature, part.temperature, head.temperature]).toEqual(["hit", "hit", "hit"]);
      expect(await take(full.body)).toEqual(bytes);
      expect(await take(part.body)).toEqual(slice(bytes, range.first, range.last));
      expect(head).toMatchObject({ length: 0, sizeBytes: bytes.length, body: null });
      for (const { body } of [full, part]) body?.close();
    }
    expect(asked).toEqual(["GET all", "GET 0-0", "HEAD all"]);
    expect(stats).toMatchObject({ bytesFilled: 0, bytesForwarded: 0 });
    await w.clock.settle(keeper.flush());
    const { body } = await read("range", { first: 1, last: null }); // from the index now
    expect(await take(body)).toEqual(bytes.slice(1));
    body?.close();
    await w.clock.settle(keeper.drop(KEY, null, "deleted"));
    await w.clock.settle(keeper.flush());
    expect(files.openCount).toBe(0); // nothing was left pinned
    await w.clock.settle(keeper.stop());
  });
}

test("any range of several files is what it is, with a few of them open at a time", async () => {
  const sizes = Array.from({ length: 40 }, (_, n) => 1 + ((n * 37) % 90));
  const { keeper, files, bytes, read, take, adopt, w } = await scene(sizes, 4);
  await adopt();
  const random = seededRandom(5);
  for (let n = 0; n < 60; n++) {
    const first = random.below(bytes.length);
    const last = Math.min(bytes.length - 1, first + random.below(400));
    const { body } = await read("range", { first, last });
    if (n % 4 === 0)
      await take(body, 2); // a client that leaves
    else expect(await take(body)).toEqual(slice(bytes, first, last));
    expect(files.openCount).toBeLessThanOrEqual(16);
    body?.close();
  }
  await w.clock.settle(keeper.drop(KEY, null, "deleted"));
  await w.clock.settle(keeper.flush());
  expect(files.openCount).toBe(0);
  await w.clock.settle(keeper.stop());
});

test("another ETag in the lake takes the place of what was adopted", async () => {
  const { keeper, bytes, held, asked, read, take, adopt, w, spans } = await scene([BLOCK, BLOCK]);
  await adopt();
  held.etag = '"0x2"';
  held.bytes = bytes.slice().reverse();
  const full = await read("full");
  expect(full.temperature).toBe("miss");
  expect(await take(full.body)).toEqual(held.bytes);
  full.body?.close();
  expect(asked[0]).toBe("GET all");
  await w.clock.settle(keeper.flush());
  expect(spans.map(({ fileId }) => w.disk.contents(filePath(fileId)) === null)).toEqual([true, true]);
  await w.clock.settle(keeper.stop());
});

test("a file that cannot be opened leaves the others unpinned, and the version goes", async () => {
  const { keeper, files, read, adopt, w, spans } = await scene([BLOCK, BLOCK, BLOCK]);
  await adopt();
  await w.clock.settle(keeper.flush());
  w.disk.unlink(filePath(spans[1]?.fileId ?? 0));
  expect(String(await failureOf(read("full")))).toMatch(/forward/);
  await w.clock.settle(keeper.flush());
  expect(files.openCount).toBe(0);
  expect(w.index.reader().lookup(KEY)).toBeNull();
  await w.clock.settle(keeper.stop());
});

test("a file that goes while it is waited for is made up for by the lake, of the same version or not at all", async () => {
  for (const changed of [false, true]) {
    const { keeper, bytes, held, read, take, adopt, w } = await scene(Array.from({ length: 30 }, () => 100));
    await adopt();
    const { body } = await read("full");
    const begun = await take(body, 3);
    await w.clock.settle(keeper.drop(KEY, null, "changed"));
    await w.clock.settle(keeper.flush());
    if (changed) held.etag = '"0x2"';
    const rest = take(body);
    if (changed) expect(await failureOf(rest)).toMatchObject({ code: "lake-changed" });
    else expect(Buffer.concat([begun, await rest]).equals(bytes)).toBe(true);
    body?.close();
    await w.clock.settle(keeper.stop());
  }
});
