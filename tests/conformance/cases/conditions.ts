/** Conditional reads: every combination of the four headers, on GET and HEAD, cold and warm. */
import type { CaseGroup, ConformanceCase } from "../harness/case.ts";
import { type CaseContext, someBytes } from "../harness/context.ts";

const DAY_MS = 24 * 3_600_000;
const before = (): string => new Date(Date.now() - DAY_MS).toUTCString();
const after = (): string => new Date(Date.now() + DAY_MS).toUTCString();
const NO_ETAG = '"0x8D0000000000000"';

type Choice = "none" | "yes" | "no" | "star";
const CHOICES: readonly Choice[] = ["none", "yes", "no", "star"];

/** Header values: `yes` is the blob's own ETag or a date that holds. */
function conditions(etag: string, match: Choice, noneMatch: Choice, dates: string): Record<string, string> {
  const value = (choice: Choice): string => (choice === "star" ? "*" : choice === "yes" ? etag : NO_ETAG);
  return {
    ...(match === "none" ? {} : { "If-Match": value(match) }),
    ...(noneMatch === "none" ? {} : { "If-None-Match": value(noneMatch) }),
    ...(dates.includes("m") ? { "If-Modified-Since": before() } : {}),
    ...(dates.includes("M") ? { "If-Modified-Since": after() } : {}),
    ...(dates.includes("u") ? { "If-Unmodified-Since": after() } : {}),
    ...(dates.includes("U") ? { "If-Unmodified-Since": before() } : {}),
  };
}

const setup = async (c: CaseContext): Promise<void> => {
  await c.lake.blobs.getBlockBlobClient("b").upload(Buffer.from(someBytes(5000)), 5000);
};

async function etagOf(c: CaseContext, name = "b"): Promise<string> {
  return (await c.lake.blobs.getBlobClient(name).getProperties()).etag ?? "";
}

const combination = (match: Choice): ConformanceCase => ({
  name: `If-Match ${match}, with every If-None-Match and date`,
  readOnly: true,
  setup,
  run: async (c) => {
    const etag = await etagOf(c);
    await c.raw({ path: `/${c.container}/b`, label: "first", cache: "hit" });
    for (const noneMatch of CHOICES) {
      for (const dates of ["", "m", "M", "u", "U", "mu", "mU", "Mu", "MU"]) {
        for (const method of ["GET", "HEAD"]) {
          const headers = conditions(etag, match, noneMatch, dates);
          const label = `${method} none-match=${noneMatch} dates=${dates}`;
          await c.raw({ method, path: `/${c.container}/b`, headers, label });
        }
      }
    }
  },
});

const odd: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ["unquoted", { "If-Match": "UNQUOTED" }],
  ["weak", { "If-None-Match": "WEAK" }],
  ["list", { "If-None-Match": `${NO_ETAG}, ETAG` }],
  ["list to match", { "If-Match": `${NO_ETAG}, ETAG` }],
  ["empty", { "If-Match": "" }],
  ["not a date", { "If-Modified-Since": "yesterday" }],
  ["not a date either", { "If-Unmodified-Since": "2020-01-01" }],
  ["ISO date", { "If-Modified-Since": "2020-01-01T00:00:00Z" }],
  ["old RFC 850 date", { "If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT" }],
  ["asctime", { "If-Modified-Since": "Sun Nov  6 08:49:37 1994" }],
  ["lower case names", { "if-none-match": "ETAG" }],
];

/** All cases about conditions. */
export const conditionCases: CaseGroup = {
  name: "conditional headers",
  cases: [
    ...CHOICES.map(combination),
    {
      name: "odd values",
      readOnly: true,
      setup,
      run: async (c) => {
        const etag = await etagOf(c);
        await c.raw({ path: `/${c.container}/b`, label: "first", cache: "hit" });
        for (const [name, template] of odd) {
          const headers = Object.fromEntries(
            Object.entries(template).map(([key, value]) => [
              key,
              value
                .replace("UNQUOTED", etag.replaceAll('"', ""))
                .replace("WEAK", `W/${etag}`)
                .replace(/\bETAG$/, etag),
            ]),
          );
          await c.raw({ path: `/${c.container}/b`, headers, label: `GET ${name}` });
          await c.raw({ method: "HEAD", path: `/${c.container}/b`, headers, label: `HEAD ${name}` });
        }
      },
    },
    {
      name: "the exact Last-Modified",
      readOnly: true,
      setup,
      run: async (c) => {
        const modified = (await c.lake.blobs.getBlobClient("b").getProperties()).lastModified?.toUTCString() ?? "";
        await c.raw({ path: `/${c.container}/b`, label: "first", cache: "hit" });
        for (const name of ["If-Modified-Since", "If-Unmodified-Since"]) {
          await c.raw({ path: `/${c.container}/b`, headers: { [name]: modified }, label: `GET ${name}` });
          await c.raw({
            method: "HEAD",
            path: `/${c.container}/b`,
            headers: { [name]: modified },
            label: `HEAD ${name}`,
          });
        }
      },
    },
    {
      name: "with a range: conditions come before the range",
      readOnly: true,
      setup,
      run: async (c) => {
        const etag = await etagOf(c);
        const path = `/${c.container}/b`;
        await c.raw({ path, label: "first", cache: "hit" });
        for (const range of ["bytes=10-19", "bytes=9000-9999"]) {
          for (const [name, value] of [
            ["If-Match", etag],
            ["If-Match", NO_ETAG],
            ["If-None-Match", etag],
            ["If-None-Match", NO_ETAG],
            ["If-Range", etag],
            ["If-Range", NO_ETAG],
          ] as const) {
            const label = `${range} ${name} ${value === etag ? "same" : "other"}`;
            await c.raw({ path, headers: { "x-ms-range": range, [name]: value }, label });
          }
        }
      },
    },
    {
      name: "on a blob that is not there",
      readOnly: true,
      run: async (c) => {
        for (const method of ["GET", "HEAD"]) {
          for (const header of ["If-Match", "If-None-Match"]) {
            for (const value of ["*", NO_ETAG]) {
              await c.raw({
                method,
                path: `/${c.container}/no`,
                headers: { [header]: value },
                label: `${method} ${header}`,
              });
            }
          }
        }
      },
    },
    {
      name: "through the SDK, and after the blob was written again",
      run: async (c) => {
        const blob = c.blobs.getBlockBlobClient("w");
        const first = await blob.upload("one", 3);
        const etag = first.etag ?? "";
        await c.attempt("same", () => blob.download(0, undefined, { conditions: { ifMatch: etag } }).then(drain));
        await c.attempt("not modified", () => blob.download(0, undefined, { conditions: { ifNoneMatch: etag } }));
        await blob.upload("two", 3, { conditions: { ifMatch: etag } });
        await c.attempt("stale", () => blob.download(0, undefined, { conditions: { ifMatch: etag } }));
        await c.attempt("new", () => blob.download(0, undefined, { conditions: { ifNoneMatch: etag } }).then(drain));
        await c.attempt("exists", () => blob.upload("x", 1, { conditions: { ifNoneMatch: "*" } }));
        await c.attempt("write on stale", () => blob.upload("x", 1, { conditions: { ifMatch: etag } }));
        await c.attempt("delete on stale", () => blob.delete({ conditions: { ifMatch: etag } }));
        c.note("still", (await blob.downloadToBuffer()).toString());
      },
    },
  ],
};

async function drain(response: { readableStreamBody?: NodeJS.ReadableStream | undefined }): Promise<void> {
  for await (const _ of response.readableStreamBody ?? []) {
    // read to the end
  }
}
