/** Requests that the lake would refuse, or that are not wholly understood: none of them may be granted. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { madeSas, SNAPSHOT, verdict } from "./test-sas.ts";

describe("attacks: none of these is a yes", () => {
  const good = madeSas({});
  const account = madeSas({ ss: "b", srt: "o", sr: "" });

  test("the plain ones are", () => {
    expect(verdict(good)).toBe("yes");
    expect(verdict(account)).toBe("yes");
  });

  test.each([
    "&sig=x",
    "&SIG=x",
    "&%73ig=x",
    "&sp=r",
    "&Sp=rw",
    "&s%70=rw",
    "&se=2099-01-01",
    "&sv=2024-11-04",
    "&skoid=1",
    "&sktid=1",
    "&sdd=1",
    "&novel=1",
    "&srt=o",
    "&ss=b",
    "&si=p",
    "&si=",
    "&st=",
    "&ses=x",
    "&",
    "&x",
    "&a=%ff",
    "&timeout=1+1",
    "&rscc=x",
    "#",
  ])("with %s after it", (more) => {
    expect(verdict(good + more)).not.toBe("yes");
    if (more !== "&srt=o" && more !== "&ss=b") expect(verdict(account + more)).not.toBe("yes");
  });

  test.each([
    [good.replace("sig=", "%73ig=")],
    [good.replace("sig=", "SIG=")],
    [good.replace("sp=r", "SP=r")],
    [good.replace("&sig", "&sig=&sig")],
    [good.replace(/sig=[^&]*/, "sig=")],
    [good.replace(/&sig=[^&]*/, "")],
    [good.replace(/%3D/g, "")],
    [good.replace("sp=r", "sp=rw")],
    [good.replace("sr=b", "sr=c")],
    [good.replace("sr=b", "sr=B")],
    [good.replace("sr=b", "sr=b%0A")],
    [madeSas({ sr: "d" })],
    [madeSas({ sr: "" })],
    [madeSas({ sr: "bs" })],
    [madeSas({ sr: "bv" })],
    [madeSas({ sr: "b", sv: "2018-03-28" }, "/acct/c00/a/b", "", `&snapshot=${SNAPSHOT}`)],
    [madeSas({ sr: "bs", sv: "2018-03-28" }, "/acct/c00/a/b", SNAPSHOT, `&snapshot=${SNAPSHOT}`)],
    [madeSas({ sr: "c" })],
    [madeSas({ sr: "b" }, "/acct/c00")],
    [madeSas({ sr: "b" }, "/acct/c00/a")],
    [madeSas({ sr: "b" }, "/other/c00/a/b")],
    [madeSas({ sr: "c" }, "/acct/c0")],
    [madeSas({ sp: "w" })],
    [madeSas({ sp: "R" })],
    [madeSas({ sp: "rr" })],
    [madeSas({ sp: "lr" })],
    [madeSas({ sp: "rz" })],
    [madeSas({ sp: "" })],
    [madeSas({ se: "" })],
    [madeSas({ se: "2025-06-01" })],
    [madeSas({ se: "2025-06-01T12:00:00Z" })],
    [madeSas({ se: "2025-06-02T12:00:00+01:00" })],
    [madeSas({ se: "tomorrow" })],
    [madeSas({ st: "2025-06-01T12:00:01Z" })],
    [madeSas({ st: "soon" })],
    [madeSas({ ses: "scope" })],
    [madeSas({ sv: "9999-01-01" })],
    [madeSas({ sv: "" })],
    [madeSas({ sp: "r", si: "p" })],
    [madeSas({ ss: "b", srt: "o", sr: "", sp: "wr" })],
    [madeSas({ ss: "b", srt: "o", sr: "", sv: "2014-02-14" })],
    [madeSas({ ss: "bb", srt: "o", sr: "" })],
    [madeSas({ ss: "bz", srt: "o", sr: "" })],
    [madeSas({ ss: "b", srt: "oz", sr: "" })],
    [madeSas({ ss: "b", srt: "", sr: "" })],
    [madeSas({ ss: "b", srt: "o", sr: "b" })],
    [madeSas({ ss: "b", srt: "o", sr: "", rscc: "x" })],
    [`${account}&versionid=${SNAPSHOT}`],
  ])("%s", (sas) => {
    expect(verdict(sas)).not.toBe("yes");
  });

  test("operations that are not judged", () => {
    for (const operation of ["SetBlobTier", "Unknown", ""]) {
      expect(verdict(good, { operation })).toBe("unknown");
      expect(verdict(account, { operation })).toBe("unknown");
    }
    expect(verdict(good, { operation: "PutBlob" })).toBe("no");
    // It may create a blob where there is none, and only then.
    expect(verdict(madeSas({ sp: "c" }), { operation: "PutBlob" })).toBe("unknown");
    expect(verdict(madeSas({ sp: "c" }), { operation: "PutBlobNew" })).toBe("yes");
    expect(verdict(madeSas({ sp: "c" }), { operation: "PutBlock" })).toBe("no");
    expect(verdict(madeSas({ sp: "w" }), { operation: "DeleteBlob" })).toBe("no");
    expect(verdict(madeSas({ sp: "d" }), { operation: "DeleteBlob" })).toBe("yes");
    const version = encodeURIComponent(SNAPSHOT);
    expect(verdict(`${account}&versionid=${version}`, { operation: "DeleteBlob" })).toBe("unknown");
    expect(verdict(madeSas({ sp: "l" }), { operation: "ListBlobs" })).toBe("no");
  });
});

test("a mutated SAS is granted only when it still says the same (seed 20250601)", () => {
  const good = madeSas({ sr: "c", spr: "https,http", sip: "10.0.0.0-10.0.0.9", st: "2025-05-01" }, "/acct/c00");
  const meaning = (sas: string) => JSON.stringify([...new URLSearchParams(sas)].sort());
  const plain = meaning(good);
  const edits = fc.array(
    fc.record({
      at: fc.nat(good.length),
      kind: fc.constantFrom("insert", "delete", "replace", "encode", "case", "twice"),
      text: fc.constantFrom(
        "&",
        "=",
        "%",
        "+",
        "%26",
        "%3D",
        "%00",
        "%0A",
        "a",
        "r",
        "w",
        "0",
        "9",
        "&sp=r",
        "&sig=",
        "#",
        "?",
        ";",
      ),
    }),
    { minLength: 1, maxLength: 3 },
  );
  let granted = 0;
  fc.assert(
    fc.property(edits, (list) => {
      let sas = good;
      for (const { at, kind, text } of list) sas = edited(sas, at, kind, text);
      if (verdict(sas) !== "yes") return;
      granted++;
      expect(meaning(sas)).toBe(plain);
    }),
    { seed: 20250601, numRuns: 20_000 },
  );
  expect(granted).toBeGreaterThan(100);
});

function edited(text: string, at: number, kind: string, piece: string): string {
  const [head, character, tail] = [text.slice(0, at), text[at] ?? "", text.slice(at + 1)];
  switch (kind) {
    case "insert":
      return head + piece + character + tail;
    case "delete":
      return head + tail;
    case "replace":
      return head + piece + tail;
    case "encode":
      return character === "" ? text : `${head}%${character.charCodeAt(0).toString(16).padStart(2, "0")}${tail}`;
    case "case":
      return head + (character === character.toLowerCase() ? character.toUpperCase() : character.toLowerCase()) + tail;
    default:
      return head + character + character + tail;
  }
}
