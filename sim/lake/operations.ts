/** The operations that the simulated service knows: how each is recognised, and what it takes to be allowed. */
import type { Call } from "./model.ts";
import { header } from "./model.ts";

export type Level = "service" | "container" | "blob";

export type Operation =
  | "ListContainers"
  | "GetAccountInfo"
  | "CreateContainer"
  | "GetContainerProperties"
  | "DeleteContainer"
  | "SetContainerMetadata"
  | "GetContainerAcl"
  | "SetContainerAcl"
  | "LeaseContainer"
  | "ListBlobs"
  | "GetBlob"
  | "GetBlobProperties"
  | "GetBlobMetadata"
  | "SetBlobMetadata"
  | "SetBlobProperties"
  | "DeleteBlob"
  | "PutBlob"
  | "PutBlobFromUrl"
  | "CopyBlob"
  | "PutBlock"
  | "PutBlockFromUrl"
  | "PutBlockList"
  | "GetBlockList"
  | "SnapshotBlob"
  | "LeaseBlob"
  | "SetBlobTier"
  | "GetBlobTags"
  | "SetBlobTags"
  | "AppendBlock"
  | "PutPage";

/** What an operation needs: SAS permission letters (any one is enough), and the role of a token. */
export interface Needs {
  readonly level: Level;
  readonly letters: string;
  /** Letters that are enough where nothing exists yet under the name. */
  readonly lettersToCreate?: string;
  readonly writes: boolean;
  /** Whether a SAS of a container or blob can allow it; account SAS can allow all but the ACL ones. */
  readonly serviceSas: boolean;
  readonly accountSas: boolean;
}

function row(level: Level, letters: string, writes: boolean, more: Partial<Needs> = {}): Needs {
  return { level, letters, writes, serviceSas: level === "blob", accountSas: true, ...more };
}

/** Sources: the permission tables of "Create a service SAS" and "Create an account SAS". */
export const NEEDS: Readonly<Record<Operation, Needs>> = {
  ListContainers: row("service", "l", false),
  GetAccountInfo: row("service", "rwdlacup", false),
  CreateContainer: row("container", "cw", true),
  GetContainerProperties: row("container", "r", false),
  DeleteContainer: row("container", "d", true),
  SetContainerMetadata: row("container", "w", true),
  GetContainerAcl: row("container", "", false, { accountSas: false }),
  SetContainerAcl: row("container", "", true, { accountSas: false }),
  LeaseContainer: row("container", "wd", true),
  ListBlobs: row("container", "l", false, { serviceSas: true }),
  GetBlob: row("blob", "r", false),
  GetBlobProperties: row("blob", "r", false),
  GetBlobMetadata: row("blob", "r", false),
  SetBlobMetadata: row("blob", "w", true),
  SetBlobProperties: row("blob", "w", true),
  DeleteBlob: row("blob", "d", true),
  PutBlob: row("blob", "w", true, { lettersToCreate: "wc" }),
  PutBlobFromUrl: row("blob", "w", true, { lettersToCreate: "wc" }),
  CopyBlob: row("blob", "w", true, { lettersToCreate: "wc" }),
  PutBlock: row("blob", "w", true, { lettersToCreate: "wc" }),
  PutBlockFromUrl: row("blob", "w", true, { lettersToCreate: "wc" }),
  PutBlockList: row("blob", "w", true, { lettersToCreate: "wc" }),
  GetBlockList: row("blob", "r", false),
  SnapshotBlob: row("blob", "wc", true),
  LeaseBlob: row("blob", "w", true),
  SetBlobTier: row("blob", "w", true),
  GetBlobTags: row("blob", "t", false),
  SetBlobTags: row("blob", "t", true),
  AppendBlock: row("blob", "wa", true),
  PutPage: row("blob", "w", true),
};

/** By method and `comp`. */
const SERVICE: Readonly<Record<string, Operation>> = { "GET list": "ListContainers" };
const CONTAINER: Readonly<Record<string, Operation>> = {
  "PUT ": "CreateContainer",
  "GET ": "GetContainerProperties",
  "HEAD ": "GetContainerProperties",
  "DELETE ": "DeleteContainer",
  "PUT metadata": "SetContainerMetadata",
  "GET metadata": "GetContainerProperties",
  "HEAD metadata": "GetContainerProperties",
  "GET acl": "GetContainerAcl",
  "HEAD acl": "GetContainerAcl",
  "PUT acl": "SetContainerAcl",
  "PUT lease": "LeaseContainer",
  "GET list": "ListBlobs",
};
const BLOB: Readonly<Record<string, Operation>> = {
  "GET ": "GetBlob",
  "HEAD ": "GetBlobProperties",
  "GET metadata": "GetBlobMetadata",
  "HEAD metadata": "GetBlobMetadata",
  "PUT metadata": "SetBlobMetadata",
  "PUT properties": "SetBlobProperties",
  "DELETE ": "DeleteBlob",
  "PUT ": "PutBlob",
  "PUT block": "PutBlock",
  "PUT blocklist": "PutBlockList",
  "GET blocklist": "GetBlockList",
  "PUT snapshot": "SnapshotBlob",
  "PUT lease": "LeaseBlob",
  "PUT tier": "SetBlobTier",
  "GET tags": "GetBlobTags",
  "PUT tags": "SetBlobTags",
  "PUT appendblock": "AppendBlock",
  "PUT page": "PutPage",
};

/** The operation that a call asks for, or null when this service has none such. */
export function detect(call: Call): Operation | null {
  const comp = call.query.get("comp") ?? "";
  const key = `${call.method} ${comp}`;
  if (call.query.get("restype") === "account") return comp === "properties" ? "GetAccountInfo" : null;
  if (call.containerName === "") return SERVICE[key] ?? null;
  if (call.blobName === "") return call.query.get("restype") === "container" ? (CONTAINER[key] ?? null) : null;
  const found = BLOB[key] ?? null;
  const copies = header(call, "x-ms-copy-source") !== undefined;
  if (found === "PutBlob" && copies)
    return header(call, "x-ms-blob-type") === undefined ? "CopyBlob" : "PutBlobFromUrl";
  if (found === "PutBlock" && copies) return "PutBlockFromUrl";
  return found;
}
