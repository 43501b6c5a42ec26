import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatHttpDate, formatSasTime, isVersionTime, parseHttpDateMs, parseIsoMs } from "./dates.ts";

test("RFC 1123 dates, strictly", () => {
  expect(parseHttpDateMs("Sun, 06 Nov 1994 08:49:37 GMT")).toBe(784111777000);
  for (const text of [
    "Mon, 06 Nov 1994 08:49:37 GMT",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 24:49:37 GMT",
    "Sun, 31 Feb 1999 08:49:37 GMT",
    "Sun, 06 ovD 1994 08:49:37 GMT",
    "",
  ]) {
    expect(parseHttpDateMs(text)).toBeNull();
  }
});

test("dates come back", () => {
  const seconds = fc.integer({ min: 0, max: 4_000_000_000 });
  fc.assert(
    fc.property(seconds, (s) => {
      expect(parseHttpDateMs(formatHttpDate(s * 1000))).toBe(s * 1000);
      expect(parseIsoMs(formatSasTime(s * 1000))).toBe(s * 1000);
    }),
    { seed: 1 },
  );
});

test("SAS dates", () => {
  expect(parseIsoMs("2024-02-29")).toBe(Date.UTC(2024, 1, 29));
  expect(parseIsoMs("2024-02-29T01:02Z")).toBe(Date.UTC(2024, 1, 29, 1, 2));
  expect(parseIsoMs("2024-02-29T01:02:03Z")).toBe(Date.UTC(2024, 1, 29, 1, 2, 3));
  expect(parseIsoMs("2024-02-29T01:02:03.5000000Z", true)).toBe(Date.UTC(2024, 1, 29, 1, 2, 3, 500));
  for (const text of [
    "2024-02-30",
    "2024-02-29T01:02:03.5000000Z",
    "2024-02-29T01:02:03+02:00",
    "2024-02-29T01:02:03",
    "2024-2-29",
    "2024-02-29 01:02:03Z",
    "99999-01-01",
    "",
  ]) {
    expect(parseIsoMs(text)).toBeNull();
  }
  expect(parseIsoMs("2024-02-29T01:02:03.Z", true)).toBeNull();
  expect(isVersionTime("2011-03-09T01:42:34.9360000Z")).toBe(true);
  expect(isVersionTime("2011-03-09T01:42:34.936Z")).toBe(false);
});
