import { afterAll, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AccessEntry } from "../blob/front.ts";
import { createAccessLog } from "./access-log.ts";
import { createLogger } from "./logger.ts";

const folder = mkdtempSync(join(tmpdir(), "forebay-logs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function clockAt(now: { ms: number }) {
  return {
    wallMs: () => now.ms,
    monotonicMs: () => now.ms,
    after: () => ({ cancel: () => {} }),
    sleep: () => Promise.resolve(),
  };
}

function accessLog(place: string, now = { ms: 0 }) {
  const said: unknown[] = [];
  const write = createAccessLog(place, (level, _message, fields) => said.push([level, fields]), clockAt(now));
  if (write === null) throw new Error("an access log was asked for");
  return { said, write: (status: number) => write({ status, elapsedMs: 1.23456 } as AccessEntry) };
}

test("access lines go to the file, which is made with its folder", () => {
  const path = join(folder, "deep", "access.log");
  const log = accessLog(path);
  log.write(200);
  log.write(404);
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { status: 200, elapsedMs: 1.235 },
    { status: 404, elapsedMs: 1.235 },
  ]);
  expect(log.said).toEqual([]);
});

test("an access log on a full disk says so once a minute, and fails no answer", () => {
  const now = { ms: 0 };
  const log = accessLog("/dev/full", now);
  for (let i = 0; i < 5; i++) log.write(200);
  now.ms = 60_000;
  log.write(200);
  expect(log.said).toEqual([
    ["error", { lines: 1, reason: "ENOSPC" }],
    ["error", { lines: 5, reason: "ENOSPC" }],
  ]);
});

test("an access log that cannot be opened is an error of the settings", () => {
  expect(() => accessLog(folder)).toThrow("(EISDIR)");
});

test("a logger whose place is full throws nothing", () => {
  const fd = openSync("/dev/full", "w");
  const log = createLogger("test", "info", fd);
  for (let i = 0; i < 3; i++) log("warn", "not heard", { i });
  closeSync(fd);
});

test("a logger says later how many lines were lost", () => {
  const path = join(folder, "log");
  const fd = openSync(path, "w");
  closeSync(fd);
  const log = createLogger("test", "info", fd);
  for (let i = 0; i < 3; i++) log("warn", "lost");
  // The place is there again, by the same number.
  const again = openSync(path, "a");
  expect(again).toBe(fd);
  log("info", "heard");
  closeSync(again);
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { role: "test", msg: "heard" },
    { lines: 3, msg: "log lines were lost: they could not be written" },
  ]);
});
