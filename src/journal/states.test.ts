import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isEnded, isPending, nextState, TABLE, type TableEvent } from "./states.ts";
import type { Entry, EntryState } from "./types.ts";

const EVENTS: readonly TableEvent[] = [
  { name: "begin" },
  { name: "settle", lakeEtag: '"e"' },
  { name: "park", reason: "403" },
  { name: "conflict", sideName: "side" },
  { name: "retry" },
  { name: "supersede", by: 9 },
  { name: "discard" },
  { name: "export" },
  { name: "dismiss" },
];
const STATES: readonly EntryState[] = [
  { name: "acknowledged" },
  { name: "draining" },
  { name: "parked", reason: "403", atMs: 5 },
  { name: "conflicted", sideName: "side" },
  { name: "aside", sideName: "side", lakeEtag: '"e"' },
  { name: "settled", lakeEtag: '"e"' },
  { name: "superseded", by: 9 },
  { name: "discarded" },
  { name: "exported" },
  { name: "dismissed" },
];

const entryIn = (state: EntryState): Entry => ({
  kind: "put",
  seq: 1,
  term: 1,
  path: "p/",
  name: { account: "a", container: "c", blob: "b" },
  base: { kind: "none" },
  acknowledgedAtMs: 0,
  put: { sizeBytes: 0, etag: "", lastModifiedMs: 0, headers: [], contentMd5: null, contentCrc64: null },
  content: { kind: "spans", spans: [] },
  state,
});

/** All moves that the table has, as `from --> to : event`. */
function moves(): string[] {
  return STATES.flatMap((state) =>
    EVENTS.flatMap((event) => {
      const to = nextState(entryIn(state), event, 5);
      return to === null ? [] : [`${state.name} --> ${to.name} : ${event.name}`];
    }),
  );
}

test("the table is total, and every state of it is known here", () => {
  const states = STATES.map(({ name }) => name).sort();
  expect(Object.keys(TABLE).sort()).toEqual(states);
  for (const row of Object.values(TABLE)) {
    expect(Object.keys(row).sort()).toEqual(EVENTS.map(({ name }) => name).sort());
  }
});

test("what has ended stays so, and what the lake may have heard of is neither superseded nor discarded", () => {
  for (const state of STATES) {
    if (isEnded(state))
      expect(EVENTS.map((event) => nextState(entryIn(state), event, 5))).toEqual(EVENTS.map(() => null));
    expect(isPending(state) && isEnded(state)).toBe(false);
  }
  const draining = entryIn({ name: "draining" });
  expect(nextState(draining, { name: "supersede", by: 2 }, 5)).toBeNull();
  expect(nextState(draining, { name: "discard" }, 5)).toBeNull();
  expect(moves().filter((move) => move.includes("superseded"))).toEqual(["acknowledged --> superseded : supersede"]);
});

test("a put settles with an ETag, a deletion without; a deletion is given up rather than kept aside", () => {
  const put = entryIn({ name: "draining" });
  expect(() => nextState(put, { name: "settle", lakeEtag: null }, 5)).toThrow();
  expect(() => nextState(put, { name: "conflict", sideName: null }, 5)).toThrow();
  const { seq, term, path, name, base, acknowledgedAtMs, state } = put;
  const deletion: Entry = { kind: "delete", seq, term, path, name, base, acknowledgedAtMs, state };
  expect(nextState(deletion, { name: "conflict", sideName: null }, 5)).toEqual({
    name: "aside",
    sideName: null,
    lakeEtag: null,
  });
});

test("the picture in the documentation is the table", () => {
  const text = readFileSync(join(import.meta.dir, "../../docs/journal.md"), "utf8");
  const picture = /```mermaid\nstateDiagram-v2\n([\s\S]*?)```/.exec(text)?.[1] ?? "";
  const arrows = [...picture.matchAll(/^ *(\w+) --> (\w+) : (\w+)/gm)].map(([, a, b, e]) => `${a} --> ${b} : ${e}`);
  // A deletion that is given up takes a way of its own.
  const ofDeletions = ["acknowledged", "draining"].map((from) => `${from} --> aside : conflict`);
  expect(arrows.sort()).toEqual([...moves(), ...ofDeletions].sort());
});
