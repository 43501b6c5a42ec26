/** Names that URLs, proxies and programs like to spoil. */
import type { BlockBlobClient } from "@azure/storage-blob";
import type { CaseGroup, ConformanceCase } from "../harness/case.ts";
import type { CaseContext } from "../harness/context.ts";

/** Names as the service knows them; the SDK encodes them. */
const SDK_NAMES: readonly string[] = [
  "plain",
  "with space",
  "plus+plus",
  "percent%20literal",
  "percent % alone",
  "question?mark",
  "hash#mark",
  "ampersand&equals=",
  "quote'\"quote",
  "semi;colon:comma,",
  "at@exclamation!",
  "brackets[](){}<>",
  "tilde~dash-under_dot.",
  "ümlaut/日本語/🦭.bin",
  "deep/er/and/deeper/still",
  "double//slash",
  "/leading/slash",
  "trailing/slash/",
  "trailing.dot.",
  ".",
  "..",
  "a/./b",
  "a/../b",
  "back\\slash",
  "UPPER/lower",
  "caret^pipe|backtick`",
  "dollar$star*",
  "x".repeat(1024),
  `${"y/".repeat(200)}end`,
];

/** Raw paths below the container, as a client of its own might send them. */
const RAW_PATHS: readonly string[] = [
  "plain",
  "pl%61in",
  "enc%2Fslash",
  "enc%2fslash",
  "double//slash",
  "a/../b",
  "a/%2E%2E/b",
  "plus+plus",
  "plus%2Bplus",
  "space%20space",
  "back%5Cslash",
  "caf%C3%A9",
  "cafe%CC%81",
  "bad%FFutf8",
  "bad%zz",
  "percent%",
  "semi;colon",
  "colon:",
  "nul%00nul",
  "tab%09tab",
  "newline%0Aline",
  "trail/",
  "trail.",
  "",
  "x".repeat(1025),
];

const short = (name: string): string => (name.length > 60 ? `${name.slice(0, 20)}… (${name.length})` : name);

const throughSdk = (name: string): ConformanceCase => ({
  name: `through the SDK: ${short(name)}`,
  styles: ["with space", "percent%20literal", "double//slash", "back\\slash", "ümlaut/日本語/🦭.bin"].includes(name),
  run: async (c) => {
    let blob: BlockBlobClient;
    try {
      blob = c.blobs.getBlockBlobClient(name);
    } catch {
      return c.note("the SDK", "refuses the name");
    }
    await c.attempt("upload", () =>
      blob.upload(`content of ${short(name)}`, Buffer.byteLength(`content of ${short(name)}`)),
    );
    for (let i = 0; i < 2; i++) {
      await c.attempt("read", async () => c.note("text", (await blob.downloadToBuffer()).toString()));
      await c.attempt("properties", () => blob.getProperties());
    }
    await c.attempt("list", async () => {
      const names: string[] = [];
      for await (const item of c.blobs.listBlobsFlat()) names.push(item.name);
      c.note("names", names);
    });
    await c.attempt("delete", () => blob.delete());
    await c.attempt("gone", () => blob.getProperties());
  },
});

const rawPath = (path: string): ConformanceCase => ({
  name: `raw path: ${JSON.stringify(short(path))}`,
  styles: ["enc%2Fslash", "double//slash", "back%5Cslash", "plus+plus", "caf%C3%A9"].includes(path),
  run: async (c: CaseContext) => {
    const full = `/${c.container}/${path}`;
    const headers = { "x-ms-blob-type": "BlockBlob" };
    await c.raw({ method: "PUT", path: full, headers, body: `at ${short(path)}`, label: "PUT" });
    await c.raw({ path: full, label: "GET" });
    await c.raw({ path: full, label: "GET again" });
    await c.raw({ method: "HEAD", path: full, label: "HEAD" });
    await c.raw({ path: `/${c.container}`, query: "restype=container&comp=list", label: "list" });
    await c.raw({ method: "DELETE", path: full, label: "DELETE" });
    await c.raw({ path: full, label: "gone" });
  },
});

/** All cases about names. */
export const names: CaseGroup = {
  name: "names",
  cases: [
    ...SDK_NAMES.map(throughSdk),
    ...RAW_PATHS.map(rawPath),
    {
      name: "two spellings of one name are one blob",
      styles: true,
      run: async (c) => {
        const put = { "x-ms-blob-type": "BlockBlob" };
        for (const [a, b] of [
          ["s%2Ft", "s/t"],
          ["%41BC", "ABC"],
          ["back%5Cslash", "back/slash"],
          ["caf%c3%a9", "caf%C3%A9"],
        ] as const) {
          await c.raw({ method: "PUT", path: `/${c.container}/${a}`, headers: put, body: `by ${a}`, label: "PUT a" });
          await c.raw({ path: `/${c.container}/${b}`, label: "GET b" });
          await c.raw({ path: `/${c.container}/${a}`, label: "GET a" });
          await c.raw({ method: "PUT", path: `/${c.container}/${b}`, headers: put, body: `then ${b}`, label: "PUT b" });
          await c.raw({ path: `/${c.container}/${a}`, label: "GET a, changed" });
          await c.raw({ path: `/${c.container}/${b}`, label: "GET b, changed" });
        }
      },
    },
    {
      name: "$root",
      run: async (c) => {
        const name = c.container;
        await c.attempt("make $root", () => c.lake.service.getContainerClient("$root").createIfNotExists());
        const put = { "x-ms-blob-type": "BlockBlob" };
        await c.raw({ method: "PUT", path: `/$root/${name}`, headers: put, body: "in the root", label: "PUT" });
        await c.raw({ path: `/$root/${name}`, label: "GET by $root" });
        await c.raw({ path: `/%24root/${name}`, label: "GET by %24root" });
        await c.raw({ path: `/${name}`, label: "GET without a container" });
        await c.raw({ method: "HEAD", path: `/${name}`, label: "HEAD without a container" });
        await c.raw({ method: "DELETE", path: `/$root/${name}`, label: "DELETE" });
        await c.raw({ path: `/$root/${name}`, label: "gone" });
      },
    },
    {
      name: "targets without a container, and the account alone",
      readOnly: true,
      makeContainer: false,
      run: async (c) => {
        await c.raw({ path: "", label: "account" });
        await c.raw({ path: "/", label: "account/" });
        await c.raw({ path: "//", label: "account//" });
        await c.raw({ account: "otheraccount", path: `/${c.container}/b`, label: "the other account" });
      },
    },
  ],
};
