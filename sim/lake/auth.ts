/**
 * Who may do what, as strictly as the real service: SharedKey with its 15 minutes, SAS with times, addresses and
 * protocol, stored policies, bearer tokens against a table, public containers. Azurite is lax in most of these.
 */
import { sharedKeyLiteStringToSign, sharedKeyStringToSign } from "../../src/lake/sign.ts";
import { simError } from "./errors.ts";
import { type Call, header } from "./model.ts";
import type { Needs, Operation } from "./operations.ts";
import { authoriseSas } from "./sas.ts";
import { matchesAKey } from "./signature.ts";

const SKEW_MS = 15 * 60_000;

/** Throws the service's refusal unless the call may do `operation`. */
export function authorise(call: Call, operation: Operation, needs: Needs): void {
  const authorization = header(call, "authorization");
  if (authorization !== undefined) {
    const [scheme = "", rest = ""] = splitOnce(authorization, " ");
    if (/^bearer$/i.test(scheme)) authoriseBearer(call, needs, rest);
    else if (scheme === "SharedKey" || scheme === "SharedKeyLite") authoriseSharedKey(call, scheme, rest);
    else throw simError("InvalidAuthenticationInfo");
  } else if (call.query.has("sig")) authoriseSas(call, operation, needs);
  else authoriseAnonymous(call, operation);
}

function splitOnce(text: string, by: string): [string, string] {
  const at = text.indexOf(by);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function authoriseSharedKey(call: Call, scheme: "SharedKey" | "SharedKeyLite", rest: string): void {
  const [account, signature] = splitOnce(rest, ":");
  const date = Date.parse(header(call, "x-ms-date") ?? header(call, "date") ?? "");
  const fresh = Math.abs(date - call.context.nowMs) <= SKEW_MS;
  if (account !== call.account.name || !fresh) throw simError("AuthenticationFailed");
  const signed = { method: call.method, path: call.path, query: call.rawQuery, headers: call.headers, account };
  const text = scheme === "SharedKey" ? sharedKeyStringToSign(signed) : sharedKeyLiteStringToSign(signed);
  if (!matchesAKey(call, text, signature)) throw simError("AuthenticationFailed");
}

function authoriseBearer(call: Call, needs: Needs, text: string): void {
  if (!call.context.secure && !call.state.httpBearer) throw simError("AuthenticationFailed");
  const token = call.account.tokens.get(text);
  if (token === undefined || token.expiresAtMs <= call.context.nowMs) {
    throw simError("InvalidAuthenticationInfo", challenge());
  }
  const inScope = token.containers === undefined || token.containers.includes(call.containerName);
  const may = token.roles.includes("contributor") || (token.roles.includes("reader") && !needs.writes);
  if (!inScope || !may) throw simError("AuthorizationPermissionMismatch");
}

function challenge(): string[] {
  const authority = "https://login.microsoftonline.com/00000000-0000-4000-8000-000000000000/oauth2/authorize";
  return ["WWW-Authenticate", `Bearer authorization_uri=${authority} resource_id=https://storage.azure.com`];
}

/** What anyone may do in a container that is open for its blobs, and in one that is open altogether. */
const OPEN_READS: ReadonlySet<Operation> = new Set(["GetBlob", "GetBlobProperties", "GetBlobMetadata", "GetBlockList"]);
const OPEN_LISTS: ReadonlySet<Operation> = new Set(["ListBlobs", "GetContainerProperties"]);

function authoriseAnonymous(call: Call, operation: Operation): void {
  const access = call.account.containers.get(call.containerName)?.publicAccess ?? null;
  if (access !== null && OPEN_READS.has(operation)) return;
  if (access === "container" && OPEN_LISTS.has(operation)) return;
  // From this version on, the service asks for a token instead of pretending that nothing is there.
  if (call.version >= "2019-12-12") throw simError("NoAuthenticationInformation", challenge());
  throw simError("ResourceNotFound");
}
