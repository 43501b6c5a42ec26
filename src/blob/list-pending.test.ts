import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { limits } from "../base/limits.ts";
import { compareNames } from "../base/name-order.ts";
import type { Entry } from "../journal/types.ts";
import { readMarker, writeMarker } from "./list-marker.ts";
import { type PendingNames, pendingKeys } from "./list-pending.ts";

function entry(blob: string, kind: "put" | "delete", state: Entry["state"] = { name: "acknowledged" }): Entry {
  const common = {
    seq: 1,
    term: 1,
    path: "",
    name: { account: "acct", container: "c00", blob },
    base: { kind: "none" as const },
    acknowledgedAtMs: 0,
    state,
  };
  if (kind === "delete") return { ...common, kind };
  const put = { sizeBytes: 0, etag: "", lastModifiedMs: 0, headers: [], contentMd5: null, contentCrc64: null };
  return { ...common, kind, put, content: { kind: "spans", spans: [] } };
}

function desk(entries: readonly Entry[]): { readonly names: PendingNames; readonly asked: string[] } {
  const sorted = entries.toSorted((a, b) => compareNames(a.name.blob, b.name.blob));
  const asked: string[] = [];
  const names: PendingNames = async (from, limit) => {
    asked.push(from);
    return sorted.filter(({ name }) => compareNames(name.blob, from) >= 0).slice(0, limit);
  };
  return { names, asked };
}

const many = (folder: string, count: number, kind: "put" | "delete"): Entry[] =>
  Array.from({ length: count }, (_, i) => entry(`${folder}/${String(i).padStart(6, "0")}`, kind));

test("of a prefix with a pending put nothing more is asked", async () => {
  const { names, asked } = desk([...many("a", 5_000, "put"), ...many("b", 5_000, "put"), entry("c", "put")]);
  const found = await pendingKeys(names, { prefix: "", delimiter: "/" }, "", "", 100);
  expect(found.keys.map(({ kind, key }) => `${kind} ${key}`)).toEqual(["prefix a/", "prefix b/", "put c"]);
  expect(asked).toEqual(["", "a0", "b0", "c\u0000"]);
});

test("deletions below a prefix are remembered up to a bound, and a put behind them is found", async () => {
  const shape = { prefix: "", delimiter: "/" };
  const few = await pendingKeys(desk(many("a", 300, "delete")).names, shape, "", "", 100);
  expect(few.keys.map((key) => (key.kind === "hollow" ? key.gone?.length : key.kind))).toEqual([300]);
  const gone = many("a", limits.listGoneMax + 1, "delete");
  const lots = await pendingKeys(desk(gone).names, shape, "", "", 100);
  expect(lots.keys).toEqual([{ kind: "hollow", key: "a/", gone: null }]);
  const last = await pendingKeys(desk([...gone, entry("a/z", "put")]).names, shape, "", "", 100);
  expect(last.keys).toEqual([{ kind: "prefix", key: "a/" }]);
});

test("no more is taken up than a page can have", async () => {
  const { names } = desk([...many("a", 1_000, "put"), ...many("b", 1_000, "delete")]);
  const found = await pendingKeys(names, { prefix: "a", delimiter: "" }, "a/000009", "", 20);
  expect(found.keys.map(({ key }) => key)).toEqual(
    many("a", 31, "put")
      .slice(10)
      .map(({ name }) => name.blob),
  );
  expect(found.until).toBe("a/000030");
});

test("what was set aside is not pending any more", async () => {
  const { names } = desk([entry("a", "put", { name: "aside", sideName: "a.side", lakeEtag: null }), entry("b", "put")]);
  const found = await pendingKeys(names, { prefix: "", delimiter: "" }, "", "", 20);
  expect(found.keys.map(({ key }) => key)).toEqual(["b"]);
});

test("markers come back as they were, and nothing else is taken for one", () => {
  fc.assert(
    fc.property(
      fc.option(fc.string({ minLength: 1 })),
      fc.string({ unit: "grapheme" }),
      fc.nat(),
      (lake, after, skip) => {
        const text = writeMarker({ lake, after, skip });
        expect(text).toMatch(/^forebay1![A-Za-z0-9_-]+$/);
        expect(readMarker(text)).toEqual({ lake, after, skip });
      },
    ),
    { seed: 20261107, numRuns: 1_000 },
  );
  const packed = (value: unknown): string => `forebay1!${Buffer.from(JSON.stringify(value)).toString("base64url")}`;
  expect([readMarker(""), readMarker("2!92!MDAw"), readMarker("forebay2!AA")]).toEqual([
    "foreign",
    "foreign",
    "foreign",
  ]);
  const bad = [
    ...["forebay1!", "forebay1!*", "forebay1!AA", `forebay1!${"A".repeat(40_000)}`],
    ...[null, [], {}, [null, "a"], [null, "a", -1], [null, "a", 1.5], [1, "a", 0], ["", "a", 0], [null, null, 0]].map(
      packed,
    ),
    ...[
      [null, "a", 0, 0],
      [null, "a", "0"],
      [null, "\ud800", 0],
    ].map(packed),
  ];
  for (const text of bad) expect(readMarker(text), text).toBe("bad");
});
