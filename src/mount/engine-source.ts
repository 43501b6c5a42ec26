/**
 * A container, or a part of it, as files: names from the lake's lists, versions and bytes from the engine. What the
 * engine has fresh costs no question; what is whole on flash is named, so that the kernel reads it itself.
 */
import { ForebayError } from "../base/errors.ts";
import type { EngineContext } from "../engine/context.ts";
import { type PolicyTable, resolvePolicy } from "../engine/policy.ts";
import type { Reader } from "../engine/read.ts";
import { headerOf } from "../http/types.ts";
import { keyText, LAKE_API_VERSION, type OwnLake } from "../lake/types.ts";
import { mountBounds } from "./bounds.ts";
import { type Asking, stampOf, type Version, versionOf } from "./engine-answers.ts";
import { openRemote } from "./engine-file.ts";
import {
  createLakeLister,
  isFolderAnswer,
  type Lister,
  readPosition,
  shownPage,
  timeOf,
  withoutQuotes,
} from "./listing.ts";
import { withPending } from "./pending-list.ts";
import type { Attribute, Backing, FileSource, Found, FoundFile, FoundFolder, Listed } from "./types.ts";

/** The parts of {@link createEngineSource}. */
export interface EngineSourceParts {
  readonly context: EngineContext;
  readonly reader: Reader;
  /** Of the account that is mounted; has a credential of its own. */
  readonly lake: () => OwnLake;
  readonly policies: () => PolicyTable;
  readonly container: string;
  /** What blob names begin with: `""`, or text that ends with `/`. */
  readonly prefix: string;
  /** A path that opens the shared memory of the generations, for the FUSE thread. */
  readonly sharedPath: string;
  /** Lists the container in the lake; with Forebay's own credential unless given. */
  readonly lister?: Lister;
}

/** How often an empty page of the lake is followed before a folder is taken for empty. */
const EMPTY_PAGES_MAX = 16;
const RANGE_VARIANT = `range|${LAKE_API_VERSION}`;

export function createEngineSource(parts: EngineSourceParts): FileSource {
  const { context, reader, container, prefix } = parts;
  const { account } = parts.lake();
  const asking: Asking = {
    context,
    reader,
    get lake() {
      return parts.lake();
    },
    policyOf: (blob) => resolvePolicy(parts.policies(), account, container, blob),
    account,
    container,
  };
  const inLake: Lister = parts.lister ?? ((question) => createLakeLister(parts.lake(), container)(question));
  const lister = withPending(asking, inLake);
  const blobOf = (path: string): string => prefix + path;
  let saidHidden = false;

  const folderAt = (blob: string): FoundFolder => {
    const ttlMs =
      asking.policyOf(`${blob}/`).maxStaleMs === "immutable" ? mountBounds.steadyFolderTtlMs : mountBounds.folderTtlMs;
    return { kind: "folder", freshUntilMs: context.clock.monotonicMs() + ttlMs };
  };
  /** Whether any name begins with the folder's. */
  const findFolder = async (blob: string, signal: AbortSignal): Promise<FoundFolder | null> => {
    let marker: string | null = null;
    for (let page = 0; page < EMPTY_PAGES_MAX; page++) {
      const found = await lister({ prefix: `${blob}/`, marker, max: 1, signal });
      if (found === null) return null;
      if (found.blobs.length > 0 || found.prefixes.length > 0) return folderAt(blob);
      if (found.next === null) return null;
      marker = found.next;
    }
    return null;
  };
  const findFile = async (blob: string, signal: AbortSignal): Promise<Found | null> => {
    const version = await versionOf(asking, blob, cheapestForm(context, account, container, blob), signal);
    if (version === null) return null;
    return isFolderAnswer(version.headers) ? folderAt(blob) : fileOf(version);
  };
  return {
    counters: { kind: "generations", path: parts.sharedPath, epoch: context.generations.epoch, account, container },
    filesRoot: context.disk.root,
    lookUp: async (path, guess, signal) => {
      const blob = blobOf(path);
      if (guess === "folder") return (await findFolder(blob, signal)) ?? findFile(blob, signal);
      if (guess === "file" || isHeld(context, account, container, blob)) {
        const file = await findFile(blob, signal);
        return file ?? findFolder(blob, signal);
      }
      const [folder, file] = await both(findFolder(blob, signal), findFile(blob, signal));
      return folder ?? file;
    },
    list: async (path, from, signal) => {
      const folder = path === "" ? prefix : `${blobOf(path)}/`;
      const position = readPosition(from);
      const sentAtMs = context.clock.monotonicMs();
      const page = await lister({
        prefix: folder,
        marker: position?.marker ?? null,
        max: mountBounds.listPageMax,
        signal,
      });
      if (page === null) {
        throw new ForebayError("lake-refused", `the lake has no container ${container}`);
      }
      const { shown, hidden, next } = shownPage(page, folder, position);
      if (hidden > 0 && !saidHidden) {
        saidHidden = true;
        context.log("warn", "a mounted folder has names that cannot be shown as files", { count: hidden });
      }
      const entries = shown.map(({ name, blob }): Listed => {
        if (blob === null) return { name, ...folderAt(folder + name) };
        const { maxStaleMs } = asking.policyOf(blob.name);
        const ttlMs = maxStaleMs === "immutable" ? mountBounds.steadyFolderTtlMs : maxStaleMs;
        const { sizeBytes, etag, mtimeMs } = blob;
        const stamp = stampOf(asking, blob.name);
        return { name, kind: "file", sizeBytes, etag, mtimeMs, freshUntilMs: sentAtMs + ttlMs, stamp };
      });
      return { entries, next };
    },
    open: async (path, piecewise, signal) => {
      const blob = blobOf(path);
      const version = await versionOf(
        asking,
        blob,
        isEmpty(context, account, container, blob) ? "head" : "range",
        signal,
      );
      if (version === null || isFolderAnswer(version.headers)) return null;
      const file = fileOf(version);
      const backing = piecewise ? null : backingOf(context, account, container, version);
      if (backing !== null) return { ...file, backing, remote: null };
      return { ...file, backing: null, remote: openRemote(asking, version) };
    },
    attributes: async (path, signal) => {
      const blob = blobOf(path);
      const version = await versionOf(asking, blob, "head", signal);
      return version === null ? null : attributesOf(context, account, container, version);
    },
  };
}

/** Waits for both, so that neither fails unheard; a failure of either fails them. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const [first, second] = await Promise.allSettled([a, b]);
  if (first.status === "rejected") throw first.reason;
  if (second.status === "rejected") throw second.reason;
  return [first.value, second.value];
}

function fileOf({ headers, sizeBytes, etag, freshUntilMs, stamp }: Version): FoundFile {
  const mtimeMs = timeOf(headerOf(headers, "last-modified") ?? "");
  return { kind: "file", sizeBytes, etag: withoutQuotes(etag), mtimeMs, freshUntilMs, stamp };
}

const recordOf = ({ index }: EngineContext, account: string, container: string, blob: string) =>
  index.lookup(keyText({ account, container, blob }));

/** Whether the index knows the blob as one that reads may hit: then it is a file, and nobody looks for a folder. */
function isHeld(context: EngineContext, account: string, container: string, blob: string): boolean {
  return recordOf(context, account, container, blob) !== null;
}

function isEmpty(context: EngineContext, account: string, container: string, blob: string): boolean {
  return recordOf(context, account, container, blob)?.sizeBytes === 0;
}

/** The form of the lake's answer that is there already, lest the lake be asked for the other. */
function cheapestForm(context: EngineContext, account: string, container: string, blob: string): "range" | "head" {
  const record = recordOf(context, account, container, blob);
  if (record === null || record.sizeBytes === 0) return "head";
  return record.variants.some(({ id }) => id === RANGE_VARIANT) ? "range" : "head";
}

/** The cache file that has all of the version and nothing else. */
function backingOf(context: EngineContext, account: string, container: string, version: Version): Backing | null {
  if (version.at !== "cache" || version.sizeBytes === 0) return null;
  const record = recordOf(context, account, container, version.blob);
  if (record === null || record.etag !== version.etag || record.present !== null) return null;
  const [span] = record.spans;
  if (span === undefined || record.spans.length !== 1 || span.offset !== 0 || span.length !== version.sizeBytes) {
    return null;
  }
  return { fileId: span.fileId, versionId: record.id };
}

const TELLING = [
  ["user.forebay.blob-type", "x-ms-blob-type"],
  ["user.forebay.tier", "x-ms-access-tier"],
  ["user.forebay.content-type", "content-type"],
] as const;

/** What `getfattr` shows of a file. */
function attributesOf(context: EngineContext, account: string, container: string, version: Version): Attribute[] {
  const attributes: Attribute[] = [["user.forebay.etag", withoutQuotes(version.etag)]];
  for (const [name, header] of TELLING) {
    const value = headerOf(version.headers, header);
    if (value !== undefined && value !== "") attributes.push([name, value]);
  }
  attributes.push(["user.forebay.state", stateOf(context, account, container, version)]);
  return attributes;
}

/** `complete` on flash, `partial`, `absent`, or `pending` on its way to the lake. */
function stateOf(context: EngineContext, account: string, container: string, version: Version): string {
  if (version.at === "pending") return "pending";
  const record = recordOf(context, account, container, version.blob);
  if (record === null || record.etag !== version.etag) return "absent";
  if (record.present === null) return "complete";
  return record.present.some((byte) => byte !== 0) ? "partial" : "absent";
}
