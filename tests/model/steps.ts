/** The steps of a history: plain data, drawn from a seed, so that a history can be printed, replayed and cut down. */
import type { Random } from "../../src/base/random.ts";
import { CALLERS, type Caller, CONTAINERS } from "./clients.ts";

export const BLOBS = CONTAINERS.flatMap((container) => [`${container}/a`, `${container}/b`]);

/** Numbers of servers, blobs and rule sets are taken modulo what there is. */
export type Action =
  | {
      readonly do: "read";
      readonly server: number;
      readonly name: string;
      readonly caller: Caller;
      readonly method: "GET" | "HEAD";
      readonly range: { readonly first: number; readonly last: number | null } | null;
      readonly version: number;
      readonly condition: "if-match" | "if-none-match" | "if-match-other" | null;
      readonly snapshot: boolean;
      readonly slow: boolean;
      readonly leaveAfterBytes: number | null;
      readonly leaveAfterMs: number | null;
    }
  | { readonly do: "burst"; readonly name: string; readonly readers: number }
  | {
      readonly do: "write";
      readonly kind: "put" | "blocks" | "wrong-md5" | "metadata" | "tags" | "delete" | "snapshot" | "wipe";
      readonly server: number;
      readonly name: string;
      readonly caller: Caller;
      readonly size: number;
      readonly content: number;
      readonly leaveAfterMs: number | null;
    }
  | {
      readonly do: "foreign";
      readonly kind: "put" | "delete" | "same-size";
      readonly name: string;
      readonly size: number;
      readonly content: number;
    }
  | { readonly do: "kill"; readonly what: "keeper" | "server"; readonly server: number; readonly forMs: number }
  | { readonly do: "power"; readonly forMs: number }
  | {
      readonly do: "disk";
      readonly fault: "read" | "write" | "sync" | "full" | "read-only" | "vanished";
      readonly forMs: number;
    }
  | { readonly do: "lake"; readonly fault: number; readonly probability: number; readonly forMs: number }
  | { readonly do: "outage"; readonly forMs: number }
  | { readonly do: "rotate"; readonly forMs: number }
  | { readonly do: "revoke"; readonly what: "token" | "policy"; readonly forMs: number }
  | { readonly do: "reload"; readonly rules: number };

export interface Step {
  /** Time that passes before the step. */
  readonly afterMs: number;
  readonly action: Action;
}

/** What histories are like. */
export interface Temper {
  /** Nothing goes wrong: then every read must succeed. */
  readonly calm: boolean;
  readonly steps: number;
}

const SIZES = [0, 1, 511, 4095, 4096, 4097, 12_288, 40_000, 70_001, 120_000] as const;

/** Draws the steps of a history. */
export function drawSteps(random: Random, temper: Temper): Step[] {
  const favourites = [random.pick(BLOBS), random.pick(BLOBS), random.pick(BLOBS)];
  const draw: Draw = { random, name: () => (random.chance(0.8) ? random.pick(favourites) : random.pick(BLOBS)) };
  return Array.from({ length: temper.steps }, () => ({
    afterMs: pause(random),
    action: random.chance(temper.calm ? 0 : 0.15) ? trouble(draw) : ordinary(draw),
  }));
}

interface Draw {
  readonly random: Random;
  readonly name: () => string;
}

function pause(random: Random): number {
  const kind = random.below(100);
  if (kind < 45) return random.below(4);
  if (kind < 80) return random.below(60);
  if (kind < 95) return random.below(3_000);
  if (kind < 99) return random.below(12_000);
  return random.below(90_000);
}

function ordinary(draw: Draw): Action {
  const { random, name } = draw;
  const kind = random.below(100);
  if (kind < 68) return read(draw);
  if (kind < 71) return { do: "burst", name: name(), readers: 2 + random.below(6) };
  if (kind < 88) return write(draw);
  const how = random.pick(["put", "put", "same-size", "same-size", "delete"] as const);
  return { do: "foreign", kind: how, name: name(), size: random.pick(SIZES), content: random.uint32() };
}

function read({ random, name }: Draw): Action {
  const method = random.chance(0.85) ? "GET" : "HEAD";
  const first = random.below(random.pick([1, 10, 5_000, 50_000, 130_000]));
  const range = { first, last: random.chance(0.2) ? null : first + random.below(random.pick([1, 100, 9_000, 90_000])) };
  return {
    do: "read",
    server: random.below(8),
    name: name(),
    caller: random.chance(0.6) ? "key" : random.pick(CALLERS),
    method,
    range: method === "GET" && random.chance(0.5) ? range : null,
    version: random.chance(0.9) ? 0 : 1,
    condition: random.chance(0.85) ? null : random.pick(["if-match", "if-none-match", "if-match-other"] as const),
    snapshot: random.chance(0.1),
    slow: random.chance(0.3),
    leaveAfterBytes: random.chance(0.05) ? 1 + random.below(30_000) : null,
    leaveAfterMs: random.chance(0.05) ? random.below(60) : null,
  };
}

function write({ random, name }: Draw): Action {
  const kinds = [
    "put",
    "put",
    "put",
    "blocks",
    "blocks",
    "wrong-md5",
    "metadata",
    "tags",
    "delete",
    "snapshot",
  ] as const;
  return {
    do: "write",
    kind: random.chance(0.03) ? "wipe" : random.pick(kinds),
    server: random.below(8),
    name: name(),
    caller: random.chance(0.95) ? "key" : "wrong-key",
    size: random.pick(SIZES),
    content: random.uint32(),
    leaveAfterMs: random.chance(0.06) ? random.below(30) : null,
  };
}

function trouble({ random }: Draw): Action {
  const forMs = random.pick([20, 300, 3_000, 20_000]);
  switch (random.below(10)) {
    case 0:
    case 1:
      return { do: "kill", what: "server", server: random.below(8), forMs };
    case 2:
      return { do: "kill", what: "keeper", server: 0, forMs };
    case 3:
      return { do: "power", forMs };
    case 4: {
      const faults = ["read", "write", "sync", "full", "read-only", "vanished"] as const;
      return { do: "disk", fault: random.pick(faults), forMs };
    }
    case 5:
    case 6:
      return { do: "lake", fault: random.below(64), probability: random.pick([0.05, 0.3, 0.9]), forMs };
    case 7:
      return { do: "outage", forMs };
    case 8:
      return random.chance(0.3)
        ? { do: "rotate", forMs }
        : { do: "revoke", what: random.pick(["token", "policy"] as const), forMs };
    default:
      return { do: "reload", rules: random.below(8) };
  }
}

/** A history for people: one step a line. */
export function printSteps(steps: readonly Step[]): string {
  return steps.map(({ afterMs, action }, i) => `  ${i}: +${afterMs} ms ${JSON.stringify(action)}`).join("\n");
}
