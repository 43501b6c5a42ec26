/** The `forebay` command: one file per command, one place where errors become exit statuses. */
import { Command, CommanderError } from "commander";
import { version } from "../package.json" with { type: "json" };
import { asForebayError, hasCode } from "../src/base/errors.ts";
import { registerDemo } from "./demo.ts";
import { registerDoctor } from "./doctor.ts";
import { registerFlush } from "./flush.ts";
import { registerJournal } from "./journal.ts";
import { registerStatus } from "./status.ts";
import { registerUp } from "./up.ts";

/** The work failed. */
const EXIT_FAILED = 1;
/** The command was called wrongly, or a setting is wrong. */
const EXIT_USAGE = 2;

/** The whole command line, also for the generated documentation. */
export function buildProgram(): Command {
  const program = new Command("forebay")
    .description("Azure Blob Storage at the speed of local flash: a near tier in front of the lake.")
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "forebay: ")) })
    .exitOverride()
    .addHelpText(
      "after",
      "\nExit status: 0 done, 1 the work failed, 2 called wrongly. `forebay COMMAND --help` has examples.",
    );
  registerUp(program);
  registerDemo(program);
  registerStatus(program);
  registerFlush(program);
  registerJournal(program);
  registerDoctor(program);
  return program;
}

async function run(args: readonly string[]): Promise<number> {
  try {
    await buildProgram().parseAsync([...args], { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    const failure = asForebayError(error);
    process.stderr.write(`forebay: ${failure.message}\n`);
    if (failure.code === "internal" && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
    return hasCode(failure, "config", "usage") ? EXIT_USAGE : EXIT_FAILED;
  }
}

if (import.meta.main) process.exit(await run(process.argv.slice(2)));
