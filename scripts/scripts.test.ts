import { describe, expect, test } from "bun:test";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { entryOf, missingFrom } from "./complete-lock.ts";
import { cliDocument } from "./gen-docs.ts";
import { countsIn, countsLine, countsOfJunit, ROOT } from "./run.ts";
import { programsOf, wishOf } from "./suite.ts";
import { quickTests } from "./test.ts";

test("docs/cli.md is what the commands say of themselves (else: npm run docs)", () => {
  expect(readFileSync(join(ROOT, "docs/cli.md"), "utf8")).toBe(cliDocument());
});

test("counts are read from last lines and from JUnit reports", () => {
  const counts = { passed: 3, failed: 1, skipped: 2 };
  expect(countsIn(`1 passed, 0 failed, 0 skipped\nx\n${countsLine(counts)}\n`)).toEqual(counts);
  expect(countsIn("all is well")).toBeNull();
  const xml =
    '<?xml version="1.0"?>\n<testsuites name="bun test" tests="6" assertions="9" failures="1" skipped="2" time="1">\n<testsuite tests="1"/>';
  expect(countsOfJunit(xml)).toEqual(counts);
  expect(countsOfJunit("")).toBeNull();
});

test("the quick tests leave the long suites out", () => {
  const files = quickTests();
  expect(files).toContain("scripts/scripts.test.ts");
  expect(files.filter((file) => /^tests\/(conformance|crash|soak)\//.test(file))).toEqual([]);
});

test("a soak is told its minutes; other suites run again and again until theirs are over", () => {
  const given = ["--minutes", "10", "--seed", "7", "--only", "mixed", "--servers", "2"];
  const rest = ["--servers", "2"];
  expect(wishOf("fuzz", given)).toEqual({ only: "mixed", minutes: 10, seed: 7, rest });
  expect(wishOf("soak", given)).toEqual({ only: "mixed", minutes: null, seed: 7, rest: ["--minutes", "10", ...rest] });
  expect(programsOf("soak")).toContain("tests/soak/mixed.soak.ts");
});

test("the lock has every platform's optional packages (else: bun scripts/complete-lock.ts)", () => {
  expect(missingFrom(JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")))).toEqual([]);
  const lock = {
    packages: { "": {}, "node_modules/a": { dev: true, optionalDependencies: { "@a/linux-x64-musl": "1.0.0" } } },
  };
  const wanted = { name: "@a/linux-x64-musl", version: "1.0.0", dev: true };
  expect(missingFrom(lock)).toEqual([wanted]);
  const entry = { version: "1.0.0", cpu: ["x64"], dev: true, libc: ["musl"], optional: true, os: ["linux"] };
  expect(entryOf(wanted)).toEqual(entry);
});

describe("set-up", () => {
  /** A clone with two locked packages, and an npm that installs stand-ins for them. */
  function clone(): {
    root: string;
    run: () => Promise<{ status: number; err: string }>;
    installs: () => number;
    remove: () => void;
  } {
    const root = mkdtempSync(join(tmpdir(), "forebay-setup-"));
    mkdirSync(join(root, "scripts"));
    mkdirSync(join(root, "bin"));
    cpSync(join(ROOT, "scripts/setup.mjs"), join(root, "scripts/setup.mjs"));
    writeFileSync(
      join(root, "package-lock.json"),
      JSON.stringify({ packages: { "": {}, "node_modules/bun": { version: "1.0.0" } } }),
    );
    const npm = `#!/bin/sh
echo x >> "${root}/installs"
sleep 0.3
rm -rf node_modules && mkdir -p node_modules/bun/bin
printf '#!/bin/sh\\nexit 1\\n' > node_modules/bun/bin/bun.exe
printf 'require("fs").writeFileSync("bin/bun.exe", "#!/bin/sh\\\\nexit 0\\\\n")' > node_modules/bun/install.js
cp package-lock.json node_modules/.package-lock.json
chmod +x node_modules/bun/bin/bun.exe
`;
    writeFileSync(join(root, "bin/npm"), npm);
    chmodSync(join(root, "bin/npm"), 0o755);
    const run = async () => {
      const child = Bun.spawn(["node", join(root, "scripts/setup.mjs")], {
        env: { ...process.env, PATH: `${join(root, "bin")}${delimiter}${process.env["PATH"]}` },
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
      });
      const err = await new Response(child.stderr).text();
      return { status: await child.exited, err };
    };
    const installs = () =>
      existsSync(join(root, "installs")) ? readFileSync(join(root, "installs"), "utf8").trim().split("\n").length : 0;
    return { root, run, installs, remove: () => rmSync(root, { recursive: true, force: true }) };
  }

  test("installs once however many start together, completes bun, and is quiet afterwards", async () => {
    const { root, run, installs, remove } = clone();
    try {
      const together = await Promise.all([run(), run(), run()]);
      expect(together.map(({ status }) => status)).toEqual([0, 0, 0]);
      expect(installs()).toBe(1);
      expect(readFileSync(join(root, "node_modules/bun/bin/bun.exe"), "utf8")).toContain("exit 0");
      expect(await run()).toEqual({ status: 0, err: "" });
      expect(existsSync(join(root, ".forebay/setup.lock"))).toBe(false);
      writeFileSync(
        join(root, "package-lock.json"),
        JSON.stringify({ packages: { "": {}, "node_modules/bun": { version: "1.0.1" } } }),
      );
      expect((await run()).status).toBe(0);
      expect(installs()).toBe(2);
    } finally {
      remove();
    }
  }, 30_000);

  test("takes over the lock of one that died, and an installation made in another way", async () => {
    const { root, run, installs, remove } = clone();
    try {
      mkdirSync(join(root, ".forebay/setup.lock"), { recursive: true });
      writeFileSync(join(root, ".forebay/setup.lock/999999999"), "");
      expect((await run()).status).toBe(0);
      rmSync(join(root, "node_modules/.forebay-setup"));
      expect(await run()).toEqual({ status: 0, err: "" });
      expect(installs()).toBe(1);
    } finally {
      remove();
    }
  }, 30_000);

  test("a failed installation is one clear line, and leaves no lock behind", async () => {
    const { root, run, remove } = clone();
    try {
      writeFileSync(join(root, "bin/npm"), "#!/bin/sh\nexit 7\n");
      const { status, err } = await run();
      expect(status).toBe(1);
      expect(err.trim().split("\n").at(-1)).toBe('forebay: "npm ci" ended with status 7');
      expect(existsSync(join(root, ".forebay/setup.lock"))).toBe(false);
    } finally {
      remove();
    }
  }, 30_000);
});
