/**
 * A flash folder with an index of any number of cached blobs, made through the index's own writer in batches. The last
 * {@link READABLE} of them have files of 4 KiB (hard links of a few), so that they can be read through the product;
 * the others have their rows, as of blobs of 100 KB, and no files: nothing here ever opens them.
 *
 * Folders are kept below `.forebay/bench-cache` and used again.
 */
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { checksumOf, filePath } from "../../src/flash/files.ts";
import type { IndexedVersion } from "../../src/flash/index.ts";
import { openFlashIndex } from "../../src/flash/index-open.ts";
import { INDEX_FILE, INDEX_FORMAT } from "../../src/flash/index-schema.ts";
import { adviseDontNeed } from "../../src/io/syscalls.ts";
import { startTestForebay, type TestForebay } from "../../tests/support/forebay.ts";

const CACHE = join(import.meta.dir, "../../.forebay/bench-cache");
/** Raise it when what is made here changes. */
const MAKE = 1;
/** Rows of a transaction. */
const BATCH = 20_000;
const SHARD = 65_536;
const ERA = "bench";
const LINKS_PER_FILE = 30_000;

export const ACCOUNT = "bench";
export const KEY = Buffer.alloc(64, 7).toString("base64");
export const API_VERSION = "2025-01-05";
/** How many of the blobs have files. */
export const READABLE = 100_000;
export const READABLE_BYTES = 4096;
const OTHER_BYTES = 100_000;
const CONTENT = Buffer.alloc(READABLE_BYTES, 7);
const READABLE_CHECKSUM = checksumOf(CONTENT);

/** Nobody listens there: what these benchmarks read is answered from flash, or not at all. */
const NO_LAKE = `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${KEY};BlobEndpoint=http://127.0.0.1:9/${ACCOUNT}`;

/** A made flash folder. */
export interface BigIndex {
  readonly folder: string;
  readonly file: string;
  readonly count: number;
  readonly bytes: number;
}

/** The blob that came as number `i`: shards one after the other, shuffled within, as training reads them. */
export function blobPath(i: number): string {
  const within = (i * 40_503) % SHARD;
  return `images/train/shard-${String(Math.floor(i / SHARD)).padStart(5, "0")}/${String(within).padStart(8, "0")}.jpg`;
}

/** The row of blob `i`, with headers as the service gives them. */
function versionOf(i: number, firstId: number, count: number): IndexedVersion {
  const readable = i >= count - READABLE;
  const sizeBytes = readable ? READABLE_BYTES : OTHER_BYTES;
  const etag = `"0x8DC${(0x1f00000000 + i * 7919).toString(16).toUpperCase().padStart(12, "0")}"`;
  const at = new Date(1_700_000_000_000 + i * 1000).toUTCString();
  const md5 = Buffer.from(`${String(i).padStart(16, "0")}`).toString("base64");
  const headers = [
    ...["Content-Type", "image/jpeg", "Content-MD5", md5, "Last-Modified", at, "Accept-Ranges", "bytes", "ETag", etag],
    ...["Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0", "x-ms-version", API_VERSION],
    ...["x-ms-resource-type", "file", "x-ms-creation-time", at, "x-ms-lease-status", "unlocked"],
    ...["x-ms-lease-state", "available", "x-ms-blob-type", "BlockBlob", "x-ms-server-encrypted", "true"],
    ...["x-ms-access-tier", "Hot", "x-ms-access-tier-inferred", "true"],
  ];
  return {
    id: firstId + i,
    key: `${ACCOUNT}/${blobPath(i)}`,
    etag,
    sizeBytes,
    blockBytes: 1 << 20,
    spans: [{ fileId: firstId + i, offset: 0, length: sizeBytes }],
    present: null,
    variants: [
      { id: `full|${API_VERSION}`, headers, sentAtMs: 81_234.5 + i, generation: [0, 0, 0], epoch: ERA, era: ERA },
    ],
    storedBytes: Math.ceil(sizeBytes / 4096) * 4096,
  };
}

/** Starts the product on `folder`: everything in it is fresh, and no lake can be asked. */
export function startOn(folder: string, servers: 1 | 2 = 1): Promise<TestForebay> {
  return startTestForebay({
    lake: NO_LAKE,
    servers,
    policies: [{ path: "", maxStale: "immutable" }],
    flashSize: "64TiB",
    extra: ["--flash", folder],
  });
}

/** The folder with `count` blobs, made if it is not there yet. `say` hears of the progress. */
export async function bigIndex(count: number, say: (text: string) => void): Promise<BigIndex> {
  const name = `index-${count}-f${INDEX_FORMAT}-m${MAKE}`;
  const folder = join(CACHE, name);
  const file = join(folder, INDEX_FILE);
  if (!existsSync(folder)) {
    removeOutdated(count, name);
    const building = `${folder}.new-${process.pid}`;
    rmSync(building, { recursive: true, force: true });
    mkdirSync(building, { recursive: true });
    await (await startOn(building)).stop(); // makes all that belongs into a folder
    keepEra(building);
    fill(building, count, say);
    renameSync(building, folder);
  }
  return { folder, file, count, bytes: statSync(file).size };
}

/** Those made for another format of the index, or in another way, are of no use any more. */
function removeOutdated(count: number, current: string): void {
  if (!existsSync(CACHE)) return;
  for (const name of readdirSync(CACHE)) {
    const made = /^index-(\d+)-f\d+-m\d+$/.exec(name);
    if (made?.[1] === `${count}` && name !== current) rmSync(join(CACHE, name), { recursive: true, force: true });
  }
}

/** The era of the settings is the one that the rows were made in. */
function keepEra(folder: string): void {
  const path = join(folder, "era.json");
  const held: Record<string, unknown> = JSON.parse(readFileSync(path, "utf8"));
  writeFileSync(path, JSON.stringify({ ...held, era: ERA }));
}

function fill(folder: string, count: number, say: (text: string) => void): void {
  const index = openFlashIndex(join(folder, INDEX_FILE), (_level, message) => say(message));
  const firstId = Math.floor(Date.now()) * 1000;
  for (let from = 0; from < count; from += BATCH) {
    const end = Math.min(count, from + BATCH);
    index.change(false, (changes) => {
      for (let i = from; i < end; i++) {
        changes.insert(versionOf(i, firstId, count));
        const checksum = i < count - READABLE ? (i * 2_654_435_761).toString(16) : READABLE_CHECKSUM;
        changes.checksum(firstId + i, 0, checksum);
      }
      // The scrub goes on from here: to those that have files.
      if (end === count) changes.scrubbed(firstId + count - READABLE - 1);
    });
    if (end % 500_000 === 0 || end === count) say(`an index of ${count} blobs: ${end} made`);
  }
  index.close();
  const first = firstId + count - READABLE;
  let original = "";
  for (let i = 0; i < READABLE; i++) {
    const path = join(folder, filePath(first + i));
    mkdirSync(dirname(path), { recursive: true });
    if (i % LINKS_PER_FILE !== 0) {
      linkSync(original, path);
      continue;
    }
    writeFileSync(path, CONTENT);
    original = path;
  }
}

/** Reads the index through, so that the kernel holds its pages. */
export function readPages(index: BigIndex): void {
  const fd = openSync(index.file, "r");
  const buffer = Buffer.allocUnsafe(4 << 20);
  while (readSync(fd, buffer) > 0);
  closeSync(fd);
}

/** The kernel forgets the pages of the index that it holds. */
export function dropPages(index: BigIndex): void {
  const fd = openSync(index.file, "r");
  adviseDontNeed(fd, 0, 0);
  closeSync(fd);
}
