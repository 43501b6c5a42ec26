import { expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeRunFolder } from "./run-folder.ts";

test("what a killed run left is removed, and nothing else", () => {
  const parent = mkdtempSync(join(tmpdir(), "forebay-runs-"));
  try {
    const living = makeRunFolder(parent);
    writeFileSync(join(living.path, "keeper.sock"), "");
    const left = join(parent, "forebay-run-left");
    mkdirSync(left, { mode: 0o700 });
    writeFileSync(join(left, "lock"), "4711\n");
    writeFileSync(join(left, "keeper.sock"), "");
    const young = join(parent, "forebay-run-young");
    mkdirSync(young, { mode: 0o700 }); // one that is just being made: not locked yet
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

test("what somebody else put there is neither followed, nor written, nor removed", () => {
  const parent = mkdtempSync(join(tmpdir(), "forebay-runs-"));
  try {
    const victim = join(parent, "victim");
    writeFileSync(victim, "precious");
    const link = (name: string, mode: number): string => {
      const path = join(parent, `forebay-run-${name}`);
      mkdirSync(path);
      chmodSync(path, mode);
      symlinkSync(victim, join(path, "lock"));
      return path;
    };
    const traps = [link("open", 0o755), link("closed", 0o700), join(parent, "forebay-run-link")];
    const elsewhere = join(parent, "elsewhere");
    mkdirSync(elsewhere, { mode: 0o700 });
    writeFileSync(join(elsewhere, "lock"), "of another");
    symlinkSync(elsewhere, traps[2] ?? "");
    makeRunFolder(parent).remove();
    expect(readFileSync(victim, "utf8")).toBe("precious");
    expect(readFileSync(join(elsewhere, "lock"), "utf8")).toBe("of another");
    expect(traps.map((path) => existsSync(path))).toEqual([true, true, true]);
  } finally {
    rmSync(parent, { recursive: true });
  }
});
