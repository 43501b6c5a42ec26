/**
 * Completes `package-lock.json` after `npm install`: a registry that does not offer every platform's optional packages
 * makes npm leave those out of the lock, and `npm ci` then refuses the lock on every machine. What is missing is added
 * by name and version, for its platform only.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./run.ts";

const SYSTEMS = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const PROCESSORS = ["arm", "arm64", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "wasm32", "x64"];

interface LockEntry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** What is read and written of a lock. */
export interface Lock {
  packages: Record<string, LockEntry>;
}

/** An optional package that no entry of the lock stands for. */
export interface MissingPackage {
  readonly name: string;
  readonly version: string;
  readonly dev: boolean;
}

/** The optional packages that the lock leaves out. */
export function missingFrom(lock: Lock): MissingPackage[] {
  return Object.entries(lock.packages).flatMap(([path, entry]) =>
    Object.entries(entry.optionalDependencies ?? {}).flatMap(([name, version]) => {
      const places = [`node_modules/${name}`, `${path}/node_modules/${name}`];
      return places.some((place) => place in lock.packages) ? [] : [{ name, version, dev: entry.dev === true }];
    }),
  );
}

/** The lock's entry of a platform package, whose name says what it runs on. */
export function entryOf({ name, version, dev }: MissingPackage): LockEntry {
  const words = name.split(/[/-]/);
  const os = words.filter((word) => SYSTEMS.includes(word));
  const cpu = words.filter((word) => PROCESSORS.includes(word));
  if (os.length !== 1 || cpu.length !== 1) throw new Error(`${name} does not say what it runs on: add it by hand`);
  const musl = words.some((word) => word.startsWith("musl"));
  const libc = os[0] === "linux" ? { libc: [musl ? "musl" : "glibc"] } : {};
  return { version, cpu, ...(dev ? { dev } : {}), ...libc, optional: true, os };
}

if (import.meta.main) {
  const path = join(ROOT, "package-lock.json");
  const lock = JSON.parse(readFileSync(path, "utf8")) as Lock;
  const missing = missingFrom(lock);
  for (const found of missing) lock.packages[`node_modules/${found.name}`] = entryOf(found);
  lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
  process.stdout.write(`${missing.length} added\n`);
}
