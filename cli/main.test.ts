import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const MAIN = join(ROOT, "cli/main.ts");
const LAKE = "UseDevelopmentStorage=true";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "forebay-cli-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Without blocking: some of what it talks to runs in this process. */
async function forebay(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FOREBAY_")));
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    cwd: folder,
    env: { ...inherited, NO_COLOR: "1", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, out, err };
}

describe("help and usage", () => {
  for (const command of ["up", "demo", "status", "flush", "journal", "doctor"]) {
    test(`${command} --help has examples`, async () => {
      const { status, out } = await forebay([command, "--help"]);
      expect(status).toBe(0);
      expect(out).toStartWith(`Usage: forebay ${command}`);
      expect(out).toContain(`\nExamples:\n  forebay ${command}`);
    });
  }

  test("--help lists the commands that work, --version prints the version", async () => {
    const { status, out } = await forebay(["--help"]);
    expect(status).toBe(0);
    for (const command of ["up", "demo", "status", "flush", "journal", "doctor"])
      expect(out).toContain(`\n  ${command} `);
    expect((await forebay(["--version"])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  const wrong: [string[], Record<string, string>, string][] = [
    [["nope"], {}, "forebay: unknown command 'nope'"],
    [["stauts"], {}, "forebay: unknown command 'stauts'\n(Did you mean status?)"],
    [["up", "--nope"], {}, "forebay: unknown option '--nope'"],
    [["up", "--lisen", "a:1"], {}, "forebay: unknown option '--lisen'\n(Did you mean --listen?)"],
    [["up", "--listen"], {}, "forebay: option '--listen <HOST:PORT>' argument missing"],
    [["up", "extra"], {}, "forebay: too many arguments for 'up'. Expected 0 arguments but got 1."],
    [
      ["up"],
      {},
      "forebay: lake: is not set; write --lake with a connection string or https://ACCOUNT.blob.core.windows.net, or set FOREBAY_LAKE",
    ],
    [["up", "--lake", LAKE, "--servers", "many"], {}, 'forebay: --servers: "many" is not a whole number from 1 to 256'],
    [
      ["up", "--lake", LAKE],
      { FOREBAY_FLASHSIZE: "1GiB" },
      "forebay: FOREBAY_FLASHSIZE: is no setting; did you mean FOREBAY_FLASH_SIZE?",
    ],
    [
      ["up", "--config", "none.yaml"],
      {},
      "forebay: config: cannot read none.yaml (no such file); write the path of a YAML file",
    ],
    [
      ["demo", "--lake-latency", "slow"],
      {},
      'forebay: --lake-latency: "slow" is not a duration; write for example 5s, 250ms, 10m or 14d',
    ],
    [
      ["status", "--admin", "10190"],
      {},
      'forebay: --admin: "10190" is not an address; write HOST:PORT, for example 127.0.0.1:10190',
    ],
  ];
  for (const [args, env, line] of wrong) {
    test(`wrong usage ends with 2 and says why: ${[...Object.keys(env), ...args].join(" ")}`, async () => {
      const { status, out, err } = await forebay(args, env);
      expect(err).toBe(`${line}\n`);
      expect(out).toBe("");
      expect(status).toBe(2);
    });
  }

  test("without a command it shows help, as wrong usage", async () => {
    const { status, err } = await forebay([]);
    expect(status).toBe(2);
    expect(err).toContain("Usage: forebay");
  });
});

describe("status", () => {
  const answer = {
    version: "9.9.9",
    uptimeMs: 3_723_000,
    ready: false,
    problems: ["lake acme: the lake cannot be reached"],
    lakes: [
      {
        account: "acme",
        url: "https://acme.blob.core.windows.net",
        reachable: false,
        credential: "key",
        latencyMs: 8.42,
      },
    ],
    policies: [
      { path: "", maxStaleMs: 5000, onLakeOutage: "fail", verdict: "blob" },
      { path: "datasets/", maxStaleMs: "immutable", onLakeOutage: "serve", verdict: "container" },
    ],
    flash: { path: "/mnt/flash", usedBytes: 512, boundBytes: 1024, blobs: 1, state: "ok", evictions: 0 },
    servers: 2,
    totals: {
      hits: 3000,
      misses: 1000,
      partial: 1,
      forwards: 7,
      bytesFromFlash: 2048,
      bytesFromLake: 1024,
      lakeReads: 1,
      lakeReadsSaved: 3000,
      bytesSaved: 2048,
      fills: 1,
      fillErrors: 0,
      errors: { timeout: 2, closed: 0 },
    },
    hitRatio: 0.75,
  };

  function serve(body: string, status = 200): { admin: string; stop: () => void } {
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) =>
        new URL(request.url).pathname === "/api/v1/status"
          ? new Response(body, { status })
          : new Response("", { status: 404 }),
    });
    return { admin: `127.0.0.1:${server.port}`, stop: () => server.stop(true) };
  }

  test("shows what the admin API says, for people", async () => {
    const { admin, stop } = serve(JSON.stringify(answer));
    const { status, out } = await forebay(["status", "--admin", admin]);
    stop();
    expect(status).toBe(0);
    expect(out).toBe(`Forebay 9.9.9
state     NOT READY, up 1 h 2 min, 2 servers
problem   lake acme: the lake cannot be reached
lake      acme at https://acme.blob.core.windows.net: UNREACHABLE, 8.4 ms, credential key
flash     ██████████░░░░░░░░░░ 512 B of 1.00 KiB (50%)
          /mnt/flash: ok, 1 blob, 0 evictions
reads     75.0% hits: 3,000 hits, 1 partial, 1,000 misses, 7 forwarded
bytes     2.00 KiB from flash, 1.00 KiB from the lake
saved     3,000 lake reads, 2.00 KiB of lake traffic
fills     1, 0 failed; 1 lake read
errors    timeout 2
policies  "": checked after 5 s
          datasets/: immutable, served in an outage, one verdict per container
`);
  });

  test("--json passes the answer on, and FOREBAY_ADMIN names the address", async () => {
    const { admin, stop } = serve(JSON.stringify({ ...answer, more: 1 }));
    const { status, out } = await forebay(["status", "--json"], { FOREBAY_ADMIN: admin });
    stop();
    expect(status).toBe(0);
    expect(JSON.parse(out)).toEqual({ ...answer, more: 1 });
  });

  test("nobody there, somebody else there, another version there: one line and 1", async () => {
    const { admin, stop } = serve("");
    stop();
    const gone = await forebay(["status", "--admin", admin]);
    expect(gone).toEqual({
      status: 1,
      out: "",
      err: `forebay: no Forebay answers at ${admin}: start one with \`forebay up\`, or name its address with --admin HOST:PORT\n`,
    });
    for (const [body, code, words] of [
      ["<html>", 200, "is no Forebay"],
      ["", 404, "answered 404"],
      ["{}", 200, "speaks another version of the admin API (version)"],
    ] as const) {
      const other = serve(body, code);
      const ran = await forebay(["status", "--admin", other.admin]);
      other.stop();
      expect(ran.status).toBe(1);
      expect(ran.err).toContain(words);
      expect(ran.err.split("\n").length).toBe(2);
    }
  });
});

describe("doctor", () => {
  test("finds what is wrong, with a remedy, and fails", async () => {
    const closed = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
    const port = closed.port;
    closed.stop(true);
    const lake = `${LAKE.replace("UseDevelopmentStorage=true", "")}AccountName=acme;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:${port}/acme`;
    const taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
    const listen = `127.0.0.1:${taken.port}`;
    const { status, out } = await forebay([
      "doctor",
      "--json",
      "--lake",
      lake,
      "--listen",
      listen,
      "--admin",
      "127.0.0.1:0",
    ]);
    taken.stop(true);
    expect(status).toBe(1);
    expect(out).not.toContain("c2VjcmV0");
    const { ok, checks } = JSON.parse(out) as {
      ok: boolean;
      checks: { name: string; status: string; remedy?: string }[];
    };
    expect(ok).toBe(false);
    const of = (name: string) => checks.find((check) => check.name === name);
    expect(of("platform")?.status).toBe("ok");
    expect(of("flash folder")?.status).toBe("ok");
    expect(of("Blob endpoint")).toMatchObject({ status: "fail", remedy: expect.stringContaining("--listen") });
    expect(of("lake acme")).toMatchObject({ status: "fail", remedy: expect.stringContaining("firewalls") });
  });

  test("wrong settings are a finding among the others", async () => {
    const { status, out } = await forebay(["doctor", "--lake", LAKE, "--flash-size", "lots"]);
    expect(status).toBe(1);
    expect(out).toContain('FAIL  settings      --flash-size: "lots" is not a size');
    expect(out).toContain(" ok, ");
  });
});

test("the launcher works from anywhere, through a link, and hands its arguments over as they are", () => {
  mkdirSync(join(folder, "bin"));
  const link = join(folder, "bin", "forebay");
  symlinkSync(join(ROOT, "forebay"), link);
  const ran = spawnSync(link, ["status", "--admin", "a b"], { cwd: folder, encoding: "utf8" });
  expect(ran.stderr).toBe('forebay: --admin: "a b" is not an address; write HOST:PORT, for example 127.0.0.1:10190\n');
  expect(ran.status).toBe(2);
});
