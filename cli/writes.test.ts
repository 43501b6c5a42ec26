/** The commands about writes that the lake does not have yet, against an admin endpoint whose journal is made up. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AdminServer, startAdminServer } from "../src/admin/server.ts";
import type { AdminSources, EntryView, FlushRequest, WriteActions, WritesView } from "../src/admin/types.ts";
import { MIB } from "../src/base/limits.ts";
import { createStats } from "../src/engine/stats.ts";
import { judgeWriteBack, temporaryDisk } from "./doctor-writes.ts";
import { plain } from "./output.ts";

const MAIN = join(import.meta.dir, "main.ts");

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "forebay-cli-writes-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let server: AdminServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

const PARKED: EntryView = {
  seq: 12,
  kind: "put",
  state: "parked",
  reason: "403 AuthorizationFailure",
  sideName: null,
  path: "ckpt/",
  account: "acme",
  container: "ckpt",
  blob: "run/model.bin",
  sizeBytes: 4 * MIB,
  acknowledgedAtMs: 0,
  ageMs: 65_000,
  next: "mend the cause, then `forebay journal retry 12`",
};
const QUEUED: EntryView = { ...PARKED, seq: 13, state: "acknowledged", reason: null, blob: "run/latest", next: null };
const ASIDE: EntryView = {
  ...PARKED,
  seq: 14,
  state: "aside",
  reason: null,
  blob: "run/odd\u001b[2J",
  sideName: "run/odd.side",
  next: "compare, then `forebay journal dismiss 14`",
};
const DELETION: EntryView = { ...PARKED, seq: 15, kind: "delete", sizeBytes: null };

const WRITES: WritesView = {
  pendingEntries: 2,
  pendingBytes: 8 * MIB,
  oldestAgeMs: 65_000,
  parkedEntries: 1,
  conflictedEntries: 0,
  asideEntries: 5,
  stagedBlocks: 1,
  stagedBytes: MIB,
  journalBytes: 64 * MIB,
  ok: true,
  state: "ok",
  durability: "flash: survives process, operating-system and power failure, not the loss of this machine",
  drain: {
    carriedEntries: 1_000,
    carriedBytes: 64 * MIB,
    uploadsNow: 1,
    bytesPerSecondMax: 100 * MIB,
    retries: 1,
    throttled: 2,
    conflicts: 0,
    parked: 1,
    pendingNamesFailure: "403",
  },
  paths: [
    { path: "ckpt/", oldestAgeMs: 65_000, maxUnflushedMs: null, stuck: { reason: "#12 is parked", forMs: 61_000 } },
  ],
  attention: [PARKED, ASIDE],
};

interface Fake extends WriteActions {
  readonly calls: string[];
  readonly flushes: FlushRequest[];
}

function fake(more: Partial<WriteActions> = {}): Fake {
  const calls: string[] = [];
  const flushes: FlushRequest[] = [];
  const all = [PARKED, QUEUED, ASIDE, DELETION];
  return {
    calls,
    flushes,
    entries: ({ states, limit }) => {
      const found = all.filter((entry) => states.length === 0 || states.includes(entry.state));
      return { entries: found.slice(0, limit), more: found.length > limit };
    },
    entry: (seq) => all.find((entry) => entry.seq === seq) ?? null,
    decide: async (seq, decision) => {
      calls.push(`${decision} ${seq}`);
      if (seq > 15) return { result: "gone" };
      if (seq === 13) return { result: "refused", state: "acknowledged", reason: "entry 13 is acknowledged" };
      return { result: "done", state: "x" };
    },
    scopeProblem: (scope) => (scope.startsWith("other:") ? 'account "other" is none of the lakes' : null),
    flush: async (request, tell) => {
      flushes.push(request);
      tell({ entries: 2, bytes: 8 * MIB });
      return { result: "done" };
    },
    content: (seq) => ({ result: "bytes", sizeBytes: 4 * MIB, pieces: bytes(seq === 13 ? 3 : 4) }),
    ...more,
  };
}

async function* bytes(count: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(MIB).fill(i);
}

function serve(actions: WriteActions | null): string {
  const sources: AdminSources = {
    version: "9.9.9",
    startedAtMs: 0,
    nowMs: () => 5_000,
    lakes: () => [],
    policies: () => [
      {
        path: "ckpt/",
        maxStaleMs: 5_000,
        onLakeOutage: "fail",
        verdict: "blob",
        write: "back",
        exclusive: true,
        whenParked: "pass",
        tier: "Cool",
        maxUnflushedMs: 600_000,
      },
    ],
    flash: () => ({
      path: "/flash",
      usedBytes: 0,
      boundBytes: 1,
      versions: 0,
      state: "ok",
      ok: true,
      evictedVersions: 0,
      evictedBytes: 0,
      counters: {},
      gauges: {},
    }),
    servers: async () => ({ stats: [createStats()], answering: 1, expected: 1 }),
    writes: () => (actions === null ? null : WRITES),
    writeActions: () => actions,
  };
  server = startAdminServer("127.0.0.1", 0, sources);
  return `127.0.0.1:${server.port}`;
}

interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

async function forebay(admin: string, ...args: readonly string[]): Promise<Ran> {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FOREBAY_")));
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    cwd: folder,
    env: { ...inherited, NO_COLOR: "1", FOREBAY_ADMIN: admin },
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

describe("status", () => {
  test("says what is not in the lake, what that means, and what to do", async () => {
    const { status, out } = await forebay(serve(fake()), "status");
    expect(status).toBe(0);
    expect(out).toContain(`
writes    2 writes (8.00 MiB) not in the lake yet, the oldest for 1 min 5 s
          if this machine were lost now: 2 writes (8.00 MiB) and 1 uncommitted block (1.00 MiB) would be lost with it
          acknowledged on flash: survives process, operating-system and power failure, not the loss of this machine
journal   ok, 64.0 MiB on flash, 1 uncommitted block (1.00 MiB)
drain     1,000 writes (64.0 MiB) carried to the lake, 1 upload under way, at most 100 MiB/s; 1 retry, 2 throttled
names     the list of them in the lake could not be written: 403
stuck     ckpt/: #12 is parked, for 1 min 1 s
parked    #12 acme:ckpt/run/model.bin (4.00 MiB): 403 AuthorizationFailure
          → mend the cause, then \`forebay journal retry 12\`
conflict  #14 acme:ckpt/run/odd\\u{1b}[2J (4.00 MiB): the lake changed under it; it is there as run/odd.side
          → compare, then \`forebay journal dismiss 14\`
          and 4 more: forebay journal list
`);
    expect(out).toContain("problem   writes: 1 entry is parked (#12 of ckpt/: 403 AuthorizationFailure)");
    expect(out).toContain(
      "ckpt/: checked after 5 s, writes back, exclusive, parked writes let others pass, tier Cool, in the lake within 10 min",
    );
  });

  test("says nothing of it where there is no journal", async () => {
    const { status, out } = await forebay(serve(null), "status");
    expect(status).toBe(0);
    expect(out).not.toContain("\nwrites");
  });
});

describe("flush", () => {
  test("waits for everything, or for a part, and tells how it goes", async () => {
    const actions = fake();
    const admin = serve(actions);
    const whole = await forebay(admin, "flush");
    expect(whole.status).toBe(0);
    expect(whole.err).toBe("flush 0%  2 writes, 8.00 MiB left\n");
    expect(whole.out).toMatch(/^everything is in the lake \(.+\)\n$/);
    const part = await forebay(admin, "flush", "ckpt/run/", "--wait", "--timeout", "2h", "--staged", "--json");
    expect([part.status, part.err, JSON.parse(part.out)]).toEqual([0, "", { result: "done" }]);
    expect(actions.flushes).toEqual([
      { scope: "", timeoutMs: 600_000, staged: false },
      { scope: "ckpt/run/", timeoutMs: 7_200_000, staged: true },
    ]);
  });

  test("ends with 1 when the time is up; without waiting that is no failure", async () => {
    const actions = fake({ flush: async () => ({ result: "timeout", left: { entries: 1, bytes: MIB } }) });
    const admin = serve(actions);
    expect(await forebay(admin, "flush", "--timeout", "1s")).toEqual({
      status: 1,
      out: "not everything is in the lake after 1s: 1 write (1.00 MiB) left; `forebay status` says why\n",
      err: "",
    });
    expect(await forebay(admin, "flush", "--no-wait")).toEqual({
      status: 0,
      out: "1 write (1.00 MiB) on the way to the lake\n",
      err: "",
    });
  });

  test("ends with 1 when something parked holds it up, and says what and what to do", async () => {
    const left = { entries: 2, bytes: 8 * MIB };
    const admin = serve(fake({ flush: async () => ({ result: "parked", left, entries: [PARKED] }) }));
    const { status, out } = await forebay(admin, "flush");
    expect(status).toBe(1);
    expect(out).toBe(`held up: 2 writes (8.00 MiB) left, behind 1 parked write
parked  #12 acme:ckpt/run/model.bin (4.00 MiB): 403 AuthorizationFailure
        → mend the cause, then \`forebay journal retry 12\`
`);
    const json = await forebay(admin, "flush", "--json");
    expect([json.status, JSON.parse(json.out)]).toEqual([1, expect.objectContaining({ result: "parked", left })]);
  });

  test("a Forebay that fails, goes away, has no journal, or is not there", async () => {
    const failed = await forebay(serve(fake({ flush: () => Promise.reject(new Error("x")) })), "flush");
    expect([failed.status, failed.out]).toEqual([
      1,
      "the flush failed; see the log of the Forebay, and run it again\n",
    ]);
    await server?.stop();
    const never = new Promise<never>(() => {});
    const going = serve(
      fake({
        flush: (_, tell) => {
          tell({ entries: 1, bytes: 1 });
          setTimeout(() => server?.stop(), 100);
          return never;
        },
      }),
    );
    const gone = await forebay(going, "flush");
    expect(gone.status).toBe(1);
    expect(gone.err).toMatch(/forebay: (the Forebay at \S+ went away during the flush|no Forebay answers)/);
    const none = await forebay(serve(null), "flush");
    expect([none.status, none.err]).toEqual([1, "forebay: there is no journal: see forebay status\n"]);
    const closed = `127.0.0.1:${server?.port}`;
    await server?.stop();
    const absent = await forebay(closed, "flush");
    expect(absent.status).toBe(1);
    expect(absent.err).toStartWith(`forebay: no Forebay answers at ${closed}: start one with`);
  });

  test("wrong usage", async () => {
    const admin = serve(fake());
    const wrong: [string[], string][] = [
      [["/ckpt"], "does not begin with a container's name"],
      [["other:ckpt"], 'account "other" is none of the lakes'],
      [["--timeout", "long"], '--timeout: "long" is not a duration; write for example 30s, 10m or 2h'],
      [["--timeout", "2d"], '--timeout: "2d" is too long; write 1 d or less'],
      [["a", "b"], "too many arguments"],
    ];
    for (const [args, words] of wrong) {
      const { status, err } = await forebay(admin, "flush", ...args);
      expect(err).toContain(words);
      expect(status).toBe(2);
    }
  });
});

describe("journal", () => {
  test("lists entries", async () => {
    const admin = serve(fake());
    const { status, out } = await forebay(admin, "journal", "list");
    expect(status).toBe(0);
    expect(out).toBe(
      `seq  state               age      size  path   blob                        reason
 12  parked        1 min 5 s  4.00 MiB  ckpt/  acme:ckpt/run/model.bin     403 AuthorizationFailure
 13  acknowledged  1 min 5 s  4.00 MiB  ckpt/  acme:ckpt/run/latest
 14  aside         1 min 5 s  4.00 MiB  ckpt/  acme:ckpt/run/odd\\u{1b}[2J  as run/odd.side
 15  parked        1 min 5 s  deletion  ckpt/  acme:ckpt/run/model.bin     403 AuthorizationFailure
`,
    );
    const json = await forebay(admin, "journal", "list", "--state", "aside,parked", "--limit", "2", "--json");
    expect(JSON.parse(json.out)).toEqual({ entries: [PARKED, ASIDE], more: true });
    expect((await forebay(admin, "journal", "list", "--limit", "1")).out).toEndWith(
      "and more: name a larger --limit\n",
    );
    expect((await forebay(admin, "journal", "list", "--state", "conflicted")).out).toBe("there is none\n");
  });

  test("takes decisions one after the other, and ends with 1 when one is refused", async () => {
    const actions = fake();
    const admin = serve(actions);
    expect(await forebay(admin, "journal", "retry", "12")).toEqual({
      status: 0,
      out: "entry 12 will be carried to the lake again\n",
      err: "",
    });
    expect(await forebay(admin, "journal", "dismiss", "13", "14", "99")).toEqual({
      status: 1,
      out: "entry 14 is forgotten\n",
      err: "forebay: entry 13 is acknowledged\nforebay: there is no entry 99 in the journal: it has ended, or never was\n2 entries of 3 not done\n",
    });
    const json = await forebay(admin, "journal", "retry", "12", "13", "--json");
    expect([json.status, JSON.parse(json.out)]).toEqual([
      1,
      [
        { seq: 12, done: true },
        { seq: 13, done: false, error: "entry 13 is acknowledged" },
      ],
    ]);
    expect(actions.calls).toEqual(["retry 12", "dismiss 13", "dismiss 14", "dismiss 99", "retry 12", "retry 13"]);
  });

  test("discards only when told twice", async () => {
    const actions = fake();
    const admin = serve(actions);
    const asked = await forebay(admin, "journal", "discard", "12");
    expect(asked.status).toBe(2);
    expect(asked.err).toBe(
      "forebay: discard throws away for good what was acknowledged; keep the bytes with `forebay journal export 12 FILE`, or add --yes\n",
    );
    expect(actions.calls).toEqual([]);
    expect((await forebay(admin, "journal", "discard", "12", "--yes")).out).toBe("entry 12 is thrown away\n");
    expect(actions.calls).toEqual(["discard 12"]);
  });

  test("wrong usage", async () => {
    const admin = serve(fake());
    const wrong: [string[], string][] = [
      [[], "Usage: forebay journal"],
      [["eat"], "unknown command 'eat'"],
      [["retry"], "missing required argument 'SEQ'"],
      [["retry", "x"], '"x" is not the number of an entry; see `forebay journal list`'],
      [["list", "--state", "lost"], '--state: "lost" is not known here'],
      [["list", "--limit", "0"], '--limit: "0" is not a whole number from 1 to 10000'],
    ];
    for (const [args, words] of wrong) {
      const { status, err } = await forebay(admin, "journal", ...args);
      expect(err).toContain(words);
      expect(status).toBe(2);
    }
  });
});

describe("journal export", () => {
  const there = (name: string): string[] => readdirSync(folder).filter((file) => file.includes(name));

  test("writes the bytes, whole, and only then takes what is parked out of the journal", async () => {
    const actions = fake({
      decide: async (seq, decision) => {
        // By then the file is what it shall be.
        actions.calls.push(`${decision} ${seq} ${readFileSync(join(folder, "parked.bin")).length}`);
        return { result: "done", state: "exported" };
      },
    });
    const { status, out, err } = await forebay(serve(actions), "journal", "export", "12", "parked.bin");
    expect([status, out, err]).toEqual([
      0,
      "4.00 MiB of acme:ckpt/run/model.bin are in parked.bin\n",
      "entry 12 has left the journal: the lake will not get it from here\n",
    ]);
    expect(actions.calls).toEqual([`exported 12 ${4 * MIB}`]);
    const written = readFileSync(join(folder, "parked.bin"));
    expect([0, MIB, 2 * MIB, 4 * MIB - 1].map((at) => written[at])).toEqual([0, 1, 2, 3]);
    expect(there("parked")).toEqual(["parked.bin"]);
  });

  test("leaves in the journal what is on its way, and what it is told to keep", async () => {
    const actions = fake({ content: () => ({ result: "bytes", sizeBytes: 4 * MIB, pieces: bytes(4) }) });
    const admin = serve(actions);
    const queued = await forebay(admin, "journal", "export", "13", "queued.bin");
    expect([queued.status, queued.err]).toEqual([
      0,
      "entry 13 stays in the journal, on its way to the lake: only what is held up leaves it by an export\n",
    ]);
    const kept = await forebay(admin, "journal", "export", "12", "kept.bin", "--keep", "--json");
    expect(JSON.parse(kept.out)).toEqual({
      seq: 12,
      blob: "acme:ckpt/run/model.bin",
      file: "kept.bin",
      bytes: 4 * MIB,
      state: "parked",
      stays: "entry 12 stays in the journal",
    });
    expect(actions.calls).toEqual([]);
  });

  test("makes no file of bytes that did not all come, and takes nothing out then", async () => {
    const breaking = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(MIB);
      await Bun.sleep(50);
      throw new Error("damaged");
    };
    for (const pieces of [() => bytes(3), breaking]) {
      const actions = fake({ content: () => ({ result: "bytes", sizeBytes: 4 * MIB, pieces: pieces() }) });
      const { status, err } = await forebay(serve(actions), "journal", "export", "12", "short.bin");
      expect(status).toBe(1);
      expect(err).toMatch(/^forebay: only \d+ of 4194304 bytes of entry 12 came; it ended meanwhile/);
      expect(actions.calls).toEqual([]);
      expect(there("short")).toEqual([]);
      await server?.stop();
    }
  });

  test("has nothing to do with deletions, unknown entries, and files that are there", async () => {
    const actions = fake();
    const admin = serve(actions);
    writeFileSync(join(folder, "mine"), "mine");
    const wrong: [string[], number, string][] = [
      [["15", "x"], 1, "entry 15 is a deletion: it has no bytes; discard it instead"],
      [["99", "x"], 1, "there is no entry 99 in the journal"],
      [["12", "mine"], 2, "mine is there already; name another file"],
      [["12", "none/x"], 2, "none/x cannot be written (ENOENT); name another file"],
      [["12"], 2, "missing required argument 'FILE'"],
    ];
    for (const [args, code, words] of wrong) {
      const { status, err } = await forebay(admin, "journal", "export", ...args);
      expect(err).toContain(words);
      expect(status).toBe(code);
    }
    expect(actions.calls).toEqual([]);
    expect(readFileSync(join(folder, "mine"), "utf8")).toBe("mine");
    expect(existsSync(join(folder, "x"))).toBe(false);
  });
});

describe("doctor's judgement of a flash that acknowledges", () => {
  const on = (type: string, point: string, temporary: string | null = null) =>
    judgeWriteBack(["ckpt/", ""], { type, point, source: "/dev/sdb1" }, temporary);

  test("by file system and disk", () => {
    expect(on("ext4", "/data").status).toBe("ok");
    expect(on("tmpfs", "/dev/shm")).toMatchObject({ status: "fail", detail: expect.stringContaining('ckpt/, "": ') });
    expect(on("overlay", "/").status).toBe("warn");
    expect(on("ext4", "/mnt")).toMatchObject({ status: "warn", remedy: expect.stringContaining("forebay flush") });
    expect(on("xfs", "/data", "is this machine's temporary disk")).toMatchObject({
      status: "warn",
      detail: expect.stringContaining("/dev/sdb1 at /data is this machine's temporary disk"),
    });
    expect(judgeWriteBack(["a"], null, null).status).toBe("warn");
  });

  test("disks that pass are known by Azure's links and by their models, below a RAID too", () => {
    const paths: Record<string, string> = {
      "/dev/disk/cloud/azure_resource": "/dev/sdb",
      "/dev/disk/cloud/azure_resource-part1": "/dev/sdb1",
      "/dev/disk/cloud/azure_root": "/dev/sda",
      "/sys/class/block/nvme1n1p1": "/sys/devices/x/nvme1n1/nvme1n1p1",
      "/sys/class/block/nvme0n1": "/sys/devices/x/nvme0n1",
    };
    const folders: Record<string, string[]> = { "/sys/class/block/md0/slaves": ["nvme1n1p1", "nvme0n1"] };
    const files: Record<string, string> = {
      "/sys/devices/x/nvme1n1/device/model": "Microsoft NVMe Direct Disk v2",
      "/sys/devices/x/nvme0n1/device/model": "MSFT NVMe Accelerator v1.0",
    };
    const kind = (source: string) =>
      temporaryDisk(source, {
        links: (at) =>
          [...(folders[at] ?? []), ...Object.keys(paths)]
            .map((name) => (name.startsWith("/") ? name : join(at, name)))
            .filter((path) => path.startsWith(`${at}/`) && !path.slice(at.length + 1).includes("/")),
        realPath: (path) => paths[path] ?? (path.startsWith("/dev/disk") ? null : path),
        read: (path) => files[path] ?? null,
      });
    expect(kind("/dev/sdb1")).toBe("is this machine's temporary disk");
    expect(kind("/dev/sda")).toBeNull();
    expect(kind("/dev/md0")).toBe("is a disk local to this machine's host");
    expect(kind("/dev/nvme0n1")).toBeNull();
    expect(kind("overlay")).toBeNull();
  });

  test("without a lake all else is checked, and that is no failure", async () => {
    const { status, out } = await forebay("127.0.0.1:0", "doctor", "--json", "--listen", "127.0.0.1:0");
    const { ok, checks } = JSON.parse(out) as { ok: boolean; checks: { name: string; status: string }[] };
    expect(checks.find((check) => check.name === "lake")?.status).toBe("skip");
    expect(checks.find((check) => check.name === "settings")?.status).toBe("ok");
    expect([ok, status]).toEqual([!checks.some((check) => check.status === "fail"), ok ? 0 : 1]);
  });
});

test("text from elsewhere moves no terminal", () => {
  expect(plain("a\u001b[2Jb\n\u202e\u2028ü€\u{1f600}")).toBe("a\\u{1b}[2Jb\\u{a}\\u{202e}\\u{2028}ü€\u{1f600}");
});
