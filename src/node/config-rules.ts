/** The policies of the settings as rules: what they leave out is filled in, and what cannot hold together is refused. */
import { ForebayError } from "../base/errors.ts";
import { defaultPolicy, type PolicyRule } from "../engine/policy.ts";
import { parseLakeAddress } from "../lake/address.ts";
import { type LakeConfig, lakeOptions } from "./config-lake.ts";
import type { FileSettings } from "./config-schema.ts";

type Given = NonNullable<FileSettings["policies"]>[number];

/** What says something only of writes that are carried to the lake later. */
const ONLY_BACK = ["exclusive", "whenParked", "tier", "maxUnflushed"] as const;

/** The rules that the settings name. `where` is the source of the list, for messages. Throws `config`. */
export function policiesOf(given: readonly Given[], lakes: readonly LakeConfig[], where: string): PolicyRule[] {
  const seen = new Set<string>();
  return given.map((policy, index) => {
    const { path, account, container, prefix } = policy.path;
    const at = `${where}[${index}]`;
    if (account !== null && lakes.length > 0 && !lakes.some((lake) => lake.account === account)) {
      const known = lakes.map((lake) => lake.account).join(", ");
      throw new ForebayError("config", `${at}.path: account "${account}" is none of the lakes; write one of ${known}`);
    }
    const identity = JSON.stringify([account, container, prefix]);
    if (seen.has(identity)) throw new ForebayError("config", `${at}.path: "${path}" is there twice; keep one of them`);
    seen.add(identity);
    const rule = ruleOf(policy);
    if (rule.write === "back") checkCredential(rule, lakes, at);
    else checkNothingOfBack(policy, at);
    return rule;
  });
}

function ruleOf(policy: Given): PolicyRule {
  return {
    ...policy.path,
    maxStaleMs: policy.maxStale ?? defaultPolicy.maxStaleMs,
    onLakeOutage: policy.onLakeOutage ?? defaultPolicy.onLakeOutage,
    verdict: policy.verdict ?? defaultPolicy.verdict,
    write: policy.write ?? defaultPolicy.write,
    exclusive: policy.exclusive ?? defaultPolicy.exclusive,
    whenParked: policy.whenParked ?? defaultPolicy.whenParked,
    tier: policy.tier ?? defaultPolicy.tier,
    maxUnflushedMs: policy.maxUnflushed ?? defaultPolicy.maxUnflushedMs,
  };
}

/** What is acknowledged outlives its caller's credential, so it is carried with one of Forebay's own, or not taken in. */
function checkCredential(rule: PolicyRule, lakes: readonly LakeConfig[], at: string): void {
  for (const lake of lakes) {
    if (rule.account !== null && rule.account !== lake.account) continue;
    if (parseLakeAddress(lake.connection, lakeOptions(lake)).credential.kind !== "none") continue;
    const need = `back ("${rule.path}") needs a credential of Forebay's own for account "${lake.account}"`;
    const remedy = "give its lake an account key, a SAS, or an https URL (Entra ID), or write through";
    throw new ForebayError("config", `${at}.write: ${need}; ${remedy}`);
  }
}

/** A promise that nobody keeps is worse than an error. */
function checkNothingOfBack(policy: Given, at: string): void {
  const idle = ONLY_BACK.find((name) => policy[name] !== undefined && policy[name] !== false);
  if (idle === undefined) return;
  throw new ForebayError("config", `${at}.${idle}: holds only with write: back; add that, or leave ${idle} out`);
}
