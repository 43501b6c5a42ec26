/**
 * Shared access signatures: whether one grants an operation on a target to a client.
 *
 * The address (`sip`) and the protocol (`spr`) are judged first, for every kind of SAS and even where the signature
 * cannot be judged: the lake sees Forebay's address instead of the client's, so its "yes" would mean nothing.
 *
 * Sources: "Create a service SAS", "Create an account SAS", "Define a stored access policy" in the REST documentation.
 */
import { addressAllowed } from "./address.ts";
import { parseIsoMs } from "./dates.ts";
import { type AccountKey, signedByAny } from "./hmac.ts";
import { type Query, queryValue } from "./query.ts";
import { accountSasText, type SasFields, serviceSasText } from "./sas-text.ts";
import { refused, type ServiceError, type Target, unknown, type Verdict } from "./types.ts";
import { isPublishedVersion } from "./versions.ts";

/** A stored access policy of a container, as it is written there; undefined where it is silent. */
export interface StoredPolicy {
  readonly start?: string | undefined;
  readonly expiry?: string | undefined;
  readonly permissions?: string | undefined;
}

/** Gives a container's stored policy: `missing` when it certainly has none of this name. */
export type PolicyLookup = (account: string, container: string, id: string) => StoredPolicy | "missing" | "unknown";

/** Looks up no policy: every SAS that names one is unknown. */
export const noPolicies: PolicyLookup = () => "unknown";

/** What a SAS is asked for. */
export interface SasQuestion {
  readonly query: Query;
  readonly target: Target;
  /** The operation's name, as in `operations.ts`. */
  readonly operation: string;
  readonly keys: readonly AccountKey[];
  readonly nowMs: number;
  readonly clientAddress: string;
  /** Whether the client came over https. */
  readonly secure: boolean;
  readonly policies: PolicyLookup;
}

/**
 * The permission letter that each judged operation needs, and the resource type of an account SAS. `perhaps`: a letter
 * that suffices where there is no blob of the name.
 */
const NEEDS: ReadonlyMap<string, Need> = new Map<string, Need>([
  ["GetBlob", { letters: "r", type: "o" }],
  ["GetBlobProperties", { letters: "r", type: "o" }],
  ["GetBlobMetadata", { letters: "r", type: "o" }],
  ["GetBlockList", { letters: "r", type: "o" }],
  ["PutBlob", { letters: "w", perhaps: "c", type: "o" }],
  // What a Put Blob needs where there is no blob of the name.
  ["PutBlobNew", { letters: "c", type: "o" }],
  ["DeleteBlob", { letters: "d", type: "o" }],
  ["PutBlock", { letters: "w", type: "o" }],
  ["PutBlockList", { letters: "w", type: "o" }],
  ["ListBlobs", { letters: "l", type: "c" }],
]);

const NAMES: ReadonlySet<string> = new Set(
  "sv sp st se sip spr ses ss srt sr si rscc rscd rsce rscl rsct sig".split(" "),
);
/** Parameters of a user delegation SAS, or of a directory: only the lake can judge those. */
const FOREIGN: ReadonlySet<string> = new Set(
  "skoid sktid skt ske sks skv saoid suoid scid sdd skdutid sduoid srh srq".split(" "),
);
/** Parameters that stand beside a SAS and do not change what it grants here. */
const BESIDE: ReadonlySet<string> = new Set(
  "snapshot versionid timeout comp restype blockid blocklisttype prefix delimiter marker maxresults include".split(" "),
);

/** Whether a query claims to carry a SAS: it has a parameter of one, however it is written. */
export function claimsSas(query: Query): boolean {
  for (const { name } of query.parameters) if (NAMES.has(name) || FOREIGN.has(name)) return true;
  return false;
}

const ADDRESS_ERROR: ServiceError = {
  status: 403,
  code: "AuthorizationSourceIPMismatch",
  message: "This request is not authorized to perform this operation using this source IP.",
};
const PROTOCOL_ERROR: ServiceError = {
  status: 403,
  code: "AuthorizationProtocolMismatch",
  message: "This request is not authorized to perform this operation using this protocol.",
};

/** A final "no" when the client's address or protocol is not allowed; else null. */
export function refusedHere(query: Query, clientAddress: string, secure: boolean): Verdict | null {
  for (const { name, value } of query.parameters) {
    if (name === "sip" && !addressAllowed(value, clientAddress)) {
      return { verdict: "no", reason: "the address is not in sip", error: ADDRESS_ERROR, localOnly: true };
    }
    if (name === "spr" && !secure && value.toLowerCase() !== "https,http") {
      return { verdict: "no", reason: "spr demands https", error: PROTOCOL_ERROR, localOnly: true };
    }
  }
  return null;
}

/** The fields of a SAS, or why it cannot be judged. */
function readFields(query: Query): { fields: SasFields; sig: string } | string {
  if (query.malformed) return "the query is malformed";
  if (query.duplicated) return "a parameter stands twice";
  if (query.disguised) return "a parameter's name is written in another way";
  if (query.plus) return "the query has a bare plus";
  const fields: Record<string, string> = {};
  for (const { name, value } of query.parameters) {
    if (FOREIGN.has(name)) return "a user delegation or directory SAS";
    if (!NAMES.has(name)) {
      if (!BESIDE.has(name)) return "an unknown parameter stands beside the SAS";
    } else if (value === "" || !isPrintable(value)) {
      return "a SAS field is empty or not plain ASCII";
    } else {
      fields[name] = value;
    }
  }
  const get = (name: string): string => fields[name] ?? "";
  return {
    sig: get("sig"),
    fields: {
      sv: get("sv"),
      sp: get("sp"),
      st: get("st"),
      se: get("se"),
      sip: get("sip"),
      spr: get("spr"),
      ses: get("ses"),
      ss: get("ss"),
      srt: get("srt"),
      sr: get("sr"),
      si: get("si"),
      rscc: get("rscc"),
      rscd: get("rscd"),
      rsce: get("rsce"),
      rscl: get("rscl"),
      rsct: get("rsct"),
    },
  };
}

/** A line feed in a field would let one signature mean two things. */
function isPrintable(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}

/** Judges the SAS of a request. */
export function verifySas(question: SasQuestion): Verdict {
  const here = refusedHere(question.query, question.clientAddress, question.secure);
  if (here !== null) return here;
  const read = readFields(question.query);
  if (typeof read === "string") return unknown(read);
  const { fields, sig } = read;
  if (question.target.ambiguous) return unknown("the target is ambiguous");
  if (question.keys.length === 0) return unknown("the account's key is not configured");
  if (sig.length !== 44 || !isPublishedVersion(fields.sv)) return unknown("no understood signature or version");
  if (fields.ses !== "") return unknown("a SAS with an encryption scope");
  if (fields.spr !== "" && fields.spr !== "https" && fields.spr !== "https,http") return unknown("an odd spr");
  const need = NEEDS.get(question.operation);
  if (need === undefined) return unknown("the operation is not judged here");
  if (question.operation === "DeleteBlob" && queryValue(question.query, "versionid") !== undefined) {
    return unknown("the permission to delete a version is another one");
  }
  if (fields.ss !== "" || fields.srt !== "") return verifyAccountSas(question, fields, sig, need);
  return verifyServiceSas(question, fields, sig, need);
}

type Need = { readonly letters: string; readonly perhaps?: string; readonly type: string };
const MAY_CREATE = "it may create a blob, and replace none";

function verifyAccountSas(question: SasQuestion, fields: SasFields, sig: string, need: Need): Verdict {
  const { query, target, keys } = question;
  if (fields.sv < "2015-04-05") return unknown("too old for an account SAS");
  if (fields.sr !== "" || fields.si !== "") return unknown("both an account and a service SAS");
  if (hasOverrides(fields)) return unknown("an account SAS with response headers");
  if (!isSubset(fields.ss, "bqtf") || !isSubset(fields.srt, "sco")) return unknown("odd services or resource types");
  if (queryValue(query, "versionid") !== undefined) return unknown("an account SAS with a version");
  if (!isOrdered(fields.sp, "rwdlacup", "rwdxylacuptfi")) return unknown("odd permissions");
  if (!signedByAny(accountSasText(target.account, fields), sig, keys)) return refused("the signature is another");
  if (!fields.ss.includes("b")) return refused("not for the Blob service");
  if (!fields.srt.includes(need.type)) return refused("not for this type of resource");
  return grant(question.nowMs, need, { start: fields.st, expiry: fields.se, permissions: fields.sp }, false);
}

function verifyServiceSas(question: SasQuestion, fields: SasFields, sig: string, need: Need): Verdict {
  const { target, keys } = question;
  if (fields.sv < "2012-02-12") return unknown("too old for a service SAS");
  if (fields.sv < "2013-08-15" && hasOverrides(fields)) return unknown("response headers are not signed");
  if (fields.sv < "2015-04-05" && (fields.sip !== "" || fields.spr !== "")) return unknown("sip or spr is not signed");
  if (fields.sp !== "" && !isOrdered(fields.sp, "racwdl", "racwdxyltmeopif")) return unknown("odd permissions");
  const resource = signedResource(question, fields);
  if (resource === null) return unknown("the SAS is for something that is not judged here");
  if (!signedByAny(serviceSasText(resource.path, resource.versionTime, fields), sig, keys)) {
    return refused("the signature is another");
  }
  if (need.type !== "o" && fields.sr !== "c") return refused("not for a container");
  const own: StoredPolicy = {
    start: fields.st || undefined,
    expiry: fields.se || undefined,
    permissions: fields.sp || undefined,
  };
  if (fields.si === "") return grant(question.nowMs, need, own, false);
  const stored = question.policies(target.account, target.container ?? "", fields.si);
  if (stored === "unknown") return unknown("the stored access policy is not known");
  if (stored === "missing") return refused("there is no such stored access policy");
  return grantStored(question.nowMs, need, own, stored);
}

/** Each field stands in the SAS or in the policy, never in both. */
function grantStored(nowMs: number, need: Need, own: StoredPolicy, stored: StoredPolicy): Verdict {
  const twice =
    (own.start !== undefined && stored.start !== undefined) ||
    (own.expiry !== undefined && stored.expiry !== undefined) ||
    (own.permissions !== undefined && stored.permissions !== undefined);
  if (twice) return unknown("a field stands both in the SAS and in the stored policy");
  return grant(nowMs, need, { ...stored, ...definedOf(own) }, true);
}

function definedOf(policy: StoredPolicy): StoredPolicy {
  return Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== undefined));
}

/** The resource that the signature must cover for this target, or null when that is not understood. */
function signedResource(question: SasQuestion, fields: SasFields): { path: string; versionTime: string } | null {
  const { account, container, blob } = question.target;
  if (container === null) return null;
  const snapshot = queryValue(question.query, "snapshot");
  const versionId = queryValue(question.query, "versionid");
  const onBase = snapshot === undefined && versionId === undefined;
  const base = `/${account}/${container}`;
  if (fields.sr === "c") return onBase ? { path: base, versionTime: "" } : null;
  if (blob === null) return null;
  const path = `${base}/${blob}`;
  if (fields.sr === "b") return onBase ? { path, versionTime: "" } : null;
  if (fields.sv < "2018-11-09") return null;
  if (fields.sr === "bs" && versionId === undefined && snapshot) return { path, versionTime: snapshot };
  if (fields.sr === "bv" && snapshot === undefined && versionId) return { path, versionTime: versionId };
  return null;
}

/** The verdict of a true signature by its times and permissions. */
function grant(nowMs: number, need: Need, policy: StoredPolicy, stored: boolean): Verdict {
  const { start, expiry, permissions } = policy;
  if (!expiry || !permissions) return unknown("no expiry or no permissions");
  const expiresAtMs = parseIsoMs(expiry, stored);
  const startsAtMs = start ? parseIsoMs(start, stored) : Number.NEGATIVE_INFINITY;
  if (expiresAtMs === null || startsAtMs === null) return unknown("a date that is not understood");
  if (nowMs < startsAtMs) return refused("not valid yet");
  if (nowMs >= expiresAtMs) return refused("expired");
  for (const letter of need.letters) {
    if (permissions.includes(letter)) continue;
    return need.perhaps && permissions.includes(need.perhaps)
      ? unknown(MAY_CREATE)
      : refused("without this permission");
  }
  return { verdict: "yes", expiresAtMs };
}

function hasOverrides(f: SasFields): boolean {
  return f.rscc !== "" || f.rscd !== "" || f.rsce !== "" || f.rscl !== "" || f.rsct !== "";
}

/** Whether `letters` is not empty, has each letter once, and all of them in `allowed`. */
function isSubset(letters: string, allowed: string): boolean {
  for (let i = 0; i < letters.length; i++) {
    const letter = letters[i] ?? "";
    if (!allowed.includes(letter) || letters.indexOf(letter) !== i) return false;
  }
  return letters.length > 0;
}

/** Whether `letters` is a subset of `allowed`, with those of `order` in that order, as the service demands. */
function isOrdered(letters: string, order: string, allowed: string): boolean {
  if (!isSubset(letters, allowed)) return false;
  let last = -1;
  for (const letter of letters) {
    const at = order.indexOf(letter);
    if (at < 0) continue;
    if (at < last) return false;
    last = at;
  }
  return true;
}
