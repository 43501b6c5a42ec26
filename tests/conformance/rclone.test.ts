/** rclone as a client: copy, list, read and check, through Forebay in front of Azurite. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Azurite, MAIN_ACCOUNT, startAzurite } from "../support/azurite.ts";
import { forebayExists, startTestForebay, type TestForebay } from "../support/forebay.ts";
import { runChild } from "../support/process.ts";
import { type TempFolder, tempFolder } from "../support/temp.ts";
import { someBytes } from "./harness/context.ts";

const rclone = Bun.which("rclone");
const missing = rclone === null ? "rclone is not installed" : forebayExists() ? undefined : "cli/main.ts is not there";
if (missing !== undefined) console.warn(`rclone is not tested: ${missing}`);

const TIMEOUT_MS = 120_000;
const FILES: readonly (readonly [name: string, length: number])[] = [
  ["empty", 0],
  ["one byte", 1],
  ["deep/er/shard-0001.bin", 300_000],
  ["deep/er/ümlaut + percent%.txt", 5_000],
  ["large.bin", 9 * 1024 * 1024 + 17],
];

let lake: Azurite;
let forebay: TestForebay;
let folder: TempFolder;

beforeAll(async () => {
  if (missing !== undefined) return;
  lake = await startAzurite();
  forebay = await startTestForebay({ lake: lake.connectionString() });
  folder = tempFolder("rclone");
  for (const [name, length] of FILES) {
    const path = join(folder.path, "source", name);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, someBytes(length, length));
  }
}, TIMEOUT_MS);

afterAll(async () => {
  await forebay?.stop();
  await lake?.stop();
  folder?.remove();
});

/** Runs rclone with the remotes `direct:` and `front:`; returns its stdout. */
async function run(...args: readonly string[]): Promise<string> {
  const remote = (name: string, endpoint: string): Record<string, string> => ({
    [`RCLONE_CONFIG_${name}_TYPE`]: "azureblob",
    [`RCLONE_CONFIG_${name}_ACCOUNT`]: MAIN_ACCOUNT.name,
    [`RCLONE_CONFIG_${name}_KEY`]: MAIN_ACCOUNT.key,
    [`RCLONE_CONFIG_${name}_ENDPOINT`]: endpoint,
    [`RCLONE_CONFIG_${name}_USE_EMULATOR`]: "true",
    [`RCLONE_CONFIG_${name}_CHUNK_SIZE`]: "4Mi",
  });
  const { status, stdout, stderr } = await runChild(
    {
      name: `rclone ${args.join(" ")}`,
      command: [rclone ?? "rclone", "--retries=1", "--low-level-retries=1", ...args],
      env: {
        ...remote("DIRECT", lake.blobUrl()),
        ...remote("FRONT", forebay.blobUrl),
        RCLONE_CONFIG: join(folder.path, "none.conf"),
      },
    },
    TIMEOUT_MS,
  );
  if (status !== 0) throw new Error(`rclone ${args.join(" ")} ended with status ${status}:\n${stderr}`);
  return stdout;
}

const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

test.skipIf(missing !== undefined)(
  "copy in, list, check and copy out, with the lake's own view equal",
  async () => {
    await run("mkdir", "front:bucket");
    await run("copy", join(folder.path, "source"), "front:bucket/data");
    const list = async (remote: string): Promise<string[]> =>
      (await run("lsf", "-R", "--format", "psh", "--files-only", remote)).trim().split("\n").sort();
    expect(await list("front:bucket")).toEqual(await list("direct:bucket"));
    await run("check", "--download", join(folder.path, "source"), "front:bucket/data");
    await run("check", "--download", "direct:bucket/data", "front:bucket/data");
    for (const round of ["cold", "warm"]) {
      const target = join(folder.path, round);
      await run("copy", "front:bucket/data", target);
      for (const [name, length] of FILES) {
        expect([round, name, sha(readFileSync(join(target, name)))]).toEqual([
          round,
          name,
          sha(someBytes(length, length)),
        ]);
      }
    }
    const part = await run("cat", "--offset", "100", "--count", "50", "front:bucket/data/deep/er/shard-0001.bin");
    expect(part).toBe(
      await run("cat", "--offset", "100", "--count", "50", "direct:bucket/data/deep/er/shard-0001.bin"),
    );
  },
  TIMEOUT_MS,
);

test.skipIf(missing !== undefined)(
  "sync, server-side copy, move and delete",
  async () => {
    writeFileSync(join(folder.path, "source", "one byte"), "changed");
    await run("sync", join(folder.path, "source"), "front:bucket/data");
    expect(await run("cat", "front:bucket/data/one byte")).toBe("changed");
    await run("copyto", "front:bucket/data/one byte", "front:bucket/copied");
    expect(await run("cat", "front:bucket/copied")).toBe("changed");
    await run("deletefile", "front:bucket/data/one byte");
    expect(await run("lsf", "front:bucket/data")).toBe(await run("lsf", "direct:bucket/data"));
    await run("purge", "front:bucket");
    expect(await run("lsd", "front:")).toBe(await run("lsd", "direct:"));
  },
  TIMEOUT_MS,
);
