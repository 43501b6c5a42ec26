/** Doctor's look at the flash folder: can it hold the cache, for how long, and how much. */
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { limits, MIB } from "../src/base/limits.ts";
import { formatBytes } from "../src/base/units.ts";
import { type Config, flashBoundBytes } from "../src/node/config.ts";

/** One finding. */
export interface Check {
  readonly name: string;
  readonly status: "ok" | "warn" | "fail" | "skip";
  readonly detail: string;
  /** What to do about it. */
  readonly remedy?: string;
}

/** A mounted file system, from `/proc/self/mountinfo`. */
export interface Mount {
  readonly point: string;
  readonly type: string;
  readonly source: string;
}

/** The mount that `path` (absolute, existing) lies on: of the longest mount points that hold it the last mounted. */
export function mountOf(path: string, mountinfo: string): Mount | null {
  let best: Mount | null = null;
  for (const line of mountinfo.split("\n")) {
    const [before, after] = line.split(" - ");
    const point = before
      ?.split(" ")[4]
      ?.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
    const [type, source] = after?.split(" ") ?? [];
    if (point === undefined || type === undefined || source === undefined) continue;
    const holds = point === "/" || path === point || path.startsWith(`${point}/`);
    if (holds && point.length >= (best?.point.length ?? 0)) best = { point, type, source };
  }
  return best;
}

const NETWORK_TYPES = /^(nfs|cifs|smb|ceph|lustre|gluster|9p|fuse\.)/;
export const MEMORY_TYPES: ReadonlySet<string> = new Set(["tmpfs", "ramfs"]);

/** What kind of file system the cache would lie on. */
export function judgeMount(mount: Mount): Check {
  const name = "flash file system";
  const detail = `${mount.type} at ${mount.point}`;
  if (NETWORK_TYPES.test(mount.type)) {
    const remedy = "name a folder on a local NVMe or SSD with --flash: a network file system defeats the purpose";
    return { name, status: "fail", detail: `${detail} is not local`, remedy };
  }
  if (MEMORY_TYPES.has(mount.type)) {
    const remedy = "fine for a cache, which is cold after a restart; it takes memory from your programs";
    return { name, status: "warn", detail: `${detail} is memory`, remedy };
  }
  if (mount.type === "overlay") {
    const remedy = "fine for a cache; mount a volume of the host there to keep it, and for full speed";
    return { name, status: "warn", detail: `${detail} is a container's own layer and goes with it`, remedy };
  }
  if (/^\/mnt(\/resource)?$/.test(mount.point)) {
    const remedy = "fine for a cache; know that cloud machines lose this disk when they are stopped or moved";
    return { name, status: "warn", detail: `${detail} may be a temporary disk`, remedy };
  }
  return { name, status: "ok", detail };
}

/** All findings about the flash folder. Creates nothing but a file that it removes. */
export function checkFlash(config: Config): Check[] {
  const existing = nearestFolder(config.flashFolder);
  const checks: Check[] = [checkWritable(config.flashFolder, existing)];
  const mount = mountBelow(config);
  checks.push(mount === null ? { name: "flash file system", status: "warn", detail: "unknown" } : judgeMount(mount));
  return [...checks, ...checkSpace(config, existing)];
}

/** The mount that the flash folder lies on, or will lie on. */
export function mountBelow(config: Config): Mount | null {
  return mountOf(fs.realpathSync(nearestFolder(config.flashFolder)), readOr("/proc/self/mountinfo"));
}

function nearestFolder(path: string): string {
  let folder = path;
  while (!fs.existsSync(folder)) folder = dirname(folder);
  return folder;
}

function readOr(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function checkWritable(folder: string, existing: string): Check {
  const name = "flash folder";
  const probe = join(existing, `.forebay-doctor-${process.pid}`);
  try {
    fs.writeFileSync(probe, "", { flag: "wx", mode: 0o600 });
    fs.unlinkSync(probe);
    return { name, status: "ok", detail: existing === folder ? folder : `${folder} (will be made)` };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    const remedy = "give this user the right to write there, or name another folder with --flash";
    return { name, status: "fail", detail: `${existing} cannot be written (${code})`, remedy };
  }
}

function checkSpace(config: Config, folder: string): Check[] {
  const space = fs.statfsSync(folder);
  const freeBytes = space.bavail * space.bsize;
  const usedBytes = sizeOf(config.flashFolder);
  const bound = flashBoundBytes(config.flashSize, freeBytes, usedBytes);
  const detail = `${formatBytes(freeBytes)} free, ${formatBytes(usedBytes)} in use here, may grow to ${formatBytes(bound)}`;
  const checks: Check[] = [];
  const name = "flash space";
  if (bound > freeBytes + usedBytes) {
    const remedy = `lower --flash-size to ${Math.floor(((freeBytes + usedBytes) * 0.9) / MIB)}MiB or make room`;
    checks.push({ name, status: "fail", detail, remedy });
  } else if (bound < limits.flashBytesMin) {
    checks.push({ name, status: "fail", detail, remedy: "make room, or name another folder with --flash" });
  } else checks.push({ name, status: "ok", detail });
  // One file for each blob: a file system without a fixed number of inodes says 0.
  if (space.files > 0) {
    const few = space.ffree < 100_000;
    const inodes = { name: "flash inodes", status: few ? "warn" : "ok", detail: `${space.ffree} free` } as const;
    checks.push(
      few ? { ...inodes, remedy: "each cached blob takes one; make the file system with more of them" } : inodes,
    );
  }
  return checks;
}

/** Bytes that a folder's files take on the disk; 0 when there is none. */
function sizeOf(folder: string): number {
  let bytes = 0;
  try {
    for (const entry of fs.readdirSync(folder, { recursive: true })) {
      bytes += fs.statSync(join(folder, String(entry)), { throwIfNoEntry: false })?.blocks ?? 0;
    }
  } catch {
    return 0;
  }
  return bytes * 512;
}
