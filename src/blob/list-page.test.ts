import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { blobElement, type ElementForm, prefixElement } from "./list-element.ts";
import { type ListPage, readListPage, writeListPage } from "./list-page.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (raw: Uint8Array): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(raw);

const OPENING =
  '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://acct.blob.core.windows.net/" ContainerName="c00">';

function blob(name: string, more = ""): string {
  const properties =
    "<Creation-Time>Tue, 23 Nov 2021 06:21:16 GMT</Creation-Time><Etag>0x8D9AE4975110009</Etag><Content-MD5 /><BlobType>BlockBlob</BlobType><AccessTier>Cool</AccessTier>";
  return `<Blob>${name}<Properties>${properties}</Properties>${more}<OrMetadata /></Blob>`;
}

function page(elements: readonly string[], next = "<NextMarker />", echoes = "<Prefix>a</Prefix>"): string {
  return `${OPENING}${echoes}<Blobs>${elements.join("")}</Blobs>${next}</EnumerationResults>`;
}

function read(xml: string): ListPage {
  const found = readListPage(bytes(xml));
  if (found === null) throw new Error("not understood");
  return found;
}

const keys = (found: ListPage): string[] => found.elements.map(({ key }) => key);

describe("a page of the lake", () => {
  test("elements keep every byte, whatever is in them", () => {
    const elements = [
      blob("<Name>a &amp; b</Name>"),
      // Metadata may be called anything.
      blob("<Name>a1</Name>", "<Metadata><Blob>x</Blob><Name>no</Name><Blobs /></Metadata>"),
      "<BlobPrefix><Name>a2/</Name></BlobPrefix>",
      '<BlobPrefix>\n <Name Encoded="true">dir%EF%BF%BF1%2F</Name></BlobPrefix>',
      blob('<Name Encoded="true">file%EF%BF%BF.blob</Name>', "<New attribute='a>b'><Deeper></Deeper></New>"),
      blob("<Name>\u{1f600} &lt;&#x41;&#66;&quot;</Name>"),
    ];
    const found = read(page(elements));
    expect(keys(found)).toEqual(["a & b", "a1", "a2/", "dir\uffff1/", "file\uffff.blob", '\u{1f600} <AB"']);
    expect(found.elements.map(({ isPrefix }) => isPrefix)).toEqual([false, false, true, true, false, false]);
    expect(found.elements.map(({ raw }) => text(raw))).toEqual(elements);
    expect([found.next, found.ordered, found.kinds]).toEqual([null, true, "mixed"]);
    const again = writeListPage(found, { marker: undefined, maxResults: undefined }, found.elements, "");
    expect(text(again)).toBe(page(elements));
  });

  test("markers, empty pages and white space", () => {
    expect(read(page([], "<NextMarker>2!92!MDAw&amp;--</NextMarker>")).next).toBe("2!92!MDAw&--");
    expect(read(page([], "<NextMarker></NextMarker>")).next).toBeNull();
    expect(read(page([blob("<Name>a</Name>")]).replace("<Blobs>", "\n  <Blobs>\r\n ")).elements).toHaveLength(1);
    expect(read(`${OPENING}<Blobs /><NextMarker/></EnumerationResults>`).elements).toEqual([]);
  });

  test("another order is seen, and one kind after the other understood", () => {
    const blobs = [blob("<Name>a</Name>"), blob("<Name>c</Name>")];
    const prefixes = ["<BlobPrefix><Name>b/</Name></BlobPrefix>", "<BlobPrefix><Name>d/</Name></BlobPrefix>"];
    for (const elements of [
      [...blobs, ...prefixes],
      [...prefixes, ...blobs],
    ]) {
      const found = read(page(elements));
      expect([keys(found), found.ordered]).toEqual([["a", "b/", "c", "d/"], true]);
      const again = writeListPage(found, { marker: undefined, maxResults: undefined }, found.elements, "");
      expect(text(again)).toBe(page(elements));
    }
    expect(read(page([...blobs].reverse())).ordered).toBe(false);
    expect(read(page([blobs[0] ?? "", blobs[0] ?? ""])).ordered).toBe(false);
    const [a = "", c = ""] = blobs;
    expect(read(page([c, prefixes[0] ?? "", a])).ordered).toBe(false);
    // U+FFEE comes before U+1F600 in UTF-8, and after it in UTF-16.
    expect(read(page([blob("<Name>\uffee</Name>"), blob("<Name>\u{1f600}</Name>")])).ordered).toBe(true);
    expect(read(page([blob("<Name>\u{1f600}</Name>"), blob("<Name>\uffee</Name>")])).ordered).toBe(false);
  });

  test("what is not understood is not guessed at", () => {
    const good = page(
      [blob("<Name>a</Name>"), "<BlobPrefix><Name>b/</Name></BlobPrefix>"],
      "<NextMarker>m</NextMarker>",
    );
    expect(readListPage(bytes(good))).not.toBeNull();
    const wrong = [
      "",
      "<",
      '\ufeff<?xml version="1.0"?>',
      good.replace("<Name>a</Name>", ""),
      good.replace("<Name>a</Name>", "<Name />"),
      good.replace("<Name>a</Name>", "<Name>&nbsp;</Name>"),
      good.replace("<Name>a</Name>", "<Name>&#x110000;</Name>"),
      good.replace("<Name>a</Name>", "<Name><![CDATA[a]]></Name>"),
      good.replace("<Name>a</Name>", '<Name Encoded="true">%C3</Name>'),
      good.replace("<Name>a</Name>", '<Name Encoded="base64">YQ</Name>'),
      good.replace("<Name>a</Name>", "<!-- a --><Name>a</Name>"),
      good.replace("<NextMarker>m</NextMarker>", ""),
      good.replace("</Blobs>", "</Blobs><Else />"),
      good.replace("<Blobs>", "<Blobs></Blobs><Blobs>"),
      good.replaceAll("EnumerationResults", "Error"),
      good.replace("<BlobPrefix>", "<Queue>"),
    ];
    for (const xml of wrong) expect(readListPage(bytes(xml)), xml).toBeNull();
    for (let cut = 0; cut < bytes(good).length; cut++) expect(readListPage(bytes(good).subarray(0, cut))).toBeNull();
    const broken = Buffer.from(good);
    broken[broken.indexOf("<Name>a") + 6] = 0xff;
    expect(readListPage(broken)).toBeNull();
  });

  test("whatever comes, it ends", () => {
    const piece = fc.constantFrom(
      "<Blobs>",
      "</Blobs>",
      "<Blob>",
      "</Blob>",
      "<Name>a</Name>",
      '<Name Encoded="true">',
      "<NextMarker />",
      "</EnumerationResults>",
      "<a b='>'>",
      "</a>",
      "<",
      ">",
      "&amp;",
      "&",
      " ",
      "é",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        readListPage(bytes(OPENING + pieces.join("")));
      }),
      { seed: 20261106, numRuns: 5_000 },
    );
  });

  test("a client is told what it asked, not what the lake was asked", () => {
    const echo = (echoes: string, marker?: string, maxResults?: string): string => {
      const found = read(page([], "<NextMarker />", echoes));
      const whole = text(writeListPage(found, { marker, maxResults }, [], ""));
      return whole.slice(OPENING.length, whole.indexOf("<Blobs>"));
    };
    expect(echo("<Prefix>p</Prefix><MaxResults>7</MaxResults><Delimiter>/</Delimiter>", "a&b", "3")).toBe(
      "<Prefix>p</Prefix><Marker>a&amp;b</Marker><MaxResults>3</MaxResults><Delimiter>/</Delimiter>",
    );
    expect(echo("<Prefix>p</Prefix><Marker>lake</Marker>", "ours", undefined)).toBe(
      "<Prefix>p</Prefix><Marker>ours</Marker>",
    );
    expect(echo("<Marker>lake</Marker><MaxResults>7</MaxResults>")).toBe("");
    expect(echo("<Prefix /><Marker /><MaxResults>5000</MaxResults>", undefined, "9")).toBe(
      "<Prefix /><Marker /><MaxResults>9</MaxResults>",
    );
    expect(echo("", "m", "1")).toBe("<Marker>m</Marker><MaxResults>1</MaxResults>");
  });
});

describe("elements of what is pending", () => {
  const form: ElementForm = { apiVersion: "2025-01-05", metadata: true, tags: true, tagCount: true };
  const put = {
    sizeBytes: 42,
    etag: '"0x0F00000000000A1"',
    lastModifiedMs: Date.UTC(2026, 10, 24, 0, 0, 0),
    headers: [
      ...["x-ms-blob-content-type", "text/x;a=<b>"],
      ...["x-ms-blob-cache-control", "no-cache"],
      ...["x-ms-meta-Owner", "R&D"],
      ...["x-ms-meta-a-b", "odd"],
    ],
    contentMd5: "1B2M2Y8AsgTpgAmY7PhCfg==",
    contentCrc64: null,
  };

  test("are written as the service writes them", () => {
    expect(text(blobElement("a&b/<c>", put, form, null, null))).toBe(
      "<Blob><Name>a&amp;b/&lt;c&gt;</Name><Properties><Creation-Time>Tue, 24 Nov 2026 00:00:00 GMT</Creation-Time>" +
        "<Last-Modified>Tue, 24 Nov 2026 00:00:00 GMT</Last-Modified><Etag>0x0F00000000000A1</Etag>" +
        "<Content-Length>42</Content-Length><Content-Type>text/x;a=&lt;b&gt;</Content-Type><Content-Encoding />" +
        "<Content-Language /><Content-CRC64 /><Content-MD5>1B2M2Y8AsgTpgAmY7PhCfg==</Content-MD5>" +
        "<Cache-Control>no-cache</Cache-Control><Content-Disposition /><BlobType>BlockBlob</BlobType>" +
        "<AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred><LeaseStatus>unlocked</LeaseStatus>" +
        "<LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties>" +
        "<Metadata><Owner>R&amp;D</Owner><x-ms-invalid-name>a-b</x-ms-invalid-name></Metadata><OrMetadata /></Blob>",
    );
    expect(text(prefixElement("d&/"))).toBe("<BlobPrefix><Name>d&amp;/</Name></BlobPrefix>");
  });

  test("names come back as they were", () => {
    const names = ["a", "a b", "é", "\u{1f600}", "x\uffff/y", "tab\tin", "cr\rin", "&<>\"'", "\u0001"];
    const elements = names.map((name) => text(blobElement(name, put, form, null, null)));
    const prefixes = names.map((name) => text(prefixElement(name)));
    expect(keys(read(page(elements))).sort()).toEqual(names.toSorted());
    expect(keys(read(page(prefixes))).sort()).toEqual(names.toSorted());
  });

  test("keep what the lake knows of the blob that they replace", () => {
    const replaced = bytes(blob("<Name>a</Name>", "<Metadata><AccessTier>Archive</AccessTier></Metadata>"));
    const kept = text(blobElement("a", put, form, null, replaced));
    expect(kept).toContain("<Creation-Time>Tue, 23 Nov 2021 06:21:16 GMT</Creation-Time>");
    expect(kept).toContain("<AccessTier>Cool</AccessTier><LeaseStatus>");
    expect(text(blobElement("a", put, form, "Cold", replaced))).toContain("<AccessTier>Cold</AccessTier><LeaseStatus>");
    const headers = ["x-ms-access-tier", "Hot"];
    const own = blobElement("a", { ...put, headers }, form, "Cold", replaced);
    expect(text(own)).toContain("<AccessTier>Hot</AccessTier><LeaseStatus>");
  });

  test("say what was asked for, and what the version has", () => {
    const tagged = { ...put, headers: ["x-ms-tags", "a=1&b%20c=x%26y"] };
    expect(text(blobElement("a", tagged, form, null, null))).toContain(
      "<TagCount>2</TagCount></Properties><Metadata /><Tags><TagSet><Tag><Key>a</Key><Value>1</Value></Tag>" +
        "<Tag><Key>b c</Key><Value>x&amp;y</Value></Tag></TagSet></Tags><OrMetadata />",
    );
    const little = { apiVersion: "2015-04-05", metadata: false, tags: false, tagCount: true };
    const old = text(blobElement("a", tagged, little, null, null));
    for (const name of ["Creation-Time", "AccessTier", "TagCount", "Metadata", "Tags", "Encrypted", "CRC64"]) {
      expect(old).not.toContain(name);
    }
    const hidden = { ...form, tags: false, tagCount: false };
    expect(text(blobElement("a", tagged, hidden, null, null))).not.toContain("Tag");
  });
});
