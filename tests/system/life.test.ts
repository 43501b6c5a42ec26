/** Starting, reloading and stopping, as operators do it. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService, type SimService } from "../../sim/lake/service.ts";
import { makeCertificate } from "../support/certificate.ts";
import { runChild } from "../support/process.ts";
import { within } from "../support/temp.ts";
import {
  ALL_SAS,
  ask,
  childrenOf,
  cleanup,
  committed,
  firstDifference,
  isAlive,
  pattern,
  type Up,
  until,
  up,
  upCommand,
  warm,
} from "./harness.ts";

const MIB = 1 << 20;

let undo = cleanup();
let lake: SimService;
let connection = "";

beforeEach(async () => {
  undo = cleanup();
  lake = createSimService();
  lake.putBlob("live", "a", pattern(1, 3 * MIB));
  // Larger than all that sockets buffer: a client that does not read holds the response open.
  lake.putBlob("live", "large", pattern(2, 64 * MIB));
  const server = await startSimLakeServer(lake);
  undo.add(() => server.close());
  connection = server.connectionString;
});
afterEach(() => undo.run());

async function start(config: Readonly<Record<string, unknown>> = {}, servers = 1): Promise<Up> {
  const forebay = await up({ config: { lake: connection, ...config }, folder: undo.folder("life"), servers });
  undo.add(() => forebay.stop(1_000));
  return forebay;
}

/** A client that asked for the large blob, saw the first bytes, and reads no further until told. */
async function slowReader(forebay: Up): Promise<{ socket: Socket; received: () => number; ended: Promise<void> }> {
  const socket = createConnection({ host: "127.0.0.1", port: forebay.port });
  undo.add(() => socket.destroy());
  let received = 0;
  const ended = new Promise<void>((resolve) => {
    socket.on("close", () => resolve());
    socket.on("error", () => resolve());
  });
  const target = `/simlake/live/large?${ALL_SAS}`;
  socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\nx-ms-version: 2022-11-02\r\n\r\n`);
  await new Promise<void>((resolve) => {
    socket.once("data", (chunk: Uint8Array) => {
      received += chunk.length;
      socket.pause();
      resolve();
    });
  });
  socket.on("data", (chunk: Uint8Array) => {
    received += chunk.length;
  });
  socket.pause();
  return { socket, received: () => received, ended };
}

/** The SHA-256 of the certificate that is shown at the port. */
function shownCertificate(forebay: Up): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: "127.0.0.1", port: forebay.port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

describe("a graceful stop", () => {
  test("lets a response under way finish", async () => {
    const forebay = await start({ stopDeadline: "10m" });
    await warm(forebay.blobUrl, "live/large");
    const reader = await slowReader(forebay);
    forebay.child.kill("SIGTERM");
    await until("the port to be closed", 5_000, async () => {
      return ask(forebay.blobUrl, "live/a", { timeoutMs: 1_000 }).then(
        () => false,
        () => true,
      );
    });
    expect(isAlive(forebay.pid)).toBe(true);
    reader.socket.resume();
    await reader.ended;
    expect(reader.received()).toBeGreaterThan(64 * MIB);
    // At once, not when the deadline comes: the connection is kept alive no longer.
    expect(await within(15_000, "the end", forebay.child.ended)).toBe(0);
  }, 30_000);

  test("cuts what is left at the deadline, and leaves nobody behind", async () => {
    const forebay = await start({ stopDeadline: "500ms" }, 2);
    await warm(forebay.blobUrl, "live/large");
    const reader = await slowReader(forebay);
    const children = childrenOf(forebay.pid);
    expect(await forebay.stop()).toBe(0);
    reader.socket.resume();
    await reader.ended;
    expect(reader.received()).toBeLessThan(64 * MIB);
    expect(children.filter((child) => isAlive(child.pid))).toEqual([]);
  }, 30_000);
});

describe("a taken port", () => {
  for (const servers of [1, 2]) {
    test(`ends the start with one clear line (${servers} servers)`, async () => {
      const first = await start({}, servers);
      const second = { config: { lake: connection }, folder: undo.folder("second"), servers };
      const blob = await runChild(
        { name: "a second Forebay", command: upCommand({ ...second, port: first.port }) },
        20_000,
      );
      expect([blob.status, blob.stdout]).toEqual([2, ""]);
      expect(blob.stderr.trim().split("\n").length).toBe(1);
      expect(blob.stderr).toMatch(/^forebay: cannot listen at 127\.0\.0\.1:\d+ .*--listen HOST:PORT\n$/);
      const command = upCommand({ ...second, adminPort: first.adminPort });
      const adminTaken = await runChild({ name: "a second Forebay", command }, 20_000);
      expect([adminTaken.status, adminTaken.stdout]).toEqual([2, ""]);
      expect(adminTaken.stderr).toMatch(/^forebay: cannot listen at 127\.0\.0\.1:\d+ .*--admin HOST:PORT\n$/);
      expect((await ask(first.blobUrl, "live/a")).status).toBe(200);
    }, 40_000);
  }

  test("by another program, too", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    undo.add(() => other.close());
    const address = other.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    for (const servers of [1, 2]) {
      const options = { config: { lake: connection }, folder: undo.folder("taken"), servers, port };
      const { status, stderr } = await runChild({ name: "forebay", command: upCommand(options) }, 20_000);
      expect([status, stderr.trim().split("\n").length]).toEqual([2, 1]);
    }
  }, 40_000);
});

describe("SIGHUP", () => {
  test("reloads policies: a path that becomes immutable, and back", async () => {
    const policy = (maxStale: string): Record<string, unknown> => ({
      lake: connection,
      policies: [{ path: "live/", maxStale }],
    });
    const forebay = await start(policy("0s"), 2);
    const reloads = (): number => forebay.logs().split("settings reloaded").length - 1;
    const reload = async (config: Record<string, unknown>): Promise<void> => {
      const before = reloads();
      forebay.reconfigure(config);
      await until("the reload", 10_000, () => reloads() > before);
    };
    await warm(forebay.blobUrl, "live/a");
    lake.putBlob("live", "a", pattern(11, MIB));
    expect(firstDifference(11, 0, (await ask(forebay.blobUrl, "live/a")).bytes)).toBe(-1);
    await reload(policy("immutable"));
    await warm(forebay.blobUrl, "live/a");
    await committed(forebay.adminUrl);
    const checks = lake.stats.requests;
    // Now nobody asks the lake any more, on either server.
    for (let i = 0; i < 16; i++) expect((await ask(forebay.blobUrl, "live/a")).temperature).toBe("hit");
    expect(lake.stats.requests - checks).toBe(0);
    lake.putBlob("live", "a", pattern(12, MIB));
    expect(firstDifference(11, 0, (await ask(forebay.blobUrl, "live/a")).bytes)).toBe(-1);
    await reload(policy("0s"));
    for (let i = 0; i < 8; i++) expect(firstDifference(12, 0, (await ask(forebay.blobUrl, "live/a")).bytes)).toBe(-1);
    lake.putBlob("live", "a", pattern(13, MIB));
    // What was kept in the first immutable time must not come back with the second: it is checked once more.
    await reload(policy("immutable"));
    await until("the check", 10_000, async () => {
      return firstDifference(13, 0, (await ask(forebay.blobUrl, "live/a")).bytes) === -1;
    });
    for (let i = 0; i < 8; i++) expect(firstDifference(13, 0, (await ask(forebay.blobUrl, "live/a")).bytes)).toBe(-1);
    forebay.reconfigure({ lake: connection, policies: [{ path: "live/", maxStale: "soon" }] });
    await until("the refusal", 10_000, () => forebay.logs().includes("reload failed"));
    expect(forebay.logs()).toContain("is not a duration");
    expect((await ask(forebay.blobUrl, "live/a")).status).toBe(200);
  }, 40_000);

  test("reloads certificates, and keeps the old one when the new one is no use", async () => {
    const folder = undo.folder("tls");
    const [one, two] = ["one", "two"].map((name) => {
      mkdirSync(join(folder, name));
      return makeCertificate(join(folder, name));
    });
    if (one === undefined || two === undefined) throw new Error("two certificates were made");
    const [tlsCert, tlsKey] = [join(folder, "tls.crt"), join(folder, "tls.key")];
    copyFileSync(one.certFile, tlsCert);
    copyFileSync(one.keyFile, tlsKey);
    const config = { tlsCert, tlsKey };
    for (const servers of [1, 2]) {
      copyFileSync(one.certFile, tlsCert);
      copyFileSync(one.keyFile, tlsKey);
      const forebay = await start(config, servers);
      const first = await shownCertificate(forebay);
      copyFileSync(two.certFile, tlsCert);
      forebay.child.kill("SIGHUP");
      await until("the refusal", 10_000, () => forebay.logs().includes("is not the key of the certificate"));
      expect(await shownCertificate(forebay)).toBe(first);
      copyFileSync(two.keyFile, tlsKey);
      forebay.child.kill("SIGHUP");
      await until("the new certificate", 10_000, async () => (await shownCertificate(forebay)) !== first);
      expect((await ask(forebay.blobUrl, "live/a", { tls: { ca: two.cert } })).status).toBe(200);
      writeFileSync(tlsKey, "no key");
      forebay.child.kill("SIGHUP");
      await until("the refusal", 10_000, () => forebay.logs().includes("holds no private key"));
      expect((await ask(forebay.blobUrl, "live/a", { tls: { ca: two.cert } })).status).toBe(200);
      expect(await forebay.stop()).toBe(0);
    }
  }, 60_000);
});
