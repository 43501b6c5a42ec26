import { describe, expect, test } from "bun:test";
import { createFlashWorld } from "../../sim/flash.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";
import type { Acquired } from "./types.ts";

const KEY = "a/c/blob";

function world() {
  return createFlashWorld({ seed: 3, flashBytesMax: 1_000_000, bounds: { leaseWaitersMax: 5 } });
}

function leaseOf(acquired: Acquired): number {
  if (acquired.kind !== "lease") throw new Error(`expected a lease, got ${acquired.kind}`);
  return acquired.lease;
}

async function outcomes(w: ReturnType<typeof world>, keeper: LocalFlashKeeper, holders: readonly string[]) {
  const settled: string[] = [];
  const waiting = holders.map((holder) =>
    keeper.acquire(w.request(KEY, { holder })).then((acquired) => {
      settled.push(`${holder}:${acquired.kind}`);
      return acquired;
    }),
  );
  await w.clock.advance(0);
  return { settled, waiting };
}

describe("leases", () => {
  test("one asks, all others take its answer", async () => {
    const w = world();
    const keeper = await w.start();
    const lease = leaseOf(await keeper.acquire(w.request(KEY)));
    const { settled } = await outcomes(w, keeper, ["s1", "s2", "s3"]);
    expect(settled).toEqual([]);
    await w.clock.settle(keeper.publish({ lease, etag: "e", sizeBytes: 5, variant: w.variant(KEY) }));
    await w.clock.advance(0);
    expect(settled).toEqual(["s1:fresh", "s2:fresh", "s3:fresh"]);
    expect(keeper.stats()).toMatchObject({ leasesHeld: 0, leasesWaiting: 0 });
    await keeper.stop();
  });

  test("who needs another form asks next; who waits too long hears it", async () => {
    const w = world();
    const keeper = await w.start();
    const lease = leaseOf(await keeper.acquire(w.request(KEY)));
    const other = keeper.acquire(w.request(KEY, { variantId: "head|2025-01-05", holder: "s2" }));
    const third = keeper.acquire(w.request(KEY, { variantId: "head|2024-01-05", holder: "s3" }));
    await w.clock.settle(keeper.publish({ lease, etag: "e", sizeBytes: 5, variant: w.variant(KEY) }));
    expect((await w.clock.settle(other)).kind).toBe("lease");
    await w.clock.advance(31_000);
    expect(await third).toEqual({ kind: "busy" });
    expect(keeper.stats().leasesTimedOut).toBe(1);
    await keeper.stop();
  });

  test("an abandoned lease, or one whose holder ended, passes to the next", async () => {
    const w = world();
    const keeper = await w.start();
    const lease = leaseOf(await keeper.acquire(w.request(KEY)));
    const { settled, waiting } = await outcomes(w, keeper, ["s1", "s2", "s1"]);
    await keeper.abandon(lease);
    await w.clock.advance(0);
    expect(settled).toEqual(["s1:lease"]);
    keeper.holderGone("s1");
    await w.clock.advance(0);
    expect(settled).toEqual(["s1:lease", "s1:busy", "s2:lease"]);
    const gone = leaseOf(await (waiting[0] ?? Promise.reject(new Error("no first"))));
    const late = await keeper.publish({ lease: gone, etag: "e", sizeBytes: 5, variant: w.variant(KEY) });
    expect(late).toEqual({ kind: "refused", reason: "void" });
    await keeper.stop();
  });

  test("what cannot be kept cannot be shared: all who wait ask for themselves at once", async () => {
    const w = world();
    const keeper = await w.start();
    const lease = leaseOf(await keeper.acquire(w.request(KEY)));
    const { settled } = await outcomes(w, keeper, ["s1", "s2", "s3"]);
    await w.clock.settle(keeper.publish({ lease, etag: "e", sizeBytes: 1e12, variant: w.variant(KEY) }));
    await w.clock.advance(0);
    expect(settled).toEqual(["s1:lease", "s2:lease", "s3:lease"]);
    await keeper.stop();
  });

  test("who learns that the lake refuses lets all the others ask at once", async () => {
    const w = world();
    const keeper = await w.start();
    const lease = leaseOf(await keeper.acquire(w.request(KEY)));
    const { settled } = await outcomes(w, keeper, ["s1", "s2", "s3"]);
    await keeper.abandon(lease, "alone");
    await w.clock.advance(0);
    expect(settled).toEqual(["s1:lease", "s2:lease", "s3:lease"]);
    await keeper.stop();
  });

  test("the number of those who wait is bounded, and a forgotten lease lapses", async () => {
    const w = world();
    const keeper = await w.start();
    await keeper.acquire(w.request(KEY));
    const { settled } = await outcomes(w, keeper, ["s1", "s2", "s3", "s4", "s5", "s6"]);
    expect(settled).toEqual(["s6:busy"]);
    await w.clock.advance(306_000);
    expect(keeper.stats().leasesHeld).toBe(0);
    await keeper.stop();
  });

  test("a check that began before a change counts for nobody", async () => {
    const w = world();
    const keeper = await w.start();
    await w.publish(keeper, KEY, "e", 5);
    expect((await keeper.acquire(w.request(KEY))).kind).toBe("fresh");
    w.generations.move(KEY);
    const acquired = await keeper.acquire(w.request(KEY));
    expect(acquired).toMatchObject({ kind: "lease", record: { etag: "e" } });
    await keeper.abandon(leaseOf(acquired));
    const other = await keeper.acquire(w.request(KEY, { epoch: "another", generation: [0, 0, 0] }));
    expect(other.kind).toBe("lease");
    await keeper.stop();
  });
});

describe("claims", () => {
  test("of a holder that lives but never ends them lapse; those who wait hear it", async () => {
    const w = world();
    const keeper = await w.start();
    const record = await w.publish(keeper, KEY, "e", 3 * 4096);
    if (typeof record === "string") throw new Error(record);
    expect((await keeper.claim("s1", record.id, 0, 2))?.granted).toEqual([0, 1]);
    await w.clock.advance(300_000);
    expect((await keeper.claim("s2", record.id, 0, 3))?.granted).toEqual([2]);
    const waiting = keeper.awaitBlock(record.id, 0);
    await w.clock.advance(306_000);
    expect(await w.clock.settle(waiting)).toBe("free");
    expect(await keeper.claim("s2", record.id, 0, 3)).toEqual({ granted: [0, 1], present: [], held: [2] });
    await w.clock.advance(606_000);
    expect(keeper.stats().reservedBytes).toBe(0);
    await keeper.stop();
  });
});
