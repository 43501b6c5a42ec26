import { describe, expect, test } from "bun:test";
import { bytesAt, containerSas, createWriteScene, LARGE_BYTES } from "../../sim/write-scene.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import { headerOf } from "../http/types.ts";
import { crc64Of } from "./crc64.ts";

const md5Of = (bytes: Uint8Array | string): string => new Bun.CryptoHasher("md5").update(bytes).digest("base64");
const text = (words: string): Uint8Array => new TextEncoder().encode(words);
const large = (length = 3 * 1024 * 1024 + 17): Uint8Array => seededRandom(length).fill(new Uint8Array(length));

describe("a small blob", () => {
  test("is acknowledged with its bytes in the record, and told of as the lake would", async () => {
    const it = createWriteScene();
    const headers = ["Content-Type", "text/plain", "Cache-Control", "no-store", "x-ms-meta-Step", "7"];
    const got = await it.send({ body: "hello", headers: [...headers, "x-ms-client-request-id", "mine"] });
    expect(got.status).toBe(201);
    const [write] = it.desk.written;
    if (write?.kind !== "put" || write.content.kind !== "inline") throw new Error("a put with its bytes");
    expect(Buffer.from(write.content.bytes).toString()).toBe("hello");
    expect([write.path, write.name.blob, write.base, write.judgedOn]).toEqual([
      "c00/ckpt/",
      "ckpt/a",
      { kind: "none" },
      null,
    ]);
    expect(write.put.headers).toEqual([
      ...["x-ms-blob-content-type", "text/plain", "x-ms-blob-cache-control", "no-store", "x-ms-meta-Step", "7"],
      ...["x-ms-blob-content-md5", md5Of("hello")],
    ]);
    const entry = it.desk.entries.get("simlake/c00/ckpt/a");
    expect(headerOf(got.headers, "etag")).toBe(entry?.kind === "put" ? entry.put.etag : "");
    expect(headerOf(got.headers, "last-modified")).toBe(new Date(it.clock.wallMs()).toUTCString());
    expect(headerOf(got.headers, "content-md5")).toBe(md5Of("hello"));
    expect(headerOf(got.headers, "x-ms-content-crc64")).toBe(crc64Of(text("hello")));
    expect(headerOf(got.headers, "x-ms-client-request-id")).toBe("mine");
    expect(headerOf(got.headers, "x-ms-version")).toBe("2024-11-04");
    expect(headerOf(got.headers, "x-forebay")).toBe("dirty");
    expect(headerOf(got.headers, "x-forebay-durability")).toBe("flash");
    expect([it.forwards(), it.service.peek("c00", "ckpt/a")]).toEqual([0, null]);
  });

  test("may be empty", async () => {
    const it = createWriteScene();
    const got = await it.send({ body: "" });
    expect([got.status, it.desk.written.length]).toEqual([201, 1]);
  });
});

describe("a large blob", () => {
  test("is durable in a file, name and all, before the desk hears of it", async () => {
    const it = createWriteScene();
    const bytes = large();
    await it.clock.settle(it.disk.syncAll());
    it.desk.beforeWrite = () => {
      // What the machine's end would leave is all there.
      it.disk.powerLoss();
    };
    const got = await it.send({ body: bytes, manners: { pieceBytes: 70_001 } });
    expect([got.status, headerOf(got.headers, "content-md5")]).toEqual([201, md5Of(bytes)]);
    const [write] = it.desk.written;
    if (write?.kind !== "put" || write.content.kind !== "spans") throw new Error("a put with its spans");
    const [span] = write.content.spans;
    if (span === undefined || !("fileId" in span)) throw new Error("a span");
    expect(Buffer.compare(bytesAt(it.disk, span), bytes)).toBe(0);
    expect([span.length, span.offset, write.put.sizeBytes, it.open()]).toEqual([bytes.length, 0, bytes.length, 0]);
    expect(span.checksum).toMatch(/^[0-9a-f]{16}$/);
  });

  test.each([
    ["its client goes away", { leaveAfterMs: 50, pauseMs: 10 }],
    ["its client goes away before its first byte", { leaveAfterMs: 5, pauseMs: 10 }],
  ])("leaves nothing when %s", async (_, manners) => {
    const it = createWriteScene();
    const got = await it.send({ body: large(), manners });
    await it.clock.runUntilIdle();
    expect(got.ending).toBe("left");
    expect([it.desk.written.length, it.desk.reserved.size, it.open()]).toEqual([0, 0, 0]);
    expect(it.disk.usedBytes).toBe(0);
  });

  test("is not acknowledged when it cannot be flushed, and the flush is not tried again", async () => {
    const it = createWriteScene();
    it.disk.faults.failSync = 1;
    const got = await it.send({ body: large() });
    expect([got.status, headerOf(got.headers, "x-ms-error-code")]).toEqual([500, "InternalError"]);
    expect([it.desk.written.length, it.desk.reserved.size, it.reports.length, it.open()]).toEqual([0, 0, 1, 0]);
  });

  test("is refused for a while when the disk fills up under it", async () => {
    const it = createWriteScene();
    it.disk.faults.capacityBytes = 1024 * 1024;
    const got = await it.send({ body: large() });
    expect([got.status, headerOf(got.headers, "retry-after")]).toEqual([503, "5"]);
    expect([it.desk.reserved.size, it.reports.length, it.open()]).toEqual([0, 0, 0]);
  });
});

describe("checksums that the client gave", () => {
  const body = "what is meant";
  const cases = [
    ["Content-MD5", md5Of(body), md5Of("another"), "Md5Mismatch"],
    ["x-ms-blob-content-md5", md5Of(body), md5Of("another"), "Md5Mismatch"],
    ["x-ms-content-crc64", crc64Of(text(body)), crc64Of(text("another")), "Crc64Mismatch"],
  ] as const;
  test.each(cases)(
    "%s: the right one is taken, a wrong one refused, nothing kept",
    async (name, right, wrong, code) => {
      for (const padding of ["", "x".repeat(LARGE_BYTES)]) {
        const it = createWriteScene();
        const bad = await it.send({ body: body + padding, headers: [name, wrong] });
        expect([bad.status, headerOf(bad.headers, "x-ms-error-code")]).toEqual([400, code]);
        expect([it.desk.written.length, it.desk.reserved.size, it.disk.usedBytes]).toEqual([0, 0, 0]);
        const whole = body + padding;
        const sum = padding === "" ? right : name === "x-ms-content-crc64" ? crc64Of(text(whole)) : md5Of(whole);
        const good = await it.send({ body: whole, headers: [name, sum] });
        expect(good.status).toBe(201);
        if (name === "x-ms-content-crc64") expect(headerOf(good.headers, name)).toBe(sum);
      }
    },
  );
});

describe("what the lake holds under the name", () => {
  test("is asked with one HEAD, and its ETag is what the drain will compare with", async () => {
    const it = createWriteScene();
    const etag = it.service.putBlob("c00", "ckpt/a", text("old"));
    await it.send({ body: "new" });
    expect([it.heads(), it.desk.written[0]?.base]).toEqual([1, { kind: "etag", etag }]);
    expect(it.desk.written[0]?.basedAt).not.toBeNull();
  });

  test("is not asked where something is pending already, nor where nobody else writes", async () => {
    const pending = createWriteScene();
    await pending.send({ body: "one" });
    await pending.send({ body: "two" });
    expect([pending.heads(), pending.desk.written[1]?.judgedOn]).toEqual([1, 1]);
    const exclusive = createWriteScene({ exclusive: true });
    await exclusive.send({ body: "one" });
    expect(exclusive.heads()).toBe(0);
    expect(exclusive.desk.written[0]).toMatchObject({ base: { kind: "unknown" }, judgedOn: "any", basedAt: null });
  });

  test("is unknown while the lake is away, which costs one attempt for a while, and the write is taken all the same", async () => {
    const it = createWriteScene();
    it.cutLake();
    for (const path of ["ckpt/a", "ckpt/b"]) expect((await it.send({ path, body: "new" })).status).toBe(201);
    expect(it.desk.written.map(({ base }) => base.kind)).toEqual(["unknown", "unknown"]);
    expect(it.heads()).toBe(1);
  });

  test("is unknown when the lake takes too long, and then one write at a time looks whether it is back", async () => {
    const it = createWriteScene();
    it.faults.set("neverAnswers", 1);
    const first = await it.send({ path: "ckpt/a", body: "new" });
    expect([first.status, first.endedAtMs - first.startedAtMs]).toEqual([201, limits.writeBaseWaitMs]);
    await it.clock.advance(limits.lakeAwayMs + 1);
    const all = ["b", "c", "d"].map((name) => it.start({ path: `ckpt/${name}`, body: "new" }).received);
    const waits = (await it.clock.settle(Promise.all(all))).map(
      ({ startedAtMs, endedAtMs }) => endedAtMs - startedAtMs,
    );
    expect(waits).toEqual([limits.writeBaseWaitMs, 0, 0]);
    expect(it.desk.written.map(({ base }) => base.kind)).toEqual(["unknown", "unknown", "unknown", "unknown"]);
    it.faults.calm();
    await it.clock.advance(limits.lakeAwayMs + 1);
    for (const name of ["e", "f"]) await it.send({ path: `ckpt/${name}`, body: "new" });
    expect(it.desk.written.slice(4).map(({ base }) => base.kind)).toEqual(["none", "none"]);
  });

  test.each([
    ["another container", "ContainerNotFound"],
    ["500", "serverError"],
    ["503", "serverBusy"],
  ] as const)("with %s in answer the lake answers the write itself", async (_, what) => {
    for (const length of [10, LARGE_BYTES]) {
      const it = createWriteScene(what === "ContainerNotFound" ? { container: "c01", prefix: "" } : {});
      if (what === "ContainerNotFound") {
        const got = await it.send({ container: "c01", path: "a", body: large(length) });
        expect([got.status, headerOf(got.headers, "x-forebay")]).toEqual([404, "forward"]);
      } else {
        it.faults.force(what, 1, ({ method }) => method === "HEAD");
        const got = await it.send({ body: large(length) });
        expect([got.status, headerOf(got.headers, "x-forebay-durability")]).toEqual([201, "lake"]);
        expect(Buffer.compare(it.service.peek("c00", "ckpt/a") ?? text(""), large(length))).toBe(0);
      }
      expect([it.desk.written.length, it.desk.reserved.size, it.open()]).toEqual([0, 0, 0]);
    }
  });

  test("a blob under a lease is the lake's to answer, however much of the body was taken in by then", async () => {
    for (const firstByteMs of [0, 35, 2_500]) {
      const it = createWriteScene();
      it.service.putBlob("c00", "ckpt/a", text("old"));
      const lease = ["x-ms-lease-action", "acquire", "x-ms-lease-duration", "-1"];
      expect((await it.send({ query: "?comp=lease", headers: lease })).status).toBe(201);
      it.faults.shape({ firstByteMs: [firstByteMs, firstByteMs] });
      const got = await it.send({ body: large(), manners: { pauseMs: 1, pieceBytes: 64 * 1024 } });
      expect([got.status, headerOf(got.headers, "x-ms-error-code")]).toEqual([412, "LeaseIdMissing"]);
      expect([it.desk.written.length, it.desk.reserved.size, it.disk.usedBytes, it.open()]).toEqual([0, 0, 0, 0]);
    }
  });
});

describe("a write that cannot be taken in", () => {
  test.each(["no-room", "unavailable", "overloaded", "no-credential"] as const)(
    "is passed on whole: no file is to be had (%s)",
    async (why) => {
      const it = createWriteScene();
      it.desk.refuseReserve = why;
      const bytes = large(LARGE_BYTES);
      const got = await it.send({ body: bytes });
      expect([got.status, headerOf(got.headers, "x-forebay-durability")]).toEqual([201, "lake"]);
      expect(Buffer.compare(it.service.peek("c00", "ckpt/a") ?? text(""), bytes)).toBe(0);
      expect(it.stats.forwardReasons).toEqual({ [`write-${why}`]: 1 });
    },
  );

  test("is passed on whole when the desk says so after the body was taken in, and its file given back", async () => {
    for (const length of [5, LARGE_BYTES, 3_000_000]) {
      const it = createWriteScene();
      it.desk.refuseWrite = "no-room";
      const bytes = large(length);
      const got = await it.send({ body: bytes });
      expect([got.status, headerOf(got.headers, "x-forebay-durability")]).toEqual([201, "lake"]);
      expect(Buffer.compare(it.service.peek("c00", "ckpt/a") ?? text(""), bytes)).toBe(0);
      expect([it.desk.reserved.size, it.disk.usedBytes, it.open()]).toEqual([0, 0, 0]);
    }
  });

  test("is answered with 503, and its file kept, when nobody knows whether it was acknowledged", async () => {
    const it = createWriteScene();
    it.desk.beforeWrite = () => {
      throw new ForebayError("closed", "nobody is there");
    };
    const got = await it.send({ body: large(LARGE_BYTES) });
    expect([got.status, it.desk.reserved.size]).toEqual([503, 1]);
  });

  test.each([
    ["a header that is not understood", { headers: ["x-ms-tags", "a=1"] }],
    ["a lease", { headers: ["x-ms-lease-id", "b6b9a0bc-0d8f-4a1b-8a05-0f1d9f3ac0ff"] }],
    ["a flush", { headers: ["x-forebay-flush", "true"] }],
    ["a condition, where others may write", { headers: ["If-None-Match", "*"] }],
    ["another kind of blob", { headers: ["x-ms-blob-type", "AppendBlob"], body: "" }],
  ])("is the lake's with %s", async (_, sent) => {
    const it = createWriteScene();
    const got = await it.send({ body: "new", ...sent });
    expect([it.desk.written.length, it.forwards(), headerOf(got.headers, "x-forebay")]).toEqual([0, 1, "forward"]);
  });

  test("is the lake's outside of the paths with write: back", async () => {
    const it = createWriteScene();
    const got = await it.send({ path: "other/a", body: "new" });
    expect([got.status, it.desk.written.length]).toEqual([201, 0]);
    expect(headerOf(got.headers, "x-forebay-durability")).toBeUndefined();
  });
});

describe("who may write", () => {
  test("a SAS to write may create and replace", async () => {
    const it = createWriteScene();
    it.service.putBlob("c00", "ckpt/a", text("old"));
    for (const path of ["ckpt/a", "ckpt/b"]) {
      expect((await it.send({ path, body: "new", sas: containerSas("w") })).status).toBe(201);
    }
    expect(it.desk.written).toHaveLength(2);
  });

  test("a SAS to create may create, and what it would replace the lake answers", async () => {
    const it = createWriteScene();
    const sas = containerSas("c");
    expect((await it.send({ path: "ckpt/b", body: "new", sas })).status).toBe(201);
    expect(it.desk.written[0]).toMatchObject({ judgedOn: null, base: { kind: "none" } });
    await it.send({ path: "ckpt/b", body: "newer", sas });
    it.service.putBlob("c00", "ckpt/a", text("old"));
    await it.send({ path: "ckpt/a", body: "new", sas });
    expect([it.desk.written.length, it.forwards()]).toEqual([1, 2]);
  });

  test("a SAS to create does not replace what another one writes at the same time", async () => {
    const it = createWriteScene();
    let raced = false;
    it.desk.beforeWrite = ({ name }) => {
      if (raced) return;
      raced = true;
      const common = {
        seq: 99,
        term: 1,
        path: "c00/ckpt/",
        name,
        base: { kind: "none" },
        acknowledgedAtMs: 1,
      } as const;
      const put = {
        sizeBytes: 0,
        etag: '"0x0F"',
        lastModifiedMs: 0,
        headers: [],
        contentMd5: null,
        contentCrc64: null,
      };
      const content = { kind: "spans", spans: [] } as const;
      it.desk.entries.set("simlake/c00/ckpt/a", {
        ...common,
        kind: "put",
        put,
        content,
        state: { name: "acknowledged" },
      });
      it.generations.owed.add(it.generations.slotsOf("simlake/c00/ckpt/a"), 1);
    };
    await it.send({ body: "new", sas: containerSas("c") });
    expect([it.desk.written.length, it.forwards()]).toEqual([0, 1]);
  });

  test.each(["r", "d", "rl"])("a SAS for %s may not, says the lake", async (permissions) => {
    const it = createWriteScene();
    const got = await it.send({ body: "new", sas: containerSas(permissions) });
    expect([got.status, it.desk.written.length, it.forwards()]).toEqual([403, 0, 1]);
  });

  test("nobody is believed while Forebay's own credential is refused", async () => {
    const it = createWriteScene();
    it.front.engine.trust.refused("simlake", "c00", "AuthenticationFailed");
    const got = await it.send({ body: "new" });
    expect([got.status, it.desk.written.length, it.forwards()]).toEqual([201, 0, 1]);
  });
});

describe("what came in between", () => {
  test("makes a write be judged anew, on what there is by then", async () => {
    const it = createWriteScene();
    it.service.putBlob("c00", "ckpt/a", text("one"));
    let moved = 0;
    let etag = "";
    it.desk.beforeWrite = ({ name }) => {
      if (moved++ > 0) return;
      // Somebody's write reached the lake while this one came in.
      etag = it.service.putBlob("c00", "ckpt/a", text("two"));
      it.generations.move(name);
    };
    const got = await it.send({ body: "three" });
    expect([got.status, it.heads(), it.desk.written[0]?.base]).toEqual([201, 2, { kind: "etag", etag }]);
  });

  test("again and again does not keep a plain write out", async () => {
    const it = createWriteScene();
    it.desk.beforeWrite = ({ name, judgedOn }) => {
      if (judgedOn !== "any") it.generations.move(name);
    };
    const got = await it.send({ body: "three" });
    expect([got.status, it.desk.written[0]?.base.kind, it.desk.written[0]?.judgedOn]).toEqual([201, "unknown", "any"]);
  });
});
