/** What the processes under test hold, looked at from outside: memory and descriptors, from /proc. */
import { readdirSync, readlinkSync } from "node:fs";
import { type Process, readProc } from "../system/harness.ts";

const KIB = 1024;
const MIB = 1 << 20;

/** One look at one process. */
export interface Look {
  readonly atMs: number;
  readonly pid: number;
  readonly role: string;
  /** Its own memory: neither mapped files nor what it shares with the other processes. */
  readonly memoryBytes: number;
  readonly sockets: number;
  readonly files: number;
  /** Files that were unlinked and are still held. */
  readonly unlinked: number;
}

/** The processes as they are now. */
export function lookAt(processes: readonly Process[], flash: string): Look[] {
  const atMs = performance.now();
  return processes.map((one) => {
    const memoryBytes = Number(/RssAnon:\s+(\d+) kB/.exec(readProc(one.pid, "status"))?.[1] ?? 0) * KIB;
    const targets = descriptorsOf(one.pid);
    const files = targets.filter((target) => target.startsWith(flash));
    return {
      atMs,
      ...one,
      memoryBytes,
      sockets: targets.filter((target) => target.startsWith("socket:")).length,
      files: files.length,
      unlinked: files.filter((target) => target.endsWith(" (deleted)")).length,
    };
  });
}

function descriptorsOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).flatMap((name) => {
      try {
        return [readlinkSync(`${folder}/${name}`)];
      } catch {
        return []; // closed between two looks
      }
    });
  } catch {
    return [];
  }
}

/** What grew, in words; empty when nothing did. */
export interface Growth {
  readonly said: readonly string[];
  readonly grown: readonly string[];
}

const MEMORY_SLACK_BYTES = 48 * MIB;
const DESCRIPTOR_SLACK = 64;
const SHARE_SLACK = 0.2;

/**
 * Whether memory or descriptors grow once things are warm. A collector's heap goes up and down: what counts is how low
 * it still gets, so the lowest tenth of the last third of the time is held against that of the first third of it.
 */
export function growthOf(looks: readonly Look[], warmMs: number): Growth {
  const said: string[] = [];
  const grown: string[] = [];
  for (const pid of new Set(looks.map((look) => look.pid))) {
    const own = looks.filter((look) => look.pid === pid && look.atMs >= warmMs);
    const [first, last] = [own[0], own.at(-1)];
    if (first === undefined || last === undefined) continue;
    const third = (last.atMs - first.atMs) / 3;
    const early = own.filter((look) => look.atMs <= first.atMs + third);
    const late = own.filter((look) => look.atMs >= last.atMs - third);
    const figure = (name: string, slack: number, unit: number, of: (look: Look) => number): void => {
      const [before, after] = [low(early.map(of)), low(late.map(of))];
      const most = Math.max(...own.map(of));
      const perHour = ((after - before) / Math.max(1, last.atMs - first.atMs - third)) * 3_600_000;
      const numbers = [before, after, most, perHour].map((value) => (value / unit).toFixed(0));
      const text = `${last.role} ${pid} ${name}: ${numbers[0]} → ${numbers[1]}, at most ${numbers[2]}, ${numbers[3]} an hour`;
      said.push(text);
      if (after - before > slack + SHARE_SLACK * before) grown.push(text);
    };
    figure("MiB", MEMORY_SLACK_BYTES, MIB, (look) => look.memoryBytes);
    figure("sockets", DESCRIPTOR_SLACK, 1, (look) => look.sockets);
    figure("unlinked files held", DESCRIPTOR_SLACK, 1, (look) => look.unlinked);
  }
  return { said, grown };
}

const NO_LOOK: Look = { atMs: 0, pid: 0, role: "", memoryBytes: 0, sockets: 0, files: 0, unlinked: 0 };

/** Whether more files were open than there are blobs: each version needs one descriptor at most. */
export function tooManyFiles(looks: readonly Look[], blobs: number): string[] {
  const most = looks.reduce((worst, look) => (look.files > worst.files ? look : worst), NO_LOOK);
  const text = `${most.role} ${most.pid}: ${most.files} open files for ${blobs} blobs`;
  return most.files > blobs + DESCRIPTOR_SLACK ? [text] : [];
}

/** The tenth percentile. */
function low(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 10)] ?? 0;
}
