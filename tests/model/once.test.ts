/** What many want at once is asked of the lake once, byte by byte. */
import { expect, test } from "bun:test";
import { MIB } from "../../src/base/limits.ts";
import { headerOf } from "../../src/http/types.ts";
import type { OwnLake } from "../../src/lake/types.ts";
import { stage } from "./scene.ts";

const SIZE = 11 * MIB + 5;

/** Notes the bytes that the lake begins to send. */
function noting(sent: number[], real: OwnLake): OwnLake {
  return {
    ...real,
    read: async (request) => {
      const response = await real.read(request);
      sent.push(Number(headerOf(response.head.headers, "content-length") ?? 0));
      return response;
    },
  };
}

for (const travelMsMax of [1, 20]) {
  test(`twenty readers of one cold blob cost the lake each byte once (a way of ${travelMsMax} ms)`, async () => {
    for (let seed = 1; seed <= 2; seed++) {
      const sent: number[] = [];
      const scene = await stage({
        seed,
        servers: 1,
        blockBytes: MIB,
        capacityBytes: 64 * MIB,
        flaws: { lake: (real) => noting(sent, real) },
      });
      scene.world.lake.way.travelMsMax = travelMsMax;
      scene.foreign("five/wanted", 1, SIZE);
      const asked = Array.from({ length: 20 }, () => scene.ask(0, "five/wanted", { range: [0, SIZE - 1] }));
      for (const { received } of asked) expect((await scene.settle(received)).ending).toBe("complete");
      expect(sent.reduce((sum, bytes) => sum + bytes, 0)).toBe(SIZE);
      scene.world.end();
    }
  }, 30_000);
}
