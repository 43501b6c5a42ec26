/** A mount in trouble: a lake that hangs, programs that are interrupted, ends by force, no right to mount. */
import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { ForebayError } from "../../src/base/errors.ts";
import { type Clock, realClock } from "../../src/io/clock.ts";
import { startMount } from "../../src/mount/mount.ts";
import { startChild } from "../support/process.ts";
import { tempFolder } from "../support/temp.ts";
import { companion, mountMemory, run, shell, until, type World, whyNoMount } from "./harness.ts";
import { createMemorySource } from "./memory-source.ts";

const whyNot = await whyNoMount();
const DAEMON = join(import.meta.dir, "daemon.ts");

/** On which minutes pass in seconds, and short waits as they are. */
const hasty: Clock = { ...realClock, after: (ms, work) => realClock.after(ms >= 30_000 ? ms / 100 : ms, work) };

const never = (): Promise<void> => new Promise(() => {});

describe.skipIf(whyNot !== null)("a mount in trouble", () => {
  let world: World | null = null;
  afterEach(async () => {
    await world?.end();
    world = null;
  });

  test("a lake that never answers is an error in time, whatever was asked", async () => {
    world = await mountMemory({}, hasty);
    const { source, folder } = world;
    source.put("d/f", new Uint8Array(100_000), false);
    const said: Record<string, string> = {};
    for (const what of ["list", "lookUp", "open", "read"]) {
      source.before = (now) => (now === what ? never() : Promise.resolve());
      const { code, err } = await run("sh", "-c", what === "list" ? 'ls "$1/d"' : 'cat "$1/d/f"', "sh", folder);
      said[what] = `${code !== 0} ${/Connection timed out/.test(err)}`;
    }
    expect(said).toEqual({ list: "true true", lookUp: "true true", open: "true true", read: "true true" });
    source.before = () => Promise.resolve();
    expect(await shell('cat "$1/d/f" | wc -c', folder)).toBe("100000\n");
  });

  test("an interrupt ends the wait at once, and the question that nobody waits for any more", async () => {
    world = await mountMemory({}, hasty);
    const { source, folder } = world;
    source.put("f", new Uint8Array(100_000), false);
    for (const what of ["lookUp", "open", "read"]) {
      let aborted = 0;
      source.before = (now, _path, signal) => {
        if (now !== what) return Promise.resolve();
        signal.addEventListener("abort", () => aborted++);
        return never();
      };
      const { code } = await run("timeout", "-s", "INT", "0.2", "cp", join(folder, "f"), "/dev/null");
      expect(code, what).toBe(124);
      // Reads into the page cache are the kernel's own: nobody's interrupt ends them, their time does.
      if (what !== "read") await until(`${what} is dropped`, () => aborted > 0);
    }
    source.before = () => Promise.resolve();
    expect(await shell('cat "$1/f" | wc -c', folder)).toBe("100000\n");
  });

  test("what fails is an errno, and what the lake refuses is no permission", async () => {
    world = await mountMemory();
    const { source, folder } = world;
    source.put("f", new Uint8Array(10), false);
    const cases = [
      ["lake-unreachable", "Input/output error"],
      ["lake-refused", "Permission denied"],
      ["timeout", "Connection timed out"],
      ["overloaded", "Input/output error"],
    ] as const;
    for (const [code, text] of cases) {
      source.before = async (what) => {
        if (what === "open") throw new ForebayError(code, "as the test wants it");
      };
      expect((await run("cat", join(folder, "f"))).err).toContain(text);
    }
  });

  test("one slow file does not hold up the others", async () => {
    world = await mountMemory();
    const { source, folder } = world;
    source.put("slow", new Uint8Array(10_000), false);
    source.put("quick", new Uint8Array(10_000), false);
    const { promise, resolve } = Promise.withResolvers<void>();
    source.before = (what, path) => (what === "read" && path === "slow" ? promise : Promise.resolve());
    const slow = shell('cat "$1" | wc -c', join(folder, "slow"));
    for (let i = 0; i < 5; i++) expect(await shell('cat "$1" | wc -c', join(folder, "quick"))).toBe("10000\n");
    resolve();
    expect(await slow).toBe("10000\n");
  });

  test("a stop answers whoever waits, and what the kernel reads by itself goes on", async () => {
    world = await mountMemory();
    const { source, folder } = world;
    source.put("whole", new Uint8Array(100_000).fill(4), true);
    source.put("hangs", new Uint8Array(10_000), false);
    const reader = companion(
      "import os,sys\nf=os.open(sys.argv[1],os.O_RDONLY)\nprint('open')\nsys.stdin.readline()\nprint(len(os.read(f,1<<20)))",
      join(folder, "whole"),
    );
    expect(await reader.line()).toBe("open");
    source.before = (what) => (what === "read" ? never() : Promise.resolve());
    const hanging = run("cat", join(folder, "hangs"));
    await until("a read hangs", () => source.calls.read > 0);
    await world.mount.stop();
    expect(await world.mount.ended).toMatch(/stopped|unmounted/);
    expect((await hanging).code).not.toBe(0);
    reader.tell("go on");
    expect(await reader.line()).toBe("100000");
    expect(await reader.end()).toBe(0);
    expect(await shell('grep -c " $1 " /proc/mounts || true', folder)).toBe("0\n");
  });

  test("whoever unmounts it ends it", async () => {
    world = await mountMemory();
    await shell('umount "$1"', world.folder);
    expect(await world.mount.ended).toBe("unmounted");
  });

  test("after SIGKILL nothing hangs, and a new mount says what to do", async () => {
    const temp = tempFolder("mount-kill");
    const [folder, flash] = [join(temp.path, "mnt"), join(temp.path, "flash")];
    for (const path of [folder, flash]) mkdirSync(path);
    const child = startChild({ name: "the mount", command: [process.execPath, DAEMON, folder, flash] });
    try {
      await child.line(/^ready passthrough$/, 20_000);
      expect(await shell('cat "$1/whole.txt" "$1/pieces.txt"', folder)).toBe("whole on flash\npiece by piece\n");
      process.kill(child.pid, "SIGKILL");
      await until("the mount is dead", async () => (await run("ls", folder)).code !== 0);
      expect((await run("cat", join(folder, "whole.txt"))).err).toContain("not connected");
      const again = startMount({
        options: { folder, label: "x", allowOther: false, uid: 0, gid: 0, umask: 0, passthrough: true },
        source: createMemorySource(flash),
        clock: realClock,
        log: () => {},
      });
      expect(again).rejects.toThrow(`fusermount3 -uz ${folder}`);
      await again.catch(() => {});
    } finally {
      await run("umount", "-l", folder);
      await child.stop(2_000);
      temp.remove();
    }
  });

  test("without any right it mounts by fusermount3, and reads the slower way", async () => {
    const hasTools = (await run("sh", "-c", "command -v unshare setpriv fusermount3")).code === 0;
    if (!hasTools || process.getuid?.() !== 0) return console.warn("skipped: needs root, unshare and setpriv");
    const temp = tempFolder("mount-nobody");
    chmodSync(temp.path, 0o755);
    try {
      const script = join(import.meta.dir, "unprivileged.sh");
      const { out } = await run("unshare", "-m", "sh", script, process.execPath, DAEMON, temp.path);
      const lines = out.trim().split("\n");
      expect(lines[0]).toBe("ready copying");
      expect(lines[1]).toContain("CAP_SYS_ADMIN");
      expect(lines.slice(2)).toEqual(["whole on flash", "piece by piece", "unmounted"]);
    } finally {
      temp.remove();
    }
  });
});
