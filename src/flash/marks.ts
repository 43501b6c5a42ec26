/**
 * Marks of changes under way. Before a change to an immutable path leaves for the lake, a mark of its scope stands on
 * stable storage: while it does, nothing read is kept, and whoever starts with it forgets the scope first. So after a
 * power loss nobody serves what the change may have replaced. A change that may have happened ends by forgetting its
 * scope, and only then the mark; one that the lake refused costs nothing. Marks that nobody takes back lapse, as changes
 * that may have happened.
 *
 * Marks that come together share one durable transaction. A wide scope is forgotten in pages, so that others get
 * their turn.
 */
import { asForebayError } from "../base/errors.ts";
import { type KeeperCore, takeOut, takeOutForgotten } from "./core.ts";
import type { IdSource } from "./ids.ts";
import type { IndexChanges } from "./index.ts";
import type { ChangeScope } from "./types.ts";

const PAGE_VERSIONS = 1_000;

export interface Marks {
  mark(scope: ChangeScope): Promise<number>;
  /** Ends the mark of a change that did not happen. */
  unmark(id: number): void;
  /** Ends the mark of a change that may have happened: its scope is forgotten first. Rejects when the index fails. */
  settle(id: number): Promise<void>;
  /** Whether a change to the blob `key` may be under way. */
  covers(key: string): boolean;
  /** Settles marks that are too old. */
  lapse(): void;
  readonly size: number;
}

interface Mark {
  readonly id: number;
  readonly scope: string;
  readonly lapsesAtMs: number;
  /** Its scope is being forgotten. */
  settling: boolean;
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
    const mark = { id, scope, lapsesAtMs: clock.monotonicMs() + bounds.changeMarkTtlMs, settling: false };
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
  const forgetUncommitted = (scope: string): void => {
    for (const version of [...core.versions.all()]) {
      if (version.inIndex || !scopesOf(version.key).includes(scope)) continue;
      core.retirement.queue(takeOut(core, version));
      core.counts.dropped.marked++;
    }
  };
  /** Whatever of the scope is still in memory, wherever it stands. */
  const forgetActive = (scope: string): void => {
    const left = [...core.versions.all()].filter((version) => scopesOf(version.key).includes(scope));
    if (left.length === 0) return;
    retire(index.change(false, (changes) => left.flatMap(({ id }) => changes.forget(id) ?? [])));
  };
  const covers = (key: string): boolean => covered.size > 0 && scopesOf(key).some((scope) => covered.has(scope));

  const writeGroup = (): void => {
    const group = waiting;
    waiting = [];
    try {
      const expiresWallMs = clock.wallMs() + bounds.changeMarkTtlMs;
      index.change(true, (changes) => {
        for (const { mark } of group) changes.mark(mark, expiresWallMs);
      });
      for (const { mark, resolve } of group) resolve(mark.id);
    } catch (error) {
      for (const { mark, reject } of group) {
        remove(mark);
        reject(asForebayError(error));
      }
    }
  };
  /** Nothing of this need be durable: as long as the mark is, whoever starts with it forgets the scope. */
  const settle = async (mark: Mark): Promise<void> => {
    if (mark.settling) return;
    mark.settling = true;
    try {
      forgetUncommitted(mark.scope);
      for (;;) {
        const page = index.change(false, (changes) => forgetPage(changes, mark.scope));
        retire(page.gone);
        if (!page.more) break;
        await clock.sleep(0);
      }
      forgetActive(mark.scope);
      unmark(mark);
      changed();
    } finally {
      // When the index failed, the mark stands until it lapses.
      mark.settling = false;
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
    // Not durable: a mark that comes back with a power loss costs its scope, and lapses.
    index.change(false, (changes) => changes.unmark(mark.id));
  };
  return {
    mark: async (scope) => {
      await ids.ready();
      const mark = add(ids.next(), scopeText(scope));
      return new Promise((resolve, reject) => {
        waiting.push({ mark, resolve, reject });
        if (waiting.length === 1) clock.after(0, writeGroup);
      });
    },
    unmark: (id) => {
      const mark = marks.get(id);
      if (mark !== undefined && !mark.settling) unmark(mark);
    },
    settle: async (id) => {
      const mark = marks.get(id);
      if (mark !== undefined) await settle(mark);
    },
    covers,
    lapse: () => {
      for (const mark of [...marks.values()]) {
        if (mark.lapsesAtMs > clock.monotonicMs()) break;
        core.log("warn", "a change was announced and never ended: its mark lapsed", { scope: mark.scope });
        settle(mark).catch((error) => {
          core.log("warn", "a mark that lapsed stays", { scope: mark.scope, cause: asForebayError(error).message });
        });
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
