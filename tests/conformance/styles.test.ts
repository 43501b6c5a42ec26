/**
 * The four pairs of URL styles, path or account at the front and at the lake, over http, and over https. What the
 * lake answers in the front's style is what Forebay must answer. Where the styles differ, signatures are made anew and
 * the parts of a batch rewritten.
 */
import { afterAll, describe, test } from "bun:test";
import { groups } from "./cases/index.ts";
import { type CaseResult, expectForebay, expectSame, runCase } from "./harness/runner.ts";
import { type FrontOptions, isRealLake, selfTest, skipReason, World } from "./harness/world.ts";

const world = new World();
const CASE_TIMEOUT_MS = 120_000;
const POLICIES = [{ path: "", maxStale: "10m" }];
const cases = groups.flatMap(({ cases: all }) => all.filter(({ styles }) => styles === true));

afterAll(() => world.stop());

const lakeResults = new Map<string, Promise<CaseResult>>();

function pair(title: string, options: FrontOptions): void {
  const { https = false, style = "path", lakeStyle = "path" } = options;
  describe(title, () => {
    for (const subject of cases) {
      test.skipIf((skipReason !== undefined && !selfTest) || isRealLake)(
        subject.name,
        async () => {
          const lake = await world.lake({ https, style });
          const key = `${subject.name} ${https} ${style}`;
          const known = lakeResults.get(key) ?? runCase(subject, { endpoint: lake, lake, seeChanges: "strict" });
          lakeResults.set(key, known);
          const front = await world.front(`${https} ${lakeStyle}`, { ...options, policies: POLICIES });
          const result = await runCase(subject, { endpoint: front, lake, seeChanges: "bypass" });
          if (front.kind === "forebay") expectForebay(subject, await known, result, true);
          else expectSame(await known, result);
        },
        CASE_TIMEOUT_MS,
      );
    }
  });
}

pair("path style in front of an account-style lake", { style: "path", lakeStyle: "account" });
pair("account style in front of a path-style lake", { style: "account", lakeStyle: "path" });
pair("account style in front of an account-style lake", { style: "account", lakeStyle: "account" });
pair("https, path style at both ends", { https: true });
pair("https, account style in front of a path-style lake", { https: true, style: "account", lakeStyle: "path" });
