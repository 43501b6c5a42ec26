/**
 * Lines for people: to standard error or a file, written at once and never waited for long. A place that takes none (a
 * full disk, a pipe whose reader is gone or stuck) costs lines, which are counted; it neither fails nor holds up whoever
 * has something to say, and nothing piles up in memory.
 */
import * as fs from "node:fs";

export interface LineSink {
  /** Writes `line`, which ends with a newline. Whether all of it went out. Never throws. */
  write(line: string): boolean;
  /** Lines lost since the last call, and why the last of them was. */
  takeLost(): { readonly lines: number; readonly reason: string };
}

/** A pipe that is full for the moment is tried again, unless the line before was lost as well. */
const FULL_PIPE_TRIES = 20;
const FULL_PIPE_PAUSE_MS = 5;

/** A sink on a descriptor that stays open. */
export function lineSink(fd: number): LineSink {
  let lost = 0;
  let reason = "";
  let failing = false;
  /** The last line broke off: what follows it must not look like its end. */
  let broken = false;

  const put = (bytes: Buffer): void => {
    let tries = failing ? 1 : FULL_PIPE_TRIES;
    for (let at = 0; at < bytes.length; ) {
      try {
        at += fs.writeSync(fd, bytes, at, bytes.length - at);
        broken = at < bytes.length;
      } catch (error) {
        if (codeOf(error) === "EINTR") continue;
        if (codeOf(error) !== "EAGAIN" || --tries <= 0) throw error;
        Bun.sleepSync(FULL_PIPE_PAUSE_MS);
      }
    }
  };
  return {
    write: (line) => {
      try {
        put(Buffer.from(broken ? `\n${line}` : line));
        failing = false;
        return true;
      } catch (error) {
        failing = true;
        reason = codeOf(error);
        lost++;
        return false;
      }
    },
    takeLost: () => {
      const lines = lost;
      lost = 0;
      return { lines, reason };
    },
  };
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? "unknown reason";
}
