/** The checks can fail: worlds with one broken part each, and answers made by hand. */
import { describe, expect, test } from "bun:test";
import type { Received } from "../../sim/exchange.ts";
import type { Flaws } from "../../sim/world.ts";
import type { LakeState } from "../../sim/world-lake.ts";
import { FILES_FOLDER } from "../../src/flash/files.ts";
import type { ClientResponse } from "../../src/http/types.ts";
import { type Evidence, judgeRead, type ReadDone } from "./checker.ts";
import { runHistory } from "./history.ts";
import { bytesOf } from "./running.ts";
import { stage } from "./scene.ts";

const SEEDS = 150;

/** The first seed whose history shows a violation that reads as `expected`. */
async function caughtAt(flaws: Flaws, expected: RegExp): Promise<number | null> {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { violations } = await runHistory({ seed, flaws });
    if (violations.some((violation) => expected.test(violation))) return seed;
  }
  return null;
}

/** An answer that claims to be of the version asked for. */
function relabelled(response: ClientResponse, etag: string): ClientResponse {
  const headers = response.head.headers.map((value, i, all) => (all[i - 1]?.toLowerCase() === "etag" ? etag : value));
  const { status } = response.head;
  return status === 206 || status === 200 ? { ...response, head: { ...response.head, headers } } : response;
}

const FLAWS: readonly (readonly [string, Flaws, RegExp])[] = [
  ["changes that move no generation", { generations: (real) => ({ ...real, move: () => {} }) }, /^STALE.*acknowledged/],
  [
    "an index that calls every block present",
    {
      index: (real) => ({
        ...real,
        lookup: (key) => {
          const record = real.lookup(key);
          return record === null ? null : { ...record, present: null };
        },
      }),
    },
    /^TORN.*zeros/,
  ],
  [
    "callers that are judged by Forebay's own right",
    { lake: (real) => ({ ...real, read: (request) => real.read({ ...request, credential: { kind: "own" } }) }) },
    /^UNAUTHORISED/,
  ],
  [
    "reads that are pinned to no version",
    {
      lake: (real) => ({
        ...real,
        read: async ({ ifMatch, ...request }) => {
          const response = await real.read(request);
          return ifMatch === undefined ? response : relabelled(response, ifMatch);
        },
      }),
    },
    /^TORN.*of the version/,
  ],
  [
    "a clock that makes five seconds of twenty",
    { clock: (real) => ({ ...real, monotonicMs: () => real.monotonicMs() / 4 }) },
    /^STALE.*bound 5000/,
  ],
];

describe("a broken part is noticed", () => {
  for (const [what, flaws, expected] of FLAWS) {
    test(what, async () => {
      expect(await caughtAt(flaws, expected)).not.toBeNull();
    }, 120_000);
  }
});

/** Whether, over some seeds, a power loss brings anything but the bytes of `content` to the next reader. */
async function wrongAfterPowerLoss(flaws: Flaws, writes: boolean): Promise<boolean> {
  for (let seed = 101; seed <= 140; seed++) {
    const scene = await stage({ seed, flaws });
    scene.foreign("fixed/data", 1, 40_000);
    await scene.read(0, "fixed/data");
    await scene.advance(1_000);
    if (writes) await scene.settle(scene.put(1, "fixed/data", 2, 40_000).received);
    scene.world.powerLoss();
    await scene.settle(scene.world.boot());
    const received = await scene.read(0, "fixed/data");
    scene.world.end();
    if (received.ending !== "complete") continue;
    if (Buffer.compare(received.bytes, bytesOf(writes ? 2 : 1, 40_000)) !== 0) return true;
  }
  return false;
}

describe("after a power loss", () => {
  test("changes of immutable paths that were not marked would show", async () => {
    const keeper: Flaws["keeper"] = (real) => ({ ...real, markChange: async () => 0, unmarkChange: async () => true });
    expect(await wrongAfterPowerLoss({ keeper }, true)).toBe(true);
    expect(await wrongAfterPowerLoss({}, true)).toBe(false);
  });
  test("blocks that were called durable without a flush would show", async () => {
    // Names are durable, or hardly any file would be there to be found wrong.
    const keeperDisk: Flaws["keeperDisk"] = (real) => ({
      ...real,
      syncAll: async () => {
        const inner = real.list(FILES_FOLDER).map((name) => `${FILES_FOLDER}/${name}`);
        for (const folder of inner.length === 0 ? [] : ["", FILES_FOLDER, ...inner]) await real.syncFolder(folder);
      },
    });
    expect(await wrongAfterPowerLoss({ keeperDisk }, false)).toBe(true);
    expect(await wrongAfterPowerLoss({}, false)).toBe(false);
  });
});

describe("an answer made by hand", () => {
  const headers = (etag: string): string[] => ["ETag", etag, "x-ms-blob-type", "BlockBlob"];
  const state = (seq: number, fromMs: number, untilMs: number): LakeState => {
    const etag = seq === 0 ? null : `"${seq}"`;
    return { seq, fromMs, untilMs, etag, bytes: bytesOf(seq, 100), headers: headers(`"${seq}"`), by: "forebay" };
  };
  const states = [state(0, 0, 10), state(1, 10, 1_000), state(2, 1_000, Number.POSITIVE_INFINITY)];
  const evidence: Evidence = { states: () => states, acknowledged: [], marksSinceMs: Number.POSITIVE_INFINITY };
  const received = (changes: Partial<Received> = {}): Received => ({
    ending: "complete",
    status: 200,
    headers: headers('"1"'),
    announcedBytes: 100,
    bytes: bytesOf(1, 100),
    startedAtMs: 2_000,
    headAtMs: 2_010,
    endedAtMs: 2_020,
    cause: null,
    ...changes,
  });
  const judge = (changes: Partial<ReadDone> & { received?: Received }, about: Evidence = evidence): string | null =>
    judgeRead(
      {
        what: "by hand",
        method: "GET",
        name: "five/a",
        range: null,
        condition: null,
        received: received(),
        boundMs: 5_000,
        mayRead: () => true,
        alwaysReads: () => true,
        localUntilMs: Number.NEGATIVE_INFINITY,
        calm: true,
        liesAboutMd5: false,
        ...changes,
      },
      about,
    );

  test("that is right passes", () => expect(judge({})).toBeNull());
  test("that is older than its bound", () => expect(judge({ boundMs: 900 })).toMatch(/^STALE/));
  test("that is older than a change that was acknowledged", () => {
    const acknowledged = [{ name: "five/a", atMs: 1_500, seq: 2 }];
    expect(judge({}, { ...evidence, acknowledged })).toMatch(/^STALE.*acknowledged/);
    expect(judge({ received: received({ startedAtMs: 1_400 }) }, { ...evidence, acknowledged })).toBeNull();
  });
  test("that ends short as if it were whole", () => {
    expect(judge({ received: received({ bytes: bytesOf(1, 100).slice(0, 99) }) })).toMatch(/as if whole/);
    expect(judge({ received: received({ announcedBytes: 99, bytes: bytesOf(1, 100).slice(0, 99) }) })).not.toBeNull();
  });
  test("that is cut though nothing was wrong", () => {
    const late = { startedAtMs: 9_000, headAtMs: 9_010, endedAtMs: 9_020, headers: headers('"2"') };
    const cut = received({ ...late, ending: "cut", bytes: bytesOf(2, 100).slice(0, 50) });
    expect(judge({ received: cut })).toMatch(/nothing was wrong/);
    expect(judge({ received: cut, calm: false })).toBeNull();
  });
  test("with bytes of another version, wherever they stand", () => {
    const mixed = bytesOf(1, 100).slice();
    mixed.set(bytesOf(2, 100).subarray(60), 60);
    expect(judge({ received: received({ bytes: mixed }) })).toMatch(/^TORN: wrong bytes from 60 on .* of the version/);
    const cut = received({ ending: "cut", bytes: mixed.slice(0, 70) });
    expect(judge({ received: cut, calm: false })).toMatch(/^TORN/);
  });
  test("for somebody who may not read", () => expect(judge({ mayRead: () => false })).toMatch(/^UNAUTHORISED/));
  test("with headers of another state", () => {
    const other = received({ headers: [...headers('"1"'), "x-ms-meta-a", "b"] });
    expect(judge({ received: other })).toMatch(/^headers/);
  });
  test("that says a blob is not there which is", () => {
    expect(judge({ boundMs: 900, received: received({ status: 404, headers: [] }) })).toMatch(/^404/);
  });
});
