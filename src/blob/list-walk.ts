/**
 * One page of a merged list. What is promised: a name that exists from before the first page until after the last (in
 * the lake, or acknowledged here and pending, or first one and then the other) is given exactly once, in order; a name
 * that never existed is never given. It holds although entries drain, and others are acknowledged, between and within
 * the pages, for these reasons:
 *
 * 1. What is pending is noted BEFORE the lake is asked. A name that is not among it has drained already, so that every
 *    answer of the lake that follows has it.
 * 2. A page gives names up to a bound: the last name that the lake gave, or all when the lake has no more. Up to the
 *    bound the lake's names and the pending ones are complete; beyond it, a pending name would be given now and again
 *    once it has drained.
 * 3. The position after a page is (marker of the lake, last name dealt with). Names up to the latter are never given
 *    again, wherever they come from by then.
 * 4. The lake's marker must not lie beyond a name that is still to be given. A page's own NextMarker does so at times: it
 *    points at the lake's next name, and a pending name between the page's last one and that one may drain before the
 *    next page is asked for; the lake would not give it any more. So a marker serves only when nothing pending (of the
 *    names noted) lies between the last name dealt with and the first name that the lake gives from that marker. To
 *    know that first name the lake is asked for one more, where something pending lies beyond the page at all. Where no
 *    later marker serves, the one that the page was asked with does, by this same rule applied to the page before; the
 *    lake then gives some names again, and those are passed over (3).
 * 5. A prefix stands for all names below it, and a marker may point into the midst of them: a pending name below the
 *    first name from a marker counts as lying before it, when that first name is a prefix.
 * 6. A marker of the lake's own (given when nothing was pending) says nothing of the last name given. What the lake gives
 *    first from there bounds it: names before that one that are pending, or that the lake gives a moment later, are
 *    either new or were given already.
 *
 * The lake's names have to come in the order of their UTF-8 bytes. Where they do not (a hierarchical namespace may
 * order them otherwise), nothing can be merged, and the caller has to have everything carried to the lake first.
 */
import { limits } from "../base/limits.ts";
import { compareNames } from "../base/name-order.ts";
import type { ListPosition } from "./list-marker.ts";
import {
  boundOf,
  existsBetween,
  type Fetched,
  type ListItem,
  lastOf,
  later,
  mergeList,
  resumeAfter,
} from "./list-merge.ts";
import type { ListElement } from "./list-page.ts";
import { exists, type ListShape, type PendingKeys, type PendingNames, pendingKeys } from "./list-pending.ts";

/** A page as the lake gives it. */
export interface LakeListPage {
  readonly elements: readonly ListElement[];
  readonly next: string | null;
  /** Whether the elements are in order. */
  readonly ordered: boolean;
}

/** Where a list comes from. */
export interface ListSources {
  readonly names: PendingNames;
  /** At most `size` names of the lake from a marker on, in the list's shape. */
  page(marker: string | null, size: number): Promise<LakeListPage>;
  /** Whether the lake has a blob below `prefix` beside those in `gone`. May say yes without being sure. */
  survives(prefix: string, gone: readonly string[]): Promise<boolean>;
}

/** Where a page begins. */
export type ListStart =
  | { readonly kind: "position"; readonly position: ListPosition }
  /** With the lake's own marker; null: with the first name. */
  | { readonly kind: "lake"; readonly marker: string | null };

/** How a list goes on. */
export type ListNext =
  | { readonly kind: "end" }
  | { readonly kind: "lake"; readonly marker: string }
  | { readonly kind: "position"; readonly position: ListPosition };

export type ListWalked =
  | { readonly kind: "page"; readonly items: readonly ListItem[]; readonly next: ListNext }
  /** Nothing pending concerns the page: the lake's answer to the request as it came is right. */
  | { readonly kind: "plain" }
  /** The lake orders names in another way, or gives none in many pages: not to be merged. */
  | { readonly kind: "unmergeable" };

/** Makes the page of at most `max` names. Asks `names` first, then the lake. */
export async function walkList(
  sources: ListSources,
  shape: ListShape,
  start: ListStart,
  max: number,
): Promise<ListWalked> {
  if (start.kind === "position") {
    const { after } = start.position;
    return fill(sources, start.position, await pendingKeys(sources.names, shape, after, "", max), max);
  }
  const { marker } = start;
  const first = marker === null ? { name: "" } : await firstFrom(sources, marker);
  if (first === "unclear") return { kind: "unmergeable" };
  if (first === null) return { kind: "page", items: [], next: { kind: "end" } };
  const pending = await pendingKeys(sources.names, shape, "", first.name, max);
  if (pending.keys.length === 0) return { kind: "plain" };
  const from: ListSources = {
    ...sources,
    page: async (at, size) => onlyFrom(await sources.page(at, size), first.name),
  };
  return fill(from, { lake: marker, after: "", skip: 0 }, pending, max);
}

/** Names of the lake that were not there when it was asked for the first one: what is pending of them was not noted. */
function onlyFrom(page: LakeListPage, floor: string): LakeListPage {
  return { ...page, elements: page.elements.filter(({ key }) => compareNames(key, floor) >= 0) };
}

/** The first name that the lake gives from a marker on; null when there is none. */
async function firstFrom(sources: ListSources, marker: string): Promise<{ readonly name: string } | null | "unclear"> {
  let at = marker;
  for (let n = 0; n < limits.listFetchesMax; n++) {
    const page = await sources.page(at, 1);
    const [first] = page.elements;
    if (first !== undefined) return { name: first.key };
    if (!page.ordered) return "unclear";
    if (page.next === null) return null;
    at = page.next;
  }
  return "unclear";
}

async function fill(
  sources: ListSources,
  position: ListPosition,
  pending: PendingKeys,
  max: number,
): Promise<ListWalked> {
  const { after } = position;
  const pages: Fetched[] = [];
  const hollow = createHollow(sources, pending);
  let size = firstSize(position, pending, max);
  let peeked = false;
  for (;;) {
    const marker: string | null = pages.length === 0 ? position.lake : (pages.at(-1)?.next ?? null);
    const page = await sources.page(marker, size);
    if (!page.ordered || !follows(pages, page)) return { kind: "unmergeable" };
    pages.push({ marker, elements: page.elements, next: page.next });
    await hollow.look(page.elements, after);
    const bound = boundOf(pages, pending, after);
    const items = mergeList(pages, pending.keys, after, bound, hollow.found);
    if (page.next === null || items.length > max || pages.length >= limits.listFetchesMax || peeked) {
      return finish(position, pages, pending, items, max);
    }
    if (items.length === 0) {
      size = Math.min(limits.listPageMax, size * 4);
    } else if (position.skip > 0 && pages.length === 1 && items.length < max) {
      size = max - items.length;
    } else if (existsBetween(pending, bound ?? "", null, true)) {
      // What the lake has next says which pending names come before it.
      size = 1;
      peeked = true;
    } else {
      return finish(position, pages, pending, items, max);
    }
  }
}

/** Some fewer than asked for where pending names come in between: a page that is cut is read again. */
function firstSize({ skip }: ListPosition, pending: PendingKeys, max: number): number {
  const own = pending.keys.reduce((sum, key) => sum + (exists(key) ? 1 : 0), 0);
  return Math.min(limits.listPageMax, Math.max(Math.ceil(max / 2), max - own) + skip);
}

function follows(pages: readonly Fetched[], page: LakeListPage): boolean {
  const [first] = page.elements;
  return first === undefined || compareNames(first.key, lastOf(pages)) > 0;
}

function finish(
  { lake, after }: ListPosition,
  pages: readonly Fetched[],
  pending: PendingKeys,
  items: readonly ListItem[],
  max: number,
): ListWalked {
  const given = items.slice(0, max);
  const cut = items.length > max;
  const lastGiven = given.at(-1)?.key ?? after;
  if (!cut && pages.at(-1)?.next === null) return { kind: "page", items: given, next: { kind: "end" } };
  const last = lastOf(pages);
  const upTo = cut ? lastGiven : later(lastGiven, later(last, after));
  const resume = resumeAfter(pages, pending, upTo);
  // The lake gives nothing, so nothing tells where its markers point.
  if (resume.lake === lake && upTo === after) return { kind: "unmergeable" };
  if (!cut && pending.keys.length === 0 && resume.lake !== null && resume.skip === 0 && upTo === last) {
    return { kind: "page", items: given, next: { kind: "lake", marker: resume.lake } };
  }
  return { kind: "page", items: given, next: { kind: "position", position: { ...resume, after: upTo } } };
}

interface Hollow {
  /** Prefixes under which nothing is left. */
  readonly found: ReadonlySet<string>;
  look(elements: readonly ListElement[], after: string): Promise<void>;
}

/** Looks below prefixes of the lake whose blobs are being deleted. */
function createHollow(sources: ListSources, pending: PendingKeys): Hollow {
  const found = new Set<string>();
  const suspects = new Map(pending.keys.flatMap((key) => (key.kind === "hollow" ? [[key.key, key.gone]] : [])));
  let looks = 0;
  return {
    found,
    look: async (elements, after) => {
      for (const { key, isPrefix } of elements) {
        const gone = isPrefix && compareNames(key, after) > 0 ? suspects.get(key) : undefined;
        if (!gone || looks >= limits.listHollowLooksMax) continue;
        looks++;
        if (!(await sources.survives(key, gone))) found.add(key);
      }
    },
  };
}
