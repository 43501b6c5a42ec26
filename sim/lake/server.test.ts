/** The simulated service behind a socket: with the real SDK, and with the product's client under faults. */
import { afterEach, expect, test } from "bun:test";
import { BlobServiceClient } from "@azure/storage-blob";
import { seededRandom } from "../../src/base/random.ts";
import { headerOf } from "../../src/http/types.ts";
import { realClock } from "../../src/io/clock.ts";
import { parseLakeAddress } from "../../src/lake/address.ts";
import { connectLake } from "../../src/lake/connect.ts";
import type { LakeRead } from "../../src/lake/types.ts";
import { createFaultPlan, type Fault, type FaultPlan } from "./faults.ts";
import { type SimServer, startSimLakeServer } from "./server.ts";
import { createSimService, SIM_ACCOUNT, type SimService } from "./service.ts";

const open: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function start(): Promise<{ service: SimService; faults: FaultPlan; server: SimServer }> {
  const service = createSimService();
  const faults = createFaultPlan(seededRandom(5));
  const server = await startSimLakeServer(service, { faults });
  open.push(() => server.close());
  return { service, faults, server };
}

test("the real SDK: put, blocks, read, list, snapshot, lease, tags, copy, delete", async () => {
  const { server, service } = await start();
  const client = BlobServiceClient.fromConnectionString(server.connectionString);
  const container = client.getContainerClient("sdk");
  await container.create();
  const name = "dir/a b+%ü?#.bin";
  const blob = container.getBlockBlobClient(name);
  const content = seededRandom(2).fill(new Uint8Array(700_000));
  await blob.uploadData(content, {
    blockSize: 256 * 1024,
    maxSingleShotSize: 1024,
    metadata: { team: "red" },
    tags: { k: "v 1" },
  });
  expect(Buffer.compare(await blob.downloadToBuffer(), content)).toBe(0);
  expect(Buffer.compare(await blob.downloadToBuffer(1000, 5000), content.subarray(1000, 6000))).toBe(0);
  const properties = await blob.getProperties();
  expect([properties.contentLength, properties.metadata?.["team"], properties.tagCount]).toEqual([700_000, "red", 1]);
  expect((await blob.getTags()).tags).toEqual({ k: "v 1" });
  expect((await blob.getBlockList("committed")).committedBlocks?.length).toBe(3);
  const { snapshot = "" } = await blob.createSnapshot();
  await blob.uploadData(new Uint8Array(3));
  expect((await blob.withSnapshot(snapshot).getProperties()).contentLength).toBe(700_000);
  const lease = blob.getBlobLeaseClient();
  await lease.acquireLease(15);
  await expect(blob.deleteIfExists()).rejects.toMatchObject({ code: "LeaseIdMissing" });
  await lease.releaseLease();
  await (await container.getBlockBlobClient("copy").beginCopyFromURL(blob.url)).pollUntilDone();
  const names: string[] = [];
  for await (const item of container.listBlobsFlat({ includeMetadata: true })) names.push(item.name);
  expect(names).toEqual(["copy", name]);
  await blob.delete({ deleteSnapshots: "include" });
  expect(await blob.exists()).toBe(false);
  expect(service.stats.count("PutBlock")).toBe(3);
});

const READ: LakeRead = {
  key: { account: SIM_ACCOUNT, container: "data", blob: "x" },
  method: "GET",
  range: { first: 0, last: 199_999 },
  apiVersion: "2024-11-04",
  credential: { kind: "own" },
};

/** What the product's own client makes of each fault: the same as the service in process gives. */
const TOLD: Partial<Record<Fault, string>> = {
  serverBusyRetryAfter: "503",
  resetBefore: "lake-lost",
  resetInBody: "206 then lake-lost",
  shortBody: "206 then lake-lost",
  longBody: "206 with 200007",
  wrongMd5: "206 with 200000",
};

for (const [fault, told] of Object.entries(TOLD)) {
  test(`over a socket: ${fault}`, async () => {
    const { server, service, faults } = await start();
    service.putBlob("data", "x", seededRandom(3).fill(new Uint8Array(300_000)));
    const lake = connectLake({ address: parseLakeAddress(server.connectionString), clock: realClock });
    open.push(() => lake.close());
    faults.force(fault as Fault);
    const outcome = lake.read(READ).then(
      async ({ head, body }) => {
        if (head.status >= 300) return String(head.status);
        let total = 0;
        try {
          for (let chunk = await body.read(); chunk !== null; chunk = await body.read()) total += chunk.length;
        } catch (error) {
          return `${head.status} then ${(error as { code: string }).code}`;
        }
        return `${head.status} with ${total}`;
      },
      (error) => error.code as string,
    );
    expect(await outcome).toBe(told);
    expect(faults.count(fault as Fault)).toBe(1);
    // And all is well again afterwards.
    const after = await lake.read({ ...READ, method: "HEAD", range: undefined });
    expect([after.head.status, headerOf(after.head.headers, "content-length")]).toEqual([200, "300000"]);
  });
}
