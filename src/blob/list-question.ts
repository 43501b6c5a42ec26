/** The lists that may be merged with what is pending: every parameter and header is known and understood. */
import { limits } from "../base/limits.ts";
import { asksForFlush } from "./fences.ts";
import { AT, type Layout, valueAt } from "./layout.ts";
import type { ListShape } from "./list-pending.ts";
import { queryValue } from "./query.ts";
import type { Placed } from "./respond.ts";
import { isCount, isHeaderValue, SAS } from "./screen.ts";
import { isPublishedVersion, OLDEST_HIT_VERSION } from "./versions.ts";

/** What a list asks for. */
export interface ListQuestion extends ListShape {
  readonly account: string;
  readonly container: string;
  /** Names of one page, blobs and prefixes. */
  readonly max: number;
  /** `maxresults` as the client wrote it. */
  readonly maxResults: string | undefined;
  /** As the client wrote it; empty: from the beginning. */
  readonly marker: string;
  /** As the client wrote it. */
  readonly include: string;
  readonly metadata: boolean;
  readonly tags: boolean;
  readonly apiVersion: string;
  readonly clientRequestId: string | undefined;
}

const PARAMETERS: ReadonlySet<string> = new Set(
  "restype comp timeout prefix delimiter marker maxresults include sv".split(" "),
);
/** What a pending blob has, or certainly has not. Versions, snapshots and deleted blobs are the lake's to know. */
const INCLUDES: ReadonlySet<string> = new Set(["metadata", "tags", "copy"]);

const UNDERSTOOD: ReadonlySet<string> = new Set([
  "x-ms-date",
  "x-ms-useragent",
  "x-ms-version",
  "x-ms-client-request-id",
  "x-ms-return-client-request-id",
]);
/** Headers of other names that change the answer in ways not modelled here. */
const FOREIGN: ReadonlySet<string> = new Set(
  "origin range if-match if-none-match if-modified-since if-unmodified-since if-range transfer-encoding upgrade".split(
    " ",
  ),
);

/** What a request for a list asks, or why it cannot be merged. */
export function readListQuestion(placed: Placed): ListQuestion | string {
  const { query, target, layout, exchange } = placed;
  const { headers } = exchange.head;
  const { account, container } = target;
  if (container === null || target.blob !== null || target.ambiguous) return "not a list of a container";
  if (query.malformed || query.duplicated || query.disguised || query.plus) return "the query is odd";
  const value = (name: string): string => queryValue(query, name) ?? "";
  for (const { name } of query.parameters) {
    if (!PARAMETERS.has(name) && !SAS.has(name)) return "a parameter is not understood";
  }
  const trouble = headerTrouble(layout) ?? acceptTrouble(layout, headers);
  if (trouble !== null) return trouble;
  if (asksForFlush(headers)) return "flush";
  const bypass = valueAt(layout, headers, AT.bypass);
  if (bypass !== undefined && bypass.toLowerCase() !== "false") return "bypass";
  const apiVersion = valueAt(layout, headers, AT.msVersion) ?? (value("sig") === "" ? "" : value("sv"));
  if (!isPublishedVersion(apiVersion) || apiVersion < OLDEST_HIT_VERSION) return "a version not understood";
  const clientRequestId = valueAt(layout, headers, AT.clientRequestId);
  if (clientRequestId !== undefined && (clientRequestId.length > 1024 || !isHeaderValue(clientRequestId))) {
    return "an odd x-ms-client-request-id";
  }
  const maxResults = queryValue(query, "maxresults");
  const max = Number(maxResults ?? limits.listPageMax);
  if (maxResults !== undefined && (!isCount(maxResults) || max < 1)) return "an odd maxresults";
  const include = value("include");
  const included = include === "" ? [] : include.split(",");
  if (included.some((name) => !INCLUDES.has(name))) return "an include that only the lake knows";
  const [prefix, delimiter] = [value("prefix"), value("delimiter")];
  if (!prefix.isWellFormed() || !delimiter.isWellFormed()) return "an odd prefix or delimiter";
  return {
    account,
    container,
    prefix,
    delimiter,
    max: Math.min(max, limits.listPageMax),
    maxResults,
    marker: value("marker"),
    include,
    metadata: included.includes("metadata"),
    tags: included.includes("tags"),
    apiVersion,
    clientRequestId,
  };
}

function headerTrouble(layout: Layout): string | null {
  if (layout.knownTwice) return "a header stands twice";
  const strange = layout.lower.some((name) => (name.startsWith("x-ms-") ? !UNDERSTOOD.has(name) : FOREIGN.has(name)));
  return strange || layout.methodOverride ? "a header is not understood" : null;
}

/** Newer services also write lists in other forms than XML. */
function acceptTrouble(layout: Layout, headers: readonly string[]): string | null {
  const at = layout.lower.indexOf("accept");
  const accept = at < 0 ? "" : (headers[2 * at + 1] ?? "").trim().toLowerCase();
  const plain =
    accept === "" ||
    accept.split(",").every((type) => /^\s*(?:application\/xml|text\/xml|\*\/\*)\s*(?:;|$)/.test(type));
  return plain ? null : "another form than XML";
}
