/** What the commands have in common when they speak to people. */
import { formatBytes } from "../src/base/units.ts";

/** Whether colours and moving lines are welcome on a stream. */
export function isLively(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && process.env["NO_COLOR"] === undefined && process.env["TERM"] !== "dumb";
}

/** A line for people on standard error: standard output belongs to results. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** A bar of `width` characters of which `share` (0 to 1) is filled. */
export function bar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  return "█".repeat(filled) + "░".repeat(width - filled);
}

/** Rows with their columns aligned, two blanks between them. `right` names the columns that end flush. */
export function aligned(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, column) =>
        right.includes(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd(),
  );
}

/** Text from elsewhere (names of blobs, words of the lake) that cannot make a terminal do things. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (one) => `\\u{${(one.codePointAt(0) ?? 0).toString(16)}}`);
}

/** A whole number for people. */
export function number(value: number): string {
  return value.toLocaleString("en-US");
}

/** A number and what it counts. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A duration for people: the two largest units. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  return parts
    .slice(first, first + 2)
    .filter(([count], index) => index === 0 || count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

/** Progress of work counted in bytes: a moving bar on a terminal, a line every ten seconds elsewhere. */
export interface Progress {
  add(bytes: number): void;
  end(): void;
}

const LINE_EVERY_MS = 10_000;
const REDRAW_EVERY_MS = 100;

/** Shows progress of `what` on standard error. */
export function startProgress(what: string, totalBytes: number): Progress {
  const lively = isLively(process.stderr);
  const start = performance.now();
  let done = 0;
  let shownAt = start;
  const line = (): string => {
    const seconds = Math.max(0.001, (performance.now() - start) / 1000);
    const share = totalBytes === 0 ? 1 : done / totalBytes;
    const figures = `${formatBytes(done)} of ${formatBytes(totalBytes)}, ${formatBytes(done / seconds)}/s`;
    return `${what} ${lively ? `${bar(share, 24)} ` : ""}${Math.floor(share * 100)}%  ${figures}`;
  };
  return {
    add: (bytes) => {
      done += bytes;
      const now = performance.now();
      if (now - shownAt < (lively ? REDRAW_EVERY_MS : LINE_EVERY_MS)) return;
      shownAt = now;
      process.stderr.write(lively ? `\r\x1b[K${line()}` : `${line()}\n`);
    },
    end: () => process.stderr.write(lively ? `\r\x1b[K${line()}\n` : `${line()}\n`),
  };
}

/** Progress of work that shrinks: what is left of it. */
export interface Countdown {
  /** The most that was ever left counts as the whole. */
  show(entries: number, bytes: number): void;
  end(): void;
}

/** Shows on standard error what is left of `what`: a moving bar on a terminal, a line every ten seconds elsewhere. */
export function startCountdown(what: string): Countdown {
  const lively = isLively(process.stderr);
  let [wholeEntries, wholeBytes] = [0, 0];
  let shownAt = Number.NEGATIVE_INFINITY;
  let drawn = false;
  return {
    show: (entries, bytes) => {
      [wholeEntries, wholeBytes] = [Math.max(wholeEntries, entries), Math.max(wholeBytes, bytes)];
      if (wholeEntries === 0) return;
      const now = performance.now();
      if (!lively && now - shownAt < LINE_EVERY_MS) return;
      shownAt = now;
      drawn = true;
      const share = wholeBytes === 0 ? 1 - entries / wholeEntries : 1 - bytes / wholeBytes;
      const text = `${plural(entries, "write")}, ${formatBytes(bytes)} left`;
      const line = `${what} ${lively ? `${bar(share, 24)} ` : ""}${Math.floor(share * 100)}%  ${text}`;
      process.stderr.write(lively ? `\r\x1b[K${line}` : `${line}\n`);
    },
    end: () => {
      if (lively && drawn) process.stderr.write("\n");
    },
  };
}
