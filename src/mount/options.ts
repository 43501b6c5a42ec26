/** What a mount is told on its command line: what to show, and the options that other FUSE mounts take. */
import { ForebayError } from "../base/errors.ts";

/** What to mount. */
export interface MountTarget {
  readonly account: string;
  readonly container: string;
  /** What names begin with: `""`, or text that ends with `/`. */
  readonly prefix: string;
}

const CONTAINER = /^(?:\$root|\$web|\$logs|[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9])$/;

/**
 * Reads `[ACCOUNT/]CONTAINER[/PREFIX]`. The first part is an account where one of that name is configured and another
 * part follows; without one, there has to be just one account. Throws `usage`.
 */
export function parseMountTarget(text: string, accounts: readonly string[]): MountTarget {
  const parts = text.replace(/\/+$/, "").split("/");
  const named = parts.length > 1 && accounts.includes(parts[0] ?? "") ? parts.shift() : undefined;
  const account = named ?? (accounts.length === 1 ? accounts[0] : undefined);
  if (account === undefined) {
    const known = accounts.length === 0 ? "no account is configured" : `say which account: ${accounts.join(", ")}`;
    throw new ForebayError("usage", `cannot mount "${text}": ${known}`);
  }
  const [container = "", ...rest] = parts;
  if (!CONTAINER.test(container)) throw new ForebayError("usage", `"${container}" is not the name of a container`);
  return { account, container, prefix: rest.length === 0 ? "" : `${rest.join("/")}/` };
}

/** How a mount is shown, as `-o` says it. */
export interface MountFlags {
  readonly allowOther: boolean;
  readonly uid: number | null;
  readonly gid: number | null;
  readonly umask: number;
}

const DEFAULT_UMASK = 0o022;
const ID_MAX = 0xffff_fffe;

/** Said of every mount here, or nothing to do with it: `mount` and `/etc/fstab` pass them on. */
const PASSED_OVER: ReadonlySet<string> = new Set([
  ...["ro", "nosuid", "nodev", "noatime", "nodiratime", "default_permissions"],
  ...["auto", "noauto", "user", "nouser", "nofail", "_netdev", "defaults", "async"],
]);

/** Reads `allow_other,uid=1000,…` as fusermount3 and mount(8) do. Throws `usage` for what it does not know. */
export function parseMountFlags(text: string): MountFlags {
  let flags: MountFlags = { allowOther: false, uid: null, gid: null, umask: DEFAULT_UMASK };
  for (const option of text.split(",").filter((one) => one !== "")) {
    const at = option.indexOf("=");
    const [name, value] = at < 0 ? [option, null] : [option.slice(0, at), option.slice(at + 1)];
    if (PASSED_OVER.has(name) || name.startsWith("x-")) continue;
    if (name === "allow_other") flags = { ...flags, allowOther: true };
    else if (name === "uid" || name === "gid") flags = { ...flags, [name]: numberOf(option, value, 10, ID_MAX) };
    else if (name === "umask") flags = { ...flags, umask: numberOf(option, value, 8, 0o777) };
    else if (name === "rw") throw new ForebayError("usage", "a mount only reads: leave out the option rw");
    else throw new ForebayError("usage", `the mount option ${name} is not known`);
  }
  return flags;
}

function numberOf(option: string, value: string | null, base: 8 | 10, max: number): number {
  const digits = base === 8 ? /^[0-7]{1,4}$/ : /^[0-9]{1,10}$/;
  const number = value !== null && digits.test(value) ? Number.parseInt(value, base) : Number.NaN;
  if (number >= 0 && number <= max) return number;
  throw new ForebayError("usage", `the mount option ${option} wants ${base === 8 ? "an octal number" : "a number"}`);
}
