import { expect, test } from "bun:test";
import { compilePolicies, defaultPolicy, mayBeImmutable, type PolicyRule, resolvePolicy } from "./policy.ts";

function rule(
  account: string | null,
  container: string | null,
  prefix: string,
  more: Partial<PolicyRule> = {},
): PolicyRule {
  return { ...defaultPolicy, path: "", account, container, prefix, ...more };
}

const whole = rule(null, null, "");
const ofAccount = rule("acme", null, "");
const datasets = rule(null, "datasets", "");
const train = rule(null, "datasets", "train/", { maxStaleMs: "immutable" });
const trainOfAcme = rule("acme", "datasets", "train/");
const deep = rule(null, "datasets", "train/a b/%2F/", { verdict: "container" });

test("the longest matching path wins, whatever the order of the rules", () => {
  const rules = [whole, datasets, train, deep];
  for (const order of [rules, [...rules].reverse()]) {
    const table = compilePolicies(order);
    expect(resolvePolicy(table, "any", "datasets", "train/a b/%2F/x")).toBe(deep);
    expect(resolvePolicy(table, "any", "datasets", "train/a b/x")).toBe(train);
    expect(resolvePolicy(table, "any", "datasets", "train")).toBe(datasets);
    expect(resolvePolicy(table, "any", "datasets", "")).toBe(datasets);
    expect(resolvePolicy(table, "any", "other", "train/x")).toBe(whole);
  }
});

test("a path that names the account goes before an equal one that does not, and holds for no other account", () => {
  const table = compilePolicies([whole, train, trainOfAcme, ofAccount]);
  expect(resolvePolicy(table, "acme", "datasets", "train/x")).toBe(trainOfAcme);
  expect(resolvePolicy(table, "other", "datasets", "train/x")).toBe(train);
  expect(resolvePolicy(table, "acme", "datasets", "y")).toBe(ofAccount);
  expect(resolvePolicy(table, "other", "datasets", "y")).toBe(whole);
});

test("a longer path goes before one that names the account", () => {
  const table = compilePolicies([ofAccount, datasets]);
  expect(resolvePolicy(table, "acme", "datasets", "x")).toBe(datasets);
});

test("where no rule matches the default holds", () => {
  expect(resolvePolicy(compilePolicies([]), "acme", "datasets", "x")).toBe(defaultPolicy);
  expect(resolvePolicy(compilePolicies([trainOfAcme]), "other", "datasets", "train/x")).toBe(defaultPolicy);
});

test("the table agrees with trying every rule", () => {
  const rules = [whole, ofAccount, datasets, train, trainOfAcme, deep, rule("acme", "logs", "a")];
  const table = compilePolicies(rules);
  for (const account of ["acme", "other"]) {
    for (const container of ["datasets", "logs", "train"]) {
      for (const blob of ["", "a", "ab", "train/", "train/x", "train/a b/%2F/", "train/a b/%2F/z"]) {
        const matching = rules.filter(
          (r) =>
            (r.account ?? account) === account && (r.container ?? container) === container && blob.startsWith(r.prefix),
        );
        const telling = (r: PolicyRule) =>
          (r.container === null ? 0 : 10_000) + r.prefix.length * 10 + (r.account === null ? 0 : 1);
        const best = matching.sort((a, b) => telling(b) - telling(a))[0] ?? defaultPolicy;
        expect(resolvePolicy(table, account, container, blob)).toBe(best);
      }
    }
  }
});

test("a wide change may touch what is immutable only where a rule says so", () => {
  const table = compilePolicies([datasets, train, rule("acme", "logs", "", { maxStaleMs: "immutable" })]);
  expect(mayBeImmutable(table, "other", "datasets")).toBe(true);
  expect(mayBeImmutable(table, "other", "logs")).toBe(false);
  expect(mayBeImmutable(table, "acme", "logs")).toBe(true);
  expect(mayBeImmutable(table, "other", null)).toBe(true);
  expect(mayBeImmutable(compilePolicies([datasets]), "other", null)).toBe(false);
  const everywhere = compilePolicies([rule(null, null, "", { maxStaleMs: "immutable" })]);
  expect(mayBeImmutable(everywhere, "any", "thing")).toBe(true);
});
