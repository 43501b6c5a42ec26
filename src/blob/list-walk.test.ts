/** What a list promises while everything moves: see `list-walk.ts`. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { compareNames } from "../base/name-order.ts";
import type { Entry } from "../journal/types.ts";
import { readMarker, writeMarker } from "./list-marker.ts";
import type { ListElement } from "./list-page.ts";
import { type ListShape, listedAs } from "./list-pending.ts";
import { type LakeListPage, type ListSources, type ListStart, walkList } from "./list-walk.ts";

const NAMES = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom(..."a a/ a/a a/b a/b/c a/c b b/a b/b b/c ba bb c/a c/b d d/x/y d/x/z".split(" ")),
  },
  { weight: 1, arbitrary: fc.constantFrom("a\uffee", "a\u{1f600}", "a/\u{1f600}", "b/\uffee", "e--f", "e--g", "e-h") },
  { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom("a", "b", "c", "/", "-"), minLength: 1, maxLength: 4 }) },
);

function entryOf(blob: string, kind: "put" | "delete"): Entry {
  const common = {
    seq: 1,
    term: 1,
    path: "",
    name: { account: "acct", container: "c00", blob },
    base: { kind: "none" },
    acknowledgedAtMs: 0,
    state: { name: "acknowledged" },
  } as const;
  if (kind === "delete") return { ...common, kind };
  const put = { sizeBytes: 0, etag: "", lastModifiedMs: 0, headers: [], contentMd5: null, contentCrc64: null };
  return { ...common, kind, put, content: { kind: "spans", spans: [] } };
}

/** Something that happens beside the list. */
type Step =
  | { readonly kind: "put" | "delete"; readonly name: string }
  /** The entry at this place of what is pending reaches the lake. */
  | { readonly kind: "drain"; readonly at: number }
  | { readonly kind: "drain-all" }
  | { readonly kind: "nothing" };

const STEP: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom("put", "put", "delete"), name: NAMES }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("drain" as const), at: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "drain-all" } as const) },
  { weight: 6, arbitrary: fc.constant({ kind: "nothing" } as const) },
);

/** How a lake writes its markers: the next name, the last one given, or the next one with pages that come short. */
type Markers = "next" | "last" | "short";

interface World {
  readonly lake: Set<string>;
  readonly pending: Map<string, "put" | "delete">;
  /** Names that were there at every moment, and at some moment since it was cleared. */
  readonly always: Set<string>;
  readonly seen: Set<string>;
  /** Pages that the lake was asked for. */
  asked: number;
  apply(step: Step): void;
  step(): void;
  look(): void;
}

function createWorld(lakeNames: readonly string[], pendingNames: readonly Step[], steps: readonly Step[]): World {
  const lake = new Set(lakeNames);
  const pending = new Map<string, "put" | "delete">();
  const visible = (): Set<string> => {
    const there = new Set(lake);
    for (const [name, kind] of pending) {
      if (kind === "put") there.add(name);
      else there.delete(name);
    }
    return there;
  };
  const drain = (name: string): void => {
    if (pending.get(name) === "put") lake.add(name);
    else lake.delete(name);
    pending.delete(name);
  };
  const apply = (step: Step): void => {
    if (step.kind === "put" || step.kind === "delete") pending.set(step.name, step.kind);
    if (step.kind === "drain") {
      const names = [...pending.keys()];
      const name = names[step.at % Math.max(1, names.length)];
      if (name !== undefined) drain(name);
    }
    if (step.kind === "drain-all") for (const name of [...pending.keys()]) drain(name);
  };
  for (const step of pendingNames) apply(step);
  const always = visible();
  const seen = visible();
  let n = 0;
  const look = (): void => {
    const there = visible();
    for (const name of always) if (!there.has(name)) always.delete(name);
    for (const name of there) seen.add(name);
  };
  return {
    lake,
    pending,
    always,
    seen,
    asked: 0,
    apply,
    look,
    step: () => {
      apply(steps[n++ % Math.max(1, steps.length)] ?? { kind: "nothing" });
      look();
    },
  };
}

const isPrefix = ({ prefix, delimiter }: ListShape, key: string): boolean =>
  delimiter !== "" && key.includes(delimiter, prefix.length);

/** The lake's answer. A marker of `next` points at a blob, which may lie in the midst of a prefix. */
function lakePage(world: World, shape: ListShape, markers: Markers, marker: string | null, size: number): LakeListPage {
  const names = [...world.lake].filter((name) => name.startsWith(shape.prefix)).sort(compareNames);
  const from = marker === null ? names : names.filter((name) => isAfter(shape, markers, name, marker));
  const elements: ListElement[] = [];
  const most = markers === "short" ? Math.min(size, world.asked++ % 3) : size;
  for (const [n, name] of from.entries()) {
    const key = listedAs(shape, name);
    if (elements.at(-1)?.key === key) continue;
    if (elements.length < most) {
      elements.push({ key, isPrefix: isPrefix(shape, key), raw: new Uint8Array(0) });
      continue;
    }
    return { elements, next: markers === "last" ? (elements.at(-1)?.key ?? name) : (from[n] ?? null), ordered: true };
  }
  return { elements, next: null, ordered: true };
}

function isAfter(shape: ListShape, markers: Markers, name: string, marker: string): boolean {
  if (markers !== "last") return compareNames(name, marker) >= 0;
  return compareNames(listedAs(shape, name), marker) > 0;
}

interface Listing {
  readonly pages: { readonly keys: readonly string[]; readonly seen: ReadonlySet<string> }[];
}

/** Lists everything, page by page, as a client does that takes each marker through a request. */
async function listAll(
  world: World,
  shape: ListShape,
  max: number,
  markers: Markers,
  between = () => {
    for (let i = 0; i < 2; i++) world.step();
  },
): Promise<Listing> {
  const pages: Listing["pages"] = [];
  let marker = "";
  for (let n = 0; ; n++) {
    expect(n).toBeLessThan(400);
    world.seen.clear();
    world.look();
    const page = await onePage(world, shape, max, markers, marker);
    pages.push({ keys: page.keys, seen: new Set(world.seen) });
    expect(page.keys.length).toBeLessThanOrEqual(max);
    if (page.next === "") return { pages };
    marker = page.next;
    between();
  }
}

async function onePage(
  world: World,
  shape: ListShape,
  max: number,
  markers: Markers,
  marker: string,
): Promise<{ readonly keys: readonly string[]; readonly next: string }> {
  const read = readMarker(marker);
  if (read === "bad") throw new Error("a marker of ours is broken");
  const start: ListStart =
    read === "foreign" ? { kind: "lake", marker: marker === "" ? null : marker } : { kind: "position", position: read };
  const sources: ListSources = {
    names: async (from, limit) => {
      world.step();
      const names = [...world.pending.keys()].filter((name) => compareNames(name, from) >= 0).sort(compareNames);
      // Fewer than asked for say nothing.
      return names.slice(0, Math.min(limit, 3)).map((name) => entryOf(name, world.pending.get(name) ?? "delete"));
    },
    page: async (at, size) => {
      world.step();
      const page = lakePage(world, shape, markers, at, size);
      world.step();
      return page;
    },
    survives: async (prefix, gone) => {
      world.step();
      return [...world.lake].some((name) => name.startsWith(prefix) && !gone.includes(name));
    },
  };
  const plain = (at: string | null) => {
    world.step();
    const page = lakePage(world, shape, markers, at, max);
    return { keys: page.elements.map(({ key }) => key), next: page.next ?? "" };
  };
  let walked = await walkList(sources, shape, start, max);
  if (walked.kind === "unmergeable") {
    for (const [name, kind] of [...world.pending]) {
      if (kind === "put") world.lake.add(name);
      else world.lake.delete(name);
      world.pending.delete(name);
    }
    walked = await walkList({ ...sources, names: async () => [] }, shape, start, max);
  }
  if (walked.kind === "plain") return plain(start.kind === "lake" ? start.marker : null);
  if (walked.kind === "unmergeable") throw new Error("nothing is pending, and yet not to be merged");
  const keys = walked.items.map(({ key }) => key);
  const { next } = walked;
  return { keys, next: next.kind === "end" ? "" : next.kind === "lake" ? next.marker : writeMarker(next.position) };
}

const SHAPE: fc.Arbitrary<ListShape> = fc.record({
  prefix: fc.constantFrom("", "", "", "a", "a/", "d/"),
  delimiter: fc.constantFrom("", "/", "/", "/", "--", "b/"),
});

function check(world: World, shape: ListShape, { pages }: Listing): void {
  const given = pages.flatMap(({ keys }) => keys);
  for (let i = 1; i < given.length; i++) {
    expect(compareNames(given[i - 1] ?? "", given[i] ?? ""), JSON.stringify(given)).toBeLessThan(0);
  }
  const throughout = [...world.always].filter((name) => name.startsWith(shape.prefix));
  const missing = throughout.filter((name) => !given.includes(listedAs(shape, name)));
  expect(missing, JSON.stringify(given)).toEqual([]);
  for (const { keys, seen } of pages) {
    const possible = new Set([...seen].map((name) => listedAs(shape, name)));
    expect(keys.filter((key) => !possible.has(key))).toEqual([]);
  }
}

test("what exists throughout is given once, in order, and nothing that never existed", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(NAMES, { maxLength: 24 }),
      fc.array(STEP, { maxLength: 24 }),
      fc.array(STEP, { minLength: 1, maxLength: 40 }),
      SHAPE,
      fc.integer({ min: 1, max: 4 }),
      fc.constantFrom<Markers>("next", "last", "short"),
      async (lake, pending, steps, shape, max, markers) => {
        const world = createWorld(lake, pending, steps);
        check(world, shape, await listAll(world, shape, max, markers));
      },
    ),
    { seed: 20261103, numRuns: 20_000 },
  );
});

test("the same where everything drains after one of the pages", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(NAMES, { maxLength: 12 }),
      fc.array(STEP, { minLength: 2, maxLength: 16 }),
      SHAPE,
      fc.integer({ min: 1, max: 3 }),
      fc.nat(4),
      fc.constantFrom<Markers>("next", "last", "short"),
      async (lake, pending, shape, max, after, markers) => {
        const world = createWorld(lake, pending, [{ kind: "nothing" }]);
        let pages = 0;
        const between = (): void => {
          if (pages++ === after) world.apply({ kind: "drain-all" });
          world.look();
        };
        check(world, shape, await listAll(world, shape, max, markers, between));
      },
    ),
    { seed: 20261105, numRuns: 10_000 },
  );
});

test("a marker that points into the midst of a prefix", async () => {
  const pending: Step[] = [
    { kind: "put", name: "b/a" },
    { kind: "delete", name: "b/b" },
  ];
  const world = createWorld(["a", "b/b"], pending, [{ kind: "nothing" }]);
  const shape = { prefix: "", delimiter: "/" };
  const between = (): void => {
    world.apply({ kind: "drain-all" });
    world.look();
  };
  const listing = await listAll(world, shape, 1, "next", between);
  check(world, shape, listing);
  expect(listing.pages.flatMap(({ keys }) => keys)).toEqual(["a", "b/"]);
});

test("with nothing moving, a list is exactly what there is", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(NAMES, { maxLength: 40 }),
      fc.array(STEP, { maxLength: 30 }),
      SHAPE,
      fc.integer({ min: 1, max: 8 }),
      fc.constantFrom<Markers>("next", "last", "short"),
      async (lake, pending, shape, max, markers) => {
        const world = createWorld(lake, pending, [{ kind: "nothing" }]);
        const { pages } = await listAll(world, shape, max, markers);
        const there = [...world.always].filter((name) => name.startsWith(shape.prefix));
        const expected = [...new Set(there.map((name) => listedAs(shape, name)))].sort(compareNames);
        expect(pages.flatMap(({ keys }) => keys)).toEqual(expected);
      },
    ),
    { seed: 20261104, numRuns: 2_000 },
  );
});

test("a lake in another order is not merged", async () => {
  const element = (key: string): ListElement => ({ key, isPrefix: false, raw: new Uint8Array(0) });
  const sources: ListSources = {
    names: async (from) => (from <= "p" ? [entryOf("p", "put")] : []),
    page: async (marker) =>
      marker === null
        ? { elements: [element("a/b")], next: "2", ordered: true }
        : { elements: [element("a-b")], next: null, ordered: true },
    survives: async () => true,
  };
  const shape = { prefix: "", delimiter: "" };
  expect(await walkList(sources, shape, { kind: "lake", marker: null }, 10)).toEqual({ kind: "unmergeable" });
});
