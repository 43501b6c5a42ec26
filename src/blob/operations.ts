/**
 * The operations of the Blob service as a table: what a method, a `restype` and a `comp` mean at each level, whether
 * that reads or changes, and what a change makes uncertain. An operation that is not here is a change of the whole
 * container (or account), unless its method only reads.
 *
 * Source: "Operations on the account / on containers / on blobs" in the REST documentation.
 */
import { isNamed, type RawHeaders } from "../http/types.ts";
import { layoutOf } from "./layout.ts";
import type { Query } from "./query.ts";
import { levelOf } from "./target.ts";
import type { Target } from "./types.ts";

export type Level = "service" | "container" | "blob";

/** What a change makes uncertain. */
export type Scope = "none" | "blob" | "container" | "account";

/** An operation as the front treats it. */
export interface Operation {
  /** The documentation's name without spaces; `Unknown` for what it does not have, {@link ODD_BATCH} for a batch that
   * is asked for in an odd way. */
  readonly name: string;
  readonly level: Level;
  readonly effect: "read" | "change";
  readonly scope: Scope;
  /** Whether its answers may come from flash. */
  readonly cacheable: boolean;
  /** Whether it may change who may do what: remembered verdicts and stored policies of the scope lapse. */
  readonly access: boolean;
}

type Row = readonly [name: string, level: Level, methods: string, restype: string, comp: string, scope: Scope | "read"];

const ROWS: readonly Row[] = [
  ["ListContainers", "service", "GET", "", "list", "read"],
  ["GetBlobServiceProperties", "service", "GET", "service", "properties", "read"],
  ["SetBlobServiceProperties", "service", "PUT", "service", "properties", "account"],
  ["GetBlobServiceStats", "service", "GET", "service", "stats", "read"],
  ["GetAccountInformation", "service", "GET HEAD", "account", "properties", "read"],
  ["GetUserDelegationKey", "service", "POST", "service", "userdelegationkey", "read"],
  ["BlobBatch", "service", "POST", "", "batch", "account"],
  ["FindBlobsByTags", "service", "GET", "", "blobs", "read"],

  ["CreateContainer", "container", "PUT", "container", "", "container"],
  ["GetContainerProperties", "container", "GET HEAD", "container", "", "read"],
  ["GetContainerMetadata", "container", "GET HEAD", "container", "metadata", "read"],
  ["SetContainerMetadata", "container", "PUT", "container", "metadata", "none"],
  ["GetContainerACL", "container", "GET HEAD", "container", "acl", "read"],
  ["SetContainerACL", "container", "PUT", "container", "acl", "container"],
  ["DeleteContainer", "container", "DELETE", "container", "", "container"],
  ["LeaseContainer", "container", "PUT", "container", "lease", "none"],
  ["RestoreContainer", "container", "PUT", "container", "undelete", "container"],
  ["RenameContainer", "container", "PUT", "container", "rename", "account"],
  ["ListBlobs", "container", "GET", "container", "list", "read"],
  ["FindBlobsByTagsInContainer", "container", "GET", "container", "blobs", "read"],
  ["BlobBatchInContainer", "container", "POST", "container", "batch", "container"],
  ["GetAccountInformation", "container", "GET HEAD", "account", "properties", "read"],

  ["GetBlob", "blob", "GET", "", "", "read"],
  ["GetBlobProperties", "blob", "HEAD", "", "", "read"],
  ["PutBlob", "blob", "PUT", "", "", "blob"],
  ["DeleteBlob", "blob", "DELETE", "", "", "blob"],
  ["GetBlobMetadata", "blob", "GET HEAD", "", "metadata", "read"],
  ["SetBlobMetadata", "blob", "PUT", "", "metadata", "blob"],
  ["SetBlobProperties", "blob", "PUT", "", "properties", "blob"],
  ["UndeleteBlob", "blob", "PUT", "", "undelete", "container"],
  ["GetBlobTags", "blob", "GET", "", "tags", "read"],
  ["SetBlobTags", "blob", "PUT", "", "tags", "blob"],
  ["LeaseBlob", "blob", "PUT", "", "lease", "blob"],
  ["SnapshotBlob", "blob", "PUT", "", "snapshot", "blob"],
  ["AbortCopyBlob", "blob", "PUT", "", "copy", "blob"],
  ["SetBlobTier", "blob", "PUT", "", "tier", "container"],
  ["SetBlobExpiry", "blob", "PUT", "", "expiry", "blob"],
  ["SetBlobImmutabilityPolicy", "blob", "PUT", "", "immutabilitypolicies", "blob"],
  ["DeleteBlobImmutabilityPolicy", "blob", "DELETE", "", "immutabilitypolicies", "blob"],
  ["SetBlobLegalHold", "blob", "PUT", "", "legalhold", "blob"],
  // A block that is not committed changes nothing that a read of the blob shows, its ETag included.
  ["PutBlock", "blob", "PUT", "", "block", "none"],
  ["PutBlockList", "blob", "PUT", "", "blocklist", "blob"],
  ["GetBlockList", "blob", "GET", "", "blocklist", "read"],
  ["PutPage", "blob", "PUT", "", "page", "blob"],
  ["GetPageRanges", "blob", "GET", "", "pagelist", "read"],
  ["IncrementalCopyBlob", "blob", "PUT", "", "incrementalcopy", "blob"],
  ["AppendBlock", "blob", "PUT", "", "appendblock", "blob"],
  ["SealBlob", "blob", "PUT", "", "seal", "blob"],
  ["QueryBlobContents", "blob", "POST", "", "query", "read"],
  ["GetAccountInformation", "blob", "GET HEAD", "account", "properties", "read"],
];

const CACHEABLE: ReadonlySet<string> = new Set(["GetBlob", "GetBlobProperties"]);
const ACCESS: ReadonlySet<string> = new Set([
  "SetContainerACL",
  "CreateContainer",
  "DeleteContainer",
  "RestoreContainer",
  "RenameContainer",
  "SetBlobServiceProperties",
]);

function operation(name: string, level: Level, scope: Scope | "read"): Operation {
  const effect = scope === "read" ? "read" : "change";
  return {
    name,
    level,
    effect,
    scope: scope === "read" ? "none" : scope,
    cacheable: CACHEABLE.has(name),
    access: ACCESS.has(name),
  };
}

const TABLE: ReadonlyMap<string, Operation> = new Map(
  ROWS.flatMap(([name, level, methods, restype, comp, scope]) =>
    methods
      .split(" ")
      .map((method): [string, Operation] => [`${level} ${method} ${restype} ${comp}`, operation(name, level, scope)]),
  ),
);

/** Every operation of the table, once per level. */
export const allOperations: readonly Operation[] = [...new Set(TABLE.values())];

const GET_BLOB = operation("GetBlob", "blob", "read");
const GET_BLOB_PROPERTIES = operation("GetBlobProperties", "blob", "read");
const PREFLIGHT = operation("PreflightBlobRequest", "blob", "read");
const UNKNOWN_READ = operation("Unknown", "blob", "read");

/** What a Put Blob with a source is, by its headers: all of them change the destination only. */
const PUTS = {
  copy: operation("CopyBlob", "blob", "blob"),
  copyNow: operation("CopyBlobFromURL", "blob", "blob"),
  fromUrl: operation("PutBlobFromURL", "blob", "blob"),
} as const;

/** Parameters that do not widen what a change touches. Any other might (`recursive` deletes a whole directory). */
const NARROW: ReadonlySet<string> = new Set(
  (
    "restype comp timeout snapshot versionid blockid copyid deletetype sv sp st se sip spr ses ss srt sr si sig " +
    "rscc rscd rsce rscl rsct skoid sktid skt ske sks skv saoid suoid scid sdd skdutid sduoid"
  ).split(" "),
);

/** Whether every parameter of a query is known, so that an operation is as wide as the documentation says. */
export function isPlain(query: Query): boolean {
  return (
    !(query.malformed || query.duplicated || query.disguised) && query.parameters.every(({ name }) => NARROW.has(name))
  );
}

/** The operation that a request asks for. Never fails: what is not known is the widest change that it might be. */
export function detectOperation(method: string, target: Target, query: Query, headers: RawHeaders): Operation {
  const detected = detect(method, target, query, headers);
  // The source of a rename may lie in another container, and is gone afterwards.
  return detected.effect === "change" && hasRenameSource(headers) ? { ...detected, scope: "account" } : detected;
}

function detect(method: string, target: Target, query: Query, headers: RawHeaders): Operation {
  const level = levelOf(target);
  const override = layoutOf(headers).methodOverride;
  if (!override && level === "blob" && query.parameters.length === 0) {
    if (method === "GET") return GET_BLOB;
    if (method === "HEAD") return GET_BLOB_PROPERTIES;
  }
  if (!override && method === "OPTIONS") return PREFLIGHT;
  let comp = "";
  let restype = "";
  // What two readers could see differently is taken for the widest change.
  const odd = query.malformed || query.duplicated || override;
  let narrow = !query.disguised;
  for (const { name, value } of query.parameters) {
    if (name === "comp") comp = value.toLowerCase();
    else if (name === "restype") restype = value.toLowerCase();
    narrow &&= NARROW.has(name);
  }
  if ((method === "POST" || override) && mayBeBatch(level, target, query)) {
    const exact = odd || !narrow || comp !== "batch" ? undefined : BATCHES.get(`${level} ${restype}`);
    return exact ?? operation(ODD_BATCH, level, "account");
  }
  const row = odd ? undefined : TABLE.get(`${level} ${method} ${restype} ${comp}`);
  if (row === undefined) return unknownOperation(method, level, override);
  if (row.effect === "read") return row;
  const exact = row.name === "PutBlob" ? putOf(headers) : row;
  return narrow ? exact : widened(exact);
}

/** The name of a batch of which it is not certain how the lake takes it: its body is checked as that of any other. */
export const ODD_BATCH = "OddBatch";

/** Batches by level and `restype`. Some clients ask the account, addressed in path style, as if it were a container. */
const BATCHES: ReadonlyMap<string, Operation> = new Map([
  ["service ", operation("BlobBatch", "service", "account")],
  ["service container", operation("BlobBatch", "service", "account")],
  ["container container", operation("BlobBatchInContainer", "container", "container")],
]);

/** Whether an operation is a batch: its body carries further requests, each with a credential of its own. */
export function isBatch(candidate: Operation): boolean {
  return candidate.name === "BlobBatch" || candidate.name === "BlobBatchInContainer" || candidate.name === ODD_BATCH;
}

/** Whether some reader could take a POST for a batch. */
function mayBeBatch(level: Level, target: Target, query: Query): boolean {
  if (level === "blob" && !target.ambiguous) return false;
  return query.parameters.some(({ name, value }) => name.trim() === "comp" && /^\s*batch/i.test(value));
}

function hasRenameSource(headers: RawHeaders): boolean {
  for (let i = 0; i < headers.length; i += 2) if (isNamed(headers[i] ?? "", "x-ms-rename-source")) return true;
  return false;
}

function unknownOperation(method: string, level: Level, override: boolean): Operation {
  const reads = method === "GET" || method === "HEAD" || method === "OPTIONS";
  if (reads && !override) return level === "blob" ? UNKNOWN_READ : { ...UNKNOWN_READ, level };
  // `/NAME` without restype=container is a blob of the root container: nothing narrower than the account holds both.
  return operation("Unknown", level, level === "blob" ? "container" : "account");
}

function putOf(headers: RawHeaders): Operation {
  let source = false;
  let type = false;
  let now = false;
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] ?? "").toLowerCase();
    if (name === "x-ms-copy-source") source = true;
    else if (name === "x-ms-blob-type") type = true;
    else if (name === "x-ms-requires-sync") now = (headers[i + 1] ?? "").toLowerCase() === "true";
  }
  if (!source) return PUT_BLOB;
  if (type) return PUTS.fromUrl;
  return now ? PUTS.copyNow : PUTS.copy;
}

const PUT_BLOB = operation("PutBlob", "blob", "blob");

function widened(exact: Operation): Operation {
  return { ...exact, scope: exact.scope === "account" || exact.level === "service" ? "account" : "container" };
}

/** What a change makes uncertain: a blob, a container (blob null) or the account (both null). */
export interface TouchedScope {
  readonly account: string;
  readonly container: string | null;
  readonly blob: string | null;
}

/**
 * What `operation` on `target` makes uncertain, or null for nothing. A blob's scope covers its snapshots and versions;
 * an ambiguous target's scope is its container, or the account when even that is not certain.
 */
export function touchedBy(operation: Operation, target: Target): TouchedScope | null {
  const { account, container } = target;
  if (operation.effect === "read" || operation.scope === "none") return null;
  if (operation.scope === "account" || container === null) return { account, container: null, blob: null };
  if (operation.scope === "container" || target.ambiguous || target.blob === null) {
    return { account, container, blob: null };
  }
  return { account, container, blob: target.blob };
}
