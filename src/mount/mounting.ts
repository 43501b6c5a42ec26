/**
 * Making and ending a mount. Whoever may calls mount(2) itself; anybody else goes through fusermount3, which hands the
 * opened device back through a socket.
 */
import * as fs from "node:fs";
import { ForebayError } from "../base/errors.ts";
import { mountBounds } from "./bounds.ts";
import { errnos } from "./protocol.ts";
import {
  MNT_DETACH,
  MNT_FORCE,
  MS_NOATIME,
  MS_NODEV,
  MS_NOSUID,
  MS_RDONLY,
  mount,
  receiveDescriptor,
  setNonblocking,
  socketPair,
  unmount,
} from "./syscalls.ts";
import type { MountOptions } from "./types.ts";

const TYPE = "fuse.forebay";
const DEVICE = "/dev/fuse";
const HELPER = "fusermount3";
const HELPER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Octal, as the kernel reads it. */
const FOLDER_MODE = "40000";

/** How a mount came about: it ends the same way. */
export interface Mounting {
  /** The opened device, which does not block. */
  readonly device: number;
  readonly by: "itself" | "fusermount3";
}

/** Mounts on `options.folder`. Throws `config` with the remedy in its message. */
export async function makeMount(options: MountOptions): Promise<Mounting> {
  checkFolder(options.folder);
  const device = openDevice();
  if (device === null) return { device: await mountByHelper(options), by: HELPER };
  const data = [
    `fd=${device}`,
    `rootmode=${FOLDER_MODE}`,
    `user_id=${options.uid}`,
    `group_id=${options.gid}`,
    "default_permissions",
    ...(options.allowOther ? ["allow_other"] : []),
    `max_read=${mountBounds.readBytesMax}`,
  ].join(",");
  const flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOATIME;
  const done = mount(options.label, options.folder, TYPE, flags, data);
  if (done >= 0) return { device, by: "itself" };
  fs.closeSync(device);
  if (done !== -errnos.EPERM) {
    throw new ForebayError("config", `cannot mount on ${options.folder}: mount(2) failed with errno ${-done}`);
  }
  return { device: await mountByHelper(options), by: HELPER };
}

/** A folder whose mount has lost its process is none that can be looked at: it says so here, with the remedy. */
function checkFolder(folder: string): void {
  let isFolder: boolean;
  try {
    isFolder = fs.statSync(folder).isDirectory();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const remedy =
      code === "ENOTCONN"
        ? `an earlier mount there has lost its process: end it with "fusermount3 -uz ${folder}" first`
        : code === "ENOENT"
          ? "it does not exist"
          : `${code ?? "it"} cannot be looked at`;
    throw new ForebayError("config", `cannot mount on ${folder}: ${remedy}`, { cause: error });
  }
  if (!isFolder) throw new ForebayError("config", `cannot mount on ${folder}: it is no folder`);
}

/** Null: this user may not, but the helper may. */
function openDevice(): number | null {
  try {
    return fs.openSync(DEVICE, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") return null;
    const remedy = "load the kernel's fuse module, or give the container the device";
    throw new ForebayError("config", `cannot open ${DEVICE} (${code}): ${remedy}`, { cause });
  }
}

async function mountByHelper(options: MountOptions): Promise<number> {
  const [ours, theirs] = socketPair();
  const list = ["ro", "nosuid", "nodev", "noatime", "default_permissions", `max_read=${mountBounds.readBytesMax}`];
  if (options.allowOther) list.push("allow_other");
  list.push(`fsname=${options.label.replace(/([\\,])/g, "\\$1")}`, "subtype=forebay");
  try {
    const helper = Bun.spawn([HELPER, "-o", list.join(","), "--", options.folder], {
      stdio: ["ignore", "ignore", "pipe", theirs],
      env: { PATH: HELPER_PATH, _FUSE_COMMFD: "3" },
      timeout: mountBounds.mountMs,
    });
    const complaint = await new Response(helper.stderr).text();
    if ((await helper.exited) !== 0) {
      throw new ForebayError("config", `cannot mount on ${options.folder}: ${complaint.trim() || `${HELPER} failed`}`);
    }
    const device = receiveDescriptor(ours);
    if (device < 0) throw new ForebayError("config", `${HELPER} gave no device back (errno ${-device})`);
    setNonblocking(device);
    return device;
  } catch (cause) {
    if (cause instanceof ForebayError) throw cause;
    throw new ForebayError("config", `cannot run ${HELPER}: install fuse3, or mount as root`, { cause });
  } finally {
    fs.closeSync(ours);
    fs.closeSync(theirs);
  }
}

/**
 * Ends the mount on `folder`: at once where nobody uses it, else as soon as nobody does; no new name is found below it
 * either way. True: it is gone already.
 */
export async function endMount(folder: string, by: Mounting["by"]): Promise<boolean> {
  if (by === "fusermount3") {
    if (await helperEnds(folder, "-u")) return true;
    return !(await helperEnds(folder, "-uz"));
  }
  const done = unmount(folder, 0);
  // EINVAL: no mount point (any more).
  if (done >= 0 || done === -errnos.EINVAL) return true;
  // Whoever waits for an answer is answered by the kernel; files that it reads by itself stay open.
  unmount(folder, MNT_FORCE);
  unmount(folder, MNT_DETACH);
  return false;
}

async function helperEnds(folder: string, how: "-u" | "-uz"): Promise<boolean> {
  const helper = Bun.spawn([HELPER, how, "--", folder], {
    stdio: ["ignore", "ignore", "ignore"],
    env: { PATH: HELPER_PATH },
    timeout: mountBounds.mountMs,
  });
  return (await helper.exited) === 0;
}
