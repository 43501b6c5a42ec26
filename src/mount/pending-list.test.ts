import { expect, test } from "bun:test";
import type { EngineContext } from "../engine/context.ts";
import { createGenerations, SHARED_BYTES } from "../engine/generations.ts";
import { defaultPolicy } from "../engine/policy.ts";
import { realClock } from "../io/clock.ts";
import type { Asking } from "./engine-answers.ts";
import type { BlobPage, ListedBlob } from "./listing.ts";
import { merge, withPending } from "./pending-list.ts";

const blob = (name: string, etag = "lake"): ListedBlob => ({ name, sizeBytes: 1, etag, mtimeMs: 0, isFolder: false });
const { signal } = new AbortController();

/** Lists `names` in pages of `size`, as the lake does. */
function lakeOf(names: readonly string[], size: number) {
  return async ({ prefix, marker }: { prefix: string; marker: string | null }): Promise<BlobPage> => {
    const keys = new Set<string>();
    for (const name of names.filter((one) => one.startsWith(prefix)).sort()) {
      const slash = name.indexOf("/", prefix.length);
      keys.add(slash < 0 ? name : name.slice(0, slash + 1));
    }
    const all = [...keys].sort();
    const start = Number(marker ?? 0);
    const page = all.slice(start, start + size);
    return {
      blobs: page.filter((key) => !key.endsWith("/")).map((key) => blob(key)),
      prefixes: page.filter((key) => key.endsWith("/")),
      next: start + size < all.length ? String(start + size) : null,
    };
  };
}

function askingOf(pending: Readonly<Record<string, "put" | "delete" | "aside">>): Asking {
  const generations = createGenerations(new ArrayBuffer(SHARED_BYTES), "epoch");
  generations.owed.recovered(Object.keys(pending).map((name) => generations.slotsOf(`a/c/${name}`)));
  const entries = Object.entries(pending)
    .sort(([x], [y]) => (x < y ? -1 : 1))
    .map(([name, kind]) => ({
      name: { account: "a", container: "c", blob: name },
      kind: kind === "delete" ? "delete" : "put",
      state: { name: kind === "aside" ? "aside" : "committed" },
      put: { sizeBytes: 2, etag: '"mine"', lastModifiedMs: 0, headers: [] },
    }));
  const desk = {
    names: async (_account: string, _container: string, from: string, limit: number) =>
      entries.filter(({ name }) => name.blob >= from).slice(0, Math.min(limit, 2)),
  };
  const context = { clock: realClock, generations, desk } as object as EngineContext;
  return { context, account: "a", container: "c", policyOf: () => defaultPolicy } as object as Asking;
}

async function listAll(asking: Asking, names: readonly string[], prefix: string, size: number): Promise<string[]> {
  const lister = withPending(asking, lakeOf(names, size));
  const seen: string[] = [];
  let marker: string | null = null;
  for (let pages = 0; pages < 50; pages++) {
    const page: BlobPage | null = await lister({ prefix, marker, max: size, signal });
    if (page === null) throw new Error("no container");
    seen.push(...page.blobs.map(({ name, etag }) => `${name}=${etag}`), ...page.prefixes);
    if (page.next === null) return seen.sort();
    marker = page.next;
  }
  throw new Error("no end");
}

test("whatever the pages, each name is shown once: pending puts, less what is being deleted", async () => {
  const inLake = ["d/a", "d/b", "d/m/1", "d/p", "d/x/1", "d/z", "e"];
  const asking = askingOf({
    "d/0": "put",
    "d/b": "put",
    "d/c": "put",
    "d/m/2": "put",
    "d/n/1": "put",
    "d/n/2": "put",
    "d/p": "delete",
    "d/q": "aside",
    "d/zz": "put",
    "e/f": "put",
  });
  const expected = ["d/0=mine", "d/a=lake", "d/b=mine", "d/c=mine", "d/m/", "d/n/", "d/x/", "d/z=lake", "d/zz=mine"];
  for (const size of [1, 2, 3, 100])
    expect(await listAll(asking, inLake, "d/", size), `pages of ${size}`).toEqual(expected);
  expect(await listAll(asking, inLake, "", 2)).toEqual(["d/", "e/", "e=lake"]);
  expect(await listAll(asking, [], "d/n/", 1)).toEqual(["d/n/1=mine", "d/n/2=mine"]);
});

test("nothing is asked where nothing is owed", async () => {
  expect(await listAll(askingOf({}), ["a", "b/c"], "", 1)).toEqual(["a=lake", "b/"]);
});

test("a lake that orders names otherwise gives no name twice", () => {
  const pending = { blobs: new Map([["b", blob("b", "mine")]]), folders: new Set<string>() };
  const first = merge({ blobs: [blob("z")], prefixes: [], next: "m" }, pending, "");
  const second = merge({ blobs: [blob("b")], prefixes: [], next: null }, pending, JSON.parse(first.next ?? "{}").after);
  expect([...first.blobs, ...second.blobs].map(({ name, etag }) => `${name}=${etag}`)).toEqual(["b=mine", "z=lake"]);
});
