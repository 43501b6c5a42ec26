/**
 * A mount beside an ordinary file system with the same bytes, all of it warm: large files read in sequence and at
 * random (fio), and many small files looked at, or opened, read and closed. `--quick`: shorter and fewer rounds.
 *
 * What is measured is the mount itself: its files come from a source in memory that knows them as fresh, as the engine
 * does of what flash holds. The bytes lie in cache files on the same file system as those beside it.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mountMemory, run, type World, whyNoMount } from "../tests/mount/harness.ts";
import { interleave } from "./lib/rounds.ts";
import {
  type BenchRow,
  benchOptions,
  publishRows,
  type RowHead,
  rowOf,
  type Side,
  sideOf,
  skippedRow,
} from "./lib/rows.ts";

const LARGE_BYTES = 512 * 2 ** 20;
const SMALL_BYTES = 4096;
const BESIDE = "ext4 or what the temporary folder lies on";

const say = (text: string): void => void process.stderr.write(`${text}\n`);

interface Load {
  readonly head: RowHead;
  readonly measure: (folder: string) => Promise<Side>;
}

/** fio's word on how fast a file is read. */
async function fio(
  folder: string,
  pattern: "read" | "randread",
  blockSize: string,
  jobs: number,
  seconds: number,
): Promise<Side> {
  const { out, err, code } = await run(
    ...[
      "fio",
      "--name=mount",
      `--filename=${join(folder, "large")}`,
      "--readonly",
      `--rw=${pattern}`,
      `--bs=${blockSize}`,
    ],
    ...[`--numjobs=${jobs}`, "--time_based", `--runtime=${seconds}`, "--group_reporting", "--ioengine=psync"],
    ...["--invalidate=0", "--output-format=json"],
  );
  if (code !== 0) throw new Error(`fio failed: ${err}`);
  const result: { jobs: { read: { bw_bytes: number } }[] } = JSON.parse(out.slice(out.indexOf("{")));
  return sideOf((result.jobs[0]?.read.bw_bytes ?? 0) / 1e9);
}

/** Goes once over the small files: looks at each, or opens, reads and closes it. */
const WALKER = `
const fs = require("node:fs");
const [folder, what, count, from, step] = process.argv.slice(1);
const buffer = Buffer.alloc(${SMALL_BYTES * 2});
for (let i = Number(from); i < Number(count); i += Number(step)) {
  const path = folder + "/small/f" + i;
  if (what === "stat") { if (fs.statSync(path).size !== ${SMALL_BYTES}) throw new Error("size"); continue; }
  const fd = fs.openSync(path, "r");
  if (fs.readSync(fd, buffer, 0, buffer.length, null) !== ${SMALL_BYTES}) throw new Error("length");
  fs.closeSync(fd);
}
console.log("done");
`;

async function walk(folder: string, what: "stat" | "open", count: number, jobs: number): Promise<Side> {
  const walker = `const t = process.hrtime.bigint(); ${WALKER}; console.log(Number(process.hrtime.bigint() - t) / 1e9);`;
  const outs = await Promise.all(
    Array.from({ length: jobs }, (_, from) =>
      run(process.execPath, "-e", walker, folder, what, String(count), String(from), String(jobs)),
    ),
  );
  const seconds = outs.map(({ out, err, code }) => {
    if (code !== 0) throw new Error(`the walk failed: ${err}`);
    return Number(out.trim().split("\n").at(-1));
  });
  return sideOf(count / Math.max(...seconds));
}

function loadsOf(name: string, id: string, seconds: number, count: number, goals: boolean): Load[] {
  const large = (pattern: "read" | "randread", size: string, jobs: number, least: number): Load => {
    const how = pattern === "read" ? "in sequence, 1 MiB" : "at random, 4 KiB";
    const head: RowHead = {
      id: `mount-${id}-${pattern}-${jobs}`,
      name: `${name}: read ${how}, ${jobs} at once`,
      beside: BESIDE,
      measure: "GB/s",
      goal: goals ? { atLeast: least } : null,
    };
    return { head, measure: (folder) => fio(folder, pattern, size, jobs, seconds) };
  };
  const small = (what: "stat" | "open", jobs: number): Load => {
    const doing = what === "stat" ? "looked at" : "opened, read and closed";
    const head: RowHead = {
      id: `mount-${id}-${what}-${jobs}`,
      name: `${name}: small files ${doing}, ${jobs} at once`,
      beside: BESIDE,
      measure: "files/s",
      goal: null,
    };
    return { head, measure: (folder) => walk(folder, what, count, jobs) };
  };
  return [
    large("read", "1M", 1, 0.9),
    large("read", "1M", 4, 0.9),
    large("randread", "4k", 1, 0.8),
    large("randread", "4k", 4, 0.8),
    small("stat", 1),
    small("open", 1),
    small("open", 4),
  ];
}

/** The same files in the mount and beside it, read once. */
async function plant(world: World, count: number): Promise<void> {
  const { source, plain, folder } = world;
  source.freshMs = 3_600_000;
  const large = Buffer.alloc(LARGE_BYTES, "what is read in sequence or at random ");
  source.put("large", large, true);
  writeFileSync(join(plain, "large"), large);
  mkdirSync(join(plain, "small"));
  for (let i = 0; i < count; i++) {
    const bytes = Buffer.alloc(SMALL_BYTES, i & 255);
    source.put(`small/f${i}`, bytes, true);
    writeFileSync(join(plain, "small", `f${i}`), bytes);
  }
  for (const place of [folder, plain]) {
    await run("sh", "-c", 'cat "$1/large" > /dev/null; ls -l "$1/small" > /dev/null', "sh", place);
    await walk(place, "open", count, 1);
  }
}

async function main(): Promise<void> {
  const options = benchOptions();
  const [seconds, count, rounds] = options.quick ? [1, 3_000, 2] : [3, 10_000, 5];
  const whyNot = await whyNoMount();
  const hasFio = (await run("sh", "-c", "command -v fio")).code === 0;
  const rows: BenchRow[] = [];
  for (const passthrough of [true, false]) {
    const [name, id] = passthrough ? ["passthrough", "pass"] : ["copied once into the page cache", "copy"];
    const loads = loadsOf(name, id, seconds, count, passthrough);
    if (whyNot !== null || !hasFio) {
      rows.push(...loads.map(({ head }) => skippedRow(head, whyNot ?? "fio is not installed")));
      continue;
    }
    const world = await mountMemory({ passthrough });
    try {
      await plant(world, count);
      for (const { head, measure } of loads) {
        say(head.name);
        rows.push(rowOf(head, await interleave(rounds, world.folder, world.plain, measure)));
      }
    } finally {
      await world.end();
    }
  }
  publishRows(rows, options);
}

await main();
process.exit(0);
