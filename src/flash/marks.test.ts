import { expect, test } from "bun:test";
import { createFlashWorld } from "../../sim/flash.ts";

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
    const reader = w.index.reader();
    expect([depth, reader.lookup("a/fixed/x"), reader.lookup("a/wide/7")]).toEqual([depth, null, null]);
    w.powerLoss();
    await w.start();
    const after = w.index.reader();
    expect([depth, after.lookup("a/fixed/x"), after.lookup("a/wide/7")]).toEqual([depth, null, null]);
  }
});
