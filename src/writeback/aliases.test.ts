import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { createSimDisk } from "../../sim/disk.ts";
import { limits } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import type { Entry, EntryState } from "../journal/types.ts";
import { openAliases } from "./aliases.ts";

const LM = Date.UTC(2026, 0, 2, 3, 4, 5);

function scene() {
  const clock = createSimClock();
  const disk = createSimDisk({ random: seededRandom(1), clock, capacityBytes: 256 << 20 });
  const log: string[] = [];
  const open = () => openAliases({ clock, disk, log: (_level, message) => log.push(message) });
  return { clock, disk, log, open };
}

const nameOf = (blob: string) => ({ account: "acct", container: "c00", blob });

function settled(blob: string, seq: number, state?: EntryState): Entry {
  return {
    kind: "put",
    seq,
    term: 1,
    path: "c00/",
    name: nameOf(blob),
    base: { kind: "none" },
    acknowledgedAtMs: LM,
    state: state ?? { name: "settled", lakeEtag: `"0x8D${seq}"` },
    put: { sizeBytes: 1, etag: `"0x0F${seq}"`, lastModifiedMs: LM, headers: [], contentMd5: null, contentCrc64: null },
    content: { kind: "spans", spans: [] },
  };
}

describe("aliases of what was carried to the lake", () => {
  test("name the lake's ETag of the version carried last, and no earlier one", async () => {
    const { open } = scene();
    const aliases = await open();
    aliases.ended(settled("b", 1));
    expect(aliases.of(nameOf("b"))).toEqual({ etag: '"0x0F1"', lastModifiedMs: LM, lakeEtag: '"0x8D1"' });
    aliases.ended(settled("b", 2));
    expect(aliases.of(nameOf("b"))?.lakeEtag).toBe('"0x8D2"');
    expect(aliases.of(nameOf("other"))).toBeNull();
    await aliases.stop();
  });

  test("say nothing of what ended in another way, nor of a blob that was deleted", async () => {
    const { open } = scene();
    const aliases = await open();
    aliases.ended(settled("b", 1, { name: "superseded", by: 2 }));
    aliases.ended(settled("b", 1, { name: "aside", sideName: "s", lakeEtag: '"x"' }));
    expect(aliases.of(nameOf("b"))).toBeNull();
    aliases.ended(settled("b", 2));
    const { put: _put, content: _content, ...common } = settled("b", 3) as Extract<Entry, { kind: "put" }>;
    aliases.ended({ ...common, kind: "delete", state: { name: "settled", lakeEtag: null } });
    expect(aliases.of(nameOf("b"))).toBeNull();
    await aliases.stop();
  });

  test("end after seven days", async () => {
    const { clock, open } = scene();
    const aliases = await open();
    aliases.ended(settled("b", 1));
    await clock.advance(limits.aliasTtlMs - 1);
    expect(aliases.of(nameOf("b"))).not.toBeNull();
    await clock.advance(1);
    expect(aliases.of(nameOf("b"))).toBeNull();
    await aliases.stop();
  });

  test("outlive the process, without what a torn line said", async () => {
    const { disk, open } = scene();
    const first = await open();
    for (const [i, blob] of ["ä/b c", "b\n2", "c"].entries()) {
      first.ended(settled(blob, i + 1));
      await first.stop();
    }
    const path = disk.paths().find((name) => name.startsWith("aliases.")) ?? "";
    disk.flipBit(path, (disk.sizeOf(path) ?? 0) - 5, 1);
    const second = await open();
    expect(second.of(nameOf("ä/b c"))?.lakeEtag).toBe('"0x8D1"');
    expect(second.of(nameOf("b\n2"))?.lakeEtag).toBe('"0x8D2"');
    expect(second.of(nameOf("c"))).toBeNull();
    second.ended(settled("d", 9));
    await second.stop();
    const third = await open();
    expect([third.size, disk.paths().filter((name) => name.startsWith("aliases.")).length]).toEqual([3, 1]);
    await third.stop();
  });

  test("keep their file small however often a blob is written", async () => {
    const { disk, open } = scene();
    const aliases = await open();
    for (let i = 1; i <= 30_000; i++) {
      aliases.ended(settled(`b${i % 10}`, i));
      if (i % 500 === 0) await Promise.resolve();
    }
    await aliases.stop();
    const total = disk.paths().reduce((sum, path) => sum + (disk.sizeOf(path) ?? 0), 0);
    expect(total).toBeLessThan(6 << 20);
    expect((await open()).size).toBe(10);
  });

  test("go on in memory when the flash cannot be written, and are written when it can again", async () => {
    const { clock, disk, log, open } = scene();
    const aliases = await open();
    disk.faults.readOnly = true;
    aliases.ended(settled("b", 1));
    await aliases.stop();
    expect([aliases.of(nameOf("b"))?.lakeEtag, log.length]).toEqual(['"0x8D1"', 1]);
    disk.faults.readOnly = false;
    await clock.advance(limits.probeIntervalMs);
    aliases.ended(settled("c", 2));
    await aliases.stop();
    expect((await open()).size).toBe(2);
  });
});
