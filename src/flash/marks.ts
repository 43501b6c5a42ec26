/**
 * Marks of changes under way. Within one epoch the generations make void whatever a change may have replaced; a mark is
 * what an `immutable` path needs beyond it. It stands on stable storage before the change leaves for the lake: while it
 * does, nothing read is kept, and the next life forgets its scope before anything of earlier epochs is believed.
 *
 * A change that may have happened ends by forgetting its scope, and only then the mark; one that the lake refused costs
 * nothing. Marks that nobody takes back lapse, as changes that may have happened. A scope is forgotten in pages, so
 * that others get their turn; marks that come together share one durable transaction.
 */
import { asForebayError } from "../base/errors.ts";
import { type KeeperCore, takeOut, takeOutForgotten } from "./core.ts";
import type { IdSource } from "./ids.ts";
import type { IndexChanges } from "./index.ts";
import type { ChangeScope } from "./types.ts";

const PAGE_VERSIONS = 250;

export interface Marks {
  mark(scope: ChangeScope): Promise<number>;
  /**
   * Ends a mark: `happened`, by forgetting its scope from now on. False when it did not stand any more: what was read
   * since may have been kept.
   */
  end(id: number, happened: boolean): boolean;
  /** Whether a change to the blob `key` may be under way. */
  covers(key: string): boolean;
  /** Ends marks that are too old, and goes on with what could not be forgotten before. */
  lapse(): void;
  /** Forgets no further: what is left of a scope is for the next life, for its mark stands. */
  stop(): void;
  /** Whether nothing is being forgotten. */
  readonly isIdle: boolean;
  /** Resolves when nothing is. */
  idle(): Promise<void>;
  readonly size: number;
}

interface Mark {
  readonly id: number;
  readonly scope: string;
  lapsesAtMs: number;
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

/** What marks tell the rest of the keeper. */
export interface MarksHost {
  /** Files wait to be unlinked with the next commit. */
  changed(): void;
  /** What the marks of earlier lives cover is forgotten. */
  earlierForgotten(): void;
}

/** Reads the marks of earlier lives and begins to forget what they cover. Throws when the index cannot be read. */
export function createMarks(core: KeeperCore, ids: IdSource, host: MarksHost): Marks {
  const { index, clock, bounds } = core;
  const marks = new Map<number, Mark>();
  const covered = new Map<string, number>();
  const underWay = new Set<Promise<void>>();
  let waiting: Waiting[] = [];
  let stopped = false;

  const follow = (task: Promise<void>): void => {
    underWay.add(task);
    void task.finally(() => underWay.delete(task));
  };
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
  /**
   * Nothing of this need be durable: as long as the mark is, the next life forgets the scope. False: this life ends
   * before all of it was forgotten.
   */
  const forget = async (scope: string): Promise<boolean> => {
    if (stopped) return false;
    forgetUncommitted(scope);
    for (;;) {
      const page = index.change(false, (changes) => forgetPage(changes, scope));
      retire(page.gone);
      if (page.gone.length > 0) host.changed();
      if (!page.more) break;
      await clock.sleep(0);
      if (stopped) return false;
    }
    forgetActive(scope);
    host.changed();
    return true;
  };
  const settle = async (mark: Mark): Promise<void> => {
    if (mark.settling) return;
    mark.settling = true;
    try {
      if (await forget(mark.scope)) unmark(mark);
    } catch (error) {
      // The mark stands, and this is tried again.
      mark.lapsesAtMs = clock.monotonicMs();
      core.log("warn", "what a change covers could not be forgotten yet", {
        scope: mark.scope,
        cause: asForebayError(error).message,
      });
    } finally {
      mark.settling = false;
    }
  };
  const unmark = (mark: Mark): void => {
    // Not durable: a mark that comes back with a power loss costs its scope, and lapses.
    index.change(false, (changes) => changes.unmark(mark.id));
    remove(mark);
  };

  // The whole time again: how long this machine was off is not known to the monotonic clock.
  const earlier = index.marks().map(({ id, scope }) => add(id, scope));
  let forgetting = false;
  const forgetEarlier = async (): Promise<void> => {
    if (forgetting) return;
    forgetting = true;
    try {
      for (let mark = earlier[0]; mark !== undefined; mark = earlier[0]) {
        // The mark itself stays until it lapses: the lake may still be at work on the change.
        if (!(await forget(mark.scope))) return;
        earlier.shift();
      }
      host.earlierForgotten();
    } catch (error) {
      core.log("warn", "what earlier changes cover could not be forgotten yet", {
        cause: asForebayError(error).message,
      });
    } finally {
      forgetting = false;
    }
  };
  if (earlier.length === 0) host.earlierForgotten();
  else follow(forgetEarlier());

  return {
    mark: async (scope) => {
      await ids.ready();
      const mark = add(ids.next(), scopeText(scope));
      return new Promise((resolve, reject) => {
        waiting.push({ mark, resolve, reject });
        if (waiting.length === 1) clock.after(0, writeGroup);
      });
    },
    end: (id, happened) => {
      const mark = marks.get(id);
      if (mark === undefined) return false;
      if (happened) follow(settle(mark));
      else if (!mark.settling) unmark(mark);
      return true;
    },
    covers,
    lapse: () => {
      if (earlier.length > 0) follow(forgetEarlier());
      for (const mark of [...marks.values()]) {
        if (mark.lapsesAtMs > clock.monotonicMs() || mark.settling) continue;
        core.log("warn", "a change was announced and never ended: its mark lapsed", { scope: mark.scope });
        follow(settle(mark));
      }
    },
    stop: () => {
      stopped = true;
    },
    get isIdle() {
      return underWay.size === 0;
    },
    idle: async () => {
      while (underWay.size > 0) await Promise.allSettled(underWay);
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
