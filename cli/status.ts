/** `forebay status`: what a running Forebay is doing. */
import type { Command } from "commander";
import { type AdminFlags, addAdminFlags, adminAddress, askAdmin, jsonOf, judged, printJson } from "./admin-client.ts";
import { renderStatus, statusSchema } from "./status-view.ts";

const EXAMPLES = `
Examples:
  forebay status
  forebay status --admin 10.0.0.7:10190
  forebay status --json | jq .hitRatio
  forebay status --json | jq .writes.pendingBytes     what would be lost with this machine`;

/** Adds the command. */
export function registerStatus(program: Command): void {
  addAdminFlags(
    program.command("status").description("show what a running Forebay is doing"),
    "print the admin API's answer as it is",
  )
    .addHelpText("after", EXAMPLES)
    .action(async (flags: AdminFlags) => {
      const admin = adminAddress(flags);
      const answer = await jsonOf(admin, await askAdmin(admin, "/api/v1/status"));
      if (flags.json === true) printJson(answer);
      else process.stdout.write(`${renderStatus(judged(statusSchema, answer, admin)).join("\n")}\n`);
    });
}
