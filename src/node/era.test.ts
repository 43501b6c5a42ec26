import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "./config.ts";
import { eraOf } from "./era.ts";

const folder = mkdtempSync(join(tmpdir(), "forebay-era-"));
const flash = join(folder, "flash");
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  rmSync(flash, { recursive: true, force: true });
  mkdirSync(flash);
});

type Policies = readonly { path: string; maxStale: string }[];

function era(policies: Policies, flashFolder = flash): string {
  const flags = {
    lake: "https://myaccount.blob.core.windows.net",
    flash: flashFolder,
    policies: JSON.stringify(policies),
  };
  return eraOf(loadConfig({ flags, env: {}, folder, cpus: 1, readFile: () => "" }));
}

const FROZEN = { path: "frozen/", maxStale: "immutable" };
const LIVE = { path: "live/", maxStale: "5s" };

test("the same policies, in any order: the same era, from one start to the next", () => {
  const first = era([FROZEN, LIVE]);
  expect(era([FROZEN, LIVE])).toBe(first);
  expect(era([LIVE, FROZEN])).toBe(first);
  expect(era([{ path: "live/", maxStale: "10s" }, FROZEN])).toBe(first);
});

test("any change of what is immutable begins a new era, and coming back does not bring the old one", () => {
  const eras = [
    era([FROZEN]),
    era([]),
    era([FROZEN]),
    era([FROZEN, { path: "frozen/live/", maxStale: "0s" }]),
    era([FROZEN, { path: "frozen/live/", maxStale: "immutable" }]),
    era([{ path: "frozen", maxStale: "immutable" }]),
  ];
  // The last two say the same of `frozen` in other words, or more of it: either may be new.
  expect(new Set(eras.slice(0, 5)).size).toBe(5);
});

test("a file that is damaged, half written or of another kind: a new era, and a whole file again", () => {
  const first = era([FROZEN]);
  for (const damage of ["", "{", "[]", "null", "7", '{"era":"x"}', '{"fingerprint":1,"era":2}']) {
    writeFileSync(join(flash, "era.json"), damage);
    const next = era([FROZEN]);
    expect(next).not.toBe(first);
    expect(JSON.parse(readFileSync(join(flash, "era.json"), "utf8"))).toMatchObject({ era: next });
    expect(era([FROZEN])).toBe(next);
  }
});

test("a folder that cannot be written: each start is an era of its own", () => {
  const nowhere = join(folder, "none");
  expect(era([FROZEN], nowhere)).not.toBe(era([FROZEN], nowhere));
});
