/** Sets of policies that histories move between. */
import { defaultPolicy, type Policy, type PolicyRule } from "../../src/engine/policy.ts";

function rule(path: string, policy: Partial<Policy>): PolicyRule {
  return { ...defaultPolicy, ...policy, path, account: null, container: path, prefix: "" };
}

const STRICT = rule("strict", { maxStaleMs: 0 });
const SERVE = rule("serve", { onLakeOutage: "serve" });
const FIXED = rule("fixed", { maxStaleMs: "immutable" });

/** Sets of rules that a history moves between. */
export const RULES: readonly (readonly PolicyRule[])[] = [
  [STRICT, SERVE, FIXED],
  [STRICT, SERVE, rule("five", { maxStaleMs: "immutable" })],
  [STRICT, rule("serve", { onLakeOutage: "serve", maxStaleMs: "immutable" }), FIXED],
  [STRICT, SERVE, FIXED, rule("five", { maxStaleMs: 1_000, verdict: "container" })],
];
