import { expect, test } from "bun:test";
import { createFlashWorld, type FlashWorld } from "../../sim/flash.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";

/** Lets time pass until no mark stands. */
async function untilEnded(w: FlashWorld, keeper: LocalFlashKeeper): Promise<void> {
  for (let i = 0; i < 100 && keeper.stats().marks > 0; i++) await w.clock.advance(10);
  expect(keeper.stats().marks).toBe(0);
}

test("a narrow mark beside a wide one: no commit between the pages brings back what was not committed yet", async () => {
  for (let depth = 0; depth <= 4; depth++) {
    const w = createFlashWorld({ seed: 3, flashBytesMax: 1 << 28, bounds: { idsReserved: 4096 } });
    const keeper = await w.start();
    for (let i = 0; i < 2100; i++) expect(await w.publish(keeper, `a/wide/${i}`, "e", 10)).toBeObject();
    await w.clock.settle(keeper.flush());
    expect(await w.publish(keeper, "a/fixed/x", "old", 10)).toBeObject();
    const scopes = [
      { account: "a", container: "wide", blob: null },
      { account: "a", container: "fixed", blob: "x" },
    ];
    const marks = await w.clock.settle(Promise.all(scopes.map((scope) => keeper.markChange(scope))));
    const ends = marks.map((mark) => keeper.unmarkChange(mark, true));
    // A commit at every place between the pages.
    const commit = new Promise<void>((resolve) => {
      const nest = (left: number): void =>
        void w.clock.after(0, () => (left > 0 ? nest(left - 1) : void keeper.flush().then(resolve)));
      nest(depth);
    });
    await w.clock.settle(Promise.all([...ends, commit]));
    await untilEnded(w, keeper);
    const reader = w.index.reader();
    expect([depth, reader.lookup("a/fixed/x"), reader.lookup("a/wide/7")]).toEqual([depth, null, null]);
    w.powerLoss();
    await w.start();
    const after = w.index.reader();
    expect([depth, after.lookup("a/fixed/x"), after.lookup("a/wide/7")]).toEqual([depth, null, null]);
  }
});

test("what changes of an earlier life cover is forgotten in turns, and nothing of it is believed until then", async () => {
  const w = createFlashWorld({ seed: 4, flashBytesMax: 1 << 28, bounds: { idsReserved: 4096 } });
  const keeper = await w.start();
  for (let i = 0; i < 1000; i++) expect(await w.publish(keeper, `a/wide/${i}`, "e", 10)).toBeObject();
  await w.clock.settle(keeper.flush());
  await w.clock.settle(keeper.markChange({ account: "a", container: "wide", blob: null }));
  w.powerLoss();
  let forgotten = 0;
  const start = (): Promise<LocalFlashKeeper> => w.start({ earlierForgotten: () => void forgotten++ });
  w.index.isFull = () => true;
  const without = await start();
  await w.clock.advance(60_000);
  expect([forgotten, without.stats().marks]).toEqual([0, 1]);
  w.index.isFull = () => false;
  await w.clock.advance(60_000);
  expect([forgotten, without.stats().versions]).toEqual([1, 0]);
  // The lake may still be at work on the change: nothing is kept until the mark lapses.
  expect(await w.publish(without, "a/wide/1", "e2", 10)).toBe("changing");
  w.powerLoss();
  const again = await start();
  expect(forgotten).toBe(2);
  await again.stop();
});
