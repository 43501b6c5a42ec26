/**
 * The merging of a list, without anybody being asked: names of the lake and pending ones in one order, and where the
 * list can go on. `list-walk.ts` says why that is right.
 */
import { compareNames } from "../base/name-order.ts";
import type { PutEntry } from "../journal/types.ts";
import type { ListElement } from "./list-page.ts";
import { exists, type PendingKey, type PendingKeys } from "./list-pending.ts";

/** A page of the lake, and the marker that it was asked with. */
export interface Fetched {
  readonly marker: string | null;
  /** In order. */
  readonly elements: readonly ListElement[];
  readonly next: string | null;
}

/** A line of the merged list: the lake's, or a pending put, which may stand instead of one of the lake's. */
export interface ListItem {
  readonly key: string;
  readonly isPrefix: boolean;
  readonly lake: ListElement | null;
  readonly put: PutEntry | null;
}

/** The earlier of two bounds; null is none. */
function earlier(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return compareNames(a, b) <= 0 ? a : b;
}

/** The later of two names. */
export function later(a: string, b: string): string {
  return compareNames(a, b) >= 0 ? a : b;
}

/** The last name that the lake gave; empty: none. */
export function lastOf(pages: readonly Fetched[]): string {
  for (const { elements } of pages.toReversed()) {
    const last = elements.at(-1);
    if (last !== undefined) return last.key;
  }
  return "";
}

/** The last name up to which the list is known from these pages and from what is pending; null: all of it. */
export function boundOf(pages: readonly Fetched[], pending: PendingKeys, after: string): string | null {
  const lake = pages.at(-1)?.next === null ? null : later(lastOf(pages), after);
  return earlier(lake, pending.until);
}

/** The merged list after `after`, up to `bound`. `hollow`: prefixes under which nothing is left. */
export function mergeList(
  pages: readonly Fetched[],
  pending: readonly PendingKey[],
  after: string,
  bound: string | null,
  hollow: ReadonlySet<string>,
): ListItem[] {
  const lake = pages.flatMap(({ elements }) => elements).filter(({ key }) => compareNames(key, after) > 0);
  const items: ListItem[] = [];
  let [i, j] = [0, 0];
  while (i < lake.length || j < pending.length) {
    const [element, change] = [lake[i], pending[j]];
    const order = element === undefined ? 1 : change === undefined ? -1 : compareNames(element.key, change.key);
    if (order <= 0) i++;
    if (order >= 0) j++;
    const item = itemOf(order <= 0 ? element : undefined, order >= 0 ? change : undefined, hollow);
    if (item === null) continue;
    if (bound !== null && compareNames(item.key, bound) > 0) break;
    items.push(item);
  }
  return items;
}

function itemOf(
  element: ListElement | undefined,
  change: PendingKey | undefined,
  hollow: ReadonlySet<string>,
): ListItem | null {
  const lake = element ?? null;
  if (change?.kind === "put") return { key: change.key, isPrefix: false, lake, put: change.entry };
  if (change?.kind === "prefix") return { key: change.key, isPrefix: true, lake, put: null };
  if (element === undefined || change?.kind === "deleted") return null;
  if (change?.kind === "hollow" && hollow.has(change.key)) return null;
  return { key: element.key, isPrefix: element.isPrefix, lake, put: null };
}

/** Whether something exists by what is pending between two names; `to` null: to the end. */
export function existsBetween(pending: PendingKeys, after: string, to: string | null, inclusive: boolean): boolean {
  const within = pending.keys.some((change) => {
    if (!exists(change) || compareNames(change.key, after) <= 0) return false;
    if (to === null) return true;
    const order = compareNames(change.key, to);
    return order < 0 || (inclusive && order === 0);
  });
  return within || (pending.until !== null && (to === null || compareNames(pending.until, to) < 0));
}

/** A marker of the lake that the list can go on from after `after`, and what it will give again up to there. */
export interface Resume {
  readonly lake: string | null;
  readonly skip: number;
}

/** The latest marker that serves. The one that the pages began with always does. */
export function resumeAfter(pages: readonly Fetched[], pending: PendingKeys, after: string): Resume {
  const next = pages.at(-1)?.next ?? null;
  const unread = (page: Fetched): boolean => page.elements.some(({ key }) => compareNames(key, after) > 0);
  // What lies between here and the lake's next name may be known only by being pending.
  if (next !== null && !pages.some(unread) && !existsBetween(pending, after, null, true))
    return { lake: next, skip: 0 };
  for (let n = pages.length - 1; n > 0; n--) {
    const page = pages[n];
    const first = page?.elements[0];
    if (page === undefined || first === undefined || pages.slice(0, n).some(unread)) continue;
    if (!existsBetween(pending, after, first.key, first.isPrefix)) {
      return { lake: page.marker, skip: passed(pages.slice(n), after) };
    }
  }
  return { lake: pages[0]?.marker ?? null, skip: passed(pages, after) };
}

function passed(pages: readonly Fetched[], after: string): number {
  return pages.reduce((sum, page) => sum + page.elements.filter(({ key }) => compareNames(key, after) <= 0).length, 0);
}
