import { expect, test } from "bun:test";
import { createFlashWorld, type FlashWorld } from "../../sim/flash.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { LocalFlashKeeper } from "../flash/keeper-types.ts";
import type { FlashKeeper, VersionRecord } from "../flash/types.ts";
import type { Peer } from "../io/channel.ts";
import { answerKeeperCall, createKeeperCaller, remoteKeeper } from "./keeper-calls.ts";

const BLOCK = 4096;
/** Long enough that who calls a keeper that hangs is told so. */
const FOUND_OUT_MS = limits.keeperPulseMs + limits.keeperPulseTimeoutMs + 1_000;

interface Scene {
  readonly w: FlashWorld;
  readonly keeper: LocalFlashKeeper;
  readonly remote: FlashKeeper;
  readonly record: VersionRecord;
  /** From now on the keeper's process reads nothing of what it is sent. */
  stick(): void;
  /** It reads all of that, in order. */
  wake(): void;
  /** The answers to questions whether it lives are these, while set. */
  pulse: ((timeoutMs: number) => Promise<unknown>) | null;
}

async function setUp(): Promise<Scene> {
  const w = createFlashWorld({ seed: 7, flashBytesMax: 100 * (BLOCK + 1024) });
  const keeper = await w.start();
  const record = await w.publish(keeper, "a/c/b", "e", 4 * BLOCK);
  if (typeof record === "string") throw new Error(record);
  let stuck = false;
  const inbox: (() => void)[] = [];
  const peer: Peer = {
    closed: new Promise(() => {}),
    close: async () => {},
    call: (method, args, timeoutMs = limits.keeperReplyTimeoutMs) => {
      if (method === "ping" && scene.pulse !== null) return scene.pulse(timeoutMs);
      return new Promise((resolve, reject) => {
        const run = (): void => void answerKeeperCall(keeper, method, args)?.then(resolve, reject);
        if (stuck) inbox.push(run);
        else run();
        w.clock.after(timeoutMs, () => reject(new ForebayError("timeout", `no answer to ${method}`)));
      });
    },
  };
  const scene: Scene = {
    ...{ w, keeper, record, remote: remoteKeeper(createKeeperCaller(() => peer, w.clock)), pulse: null },
    stick: () => {
      stuck = true;
    },
    wake: () => {
      stuck = false;
      for (const run of inbox.splice(0)) run();
    },
  };
  return scene;
}

/** The code of the error that a call ends with. */
const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "answered",
    (error: unknown) => (error as ForebayError).code,
  );

/** How long a keeper was stuck: found out to be, or longer than any call waits. */
for (const stuckMs of [FOUND_OUT_MS, limits.keeperReplyTimeoutMs * 2]) {
  test(`a claim that was given up is granted and given back by a keeper that wakes after ${stuckMs} ms`, async () => {
    const { w, keeper, remote, record, stick, wake } = await setUp();
    stick();
    const claiming = codeOf(remote.claim("server-1", record.id, 0, 4));
    await w.clock.advance(stuckMs);
    expect(await claiming).toBe("timeout");
    wake();
    await w.clock.advance(1_000);
    const again = await w.clock.settle(keeper.claim("server-2", record.id, 0, 4));
    expect(again?.granted).toEqual([0, 1, 2, 3]);
    await keeper.stop();
  });

  test(`a lease that was given up stops nobody once the keeper wakes after ${stuckMs} ms`, async () => {
    const { w, keeper, remote, stick, wake } = await setUp();
    stick();
    const acquiring = codeOf(remote.acquire(w.request("a/c/other")));
    await w.clock.advance(stuckMs);
    expect(await acquiring).toBe("timeout");
    wake();
    await w.clock.advance(1_000);
    const fromMs = w.clock.monotonicMs();
    const next = await w.clock.settle(keeper.acquire(w.request("a/c/other", { holder: "server-2" })));
    expect(next.kind).toBe("lease");
    expect(w.clock.monotonicMs()).toBe(fromMs);
    await keeper.stop();
  });

  test(`a mark that was given up is taken back by a keeper that wakes after ${stuckMs} ms`, async () => {
    const { w, keeper, remote, stick, wake } = await setUp();
    stick();
    const marking = codeOf(remote.markChange({ account: "a", container: "c", blob: null }));
    await w.clock.advance(stuckMs);
    expect(await marking).toBe("timeout");
    wake();
    await w.clock.advance(5_000);
    expect(keeper.stats().marks).toBe(0);
    await keeper.stop();
  });
}

test("what gives back is said to a keeper that is known to hang, though nobody waits for its answer", async () => {
  const { w, keeper, remote, record, stick, wake } = await setUp();
  const claimed = await w.clock.settle(remote.claim("server-1", record.id, 0, 4));
  expect(claimed?.granted).toEqual([0, 1, 2, 3]);
  stick();
  const found = codeOf(remote.peek(record.id, 0, 4));
  await w.clock.advance(FOUND_OUT_MS);
  expect(await found).toBe("timeout");
  const atMs = w.clock.monotonicMs();
  expect(await codeOf(remote.unclaim("server-1", record.id, [0, 1, 2, 3]))).toBe("timeout");
  expect(w.clock.monotonicMs()).toBe(atMs);
  wake();
  await w.clock.advance(1_000);
  const again = await w.clock.settle(keeper.claim("server-2", record.id, 0, 4));
  expect(again?.granted).toEqual([0, 1, 2, 3]);
  await keeper.stop();
});

test("only silence means that it hangs: neither a full channel nor a time-out that this process slept through", async () => {
  const scene = await setUp();
  const { w, keeper, remote, record } = scene;
  await w.clock.settle(keeper.claim("server-2", record.id, 0, 1));
  const timeout = (): Promise<never> => Promise.reject(new ForebayError("timeout", "no answer to ping"));
  const outcomes = [
    () => Promise.reject(new ForebayError("overloaded", "too many calls")),
    timeout, // due at once, as after a pause; the question after it is answered
    () => Promise.resolve(null),
  ];
  scene.pulse = () => outcomes.shift()?.() ?? Promise.resolve(null);
  const waiting = codeOf(remote.awaitBlock(record.id, 0));
  await w.clock.advance(limits.keeperPulseMs * 3);
  expect(outcomes.length).toBe(0);
  expect(await codeOf(remote.peek(record.id, 0, 1))).toBe("answered");
  await keeper.unclaim("server-2", record.id, [0]);
  expect(await w.clock.settle(waiting)).toBe("answered");
  await keeper.stop();
});
