import { expect, test } from "bun:test";
import { fuzzHttp } from "./http-judge.ts";

test("the codec serves no request that Node's parser reads differently", async () => {
  const seed = 20_240_607;
  const outcome = await fuzzHttp(seed, 600);
  expect({ seed, failure: outcome.failure }).toEqual({ seed, failure: null });
  // The cases must be worth something: many are served, by both.
  expect(outcome.requests).toBeGreaterThan(200);
  expect(outcome.agreed).toBeGreaterThan(200);
});
