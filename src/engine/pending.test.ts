import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { simLake } from "../../sim/lake/client.ts";
import { createSimService } from "../../sim/lake/service.ts";
import { pendingPut, pendingScene } from "../../sim/pending-scene.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { bytesSource, headerOf, type Segment } from "../http/types.ts";
import { LAKE_API_VERSION } from "../lake/types.ts";
import type { EngineContext } from "./context.ts";
import { slotsOf } from "./generations.ts";
import { keptHeaders } from "./headers.ts";
import { createPendingReader } from "./pending.ts";
import { type FilePart, partsBody, partsOf } from "./pending-body.ts";
import { pendingHeaders } from "./pending-headers.ts";
import { createStats } from "./stats.ts";

const KEY = {
  name: { account: "acct", container: "c00", blob: "b" },
  indexKey: "acct/c00/b",
  slots: slotsOf("acct/c00/b"),
};

describe("the parts of a range", () => {
  test("are those of the bytes asked for, whatever way they are cut", () => {
    const lengths = [3, 1, 0, 5, 2];
    const spans = lengths.map((length, i) => ({ fileId: i + 1, offset: 10 * i, length }));
    const all = spans.flatMap(({ fileId, offset, length }) =>
      Array.from({ length }, (_, i) => `${fileId}:${offset + i}`),
    );
    for (let first = 0; first <= all.length; first++) {
      for (let end = first; end <= all.length; end++) {
        const bytes = partsOf(spans, first, end).flatMap(({ fileId, offset, length }) =>
          Array.from({ length }, (_, i) => `${fileId}:${offset + i}`),
        );
        expect(bytes).toEqual(all.slice(first, end));
      }
    }
  });
});

describe("a body of many files", () => {
  /** Counts who holds which file. */
  function held(refuse: (fileId: number) => boolean = () => false) {
    const pins = new Map<number, number>();
    let most = 0;
    const files: EngineContext["files"] = {
      pin: (fileId) => {
        if (refuse(fileId)) throw new ForebayError("gone", "no such file");
        pins.set(fileId, (pins.get(fileId) ?? 0) + 1);
        most = Math.max(most, pins.size);
        return fileId + 100;
      },
      unpin: (fileId) => {
        const count = pins.get(fileId) ?? 0;
        if (count === 0) throw new Error("was not pinned");
        if (count === 1) pins.delete(fileId);
        else pins.set(fileId, count - 1);
      },
    };
    return { context: { stats: createStats(), files }, pins, most: () => most };
  }
  const parts: FilePart[] = Array.from({ length: 200 }, (_, i) => ({ fileId: i + 1, offset: 0, length: 2 }));

  test("holds the one being sent and a bounded number ahead, and none in the end", () => {
    const { context, pins, most } = held();
    const body = partsBody(context, parts);
    expect(body.lengthBytes).toBe(400);
    for (const { fileId } of parts) {
      const piece = body.next() as Segment;
      expect(piece).toEqual({ kind: "file", fd: fileId + 100, offset: 0, length: 2 });
      expect(pins.has(fileId)).toBe(true);
    }
    expect(body.next()).toBeNull();
    body.close();
    expect(pins.size).toBe(0);
    expect(most()).toBeLessThanOrEqual(limits.pendingPinsMax + 1);
  });

  test("lets go of everything wherever it is left", () => {
    for (const taken of [0, 1, 2, 63, 64, 65, 199, 200]) {
      const { context, pins } = held();
      const body = partsBody(context, parts);
      for (let i = 0; i < taken; i++) body.next();
      body.close();
      expect([taken, pins.size]).toEqual([taken, 0]);
    }
  });

  test("fails at a file that is gone when its turn comes, and at once when that is the first", () => {
    const late = held((fileId) => fileId === 150);
    const body = partsBody(late.context, parts);
    for (let i = 1; i < 150; i++) body.next();
    expect(() => body.next()).toThrow("no such file");
    body.close();
    expect(late.pins.size).toBe(0);
    const first = held((fileId) => fileId === 1);
    expect(() => partsBody(first.context, parts)).toThrow("no such file");
    expect(first.pins.size).toBe(0);
  });
});

describe("what the desk said", () => {
  test("is asked once for many at a time, and again by whoever comes after a change", async () => {
    const it = pendingScene();
    const answers: ((entry: ReturnType<typeof pendingPut>) => void)[] = [];
    it.desk.latest = () => new Promise((resolve) => answers.push(resolve));
    const reader = createPendingReader(it.engine);
    const [a, b] = [reader.latest(KEY), reader.latest(KEY)];
    expect(it.events).toEqual(["latest"]);
    it.generations.move(KEY.name);
    const c = reader.latest(KEY);
    expect(it.events).toEqual(["latest", "latest"]);
    const [older, newer] = [pendingPut("b", 1, { kind: "damaged" }), pendingPut("b", 2, { kind: "damaged" })];
    answers[1]?.(newer);
    expect(await c).toBe(newer);
    // Late, and from before the change: it is not what is remembered.
    answers[0]?.(older);
    expect([await a, await b]).toEqual([older, older]);
    expect(await reader.latest(KEY)).toBe(newer);
    expect(it.clock.pending).toBe(0);
  });

  test("is nothing pending where the entry was set aside", async () => {
    const it = pendingScene();
    const aside = { name: "aside", sideName: "b.side", lakeEtag: '"0x8D1"' } as const;
    it.desk.latest = async () => ({ ...pendingPut("b", 1, { kind: "damaged" }), state: aside });
    expect(await createPendingReader(it.engine).latest(KEY)).toBeNull();
  });

  test("is forgotten when a question failed", async () => {
    const it = pendingScene();
    it.desk.latest = () => Promise.reject(new ForebayError("flash-failed", "no"));
    const reader = createPendingReader(it.engine);
    const failure: unknown = await reader.latest(KEY).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "flash-failed" });
    it.desk.latest = async () => null;
    expect(await reader.latest(KEY)).toBeNull();
  });
});

test("headers of a put are read as the service reads them: those of the blob go before those of the request", () => {
  const { put } = pendingPut(
    "b",
    1,
    { kind: "damaged" },
    {
      headers: [
        ...["Content-Type", "text/request", "x-ms-blob-content-type", "text/blob", "Content-Encoding", "gzip"],
        ...[
          "x-ms-blob-content-language",
          "",
          "x-ms-blob-content-disposition",
          "inline",
          "x-ms-blob-content-md5",
          "bWQ1",
        ],
      ],
    },
  );
  const form = { form: "head", apiVersion: "2015-04-05", tier: "Cold", tags: true } as const;
  const old = pendingHeaders(put, form).join("|");
  expect(old).toContain("Content-Type|text/blob|Content-Encoding|gzip|Content-Disposition|inline|Content-MD5|bWQ1|");
  for (const newer of ["x-ms-access-tier", "x-ms-creation-time", "x-ms-server-encrypted", "Content-Language"]) {
    expect(old).not.toContain(newer);
  }
  expect(pendingHeaders(put, { ...form, apiVersion: "2025-01-05" }).join("|")).toContain("x-ms-access-tier|Cold");
});

test("headers are those that the lake gives once it has the blob", async () => {
  const clock = createSimClock();
  const service = createSimService();
  service.addContainer("c00");
  const lake = simLake({ service, clock });
  const given = [
    ...["x-ms-blob-type", "BlockBlob", "x-ms-blob-content-type", "text/x", "x-ms-blob-content-encoding", "gzip"],
    ...["x-ms-blob-content-language", "de", "x-ms-blob-cache-control", "no-store", "x-ms-meta-Two_b", "2"],
    ...["x-ms-blob-content-disposition", "inline", "x-ms-access-tier", "Cool", "x-ms-tags", "a=1&b=2"],
  ];
  const bytes = new TextEncoder().encode("hello");
  const md5 = new Bun.CryptoHasher("md5").update(bytes).digest("base64");
  const at = { container: "c00", blob: "b" };
  const made = await lake.own({ method: "PUT", ...at, headers: given, body: bytesSource(bytes) });
  expect(made.head.status).toBe(201);
  const { put } = pendingPut(
    "b",
    5,
    { kind: "damaged" },
    {
      headers: given,
      contentMd5: md5,
      etag: headerOf(made.head.headers, "etag") ?? "",
      lastModifiedMs: Date.parse(headerOf(made.head.headers, "last-modified") ?? ""),
    },
  );
  for (const form of ["full", "range", "head"] as const) {
    const range = form === "range" ? ["x-ms-range", "bytes=1-2"] : [];
    const got = await lake.own({ method: form === "head" ? "HEAD" : "GET", ...at, headers: range });
    const ours = pendingHeaders(put, { form, apiVersion: LAKE_API_VERSION, tier: null, tags: true });
    const lakes = keptHeaders(got.head.headers);
    expect([form, pairs(ours)]).toEqual([form, pairs(lakes)]);
  }
});

/** Headers as sorted lines, without those that name who answered. */
function pairs(headers: readonly string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]?.toLowerCase()}: ${headers[i + 1]}`);
  return lines.filter((line) => !line.startsWith("server:")).sort();
}
