/**
 * The era of the `immutable` policies. What is cached under such a policy is never checked again, because every
 * change through Forebay is marked durably first; but a path that was not immutable for a while had no such marks.
 * So each change of the set of immutable paths begins a new era, kept in the flash folder, and what was cached in an
 * older era is checked once more.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "./config.ts";

/** The era for `config`. A folder that cannot be written gives an era of its own to each start. */
export function eraOf(config: Config): string {
  const paths = config.policies
    .filter((rule) => rule.maxStaleMs === "immutable")
    .map((rule) => JSON.stringify([rule.account, rule.container, rule.prefix]));
  // A longer rule that is not immutable cuts a hole into a shorter one that is: all rules count.
  const others = config.policies
    .filter((rule) => rule.maxStaleMs !== "immutable")
    .map((rule) => JSON.stringify([rule.account, rule.container, rule.prefix]));
  const fingerprint = Bun.hash.xxHash64(JSON.stringify([paths.sort(), others.sort()])).toString(16);
  const path = join(config.flashFolder, "era.json");
  const held = readEra(path);
  if (held?.fingerprint === fingerprint) return held.era;
  const era = crypto.randomUUID();
  try {
    writeDurably(path, JSON.stringify({ fingerprint, era }));
  } catch {
    // An era that is not kept only costs checks.
  }
  return era;
}

function readEra(path: string): { fingerprint: string; era: string } | null {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (value === null || typeof value !== "object" || !("fingerprint" in value) || !("era" in value)) return null;
    return { fingerprint: String(value.fingerprint), era: String(value.era) };
  } catch {
    return null;
  }
}

function writeDurably(path: string, text: string): void {
  const fd = openSync(`${path}.new`, "w", 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${path}.new`, path);
  const folder = openSync(join(path, ".."), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
