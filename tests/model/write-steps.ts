/** The steps of a history of writes: plain data, drawn from a seed, to be printed, replayed and cut down. */
import type { Random } from "../../src/base/random.ts";
import type { PolicyRule } from "../../src/engine/policy.ts";
import { defaultPolicy } from "../../src/engine/policy.ts";

const back = (path: string, more: Partial<PolicyRule> = {}): PolicyRule => {
  const [container = "", ...rest] = path.split("/");
  return { ...defaultPolicy, write: "back", path, account: null, container, prefix: rest.join("/"), ...more };
};

/** What holds where: `plain/` has no rule of its own. */
export const WRITE_RULES: readonly PolicyRule[] = [
  back("ckpt/"),
  back("ckpt/strict/", { maxStaleMs: 0 }),
  back("excl/", { exclusive: true }),
  back("pass/", { whenParked: "pass", maxStaleMs: 1_000 }),
];

export const WRITE_CONTAINERS = ["ckpt", "excl", "pass", "plain"] as const;
export const WRITE_BLOBS = [
  ...["ckpt/a", "ckpt/b", "ckpt/latest", "ckpt/dir/1", "ckpt/dir/2", "ckpt/größe", "ckpt/strict/x", "ckpt/strict/y"],
  ...["excl/lock", "excl/a", "pass/a", "pass/b", "plain/a"],
] as const;

/** Who asks: with the account's key, judged here; or with a token that only the lake can judge. */
export type Who = "key" | "token";

export type WriteStep =
  | {
      readonly do: "put";
      readonly server: number;
      readonly name: string;
      readonly who: Who;
      readonly size: number;
      readonly flush: boolean;
      readonly condition: "create" | "match" | "other" | null;
      readonly slow: boolean;
      readonly leaveAfterMs: number | null;
    }
  | {
      readonly do: "blocks";
      readonly server: number;
      readonly name: string;
      readonly sizes: readonly number[];
      readonly pauseMs: number;
      readonly condition: "create" | "match" | null;
    }
  | {
      readonly do: "delete";
      readonly server: number;
      readonly name: string;
      readonly who: Who;
      readonly condition: "match" | null;
    }
  | {
      readonly do: "read";
      readonly server: number;
      readonly name: string;
      readonly who: Who;
      readonly method: "GET" | "HEAD";
      readonly range: { readonly first: number; readonly last: number | null } | null;
      readonly condition: "if-match" | "if-none-match" | null;
      readonly slow: boolean;
      readonly leaveAfterMs: number | null;
    }
  | {
      readonly do: "list";
      readonly server: number;
      readonly container: string;
      readonly prefix: string;
      readonly delimiter: string;
      readonly pageMax: number;
      readonly pauseMs: number;
    }
  | { readonly do: "foreign"; readonly kind: "put" | "touch" | "delete"; readonly name: string; readonly size: number }
  | { readonly do: "flush"; readonly server: number; readonly container: string | null }
  | { readonly do: "evict"; readonly name: string }
  | { readonly do: "kill"; readonly what: "keeper" | "server"; readonly server: number; readonly forMs: number }
  | { readonly do: "power"; readonly forMs: number }
  | { readonly do: "disk"; readonly fault: "write" | "sync" | "full"; readonly forMs: number }
  | {
      readonly do: "lake";
      readonly fault: (typeof LAKE_FAULTS)[number];
      readonly probability: number;
      readonly forMs: number;
    }
  | { readonly do: "refuse"; readonly container: string; readonly forMs: number }
  | { readonly do: "outage"; readonly forMs: number };

/** Those that a service or a network shows to whoever writes. */
export const LAKE_FAULTS = [
  "serverError",
  "serverBusy",
  "serverBusyRetryAfter",
  "tooManyRequests",
  "neverAnswers",
  "resetBefore",
  "lostAck",
  "lostAck",
  "lostAck",
  "duplicate",
] as const;

export interface TimedStep {
  readonly afterMs: number;
  readonly step: WriteStep;
}

export interface WriteTemper {
  /** Nothing goes wrong: then every request must succeed. */
  readonly calm: boolean;
  readonly foreign: boolean;
  readonly steps: number;
}

const SIZES = [0, 1, 500, 4_096, 20_000, 65_536, 65_537, 90_000, 150_000] as const;

/** Draws the steps of a history: most of them about a few blobs. */
export function drawWriteSteps(random: Random, temper: WriteTemper): TimedStep[] {
  const favourites = [random.pick(WRITE_BLOBS), random.pick(WRITE_BLOBS), random.pick(WRITE_BLOBS)];
  const draw: Draw = {
    random,
    temper,
    name: () => (random.chance(0.8) ? random.pick(favourites) : random.pick(WRITE_BLOBS)),
  };
  return Array.from({ length: temper.steps }, () => ({
    afterMs: pause(random),
    step: random.chance(temper.calm ? 0 : 0.13) ? trouble(draw) : ordinary(draw),
  }));
}

interface Draw {
  readonly random: Random;
  readonly temper: WriteTemper;
  readonly name: () => string;
}

function pause(random: Random): number {
  const kind = random.below(100);
  if (kind < 45) return random.below(5);
  if (kind < 80) return random.below(80);
  if (kind < 96) return random.below(3_000);
  return random.below(20_000);
}

function ordinary(draw: Draw): WriteStep {
  const { random, name } = draw;
  const kind = random.below(100);
  if (kind < 30) return put(draw);
  if (kind < 40) return blocks(draw);
  if (kind < 46) {
    return {
      do: "delete",
      server: random.below(8),
      name: name(),
      who: who(random),
      condition: random.chance(0.2) ? "match" : null,
    };
  }
  if (kind < 78) return read(draw);
  if (kind < 87) return list(draw);
  if (kind < 89)
    return {
      do: "flush",
      server: random.below(8),
      container: random.chance(0.3) ? null : random.pick(WRITE_CONTAINERS),
    };
  if (kind < 92) return { do: "evict", name: name() };
  return foreign(draw) ?? read(draw);
}

const who = (random: Random): Who => (random.chance(0.92) ? "key" : "token");

function put({ random, name }: Draw): WriteStep {
  return {
    do: "put",
    server: random.below(8),
    name: name(),
    who: who(random),
    size: random.pick(SIZES),
    flush: random.chance(0.06),
    condition: random.chance(0.75) ? null : random.pick(["create", "match", "match", "other"] as const),
    slow: random.chance(0.2),
    leaveAfterMs: random.chance(0.05) ? random.below(60) : null,
  };
}

function blocks({ random, name }: Draw): WriteStep {
  return {
    do: "blocks",
    server: random.below(8),
    name: name(),
    sizes: Array.from({ length: 1 + random.below(4) }, () => 1 + random.below(random.pick([10, 5_000, 60_000]))),
    pauseMs: random.chance(0.3) ? random.below(4_000) : 0,
    condition: random.chance(0.85) ? null : random.pick(["create", "match"] as const),
  };
}

function read({ random, name }: Draw): WriteStep {
  const method = random.chance(0.8) ? "GET" : "HEAD";
  const first = random.below(random.pick([1, 300, 5_000, 70_000]));
  const range = { first, last: random.chance(0.2) ? null : first + random.below(random.pick([1, 500, 90_000])) };
  return {
    do: "read",
    server: random.below(8),
    name: name(),
    who: who(random),
    method,
    range: method === "GET" && random.chance(0.4) ? range : null,
    condition: random.chance(0.8) ? null : random.pick(["if-match", "if-none-match"] as const),
    slow: random.chance(0.2),
    leaveAfterMs: random.chance(0.05) ? random.below(60) : null,
  };
}

function list({ random }: Draw): WriteStep {
  return {
    do: "list",
    server: random.below(8),
    container: random.chance(0.8) ? "ckpt" : random.pick(WRITE_CONTAINERS),
    prefix: random.chance(0.7) ? "" : random.pick(["dir/", "s", "strict/", "l", "dir/1"] as const),
    delimiter: random.chance(0.6) ? "" : "/",
    pageMax: random.pick([1, 2, 3, 5_000] as const),
    pauseMs: random.chance(0.4) ? random.below(2_000) : 0,
  };
}

/** Nobody else writes where the rule says so. */
function foreign({ random, temper, name }: Draw): WriteStep | null {
  const where = name();
  if (!temper.foreign || where.startsWith("excl/")) return null;
  return {
    do: "foreign",
    kind: random.pick(["put", "put", "touch", "delete"] as const),
    name: where,
    size: random.pick(SIZES),
  };
}

function trouble({ random }: Draw): WriteStep {
  const forMs = random.pick([20, 300, 3_000, 20_000]);
  switch (random.below(12)) {
    case 0:
      return { do: "kill", what: "server", server: random.below(8), forMs };
    case 1:
    case 2:
      return { do: "kill", what: "keeper", server: 0, forMs };
    case 3:
    case 4:
      return { do: "power", forMs };
    case 5:
      return { do: "disk", fault: random.pick(["write", "sync", "full"] as const), forMs };
    case 6:
      return { do: "refuse", container: random.pick(WRITE_CONTAINERS), forMs };
    case 7:
      return { do: "outage", forMs: random.pick([300, 20_000, 20_000, 3_600_000]) };
    case 8:
      return { do: "lake", fault: "serverBusy", probability: 0.9, forMs: 200_000 };
    default:
      return {
        do: "lake",
        fault: random.pick(LAKE_FAULTS),
        probability: random.pick([0.1, 0.4, 0.9]),
        forMs: random.pick([3_000, 20_000, 60_000]),
      };
  }
}

/** A history for people: one step a line. */
export function printWriteSteps(steps: readonly TimedStep[]): string {
  return steps.map(({ afterMs, step }, i) => `  ${i}: +${afterMs} ms ${JSON.stringify(step)}`).join("\n");
}
