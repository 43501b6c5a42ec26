/**
 * A real mount, looked into by real programs, beside a folder of an ordinary file system with the same files. Skipped
 * where nothing can be mounted.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { companion, mountMemory, python, run, shell, until, type World, whyNoMount } from "./harness.ts";

const SEED = 20_260_401;
const whyNot = await whyNoMount();
if (whyNot !== null) console.warn(`mount tests are skipped: ${whyNot}`);

const READ_AT = `
import sys, os, random, mmap
a, b, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = random.Random(seed)
f, g = os.open(a, os.O_RDONLY), os.open(b, os.O_RDONLY)
size = os.fstat(f).st_size
assert size == os.fstat(g).st_size
for i in range(200):
    at, n = rng.randrange(size + 10), rng.choice([1, 100, 4096, 70000, 300000])
    assert os.pread(f, n, at) == os.pread(g, n, at), (i, at, n)
m, k = mmap.mmap(f, 0, prot=mmap.PROT_READ), mmap.mmap(g, 0, prot=mmap.PROT_READ)
for i in range(200):
    at, n = rng.randrange(size), rng.choice([1, 100, 4096, 70000])
    assert m[at:at + n] == k[at:at + n], (i, at, n)
p = mmap.mmap(f, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
assert p[:] == k[:]
print("same")
`;

/** Files of many sizes in folders, every other one whole on flash, here and there alike. */
function plant(world: World): void {
  const random = seededRandom(SEED);
  const sizes = [0, 1, 4095, 4096, 4097, 100_000, 1_048_576, 3_000_001];
  for (let i = 0; i < 60; i++) {
    const size = sizes[i % sizes.length] ?? 0;
    const path = `${["", "a/", "a/b/", "wide folder/", "é/ü/"][i % 5]}file-${i}.bin`;
    const bytes = random.fill(new Uint8Array(size));
    world.source.put(path, bytes, random.chance(0.5));
    const plain = join(world.plain, path);
    mkdirSync(dirname(plain), { recursive: true });
    writeFileSync(plain, bytes);
  }
}

/** How many descriptors this process has of files below `folder`. */
function openBelow(folder: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  }).length;
}

for (const passthrough of [true, false]) {
  describe.skipIf(whyNot !== null)(`the same files beside ext4, passthrough ${passthrough}`, () => {
    let world: World;
    beforeAll(async () => {
      world = await mountMemory({ passthrough });
      world.source.freshMs = 60_000;
      world.source.pageMax = 7;
      plant(world);
    });
    afterAll(() => world.end());

    test("mode", () => {
      expect(world.mount.mode).toBe(passthrough ? "passthrough" : "copying");
    });

    test("find and ls see the same names, kinds and sizes", async () => {
      const seen = (folder: string) =>
        shell('cd "$1" && find . -type f -printf "%p %s\\n" -o -printf "%p/\\n" | sort', folder);
      expect(await seen(world.folder)).toBe(await seen(world.plain));
      const listed = (folder: string) => shell('cd "$1" && ls -1R .', folder);
      expect(await listed(world.folder)).toBe(await listed(world.plain));
    });

    test("tar, cp, grep and diff read the same bytes", async () => {
      expect(await shell('diff -r "$1" "$2" && echo same', world.folder, world.plain)).toBe("same\n");
      const tar = (folder: string) =>
        shell('cd "$1" && tar c --sort=name --mtime=@0 --owner=0 --group=0 --mode=0 . | sha256sum', folder);
      expect(await tar(world.folder)).toBe(await tar(world.plain));
      const copy = join(dirname(world.plain), "copy");
      await shell(
        'cp -r "$1" "$2" && diff -r "$2" "$3" && chmod -R u+w "$2" && rm -r "$2"',
        world.folder,
        copy,
        world.plain,
      );
      const grep = (folder: string) => shell('cd "$1" && grep -r -l -a -e "abc" . | sort', folder);
      expect(await grep(world.folder)).toBe(await grep(world.plain));
    });

    test("random reads and mappings agree", async () => {
      for (const name of ["wide folder/file-23.bin", "a/b/file-7.bin", "a/file-6.bin", "file-15.bin"]) {
        expect(await python(READ_AT, join(world.folder, name), join(world.plain, name), String(SEED))).toBe("same\n");
      }
    });

    test("eight programs at once read the same", async () => {
      const script = 'cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum';
      const sums = await Promise.all(Array.from({ length: 8 }, () => shell(script, world.folder)));
      expect(new Set([...sums, await shell(script, world.plain)]).size).toBe(1);
    });

    test("nothing can be written", async () => {
      const tries =
        'cd "$1"; for c in "touch x" "mkdir y" "rm file-0.bin" "mv file-0.bin z" "truncate -s 1 file-5.bin"; do $c 2>&1; done; true';
      const said = await shell(tries, world.folder);
      expect(said.trim().split("\n").length).toBe(5);
      expect(said.match(/Read-only file system/g)?.length).toBe(5);
    });

    test("what is whole is read without the source", async () => {
      world.source.put("whole", new Uint8Array(500_000).fill(3), true);
      const reads = world.source.calls.read;
      expect(await shell('sha256sum < "$1"', join(world.folder, "whole"))).toBe(
        `${new Bun.CryptoHasher("sha256").update(new Uint8Array(500_000).fill(3)).digest("hex")}  -\n`,
      );
      expect(world.source.calls.read).toBe(reads);
    });

    test("a second open within the bound asks nobody, and nothing is left open", async () => {
      const path = join(world.folder, "whole");
      await shell('cat "$1" > /dev/null', path);
      const { open, lookUp } = world.source.calls;
      await shell('cat "$1" > /dev/null; cat "$1" > /dev/null', path);
      expect(world.source.calls).toMatchObject({ open, lookUp });
      await until("every file that comes through the process is closed", () => world.source.remotesOpen === 0);
      await until("no cache file is left open", () => openBelow(world.source.filesRoot) === 0);
      expect(world.logs.filter((line) => !line.includes("slower"))).toEqual([]);
    });

    test("extended attributes, and no error where a program asks for others", async () => {
      const script =
        "import os,sys\nfor n in os.listxattr(sys.argv[1]): print(n, os.getxattr(sys.argv[1], n).decode())";
      const said = await python(script, join(world.folder, "whole"));
      expect(said).toMatch(/^user\.forebay\.etag 0x\w+\nuser\.forebay\.state complete\n$/);
      expect(await python(script, world.folder)).toBe("");
      expect(
        await shell('cp -a "$1" "$2" && cmp "$1" "$2"', join(world.folder, "whole"), join(world.plain, "copy-a")),
      ).toBe("");
      await shell('rm "$1"', join(world.plain, "copy-a"));
    });
  });
}

/** Opens a file, says its size, and reads all of it whenever it is told to; `map` keeps a mapping of it, too. */
const HOLDER = `
import sys, os, mmap, hashlib
f = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(f, 0, prot=mmap.PROT_READ) if len(sys.argv) > 2 else None
print(os.fstat(f).st_ino, os.fstat(f).st_size)
for line in sys.stdin:
    try:
        data = m[:] if m else os.pread(f, 1 << 24, 0)
        print(hashlib.sha256(data).hexdigest()[:16])
    except OSError as e:
        print(e.errno)
`;
const sumOf = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex").slice(0, 16);

describe.skipIf(whyNot !== null)("a file that changes", () => {
  let world: World;
  const [old, fresh] = [new Uint8Array(300_000).fill(1), new Uint8Array(200_000).fill(2)];
  beforeAll(async () => {
    world = await mountMemory();
  });
  afterAll(() => world.end());

  test("an open file keeps its version; the next open has the new one", async () => {
    const { source, folder } = world;
    source.freshMs = 3_600_000;
    source.put("f", old, true);
    const path = join(folder, "f");
    const held = companion(HOLDER, path);
    const mapped = companion(HOLDER, path, "map");
    const [ino] = (await held.line()).split(" ");
    expect(await mapped.line()).toBe(`${ino} 300000`);
    const fileId = source.evict("f");
    const letGo = world.mount.evicted([fileId]);
    let gone = false;
    void letGo.then(() => {
      gone = true;
    });
    source.put("f", fresh, true);
    const now = await python(
      "import os,sys\nprint(os.stat(sys.argv[1]).st_ino, len(open(sys.argv[1],'rb').read()))",
      path,
    );
    expect(now).toBe(`${ino} 200000\n`);
    for (const program of [held, mapped]) {
      program.tell("read");
      expect(await program.line()).toBe(sumOf(old));
    }
    expect(gone).toBe(false);
    expect([await held.end(), await mapped.end()]).toEqual([0, 0]);
    await letGo;
  });

  test("stat sees a change although the kernel may keep names for an hour", async () => {
    const { source, folder } = world;
    source.put("s", old, true);
    const size = () => shell('stat -c %s "$1"', join(folder, "s"));
    expect(await size()).toBe("300000\n");
    source.put("s", fresh, false);
    await until("the new size is seen", async () => (await size()) === "200000\n");
    source.remove("s");
    await until("it is gone", async () => (await run("stat", join(folder, "s"))).code !== 0);
  });

  test("with no staleness allowed every look is right", async () => {
    const { source, folder } = world;
    source.freshMs = 0;
    for (let i = 1; i <= 20; i++) {
      source.put("strict", new Uint8Array(i * 1000).fill(i), i % 3 === 0);
      const said = await shell(
        'stat -c %s "$1"; wc -c < "$1"; ls -l "$2" | grep strict | wc -l',
        join(folder, "strict"),
        folder,
      );
      expect(said).toBe(`${i * 1000}\n${i * 1000}\n1\n`);
    }
    source.remove("strict");
    expect((await run("cat", join(folder, "strict"))).err).toContain("No such file");
    source.freshMs = 3_600_000;
  });

  test("pieces of a version that is no more are an error, never another version's", async () => {
    const { source, folder } = world;
    source.put("p", old, false);
    const held = companion(HOLDER, join(folder, "p"));
    await held.line();
    source.put("p", fresh, false);
    held.tell("read");
    expect(await held.line()).toBe("116");
    expect(await held.end()).toBe(0);
    expect(await shell('wc -c < "$1"', join(folder, "p"))).toBe("200000\n");
  });

  test("what became whole is read by the kernel from the next open on, whoever still reads pieces", async () => {
    const { source, folder } = world;
    source.put("q", old, false);
    const path = join(folder, "q");
    const held = companion(HOLDER, path);
    const mapped = companion(HOLDER, path, "map");
    const [ino] = (await held.line()).split(" ");
    await mapped.line();
    source.complete("q");
    const { read } = source.calls;
    const again = companion(HOLDER, path, "map");
    expect(await again.line()).toBe(`${ino} 300000`);
    again.tell("read");
    expect(await again.line()).toBe(sumOf(old));
    expect(source.calls.read).toBe(read);
    for (const program of [held, mapped]) {
      program.tell("read");
      expect(await program.line()).toBe(sumOf(old));
    }
    for (const program of [held, mapped, again]) expect(await program.end()).toBe(0);
  });

  test("a cache file that was evicted is no loss", async () => {
    const { source, folder } = world;
    source.put("v", old, true);
    const path = join(folder, "v");
    expect(await shell('wc -c < "$1"', path)).toBe("300000\n");
    await world.mount.evicted([source.evict("v")]);
    expect(await shell('cat "$1" | wc -c', path)).toBe("300000\n");
    source.complete("v");
    expect(await shell('cat "$1" | wc -c', path)).toBe("300000\n");
  });

  test("forgetting all makes everything be asked again", async () => {
    const { source, folder } = world;
    source.put("w", old, true);
    await shell('cat "$1" > /dev/null', join(folder, "w"));
    const { open } = source.calls;
    world.mount.forgetAll();
    await shell('cat "$1" > /dev/null', join(folder, "w"));
    expect(source.calls.open).toBe(open + 1);
  });
});
