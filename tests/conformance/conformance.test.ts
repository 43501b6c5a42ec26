/**
 * One suite through the real Azure SDK and hand-signed raw HTTP: every case runs against the lake (Azurite, or a real
 * account) and through Forebay, cold and warm, and the outcomes must be equal.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { groups } from "./cases/index.ts";
import type { ConformanceCase } from "./harness/case.ts";
import { type CaseResult, expectForebay, expectSame, runCase } from "./harness/runner.ts";
import { isRealLake, selfTest, skipReason, World } from "./harness/world.ts";

const world = new World();
const CASE_TIMEOUT_MS = 120_000;
const missing = skipReason !== undefined && !selfTest;

/** Long enough that a warm read is a hit whatever the machine's speed. */
const LONG = [{ path: "", maxStale: "10m" }];
const STRICT = [{ path: "", maxStale: "0s" }];

afterAll(() => world.stop());

function suite(subject: ConformanceCase): void {
  if (subject.needs?.includes("real-lake") === true && !isRealLake) {
    // Azurite's own answer is broken there: only a real account can be compared with (--lake).
    return;
  }
  const https = subject.needs?.includes("https") === true;
  let lakeResult: CaseResult | undefined;
  const ofLake = async (): Promise<CaseResult> => {
    const lake = await world.lake({ https });
    lakeResult ??= await runCase(subject, { endpoint: lake, lake, seeChanges: "strict" });
    return lakeResult;
  };
  test(
    `${subject.name}: the lake`,
    async () => {
      const { seen, notes } = (await ofLake()).cold;
      expect(seen.length + Object.keys(notes).length).toBeGreaterThan(0);
    },
    CASE_TIMEOUT_MS,
  );
  test.skipIf(missing)(
    `${subject.name}: Forebay`,
    async () => {
      const lake = await world.lake({ https });
      const front = await world.front(https ? "long https" : "long", { https, policies: LONG });
      const result = await runCase(subject, { endpoint: front, lake, seeChanges: "bypass" });
      if (front.kind === "forebay") expectForebay(subject, await ofLake(), result, true);
      else expectSame(await ofLake(), result);
    },
    CASE_TIMEOUT_MS,
  );
  const repeatable = subject.readOnly === true || subject.change !== undefined;
  // Cases that change things in ways of their own have no strict form.
  if (!repeatable || selfTest) return;
  test.skipIf(missing)(
    `${subject.name}: Forebay, strict, two servers`,
    async () => {
      const lake = await world.lake({ https });
      const front = await world.front(https ? "strict https" : "strict", { https, policies: STRICT, servers: 2 });
      const result = await runCase(subject, { endpoint: front, lake, seeChanges: "strict" });
      expectForebay(subject, await ofLake(), result, false);
    },
    CASE_TIMEOUT_MS,
  );
}

if (missing) console.warn(`conformance: Forebay is not compared, because ${skipReason}`);
for (const group of groups) {
  describe(group.name, () => {
    for (const subject of group.cases) suite(subject);
  });
}
