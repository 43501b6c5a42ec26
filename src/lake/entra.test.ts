import { expect, test } from "bun:test";
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import { createTokenSource, type TokenGiver } from "./entra.ts";

/** A clock that a test moves by hand; its timers never fire. */
function handClock(): Clock & { nowMs: number } {
  const clock = {
    nowMs: 1_000_000,
    wallMs: () => clock.nowMs,
    monotonicMs: () => clock.nowMs,
    after: () => ({ cancel: () => {} }),
    sleep: () => new Promise<void>(() => {}),
  };
  return clock;
}

const HOUR_MS = 3_600_000;
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

function giverOf(clock: Clock, outcomes: { fails: Error | null; asked: number }): TokenGiver {
  return {
    getToken: async (scope) => {
      expect(scope).toBe("https://storage.azure.com/.default");
      outcomes.asked++;
      if (outcomes.fails !== null) throw outcomes.fails;
      return { token: `token-${outcomes.asked}`, expiresOnTimestamp: clock.wallMs() + HOUR_MS };
    },
  };
}

test("many wait for one request, and the token serves until near its end", async () => {
  const clock = handClock();
  const outcomes = { fails: null, asked: 0 };
  const source = createTokenSource(clock, async () => giverOf(clock, outcomes));
  expect(await Promise.all([source.token(), source.token(), source.token()])).toEqual([
    "token-1",
    "token-1",
    "token-1",
  ]);
  clock.nowMs += HOUR_MS - limits.entraRefreshAheadMs - 1;
  expect(await source.token()).toBe("token-1");
  await turn();
  expect(outcomes.asked).toBe(1);
  clock.nowMs += 2;
  expect(await source.token()).toBe("token-1");
  await turn();
  expect(outcomes.asked).toBe(2);
  expect(await source.token()).toBe("token-2");
});

test("a renewal that fails is hidden while the token serves, and told when it has ended", async () => {
  const clock = handClock();
  const outcomes: { fails: Error | null; asked: number } = { fails: null, asked: 0 };
  const source = createTokenSource(clock, async () => giverOf(clock, outcomes));
  await source.token();
  outcomes.fails = new Error("the network is down\nwith a long story");
  clock.nowMs += HOUR_MS - 1_000;
  expect(await source.token()).toBe("token-1");
  await turn();
  clock.nowMs += 2_000;
  const refused = await source.token().catch((error) => error);
  expect(refused).toMatchObject({ code: "lake-unreachable", retryable: true });
  expect(refused.message).toContain("the network is down");
  expect(refused.message).not.toContain("story");
  // Within the pause nobody is asked again.
  expect(outcomes.asked).toBe(2);
  clock.nowMs += limits.entraFailurePauseMs;
  outcomes.fails = null;
  expect(await source.token()).toBe("token-3");
});

test("no credential at all is one clear line", async () => {
  const clock = handClock();
  const none = new Error("EnvironmentCredential is unavailable …");
  none.name = "CredentialUnavailableError";
  const source = createTokenSource(clock, async () => giverOf(clock, { fails: none, asked: 0 }));
  const refused = await source.token().catch((error) => error);
  expect(refused.code).toBe("config");
  expect(refused.message).toMatch(/az login.*connection string/);
  expect(refused.message).not.toContain("\n");
});
