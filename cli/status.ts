/** `forebay status`: what a running Forebay is doing. */
import type { Command } from "commander";
import { ForebayError } from "../src/base/errors.ts";
import { parseHostPort } from "../src/node/config-schema.ts";
import { renderStatus, statusSchema } from "./status-view.ts";

const ANSWER_WITHIN_MS = 5_000;

const EXAMPLES = `
Examples:
  forebay status
  forebay status --admin 10.0.0.7:10190
  forebay status --json | jq .hitRatio`;

/** Adds the command. */
export function registerStatus(program: Command): void {
  program
    .command("status")
    .description("show what a running Forebay is doing")
    .option("--admin <HOST:PORT>", "where its admin API listens (default: FOREBAY_ADMIN, or 127.0.0.1:10190)")
    .option("--json", "print the admin API's answer as it is")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: { admin?: string; json?: boolean }) => {
      const admin = flags.admin ?? process.env["FOREBAY_ADMIN"] ?? "127.0.0.1:10190";
      const answer = await fetchStatus(admin);
      if (flags.json === true) process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
      else process.stdout.write(`${renderStatus(judge(answer, admin)).join("\n")}\n`);
    });
}

/** The JSON of `/api/v1/status`. Throws `usage` for an address that is none, `timeout` when nobody answers. */
async function fetchStatus(admin: string): Promise<unknown> {
  try {
    parseHostPort(admin);
  } catch {
    throw new ForebayError(
      "usage",
      `--admin: "${admin}" is not an address; write HOST:PORT, for example 127.0.0.1:10190`,
    );
  }
  const remedy = "start one with `forebay up`, or name its address with --admin HOST:PORT";
  let response: Response;
  try {
    response = await fetch(`http://${admin}/api/v1/status`, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
  } catch (error) {
    throw new ForebayError("timeout", `no Forebay answers at ${admin}: ${remedy}`, { cause: error });
  }
  if (!response.ok)
    throw new ForebayError(
      "timeout",
      `${admin} answered ${response.status}: is it a Forebay's admin address? Else ${remedy}`,
    );
  try {
    return await response.json();
  } catch (error) {
    throw new ForebayError("timeout", `what answers at ${admin} is no Forebay: ${remedy}`, { cause: error });
  }
}

function judge(answer: unknown, admin: string): ReturnType<typeof statusSchema.parse> {
  const checked = statusSchema.safeParse(answer);
  if (checked.success) return checked.data;
  const where = checked.error.issues[0]?.path.join(".") ?? "";
  throw new ForebayError("lake-refused", `${admin} speaks another version of the admin API (${where}); use --json`);
}
