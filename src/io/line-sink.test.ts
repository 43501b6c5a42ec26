import { afterAll, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lineSink } from "./line-sink.ts";

const folder = mkdtempSync(join(tmpdir(), "forebay-lines-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("lines go to the file, in order", () => {
  const path = join(folder, "lines");
  const fd = openSync(path, "a");
  const sink = lineSink(fd);
  expect([sink.write("one\n"), sink.write("zwölf\n")]).toEqual([true, true]);
  expect(sink.takeLost().lines).toBe(0);
  closeSync(fd);
  expect(readFileSync(path, "utf8")).toBe("one\nzwölf\n");
});

test("a full disk costs lines, which are counted", () => {
  const fd = openSync("/dev/full", "w");
  const sink = lineSink(fd);
  for (let i = 0; i < 3; i++) expect(sink.write("lost\n")).toBe(false);
  expect(sink.takeLost()).toEqual({ lines: 3, reason: "ENOSPC" });
  expect(sink.takeLost().lines).toBe(0);
  closeSync(fd);
});

test("so does a descriptor that is no use any more", () => {
  const fd = openSync(join(folder, "closed"), "w");
  closeSync(fd);
  const sink = lineSink(fd);
  expect(sink.write("lost\n")).toBe(false);
  expect(sink.takeLost()).toEqual({ lines: 1, reason: "EBADF" });
});
