/**
 * Makes a fresh clone ready with nothing but Node and npm: installs the locked dependencies once, and sees to it that
 * the `bun` program works even where npm runs no install scripts. Does nothing when all is in place. Speaks on
 * standard error only. Plain old JavaScript, so that an old Node reaches the line that says what is needed.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const NODE_MAJOR_MIN = 20;
const LOCK_WAIT_MS_MAX = 15 * 60 * 1000;
const LOCK_POLL_MS = 200;
const LOCK_NAMELESS_MS = 5000;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");
const stamp = join(modules, ".forebay-setup");
const bun = join(modules, "bun", "bin", "bun.exe");
const lock = join(root, ".forebay", "setup.lock");

function say(text) {
  process.stderr.write(`forebay: ${text}\n`);
}

class SetupError extends Error {}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** What the installed modules depend on: the locked versions and the kind of machine. */
function wanted() {
  const hash = createHash("sha256");
  hash.update(fs.readFileSync(join(root, "package-lock.json")));
  hash.update(`${process.platform} ${process.arch}`);
  return hash.digest("hex");
}

function isReady() {
  try {
    return fs.readFileSync(stamp, "utf8") === wanted() && fs.existsSync(bun);
  } catch {
    return false;
  }
}

/** Whether somebody has installed exactly the locked versions already, in another way. */
function isInstalled() {
  try {
    const locked = JSON.parse(fs.readFileSync(join(root, "package-lock.json"), "utf8")).packages;
    const here = JSON.parse(fs.readFileSync(join(modules, ".package-lock.json"), "utf8")).packages;
    return Object.entries(locked).every(([path, entry]) => {
      if (path === "") return true;
      const found = here[path];
      return found === undefined ? entry.optional === true : found.version === entry.version;
    });
  } catch {
    return false;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/**
 * Takes the lock: a folder with one file in it, named by the owner's process id. Of several that find a dead owner's
 * lock only one succeeds in removing that file, so that nobody removes the lock of the next owner.
 */
async function takeLock() {
  const begin = Date.now();
  let said = false;
  let namelessSince = 0;
  fs.mkdirSync(dirname(lock), { recursive: true });
  for (;;) {
    try {
      fs.mkdirSync(lock);
      fs.writeFileSync(join(lock, String(process.pid)), "", { flag: "wx" });
      return;
    } catch (error) {
      if (error.code !== "EEXIST" && error.code !== "ENOENT") throw error;
    }
    const owner = Number(list(lock)[0]);
    if (owner > 0) {
      namelessSince = 0;
      if (!isAlive(owner)) {
        remove(() => fs.unlinkSync(join(lock, String(owner))));
        remove(() => fs.rmdirSync(lock));
        continue;
      }
    } else if (namelessSince === 0) {
      namelessSince = Date.now();
    } else if (Date.now() - namelessSince > LOCK_NAMELESS_MS) {
      remove(() => fs.rmdirSync(lock));
      continue;
    }
    if (Date.now() - begin > LOCK_WAIT_MS_MAX) {
      throw new SetupError(`another set-up (process ${owner}) does not end; end it, or remove ${lock}`);
    }
    if (!said && owner > 0) say(`another set-up is under way (process ${owner}); waiting for it`);
    said = said || owner > 0;
    await sleep(LOCK_POLL_MS);
  }
}

function list(folder) {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

function remove(attempt) {
  try {
    attempt();
  } catch (error) {
    if (error.code !== "ENOENT" && error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
  }
}

function releaseLock() {
  remove(() => fs.unlinkSync(join(lock, String(process.pid))));
  remove(() => fs.rmdirSync(lock));
}

/** Runs a program with its output on standard error, with a sign of life where npm itself shows none. */
function runQuietly(program, args) {
  return new Promise((resolve, reject) => {
    const begin = Date.now();
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", 2, 2] });
    const pass = (signal) => child.kill(signal);
    process.on("SIGINT", pass).on("SIGTERM", pass);
    const life = setInterval(() => say(`… ${Math.round((Date.now() - begin) / 1000)} s`), 10_000);
    child.on("error", (error) => {
      clearInterval(life);
      reject(new SetupError(error.code === "ENOENT" ? `there is no "${program}" on the PATH` : error.message));
    });
    child.on("exit", (code, signal) => {
      clearInterval(life);
      process.off("SIGINT", pass).off("SIGTERM", pass);
      if (code === 0) resolve();
      else reject(new SetupError(`"${program} ${args[0]}" ended with ${signal === null ? `status ${code}` : signal}`));
    });
  });
}

function bunWorks(path) {
  return fs.existsSync(path) && spawnSync(path, ["--version"], { stdio: "ignore" }).status === 0;
}

/** The program of a platform package that npm has put beside `bun`, if one of them works here. */
function platformBun() {
  const folder = join(modules, "@oven");
  for (const name of list(folder)) {
    const path = join(folder, name, "bin", "bun");
    if (bunWorks(path)) return path;
  }
  return null;
}

/** npm may have been told to run no install scripts: then the program is only a placeholder. */
function completeBun() {
  if (bunWorks(bun)) return;
  const installer = join(modules, "bun", "install.js");
  if (fs.existsSync(installer))
    spawnSync(process.execPath, [installer], { cwd: dirname(installer), stdio: ["ignore", 2, 2] });
  if (bunWorks(bun)) return;
  const path = platformBun();
  if (path !== null) {
    fs.rmSync(bun, { force: true });
    fs.copyFileSync(path, bun);
    fs.chmodSync(bun, 0o755);
  }
  if (!bunWorks(bun)) {
    throw new SetupError(
      `the bun program does not run on this machine (${process.platform} ${process.arch}): Linux with glibc or musl is needed, on x64 or arm64`,
    );
  }
}

async function setUp() {
  const begin = Date.now();
  if (isInstalled()) {
    completeBun();
    fs.writeFileSync(stamp, wanted());
    return;
  }
  say("setting up: installing dependencies (once, up to a minute)");
  await runQuietly("npm", ["ci", "--no-audit", "--no-fund", "--include=dev", "--loglevel=error"]);
  completeBun();
  fs.writeFileSync(stamp, wanted());
  say(`set up in ${Math.round((Date.now() - begin) / 1000)} s`);
}

async function main() {
  const major = Number(process.versions.node.split(".")[0]);
  if (major < NODE_MAJOR_MIN) {
    throw new SetupError(
      `Node.js ${NODE_MAJOR_MIN} or newer is needed, this is ${process.version}; install it from https://nodejs.org`,
    );
  }
  if (process.platform === "win32") throw new SetupError("Linux is needed; on Windows use WSL 2");
  await takeLock();
  try {
    if (isReady()) fs.utimesSync(stamp, new Date(), new Date());
    else await setUp();
  } finally {
    releaseLock();
  }
}

main().catch((error) => {
  say(error instanceof SetupError ? error.message : error.stack);
  process.exitCode = 1;
});
