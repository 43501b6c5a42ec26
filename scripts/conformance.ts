/**
 * `npm run conformance`: the same requests to the lake and through Forebay, the same outcome demanded. With
 * `--lake CONNECTION_STRING` the lake is a real account (containers of the run's own are made and removed in it)
 * instead of Azurite. Everything else goes to `bun test`.
 */
import { BUN, ROOT } from "./run.ts";

const given = process.argv.slice(2);
const at = given.indexOf("--lake");
const lake = at < 0 ? undefined : given[at + 1];
if (at >= 0 && lake === undefined) {
  process.stderr.write("--lake: needs a connection string\n");
  process.exit(2);
}
const rest = at < 0 ? given : given.toSpliced(at, 2);
const child = Bun.spawn([BUN, "test", ...rest, "./tests/conformance"], {
  cwd: ROOT,
  stdio: ["ignore", "inherit", "inherit"],
  env: { ...process.env, ...(lake === undefined ? {} : { FOREBAY_CONFORMANCE_LAKE: lake }) },
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
process.exit(await child.exited);
