/**
 * The flash folder goes away, fills up, becomes read-only or belongs to somebody else. Reads go on with right bytes;
 * Forebay says what is wrong, and mends it when the cause is gone.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService, type SimService } from "../../sim/lake/service.ts";
import { INDEX_FILE } from "../../src/flash/index-schema.ts";
import { runChild } from "../support/process.ts";
import {
  admin,
  ask,
  childrenOf,
  cleanup,
  committed,
  firstDifference,
  mayMount,
  metrics,
  pattern,
  type Up,
  type UpOptions,
  until,
  up,
  upCommand,
  warm,
} from "./harness.ts";

const MIB = 1 << 20;
/** All of one size: bytes of another blob would not show by their number. */
const SIZE = 2 * MIB + 77;
const POLICIES = [{ path: "frozen/", maxStale: "immutable" }];

let undo = cleanup();
let lake: SimService;
let connection = "";

beforeEach(async () => {
  undo = cleanup();
  lake = createSimService();
  for (let i = 0; i < 40; i++) lake.putBlob("frozen", `blob-${i}`, pattern(i, SIZE));
  const server = await startSimLakeServer(lake);
  undo.add(() => server.close());
  connection = server.connectionString;
});
afterEach(() => undo.run());

async function start(options: Partial<UpOptions> = {}): Promise<Up> {
  const folder = options.folder ?? undo.folder("flash");
  const forebay = await up({ config: { lake: connection, policies: POLICIES }, ...options, folder });
  undo.add(() => forebay.stop(1_000));
  return forebay;
}

/** Reads blobs [from, to) whole and checks every byte. How many of them were hits. */
async function readAll(forebay: Up, from: number, to: number): Promise<number> {
  let hits = 0;
  for (let i = from; i < to; i++) {
    const got = await ask(forebay.blobUrl, `frozen/blob-${i}`);
    expect([got.status, got.bytes.length, firstDifference(i, 0, got.bytes)]).toEqual([200, SIZE, -1]);
    if (got.temperature === "hit") hits++;
  }
  return hits;
}

/** Waits until `/readyz` is a refusal that names the flash, and checks that metrics and log say the same. */
async function saysUnwell(forebay: Up): Promise<void> {
  await until("Forebay to say that the flash failed", 15_000, async () => {
    const { status, text } = await admin(forebay.adminUrl, "/readyz");
    return status === 503 && text.includes("flash: ");
  });
  expect((await metrics(forebay.adminUrl)).get("forebay_flash_ok")).toBe(0);
  expect(forebay.logs()).toMatch(/"level":50.*flash/);
}

async function isWell(forebay: Up): Promise<void> {
  await until("Forebay to be ready", 20_000, async () => (await admin(forebay.adminUrl, "/readyz")).status === 200);
  expect((await metrics(forebay.adminUrl)).get("forebay_flash_ok")).toBe(1);
}

function mount(folder: string, ...options: readonly string[]): void {
  const done = Bun.spawnSync(["mount", ...options, folder], { stderr: "pipe" });
  if (done.exitCode !== 0) throw new Error(`mount: ${done.stderr.toString()}`);
}

const probe = cleanup();
const canMount = mayMount(probe.folder("mount"));
await probe.run();
if (!canMount) process.stderr.write("no mounting here: the tests of a full and a read-only flash are skipped\n");

/** A file system of its own of so many MiB. */
function tinyFileSystem(sizeMib: number): string {
  const folder = undo.folder("tmpfs");
  mount(folder, "-t", "tmpfs", "-o", `size=${sizeMib}m`, "tmpfs");
  undo.add(() => Bun.spawnSync(["umount", "-l", folder]));
  return folder;
}

describe("the flash folder", () => {
  test("deleted under the running process: made anew, and no old byte for a new blob", async () => {
    const forebay = await start({ servers: 2 });
    // Often enough that both servers hold descriptors of the files.
    for (let round = 0; round < 6; round++) await readAll(forebay, 0, 6);
    await committed(forebay.adminUrl);
    rmSync(forebay.flash, { recursive: true, force: true });
    await readAll(forebay, 0, 6);
    await until("the loss to be noticed", 15_000, () => forebay.logs().includes("opening it anew"));
    await readAll(forebay, 6, 9);
    await isWell(forebay);
    // Ids of the new folder must not meet what the servers still know of the old one.
    await readAll(forebay, 10, 20);
    await committed(forebay.adminUrl);
    expect(await readAll(forebay, 10, 20)).toBeGreaterThan(0);
    await readAll(forebay, 0, 6);
  }, 60_000);

  test("cannot be made: served from the lake, and used once it can", async () => {
    const folder = undo.folder("blocked");
    const flash = join(folder, "in-the-way", "flash");
    writeFileSync(join(folder, "in-the-way"), "a file where a folder should be");
    const forebay = await start({ folder, flash });
    await readAll(forebay, 0, 3);
    expect(await readAll(forebay, 0, 3)).toBe(0);
    await saysUnwell(forebay);
    rmSync(join(folder, "in-the-way"));
    await isWell(forebay);
    await readAll(forebay, 0, 3);
    await committed(forebay.adminUrl);
    expect(await readAll(forebay, 0, 3)).toBe(3);
    expect(readdirSync(flash)).toContain(INDEX_FILE);
  }, 60_000);

  test.skipIf(!canMount)(
    "made read-only: hits and misses go on, and fills again when it is writable",
    async () => {
      const flash = tinyFileSystem(256);
      const forebay = await start({ flash, flashSize: "100MiB" });
      await readAll(forebay, 0, 3);
      await committed(forebay.adminUrl);
      const reader = childrenOf(forebay.pid).map((child) => child.pid);
      expect(reader.length).toBe(2);
      // Open files that may be written forbid it to the whole mount: only a bind of it in place can become read-only.
      mount(flash, "--bind", flash);
      undo.add(() => Bun.spawnSync(["umount", "-l", flash]));
      mount(flash, "-o", "remount,bind,ro");
      await readAll(forebay, 0, 8);
      await saysUnwell(forebay);
      await readAll(forebay, 8, 12);
      mount(flash, "-o", "remount,bind,rw");
      await isWell(forebay);
      await readAll(forebay, 12, 16);
      await committed(forebay.adminUrl);
      expect(await readAll(forebay, 12, 16)).toBe(4);
    },
    60_000,
  );

  test.skipIf(!canMount)(
    "full: reads go on, and what is there makes room",
    async () => {
      // Of 100 MiB, 64 are never filled; the bound says more than there is.
      const flash = tinyFileSystem(100);
      const forebay = await start({ flash, flashSize: "90MiB" });
      await readAll(forebay, 0, 40);
      await readAll(forebay, 0, 40);
      const samples = await metrics(forebay.adminUrl);
      expect(samples.get("forebay_flash_used_bytes") ?? 0).toBeLessThan(40 * MIB);
      // Somebody else takes the rest: nothing can be written any more.
      try {
        writeFileSync(join(flash, "somebody-elses"), Buffer.alloc(100 * MIB));
      } catch {
        // Full, as it should be.
      }
      await readAll(forebay, 0, 20);
      rmSync(join(flash, "somebody-elses"));
      await isWell(forebay);
      await until("fills to work again", 20_000, async () => (await readAll(forebay, 30, 33)) === 3);
    },
    60_000,
  );

  test("of another running Forebay: refused with one clear line, and free again after kill -9", async () => {
    const folder = undo.folder("shared");
    const first = await start({ folder });
    const options = { config: { lake: connection }, folder: undo.folder("second"), flash: first.flash };
    const second = await runChild({ name: "a second Forebay", command: upCommand(options) }, 20_000);
    expect([second.status, second.stdout]).toEqual([2, ""]);
    expect(second.stderr.trim().split("\n")).toEqual([
      `forebay: the flash folder ${first.flash} is in use by another Forebay (process ${first.pid}); choose another --flash DIR`,
    ]);
    await warm(first.blobUrl, "frozen/blob-1");
    await committed(first.adminUrl);
    first.child.kill("SIGKILL");
    await first.child.ended;
    const third = await start({ folder });
    expect((await ask(third.blobUrl, "frozen/blob-1")).temperature).toBe("hit");
  }, 40_000);
});

test("a blob larger than the flash streams through", async () => {
  const size = 60 * MIB + 5;
  lake.putBlob("frozen", "large", pattern(99, size));
  const forebay = await start({ flashSize: "16MiB" });
  const got = await ask(forebay.blobUrl, "frozen/large");
  expect([got.status, got.bytes.length, firstDifference(99, 0, got.bytes)]).toEqual([200, size, -1]);
  const part = await ask(forebay.blobUrl, "frozen/large", { first: 50 * MIB, last: 52 * MIB });
  expect([part.status, part.bytes.length, firstDifference(99, 50 * MIB, part.bytes)]).toEqual([206, 2 * MIB + 1, -1]);
  await readAll(forebay, 0, 3);
  expect((await metrics(forebay.adminUrl)).get("forebay_flash_used_bytes") ?? 0).toBeLessThanOrEqual(16 * MIB);
  expect((await admin(forebay.adminUrl, "/readyz")).status).toBe(200);
}, 40_000);
