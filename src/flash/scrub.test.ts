import { expect, test } from "bun:test";
import { failureOf } from "../../sim/failure.ts";
import { blockBytesOf, createFlashWorld } from "../../sim/flash.ts";
import { diskError } from "../io/disk.ts";
import { filePath } from "./files.ts";

const BLOCK = 4096;

test("a scrub that found no descriptor goes on with the block that it could not look at", async () => {
  const w = createFlashWorld({ seed: 7, flashBytesMax: 100 * (BLOCK + 1024) });
  let refusals = 0;
  const disk: typeof w.disk = {
    ...w.disk,
    open: (path, mode) => {
      if (mode === "write" || refusals === 0) return w.disk.open(path, mode);
      refusals--;
      throw diskError(Object.assign(new Error("too many open files"), { code: "EMFILE" }), `open ${path}`);
    },
  };
  const keeper = await w.start({ disk });
  const record = await w.publish(keeper, "a/c/blob", "e", 6 * BLOCK);
  if (typeof record === "string") throw new Error(record);
  const claimed = await w.clock.settle(keeper.claim("server-1", record.id, 0, 6));
  await w.fill(keeper, record, claimed?.granted ?? [], blockBytesOf);
  await w.clock.settle(keeper.flush());
  expect(w.disk.flipBit(filePath(record.id), 4 * BLOCK + 5, 3)).toBe(true);
  refusals = 1;
  expect(String(await failureOf(w.clock.settle(keeper.scrubStep())))).toMatch(/too many open files|EMFILE/);
  await w.clock.settle(keeper.scrubStep());
  expect(keeper.stats()).toMatchObject({ scrubbedBlocks: 5, scrubBadBlocks: 1 });
  expect(w.index.reader().lookup("a/c/blob")).toBeNull();
  await w.clock.settle(keeper.stop());
});
