import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startChild } from "../tests/support/process.ts";

const MAIN = join(import.meta.dir, "main.ts");
/** Nothing listens there: `up` must start, reload and stop without its lake. */
const LAKE = "AccountName=acme;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:1/acme";
const WITHIN_MS = 30_000;

/** Runs `use` with a started `forebay up`, and removes everything afterwards. */
async function withUp(use: (up: ReturnType<typeof startChild>, file: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "forebay-up-test-"));
  const file = join(folder, "f.yaml");
  const settings = `lake: "${LAKE}"\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\nflash: ${folder}/flash\nflashSize: 64MiB\nservers: 1\n`;
  writeFileSync(file, settings);
  const up = startChild({ name: "up", command: [process.execPath, MAIN, "up", "--config", file], cwd: folder });
  try {
    await up.line(/^forebay ready blob=http:\/\/127\.0\.0\.1:\d+\/acme admin=http:\/\/127\.0\.0\.1:\d+$/, WITHIN_MS);
    await use(up, file);
  } finally {
    await up.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function untilLogged(up: ReturnType<typeof startChild>, words: string): Promise<void> {
  for (let tries = 0; tries < 600 && !up.stderr().includes(words); tries++) await Bun.sleep(50);
  expect(up.stderr()).toContain(words);
}

test("prints one ready line, logs JSON lines without secrets, keeps running over a broken reload, stops with 0", async () => {
  await withUp(async (up, file) => {
    writeFileSync(file, "listne: x");
    up.kill("SIGHUP");
    await untilLogged(up, "listne: is no setting; did you mean listen?");
    writeFileSync(file, `lake: "${LAKE}"\npolicies: [{path: datasets/, maxStale: immutable}]`);
    up.kill("SIGHUP");
    await untilLogged(up, "settings reloaded");
    up.kill("SIGTERM");
    expect(await up.ended).toBe(0);
    expect(up.stdout().split("\n").length).toBe(2);
    for (const line of up.stderr().trim().split("\n")) expect(() => JSON.parse(line)).not.toThrow();
    expect(up.stderr()).not.toContain("c2VjcmV0");
  });
}, 60_000);

test("Ctrl-C stops it too", async () => {
  await withUp(async (up) => {
    up.kill("SIGINT");
    expect(await up.ended).toBe(0);
  });
}, 60_000);
