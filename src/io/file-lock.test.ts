import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ForebayError } from "../base/errors.ts";
import { type FileLock, takeFileLock } from "./file-lock.ts";

const folder = mkdtempSync(join(tmpdir(), "forebay-lock-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function held(path: string): FileLock {
  const taken = takeFileLock(path);
  if ("pid" in taken) throw new Error(`held by ${taken.pid}`);
  return taken;
}

test("one holder at a time, who is named; free again when let go of", () => {
  const path = join(folder, "lock");
  const lock = held(path);
  expect(takeFileLock(path)).toEqual({ pid: process.pid });
  lock.release();
  lock.release();
  held(path).release();
});

test("the kernel lets go for a process that is killed, and says nothing of children that it left", async () => {
  const path = join(folder, "other");
  const child = Bun.spawn(
    [
      process.execPath,
      "-e",
      `const { takeFileLock } = await import(${JSON.stringify(join(import.meta.dir, "file-lock.ts"))});
       takeFileLock(process.argv[1]);
       const heir = Bun.spawn(["sleep", "60"]);
       console.log(heir.pid);
       setInterval(() => {}, 1000);`,
      path,
    ],
    { stdout: "pipe", stderr: "inherit" },
  );
  const reader = child.stdout.getReader();
  const heir = Number(new TextDecoder().decode((await reader.read()).value));
  try {
    expect(takeFileLock(path)).toEqual({ pid: child.pid });
    child.kill("SIGKILL");
    await child.exited;
    held(path).release();
  } finally {
    process.kill(heir, "SIGKILL");
  }
});

test("a folder that is not there", () => {
  expect(() => takeFileLock(join(folder, "none", "lock"))).toThrow("no such file");
});

test("a file that must exist is neither made nor written; a symbolic link is not followed", () => {
  const none = join(folder, "not-made");
  expect(() => takeFileLock(none, true)).toThrow("no such file");
  expect(existsSync(none)).toBe(false);
  const left = join(folder, "left");
  writeFileSync(left, "4711\n");
  const lock = takeFileLock(left, true);
  expect(takeFileLock(left, true)).toEqual({ pid: 4711 });
  if (!("pid" in lock)) lock.release();
  expect(readFileSync(left, "utf8")).toBe("4711\n");
  const link = join(folder, "link");
  symlinkSync(left, link);
  expect(() => takeFileLock(link)).toThrow(ForebayError);
  expect(readFileSync(left, "utf8")).toBe("4711\n");
});
