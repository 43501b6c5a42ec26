/** A bound on how many do something at once; the others wait their turn, first come first served. */
export interface Gate {
  /** Resolves with what to call when done. */
  enter(): Promise<() => void>;
  /** Enters at once, bound or not: for who already holds what the gate guards. */
  enterNow(): () => void;
  readonly inside: number;
  readonly waiting: number;
}

export function createGate(insideMax: number): Gate {
  const queue: (() => void)[] = [];
  let inside = 0;
  const leaver = (): (() => void) => {
    let left = false;
    return () => {
      if (left) return;
      left = true;
      inside--;
      if (inside < insideMax) queue.shift()?.();
    };
  };
  return {
    enter: () => {
      if (inside < insideMax) {
        inside++;
        return Promise.resolve(leaver());
      }
      return new Promise((resolve) => {
        queue.push(() => {
          inside++;
          resolve(leaver());
        });
      });
    },
    enterNow: () => {
      inside++;
      return leaver();
    },
    get inside() {
      return inside;
    },
    get waiting() {
      return queue.length;
    },
  };
}
