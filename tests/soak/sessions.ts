/** What the clients of the soak do: ask, pipeline, read slowly, break off, come back; and what changes meanwhile. */
import type { SimService } from "../../sim/lake/service.ts";
import { SIM_ACCOUNT } from "../../sim/lake/service.ts";
import type { Random } from "../../src/base/random.ts";
import { SEED_HEADER, type Truth } from "../crash/truth.ts";
import { ALL_SAS, pattern } from "../system/harness.ts";
import { type Seen, type Wanted, Wire } from "./wire.ts";

const KIB = 1024;
const MIB = 1 << 20;

/** Blobs that share a rule. */
interface BlobSet {
  readonly container: string;
  readonly maxStale: string;
  readonly staleMsMax: number;
  readonly changedBy: "nobody" | "others" | "forebay";
  /** How many are small (1–16 KiB), of middle size (64 KiB – 1 MiB) and large (4–32 MiB). */
  readonly counts: readonly [small: number, middle: number, large: number];
}

const SETS: readonly BlobSet[] = [
  { container: "still", maxStale: "immutable", staleMsMax: 0, changedBy: "nobody", counts: [1200, 300, 24] },
  { container: "soft", maxStale: "1s", staleMsMax: 1_000, changedBy: "others", counts: [300, 120, 16] },
  { container: "strict", maxStale: "0s", staleMsMax: 0, changedBy: "others", counts: [60, 20, 2] },
  { container: "frozen", maxStale: "immutable", staleMsMax: 0, changedBy: "forebay", counts: [60, 20, 0] },
];

/** The policies of the sets, as a configuration has them. */
export const POLICIES = SETS.map(({ container, maxStale }) => ({ path: `${container}/`, maxStale }));

interface Blob {
  readonly name: string;
  readonly set: BlobSet;
  /** Every version has at least so many bytes. */
  readonly leastBytes: number;
}

/** Everything that all sessions share. */
export interface Scene {
  readonly port: number;
  readonly truth: Truth;
  readonly seen: Seen;
  readonly blobs: readonly Blob[];
  readonly kinds: { readonly all: ByKind; readonly favourites: ByKind };
  /** Whether it is time to go home. */
  readonly over: () => boolean;
  readonly wires: Set<Wire>;
  changes: number;
}

/** The blobs, each with a first version in the lake. `totalBytes` is what they have together. */
export function fillLake(
  truth: Truth,
  random: Random,
): { readonly blobs: readonly Blob[]; readonly totalBytes: number } {
  const blobs: Blob[] = [];
  for (const set of SETS) {
    const sizes = [
      ...Array.from({ length: set.counts[2] }, () => 4 * MIB + random.below(28 * MIB)),
      ...Array.from({ length: set.counts[1] }, () => 64 * KIB + random.below(960 * KIB)),
      ...Array.from({ length: set.counts[0] }, () => KIB + random.below(15 * KIB)),
    ];
    for (const [i, leastBytes] of sizes.entries()) {
      blobs.push({ name: `${set.container}/${kindOf(leastBytes)}/${i}`, set, leastBytes });
    }
  }
  for (const [seed, { name, leastBytes }] of blobs.entries()) truth.change(name, seed, leastBytes);
  return { blobs, totalBytes: blobs.reduce((sum, blob) => sum + blob.leastBytes, 0) };
}

type Kind = "small" | "middle" | "large";
type ByKind = Readonly<Record<Kind, readonly Blob[]>>;

/** The blobs by their sizes: all, and those that are asked for often. */
export function sortOut(blobs: readonly Blob[]): Scene["kinds"] {
  const of = (kind: Kind): Blob[] => blobs.filter((blob) => kindOf(blob.leastBytes) === kind);
  const all = { small: of("small"), middle: of("middle"), large: of("large") };
  const some = (of: readonly Blob[]): Blob[] => of.filter((_, i) => i % 16 === 0);
  return { all, favourites: { small: some(all.small), middle: some(all.middle), large: some(all.large) } };
}

function kindOf(sizeBytes: number): Kind {
  return sizeBytes < 32 * KIB ? "small" : sizeBytes < 2 * MIB ? "middle" : "large";
}

/** A blob of some kind; half of all requests want a few favourites, so that there are hits beside the evictions. */
function pickBlob(scene: Scene, random: Random, kind: Kind): Blob {
  return random.pick(scene.kinds[random.chance(0.5) ? "favourites" : "all"][kind]);
}

function plan(scene: Scene, random: Random, kind: Kind): Wanted {
  const { name, set, leastBytes } = pickBlob(scene, random, kind);
  const { staleMsMax } = set;
  const signedBy = random.chance(0.3) ? "sharedKey" : "sas";
  const base = { name, method: "GET", range: null, etag: null, missing: false, staleMsMax, signedBy } as const;
  const dice = random.below(100);
  if (dice < 2) return { ...base, name: `${set.container}/none/${random.below(1000)}`, missing: true };
  if (dice < 6) return { ...base, method: "HEAD" };
  if (dice < 10) return { ...base, etag: scene.truth.latest(name).etag };
  if (kind === "small" && dice < 70) return base;
  if (kind === "large" && dice < 12) return base;
  const first = random.below(leastBytes);
  return { ...base, range: { first, last: first + random.below(kind === "large" ? 4 * MIB : leastBytes) } };
}

const kindAtRandom = (random: Random): Kind => {
  const dice = random.below(100);
  return dice < 72 ? "small" : dice < 94 ? "middle" : "large";
};

/** One client: connects, does this and that, and reconnects, until it is over. */
export async function session(scene: Scene, random: Random): Promise<void> {
  while (!scene.over()) {
    const wire = await Wire.open(scene.port, scene.truth, scene.seen);
    scene.wires.add(wire);
    const deeds = 1 + random.below(12);
    for (let i = 0; i < deeds && !wire.isOver && !scene.over(); i++) await deed(scene, random, wire);
    scene.wires.delete(wire);
    wire.abort();
  }
}

async function deed(scene: Scene, random: Random, wire: Wire): Promise<void> {
  const dice = random.below(100);
  wire.sips = null;
  if (dice < 55) {
    for (let i = 1 + random.below(10); i > 0 && !wire.isOver && !scene.over(); i--) {
      await wire.ask([plan(scene, random, kindAtRandom(random))]);
      await Bun.sleep(random.below(60));
    }
  } else if (dice < 70) {
    const count = 2 + random.below(7);
    scene.seen.pipelined += count;
    await wire.ask(Array.from({ length: count }, () => plan(scene, random, kindAtRandom(random))));
  } else if (dice < 78) {
    wire.sips = { bytes: 16 * KIB * (1 + random.below(16)), pauseMs: 5 + random.below(60) };
    scene.seen.slowReads++;
    await wire.ask([plan(scene, random, random.chance(0.7) ? "large" : "middle")]);
  } else if (dice < 90) {
    wire.abortAfter = random.chance(0.2) ? 1 : random.below(2 * MIB);
    const asked = wire.ask([plan(scene, random, random.chance(0.7) ? "large" : kindAtRandom(random))]);
    if (random.chance(0.3)) {
      await Bun.sleep(random.below(20));
      wire.abort();
    }
    await asked;
    wire.abortAfter = Number.POSITIVE_INFINITY;
  } else await Bun.sleep(200 + random.below(3_000));
}

/** Writers of the lake that Forebay does not hear of. */
export async function foreignChanges(scene: Scene, random: Random, everyMs: number): Promise<void> {
  const blobs = scene.blobs.filter(({ set }) => set.changedBy === "others");
  for (let seed = 1_000_000; !scene.over(); seed++) {
    const { name, leastBytes } = random.pick(blobs);
    scene.truth.change(name, seed, leastBytes + random.below(1000));
    scene.changes++;
    await Bun.sleep(random.below(2 * everyMs));
  }
}

/** A writer that goes through Forebay. */
export async function writer(scene: Scene, random: Random, everyMs: number): Promise<void> {
  const blobs = scene.blobs.filter(({ set }) => set.changedBy === "forebay");
  for (let seed = 2_000_000; !scene.over(); seed++) {
    const { name, leastBytes } = random.pick(blobs);
    const sizeBytes = leastBytes + random.below(1000);
    const response = await fetch(`http://127.0.0.1:${scene.port}/${SIM_ACCOUNT}/${name}?${ALL_SAS}`, {
      method: "PUT",
      headers: { "x-ms-version": "2022-11-02", "x-ms-blob-type": "BlockBlob", [SEED_HEADER]: String(seed) },
      body: pattern(seed, sizeBytes).read(0, sizeBytes).slice(),
      signal: AbortSignal.timeout(30_000),
    });
    await response.arrayBuffer();
    if (response.status === 201) scene.seen.writes++;
    else scene.seen.wrong.push(`PUT ${name}: status ${response.status}`);
    scene.truth.heard(name, seed);
    await Bun.sleep(random.below(2 * everyMs));
  }
}

/** Looks after what hangs, and keeps the lake's own statistics from growing. */
export async function caretaker(scene: Scene, lake: SimService): Promise<void> {
  while (!scene.over()) {
    await Bun.sleep(1_000);
    const nowMs = performance.now();
    for (const wire of scene.wires) wire.lookWhetherStuck(nowMs);
    lake.stats.reset();
  }
}
