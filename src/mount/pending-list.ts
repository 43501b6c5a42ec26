/**
 * A folder with what was acknowledged and is not in the lake yet: what is pending below it is noted before the lake is
 * asked for a page, so that a write that is carried there meanwhile stands in one of the two. A put is shown on the page
 * of the lake that its name belongs to, by the order of names; a deletion hides the lake's blob. A folder of which all
 * blobs are being deleted stays until they are.
 */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { compareNames, nameAfter, nameAfterPrefix } from "../base/name-order.ts";
import type { EngineContext } from "../engine/context.ts";
import { askDesk, owedIsKnown } from "../engine/desk.ts";
import { mountBounds } from "./bounds.ts";
import type { Asking } from "./engine-answers.ts";
import { type BlobPage, isFolderAnswer, type ListedBlob, type Lister, lastName, withoutQuotes } from "./listing.ts";

type Entry = Awaited<ReturnType<EngineContext["desk"]["names"]>>[number];

/** What is pending right below a prefix. */
interface Pending {
  /** By blob name; null: to be deleted. */
  readonly blobs: ReadonlyMap<string, ListedBlob | null>;
  /** Prefixes under which a put is pending, ending with `/`. */
  readonly folders: ReadonlySet<string>;
}

/** Where a list goes on: the lake's marker, and the name up to which everything was shown. */
interface Position {
  readonly marker: string;
  readonly after: string;
}

const NOTHING: Pending = { blobs: new Map(), folders: new Set() };

/** What `lister` lists, merged with what is pending. */
export function withPending(asking: Asking, lister: Lister): Lister {
  return async (question) => {
    const position = question.marker === null ? null : (JSON.parse(question.marker) as Position);
    const pending = await pendingBelow(asking, question.prefix);
    const page = await lister({ ...question, marker: position?.marker ?? null });
    if (page === null) return null;
    return merge(page, pending, position?.after ?? "");
  };
}

/** A page of the lake with the pending names that belong to it: those after `after`, up to its own last one. */
export function merge(page: BlobPage, pending: Pending, after: string): BlobPage {
  const nothing = pending.blobs.size + pending.folders.size === 0;
  const ownLast = lastName(page);
  const last = compareNames(ownLast, after) > 0 ? ownLast : after;
  const belongs = (name: string): boolean =>
    compareNames(name, after) > 0 && (page.next === null || compareNames(name, last) <= 0);
  const next = page.next === null ? null : JSON.stringify({ marker: page.next, after: last } satisfies Position);
  if (nothing) return { ...page, next };
  const blobs = page.blobs.filter(({ name }) => !pending.blobs.has(name));
  for (const [name, blob] of pending.blobs) if (blob !== null && belongs(name)) blobs.push(blob);
  const prefixes = new Set(page.prefixes);
  for (const folder of pending.folders) if (belongs(folder)) prefixes.add(folder);
  // In the lake's order, as whoever reads pages expects them.
  blobs.sort((a, b) => compareNames(a.name, b.name));
  return { blobs, prefixes: [...prefixes].sort(compareNames), next };
}

async function pendingBelow(asking: Asking, prefix: string): Promise<Pending> {
  const { context, account, container } = asking;
  const { owed } = context.generations;
  const slots = context.generations.slotsOf(`${account}/${container}/`);
  if (owed.known() && !owed.container(slots)) return NOTHING;
  if (!(await owedIsKnown(context))) {
    if (asking.policyOf(prefix).write !== "back") return NOTHING;
    throw new ForebayError("overloaded", "it is not known yet what is pending");
  }
  const blobs = new Map<string, ListedBlob | null>();
  const folders = new Set<string>();
  let from: string | null = prefix;
  while (from !== null) {
    const start: string = from;
    const batch: readonly Entry[] = await askDesk(context.clock, limits.deskWaitMs, () =>
      context.desk.names(account, container, start, limits.listNamesMax),
    );
    if (batch.length === 0) break;
    from = note(batch, start, prefix, blobs, folders);
    if (blobs.size + folders.size > mountBounds.pendingNamesMax) {
      throw new ForebayError("overloaded", "too much of a folder is pending to list it");
    }
  }
  return { blobs, folders };
}

/** Takes up a batch; from where on the next one is to be asked for, null when nothing can follow. */
function note(
  batch: readonly Entry[],
  start: string,
  prefix: string,
  blobs: Map<string, ListedBlob | null>,
  folders: Set<string>,
): string | null {
  let from: string | null = start;
  for (const entry of batch) {
    const name = entry.name.blob;
    if (from === null || !name.startsWith(prefix)) return null;
    // The rest of a folder that is known to be there.
    if (compareNames(name, from) < 0) continue;
    from = nameAfter(name);
    // What was set aside is in the lake, under another name.
    if (entry.state.name === "aside") continue;
    const slash = name.indexOf("/", prefix.length);
    if (slash < 0) blobs.set(name, entry.kind === "put" ? blobOf(name, entry) : null);
    else if (entry.kind === "put") {
      const folder = name.slice(0, slash + 1);
      folders.add(folder);
      from = nameAfterPrefix(folder);
    }
  }
  return from;
}

function blobOf(name: string, { put }: Extract<Entry, { kind: "put" }>): ListedBlob {
  const { sizeBytes, etag, lastModifiedMs, headers } = put;
  return { name, sizeBytes, etag: withoutQuotes(etag), mtimeMs: lastModifiedMs, isFolder: isFolderAnswer(headers) };
}
