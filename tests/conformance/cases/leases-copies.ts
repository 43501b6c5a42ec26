/** Leases on blobs, copies, and cross-origin requests. */
import type { CaseGroup } from "../harness/case.ts";
import { type CaseContext, someBytes } from "../harness/context.ts";

const LEASE = "c0ffee00-0000-4000-8000-000000000001";
const OTHER = "c0ffee00-0000-4000-8000-000000000002";

/** Cases about leases. */
export const leases: CaseGroup = {
  name: "leases",
  cases: [
    {
      name: "acquire, renew, change, release, break; reads in between",
      run: async (c) => {
        const blob = c.blobs.getBlockBlobClient("l");
        await blob.upload("leased", 6).catch(() => {});
        const read = async (label: string, id?: string): Promise<void> => {
          const headers: Record<string, string> = id === undefined ? {} : { "x-ms-lease-id": id };
          await c.raw({ path: `/${c.container}/l`, headers, label: `GET ${label}` });
          await c.raw({ method: "HEAD", path: `/${c.container}/l`, headers, label: `HEAD ${label}` });
        };
        await read("before");
        const lease = blob.getBlobLeaseClient(LEASE);
        await c.attempt("acquire", () => lease.acquireLease(60));
        await read("leased");
        await read("leased, right id", LEASE);
        await read("leased, wrong id", OTHER);
        await c.attempt("write without", () => blob.upload("other", 5));
        await c.attempt("write with", () => blob.upload("owner", 5, { conditions: { leaseId: LEASE } }));
        await read("written");
        await c.attempt("renew", () => lease.renewLease());
        await c.attempt("change", () => lease.changeLease(OTHER));
        await c.attempt("delete without", () => blob.delete());
        await c.attempt("release", () => blob.getBlobLeaseClient(OTHER).releaseLease());
        await read("released");
        await read("released, with an id", OTHER);
        await c.attempt("infinite", () => lease.acquireLease(-1));
        await read("infinite");
        await c.attempt("break", () => lease.breakLease(0));
        await read("broken");
        await c.attempt("bad duration", () => lease.acquireLease(3));
        await c.attempt("bad id", () => blob.getBlobLeaseClient("no-uuid").acquireLease(15));
      },
    },
    {
      name: "a lease taken at the lake shows in a cached blob's headers",
      setup: async (c) => void (await c.lake.blobs.getBlockBlobClient("x").upload("text", 4)),
      run: async (c) => {
        await c.raw({ path: `/${c.container}/x`, cache: "hit" });
        await c.raw({
          path: `/${c.container}/x`,
          headers: { "x-ms-lease-id": LEASE },
          label: "with id",
          cache: "never",
        });
      },
      change: async (c) => void (await c.lake.blobs.getBlobClient("x").getBlobLeaseClient(LEASE).acquireLease(-1)),
    },
  ],
};

async function sources(c: CaseContext): Promise<void> {
  await c.lake.blobs.getBlockBlobClient("from").upload(Buffer.from(someBytes(4000)), 4000, {
    blobHTTPHeaders: { blobContentType: "application/x-copied" },
    metadata: { from: "source" },
  });
  await c.lake.blobs.getBlockBlobClient("to").upload("old text", 8);
}

/** Cases about copies: the source names the endpoint that the client knows. */
export const copies: CaseGroup = {
  name: "copies",
  cases: [
    {
      name: "asynchronous copy over a blob that was read before",
      styles: true,
      setup: sources,
      run: async (c) => {
        await c.raw({ path: `/${c.container}/to`, label: "before" });
        const poller = await c.blobs.getBlobClient("to").beginCopyFromURL(c.blobs.getBlobClient("from").url);
        const done = await poller.pollUntilDone();
        c.note("status", done.copyStatus);
        await c.raw({ path: `/${c.container}/to`, label: "after" });
        await c.raw({ method: "HEAD", path: `/${c.container}/to`, label: "after" });
      },
    },
    {
      name: "synchronous copy, with new metadata",
      setup: sources,
      run: async (c) => {
        await c.raw({ path: `/${c.container}/to`, label: "before" });
        const from = c.blobs.getBlobClient("from").url;
        await c.attempt("copy", () => c.blobs.getBlobClient("to").syncCopyFromURL(from, { metadata: { new: "yes" } }));
        await c.raw({ path: `/${c.container}/to`, label: "after" });
      },
    },
    {
      name: "of a snapshot, over itself",
      setup: sources,
      run: async (c) => {
        const blob = c.blobs.getBlockBlobClient("from");
        const taken = await blob.createSnapshot();
        await blob.upload("changed", 7);
        await c.raw({ path: `/${c.container}/from`, label: "before" });
        const url = blob.withSnapshot(taken.snapshot ?? "").url;
        await c.attempt("promote", async () => (await blob.beginCopyFromURL(url)).pollUntilDone());
        await c.raw({ path: `/${c.container}/from`, label: "after" });
      },
    },
    {
      name: "refused: no source, a source that is not there, a bad URL, abort of nothing",
      setup: sources,
      run: async (c) => {
        const path = `/${c.container}/to`;
        const absent = c.blobs.getBlobClient("absent").url;
        const put = (label: string, source: string) =>
          c.raw({ method: "PUT", path, headers: { "x-ms-copy-source": source }, label });
        await put("absent", absent);
        await put("no URL", "nonsense");
        await put("empty", "");
        const query = "comp=copy&copyid=c0ffee00-0000-4000-8000-0000000000ff";
        await c.raw({ method: "PUT", path, query, headers: { "x-ms-copy-action": "abort" }, label: "abort" });
        await c.raw({ path, label: "unchanged" });
      },
    },
    {
      name: "with source conditions",
      setup: sources,
      run: async (c) => {
        const blob = c.blobs.getBlobClient("to");
        const from = c.blobs.getBlobClient("from").url;
        const conditions = { ifMatch: '"0x8D0000000000000"' };
        await c.attempt("source", () => blob.syncCopyFromURL(from, { sourceConditions: conditions }));
        await c.attempt("target", () => blob.syncCopyFromURL(from, { conditions }));
        await c.raw({ path: `/${c.container}/to`, label: "unchanged" });
      },
    },
  ],
};

/** Cases about CORS. The rules belong to the account, so the case puts back what it found. */
export const cors: CaseGroup = {
  name: "cross-origin requests",
  cases: [
    {
      name: "preflight and Origin, with and without rules",
      setup: async (c) => void (await c.lake.blobs.getBlockBlobClient("o").upload("origin", 6)),
      run: async (c) => {
        const path = `/${c.container}/o`;
        const ask = async (label: string): Promise<void> => {
          for (const origin of ["http://allowed.example", "http://other.example"]) {
            const headers = { Origin: origin, "Access-Control-Request-Method": "GET" };
            await c.raw({ method: "OPTIONS", path, headers, auth: "none", label: `${label} preflight ${origin}` });
            await c.raw({ path, headers: { Origin: origin }, label: `${label} GET ${origin}`, cache: "never" });
            await c.raw({ method: "HEAD", path, headers: { Origin: origin }, label: `${label} HEAD ${origin}` });
          }
          await c.raw({ method: "OPTIONS", path, auth: "none", label: `${label} no origin` });
          await c.raw({ path, label: `${label} no origin` });
        };
        await ask("no rules");
        const rule = {
          allowedOrigins: "http://allowed.example",
          allowedMethods: "GET,HEAD",
          allowedHeaders: "x-ms-*",
          exposedHeaders: "x-ms-meta-*",
          maxAgeInSeconds: 60,
        };
        await c.service.setProperties({ cors: [rule] });
        try {
          await ask("rules");
        } finally {
          await c.service.setProperties({ cors: [] });
        }
      },
    },
  ],
};
