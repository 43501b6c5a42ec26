import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { XMLParser, XMLValidator } from "fast-xml-parser";
import {
  aloneRowOf,
  type BenchRow,
  benchOptions,
  countGoals,
  cpuRowOf,
  median,
  medianSide,
  meets,
  publishRows,
  type RowHead,
  renderRows,
  rowOf,
  shortNumber,
  sideOf,
  skippedRow,
} from "./rows.ts";
import { escapeXml, renderSvg } from "./svg.ts";

const HEAD: RowHead = { id: "a", name: "a row", beside: "nginx", measure: "GB/s", goal: { atLeast: 1.3 } };
const PAIRS = [
  { ours: sideOf(4, { cpuSecondsPerGb: 0.1 }), theirs: sideOf(2, { cpuSecondsPerGb: 0.2 }) },
  { ours: sideOf(30, { cpuSecondsPerGb: 0.3 }), theirs: sideOf(20, { cpuSecondsPerGb: 0.3 }) },
  { ours: sideOf(1, { cpuSecondsPerGb: 0.2 }), theirs: sideOf(1, { cpuSecondsPerGb: 0.1 }) },
];

describe("rows", () => {
  test("the ratio is the median of the rounds' ratios, not the ratio of medians", () => {
    const row = rowOf(HEAD, PAIRS);
    expect(row.ratio).toBe(1.5);
    expect(row.met).toBe(true);
    expect(row.rounds).toBe(3);
    expect([row.ours.value, row.theirs?.value]).toEqual([4, 2]);
    expect(median([])).toBe(0);
    expect(median([4, 1])).toBe(2.5);
  });

  test("goals hold at their very number, in both directions", () => {
    expect(meets(1.3, { atLeast: 1.3 })).toBe(true);
    expect(meets(1.29, { atLeast: 1.3 })).toBe(false);
    expect(meets(0.75, { atMost: 0.75 })).toBe(true);
    expect(meets(0.76, { atMost: 0.75 })).toBe(false);
    expect(meets(Number.NaN, { atLeast: 0 })).toBe(false);
    expect(meets(1, null)).toBeNull();
  });

  test("CPU per GB is a row of its own", () => {
    const row = cpuRowOf({ ...HEAD, id: "a-cpu", goal: { atMost: 0.75 } }, PAIRS);
    expect([row.measure, row.ratio, row.met]).toEqual(["CPU s/GB", 1, false]);
  });

  test("what was not measured in a round does not count in its median", () => {
    const side = medianSide([sideOf(1, { p99Ms: 5 }), sideOf(3), sideOf(2, { p99Ms: 7 })]);
    expect(side).toEqual({ value: 2, cpuSecondsPerGb: null, memoryMib: null, p50Ms: null, p99Ms: 6 });
  });

  test("text says values, goals, and what was not measured", () => {
    const rows: BenchRow[] = [
      rowOf(HEAD, PAIRS),
      aloneRowOf({ ...HEAD, id: "b", measure: "ms p99.9", goal: { atMost: 20 } }, [sideOf(25)]),
      skippedRow({ ...HEAD, id: "c" }, "no fio here"),
      rowOf({ ...HEAD, id: "d", goal: null }, PAIRS),
    ];
    const text = renderRows(rows);
    expect(text).toContain("a row: 1.50 × nginx (3 rounds)  goal ≥ 1.3 met");
    expect(text).toContain("a row: 25.0 ms p99.9 (1 round)  goal ≤ 20 NOT met");
    expect(text).toContain("a row: not measured here  goal ≥ 1.3 not measured\n    (no fio here)");
    expect(countGoals(rows)).toEqual({ passed: 1, failed: 1, skipped: 1 });
  });

  test("numbers keep the digits that matter", () => {
    expect([0, 0.0123, 1.234, 45.67, 345.6, 12345678].map(shortNumber)).toEqual([
      ...["0.00", "0.0123", "1.23", "45.7", "346", "12,345,678"],
    ]);
  });

  test("a program's arguments, and its JSON", () => {
    expect(benchOptions([])).toEqual({ quick: false, json: null });
    expect(() => benchOptions(["--fast"])).toThrow();
    const folder = mkdtempSync(join(tmpdir(), "forebay-rows-"));
    try {
      const options = benchOptions(["--quick", "--json", join(folder, "rows.json")]);
      expect(options.quick).toBe(true);
      const rows = [skippedRow(HEAD, "no fio here")];
      publishRows(rows, options);
      expect(JSON.parse(readFileSync(join(folder, "rows.json"), "utf8"))).toEqual({ rows });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("the picture", () => {
  const names = ["<script>&\"'", "a\u0000\u0008b\ud800", "ä…", "x".repeat(500)];

  test("is well-formed, whatever the names, and shows every ratio", () => {
    const rows = names.map((name, i) => rowOf({ ...HEAD, id: `r${i}`, name, goal: i === 0 ? null : HEAD.goal }, PAIRS));
    const svg = renderSvg([...rows, skippedRow(HEAD, "")], "a title with <b> & more");
    expect(XMLValidator.validate(svg)).toBe(true);
    const parser = new XMLParser({ ignoreAttributes: false });
    const { svg: picture } = parser.parse(svg);
    expect(picture.g.length).toBe(names.length);
    expect(svg).not.toContain("<script>");
    expect(svg).not.toContain("<b>");
    expect(svg).toContain("&#60;script&#62;&#38;&#34;&#39;");
    expect(svg).toContain("prefers-color-scheme: dark");
    expect(svg.match(/class="goal"/g)?.length).toBe(names.length - 1);
  });

  test("ratios beyond the scale end at its edges; no numbers that are none", () => {
    const rows = [0, 1e9, Number.NaN, Number.POSITIVE_INFINITY, 1].map((ratio, i) => ({
      ...rowOf({ ...HEAD, id: `r${i}` }, PAIRS),
      ratio,
    }));
    const svg = renderSvg(rows, "edges");
    expect(XMLValidator.validate(svg)).toBe(true);
    expect(svg).not.toMatch(/NaN|Infinity|undefined|width="-/);
    expect(renderSvg([], "empty")).toContain("</svg>");
  });

  test("escapes", () => {
    expect(escapeXml("a<b>&\"'\u0001\ud83d\ude00")).toBe("a&#60;b&#62;&#38;&#34;&#39;😀");
  });
});
