import { describe, expect, test } from "bun:test";
import { levelOf, parseTarget, rawPathFor } from "./target.ts";
import type { Target } from "./types.ts";

const accounts = new Set(["acct", "other", "127"]);

function target(raw: string, host = "127.0.0.1:10100"): Target {
  const parsed = parseTarget(raw, host, accounts);
  if (parsed === null) throw new Error(`no target: ${raw}`);
  return parsed;
}

describe("styles", () => {
  test("path style", () => {
    expect(target("/acct/c00/a/b.bin?x=1")).toEqual({
      account: "acct",
      style: "path",
      secondary: false,
      wirePath: "/acct/c00/a/b.bin",
      rawPath: "/c00/a/b.bin",
      query: "?x=1",
      container: "c00",
      blob: "a/b.bin",
      ambiguous: false,
    });
  });

  test("account style needs a configured account and a further label", () => {
    expect(target("/c00/b", "acct.blob.core.windows.net")).toMatchObject({
      style: "account",
      container: "c00",
      blob: "b",
    });
    expect(target("/c00/b", "ACCT.localhost:10100")).toMatchObject({ style: "account", account: "acct" });
    expect(target("/acct/c00/b", "acct:10100").style).toBe("path");
    expect(target("/acct/c00/b", "acct.:10100").style).toBe("path");
    expect(target("/acct/c00/b", "nobody.localhost").style).toBe("path");
    expect(target("/acct/c00/b", "127.0.0.1").style).toBe("path");
    expect(target("/acct/c00/b", "127.0.0.1:80").style).toBe("path");
    expect(target("/acct/c00/b", "127.example.net")).toMatchObject({
      style: "account",
      account: "127",
      container: "acct",
    });
  });

  test("the secondary, in both styles", () => {
    expect(target("/acct-secondary/c00/b")).toMatchObject({ account: "acct", secondary: true, rawPath: "/c00/b" });
    expect(target("/c00/b", "acct-secondary.blob.core.windows.net")).toMatchObject({
      account: "acct",
      secondary: true,
    });
  });

  test("no configured account", () => {
    for (const raw of [
      "/nobody/c/b",
      "/",
      "//acct/c00/b",
      "/%61cct/c00/b",
      "/Acct/c00/b",
      "acct/c00/b",
      "*",
      "http://x/acct",
    ]) {
      expect(parseTarget(raw, "127.0.0.1:1", accounts)).toBeNull();
    }
    expect(parseTarget("/c00/b", undefined, accounts)).toBeNull();
  });
});

describe("names", () => {
  const exact: [string, string][] = [
    ["/acct/c00/a%2Fb", "a/b"],
    ["/acct/c00/a+b", "a+b"],
    ["/acct/c00/a%2Bb", "a+b"],
    ["/acct/c00/a%252Fb", "a%2Fb"],
    ["/acct/c00/%E2%82%AC", "€"],
    ["/acct/c00/a.b.c", "a.b.c"],
    ["/acct/c00/.a/..b", ".a/..b"],
    ["/acct/$root/x", "x"],
    ["/acct/%24web/x", "x"],
  ];
  test.each(exact)("%s is %s", (raw, blob) => {
    expect(target(raw)).toMatchObject({ blob, ambiguous: false });
  });

  test.each([
    "/acct/c00/a\\b",
    "/acct/c00/a%5Cb",
    "/acct/c00/a//b",
    "/acct/c00//b",
    "/acct/c00/a%2F%2Fb",
    "/acct/c00/a/../b",
    "/acct/c00/a/%2e%2E/b",
    "/acct/c00/./b",
    "/acct/c00/a.",
    "/acct/c00/a./b",
    "/acct/c00/a/",
    "/acct/c00/a%2f",
    "/acct/c00/%zz",
    "/acct/c00/%",
    "/acct/c00/%ff",
    "/acct/c00/%C0%AF",
    "/acct/c00/a%00",
    "/acct/c00/a%0A",
    "/acct/c00/\u00e9",
    "/acct/c00/a#b",
    "/acct/c00/",
    "/acct/C00/b",
    "/acct/c00%2Fb",
    "/acct/c%30%3/b",
    "/acct//b",
  ])("%s is ambiguous", (raw) => {
    expect(target(raw).ambiguous).toBe(true);
  });

  test("levels", () => {
    expect(levelOf(target("/acct"))).toBe("service");
    expect(levelOf(target("/acct/"))).toBe("service");
    expect(levelOf(target("/acct/c00"))).toBe("container");
    expect(levelOf(target("/acct/file.txt"))).toBe("container");
    expect(levelOf(target("/acct/c00/"))).toBe("container");
    expect(levelOf(target("/acct/c00/b"))).toBe("blob");
  });
});

test("the raw path keeps every byte in both styles", () => {
  for (const rest of ["/c00/a%2Fb", "/c00/a//b", "/c00/a\\b", "/$root/x%2fy", "/c00", "/"]) {
    const path = target(`/acct${rest}?q`);
    const hosted = target(`${rest}?q`, "acct.localhost");
    expect(rawPathFor("path", path)).toBe(`/acct${rest}`);
    expect(rawPathFor("account", path)).toBe(rest);
    expect(rawPathFor("account", hosted)).toBe(rest);
    expect(rawPathFor("path", hosted)).toBe(`/acct${rest}`);
  }
  expect(rawPathFor("account", target("/acct"))).toBe("/");
  expect(rawPathFor("account", target("/acct-secondary/c00/b"))).toBe("/c00/b");
  expect(rawPathFor("path", target("/c00/b", "acct-secondary.x"))).toBe("/acct-secondary/c00/b");
});
