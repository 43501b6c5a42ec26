import { expect, test } from "bun:test";
import { fuzzFuse } from "./fuse-judge.ts";

test("whatever the kernel sends, every request gets one whole answer and nothing is thrown", () => {
  const seed = 20_260_301;
  const { failures, requests, good } = fuzzFuse(seed, 300);
  expect({ seed, failures }).toEqual({ seed, failures: [] });
  // The cases must be worth something.
  expect(requests).toBeGreaterThan(10_000);
  expect(good).toBeGreaterThan(3_000);
});
