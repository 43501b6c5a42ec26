/**
 * The right to ask the lake about a blob, one server at a time. The others wait: when the answer is published and
 * fresh enough for them they take it, else the next one asks. What cannot be kept cannot be shared either: then all who
 * wait may ask at once.
 */
import type { Clock, Timer } from "../io/clock.ts";
import type { Counts } from "./core.ts";
import type { KeeperBounds } from "./keeper-types.ts";
import { isFresh } from "./records.ts";
import type { Acquired, AcquireRequest, LeaseEnd, VersionRecord } from "./types.ts";

/** A lease that was given. */
export interface Lease {
  readonly id: number;
  readonly key: string;
  readonly holder: string;
  readonly givenAtMs: number;
}

export interface Leases {
  acquire(request: AcquireRequest): Promise<Acquired>;
  /** The lease, if it still holds. */
  find(id: number): Lease | null;
  end(id: number, how: LeaseEnd): void;
  holderGone(holder: string): void;
  /** Ends leases that are too old. */
  lapse(): void;
  /** Sends all who wait away. */
  stop(): void;
  readonly held: number;
  readonly waiting: number;
}

interface Waiter {
  readonly request: AcquireRequest;
  readonly timer: Timer;
  readonly resolve: (acquired: Acquired) => void;
}

/** All about one blob while somebody asks about it. */
interface Queue {
  readonly leases: Set<number>;
  readonly waiters: Set<Waiter>;
}

export function createLeases(parts: {
  readonly clock: Clock;
  readonly bounds: KeeperBounds;
  readonly counts: Counts;
  readonly firstId: number;
  /** What is known of a blob now. */
  readonly peek: (key: string) => VersionRecord | null;
}): Leases {
  const { clock, bounds, counts, peek } = parts;
  const queues = new Map<string, Queue>();
  const leases = new Map<number, Lease>(); // in the order given
  let nextId = parts.firstId;
  let waiting = 0;

  const grant = (queue: Queue, request: AcquireRequest, record: VersionRecord | null): Acquired => {
    const lease = { id: nextId++, key: request.key, holder: request.holder, givenAtMs: clock.monotonicMs() };
    leases.set(lease.id, lease);
    queue.leases.add(lease.id);
    return { kind: "lease", lease: lease.id, record };
  };
  const answer = (queue: Queue, waiter: Waiter, acquired: Acquired): void => {
    if (!queue.waiters.delete(waiter)) return;
    waiter.timer.cancel();
    waiting--;
    waiter.resolve(acquired);
  };
  const wait = (queue: Queue, request: AcquireRequest): Promise<Acquired> =>
    new Promise((resolve) => {
      const timer = clock.after(bounds.leaseWaitMsMax, () => {
        counts.leasesTimedOut++;
        answer(queue, waiter, { kind: "busy" });
      });
      const waiter: Waiter = { request, timer, resolve };
      queue.waiters.add(waiter);
      waiting++;
    });
  /** After a lease ended: serves those who wait, and lets the next one ask (or all, when nothing can be shared). */
  const advance = (key: string, queue: Queue, all: boolean): void => {
    if (queue.waiters.size > 0) {
      const record = peek(key);
      for (const waiter of [...queue.waiters]) {
        if (record !== null && isFresh(record.variants, waiter.request))
          answer(queue, waiter, { kind: "fresh", record });
        else if (all || queue.leases.size === 0) answer(queue, waiter, grant(queue, waiter.request, record));
      }
    }
    if (queue.leases.size === 0 && queue.waiters.size === 0) queues.delete(key);
  };
  const end = (id: number, how: LeaseEnd): void => {
    const lease = leases.get(id);
    if (lease === undefined) return;
    leases.delete(id);
    const queue = queues.get(lease.key);
    if (queue === undefined) return;
    queue.leases.delete(id);
    try {
      advance(lease.key, queue, how === "alone");
    } catch {
      // The index failed: those who wait are sent away rather than left.
      for (const waiter of [...queue.waiters]) answer(queue, waiter, { kind: "busy" });
      if (queue.leases.size === 0) queues.delete(lease.key);
    }
  };
  return {
    acquire: async (request) => {
      const record = peek(request.key);
      if (record !== null && isFresh(record.variants, request)) return { kind: "fresh", record };
      const queue = queues.get(request.key) ?? { leases: new Set(), waiters: new Set() };
      queues.set(request.key, queue);
      if (queue.leases.size === 0) return grant(queue, request, record);
      if (waiting >= bounds.leaseWaitersMax) return { kind: "busy" };
      return wait(queue, request);
    },
    find: (id) => leases.get(id) ?? null,
    end,
    holderGone: (holder) => {
      for (const queue of [...queues.values()]) {
        for (const waiter of [...queue.waiters]) {
          if (waiter.request.holder === holder) answer(queue, waiter, { kind: "busy" });
        }
      }
      for (const lease of [...leases.values()]) if (lease.holder === holder) end(lease.id, "shared");
    },
    lapse: () => {
      const oldestMs = clock.monotonicMs() - bounds.leaseTtlMs;
      for (const lease of [...leases.values()]) {
        if (lease.givenAtMs > oldestMs) break;
        end(lease.id, "shared");
      }
    },
    stop: () => {
      for (const queue of queues.values())
        for (const waiter of [...queue.waiters]) answer(queue, waiter, { kind: "busy" });
    },
    get held() {
      return leases.size;
    },
    get waiting() {
      return waiting;
    },
  };
}
