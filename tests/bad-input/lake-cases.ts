/** Well-formed HTTP that the Blob service refuses or reads in its own way: Forebay must answer as the lake does. */
import type { CaseContext, CaseRequest } from "../conformance/harness/context.ts";

/** One request to a container that holds the blob `b` of 5,000 bytes. */
export interface LakeRow {
  readonly name: string;
  readonly request: (context: CaseContext) => CaseRequest;
}

const blob = (c: CaseContext): string => `/${c.container}/b`;
const row = (name: string, request: (c: CaseContext) => CaseRequest): LakeRow => ({ name, request });
const read = (name: string, request: CaseRequest): LakeRow => row(name, (c) => ({ path: blob(c), ...request }));
const range = (value: string): LakeRow => read(`x-ms-range ${value}`, { headers: { "x-ms-range": value } });
const header = (name: string, value: string): LakeRow => read(`${name}: ${value}`, { headers: { [name]: value } });

/** All rows. Each is sent twice: when nothing is cached, and when the blob is. */
export const lakeRows: readonly LakeRow[] = [
  range("bytes=5000-"),
  range("bytes=5001-5002"),
  range("bytes=9-8"),
  range("bytes=1"),
  range("bytes=1-2,4-5"),
  range("bytes=0x0-0x9"),
  range("bytes=0-18446744073709551616"),
  range("bytes=1.5-3"),
  range("octets=0-1"),
  range("0-1"),
  range("bytes=0-1;"),
  header("Range", "bytes=9-8"),
  header("If-Modified-Since", "not a date"),
  header("If-Unmodified-Since", "31 Feb 2020"),
  header("If-Match", "nonsense"),
  header("If-None-Match", '"unclosed'),
  header("x-ms-version", "not-a-version"),
  header("x-ms-lease-id", "not-a-uuid"),
  header("x-ms-if-tags", "((("),
  header("x-ms-range-get-content-md5", "perhaps"),
  header("x-ms-range-get-content-crc64", "true"),
  header("x-ms-encryption-key", "AAAA"),
  read("a snapshot that is no time", { query: "snapshot=yesterday" }),
  read("an empty query", { query: "" }),
  read("a query of ampersands", { query: "&&&" }),
  read("a parameter without a value", { query: "comp" }),
  read("an unknown comp", { query: "comp=everything" }),
  read("a bad escape in the query", { query: "timeout=%zz" }),
  read("the same parameter twice", { query: "timeout=1&timeout=2" }),
  read("a date that is none", { date: false, headers: { "x-ms-date": "soon" } }),
  read("an empty Authorization", { auth: { header: "" } }),
  read("an unknown scheme", { auth: { header: "Digest x" } }),
  read("a signature that is not base64", { auth: { header: "SharedKey devstoreaccount1:!!!" } }),
  read("a SAS of nothing but a signature", { auth: "none", query: "sig=AAAA" }),
  read("a SAS with a bad version", { auth: "none", query: "sv=1&sr=b&sp=r&se=2040-01-01&sig=AAAA" }),
  read("POST", { method: "POST" }),
  read("DELETE with a wrong key", { method: "DELETE", auth: "wrong-key" }),
  row("a bad escape in the path", (c) => ({ path: `/${c.container}/%zz` })),
  row("an escape that is no UTF-8", (c) => ({ path: `/${c.container}/%ff` })),
  row("a container with capitals", () => ({ path: "/Container/b" })),
  row("a container of one letter", () => ({ path: "/c/b" })),
  row("an empty container", () => ({ path: "//b" })),
  row("a Put Blob without a type", (c) => ({ method: "PUT", path: `/${c.container}/p`, body: "x" })),
  row("a Put Block without an id", (c) => ({
    method: "PUT",
    path: `/${c.container}/p`,
    query: "comp=block",
    body: "x",
  })),
  row("metadata with a bad name", (c) => ({
    method: "PUT",
    path: `/${c.container}/p`,
    headers: { "x-ms-blob-type": "BlockBlob", "x-ms-meta-1-2": "x" },
    body: "x",
  })),
  row("a list with a bad count", (c) => ({
    path: `/${c.container}`,
    query: "restype=container&comp=list&maxresults=-1",
  })),
];
