import { describe, expect, test } from "bun:test";
import { containerSas, createWriteScene } from "../../sim/write-scene.ts";
import { headerOf } from "../http/types.ts";
import { formatHttpDate } from "./dates.ts";

const text = (words: string): Uint8Array => new TextEncoder().encode(words);
const DELETE = { method: "DELETE" } as const;

describe("a deletion", () => {
  test("is taken in of what the lake has, and of what is pending", async () => {
    const it = createWriteScene();
    const etag = it.service.putBlob("c00", "ckpt/a", text("old"));
    const got = await it.send(DELETE);
    expect([got.status, headerOf(got.headers, "x-forebay-durability")]).toEqual([202, "flash"]);
    expect(it.desk.written[0]).toMatchObject({ kind: "delete", base: { kind: "etag", etag }, judgedOn: null });
    await it.send({ path: "ckpt/b", body: "new" });
    expect((await it.send({ ...DELETE, path: "ckpt/b" })).status).toBe(202);
    expect(it.desk.written[2]).toMatchObject({ kind: "delete", judgedOn: 2 });
  });

  test("of what is in neither is answered as the lake does", async () => {
    const it = createWriteScene();
    const got = await it.send(DELETE);
    expect([got.status, headerOf(got.headers, "x-ms-error-code")]).toEqual([404, "BlobNotFound"]);
    expect(Buffer.from(got.bytes).toString()).toContain("<Code>BlobNotFound</Code>");
    it.service.putBlob("c00", "ckpt/b", text("old"));
    expect((await it.send({ ...DELETE, path: "ckpt/b" })).status).toBe(202);
    expect((await it.send({ ...DELETE, path: "ckpt/b" })).status).toBe(404);
    expect(it.forwards()).toBe(0);
  });

  test("of what nobody knows of, because the lake is away, is not taken in", async () => {
    const it = createWriteScene();
    it.cutLake();
    const got = await it.send(DELETE);
    expect([got.status, it.desk.written.length]).toEqual([503, 0]);
  });

  test("needs the permission to delete", async () => {
    const it = createWriteScene();
    it.service.putBlob("c00", "ckpt/a", text("old"));
    expect((await it.send({ ...DELETE, sas: containerSas("w") })).status).toBe(403);
    expect((await it.send({ ...DELETE, sas: containerSas("d") })).status).toBe(202);
  });

  test.each([
    ["of snapshots too", ["x-ms-delete-snapshots", "include"], ""],
    ["of a version", [], "?versionid=2024-01-01T00:00:00.0000000Z"],
    ["for good", [], "?deletetype=permanent"],
  ])("%s is the lake's", async (_, headers, query) => {
    const it = createWriteScene();
    it.service.putBlob("c00", "ckpt/a", text("old"));
    await it.send({ ...DELETE, headers, query });
    expect([it.desk.written.length, it.forwards()]).toEqual([0, 1]);
  });
});

describe("conditions, where nobody else writes", () => {
  const scene = () => createWriteScene({ exclusive: true });
  const codeOf = (got: { status: number; headers: readonly string[] }) =>
    `${got.status} ${headerOf(got.headers, "x-ms-error-code") ?? ""}`.trim();

  test("are judged against the lake's version when nothing is pending", async () => {
    const it = scene();
    const etag = it.service.putBlob("c00", "ckpt/a", text("old"));
    expect(codeOf(await it.send({ body: "new", headers: ["If-None-Match", "*"] }))).toBe("409 BlobAlreadyExists");
    expect(codeOf(await it.send({ body: "new", headers: ["If-Match", '"0x8DAAAAAAAAAAAAA"'] }))).toBe(
      "412 ConditionNotMet",
    );
    expect(codeOf(await it.send({ body: "new", headers: ["If-Match", etag] }))).toBe("201");
    expect(it.desk.written[0]).toMatchObject({ judgedOn: null, base: { kind: "etag", etag } });
    expect(it.forwards()).toBe(0);
  });

  test("are judged against what is pending, by the ETag that its client was told", async () => {
    const it = scene();
    const first = await it.send({ body: "one", headers: ["If-None-Match", "*"] });
    const etag = headerOf(first.headers, "etag") ?? "";
    expect([codeOf(first), etag.startsWith('"0x0F')]).toEqual(["201", true]);
    expect(codeOf(await it.send({ body: "two", headers: ["If-None-Match", "*"] }))).toBe("409 BlobAlreadyExists");
    expect(codeOf(await it.send({ body: "two", headers: ["If-Match", etag] }))).toBe("201");
    expect(codeOf(await it.send({ body: "three", headers: ["If-Match", etag] }))).toBe("412 ConditionNotMet");
    expect(codeOf(await it.send({ ...DELETE, headers: ["If-Match", etag] }))).toBe("412 ConditionNotMet");
    const lastModified = formatHttpDate(it.clock.wallMs());
    expect(codeOf(await it.send({ ...DELETE, headers: ["If-Modified-Since", lastModified] }))).toBe(
      "412 ConditionNotMet",
    );
    expect(codeOf(await it.send({ ...DELETE, headers: ["If-Unmodified-Since", lastModified] }))).toBe("202");
    expect(codeOf(await it.send({ body: "four", headers: ["If-None-Match", "*"] }))).toBe("201");
    expect(it.forwards()).toBe(0);
  });

  test("are judged anew when another write came in between: of two that create, one does", async () => {
    const it = scene();
    it.desk.beforeWrite = () => {
      it.desk.beforeWrite = () => {};
      void it.desk.write("other", {
        path: "c00/ckpt/",
        name: { account: "simlake", container: "c00", blob: "ckpt/a" },
        base: { kind: "none" },
        basedAt: null,
        judgedOn: null,
        kind: "put",
        put: { sizeBytes: 1, headers: [], contentMd5: null, contentCrc64: null },
        content: { kind: "inline", bytes: text("x") },
      });
    };
    const got = await it.send({ body: "mine", headers: ["If-None-Match", "*"] });
    expect([codeOf(got), it.desk.written.length]).toEqual(["409 BlobAlreadyExists", 1]);
  });

  test.each([
    ["two at once", ["If-Match", "*", "If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"]],
    ["a list", ["If-Match", '"a", "b"']],
    ["a weak ETag", ["If-Match", 'W/"a"']],
    ["one of an ETag that Forebay gave, and the lake has another for", ["If-Match", '"0x0F00000000000AA"']],
    ["one by tags", ["x-ms-if-tags", "a='b'"]],
  ])("that are not understood go to the lake: %s", async (_, headers) => {
    const it = scene();
    it.service.putBlob("c00", "ckpt/a", text("old"));
    await it.send({ body: "new", headers });
    expect([it.desk.written.length, it.forwards()]).toEqual([0, 1]);
  });

  test("go to the lake when it cannot be asked what there is", async () => {
    const it = scene();
    it.cutLake();
    const got = await it.send({ body: "new", headers: ["If-None-Match", "*"] });
    expect([got.status, it.desk.written.length]).toEqual([503, 0]);
  });
});
