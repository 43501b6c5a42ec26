/**
 * Waiting until what was acknowledged before now is in the lake. An entry that is superseded meanwhile is replaced, in
 * what is waited for, by the one that took its place: the lake has neither yet.
 */
import type { ChangeScope } from "../flash/types.ts";
import type { Clock, Timer } from "../io/clock.ts";
import { isPending } from "../journal/states.ts";
import type { BlobName, Entry, JournalView } from "../journal/types.ts";
import { covers } from "./fences.ts";
import type { Flushed } from "./types.ts";

export interface Flushes {
  /** Waits until `atMs` (monotonic) at most. */
  wait(scope: ChangeScope, atMs: number): Promise<Flushed>;
  /** An entry was moved by the drain or an operator. */
  moved(seq: number, now: Entry): void;
  /** Something was appended. */
  review(): void;
  /** Whether somebody waits for entries of a path. */
  hurries(path: string): boolean;
  stop(): void;
}

interface Waiter {
  readonly rest: Map<number, BlobName>;
  readonly paths: ReadonlySet<string>;
  readonly timers: Timer[];
  end(flushed: Flushed): void;
}

/** How often it is looked whether something was superseded. */
const REVIEW_MS = 250;

export function createFlushes(parts: {
  readonly view: JournalView;
  readonly clock: Clock;
  readonly passesParked: (path: string) => boolean;
  /** These paths are waited for. */
  readonly hurry: (paths: Iterable<string>) => void;
}): Flushes {
  const { view, clock } = parts;
  const waiters = new Set<Waiter>();

  const check = (waiter: Waiter): void => {
    if (waiter.rest.size === 0) waiter.end({ kind: "done" });
  };
  const follow = (waiter: Waiter): void => {
    for (const [seq, name] of waiter.rest) {
      const entry = view.entry(seq);
      if (entry !== null && isPending(entry.state)) continue;
      waiter.rest.delete(seq);
      const latest = entry === null ? view.latest(name) : null;
      if (latest !== null && latest.seq > seq) waiter.rest.set(latest.seq, name);
    }
    check(waiter);
  };
  const timedOut = (waiter: Waiter): void => {
    let pendingBytes = 0;
    for (const seq of waiter.rest.keys()) {
      const entry = view.entry(seq);
      if (entry?.kind === "put") pendingBytes += entry.put.sizeBytes;
    }
    waiter.end({ kind: "timeout", pendingEntries: waiter.rest.size, pendingBytes });
  };
  const checkParked = (waiter: Waiter): void => {
    const seqs = blockers(view, waiter.rest.keys(), parts.passesParked).parked;
    if (seqs.length > 0) waiter.end({ kind: "parked", seqs });
  };
  return {
    wait: (scope, atMs) =>
      new Promise((resolve) => {
        const rest = new Map<number, BlobName>();
        for (const { seq, name, state } of view.entries()) {
          if (isPending(state) && covers(scope, name)) rest.set(seq, name);
        }
        if (rest.size === 0) {
          resolve({ kind: "done" });
          return;
        }
        const { paths } = blockers(view, rest.keys(), parts.passesParked);
        const waiter: Waiter = {
          rest,
          paths,
          timers: [],
          end: (flushed) => {
            if (!waiters.delete(waiter)) return;
            for (const timer of waiter.timers) timer.cancel();
            resolve(flushed);
          },
        };
        waiters.add(waiter);
        const again = (): void => {
          waiter.timers[1] = clock.after(REVIEW_MS, () => {
            follow(waiter);
            if (waiters.has(waiter)) again();
          });
        };
        waiter.timers[0] = clock.after(Math.max(0, atMs - clock.monotonicMs()), () => timedOut(waiter));
        again();
        checkParked(waiter);
        if (waiters.has(waiter)) parts.hurry(paths);
      }),
    moved: (seq, now) => {
      for (const waiter of [...waiters]) {
        if (!isPending(now.state)) {
          if (waiter.rest.delete(seq)) check(waiter);
        } else if (now.state.name === "parked") checkParked(waiter);
      }
    },
    review: () => {
      for (const waiter of [...waiters]) if (waiter.rest.size <= 64) follow(waiter);
    },
    hurries: (path) => [...waiters].some(({ paths }) => paths.has(path)),
    stop: () => {
      for (const waiter of [...waiters]) timedOut(waiter);
    },
  };
}

/** The parked entries that stand before any of `seqs`, and the paths that must get on for them. */
function blockers(
  view: JournalView,
  seqs: Iterable<number>,
  passesParked: (path: string) => boolean,
): { readonly parked: number[]; readonly paths: ReadonlySet<string> } {
  const parked = new Set<number>();
  /** Up to which number each path must get. */
  const upTo = new Map<string, number>();
  const wanted = new Set<string>();
  const open: string[] = [];
  const want = (entry: Entry | null): void => {
    if (entry === null || !isPending(entry.state)) return;
    wanted.add(blobText(entry.name));
    if ((upTo.get(entry.path) ?? -1) >= entry.seq) return;
    upTo.set(entry.path, entry.seq);
    open.push(entry.path);
  };
  for (const seq of seqs) want(view.entry(seq));
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const last = upTo.get(path) ?? -1;
    for (const entry of view.pendingOf(path)) {
      if (entry.seq > last) break;
      const isInTheWay = !passesParked(path) || wanted.has(blobText(entry.name));
      if (entry.state.name === "parked" && isInTheWay) parked.add(entry.seq);
      // Of the same blob, and perhaps of another path.
      if (entry.base.kind === "entry") want(view.entry(entry.base.seq));
    }
  }
  return { parked: [...parked].sort((a, b) => a - b), paths: new Set(upTo.keys()) };
}

const blobText = ({ account, container, blob }: BlobName): string => `${account}/${container}/${blob}`;
