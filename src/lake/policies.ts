/**
 * A container's stored access policies, which a SAS may refer to (`si=`) instead of saying times and permissions
 * itself. Source: "Get Container ACL", "Define a stored access policy" (Azure Storage REST reference).
 */
import { XMLParser } from "fast-xml-parser";
import { ForebayError } from "../base/errors.ts";
import { headerOf } from "../http/types.ts";
import { errorCodeOf, readText } from "./answers.ts";
import type { OwnLake } from "./types.ts";

/** One stored policy. What it leaves out, the SAS itself must say. */
export interface StoredPolicy {
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly startsAtMs?: number;
  readonly expiresAtMs?: number;
  /** The letters as stored, for example `rwl`. */
  readonly permissions?: string;
}

/** A container's access settings. */
export interface ContainerAccess {
  readonly policies: readonly StoredPolicy[];
  readonly publicAccess: "container" | "blob" | null;
}

const parser = new XMLParser({
  parseTagValue: false,
  ignoreDeclaration: true,
  isArray: (name) => name === "SignedIdentifier",
});

/**
 * Reads a container's access settings with Forebay's own credential; null when the container does not exist. Rejects
 * with `lake-refused` when the lake says no, `lake-corrupt` when the answer cannot be read.
 */
export async function fetchStoredPolicies(
  lake: OwnLake,
  container: string,
  signal?: AbortSignal,
): Promise<ContainerAccess | null> {
  const query: [string, string][] = [
    ["restype", "container"],
    ["comp", "acl"],
  ];
  const response = await lake.own({ method: "GET", container, query, signal });
  const text = await readText(response.body);
  const { status, headers } = response.head;
  if (status === 404) return null;
  if (status !== 200) {
    const code = errorCodeOf(response, text) ?? "";
    throw new ForebayError("lake-refused", `the lake answered ${status} ${code} when asked for stored policies`, {
      retryable: status >= 500 || status === 429,
    });
  }
  const open = headerOf(headers, "x-ms-blob-public-access");
  return { policies: parsePolicies(text), publicAccess: open === "container" || open === "blob" ? open : null };
}

/** The policies of a `SignedIdentifiers` document. Throws `lake-corrupt` when it is not one. */
export function parsePolicies(text: string): StoredPolicy[] {
  const document = field(parseXml(text.replace(/^\uFEFF/, "")), "SignedIdentifiers");
  if (document === undefined) throw new ForebayError("lake-corrupt", "the lake's stored policies cannot be read");
  const items = field(document, "SignedIdentifier");
  return Array.isArray(items) ? items.map(policyOf) : [];
}

function parseXml(text: string): unknown {
  try {
    return parser.parse(text);
  } catch (cause) {
    throw new ForebayError("lake-corrupt", "the lake's stored policies are not XML", { cause });
  }
}

function policyOf(item: unknown): StoredPolicy {
  const policy = field(item, "AccessPolicy");
  const startsAtMs = timeOf(textOf(policy, "Start"));
  const expiresAtMs = timeOf(textOf(policy, "Expiry"));
  const permissions = textOf(policy, "Permission");
  return {
    id: textOf(item, "Id") ?? "",
    ...(startsAtMs === undefined ? {} : { startsAtMs }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    ...(permissions === undefined ? {} : { permissions }),
  };
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function textOf(value: unknown, name: string): string | undefined {
  const text = field(value, name);
  return typeof text === "string" && text !== "" ? text : undefined;
}

function timeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = Date.parse(text);
  if (Number.isNaN(ms))
    throw new ForebayError("lake-corrupt", "a stored policy of the lake has a time that cannot be read");
  return ms;
}
