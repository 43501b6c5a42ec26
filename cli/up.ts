/** `forebay up`: runs Forebay in front of a lake until it is told to stop. */
import type { Command } from "commander";
import { asForebayError } from "../src/base/errors.ts";
import { createLogger } from "../src/node/logger.ts";
import { runUntilStopped } from "./run.ts";
import { addSettings, configFrom } from "./settings.ts";

const EXAMPLES = `
Every setting is also an environment variable (FOREBAY_FLASH_SIZE) and, but for config, a key of the file (flashSize);
flags beat environment beats file. SIGTERM or Ctrl-C stops gracefully, SIGHUP reloads policies, credentials and certificates.

Examples:
  forebay up --lake https://myaccount.blob.core.windows.net --flash /mnt/nvme/forebay --flash-size 500GiB
  forebay up --lake-file /run/secrets/lake --listen 0.0.0.0:10100 --tls-cert tls.crt --tls-key tls.key
  forebay up --config forebay.yaml`;

/** Adds the command. */
export function registerUp(program: Command): void {
  addSettings(program.command("up").description("run Forebay in front of a lake"))
    .addHelpText("after", EXAMPLES)
    .action(async (flags: Record<string, string>) => {
      const config = configFrom(flags);
      const { startForebay } = await import("../src/node/supervisor.ts");
      const log = createLogger("command", config.logLevel);
      process.exitCode = await runUntilStopped(() => startForebay(config), {
        reload: async (forebay) => forebay.reload(configFrom(flags)),
        failed: (what, error) => log("error", `${what} failed`, { reason: asForebayError(error).message }),
      });
    });
}
