/** What a keeper that died took with it: the servers hold no space of files that nobody knows any more. */
import { expect, test } from "bun:test";
import { expectWhole, stage } from "./scene.ts";

const SIZE = 70_000;
const NAME = "data/blob";

test("a keeper dies before it committed what a server filled: no server keeps the file's space", async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const scene = await stage({ seed });
    const { world } = scene;
    scene.foreign(NAME, 1, SIZE);
    expectWhole(await scene.read(0, NAME), 1, SIZE);
    expect(world.servers[0]?.openFiles()).toBe(1);
    expect(world.keeper()?.stats().storedBytes).toBe(0); // not committed yet
    world.killKeeper();
    await scene.settle(world.startKeeper());
    await scene.advance(60_000);
    expect(world.keeper()?.stats()).toMatchObject({ versions: 0, orphansRemoved: 1 });
    expect(world.servers[0]?.openFiles()).toBe(0);
    expect(world.disk.usedBytes).toBeLessThan(SIZE / 2);
    expectWhole(await scene.read(0, NAME), 1, SIZE);
    world.end();
  }
});
