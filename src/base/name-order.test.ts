import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { compareNames, nameAfter, nameAfterPrefix } from "./name-order.ts";

const bytewise = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
const name = fc.oneof(
  fc.string({ maxLength: 4 }),
  fc.string({ unit: "grapheme", maxLength: 3 }),
  fc.constantFrom("\uffff", "\ue000", "\ud7ff", "\u{10000}", "\u{10ffff}", "a\u{10ffff}", "a\u{1f600}", "a\uffee", ""),
);

test("names compare as their UTF-8 bytes do", () => {
  fc.assert(
    fc.property(name, name, (a, b) => {
      expect(Math.sign(compareNames(a, b))).toBe(Math.sign(bytewise(a, b)));
    }),
    { seed: 20261101, numRuns: 2_000 },
  );
});

test("what follows a name, and what follows a prefix", () => {
  fc.assert(
    fc.property(name, name, (a, b) => {
      const later = bytewise(b, a) > 0;
      expect(bytewise(b, nameAfter(a)) >= 0).toBe(later);
      const end = nameAfterPrefix(a);
      const past = later && !b.startsWith(a);
      expect(end !== null && bytewise(b, end) >= 0).toBe(past);
    }),
    { seed: 20261102, numRuns: 2_000 },
  );
});
