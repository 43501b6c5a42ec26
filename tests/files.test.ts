/** Small rooms: a file that passes its bound wants to be two, and each room has one file that says what it is for. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";

const ROOT = join(import.meta.dir, "..");
const SOURCE_LINES_MAX = 400;
const TEST_LINES_MAX = 700;

/** The file of each room that has its interface and the reason why it exists. */
const FACES: Readonly<Record<string, string>> = {
  mount: "types.ts",
  writeback: "types.ts",
  base: "errors.ts",
  io: "disk.ts",
  http: "types.ts",
  lake: "types.ts",
  flash: "types.ts",
  journal: "types.ts",
  engine: "types.ts",
  blob: "types.ts",
  admin: "types.ts",
  node: "supervisor.ts",
};

const files = [...new Glob("{src,cli,sim,scripts,bench,tests}/**/*.{ts,mjs,cjs}").scanSync({ cwd: ROOT })].sort();

test("no file is too long", () => {
  const long = files.flatMap((path) => {
    const lines = readFileSync(join(ROOT, path), "utf8").split("\n").length - 1;
    const bound = path.startsWith("tests/") || path.endsWith(".test.ts") ? TEST_LINES_MAX : SOURCE_LINES_MAX;
    return lines > bound ? [`${path}: ${lines} lines, ${bound} at most`] : [];
  });
  expect(long).toEqual([]);
});

test("every file begins with what it is for", () => {
  const silent = files.filter((path) => !/^(?:#!.*\n)?\/[*/]/.test(readFileSync(join(ROOT, path), "utf8")));
  expect(silent.filter((path) => !path.endsWith(".test.ts"))).toEqual([]);
});

test("every room has its face", () => {
  const rooms = new Set(files.filter((path) => path.startsWith("src/")).map((path) => path.split("/")[1] ?? ""));
  expect([...rooms].filter((room) => !files.includes(`src/${room}/${FACES[room]}`))).toEqual([]);
});
