/**
 * docs/recipes/dns-override.md as it is written: a client with a built-in https://ACCOUNT.blob.core.windows.net reaches
 * Forebay, and Forebay reaches the lake at its configured address, whose name is the same.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { startSimLakeServer } from "../../sim/lake/server.ts";
import { createSimService, SIM_ACCOUNT, SIM_KEY } from "../../sim/lake/service.ts";
import { makeCertificate, type TestCertificate } from "../support/certificate.ts";
import { runChild } from "../support/process.ts";
import { ALL_SAS, admin, cleanup, firstDifference, pattern, type Up, up } from "./harness.ts";

const ROOT = join(import.meta.dir, "../..");
const RECIPE = readFileSync(join(ROOT, "docs/recipes/dns-override.md"), "utf8");
const NAME = `${SIM_ACCOUNT}.blob.core.windows.net`;
const SIZE = (2 << 20) + 3;

const undo = cleanup();
const lake = createSimService({ style: "account" });
let folder = "";
let front: TestCertificate;
let forebay: Up;

/** The recipe's first block in a language. */
function block(language: string): string {
  const found = new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(RECIPE)?.[1];
  if (found === undefined) throw new Error(`the recipe has no block of ${language}`);
  return found;
}

beforeAll(async () => {
  folder = undo.folder("dns");
  for (const name of ["front", "lake"]) mkdirSync(join(folder, name));
  front = makeCertificate(join(folder, "front"), [NAME]);
  const behind = makeCertificate(join(folder, "lake"), [NAME]);
  lake.putBlob("data", "a", pattern(1, SIZE));
  const server = await startSimLakeServer(lake, { tls: behind });
  undo.add(() => server.close());
  // The recipe's settings, with this account, this lake and ports that anybody may have.
  const settings = block("yaml")
    .replace("myaccount.privatelink.blob.core.windows.net:443", `127.0.0.1:${server.port}`)
    .replaceAll("myaccount", SIM_ACCOUNT)
    .replace("<KEY>", SIM_KEY);
  const { listen, tlsCert, tlsKey, ...config } = parse(settings) as Record<string, unknown>;
  expect([listen, tlsCert, tlsKey]).toEqual(["0.0.0.0:443", "forebay.crt", "forebay.key"]);
  forebay = await up({
    config: { ...config, tlsCert: front.certFile, tlsKey: front.keyFile },
    folder,
    // A test's lake has a private authority as well; the real one has a public one.
    env: { NODE_EXTRA_CA_CERTS: behind.certFile },
  });
  undo.add(() => forebay.stop(5_000));
}, 30_000);
afterAll(() => undo.run());

test("Forebay reaches the lake by its address, under its own name", async () => {
  const { text } = await admin(forebay.adminUrl, "/api/v1/status");
  const report = JSON.parse(text) as Record<string, unknown>;
  expect(report["lakes"]).toMatchObject([{ reachable: true, url: `https://${NAME}`, problem: null }]);
});

const curl = Bun.which("curl");

test.skipIf(curl === null)("curl with the name built in: a miss, then a hit, with the lake's bytes", async () => {
  // The recipe's own command, but for the file and the port.
  const command = [...RECIPE.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? "").at(-1) ?? "";
  const words = command.replaceAll("\\\n", " ").split(/\s+/).filter(Boolean);
  const adapted = words.map((word) =>
    word
      .replaceAll('"', "")
      .replaceAll("myaccount", SIM_ACCOUNT)
      .replace("forebay.crt", front.certFile)
      .replace("10.0.0.7:443", `127.0.0.1:${forebay.port}`)
      .replace("CONTAINER/BLOB?<SAS>", `data/a?${ALL_SAS}`)
      .replace("/dev/null", join(folder, "got")),
  );
  for (const temperature of ["miss", "hit"]) {
    const { status, stdout, stderr } = await runChild({ name: "curl", command: adapted }, 20_000);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^HTTP\/1\.1 200 /);
    expect(stdout).toContain(`x-forebay: ${temperature}`);
    const bytes = new Uint8Array(readFileSync(join(folder, "got")));
    expect([bytes.length, firstDifference(1, 0, bytes)]).toEqual([SIZE, -1]);
  }
});

test("the Azure SDK under Node.js, with the resolver overridden and NODE_EXTRA_CA_CERTS", async () => {
  const script = join(folder, "client.mjs");
  const sdk = join(ROOT, "node_modules/@azure/storage-blob/dist/esm/index.js");
  writeFileSync(
    script,
    `
import dns from "node:dns";
dns.lookup = (host, options, done) => {
  if (host !== ${JSON.stringify(NAME)}) throw new Error("asked for " + host);
  const say = typeof options === "function" ? options : done;
  options.all ? say(null, [{ address: "127.0.0.1", family: 4 }]) : say(null, "127.0.0.1", 4);
};
const { BlobServiceClient, StorageSharedKeyCredential } = await import(${JSON.stringify(sdk)});
const credential = new StorageSharedKeyCredential(${JSON.stringify(SIM_ACCOUNT)}, process.env.KEY);
const client = new BlobServiceClient("https://${NAME}:${forebay.port}", credential);
const container = client.getContainerClient("data");
const text = "written by a client that knows one name only";
await container.getBlockBlobClient("b").upload(text, text.length);
const back = await container.getBlobClient("b").downloadToBuffer();
const names = [];
for await (const blob of container.listBlobsFlat()) names.push(blob.name);
console.log(JSON.stringify({ back: back.toString(), names }));
`,
  );
  const env = { NODE_EXTRA_CA_CERTS: front.certFile, KEY: SIM_KEY };
  const { status, stdout, stderr } = await runChild({ name: "node", command: ["node", script], env }, 30_000);
  expect([status, stderr]).toEqual([0, ""]);
  const text = "written by a client that knows one name only";
  expect(JSON.parse(stdout)).toEqual({ back: text, names: ["a", "b"] });
  expect(Buffer.from(lake.peek("data", "b") ?? []).toString()).toBe(text);
}, 40_000);
