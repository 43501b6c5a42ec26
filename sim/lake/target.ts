/** Taking a raw request target apart, as the service does. */
import { simError } from "./errors.ts";
import type { SimState } from "./model.ts";

/** The place that a target names. */
export interface Place {
  readonly accountName: string;
  readonly containerName: string;
  readonly blobName: string;
  readonly path: string;
  readonly rawQuery: string;
  readonly query: ReadonlyMap<string, string>;
}

/** Parses `target` (origin form). `host` says the account where the service writes it there. */
export function parseTarget(state: SimState, target: string, host: string): Place {
  const at = target.indexOf("?");
  const path = at < 0 ? target : target.slice(0, at);
  const rawQuery = at < 0 ? "" : target.slice(at + 1);
  if (!path.startsWith("/")) throw simError("InvalidResourceName");
  const parts = path.slice(1).split("/");
  const accountName = state.style === "path" ? decode(parts.shift() ?? "") : (host.split(".", 1)[0] ?? "");
  const [first = "", ...rest] = parts;
  const query = queryOf(rawQuery);
  const place = { accountName, path, rawQuery, query };
  // One segment names a container only where the query says so; else it is a blob of the root container.
  if (first !== "" && rest.length === 0 && !query.has("restype")) {
    return { ...place, containerName: "$root", blobName: decode(first) };
  }
  return { ...place, containerName: decode(first), blobName: decode(rest.join("/")) };
}

function queryOf(rawQuery: string): Map<string, string> {
  const query = new Map<string, string>();
  for (const part of rawQuery.split("&")) {
    if (part === "") continue;
    const at = part.indexOf("=");
    const name = decode(at < 0 ? part : part.slice(0, at)).toLowerCase();
    if (!query.has(name)) query.set(name, at < 0 ? "" : decode(part.slice(at + 1)));
  }
  return query;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw simError("InvalidResourceName");
  }
}
