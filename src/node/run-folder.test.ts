import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeRunFolder } from "./run-folder.ts";

test("what a killed run left is removed, and nothing else", () => {
  const parent = mkdtempSync(join(tmpdir(), "forebay-runs-"));
  try {
    const living = makeRunFolder(parent);
    writeFileSync(join(living.path, "keeper.sock"), "");
    const left = join(parent, "forebay-run-left");
    mkdirSync(left);
    writeFileSync(join(left, "lock"), "4711\n");
    writeFileSync(join(left, "keeper.sock"), "");
    const young = join(parent, "forebay-run-young");
    mkdirSync(young); // one that is just being made: not locked yet
    const other = join(parent, "forebay-demo");
    mkdirSync(other);
    const next = makeRunFolder(parent);
    expect([existsSync(left), existsSync(join(living.path, "keeper.sock"))]).toEqual([false, true]);
    expect(readdirSync(parent).length).toBe(4);
    living.remove();
    next.remove();
    expect(readdirSync(parent).sort()).toEqual(["forebay-demo", "forebay-run-young"]);
  } finally {
    rmSync(parent, { recursive: true });
  }
});
