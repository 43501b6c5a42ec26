import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { compareNames, createSortedNames } from "./names.ts";

const bytewise = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
const name = fc.oneof(
  fc.string({ maxLength: 4 }),
  fc.string({ unit: "grapheme", maxLength: 3 }),
  fc.constantFrom("\uffff", "\ue000", "\u{10000}", "a\u{1f600}", "a\uffee", ""),
);

test("names compare as their UTF-8 bytes do", () => {
  fc.assert(
    fc.property(name, name, (a, b) => {
      expect(Math.sign(compareNames(a, b))).toBe(Math.sign(bytewise(a, b)));
    }),
    { seed: 20260302, numRuns: 2_000 },
  );
});

test("names that come and go are listed in order", () => {
  const step = fc.record({ name: fc.oneof(name, fc.nat(5_000).map(String)), from: name });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1_500, maxLength: 3_000 }), (steps) => {
      const names = createSortedNames();
      const model = new Set<string>();
      for (const [n, { name: one, from }] of steps.entries()) {
        if (model.delete(one)) names.remove(one);
        else {
          model.add(one);
          names.add(one);
        }
        if (n % 250 !== 0) continue;
        const expected = [...model].filter((other) => bytewise(other, from) >= 0).sort(bytewise);
        expect([...names.from(from)]).toEqual(expected);
        expect(names.size).toBe(model.size);
      }
    }),
    { seed: 20260303, numRuns: 10 },
  );
});
