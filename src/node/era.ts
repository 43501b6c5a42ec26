/**
 * The era of the `immutable` policies. What is cached under such a policy is never checked again, because every
 * change through Forebay is marked durably first; but a path that was not immutable for a while had no such marks, and
 * another lake by the same name never had any. So each change of the set of immutable paths, or of where an account's
 * lake is, begins a new era, kept in the flash folder, and what was cached in an older era is checked once more.
 *
 * An era that is over must never come back, whatever fails in between: its file is removed, durably, before anything
 * follows the new settings and before the file of the next era is written. Without the file an era is that of one life
 * only. Where even the removal fails, the folder cannot be written (it is read-only, or its disk is broken): then nothing
 * is cached there in this life either, nothing is written, and the old era means what it meant as soon as the old
 * settings are back. What changed meanwhile through Forebay is then not known to the cache: an operator who makes such a
 * folder writable again under the settings of before should empty it.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseLakeAddress } from "../lake/address.ts";
import type { Config } from "./config.ts";
import { type LakeConfig, lakeOptions } from "./config-lake.ts";

/** The era for `config`. A folder that cannot be written gives an era of its own to each start. */
export function eraOf(config: Config): string {
  const path = pathOf(config);
  const fingerprint = eraFingerprint(config);
  const held = readEra(path);
  if (held?.fingerprint === fingerprint) return held.era;
  const era = crypto.randomUUID();
  if (!endEra(config)) return era;
  try {
    writeDurably(path, JSON.stringify({ fingerprint, era }));
  } catch {
    // An era that is not kept only costs checks.
  }
  return era;
}

/** Ends the era that the folder keeps, for good. Whether that was possible. */
export function endEra(config: Config): boolean {
  try {
    unlinkSync(pathOf(config));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") return false;
  }
  try {
    syncFolder(config.flashFolder);
    return true;
  } catch {
    return false;
  }
}

/** Two settings with the same fingerprint have the same immutable paths and the same lakes. It holds no secret. */
export function eraFingerprint(config: Config): string {
  const paths = config.policies
    .filter((rule) => rule.maxStaleMs === "immutable")
    .map((rule) => JSON.stringify([rule.account, rule.container, rule.prefix]));
  // A longer rule that is not immutable cuts a hole into a shorter one that is: all rules count.
  const others = config.policies
    .filter((rule) => rule.maxStaleMs !== "immutable")
    .map((rule) => JSON.stringify([rule.account, rule.container, rule.prefix]));
  const lakes = config.lakes.map(endpointOf);
  return Bun.hash.xxHash64(JSON.stringify([paths.sort(), others.sort(), lakes.sort()])).toString(16);
}

/** Which lake an account's name stands for, without its secrets. */
export function endpointOf(lake: LakeConfig): string {
  const { account, protocol, hostHeader, basePath } = parseLakeAddress(lake.connection, lakeOptions(lake));
  return JSON.stringify([account, protocol, hostHeader, basePath]);
}

function pathOf(config: Config): string {
  return join(config.flashFolder, "era.json");
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
  syncFolder(join(path, ".."));
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
