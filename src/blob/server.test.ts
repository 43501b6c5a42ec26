import { expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { seededRandom } from "../base/random.ts";
import type { EngineContext } from "../engine/context.ts";
import { createGenerations, SHARED_BYTES } from "../engine/generations.ts";
import { compilePolicies } from "../engine/policy.ts";
import { createStats } from "../engine/stats.ts";
import { createTrust } from "../engine/trust.ts";
import type { BodySource, Exchange, ResponseHead } from "../http/types.ts";
import type { Lake } from "../lake/types.ts";
import { createRequestIds } from "./errors.ts";
import type { Front } from "./front.ts";
import { createBlobHandler } from "./server.ts";

const unused = (): never => {
  throw new Error("not for this test");
};

function scene(more: Partial<Front> = {}) {
  const log: string[] = [];
  let cancelled = 0;
  const stats = createStats();
  const clock = createSimClock();
  const generations = createGenerations(new ArrayBuffer(SHARED_BYTES), "epoch");
  generations.owed.recovered([]);
  const engine: EngineContext = {
    holder: "server",
    clock,
    get disk() {
      return unused();
    },
    get files() {
      return unused();
    },
    get index() {
      return unused();
    },
    get keeper() {
      return unused();
    },
    get desk() {
      return unused();
    },
    generations,
    era: () => "era",
    trust: createTrust(() => {}, clock),
    stats,
    log: (level, message, fields) => log.push(JSON.stringify([level, message, fields])),
  };
  const lake: Lake = {
    account: "acct",
    style: "path",
    hasOwnCredential: false,
    keys: [],
    read: unused,
    forward: async () => ({
      head: { status: 200, reason: "OK", headers: [] },
      body: { lengthBytes: 2, read: async () => null, cancel: () => cancelled++ },
    }),
    close: () => {},
  };
  const front: Front = {
    engine,
    get reader() {
      return unused();
    },
    lakes: () => new Map([["acct", lake]]),
    accounts: () => new Set(["acct", "hidden"]),
    policies: () => compilePolicies([]),
    own: () => ({ authorities: new Set(), lakes: new Map() }),
    storedPolicies: () => "unknown",
    forgetAccess: () => {},
    newRequestId: createRequestIds(seededRandom(1)),
    credentialSalt: new Uint8Array(32),
    accessLog: null,
    ...more,
  };
  const answers: { head: ResponseHead; text: string }[] = [];
  const ask = async (target: string, respond?: Exchange["respond"]): Promise<unknown> => {
    const exchange: Exchange = {
      head: { method: "GET", target, minorVersion: 1, headers: ["x-ms-version", "2025-01-05"] },
      body: { lengthBytes: 0, read: async () => null, cancel: () => {} },
      remoteAddress: "127.0.0.1",
      secure: false,
      signal: new AbortController().signal,
      respond:
        respond ??
        (async (head, body: BodySource | null) => {
          const piece = await body?.next();
          answers.push({ head, text: piece?.kind === "bytes" ? Buffer.from(piece.bytes).toString() : "" });
        }),
    };
    return createHandler()(exchange)?.catch((error: unknown) => error);
  };
  const handler = createBlobHandler(front);
  const createHandler = () => (exchange: Exchange) => Promise.resolve(handler(exchange));
  return { ask, answers, log, stats, cancelled: () => cancelled };
}

test("who names no account is not told which there are; the log is, seldom", async () => {
  const it = scene();
  for (let i = 0; i < 5; i++) await it.ask("/nobody/c00/b");
  expect(it.answers.map(({ head }) => head.status)).toEqual([400, 400, 400, 400, 400]);
  for (const { text } of it.answers) expect(text).not.toContain("hidden");
  expect(it.log.filter((line) => line.includes("hidden"))).toHaveLength(1);
});

test("an access log that throws costs no answer", async () => {
  const it = scene({ accessLog: unused });
  await it.ask("/nobody/c00/b");
  await it.ask("/acct/c00?restype=container&comp=list");
  expect(it.answers.map(({ head }) => head.status)).toEqual([400, 200]);
  expect(it.stats.requestsNow).toBe(0);
});

test("whatever throws, a request is over when it is over, and the lake's answer let go of", async () => {
  const broken = scene({ accounts: unused });
  await broken.ask("/acct/c00/b");
  expect(broken.answers.map(({ head }) => head.status)).toEqual([500]);
  expect(broken.stats.requestsNow).toBe(0);
  const mute = scene();
  expect(await mute.ask("/acct/c00?restype=container&comp=list", unused)).toBeInstanceOf(Error);
  expect([mute.stats.requestsNow, mute.cancelled()]).toEqual([0, 1]);
});
