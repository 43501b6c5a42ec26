import { expect, test } from "bun:test";
import { parseBlockList } from "./block-list.ts";

const read = (text: string) => parseBlockList(new TextEncoder().encode(text));

test("lists as clients write them are read, in their order", () => {
  const ids = ["QQ==", "Qg=="];
  const forms = [
    "<BlockList><Latest>QQ==</Latest><Uncommitted>Qg==</Uncommitted></BlockList>",
    '<?xml version="1.0" encoding="utf-8"?>\n<BlockList>\n  <Latest>QQ==</Latest>\n  <Latest> Qg== </Latest>\n</BlockList>\n',
    "\ufeff<?xml version='1.0' encoding='UTF-8' standalone='yes'?><BlockList ><Latest>QQ==</Latest><Latest>Qg==</Latest></BlockList >",
  ];
  for (const form of forms) expect(read(form)).toEqual(ids);
  for (const empty of ["<BlockList/>", "<BlockList />\n", "<BlockList></BlockList>", "<BlockList>\n</BlockList>"]) {
    expect(read(empty)).toEqual([]);
  }
});

test("whatever else stands in a list is for the lake to read", () => {
  const block = "<Latest>QQ==</Latest>";
  const others = [
    "",
    "<BlockList>",
    block,
    `<BlockList>${block}`,
    `<BlockList>${block}</BlockList><BlockList/>`,
    `<BlockList>${block}text</BlockList>`,
    `<BlockList><!-- no -->${block}</BlockList>`,
    `<BlockList xmlns="x">${block}</BlockList>`,
    "<BlockList><Latest>QQ==</Uncommitted></BlockList>",
    "<BlockList><Latest><![CDATA[QQ==]]></Latest></BlockList>",
    "<BlockList><Latest>Q&#81;==</Latest></BlockList>",
    "<BlockList><Latest>QQ</Latest></BlockList>",
    "<BlockList><Latest></Latest></BlockList>",
    "<BlockList><Latest>QQ==</Latest><Latest>QUE=AAAA</Latest></BlockList>",
    "<BlockList><Latest>QQ==</Latest><Latest>QUFBQQ==</Latest></BlockList>",
    "<BlockList><Committed>QQ==</Committed></BlockList>",
    `<BlockList>${block}${block}</BlockList>`,
    `<?xml version="1.0" encoding="utf-16"?><BlockList>${block}</BlockList>`,
    `<!DOCTYPE a [<!ENTITY b "c">]><BlockList>${block}</BlockList>`,
  ];
  for (const other of others) expect([other, read(other)]).toEqual([other, null]);
  expect(parseBlockList(new Uint8Array([0xff, 0xfe, 0x3c]))).toBeNull();
});

test("50,000 blocks are read, one more is not, and odd text costs no more than it is long", () => {
  const id = (n: number) => Buffer.from(String(n).padStart(48, "0")).toString("base64");
  const list = (count: number) =>
    `<BlockList>${Array.from({ length: count }, (_, n) => `<Uncommitted>${id(n)}</Uncommitted>`).join("\n")}</BlockList>`;
  expect(read(list(50_000))).toHaveLength(50_000);
  expect(read(list(50_001))).toBeNull();
  for (const [before, after] of [
    ["", "x"],
    ["<Latest>", "x</Latest>"],
    ["<Latest>QQ==", "x</Latest>"],
    ["<Latest>QQ==</Latest>", "</BlockList"],
  ]) {
    expect(read(`<BlockList>${before}${" ".repeat(4_000_000)}${after}</BlockList>`)).toBeNull();
    expect(read(`${" ".repeat(4_000_000)}<BlockList${" ".repeat(2_000_000)}`)).toBeNull();
  }
  expect(read(`<BlockList>${"<Latest>QQ==</Latest>".repeat(20_000)}`)).toBeNull();
});
