/**
 * `npm test`: the tests beside the code and those of `tests/` that are quick. The long suites (conformance, crash,
 * fuzz, soak) have commands of their own. `npm test -- src/lake -t name` runs what is named instead, with bun's flags.
 */
import { Glob } from "bun";
import { BUN, ROOT } from "./run.ts";

const LONG = /^tests\/(conformance|crash|soak)\//;

/** Every quick test file, relative to the root. */
export function quickTests(): string[] {
  const files = ["src", "sim", "cli", "scripts", "bench", "tests"].flatMap((folder) => [
    ...new Glob(`${folder}/**/*.test.ts`).scanSync({ cwd: ROOT }),
  ]);
  return files.filter((file) => !LONG.test(file)).sort();
}

if (import.meta.main) {
  const given = process.argv.slice(2);
  const named = given.some((word, index) => !word.startsWith("-") && given[index - 1] !== "-t");
  const files = named ? [] : quickTests().map((file) => `./${file}`);
  const child = Bun.spawn([BUN, "test", ...given, ...files], { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  process.exit(await child.exited);
}
