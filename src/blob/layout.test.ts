import { expect, test } from "bun:test";
import { AT, layoutOf, valueAt } from "./layout.ts";

test("values are picked by place, whatever the case and the order of names", () => {
  const headers = ["HOST", "h", "X-Ms-Date", "d", "x-ms-b", "1", "x-ms-a", "2", "Range", "bytes=0-1"];
  const layout = layoutOf(headers);
  expect(valueAt(layout, headers, AT.host)).toBe("h");
  expect(valueAt(layout, headers, AT.msDate)).toBe("d");
  expect(valueAt(layout, headers, AT.range)).toBe("bytes=0-1");
  expect(valueAt(layout, headers, AT.date)).toBeUndefined();
  expect(layout.ms.map(({ name, at }) => [name, headers[at]])).toEqual([
    ["x-ms-a", "2"],
    ["x-ms-b", "1"],
    ["x-ms-date", "d"],
  ]);
});

test("a sequence of names is looked at once, and another one is another", () => {
  const one = layoutOf(["Host", "a", "x-ms-version", "v"]);
  expect(layoutOf(["Host", "b", "x-ms-version", "w"])).toBe(one);
  for (const names of [
    ["host", "x-ms-version"],
    ["x-ms-version", "Host"],
    ["Host"],
    ["Host", "x-ms-version", "x-ms-version"],
    ["Host", "x-ms-versions"],
  ]) {
    const other = layoutOf(names.flatMap((name) => [name, "v"]));
    expect(other).not.toBe(one);
    expect(other.names).toEqual(names);
  }
  // Many others make it forgotten, and then it is found out again.
  for (let i = 0; i < 100; i++) layoutOf([`x-${i}`, ""]);
  const again = layoutOf(["Host", "a", "x-ms-version", "v"]);
  expect(again).not.toBe(one);
  expect(again).toEqual(one);
});

test("what stands twice is said, and a method in a header", () => {
  const says = (...names: string[]) => {
    const { signedTwice, knownTwice, methodOverride } = layoutOf(names.flatMap((name) => [name, "v"]));
    return [signedTwice, knownTwice, methodOverride];
  };
  expect(says("Host", "Accept", "accept")).toEqual([false, false, false]);
  expect(says("x-ms-version", "X-MS-Version")).toEqual([true, true, false]);
  expect(says("x-ms-meta-a", "x-ms-meta-A")).toEqual([true, true, false]);
  expect(says("Range", "range")).toEqual([true, true, false]);
  expect(says("Authorization", "authorization")).toEqual([true, true, false]);
  expect(says("x-forebay-bypass", "X-Forebay-Bypass")).toEqual([false, true, false]);
  expect(says("X-HTTP-Method-Override")).toEqual([false, false, true]);
});
