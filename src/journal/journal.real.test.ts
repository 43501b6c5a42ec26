import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "../base/random.ts";
import { realClock } from "../io/clock.ts";
import { realDisk } from "../io/disk.ts";
import { openJournal } from "./journal.ts";
import { nameOf, putOf, SMALL_FILES } from "./test-support.ts";

test("a journal on a real disk is found again, and removes the files that it needs no more", async () => {
  const root = mkdtempSync(join(tmpdir(), "forebay-journal-"));
  const disk = realDisk(root, () => Promise.resolve());
  const listener = { ended: () => {}, filesFreed: () => {} };
  const open = () =>
    openJournal({ disk, clock: realClock, random: seededRandom(1), term: 1, listener, bounds: SMALL_FILES });
  try {
    const { journal } = await open();
    for (let round = 0; round < 4; round++) {
      const writes = Array.from({ length: 60 }, (_, n) => journal.append(putOf(`b${n}`, "z".repeat(700), `p${n}/`)));
      const entries = await Promise.all(writes);
      if (round === 3) break;
      const ends = entries.map(async ({ seq }) => {
        await journal.move(seq, { name: "begin" });
        return journal.move(seq, { name: "settle", lakeEtag: '"e"' });
      });
      expect((await Promise.all(ends)).every(({ kind }) => kind === "moved")).toBe(true);
    }
    await journal.stop();
    expect(journal.stats().removedSegments).toBeGreaterThan(0);
    const { journal: again, recovery } = await open();
    expect(recovery).toMatchObject({ entries: 60, damage: [], tornBytes: 0 });
    const found = again.view.latest(nameOf("b7"));
    expect(await again.readInline(found?.seq ?? 0)).toEqual(new TextEncoder().encode("z".repeat(700)));
    await again.stop();
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
