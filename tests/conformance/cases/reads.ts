/** Reading block blobs: whole, ranges, properties. This is what the cache is for, so hits are demanded here. */
import type { CaseGroup, ConformanceCase } from "../harness/case.ts";
import { type CaseContext, someBytes } from "../harness/context.ts";

const MIB = 1024 * 1024;
const UPLOAD = {
  blobHTTPHeaders: {
    blobContentType: "application/x-shard",
    blobCacheControl: "max-age=60",
    blobContentLanguage: "en",
    blobContentDisposition: 'attachment; filename="shard.bin"',
  },
  metadata: { colour: "blue", Mixed_Case: "Value With Spaces" },
};

const put = (c: CaseContext, name: string, length: number, seed = length + 1) =>
  c.lake.blobs.getBlockBlobClient(name).upload(Buffer.from(someBytes(length, seed)), length, UPLOAD);

const sized = (label: string, length: number, styles = false): ConformanceCase => ({
  name: `whole and properties, ${label}`,
  styles,
  setup: async (c) => void (await put(c, "b", length)),
  run: async (c) => {
    c.expectCache("hit");
    const blob = c.blobs.getBlobClient("b");
    const whole = await blob.downloadToBuffer(0, undefined, { concurrency: 1 });
    c.note("length", whole.length);
    await blob.getProperties();
    await c.raw({ path: `/${c.container}/b`, cache: "hit" });
    await c.raw({ method: "HEAD", path: `/${c.container}/b`, cache: "hit" });
  },
  change: async (c) => void (await put(c, "b", length + 7, 99)),
});

const BLOB_BYTES = 2 * MIB + 1234;

/** Header sets of ranged reads; `hit` says that the cache must answer. */
const RANGES: readonly (readonly [name: string, headers: Readonly<Record<string, string>>, hit: boolean])[] = [
  ["first byte", { "x-ms-range": "bytes=0-0" }, true],
  ["first KiB", { Range: "bytes=0-1023" }, true],
  ["across a block boundary", { "x-ms-range": `bytes=${MIB - 5}-${MIB + 5}` }, true],
  ["one block exactly", { "x-ms-range": `bytes=${MIB}-${2 * MIB - 1}` }, true],
  ["open end", { "x-ms-range": `bytes=${2 * MIB}-` }, true],
  ["open end from 0", { Range: "bytes=0-" }, true],
  ["last byte", { Range: `bytes=${BLOB_BYTES - 1}-${BLOB_BYTES - 1}` }, true],
  ["end past the end", { "x-ms-range": `bytes=${BLOB_BYTES - 10}-${BLOB_BYTES + 1000}` }, true],
  ["x-ms-range beats Range", { Range: "bytes=0-9", "x-ms-range": "bytes=10-19" }, true],
  ["start at the end", { "x-ms-range": `bytes=${BLOB_BYTES}-` }, false],
  ["start past the end", { "x-ms-range": `bytes=${BLOB_BYTES + 5}-${BLOB_BYTES + 9}` }, false],
  ["with MD5", { "x-ms-range": "bytes=0-1023", "x-ms-range-get-content-md5": "true" }, false],
  ["MD5 without a range", { "x-ms-range-get-content-md5": "true" }, false],
  ["multiple", { Range: "bytes=0-1,5-6" }, false],
  ["multiple by x-ms-range", { "x-ms-range": "bytes=0-1,5-6" }, false],
  ["reversed", { Range: "bytes=9-0" }, false],
  ["another unit", { Range: "items=0-1" }, false],
  ["no unit", { "x-ms-range": "0-10" }, false],
  ["spaces", { Range: "bytes = 0 - 10" }, false],
  ["upper case unit", { Range: "BYTES=0-10" }, false],
  ["negative", { "x-ms-range": "bytes=-5-10" }, false],
  ["huge numbers", { "x-ms-range": "bytes=0-99999999999999999999" }, false],
  ["leading zeros", { "x-ms-range": "bytes=000-0010" }, false],
];

/** To these Azurite answers with a Content-Length of NaN, which no client can read. */
const RANGES_FOR_A_REAL_LAKE: typeof RANGES = [
  ["suffix", { Range: "bytes=-100" }, false],
  ["suffix of nothing", { Range: "bytes=-0" }, false],
  ["no numbers", { Range: "bytes=a-b" }, false],
  ["empty", { "x-ms-range": "bytes=" }, false],
];

const ranges: readonly ConformanceCase[] = [...RANGES, ...RANGES_FOR_A_REAL_LAKE].map(([name, headers, hit]) => ({
  name: `range: ${name}`,
  readOnly: true,
  needs: RANGES_FOR_A_REAL_LAKE.some(([other]) => other === name) ? ["real-lake"] : [],
  setup: async (c) => void (await put(c, "r", BLOB_BYTES)),
  run: async (c) => {
    // The whole blob first, so that the ranges can be hits on the warm pass.
    await c.raw({ path: `/${c.container}/r`, label: "whole", cache: "hit" });
    await c.raw({ path: `/${c.container}/r`, headers, label: "GET", cache: hit ? "hit" : "any" });
    await c.raw({ method: "HEAD", path: `/${c.container}/r`, headers, label: "HEAD" });
  },
}));

const others: readonly ConformanceCase[] = [
  {
    name: "ranges of a zero-length blob",
    readOnly: true,
    setup: async (c) => void (await put(c, "z", 0)),
    run: async (c) => {
      for (const range of ["bytes=0-", "bytes=0-0", "bytes=1-", "bytes=-1"]) {
        await c.raw({ path: `/${c.container}/z`, headers: { "x-ms-range": range }, label: range });
      }
    },
  },
  {
    name: "9 MiB committed from blocks, read in parallel ranges",
    styles: true,
    setup: async (c) => {
      const blob = c.lake.blobs.getBlockBlobClient("shard");
      const ids = Array.from({ length: 9 }, (_, i) => Buffer.from(`block-${i}`).toString("base64"));
      for (const [i, id] of ids.entries()) await blob.stageBlock(id, Buffer.from(someBytes(MIB, i + 50)), MIB);
      await blob.commitBlockList(ids);
    },
    run: async (c) => {
      c.expectCache("hit");
      const whole = await c.blobs.getBlobClient("shard").downloadToBuffer(0, undefined, { concurrency: 1 });
      c.note("sum", Bun.hash(whole).toString());
      const part = await c.blobs.getBlobClient("shard").download(3 * MIB - 1, 2);
      const parts: Uint8Array[] = [];
      for await (const piece of part.readableStreamBody ?? []) parts.push(Buffer.from(piece));
      c.note("part", Buffer.concat(parts).toString("hex"));
    },
    change: async (c) => void (await put(c, "shard", 9 * MIB, 7)),
  },
  {
    name: "a blob that is not there",
    readOnly: true,
    styles: true,
    run: async (c) => {
      await c.attempt("download", () => c.blobs.getBlobClient("absent").download());
      await c.attempt("properties", () => c.blobs.getBlobClient("absent").getProperties());
      c.note("exists", await c.blobs.getBlobClient("absent").exists());
      await c.raw({ path: `/${c.container}/absent`, headers: { "x-ms-range": "bytes=5-9" } });
    },
  },
  {
    name: "a container that is not there",
    makeContainer: false,
    readOnly: true,
    run: async (c) => {
      await c.raw({ path: `/${c.container}/x` });
      await c.raw({ method: "HEAD", path: `/${c.container}/x` });
      await c.raw({ path: `/${c.container}`, query: "restype=container&comp=list" });
    },
  },
  {
    name: "deleted at the lake after it was cached",
    setup: async (c) => void (await put(c, "gone", 5000)),
    run: async (c) => {
      await c.raw({ path: `/${c.container}/gone` });
      await c.raw({ method: "HEAD", path: `/${c.container}/gone` });
    },
    change: async (c) => void (await c.lake.blobs.deleteBlob("gone")),
  },
  {
    name: "metadata and headers changed at the lake after it was cached",
    setup: async (c) => void (await put(c, "meta", 3000)),
    run: async (c) => {
      await c.raw({ path: `/${c.container}/meta`, cache: "hit" });
      await c.raw({ method: "HEAD", path: `/${c.container}/meta`, cache: "hit" });
    },
    change: async (c) => {
      await c.lake.blobs.getBlobClient("meta").setMetadata({ changed: "yes" });
      await c.lake.blobs.getBlobClient("meta").setHTTPHeaders({ blobContentType: "text/changed" });
    },
  },
  {
    name: "tier and lease changed at the lake after it was cached (no new ETag)",
    setup: async (c) => void (await put(c, "tiered", 3000)),
    run: async (c) => {
      await c.raw({ path: `/${c.container}/tiered`, cache: "hit" });
      await c.raw({ method: "HEAD", path: `/${c.container}/tiered`, cache: "hit" });
    },
    change: async (c) => {
      await c.lake.blobs.getBlobClient("tiered").setAccessTier("Cool");
      await c.lake.blobs
        .getBlobClient("tiered")
        .getBlobLeaseClient("c0ffee00-0000-4000-8000-000000000001")
        .acquireLease(-1);
    },
  },
  {
    name: "a snapshot, by its time",
    setup: async (c) => {
      await put(c, "s", 4000);
      await c.lake.blobs.getBlobClient("s").createSnapshot({ metadata: { of: "snapshot" } });
      await put(c, "s", 100, 3);
    },
    readOnly: true,
    run: async (c) => {
      const times: string[] = [];
      for await (const item of c.lake.blobs.listBlobsFlat({ includeSnapshots: true })) {
        if (item.snapshot) times.push(item.snapshot);
      }
      const query = `snapshot=${encodeURIComponent(times[0] ?? "")}`;
      await c.raw({ path: `/${c.container}/s`, query, label: "snapshot" });
      await c.raw({ method: "HEAD", path: `/${c.container}/s`, query, label: "snapshot" });
      await c.raw({ path: `/${c.container}/s`, query, headers: { "x-ms-range": "bytes=10-19" }, label: "part" });
      await c.raw({ path: `/${c.container}/s`, label: "base", cache: "hit" });
      await c.raw({ path: `/${c.container}/s`, query: "snapshot=2001-01-01T00:00:00.0000000Z", label: "absent" });
      await c.raw({ path: `/${c.container}/s`, query: "snapshot=nonsense", label: "nonsense" });
      await c.raw({ path: `/${c.container}/s`, query: "snapshot=", label: "empty" });
      await c.raw({ path: `/${c.container}/s`, query: "versionid=2001-01-01T00:00:00.0000000Z", label: "version" });
    },
  },
  {
    name: "a body that is compressed at rest stays as it is",
    readOnly: true,
    setup: async (c) => {
      const body = Bun.gzipSync(Buffer.from("some text ".repeat(1000)));
      await c.lake.blobs.getBlockBlobClient("gz").upload(Buffer.from(body), body.length, {
        blobHTTPHeaders: { blobContentEncoding: "gzip", blobContentType: "text/plain" },
      });
    },
    run: async (c) => {
      await c.raw({ path: `/${c.container}/gz`, cache: "hit" });
      await c.raw({ path: `/${c.container}/gz`, headers: { "Accept-Encoding": "gzip, br" }, label: "accepting" });
      await c.raw({ path: `/${c.container}/gz`, headers: { "x-ms-range": "bytes=3-40" }, label: "part" });
    },
  },
  {
    name: "unknown headers and parameters",
    readOnly: true,
    setup: async (c) => void (await put(c, "u", 2048)),
    run: async (c) => {
      const path = `/${c.container}/u`;
      await c.raw({ path, label: "plain" });
      await c.raw({ path, headers: { "x-ms-unknown": "1" }, label: "header", cache: "never" });
      await c.raw({ path, query: "unknown=1", label: "parameter", cache: "never" });
      await c.raw({ path, query: "comp=unknown", label: "comp", cache: "never" });
      await c.raw({ path, query: "timeout=30", label: "timeout" });
      await c.raw({ path, query: "timeout=abc", label: "bad timeout" });
      await c.raw({
        path,
        headers: { "X-Custom": "1", Accept: "*/*", "User-Agent": "me" },
        label: "custom",
        cache: "hit",
      });
      await c.raw({
        path,
        headers: { "x-ms-structured-body": "XSM/1.0; properties=crc64" },
        label: "sb",
        cache: "never",
      });
      await c.raw({ path, headers: { "x-ms-if-tags": "a = 'b'" }, label: "tags", cache: "never" });
    },
  },
  {
    name: "x-ms-client-request-id is echoed, warm too",
    readOnly: true,
    setup: async (c) => void (await put(c, "echo", 2048)),
    run: async (c) => {
      const path = `/${c.container}/echo`;
      for (const id of ["abc", "c0ffee00-aaaa-4000-8000-000000000001", "x".repeat(1024)]) {
        await c.raw({ path, headers: { "x-ms-client-request-id": id }, label: "GET", cache: "hit" });
        await c.raw({ method: "HEAD", path, headers: { "x-ms-client-request-id": id }, label: "HEAD", cache: "hit" });
      }
      await c.raw({ path, label: "without", cache: "hit" });
    },
  },
  {
    name: "with versions of the API",
    readOnly: true,
    setup: async (c) => void (await put(c, "v", 2048)),
    run: async (c) => {
      const path = `/${c.container}/v`;
      await c.raw({ path, version: "2015-02-21", label: "before the rules of today", cache: "never" });
      for (const version of ["2015-04-05", "2017-11-09", "2019-12-12", "2020-10-02", "2023-11-03", "2025-01-05"]) {
        await c.raw({ path, version, label: version, cache: "hit" });
        await c.raw({ method: "HEAD", path, version, label: version, cache: "hit" });
      }
      for (const version of ["2009-09-19", "2031-01-01", "nonsense", ""]) {
        await c.raw({ path, version, label: `odd ${version}` });
      }
      await c.raw({ path, version: null, label: "none" });
    },
  },
];

/** All cases about reading. */
export const reads: CaseGroup = {
  name: "reading block blobs",
  cases: [
    sized("1 byte", 1),
    sized("0 bytes", 0),
    sized("1,000 bytes", 1000, true),
    sized("1 MiB - 1", MIB - 1),
    sized("1 MiB", MIB),
    sized("1 MiB + 1", MIB + 1),
    sized("9 MiB + 17", 9 * MIB + 17),
    ...ranges,
    ...others,
  ],
};
