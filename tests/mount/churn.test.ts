/**
 * Files that change, become whole, and are evicted all the time, under programs that read and map them: what one of
 * them has opened is one version, and no later open has an earlier one.
 */
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import { realClock } from "../../src/io/clock.ts";
import { mountMemory, python, whyNoMount } from "./harness.ts";

const SEED = 20_260_403;
const FILES = 6;
const READERS = 4;
const OPENS = 300;
const whyNot = await whyNoMount();

/** Version n of a file: 4 bytes of n again and again, as many times as its size follows from n. */
function bytesOf(version: number): Buffer {
  const bytes = Buffer.alloc(((version * 7919) % 40_000) * 4 + 4);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(version, at);
  return bytes;
}

const READER = `
import sys, os, mmap, random, struct, errno
folder, seed, opens, files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)
last, stale, mapped = {}, 0, 0
for i in range(opens):
    n = rng.randrange(files)
    try:
        f = os.open("%s/d%d/f%d" % (folder, n % 2, n), os.O_RDONLY)
    except OSError as e:
        # Two changes between the look-up and the open.
        assert e.errno == errno.ESTALE, e
        stale += 1
        continue
    try:
        size = os.fstat(f).st_size
        if rng.random() < 0.3:
            m = mmap.mmap(f, 0, prot=mmap.PROT_READ)
            os.close(f)
            f = -1
            try:
                data = m[:]
            finally:
                m.close()
            mapped += 1
        else:
            data = b""
            while len(data) < size:
                piece = os.pread(f, rng.choice([100, 5000, 200000]), len(data))
                if not piece: break
                data += piece
        version = struct.unpack("<I", data[:4])[0]
        assert len(data) == size == (version * 7919) % 40000 * 4 + 4, (n, version, len(data), size)
        assert data == struct.pack("<I", version) * (size // 4), (n, version)
        assert version >= last.get(n, 0), (n, version, last[n])
        last[n] = version
    except OSError as e:
        assert e.errno == errno.ESTALE, e
        stale += 1
    finally:
        if f >= 0: os.close(f)
print(opens - stale, mapped)
`;

for (const passthrough of [true, false]) {
  describe.skipIf(whyNot !== null)(`churn, passthrough ${passthrough}`, () => {
    test("no version is ever mixed with another, nor followed by an earlier one", async () => {
      const random = seededRandom(SEED);
      const world = await mountMemory({ passthrough });
      try {
        const { source, folder, mount } = world;
        source.freshMs = 60_000;
        // Of a mapping, pieces that cannot be had are a SIGBUS: not what is looked for here.
        source.keepsVersions = true;
        const path = (n: number): string => `d${n % 2}/f${n}`;
        const whole = new Set<number>();
        let version = 0;
        const change = (n: number): void => {
          if (whole.delete(n)) void mount.evicted([source.evict(path(n))]);
          source.put(path(n), bytesOf(++version), true);
          whole.add(n);
        };
        for (let n = 0; n < FILES; n++) change(n);
        let over = false;
        const churn = async (): Promise<void> => {
          while (!over) {
            const n = random.below(FILES);
            const what = random.below(10);
            if (what < 4) change(n);
            else if (what < 6 && whole.has(n)) {
              whole.delete(n);
              void mount.evicted([source.evict(path(n))]);
            } else if (what < 9 && !whole.has(n)) {
              source.complete(path(n));
              whole.add(n);
            } else if (random.below(20) === 0) mount.forgetAll();
            await realClock.sleep(random.below(8));
          }
        };
        const churning = churn();
        const readers = Array.from({ length: READERS }, (_, i) =>
          python(READER, folder, String(SEED + i), String(OPENS), String(FILES)),
        );
        const said = await Promise.all(readers).finally(() => {
          over = true;
        });
        await churning;
        expect(version).toBeGreaterThan(20);
        for (const line of said) {
          const [good = 0, mapped = 0] = line.trim().split(" ").map(Number);
          // A version seldom changes twice while a file is being opened.
          expect(good).toBeGreaterThan(OPENS * 0.9);
          expect(mapped).toBeGreaterThan(OPENS / 10);
        }
      } finally {
        await world.end();
      }
    });
  });
}
