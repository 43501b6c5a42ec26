/**
 * Marks of changes under way. Before a change to an immutable path leaves for the lake, everything known in its scope
 * is forgotten and the mark stands on stable storage: after a power loss nobody serves what the change may have
 * replaced, and nothing read meanwhile is kept. Marks that nobody takes back lapse.
 *
 * Marks that come together share one durable transaction. A wide scope is forgotten in pages, so that others get
 * their turn; the mark is given when the last page is durable.
 */
import { asForebayError } from "../base/errors.ts";
import { type KeeperCore, takeOut, takeOutForgotten } from "./core.ts";
import type { IdSource } from "./ids.ts";
import type { IndexChanges } from "./index.ts";
import type { ChangeScope } from "./types.ts";

const PAGE_VERSIONS = 1_000;

export interface Marks {
  mark(scope: ChangeScope): Promise<number>;
  unmark(id: number): void;
  /** Whether a change to the blob `key` may be under way. */
  covers(key: string): boolean;
  /** Takes back marks that are too old. */
  lapse(): void;
  readonly size: number;
}

interface Mark {
  readonly id: number;
  readonly scope: string;
  readonly lapsesAtMs: number;
}

interface Waiting {
  readonly mark: Mark;
  readonly resolve: (id: number) => void;
  readonly reject: (error: unknown) => void;
}

/** A scope as a prefix of keys: a blob's key, or `account/container/`, or `account/`. */
export function scopeText(scope: ChangeScope): string {
  if (scope.container === null) return `${scope.account}/`;
  if (scope.blob === null) return `${scope.account}/${scope.container}/`;
  return `${scope.account}/${scope.container}/${scope.blob}`;
}

/** The scopes that cover a key: its blob (a snapshot counts to its blob), its container, its account. */
function scopesOf(key: string): string[] {
  const nul = key.indexOf("\u0000");
  const account = key.indexOf("/");
  const container = key.indexOf("/", account + 1);
  return [nul < 0 ? key : key.slice(0, nul), key.slice(0, container + 1), key.slice(0, account + 1)];
}

/** The keys in a scope: from (inclusive) and to (exclusive), in the order of bytes. */
function rangeOf(scope: string): readonly [string, string] {
  const container = scope.indexOf("/", scope.indexOf("/") + 1);
  const isBlob = container >= 0 && container < scope.length - 1;
  return isBlob ? [scope, `${scope}\u0001`] : [scope, `${scope.slice(0, -1)}0`]; // "0" follows "/"
}

/** Reads the marks of earlier lives and completes what they had begun. Throws when the index fails. */
export function createMarks(core: KeeperCore, ids: IdSource, changed: () => void): Marks {
  const { index, clock, bounds } = core;
  const marks = new Map<number, Mark>();
  const covered = new Map<string, number>();
  let waiting: Waiting[] = [];

  const add = (id: number, scope: string): Mark => {
    const mark = { id, scope, lapsesAtMs: clock.monotonicMs() + bounds.changeMarkTtlMs };
    marks.set(id, mark);
    covered.set(scope, (covered.get(scope) ?? 0) + 1);
    return mark;
  };
  const remove = (mark: Mark): void => {
    if (!marks.delete(mark.id)) return;
    const left = (covered.get(mark.scope) ?? 0) - 1;
    if (left > 0) covered.set(mark.scope, left);
    else covered.delete(mark.scope);
  };
  /** Forgets a page of a scope; whether there may be more. */
  const forgetPage = (changes: IndexChanges, scope: string): { readonly gone: Goner[]; readonly more: boolean } => {
    const [from, to] = rangeOf(scope);
    const gone = changes.forgetRange(from, to, PAGE_VERSIONS);
    return { gone, more: gone.length === PAGE_VERSIONS };
  };
  const retire = (gone: readonly Goner[]): void => {
    for (const one of gone) core.retirement.queue(takeOutForgotten(core, one));
    core.counts.dropped.marked += gone.length;
  };
  /** What was published and not yet committed stands in memory alone: no commit may bring it into the index any more. */
  const forgetUncommitted = (): void => {
    for (const version of [...core.versions.all()]) {
      if (!covers(version.key) || version.inIndex) continue;
      core.retirement.queue(takeOut(core, version));
      core.counts.dropped.marked++;
    }
  };
  /** Whatever of the covered ones is still in memory, wherever it stands. */
  const forgetActive = (): void => {
    forgetUncommitted();
    const left = [...core.versions.all()].filter((version) => covers(version.key));
    if (left.length === 0) return;
    retire(index.change(true, (changes) => left.flatMap(({ id }) => changes.forget(id) ?? [])));
  };
  const covers = (key: string): boolean => covered.size > 0 && scopesOf(key).some((scope) => covered.has(scope));

  const writeGroup = async (): Promise<void> => {
    const group = waiting;
    waiting = [];
    try {
      let wide: string[] = [];
      const expiresWallMs = clock.wallMs() + bounds.changeMarkTtlMs;
      const pages = index.change(true, (changes) => {
        for (const { mark } of group) changes.mark(mark, expiresWallMs);
        return group.map(({ mark }) => ({ scope: mark.scope, ...forgetPage(changes, mark.scope) }));
      });
      for (const page of pages) retire(page.gone);
      // At once: a commit may come between the pages of a wide scope.
      forgetUncommitted();
      wide = pages.filter((page) => page.more).map((page) => page.scope);
      while (wide.length > 0) {
        await clock.sleep(0);
        const scope = wide.shift() ?? "";
        const page = index.change(true, (changes) => forgetPage(changes, scope));
        retire(page.gone);
        if (page.more) wide.push(scope);
      }
      forgetActive();
      changed();
      for (const { mark, resolve } of group) resolve(mark.id);
    } catch (error) {
      for (const { mark, reject } of group) {
        remove(mark);
        reject(asForebayError(error));
      }
    }
  };

  for (const { id, scope } of index.marks()) {
    // The whole time again: how long this machine was off is not known to the monotonic clock.
    add(id, scope);
    while (retireOne(scope));
  }
  function retireOne(scope: string): boolean {
    const page = index.change(true, (changes) => forgetPage(changes, scope));
    retire(page.gone);
    return page.more;
  }

  const unmark = (mark: Mark): void => {
    remove(mark);
    // Not durable: a mark that comes back with a power loss lapses.
    index.change(false, (changes) => changes.unmark(mark.id));
  };
  return {
    mark: async (scope) => {
      await ids.ready();
      const mark = add(ids.next(), scopeText(scope));
      return new Promise((resolve, reject) => {
        waiting.push({ mark, resolve, reject });
        if (waiting.length === 1) clock.after(0, () => void writeGroup());
      });
    },
    unmark: (id) => {
      const mark = marks.get(id);
      if (mark !== undefined) unmark(mark);
    },
    covers,
    lapse: () => {
      for (const mark of [...marks.values()]) {
        if (mark.lapsesAtMs > clock.monotonicMs()) break;
        core.log("warn", "a change was announced and never ended: its mark lapsed", { scope: mark.scope });
        unmark(mark);
      }
    },
    get size() {
      return marks.size;
    },
  };
}

interface Goner {
  readonly id: number;
  readonly key: string;
  readonly fileIds: readonly number[];
  readonly storedBytes: number;
}
