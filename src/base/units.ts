/** Sizes and durations as people write them, and back. */
import { ForebayError } from "./errors.ts";

const SIZE: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const DURATION_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Bytes of a size such as `50GiB`, `1.5TB` or `4096`. Throws `config` with the accepted forms. */
export function parseSizeBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  const unit = match ? SIZE[match[2] ?? ""] : undefined;
  if (!match || unit === undefined) {
    throw new ForebayError("config", `"${text}" is not a size; write for example 50GiB, 500MB or 1.5TiB`);
  }
  return Math.floor(Number(match[1]) * unit);
}

/** Milliseconds of a duration such as `5s`, `250ms`, `14d` or `0s`. Throws `config` with the accepted forms. */
export function parseDurationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(text.trim());
  const unit = match ? DURATION_MS[match[2] ?? ""] : undefined;
  if (!match || unit === undefined) {
    throw new ForebayError("config", `"${text}" is not a duration; write for example 5s, 250ms, 10m or 14d`);
  }
  return Math.round(Number(match[1]) * unit);
}

/** `bytes` for people: binary units, three figures. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}
