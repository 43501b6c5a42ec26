import { describe, expect, test } from "bun:test";
import { bytesAt, containerSas, createWriteScene } from "../../sim/write-scene.ts";
import { seededRandom } from "../base/random.ts";
import { headerOf } from "../http/types.ts";
import { crc64Of } from "./crc64.ts";

const id = (n: number): string => Buffer.from(String(n).padStart(4, "0")).toString("base64");
const block = (n: number): string => `?comp=block&blockid=${encodeURIComponent(id(n))}`;
const bytesOf = (n: number, length = 100_000 + n): Uint8Array => seededRandom(n + 1).fill(new Uint8Array(length));
const md5Of = (bytes: Uint8Array | string): string => new Bun.CryptoHasher("md5").update(bytes).digest("base64");
const LIST = "?comp=blocklist";
const listOf = (ids: readonly string[], kind = "Latest"): string =>
  `<?xml version="1.0" encoding="utf-8"?><BlockList>${ids.map((one) => `<${kind}>${one}</${kind}>`).join("")}</BlockList>`;

describe("a block", () => {
  test("is staged when it is durable, and the lake is not asked", async () => {
    const it = createWriteScene();
    await it.clock.settle(it.disk.syncAll());
    const bytes = bytesOf(1, 2_500_000);
    const got = await it.send({ query: block(1), body: bytes });
    expect([got.status, headerOf(got.headers, "x-forebay-durability")]).toEqual([201, "flash"]);
    expect(headerOf(got.headers, "etag")).toBeUndefined();
    const [staged] = it.desk.staged;
    if (staged === undefined) throw new Error("a block");
    it.disk.powerLoss();
    expect([staged.blockId, staged.name.blob]).toEqual([id(1), "ckpt/a"]);
    expect(Buffer.compare(bytesAt(it.disk, staged.span), bytes)).toBe(0);
    expect([it.heads(), it.forwards(), it.desk.reserved.size]).toEqual([0, 0, 0]);
  });

  test("is checked against the checksums that its client gave, and they are said again", async () => {
    const it = createWriteScene();
    for (const [name, sum] of [
      ["Content-MD5", md5Of],
      ["x-ms-content-crc64", crc64Of],
    ] as const) {
      const bad = await it.send({ query: block(1), body: bytesOf(1), headers: [name, sum(bytesOf(2))] });
      expect([bad.status, it.desk.staged.length, it.desk.reserved.size, it.disk.usedBytes]).toEqual([400, 0, 0, 0]);
      const good = await it.send({ query: block(1), body: bytesOf(1), headers: [name, sum(bytesOf(1))] });
      expect([good.status, headerOf(good.headers, name)]).toEqual([201, sum(bytesOf(1))]);
      it.desk.staged.length = 0;
      it.disk.unlink(it.disk.paths().find((path) => /\/\d+$/.test(path) && it.disk.sizeOf(path) === 100_001) ?? "");
    }
  });

  test("that the desk refuses is passed on whole, its file given back", async () => {
    const it = createWriteScene();
    it.desk.refuseStage = "overloaded";
    const got = await it.send({ query: block(1), body: bytesOf(1) });
    expect([got.status, headerOf(got.headers, "x-forebay-durability")]).toEqual([201, "lake"]);
    await it.send({ query: LIST, body: listOf([id(1)]) });
    expect(Buffer.compare(it.service.peek("c00", "ckpt/a") ?? new Uint8Array(0), bytesOf(1))).toBe(0);
    expect([it.desk.reserved.size, it.disk.usedBytes]).toEqual([0, 0]);
  });

  test.each([
    ["without bytes", block(1), ""],
    ["with an id that is not base64 as it is written", "?comp=block&blockid=abc", "x"],
    ["with an id too long", `?comp=block&blockid=${Buffer.alloc(65).toString("base64")}`, "x"],
    ["without an id", "?comp=block", "x"],
  ])("%s is the lake's to refuse", async (_, query, body) => {
    const it = createWriteScene();
    await it.send({ query, body });
    expect([it.desk.staged.length, it.forwards()]).toEqual([0, 1]);
  });

  test("may be staged by who may write, not by who may only create", async () => {
    const it = createWriteScene();
    await it.send({ query: block(1), body: "x", sas: containerSas("c") });
    await it.send({ query: block(1), body: "x", sas: containerSas("w") });
    expect([it.desk.staged.length, it.forwards()]).toEqual([1, 1]);
  });
});

describe("a list of blocks", () => {
  const staged = async (count = 3) => {
    const it = createWriteScene();
    for (let n = 0; n < count; n++) await it.send({ query: block(n), body: bytesOf(n) });
    return it;
  };

  test("makes the blob of the blocks that are staged here, in its order, without copying them", async () => {
    const it = await staged();
    const headers = ["x-ms-blob-content-type", "text/csv", "x-ms-meta-Step", "1", "Content-Type", "application/xml"];
    const list = listOf([id(2), id(0)]);
    const got = await it.send({ query: LIST, body: list, headers: [...headers, "x-ms-blob-content-md5", md5Of("x")] });
    expect(got.status).toBe(201);
    const [write] = it.desk.written;
    if (write?.kind !== "put") throw new Error("a put");
    expect(write.content).toEqual({ kind: "spans", spans: [{ stagedBlock: id(2) }, { stagedBlock: id(0) }] });
    expect([write.put.sizeBytes, write.base, it.heads()]).toEqual([200_002, { kind: "none" }, 1]);
    expect(write.put.headers).toEqual([
      ...["x-ms-blob-content-type", "text/csv", "x-ms-meta-Step", "1", "x-ms-blob-content-md5", md5Of("x")],
    ]);
    expect(headerOf(got.headers, "etag")).toMatch(/^"0x0F/);
    // Of the list, as the lake says it: of the blob nothing is known.
    expect(headerOf(got.headers, "x-ms-content-crc64")).toBe(crc64Of(new TextEncoder().encode(list)));
    expect(headerOf(got.headers, "content-md5")).toBeUndefined();
  });

  test("may be empty: so is the blob", async () => {
    const it = await staged(0);
    const got = await it.send({ query: LIST, body: "<BlockList/>" });
    expect([got.status, it.desk.written[0]?.kind === "put" && it.desk.written[0].put.sizeBytes]).toEqual([201, 0]);
  });

  test("has its own checksum checked", async () => {
    const it = await staged();
    const list = listOf([id(1)]);
    const bad = await it.send({ query: LIST, body: list, headers: ["Content-MD5", md5Of("another")] });
    expect([bad.status, headerOf(bad.headers, "x-ms-error-code")]).toEqual([400, "Md5Mismatch"]);
    const good = await it.send({ query: LIST, body: list, headers: ["Content-MD5", md5Of(list)] });
    expect([good.status, headerOf(good.headers, "content-md5")]).toEqual([201, md5Of(list)]);
  });

  test.each([
    ["a committed block", listOf([id(0)], "Committed")],
    ["a block that is not staged here", listOf([id(0), id(7)])],
    ["a block twice", listOf([id(0), id(0)])],
    ["no XML", "blocks, please"],
  ])("that names %s is the lake's, with what was read of it", async (_, list) => {
    const it = await staged();
    await it.send({ query: LIST, body: list });
    expect([it.desk.written.length, it.forwards()]).toEqual([0, 1]);
  });

  test("is passed on when a block went missing meanwhile", async () => {
    const it = await staged();
    it.desk.refuseWrite = "block-missing";
    const got = await it.send({ query: LIST, body: listOf([id(0)]) });
    expect([headerOf(got.headers, "x-forebay"), it.stats.forwardReasons]).toEqual([
      "forward",
      { "write-block-missing": 1 },
    ]);
  });
});
