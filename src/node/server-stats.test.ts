import { expect, test } from "bun:test";
import { createStats, sumStats } from "../engine/stats.ts";
import type { Peer } from "../io/channel.ts";
import { collectServerStats } from "./server-stats.ts";

/** A server that has so many hits, or does not answer. */
function fakeServer(): Peer & { hits: number; silent: boolean } {
  const server = {
    hits: 0,
    silent: false,
    call: async () => {
      if (server.silent) throw new Error("no answer");
      return { ...createStats(), hits: server.hits, requestsNow: 3, latency: { hit: [server.hits, 0] } };
    },
    closed: new Promise<void>(() => {}),
    close: async () => {},
  };
  return server;
}

test("the sum never falls: a silent server counts with its last word, a gone one for good", async () => {
  const all = collectServerStats();
  const [one, two] = [fakeServer(), fakeServer()];
  all.joined("one", one);
  all.joined("two", two);
  [one.hits, two.hits] = [10, 5];
  const look = async () => {
    const { stats, answering } = await all.collect();
    const { hits, requestsNow, latency } = sumStats(stats);
    return { answering, hits, requestsNow, latency: latency["hit"] };
  };
  expect(await look()).toEqual({ answering: 2, hits: 15, requestsNow: 6, latency: [15, 0] });
  one.silent = true;
  two.hits = 6;
  expect(await look()).toEqual({ answering: 1, hits: 16, requestsNow: 6, latency: [16, 0] });
  all.gone("one");
  expect(await look()).toEqual({ answering: 1, hits: 16, requestsNow: 3, latency: [16, 0] });
  const three = fakeServer();
  all.joined("three", three);
  three.hits = 1;
  expect(await look()).toEqual({ answering: 2, hits: 17, requestsNow: 6, latency: [17, 0] });
  all.gone("nobody");
  all.stop();
});
