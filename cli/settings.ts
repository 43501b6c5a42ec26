/** The settings of `up` as flags of a command, and the configuration that results. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { type Command, Option } from "commander";
import { type Config, loadConfig } from "../src/node/config.ts";
import { settings } from "../src/node/config-schema.ts";

/** Adds a flag for every setting. */
export function addSettings(command: Command): Command {
  for (const setting of settings) {
    const standard = setting.standard === "" ? "" : ` (default: ${setting.standard})`;
    command.addOption(new Option(`${setting.flag} <${setting.value}>`, `${setting.help}${standard}`));
  }
  return command;
}

/** The configuration from flags, environment and file. Throws `config`. */
export function configFrom(
  flags: Readonly<Record<string, string>>,
  options: { readonly mayLackLake?: boolean } = {},
): Config {
  return loadConfig({
    ...options,
    flags,
    env: process.env,
    folder: process.cwd(),
    cpus: availableParallelism(),
    readFile: (path) => readFileSync(path, "utf8"),
  });
}
