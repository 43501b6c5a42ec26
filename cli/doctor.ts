/** `forebay doctor`: is this machine, with these settings, fit to run Forebay? Each finding comes with its remedy. */
import type { Command } from "commander";
import { asForebayError } from "../src/base/errors.ts";
import type { Config } from "../src/node/config.ts";
import { type Check, checkFlash } from "./doctor-flash.ts";
import { checkLakes } from "./doctor-lake.ts";
import { checkMachine } from "./doctor-machine.ts";
import { checkListening, checkTls } from "./doctor-network.ts";
import { checkWriteBack } from "./doctor-writes.ts";
import { aligned, isLively } from "./output.ts";
import { addSettings, configFrom } from "./settings.ts";

const EXAMPLES = `
Takes the settings of \`forebay up\`, and changes nothing. Exit status 1 when a check fails. Without a lake all else is
checked.

Examples:
  forebay doctor --config forebay.yaml
  forebay doctor --flash /mnt/nvme/forebay --lake-file /run/secrets/lake
  forebay doctor --json | jq '.checks[] | select(.status != "ok")'`;

/** Adds the command. */
export function registerDoctor(program: Command): void {
  addSettings(program.command("doctor").description("check this machine and the settings, with remedies"))
    .option("--json", "print the findings as JSON")
    .addHelpText("after", EXAMPLES)
    .action(async ({ json, ...flags }: Record<string, string> & { json?: boolean }) => {
      const checks = await runChecks(flags as Record<string, string>);
      const failed = checks.some((check) => check.status === "fail");
      const text = json === true ? JSON.stringify({ ok: !failed, checks }, null, 2) : renderChecks(checks).join("\n");
      process.stdout.write(`${text}\n`);
      process.exitCode = failed ? 1 : 0;
    });
}

async function runChecks(flags: Readonly<Record<string, string>>): Promise<Check[]> {
  const checks: Check[] = [...(await checkMachine())];
  let config: Config;
  try {
    config = configFrom(flags, { mayLackLake: true });
    const accounts = config.lakes.map((lake) => lake.account).join(", ");
    checks.push({ name: "settings", status: "ok", detail: accounts === "" ? "can be used" : accounts });
  } catch (error) {
    checks.push({ name: "settings", status: "fail", detail: asForebayError(error).message });
    return checks;
  }
  checks.push(...checkFlash(config), ...checkWriteBack(config), ...checkTls(config.tls, Date.now()));
  checks.push(...(await checkListening(config)), ...(await checkLakes(config)));
  if (config.lakes.length === 0) {
    const remedy = "name one to have it checked: --lake, --lake-file, or lake in the file";
    checks.push({ name: "lake", status: "skip", detail: "none is named, so none was asked", remedy });
  }
  return checks;
}

const MARKS = { ok: "ok", warn: "WARN", fail: "FAIL", skip: "skip" } as const;
const COLOURS = { ok: "\x1b[32m", warn: "\x1b[33m", fail: "\x1b[31m", skip: "\x1b[2m" } as const;

/** The lines of the findings, each remedy below its finding. */
export function renderChecks(checks: readonly Check[], lively = isLively(process.stdout)): string[] {
  const lines = aligned(checks.map((check) => [MARKS[check.status].padEnd(4), check.name, check.detail]));
  const indent = " ".repeat(6);
  const count = (status: Check["status"]): number => checks.filter((check) => check.status === status).length;
  const skipped = count("skip") === 0 ? "" : `, ${count("skip")} skipped`;
  return [
    ...checks.flatMap((check, index) => {
      const line = lines[index] ?? "";
      const shown = lively ? `${COLOURS[check.status]}${line.slice(0, 4)}\x1b[0m${line.slice(4)}` : line;
      return check.remedy === undefined ? [shown] : [shown, `${indent}→ ${check.remedy}`];
    }),
    "",
    `${count("ok")} ok, ${count("warn")} to look at, ${count("fail")} failed${skipped}`,
  ];
}
