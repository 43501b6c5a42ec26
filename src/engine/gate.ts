/**
 * A bound on how many do something at once. The others wait their turn: the urgent ones first, and first come, first
 * served among equals. For the urgent the bound is a wider one, so that they never wait for those alone who are not.
 * Who is urgent, and who is wanted at all, may change while they wait; so may the bounds.
 */

/** Somebody who waits for a turn. Neither call may throw. */
export interface Turn {
  isUrgent(): boolean;
  isWanted(): boolean;
}

export interface Gate {
  /** Resolves with what to call when done, or with null: the turn was no longer wanted. */
  enter(turn: Turn): Promise<(() => void) | null>;
  /** Enters at once, bound or not: for who already holds what the gate guards. */
  enterNow(): () => void;
  /** Somebody became urgent, or the bounds wider: lets in who may enter now. */
  hurry(): void;
  /** Somebody became unwanted: sends those away. */
  review(): void;
  readonly inside: number;
  readonly waiting: number;
}

interface Waiter {
  readonly turn: Turn;
  readonly resolve: (leave: (() => void) | null) => void;
}

/** How many may be inside, and how many with the urgent. */
export interface GateBounds {
  readonly insideMax: number;
  readonly urgentMax: number;
}

/** `bounds` is looked at whenever somebody may enter; {@link Gate.hurry} makes it look again. */
export function createGate(bounds: GateBounds): Gate {
  let queue: Waiter[] = [];
  let inside = 0;
  const takeNext = (): Waiter | undefined => {
    if (inside >= bounds.urgentMax) return undefined;
    const urgent = queue.findIndex((waiter) => waiter.turn.isUrgent());
    if (urgent >= 0) return queue.splice(urgent, 1)[0];
    return inside < bounds.insideMax ? queue.shift() : undefined;
  };
  const letIn = (): void => {
    for (let next = takeNext(); next !== undefined; next = takeNext()) next.resolve(enterNow());
  };
  const enterNow = (): (() => void) => {
    inside++;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      inside--;
      letIn();
    };
  };
  return {
    enter: (turn) => {
      if (!turn.isWanted()) return Promise.resolve(null);
      const isFree = inside < bounds.insideMax || (inside < bounds.urgentMax && turn.isUrgent());
      if (isFree) return Promise.resolve(enterNow());
      return new Promise((resolve) => queue.push({ turn, resolve }));
    },
    enterNow,
    hurry: letIn,
    review: () => {
      const all = queue;
      queue = [];
      for (const waiter of all) {
        if (waiter.turn.isWanted()) queue.push(waiter);
        else waiter.resolve(null);
      }
    },
    get inside() {
      return inside;
    },
    get waiting() {
      return queue.length;
    },
  };
}
