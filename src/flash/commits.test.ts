import { expect, test } from "bun:test";
import { blockBytesOf, createFlashWorld } from "../../sim/flash.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";

const BLOCK = 4096;

test("blocks that come during a flush are counted, and wait for the next one", async () => {
  const w = createFlashWorld({ seed: 5, flashBytesMax: 1 << 24, delays: { ioMsMax: 0, syncMsMax: 100 } });
  const keeper = await w.start();
  const fill = async (to: LocalFlashKeeper, key: string): Promise<void> => {
    const record = await w.publish(to, key, "e", BLOCK);
    if (typeof record === "string") throw new Error(record);
    const claimed = await w.clock.settle(to.claim("server-1", record.id, 0, 1));
    await w.fill(to, record, claimed?.granted ?? [], blockBytesOf);
  };
  await fill(keeper, "a/c/one");
  const first = keeper.flush(); // under way from here on
  await fill(keeper, "a/c/two");
  await fill(keeper, "a/c/three");
  const during = keeper.stats();
  if (during.commits === 0) expect(during.pendingBlocks).toBe(3);
  await w.clock.settle(first);
  expect(keeper.stats()).toMatchObject({ pendingBlocks: 2, committedBlocks: 1 });
  await w.clock.settle(keeper.flush());
  expect(keeper.stats()).toMatchObject({ pendingBlocks: 0, committedBlocks: 3 });
  await w.clock.settle(keeper.stop());
});
