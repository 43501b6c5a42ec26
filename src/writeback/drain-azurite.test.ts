/** The drain against Microsoft's Azurite, with real sockets, a real disk and the machine's clock. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlobServiceClient, type ContainerClient } from "@azure/storage-blob";
import { AZURITE_ACCOUNT, type Azurite, startAzurite } from "../../sim/azurite.ts";
import { MIB } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import { FILES_FOLDER, filePath, folderPath, SPAN_PIECE_BYTES, spanSum } from "../flash/files.ts";
import { realClock } from "../io/clock.ts";
import { type Disk, realDisk } from "../io/disk.ts";
import { openJournal } from "../journal/journal.ts";
import type { BlockSpan, Entry, Journal, NewContent } from "../journal/types.ts";
import { parseLakeAddress } from "../lake/address.ts";
import { connectLake } from "../lake/connect.ts";
import type { OwnLake } from "../lake/types.ts";
import { createDrain } from "./drain.ts";
import { bytesOf, id } from "./testing/drain-world.ts";
import type { Drain } from "./types.ts";

const folder = mkdtempSync(join(tmpdir(), "forebay-drain-"));
let azurite: Azurite;
let lake: OwnLake;
let container: ContainerClient;
let disk: Disk;
let journal: Journal;
let drain: Drain;
const ended: Entry[] = [];

beforeAll(async () => {
  azurite = await startAzurite();
  lake = connectLake({ address: parseLakeAddress(azurite.connectionString), clock: realClock });
  container = BlobServiceClient.fromConnectionString(azurite.connectionString).getContainerClient("data");
  await container.create();
  disk = realDisk(folder, () => Promise.resolve());
  for (let i = 0; i < 8; i++) mkdirSync(join(folder, folderPath(i)), { recursive: true });
  expect(FILES_FOLDER).toBe("files");
  const listener = { ended: (entry: Entry) => void ended.push(entry), filesFreed: () => {} };
  ({ journal } = await openJournal({ disk, clock: realClock, random: seededRandom(1), term: 1, listener }));
  drain = createDrain({
    ...{ journal, disk, clock: realClock, random: seededRandom(2), lakes: () => lake, pendingNames: null },
    policyOf: () => ({ whenParked: "hold", exclusive: false, tier: "Cool" }),
    rateBytesPerSecond: () => null,
    around: async () => ({ ended: async () => {} }),
    log: () => {},
  });
}, 60_000);

afterAll(async () => {
  await drain?.stop(0);
  await journal?.stop();
  lake?.close();
  await azurite?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function spanOf(fileId: number, bytes: Uint8Array, blockId: string): Promise<BlockSpan> {
  const fd = disk.open(filePath(fileId), "create");
  await disk.write(fd, bytes, 0);
  disk.close(fd);
  const sum = spanSum();
  for (let at = 0; at < bytes.length; at += SPAN_PIECE_BYTES) sum.add(bytes.subarray(at, at + SPAN_PIECE_BYTES));
  return { fileId, offset: 0, length: bytes.length, checksum: sum.end(), blockId };
}

async function put(blob: string, content: NewContent, sizeBytes: number, base: Entry["base"]): Promise<void> {
  const headers = ["Content-Type", "text/plain", "x-ms-meta-Team", "red"];
  const details = { sizeBytes, etag: `"${blob}"`, lastModifiedMs: 0, headers, contentMd5: null, contentCrc64: null };
  const name = { account: AZURITE_ACCOUNT, container: "data", blob };
  await journal.append({ kind: "put", path: "data/", name, base, put: details, content });
}

test("puts of every form, a deletion, a foreign change and staged blocks", async () => {
  const none = { kind: "none" } as const;
  const small = new TextEncoder().encode("hello");
  const [one, two] = [bytesOf(5 * MIB + 3, 1), bytesOf(70_000, 2)];
  await container.getBlockBlobClient("theirs").uploadData(small);
  const gone = await container.getBlockBlobClient("gone").uploadData(small);
  await put("ä b/%41+#?.txt", { kind: "inline", bytes: small }, small.length, { kind: "unknown" });
  await put("empty", { kind: "inline", bytes: new Uint8Array(0) }, 0, none);
  await put("one", { kind: "spans", spans: [await spanOf(1, one, "")] }, one.length, none);
  const parts = [await spanOf(2, one, id("b1")), await spanOf(3, two, id("b2"))];
  await put("list", { kind: "spans", spans: parts }, one.length + two.length, none);
  const name = (blob: string) => ({ account: AZURITE_ACCOUNT, container: "data", blob });
  const base = { kind: "etag", etag: gone.etag ?? "" } as const;
  await journal.append({ kind: "delete", path: "data/", name: name("gone"), base });
  await put("theirs", { kind: "inline", bytes: new TextEncoder().encode("ours") }, 4, none);
  await journal.stage({ name: name("staged"), blockId: id("s1"), span: await spanOf(4, two, "") });
  const scope = { account: AZURITE_ACCOUNT, container: null, blob: null };
  expect(await drain.flush(scope, { timeoutMs: 30_000, staged: true })).toEqual({ kind: "done" });

  const text = await container.getBlobClient("ä b/%41+#?.txt").download();
  expect(text).toMatchObject({ contentType: "text/plain", metadata: { team: "red" }, contentLength: 5 });
  expect((await container.getBlobClient("empty").getProperties()).contentLength).toBe(0);
  expect(Buffer.compare(await container.getBlobClient("one").downloadToBuffer(), one)).toBe(0);
  const list = await container.getBlockBlobClient("list").getBlockList("committed");
  expect(list.committedBlocks).toEqual([
    { name: id("b1"), size: one.length },
    { name: id("b2"), size: two.length },
  ]);
  const properties = await container.getBlobClient("list").getProperties();
  expect(properties).toMatchObject({ contentType: "text/plain", accessTier: "Cool" });
  expect(ended.find(({ name: { blob } }) => blob === "list")?.state).toEqual({
    name: "settled",
    lakeEtag: properties.etag ?? "",
  });
  expect(await container.getBlobClient("gone").exists()).toBe(false);
  const [aside] = [...journal.view.entries()];
  if (aside?.state.name !== "aside") throw new Error("the conflict is aside");
  expect((await container.getBlobClient("theirs").downloadToBuffer()).toString()).toBe("hello");
  expect((await container.getBlobClient(aside.state.sideName ?? "").downloadToBuffer()).toString()).toBe("ours");
  const staged = await container.getBlockBlobClient("staged").getBlockList("uncommitted");
  expect(staged.uncommittedBlocks?.map(({ name: block }) => block)).toEqual([id("s1")]);
}, 60_000);
