import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sampleBlobs } from "./demo-data.ts";
import { holdFolder } from "./demo-folder.ts";
import { encodeName } from "./demo-upload.ts";
import { judgeMount, mountOf } from "./doctor-flash.ts";
import { judgeProbe } from "./doctor-lake.ts";
import { judgeOpenFiles } from "./doctor-machine.ts";
import { checkTls } from "./doctor-network.ts";
import { aligned, bar, formatDuration } from "./output.ts";
import { choosePort, portProblem } from "./ports.ts";

function temporary(): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "forebay-parts-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

describe("the sample dataset", () => {
  const blobs = sampleBlobs();
  const hash = (name: string): string => {
    const blob = blobs.find((candidate) => candidate.name === name);
    return Bun.hash.xxHash64(blob?.bytes(0, blob.sizeBytes) ?? "").toString(16);
  };

  test("is the same bytes on every machine, whatever pieces they are asked for in", () => {
    expect(blobs.length).toBe(2013);
    expect(new Set(blobs.map((blob) => blob.name)).size).toBe(blobs.length);
    const shard = blobs.find((blob) => blob.name.startsWith("shards/"));
    const whole = shard?.bytes(0, 65_536) ?? new Uint8Array();
    expect(shard?.bytes(8_192, 4_096)).toEqual(whole.slice(8_192, 12_288));
    expect(whole.slice(0, 4_096)).not.toEqual(whole.slice(4_096, 8_192));
    expect([hash("README.txt"), hash("tables/samples.csv"), hash("images/train/class-07/sample-00007.bin")]).toEqual(
      HASHES,
    );
  });

  test("its names go into URLs whole", () => {
    for (const { name } of blobs) {
      const url = new URL(`http://h/c/${encodeName(name)}`);
      expect(url.pathname.slice(3).split("/").map(decodeURIComponent).join("/")).toBe(name);
    }
  });
});

describe("doctor's judgement", () => {
  test("the mount of a path is the longest that holds it, the last of those", () => {
    const text = [
      "1 1 8:1 / / rw - ext4 /dev/sda1 rw",
      "2 1 8:2 / /mnt rw - xfs /dev/sdb1 rw",
      "3 2 8:3 / /mnt/my\\040disk rw,noatime shared:1 - btrfs /dev/sdc rw",
      "4 1 0:4 / /mnt rw - ext4 /dev/sdd1 rw",
    ].join("\n");
    expect(mountOf("/mnt/my disk/x", text)?.type).toBe("btrfs");
    expect(mountOf("/mnt/x", text)?.source).toBe("/dev/sdd1");
    expect(mountOf("/mntx", text)?.point).toBe("/");
    expect(mountOf("/", "")).toBeNull();
  });

  test("file systems", () => {
    const status = (type: string, point: string) => judgeMount({ type, point, source: "x" }).status;
    expect(status("ext4", "/data")).toBe("ok");
    expect(status("tmpfs", "/dev/shm")).toBe("warn");
    expect(status("overlay", "/")).toBe("warn");
    expect(status("ext4", "/mnt")).toBe("warn");
    expect(status("ext4", "/mnt/nvme")).toBe("ok");
    expect(status("nfs4", "/home")).toBe("fail");
    expect(status("fuse.blobfuse2", "/x")).toBe("fail");
    expect(status("fuseblk", "/x")).toBe("ok");
  });

  test("open files", () => {
    const text = (soft: string, hard: string) =>
      `Max cpu time  unlimited unlimited s\nMax open files            ${soft}   ${hard}   files\n`;
    expect(judgeOpenFiles(text("1024", "1048576")).status).toBe("ok");
    expect(judgeOpenFiles(text("1024", "4096")).status).toBe("warn");
    expect(judgeOpenFiles(text("1024", "unlimited")).status).toBe("ok");
    expect(judgeOpenFiles("").status).toBe("warn");
  });

  test("the lake", () => {
    const probe = { reachable: true, credentialOk: true, limited: false, status: 200, clockSkewMs: 500, latencyMs: 3 };
    const statuses = (credential: string, more: Partial<Parameters<typeof judgeProbe>[3]>) =>
      judgeProbe("lake a", "http://h", credential, { ...probe, ...more }).map((check) => check.status);
    expect(statuses("key", {})).toEqual(["ok", "ok", "ok"]);
    expect(statuses("sas", { limited: true })).toEqual(["ok", "warn", "ok"]);
    expect(statuses("none", { credentialOk: null })).toEqual(["ok", "warn", "ok"]);
    expect(statuses("key", { credentialOk: false, clockSkewMs: -1_200_000 })).toEqual(["ok", "fail", "fail"]);
    expect(statuses("key", { clockSkewMs: 90_000 })).toEqual(["ok", "ok", "warn"]);
    expect(statuses("key", { reachable: false, credentialOk: null, clockSkewMs: null, error: "x" })).toEqual(["fail"]);
    expect(statuses("entra", { reachable: false, credentialOk: false, clockSkewMs: null })).toEqual(["fail"]);
  });

  test("certificates: belonging, unreadable, ended", () => {
    using folder = temporary();
    const at = (name: string): string => join(folder.path, name);
    for (const name of ["a", "b"]) {
      const args = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
      ];
      const files = ["-subj", "/CN=localhost", "-keyout", at(`${name}.key`), "-out", at(`${name}.crt`)];
      expect(spawnSync("openssl", [...args, ...files]).status).toBe(0);
    }
    writeFileSync(at("junk"), "junk");
    const status = (cert: string, key: string, laterMs = 0) =>
      checkTls({ certFile: at(cert), keyFile: at(key) }, Date.now() + laterMs).map((check) => check.status);
    const day = 86_400_000;
    expect(checkTls(null, 0)).toEqual([]);
    expect(status("a.crt", "a.key")).toEqual(["ok"]);
    expect(status("a.crt", "b.key")).toEqual(["fail"]);
    expect(status("junk", "a.key")).toEqual(["fail"]);
    expect(status("none", "a.key")).toEqual(["fail"]);
    expect(status("a.crt", "a.key", 20 * day)).toEqual(["warn"]);
    expect(status("a.crt", "a.key", 31 * day)).toEqual(["fail"]);
    expect(status("a.crt", "a.key", -2 * day)).toEqual(["fail"]);
  });
});

describe("ports and folders", () => {
  test("a taken port is noticed; asked for by name it is an error, else the next free one is used", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    expect(await portProblem("127.0.0.1", port)).toBe("EADDRINUSE");
    await expect(choosePort("--port", String(port), 1, "x", [])).rejects.toThrow(`--port: port ${port} is taken`);
    await expect(choosePort("--port", "x", 1, "x", [])).rejects.toThrow('--port: "x" is not a port');
    const next = await choosePort("--port", undefined, port, "the test", []);
    expect(next).toBeGreaterThan(port);
    expect(await choosePort("--port", undefined, port, "the test", [next])).toBeGreaterThan(next);
    await new Promise((resolve) => server.close(resolve));
  });

  test("a folder is held by one demo at a time, and one that has died does not hold it", () => {
    using folder = temporary();
    const release = holdFolder(folder.path);
    release();
    writeFileSync(join(folder.path, "demo.pid"), "999999999");
    holdFolder(folder.path)();
  });
});

test("figures for people", () => {
  expect([bar(0, 4), bar(0.5, 4), bar(2, 4)]).toEqual(["░░░░", "██░░", "████"]);
  expect(
    aligned(
      [
        ["a", "1"],
        ["bbb", "22"],
      ],
      [1],
    ),
  ).toEqual(["a     1", "bbb  22"]);
  expect([0, 999, 1_000, 61_000, 3_600_000, 90_061_000].map(formatDuration)).toEqual([
    "0 ms",
    "999 ms",
    "1 s",
    "1 min 1 s",
    "1 h",
    "1 d 1 h",
  ]);
});

/** xxHash64 of three blobs: a change of the dataset changes `SAMPLE_VERSION` too. */
const HASHES = ["a0f0dd2b40f735f0", "d7c84f3153b150e0", "58c8286f11fabbff"];
