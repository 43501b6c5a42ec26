/** The service, containers, and listings. */
import type { CaseGroup } from "../harness/case.ts";
import type { CaseContext } from "../harness/context.ts";

const LEASE = "c0ffee00-0000-4000-8000-00000000000a";

/** Cases about the service. */
export const service: CaseGroup = {
  name: "service",
  cases: [
    {
      name: "properties, statistics and account information",
      run: async (c) => {
        await c.raw({ query: "restype=service&comp=properties" });
        await c.raw({ query: "restype=service&comp=stats" });
        await c.raw({ query: "restype=account&comp=properties" });
        await c.raw({ method: "HEAD", query: "restype=account&comp=properties" });
        await c.attempt("info", () => c.service.getAccountInfo());
        await c.attempt("set", async () => c.service.setProperties(await c.service.getProperties()));
      },
    },
    {
      name: "the secondary endpoint",
      readOnly: true,
      setup: async (c) => void (await c.lake.blobs.getBlockBlobClient("b").upload("secondary", 9)),
      run: async (c) => {
        const account = `${c.account.name}-secondary`;
        const query = "restype=service&comp=stats";
        // Signed with the account's own name, over the path as it is.
        if (c.endpoint.style === "path") await c.raw({ account, query, auth: "none", label: "stats unsigned" });
        await c.raw({ account, path: `/${c.container}/b`, auth: "none", label: "unsigned" });
      },
    },
    {
      name: "list containers: prefix, pages, metadata",
      makeContainer: false,
      styles: true,
      run: async (c) => {
        for (const name of ["x1", "x2", "x3"]) {
          await c.attempt(`create ${name}`, () =>
            c.service.getContainerClient(c.other(name)).create({ metadata: { name } }),
          );
        }
        const names: string[] = [];
        for await (const item of c.service.listContainers({ prefix: c.container, includeMetadata: true })) {
          names.push(`${item.name} ${item.metadata?.["name"]}`);
        }
        c.note("names", names);
        const pages: number[] = [];
        for await (const page of c.service.listContainers({ prefix: c.container }).byPage({ maxPageSize: 2 })) {
          pages.push(page.containerItems.length);
        }
        c.note("pages", pages);
        await c.raw({ query: `comp=list&prefix=${c.container}&maxresults=0`, label: "no results" });
        await c.raw({ query: `comp=list&prefix=${c.container}&maxresults=abc`, label: "bad count" });
        await c.raw({ query: "comp=nonsense", label: "bad comp" });
      },
    },
    {
      name: "find blobs by tags",
      run: async (c) => {
        await c.blobs.getBlockBlobClient("t1").upload("x", 1, { tags: { owner: c.container, n: "1" } });
        await c.blobs.getBlockBlobClient("t2").upload("x", 1, { tags: { owner: c.container, n: "2" } });
        const found: string[] = [];
        for await (const item of c.service.findBlobsByTags(`owner='${c.container}' AND n >= '2'`))
          found.push(item.name);
        c.note("found", found);
        await c.raw({ query: "comp=blobs&where=nonsense", label: "bad expression" });
      },
    },
    {
      name: "batch: delete and set tier, some of them refused",
      styles: true,
      run: async (c) => {
        const clients = ["b1", "b2", "b3"].map((name) => c.blobs.getBlockBlobClient(name));
        for (const client of clients) await client.upload("batch", 5);
        const batch = c.service.getBlobBatchClient();
        await c.attempt("tier", async () => {
          const response = await batch.setBlobsAccessTier(clients, "Cool");
          c.note(
            "tiers",
            response.subResponses.map(({ status, errorCode }) => `${status} ${errorCode}`),
          );
        });
        for (const name of ["b1", "b2"]) await c.raw({ path: `/${c.container}/${name}`, label: `read ${name}` });
        const absent = c.blobs.getBlockBlobClient("absent");
        await c.attempt("delete", async () => {
          const response = await batch.deleteBlobs([...clients.slice(0, 2), absent]);
          c.note(
            "deletes",
            response.subResponses.map(({ status, errorCode }) => `${status} ${errorCode}`),
          );
        });
        for (const name of ["b1", "b2", "b3"]) await c.raw({ path: `/${c.container}/${name}`, label: `read ${name}` });
      },
    },
    {
      name: "batch: of a container",
      styles: true,
      run: async (c) => {
        const clients = ["b1", "b2"].map((name) => c.blobs.getBlockBlobClient(name));
        for (const client of clients) await client.upload("batch", 5);
        for (const name of ["b1", "b2"]) await c.raw({ path: `/${c.container}/${name}`, label: `read ${name}` });
        await c.attempt("delete", async () => {
          const response = await c.blobs.getBlobBatchClient().deleteBlobs(clients.slice(0, 1));
          c.note(
            "deletes",
            response.subResponses.map(({ status, errorCode }) => `${status} ${errorCode}`),
          );
        });
        for (const name of ["b1", "b2"]) await c.raw({ path: `/${c.container}/${name}`, label: `read ${name} again` });
      },
    },
    {
      name: "batch: malformed",
      run: async (c) => {
        const type = "multipart/mixed; boundary=batch_c0ffee";
        const headers = { "Content-Type": type };
        await c.raw({ method: "POST", query: "comp=batch", headers, body: "--batch_c0ffee--\r\n", label: "empty" });
        await c.raw({ method: "POST", query: "comp=batch", headers, body: "nonsense", label: "nonsense" });
        const part = `--batch_c0ffee\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\nGET /x HTTP/1.1\r\n\r\n`;
        await c.raw({ method: "POST", query: "comp=batch", headers, body: `${part}--batch_c0ffee--`, label: "a GET" });
      },
    },
  ],
};

/** Cases about containers. */
export const containers: CaseGroup = {
  name: "containers",
  cases: [
    {
      name: "create, properties, metadata, delete, use after delete",
      makeContainer: false,
      styles: true,
      run: async (c) => {
        await c.attempt("create", () => c.blobs.create({ metadata: { a: "1" } }));
        await c.attempt("again", () => c.blobs.create());
        c.note("if not exists", (await c.blobs.createIfNotExists()).succeeded);
        await c.blobs.getProperties();
        await c.raw({ method: "HEAD", path: `/${c.container}`, query: "restype=container" });
        await c.blobs.setMetadata({ b: "2" });
        await c.blobs.getProperties();
        await c.blobs.getBlockBlobClient("in").upload("x", 1);
        c.note("read", (await c.blobs.getBlobClient("in").downloadToBuffer()).toString());
        await c.attempt("delete", () => c.blobs.delete());
        await c.attempt("read after", () => c.blobs.getBlobClient("in").download());
        await c.attempt("list after", () => c.blobs.listBlobsFlat().next());
        await c.attempt("delete again", () => c.blobs.delete());
        c.note("exists", await c.blobs.exists());
      },
    },
    {
      name: "deleted and made again: old blobs are gone",
      run: async (c) => {
        await c.blobs.getBlockBlobClient("old").upload("old", 3);
        await c.raw({ path: `/${c.container}/old`, label: "before" });
        await c.raw({ path: `/${c.container}/old`, label: "before, again" });
        await c.blobs.delete();
        await c.raw({ path: `/${c.container}/old`, label: "after" });
        await c.attempt("create", () => c.blobs.create());
        await c.raw({ path: `/${c.container}/old`, label: "in the new one" });
      },
    },
    {
      name: "names that are not allowed",
      makeContainer: false,
      run: async (c) => {
        for (const name of ["a", "UPPER", "two--dashes", "-first", "last-", "under_score", "x".repeat(64), "dot.ted"]) {
          await c.raw({ method: "PUT", path: `/${name}`, query: "restype=container", label: name });
          await c.raw({ path: `/${name}/blob`, label: `read in ${name}` });
        }
      },
    },
    {
      name: "access policies",
      run: async (c) => {
        const startsOn = new Date("2020-01-01T00:00:00Z");
        const expiresOn = new Date("2040-01-01T00:00:00Z");
        const policy = { id: "readers", accessPolicy: { startsOn, expiresOn, permissions: "r" } };
        await c.blobs.setAccessPolicy("blob", [policy]);
        const seen = await c.blobs.getAccessPolicy();
        c.note("policy", { access: seen.blobPublicAccess, ids: seen.signedIdentifiers.map(({ id }) => id) });
        await c.blobs.setAccessPolicy();
        await c.blobs.getAccessPolicy();
        const query = "restype=container&comp=acl";
        await c.raw({ method: "PUT", path: `/${c.container}`, query, body: "<nonsense", label: "bad XML" });
      },
    },
    {
      name: "container leases",
      run: async (c) => {
        const lease = c.blobs.getBlobLeaseClient(LEASE);
        await lease.acquireLease(60);
        await c.attempt("delete without", () => c.blobs.delete());
        await lease.renewLease();
        await c.blobs.getProperties();
        await lease.changeLease("c0ffee00-0000-4000-8000-00000000000b");
        await c.attempt("release by the old id", () => c.blobs.getBlobLeaseClient(LEASE).releaseLease());
        await lease.breakLease(0);
        await c.attempt("bad duration", () => lease.acquireLease(5));
        await c.blobs.getProperties();
      },
    },
  ],
};

const NAMES = ["a", "b/1", "b/2", "b/c/3", "d e", "f%", "g+h", "ü/ö", "z"];

async function fill(c: CaseContext): Promise<void> {
  for (const name of NAMES) {
    await c.lake.blobs.getBlockBlobClient(name).upload(name, Buffer.byteLength(name), { metadata: { n: "1" } });
  }
}

/** Cases about listings of blobs. */
export const listings: CaseGroup = {
  name: "listings",
  cases: [
    {
      name: "flat, with prefix, pages and includes",
      styles: true,
      setup: fill,
      run: async (c) => {
        const names: string[] = [];
        for await (const item of c.blobs.listBlobsFlat({ includeMetadata: true })) names.push(item.name);
        c.note("all", names);
        const pages: string[][] = [];
        for await (const page of c.blobs.listBlobsFlat().byPage({ maxPageSize: 2 })) {
          pages.push(page.segment.blobItems.map(({ name }) => name));
        }
        c.note("pages", pages);
        for (const prefix of ["b", "b/", "ü", "f%", "g+", "d ", "nothing"]) {
          const found: string[] = [];
          for await (const item of c.blobs.listBlobsFlat({ prefix })) found.push(item.name);
          c.note(`prefix ${prefix}`, found);
        }
      },
      change: async (c) => {
        await c.lake.blobs.deleteBlob("a");
        await c.lake.blobs.getBlockBlobClient("new").upload("x", 1);
      },
    },
    {
      name: "by hierarchy",
      setup: fill,
      readOnly: true,
      run: async (c) => {
        for (const prefix of ["", "b/", "b/c/"]) {
          const found: string[] = [];
          for await (const item of c.blobs.listBlobsByHierarchy("/", { prefix }))
            found.push(`${item.kind} ${item.name}`);
          c.note(`under ${prefix}`, found);
        }
        const pages: number[] = [];
        for await (const page of c.blobs.listBlobsByHierarchy("/").byPage({ maxPageSize: 3 })) {
          pages.push((page.segment.blobPrefixes ?? []).length + page.segment.blobItems.length);
        }
        c.note("pages", pages);
        await c.raw({
          path: `/${c.container}`,
          query: "restype=container&comp=list&delimiter=",
          label: "no delimiter",
        });
        await c.raw({
          path: `/${c.container}`,
          query: "restype=container&comp=list&delimiter=b%2F",
          label: "long one",
        });
      },
    },
    {
      name: "with snapshots, uncommitted, tags, deleted, versions",
      setup: async (c) => {
        const blob = c.lake.blobs.getBlockBlobClient("s");
        await blob.upload("one", 3, { tags: { a: "b" } });
        await blob.createSnapshot();
        await c.lake.blobs.getBlockBlobClient("u").stageBlock(Buffer.from("1").toString("base64"), "x", 1);
      },
      readOnly: true,
      run: async (c) => {
        const base = "restype=container&comp=list";
        for (const include of [
          "snapshots",
          "uncommittedblobs",
          "tags",
          "deleted",
          "versions",
          "copy",
          "snapshots,uncommittedblobs,tags,metadata,copy",
          "nonsense",
        ]) {
          await c.raw({ path: `/${c.container}`, query: `${base}&include=${include}`, label: `include ${include}` });
        }
      },
    },
    {
      name: "bad parameters",
      readOnly: true,
      run: async (c) => {
        const base = "restype=container&comp=list";
        for (const query of [
          `${base}&maxresults=0`,
          `${base}&maxresults=-1`,
          `${base}&maxresults=5001`,
          `${base}&maxresults=x`,
          `${base}&marker=nonsense`,
          `${base}&prefix=%zz`,
          "comp=list",
          "restype=container",
          "restype=nonsense&comp=list",
        ]) {
          await c.raw({ path: `/${c.container}`, query, label: query });
        }
      },
    },
  ],
};
