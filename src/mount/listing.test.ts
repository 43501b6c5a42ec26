import { describe, expect, test } from "bun:test";
import { type BlobPage, isShown, type ListedBlob, parsePage, readPosition, shownPage, timeOf } from "./listing.ts";

const blob = (name: string, isFolder = false): ListedBlob => ({ name, sizeBytes: 1, etag: "e", mtimeMs: 0, isFolder });
const page = (blobs: ListedBlob[], prefixes: string[], next: string | null = null): BlobPage => ({
  blobs,
  prefixes,
  next,
});
const shownOf = (given: BlobPage, prefix = "") =>
  shownPage(given, prefix, null).shown.map((entry) => `${entry.name}${entry.blob === null ? "/" : ""}`);

describe("a page of List Blobs", () => {
  test("is read with its odd names, kinds and marks of folders", () => {
    const text = `\uFEFF<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Prefix>a/</Prefix><Blobs>
<Blob><Name>a/ x &amp; &lt;y&gt; </Name><Properties><Last-Modified>Tue, 07 May 2024 10:00:00 GMT</Last-Modified>
<Etag>0x8DC</Etag><Content-Length>12</Content-Length><BlobType>BlockBlob</BlobType></Properties><Metadata /></Blob>
<Blob><Name Encoded="true">a/%01b%2Fc</Name><Properties><Etag>"0x1"</Etag><Content-Length>0</Content-Length></Properties></Blob>
<Blob><Name>a/hns</Name><Properties><Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>
<Blob><Name>a/marked</Name><Properties><Etag>1</Etag><Content-Length>0</Content-Length></Properties><Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob>
<BlobPrefix><Name>a/sub/</Name></BlobPrefix></Blobs><NextMarker>2!abc</NextMarker></EnumerationResults>`;
    expect(parsePage(text)).toEqual({
      blobs: [
        { name: "a/ x & <y> ", sizeBytes: 12, etag: "0x8DC", mtimeMs: Date.UTC(2024, 4, 7, 10), isFolder: false },
        { name: "a/\u0001b/c", sizeBytes: 0, etag: "0x1", mtimeMs: 0, isFolder: false },
        { name: "a/hns", sizeBytes: 0, etag: "", mtimeMs: 0, isFolder: true },
        { name: "a/marked", sizeBytes: 0, etag: "1", mtimeMs: 0, isFolder: true },
      ],
      prefixes: ["a/sub/"],
      next: "2!abc",
    });
    const empty = "<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>";
    expect(parsePage(empty)).toEqual({ blobs: [], prefixes: [], next: null });
  });

  test("what is none is damage, not an empty folder", () => {
    for (const text of [
      "",
      "<Error><Code>X</Code></Error>",
      "no xml",
      "<EnumerationResults><Blobs><Blob><Name>a</Name></Blob></Blobs></EnumerationResults>",
      '<EnumerationResults><Blobs><BlobPrefix><Name Encoded="true">%zz</Name></BlobPrefix></Blobs></EnumerationResults>',
    ]) {
      expect(() => parsePage(text), text).toThrow();
    }
    expect(timeOf("nonsense")).toBe(0);
  });
});

describe("the names of a folder", () => {
  test("are shown where a file can have them", () => {
    for (const name of ["a", "é".repeat(127), "x".repeat(255), "...", " ", "a\\b"]) expect(isShown(name)).toBe(true);
    for (const name of ["", ".", "..", "a/b", "a\0", "x".repeat(256), "é".repeat(128)])
      expect(isShown(name)).toBe(false);
  });

  test("the folder's own marker is no name; a folder hides the blob of its name", () => {
    expect(
      shownOf(page([blob("d/"), blob("d/f"), blob("d/both"), blob("d/m", true)], ["d/both/", "d//"]), "d/"),
    ).toEqual(["f", "both/", "m/"]);
    expect(shownPage(page([blob("..")], ["/"]), "", null).hidden).toBe(2);
  });

  test("a name whose folder comes a page later is given once", () => {
    const first = shownPage(page([blob("d/a"), blob("d/a-b"), blob("d/zz")], [], "m1"), "d/", null);
    expect(readPosition(first.next)).toEqual({ marker: "m1", maybe: ["zz"] });
    const one = shownPage(page([blob("a"), blob("a-b")], [], "m1"), "", null);
    expect(readPosition(one.next)?.maybe).toEqual(["a", "a-b"]);
    const two = shownPage(page([blob("a-c")], ["a/"]), "", readPosition(one.next));
    expect(two.shown.map(({ name }) => name)).toEqual(["a-c"]);
    expect(two.next).toBeNull();
  });
});
