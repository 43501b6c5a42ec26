/** The Python SDK, adlfs and pandas with pyarrow: the same outcomes at the lake and through Forebay, cold and warm. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { BlobServiceClient } from "@azure/storage-blob";
import { type Azurite, MAIN_ACCOUNT, startAzurite } from "../support/azurite.ts";
import { forebayExists, startTestForebay, type TestForebay } from "../support/forebay.ts";
import { pythonClients, runClients } from "./harness/python.ts";

const clients = await pythonClients();
const missing = "missing" in clients ? clients.missing : forebayExists() ? undefined : "cli/main.ts is not there yet";
if (missing !== undefined) console.warn(`Python clients are not tested: ${missing}`);
const program = "program" in clients ? clients.program : "";

let lake: Azurite;
let forebay: TestForebay;
const TIMEOUT_MS = 180_000;

beforeAll(async () => {
  if (missing !== undefined) return;
  lake = await startAzurite();
  forebay = await startTestForebay({ lake: lake.connectionString(), servers: 2 });
  const service = BlobServiceClient.fromConnectionString(lake.connectionString());
  for (const name of ["direct", "through"]) await service.createContainer(name);
}, TIMEOUT_MS);

afterAll(async () => {
  await forebay?.stop();
  await lake?.stop();
});

function throughForebay(): string {
  const { name, key } = MAIN_ACCOUNT;
  return `DefaultEndpointsProtocol=http;AccountName=${name};AccountKey=${key};BlobEndpoint=${forebay.blobUrl};`;
}

/** Container names stand in what is seen. */
function withoutName(seen: unknown, name: string): unknown {
  return JSON.parse(JSON.stringify(seen).replaceAll(`${name}/`, "CONTAINER/"));
}

test.skipIf(missing !== undefined)(
  "the Python SDK, adlfs, pandas and pyarrow: write, read cold, read warm",
  async () => {
    const passes = ["write", "read", "read"] as const;
    const verdicts: (readonly string[])[] = [];
    for (const step of passes) {
      const direct = await runClients(program, step, lake.connectionString(), "direct");
      const through = await runClients(program, step, throughForebay(), "through");
      expect(withoutName(through.seen, "through")).toEqual(withoutName(direct.seen, "direct"));
      expect(direct.verdicts).toEqual([]);
      verdicts.push(through.verdicts);
    }
    expect(verdicts[2]?.filter((verdict) => verdict === "hit").length).toBeGreaterThan(5);
  },
  TIMEOUT_MS,
);

test.skipIf(missing !== undefined)(
  "what Python wrote at the lake is read through Forebay, and the other way round",
  async () => {
    const lakeSide = await runClients(program, "read", lake.connectionString(), "through");
    const frontSide = await runClients(program, "read", throughForebay(), "direct");
    expect(withoutName(frontSide.seen, "direct")).toEqual(withoutName(lakeSide.seen, "through"));
  },
  TIMEOUT_MS,
);
