/** Doctor's look at what `write: back` promises on this flash: what is acknowledged must outlive more than a process. */
import * as fs from "node:fs";
import { basename, join } from "node:path";
import type { Config } from "../src/node/config.ts";
import { type Check, MEMORY_TYPES, type Mount, mountBelow } from "./doctor-flash.ts";

const NAME = "write: back";

/** Findings about the flash as the only home of acknowledged writes; none where no policy writes back. */
export function checkWriteBack(config: Config): Check[] {
  const paths = config.policies.filter((rule) => rule.write === "back").map((rule) => rule.path);
  if (paths.length === 0) return [];
  const mount = mountBelow(config);
  const disk = mount === null ? null : temporaryDisk(mount.source, { links, realPath, read });
  return [judgeWriteBack(paths, mount, disk)];
}

/** What a flash is worth to acknowledged writes. `temporary` says what kind of passing disk it is, if that is known. */
export function judgeWriteBack(paths: readonly string[], mount: Mount | null, temporary: string | null): Check {
  const where = paths.map((path) => (path === "" ? '""' : path)).join(", ");
  if (mount === null) {
    return { name: NAME, status: "warn", detail: `${where}: the disk below is unknown`, remedy: REMEDY_DISK };
  }
  if (MEMORY_TYPES.has(mount.type)) {
    const detail = `${where}: ${mount.type} at ${mount.point} is memory, so acknowledged writes die with a reboot`;
    return { name: NAME, status: "fail", detail, remedy: "name a folder on a disk with --flash, or write through" };
  }
  if (mount.type === "overlay") {
    const detail = `${where}: acknowledged writes lie in a container's own layer, and go with the container`;
    const remedy = "mount a volume of the host there, or run `forebay flush` before the container is removed";
    return { name: NAME, status: "warn", detail, remedy };
  }
  const kind = temporary ?? (/^\/mnt(\/resource)?$/.test(mount.point) ? "may be a temporary disk" : null);
  if (kind === null) {
    const detail = `${where}: survives process, system and power failure, not the loss of this machine`;
    return { name: NAME, status: "ok", detail };
  }
  const detail = `${where}: ${mount.source} at ${mount.point} ${kind}: a stop or move of the machine empties it`;
  return { name: NAME, status: "warn", detail, remedy: REMEDY_DISK };
}

const REMEDY_DISK =
  "run `forebay flush` before the machine is stopped; where a loss of machine must lose nothing, write through";

/** What is asked of the machine. */
export interface DiskProbe {
  /** Full paths in a folder; empty when it is not there. */
  links(folder: string): readonly string[];
  /** Where a path leads; null when it leads nowhere. */
  realPath(path: string): string | null;
  /** The trimmed text of a file; null when it cannot be read. */
  read(path: string): string | null;
}

/** Where Azure's agent and udev rules name the temporary disk, its partitions, and local NVMe disks. */
const AZURE_LINKS: readonly [folder: string, names: RegExp][] = [
  ["/dev/disk/cloud", /^azure_resource/],
  ["/dev/disk/azure", /^resource/],
  ["/dev/disk/azure/local/by-serial", /./],
];

/** Models of disks that live and die with a machine's place in the data centre. */
const LOCAL_MODELS = /Microsoft NVMe Direct Disk|Amazon EC2 NVMe Instance Storage|^nvme_card\d*$/;

/** What kind of passing disk a device is; null: none that is known. */
export function temporaryDisk(source: string, probe: DiskProbe): string | null {
  const device = probe.realPath(source);
  if (device === null || !device.startsWith("/dev/")) return null;
  for (const [folder, names] of AZURE_LINKS) {
    const found = probe.links(folder).some((link) => names.test(basename(link)) && probe.realPath(link) === device);
    if (found) return "is this machine's temporary disk";
  }
  return partsOf(basename(device), probe).some((part) => LOCAL_MODELS.test(modelOf(part, probe)))
    ? "is a disk local to this machine's host"
    : null;
}

/** A device, or the disks that a RAID or volume is made of. */
function partsOf(device: string, probe: DiskProbe): string[] {
  const below = probe.links(`/sys/class/block/${device}/slaves`).map((path) => basename(path));
  return below.length === 0 ? [device] : below.flatMap((part) => partsOf(part, probe));
}

/** The model of a disk; of a partition that of the disk it is on. */
function modelOf(device: string, probe: DiskProbe): string {
  const at = probe.realPath(`/sys/class/block/${device}`) ?? `/sys/class/block/${device}`;
  return probe.read(join(at, "device/model")) ?? probe.read(join(at, "../device/model")) ?? "";
}

function links(folder: string): string[] {
  try {
    return fs.readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

function realPath(path: string): string | null {
  try {
    return fs.realpathSync(path);
  } catch {
    return null;
  }
}

function read(path: string): string | null {
  try {
    return fs.readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}
