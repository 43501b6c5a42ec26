/** Writes `docs/cli.md` from the commands' own help and the schema of the settings. `--check` only compares. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { buildProgram } from "../cli/main.ts";
import { settings } from "../src/node/config-schema.ts";
import { ROOT } from "./run.ts";

const PATH = join(ROOT, "docs/cli.md");

/** The text that `docs/cli.md` should have. */
export function cliDocument(): string {
  return `# The command

From a clone every command is \`./forebay COMMAND\`; the first one sets everything up. Exit status: 0 done, 1 the work
failed, 2 called wrongly (one line says which setting or flag, and what to write). Results go to standard output, logs
(JSON lines) and words for people to standard error.

${commands()}
## Settings

Flags beat environment variables beat the file. In the file a setting has the name of the first column; lists and maps
are written as YAML on the command line and in the environment too. Relative paths start from the working folder.

${table()}
A file with everything that only a file says comfortably:

\`\`\`yaml
lakes:
  training:
    connectionStringFile: /run/secrets/training   # or connectionString, or url
    address: 10.0.0.4:443                         # connect here instead of what DNS says
    extraKeysFile: /run/secrets/training-keys     # more keys that callers may sign with
  archive: https://myarchive.blob.core.windows.net
policies:                        # the longest matching [ACCOUNT:]CONTAINER/PREFIX wins; "" is the account
  - path: ""
    maxStale: 5s                 # a duration, 0s (checked at every read), or immutable (never checked again)
  - path: datasets/
    maxStale: immutable
  - path: models/released/
    maxStale: 1m
    onLakeOutage: serve          # or fail (the default): 503 once what is there is too old
    verdict: container           # or blob (the default): what one yes of the lake covers
  - path: checkpoints/
    write: back                  # acknowledged once durable on flash; or through (the default): once the lake has it
    exclusive: true              # nobody writes there but through this Forebay (default: false)
    whenParked: pass             # what the lake refused holds back only its own blob; or hold (the default): its path
    tier: cool                   # the access tier of what is written: hot, cool or cold (default: the account's)
    maxUnflushed: 10m            # /readyz says so when a write waits for longer (default: any time)
\`\`\`

A policy holds as a whole: what it leaves out has its default, not what a shorter path says.
`;
}

function commands(): string {
  return buildProgram()
    .commands.flatMap((command) => [section(command, 2), ...command.commands.map((below) => section(below, 3))])
    .join("\n");
}

/** What a command says of itself. */
function section(command: Command, level: number): string {
  const lines: string[] = [];
  command.configureOutput({ writeOut: (text) => lines.push(text), getOutHelpWidth: () => 100 });
  command.outputHelp();
  const above = command.parent?.parent === null || command.parent === null ? "" : `${command.parent.name()} `;
  const title = `${"#".repeat(level)} forebay ${above}${command.name()}`;
  return `${title}\n\n\`\`\`text\n${lines.join("").trimEnd()}\n\`\`\`\n`;
}

function table(): string {
  const cell = (text: string): string => text.replaceAll("|", "\\|");
  const rows = settings.map((setting) => {
    const names = `\`${setting.name}\` | \`${setting.flag} ${setting.value}\` | \`${setting.env}\``;
    return `| ${names} | ${cell(setting.standard)} | ${cell(setting.help)} | \`${cell(setting.example)}\` |\n`;
  });
  return `| Setting | Flag | Environment | Default | What it is | Example |\n|---|---|---|---|---|---|\n${rows.join("")}`;
}

if (import.meta.main) {
  const text = cliDocument();
  if (!process.argv.includes("--check")) writeFileSync(PATH, text);
  else if (readFileSync(PATH, "utf8") !== text) {
    process.stderr.write("docs/cli.md is out of date: run `npm run docs`\n");
    process.exit(1);
  }
}
