/** A virtual environment with the Python clients, made once and kept in a cache folder. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runChild } from "../../support/process.ts";
import { lastLines } from "../../support/temp.ts";

const FOLDER = join(import.meta.dir, "../python");
const ROOT = join(import.meta.dir, "../../..");
const INSTALL_TIMEOUT_MS = 300_000;
const RUN_TIMEOUT_MS = 120_000;

/** A Python that has the clients, or why there is none. */
export type PythonClients = { readonly program: string } | { readonly missing: string };

/** Makes the environment unless it is there already, from the pinned `requirements.txt`. */
export async function pythonClients(): Promise<PythonClients> {
  const cache = process.env["FOREBAY_TEST_CACHE"] ?? join(ROOT, ".forebay/test-cache");
  const requirements = readFileSync(join(FOLDER, "requirements.txt"), "utf8");
  const folder = join(cache, "python-clients");
  const program = join(folder, "bin/python");
  const mark = join(folder, "complete");
  if (existsSync(mark) && readFileSync(mark, "utf8") === requirements) return { program };
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  const steps = [
    ["python3", "-m", "venv", folder],
    [program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", join(FOLDER, "requirements.txt")],
  ];
  for (const command of steps) {
    try {
      const { status, stderr } = await runChild({ name: command.join(" "), command }, INSTALL_TIMEOUT_MS);
      if (status !== 0) return { missing: `${command[0]} ended with status ${status}: ${lastLines(stderr, 3)}` };
    } catch (error) {
      return { missing: error instanceof Error ? error.message : String(error) };
    }
  }
  writeFileSync(mark, requirements);
  return { program };
}

/** What `clients.py` saw. */
export interface PythonOutcome {
  readonly seen: Readonly<Record<string, unknown>>;
  readonly verdicts: readonly string[];
}

/** Runs `clients.py write` or `read` against a container. */
export async function runClients(
  program: string,
  step: "write" | "read",
  connection: string,
  container: string,
): Promise<PythonOutcome> {
  const { status, stdout, stderr } = await runChild(
    {
      name: `clients.py ${step}`,
      command: [program, join(FOLDER, "clients.py"), step],
      env: { FOREBAY_TEST_CONNECTION: connection, FOREBAY_TEST_CONTAINER: container, PYTHONDONTWRITEBYTECODE: "1" },
    },
    RUN_TIMEOUT_MS,
  );
  if (status !== 0) throw new Error(`clients.py ${step} ended with status ${status}:\n${lastLines(stderr, 20)}`);
  return JSON.parse(lastLines(stdout, 1)) as PythonOutcome;
}
