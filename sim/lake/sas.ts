/**
 * Shared access signatures of an account's key: service SAS (with stored policies) and account SAS. Sources: "Create a
 * service SAS", "Create an account SAS" (string-to-sign by version).
 */
import { simError } from "./errors.ts";
import type { Call } from "./model.ts";
import type { Needs, Operation } from "./operations.ts";
import { matchesAKey } from "./signature.ts";

/** Throws the service's refusal unless the SAS in the call's query allows `operation`. */
export function authoriseSas(call: Call, operation: Operation, needs: Needs): void {
  const get = (name: string): string => call.query.get(name) ?? "";
  const version = get("sv");
  if (!/^\d{4}-\d\d-\d\d$/.test(version)) throw simError("AuthenticationFailed");
  // A user delegation SAS is signed with a key that this service does not give out.
  if (get("skoid") !== "") throw simError("AuthenticationFailed");
  const isAccount = get("ss") !== "" || get("srt") !== "";
  const text = isAccount ? accountText(call, version) : serviceText(call, version);
  if (!matchesAKey(call, text, get("sig"))) throw simError("AuthenticationFailed");
  const terms = isAccount ? { start: get("st"), expiry: get("se"), permission: get("sp") } : withPolicy(call);
  checkTimes(terms, call.context.nowMs);
  checkOrigin(call);
  if (isAccount) checkAccountScope(call, needs);
  else if (!needs.serviceSas) throw simError("AuthorizationPermissionMismatch");
  else if (operation === "ListBlobs" && get("sr") !== "c") throw simError("AuthorizationFailure");
  const letters = isNew(call) ? (needs.lettersToCreate ?? needs.letters) : needs.letters;
  if (![...letters].some((letter) => terms.permission.includes(letter))) {
    throw simError("AuthorizationPermissionMismatch");
  }
}

function isNew(call: Call): boolean {
  return call.account.containers.get(call.containerName)?.slots.get(call.blobName)?.current === undefined;
}

function accountText(call: Call, version: string): string {
  const get = (name: string): string => call.query.get(name) ?? "";
  const fields = [call.account.name, get("sp"), get("ss"), get("srt"), get("st"), get("se"), get("sip"), get("spr")];
  const scope = version >= "2020-12-06" ? [get("ses")] : [];
  return [...fields, version, ...scope, ""].join("\n");
}

function serviceText(call: Call, version: string): string {
  const get = (name: string): string => call.query.get(name) ?? "";
  const resource = get("sr");
  const ofBlob = resource === "b" || resource === "bs" || resource === "bv";
  if (!ofBlob && resource !== "c") throw simError("AuthenticationFailed");
  const place = `/blob/${call.account.name}/${call.containerName}${ofBlob ? `/${call.blobName}` : ""}`;
  const moment = resource === "bs" ? get("snapshot") : resource === "bv" ? get("versionid") : "";
  return [
    get("sp"),
    get("st"),
    get("se"),
    place,
    get("si"),
    get("sip"),
    get("spr"),
    version,
    ...(version >= "2018-11-09" ? [resource, moment] : []),
    ...(version >= "2020-12-06" ? [get("ses")] : []),
    get("rscc"),
    get("rscd"),
    get("rsce"),
    get("rscl"),
    get("rsct"),
  ].join("\n");
}

interface Terms {
  readonly start: string;
  readonly expiry: string;
  readonly permission: string;
}

/** The terms of a service SAS, completed by its stored policy. What one says, the other must not. */
function withPolicy(call: Call): Terms {
  const get = (name: string): string => call.query.get(name) ?? "";
  const own = { start: get("st"), expiry: get("se"), permission: get("sp") };
  const id = get("si");
  if (id === "") return own;
  const container = call.account.containers.get(call.containerName);
  const policy = container?.policies.find((candidate) => candidate.id === id);
  if (policy === undefined) throw simError("AuthenticationFailed");
  const merge = (stored: string, given: string): string => {
    if (stored !== "" && given !== "") throw simError("AuthenticationFailed");
    return stored === "" ? given : stored;
  };
  return {
    start: merge(policy.start, own.start),
    expiry: merge(policy.expiry, own.expiry),
    permission: merge(policy.permission, own.permission),
  };
}

function checkTimes(terms: Terms, nowMs: number): void {
  const expiresAtMs = Date.parse(terms.expiry);
  // Written so that a time that cannot be read refuses.
  if (!(nowMs < expiresAtMs)) throw simError("AuthenticationFailed");
  if (terms.start !== "" && !(nowMs >= Date.parse(terms.start))) throw simError("AuthenticationFailed");
}

function checkOrigin(call: Call): void {
  const protocol = call.query.get("spr") ?? "https,http";
  if (!call.context.secure && !protocol.split(",").includes("http")) throw simError("AuthorizationProtocolMismatch");
  const range = call.query.get("sip") ?? "";
  if (range === "") return;
  const [first = "", last = first] = range.split("-");
  const at = ipNumber(call.context.remoteAddress);
  if (!(at >= ipNumber(first) && at <= ipNumber(last))) throw simError("AuthorizationSourceIPMismatch");
}

/** An IPv4 address as a number; NaN, which is in no range, for anything else. */
function ipNumber(text: string): number {
  const parts = text
    .replace(/^::ffff:/, "")
    .split(".")
    .map(Number);
  if (parts.length !== 4) return Number.NaN;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}

function checkAccountScope(call: Call, needs: Needs): void {
  if (!(call.query.get("ss") ?? "").includes("b")) throw simError("AuthorizationServiceMismatch");
  const letter = needs.level === "service" ? "s" : needs.level === "container" ? "c" : "o";
  if (!needs.accountSas || !(call.query.get("srt") ?? "").includes(letter)) {
    throw simError("AuthorizationResourceTypeMismatch");
  }
}
