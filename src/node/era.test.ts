import { afterAll, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Config, loadConfig } from "./config.ts";
import { endEra, eraFingerprint, eraOf } from "./era.ts";

const folder = mkdtempSync(join(tmpdir(), "forebay-era-"));
const flash = join(folder, "flash");
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  rmSync(flash, { recursive: true, force: true });
  mkdirSync(flash);
});

type Policies = readonly { path: string; maxStale: string }[];

function config(policies: Policies, flashFolder = flash, lake = "https://myaccount.blob.core.windows.net"): Config {
  const flags = { lake, flash: flashFolder, policies: JSON.stringify(policies) };
  return loadConfig({ flags, env: {}, folder, cpus: 1, readFile: () => "" });
}

function era(policies: Policies, flashFolder = flash, lake?: string): string {
  return eraOf(config(policies, flashFolder, lake));
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

test("another lake by the same account name is another era; another credential is not", () => {
  const at = (host: string, more: string): string =>
    `DefaultEndpointsProtocol=http;AccountName=myaccount;BlobEndpoint=http://${host}/myaccount;${more}`;
  const key = (letter: string): string => `AccountKey=${Buffer.alloc(64, letter).toString("base64")}`;
  const first = era([FROZEN], flash, at("127.0.0.1:10000", key("a")));
  expect(era([FROZEN], flash, at("127.0.0.1:10000", key("b")))).toBe(first);
  expect(readFileSync(join(flash, "era.json"), "utf8")).not.toContain("127.0.0.1");
  expect(era([FROZEN], flash, at("127.0.0.1:20000", key("a")))).not.toBe(first);
  expect(era([FROZEN], flash, at("127.0.0.1:10000", key("a")))).not.toBe(first);
});

test("an era that was ended does not come back", () => {
  const first = era([FROZEN]);
  expect(endEra(config([FROZEN]))).toBe(true);
  expect(endEra(config([FROZEN]))).toBe(true);
  expect(existsSync(join(flash, "era.json"))).toBe(false);
  expect(era([FROZEN])).not.toBe(first);
  expect(eraFingerprint(config([FROZEN, LIVE]))).toBe(eraFingerprint(config([LIVE, FROZEN])));
});

test("the next era cannot be written: the one before is gone all the same", () => {
  const first = era([FROZEN]);
  mkdirSync(join(flash, "era.json.new"));
  const next = era([LIVE]);
  expect(era([LIVE])).not.toBe(next);
  rmSync(join(flash, "era.json.new"), { recursive: true });
  expect(era([FROZEN])).not.toBe(first);
});

test("the era before cannot be removed: the next one lasts one life, and is not written", () => {
  mkdirSync(join(flash, "era.json"));
  expect(endEra(config([FROZEN]))).toBe(false);
  expect(era([FROZEN])).not.toBe(era([FROZEN]));
});
