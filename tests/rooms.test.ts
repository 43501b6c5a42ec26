/**
 * The rooms of the source and the arrows between them (docs: the design's "Rooms and arrows"). Arrows point down only:
 *
 *   src/
 *     base/      assertions, the error type, limits, units, seeded randomness
 *     io/        clock, disk, network, system calls: an interface, the real one     → base
 *     http/      HTTP/1.1: codec, server, client to the lake                        → io
 *     lake/      what Forebay needs of a blob service; azure                        → io http
 *     flash/     spans and files, the index, space: admission and eviction          → io (and the types of http)
 *     journal/   what was acknowledged and is not in the lake yet                   → io (and the types of flash)
 *     writeback/ what servers ask of the journal's owner; the drain                 → lake journal flash
 *     engine/    read, write, list, revalidate: the decisions                       → lake flash journal writeback
 *     blob/      Azure Blob REST: authenticate → detect → screen → run              → engine http lake
 *     mount/     FUSE: wire, inodes, session                                        → engine io
 *     admin/     admin API, metrics, status                                         → engine
 *     node/      composition only: config, processes, start and stop                → all
 *   cli/ the command, sim/ the simulated world, tests/, bench/                      → src
 *
 * Beside the arrows: time, randomness and the environment are parameters, everything is exported by name, and nothing
 * is `any`.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { Glob } from "bun";

const ROOT = join(import.meta.dir, "..");

/** What each room may import, beside itself. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  io: ["base"],
  http: ["io", "base"],
  lake: ["http", "io", "base"],
  flash: ["io", "base"],
  journal: ["io", "base"],
  writeback: ["journal", "flash", "lake", "http", "io", "base"],
  engine: ["writeback", "lake", "flash", "journal", "http", "io", "base"],
  blob: ["engine", "lake", "http", "io", "base"],
  mount: ["engine", "lake", "flash", "http", "io", "base"],
  admin: ["engine", "base"],
  node: ["admin", "mount", "blob", "engine", "writeback", "journal", "flash", "lake", "http", "io", "base"],
};
/** Of these only types, which are gone when the program runs. */
const TYPES_ONLY: Readonly<Record<string, readonly string[]>> = {
  flash: ["http"],
  journal: ["flash"],
  blob: ["writeback", "journal", "flash"],
};

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
}

/** The code without comments and without what stands in quotes, line by line as before. */
function bare(text: string): string {
  const tokens =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|\$\{[^}]*\}|[^`\\])*`|\/(?![*/])(?:\\.|\[(?:\\.|[^\]\n])*\]|[^/\n[\\])+\/[dgimsuvy]*(?=\s*[.,;)\]:?]|$)/gm;
  const blank = (token: string): string => {
    // What a template computes is code.
    const code = token.startsWith("`") ? [...token.matchAll(/\$\{([^}]*)\}/g)].map((match) => match[1]).join(" ") : "";
    return ` ${code} ${"\n".repeat(token.split("\n").length - 1)}`;
  };
  return text.replace(tokens, blank);
}

/** Every import and re-export of a file, those of types too. */
function importsOf(text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/[^\n]*/gm, "");
  const statements = code.matchAll(/^(?:import|export)\s+(?:([^"';]*?)\s+from\s+)?["']([^"']+)["']/gm);
  const found = [...statements].map(([, clause = "", target = ""]) => ({ target, typeOnly: isTypeOnly(clause) }));
  const dynamic = [...code.matchAll(/\b(?:import|require)\(\s*["']([^"']+)["']/g)];
  return [...found, ...dynamic.map(([, target = ""]) => ({ target, typeOnly: false }))];
}

function isTypeOnly(clause: string): boolean {
  if (/^type\s/.test(clause)) return true;
  const names = /^\{([\s\S]*)\}$/
    .exec(clause)?.[1]
    ?.split(",")
    .map((name) => name.trim());
  return names?.every((name) => name === "" || name.startsWith("type ")) === true;
}

interface Source {
  readonly path: string;
  readonly room: string;
  readonly text: string;
  readonly code: string;
}

function sources(pattern: string): Source[] {
  return [...new Glob(pattern).scanSync({ cwd: ROOT })].sort().map((path) => {
    const text = readFileSync(join(ROOT, path), "utf8");
    return { path, room: path.split("/")[1] ?? "", text, code: bare(text) };
  });
}

/** Tests, and what only they use. */
const isTest = (path: string): boolean => /\.test\.ts$|\/testing\/|\/test-support\.ts$/.test(path);
const src = sources("src/**/*.ts");
const edges = sources("{cli,sim,bench,scripts}/**/*.ts");

/** The lines of `code` that match, as `path:line`. */
function findings(files: readonly Source[], pattern: RegExp): string[] {
  return files.flatMap(({ path, code }) =>
    code.split("\n").flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );
}

describe("rooms", () => {
  test("every folder of src is a room, and no file stands outside one", () => {
    for (const { path, room } of src) {
      expect(path.split("/").length, path).toBeGreaterThan(2);
      expect(Object.keys(ARROWS), path).toContain(room);
    }
  });

  test("arrows point down only", () => {
    const wrong: string[] = [];
    for (const { path, room, text } of src) {
      for (const { target, typeOnly } of importsOf(text)) {
        if (!target.startsWith(".") || target.endsWith("/package.json")) continue;
        const [top, to = ""] = relative(ROOT, join(ROOT, dirname(path), target)).split("/");
        // Tests may use the simulated world.
        if (isTest(path) && (top === "sim" || top === "tests")) continue;
        const allowed = [room, ...(ARROWS[room] ?? []), ...(typeOnly ? (TYPES_ONLY[room] ?? []) : [])];
        if (top !== "src" || !allowed.includes(to)) wrong.push(`${path} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("the product imports neither the simulated world nor the tests", () => {
    const wrong: string[] = [];
    for (const { path, text } of src) {
      if (isTest(path)) continue;
      for (const { target } of importsOf(text))
        if (/\/(sim|tests|bench|cli|scripts)\//.test(target) || isTest(target)) wrong.push(path);
    }
    expect(wrong).toEqual([]);
  });

  test("imports are read rightly", () => {
    const text = `import type { A } from "./a.ts";\nimport { type B, type C } from "./b.ts";\nimport { type D, e } from "./d.ts";
import * as f from "./f.ts";\nexport type { G } from "./g.ts";\nexport { h } from "./h.ts";\nimport "./i.ts";
// import { no } from "./no.ts";\nconst j = await import("./j.ts");\nimport {\n  k,\n  type L,\n} from "./k.ts";`;
    const seen = importsOf(text).map(({ target, typeOnly }) => `${target}${typeOnly ? " type" : ""}`);
    const wanted = [
      "./a.ts type",
      "./b.ts type",
      "./d.ts",
      "./f.ts",
      "./g.ts type",
      "./h.ts",
      "./i.ts",
      "./k.ts",
      "./j.ts",
    ];
    expect(seen).toEqual(wanted);
  });
});

describe("style that is checked", () => {
  test("time, randomness and the environment are parameters", () => {
    const inside = src.filter(({ path, room }) => room !== "io" && room !== "node" && !isTest(path));
    const globals =
      /\bDate\.now\b|\bnew Date\(\s*\)|\bset(?:Timeout|Interval)\b|\bMath\.random\b|\bperformance\.now\b|\bprocess\.env\b|\bBun\.(?:env|sleep|nanoseconds)\b|\bcrypto\.(?:randomUUID|getRandomValues)\b/;
    expect(findings(inside, globals)).toEqual([]);
  });

  test("exports have names, and nothing is any", () => {
    const all = [...src, ...edges];
    expect(findings(all, /^\s*export\s+default\b|\bas\s+default\b/)).toEqual([]);
    expect(findings(all, /(?::|<|,|\||&|\bas|=>|=)\s*any\b(?!\s*[(:'])/)).toEqual([]);
    expect(findings(all, /\bas\s+unknown\s+as\b/)).toEqual([]);
  });

  test("nothing is left to do, and no rule is switched off without a reason", () => {
    const remarks = [...src, ...edges].map((file) => ({ ...file, code: file.text }));
    expect(findings(remarks, new RegExp(`\\b(?:${["TO", "DO"].join("")}|${["FIX", "ME"].join("")}|XXX)\\b`))).toEqual(
      [],
    );
    expect(findings(remarks, /@ts-(?:ignore|nocheck)/)).toEqual([]);
    expect(findings(remarks, /biome-ignore(?!-)[^:]*:\s*$|biome-ignore[^:]*$/)).toEqual([]);
  });

  test("quotes, comments and patterns are not taken for code", () => {
    const template = ["`Date.now $", "{Date.now()}`"].join("");
    const text = `const a = "Date.now"; // Date.now\n/* Date.now */ const b = ${template};\nconst c = /any: any/.test(x);`;
    expect(bare(text).match(/Date\.now/g)?.length).toBe(1);
    expect(bare(text)).not.toContain("any");
    expect(bare(text).split("\n").length).toBe(3);
  });
});
