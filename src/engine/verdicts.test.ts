import { expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { limits } from "../base/limits.ts";
import { defaultPolicy } from "./policy.ts";
import type { Judgement } from "./types.ts";
import { createVerdicts } from "./verdicts.ts";

type Asked = Parameters<ReturnType<typeof createVerdicts>["holds"]>[0];

const lake: Asked["lake"] = {
  account: "acc",
  style: "path",
  hasOwnCredential: true,
  keys: [],
  read: () => Promise.reject(new Error("not asked")),
  forward: () => Promise.reject(new Error("not asked")),
  close: () => {},
};

function asking(blob: string, judgement: Partial<Extract<Judgement, { kind: "ask" }>> = {}): Asked {
  return {
    key: { account: "acc", container: "con", blob },
    indexKey: `acc/con/${blob}`,
    lake,
    policy: defaultPolicy,
    form: "full",
    apiVersion: "2025-01-05",
    range: null,
    conditionsHold: null,
    judgement: { kind: "ask", credentialId: "someone", expiresAtMs: null, narrow: false, ...judgement },
    caller: { kind: "caller" },
    clientRequestId: undefined,
    signal: () => new AbortController().signal,
  };
}

test("a yes holds for its credential and blob, for a minute from when it was asked for", async () => {
  const clock = createSimClock();
  const verdicts = createVerdicts(clock);
  const askedAtMs = clock.monotonicMs();
  await clock.advance(10_000);
  verdicts.remember(asking("a"), askedAtMs);
  expect(verdicts.holds(asking("a"))).toBe(true);
  expect(verdicts.holds(asking("b"))).toBe(false);
  expect(verdicts.holds(asking("a", { credentialId: "another" }))).toBe(false);
  await clock.advance(limits.verdictTtlMs - 10_001);
  expect(verdicts.holds(asking("a"))).toBe(true);
  await clock.advance(1);
  expect(verdicts.holds(asking("a"))).toBe(false);
});

test("a yes ends with the credential's own life", async () => {
  const clock = createSimClock();
  const verdicts = createVerdicts(clock);
  const request = asking("a", { expiresAtMs: clock.wallMs() + 5_000 });
  verdicts.remember(request, clock.monotonicMs());
  expect(verdicts.holds(request)).toBe(true);
  await clock.advance(5_000);
  expect(verdicts.holds(request)).toBe(false);
});

test("a yes covers the container only where the policy says so", () => {
  const clock = createSimClock();
  const verdicts = createVerdicts(clock);
  const wide = (blob: string): Asked => ({ ...asking(blob), policy: { ...defaultPolicy, verdict: "container" } });
  verdicts.remember(wide("a"), clock.monotonicMs());
  expect(verdicts.holds(wide("b"))).toBe(true);
  expect(verdicts.holds(asking("b"))).toBe(false);
  verdicts.clear();
  expect(verdicts.holds(wide("b"))).toBe(false);
});

test("a yes to reading covers the properties, not the other way round", () => {
  const clock = createSimClock();
  const verdicts = createVerdicts(clock);
  const head: Asked = { ...asking("a"), form: "head" };
  verdicts.remember(head, clock.monotonicMs());
  expect(verdicts.holds(head)).toBe(true);
  expect(verdicts.holds(asking("a"))).toBe(false);
  verdicts.remember(asking("b"), clock.monotonicMs());
  expect(verdicts.holds({ ...asking("b"), form: "head" })).toBe(true);
});

test("a credential narrower than a container is never taken for the container", () => {
  const clock = createSimClock();
  const verdicts = createVerdicts(clock);
  const wide = (blob: string): Asked => ({
    ...asking(blob, { narrow: true }),
    policy: { ...defaultPolicy, verdict: "container" },
  });
  verdicts.remember(wide("a"), clock.monotonicMs());
  expect(verdicts.holds(wide("a"))).toBe(true);
  expect(verdicts.holds(wide("b"))).toBe(false);
});
