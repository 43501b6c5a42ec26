/** `npm run check`: types, style, rooms and file sizes, dead code. Runs all of them, then says which failed. */
import { join } from "node:path";
import { BUN, ROOT, runShown } from "./run.ts";

const bin = (name: string): string => join(ROOT, "node_modules/.bin", name);

const STEPS: readonly (readonly [string, readonly string[]])[] = [
  ["types", [bin("tsc"), "-p", "."]],
  ["style", [bin("biome"), "check", "--error-on-warnings", "."]],
  ["rooms and file sizes", [BUN, "test", "./tests/rooms.test.ts", "./tests/files.test.ts"]],
  ["dead code", [bin("knip")]],
];
const MINUTES_MAX = 10;

if (import.meta.main) {
  const failed: string[] = [];
  for (const [name, command] of STEPS) {
    process.stdout.write(`── ${name}\n`);
    const { status, seconds } = await runShown(command, MINUTES_MAX);
    process.stdout.write(`── ${name}: ${status === 0 ? "ok" : `FAILED (${status})`} after ${seconds.toFixed(1)} s\n`);
    if (status !== 0) failed.push(name);
  }
  process.stdout.write(failed.length === 0 ? "check: all is well\n" : `check: failed: ${failed.join(", ")}\n`);
  process.exit(failed.length === 0 ? 0 : 1);
}
