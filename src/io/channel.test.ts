import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ForebayError } from "../base/errors.ts";
import { type CallHandler, connectChannel, listenChannel, type Peer } from "./channel.ts";

const folder = mkdtempSync(join(tmpdir(), "forebay-channel-"));
let names = 0;
const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Pair {
  readonly near: Peer;
  readonly far: Promise<Peer>;
  readonly path: string;
  readonly listener: { close(): void };
}

async function pair(handler: CallHandler, nearHandler: CallHandler = () => Promise.resolve(null)): Promise<Pair> {
  const path = join(folder, `${names++}.sock`);
  const { promise, resolve } = Promise.withResolvers<Peer>();
  const listener = listenChannel(path, handler, resolve);
  const near = await connectChannel(path, nearHandler);
  open.push(near, listener);
  return { near, far: promise, path, listener };
}

const echo: CallHandler = async (method, args) => [method, ...args];

/** The error that a call ended with. */
async function failure(call: Promise<unknown>): Promise<ForebayError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ForebayError) return error;
    throw error;
  }
  throw new Error("the call did not fail");
}

describe("calls", () => {
  test("carry plain data both ways, bytes included", async () => {
    const { near } = await pair(echo);
    const bytes = new Uint8Array([0, 255, 7]);
    const args = ["text with ünïcode \u0000", 1.5, null, true, [1, [2]], { a: { b: bytes } }, bytes];
    expect(await near.call("echo", args)).toEqual(["echo", ...args]);
    const sub = new Uint8Array([1, 2, 3, 4]).subarray(1, 3);
    expect(await near.call("echo", [sub])).toEqual(["echo", new Uint8Array([2, 3])]);
    expect(await near.call("nothing", [])).toEqual(["nothing"]);
  });

  test("nothing to say is null", async () => {
    const { near } = await pair(async () => undefined);
    expect(await near.call("x", [])).toBeNull();
  });

  test("go both ways at once, and answers come in any order", async () => {
    const release: (() => void)[] = [];
    const { near, far } = await pair(
      async (method, args) => {
        if (method === "wait") await new Promise<void>((resolve) => release.push(resolve));
        return args[0];
      },
      async (_method, args) => `near ${String(args[0])}`,
    );
    const late = near.call("wait", ["late"]);
    expect(await near.call("now", ["soon"])).toBe("soon");
    expect(await (await far).call("x", [1])).toBe("near 1");
    for (const resolve of release) resolve();
    expect(await late).toBe("late");
  });

  test("a handler may call back before it answers", async () => {
    const { near } = await pair(
      async (_method, args, peer) => peer.call("back", args),
      async (_method, args) => [args[0], "back"],
    );
    expect(await near.call("there", ["x"])).toEqual(["x", "back"]);
  });

  test("thousands at once, larger than what a socket buffers", async () => {
    const { near } = await pair(echo);
    const large = "x".repeat(300_000);
    const calls = Array.from({ length: 300 }, (_, i) => near.call("echo", [i, i % 10 === 0 ? large : "small"]));
    const answers = (await Promise.all(calls)) as [string, number, string][];
    expect(answers.map((answer) => answer[1])).toEqual(calls.map((_, i) => i));
    expect(answers.filter((answer) => answer[2] === large).length).toBe(30);
  });
});

describe("failures", () => {
  test("keep their code and message; what is no error of ours is internal", async () => {
    const { near } = await pair(async (method) => {
      if (method === "ours") throw new ForebayError("flash-full", "no room");
      throw new TypeError("a bug");
    });
    const ours = await failure(near.call("ours", []));
    expect([ours.code, ours.message]).toEqual(["flash-full", "no room"]);
    const bug = await failure(near.call("bug", []));
    expect([bug.code, bug.message]).toEqual(["internal", "a bug"]);
  });

  test("no answer in time: timeout, and a late answer hurts nobody", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { near } = await pair(async (method) => {
      if (method === "slow") await promise;
      return method;
    });
    expect((await failure(near.call("slow", [], 20))).code).toBe("timeout");
    resolve();
    expect(await near.call("next", [])).toBe("next");
  });

  test("the other end goes away: closed, for calls under way and later ones", async () => {
    const { near, far } = await pair(() => new Promise(() => {}));
    const call = near.call("never", []);
    const peer = await far;
    peer.close();
    expect((await failure(call)).code).toBe("closed");
    await near.closed;
    await peer.closed;
    expect((await failure(near.call("x", []))).code).toBe("closed");
    expect((await failure(peer.call("x", []))).code).toBe("closed");
  });

  for (const who of ["near", "far", "listener"] as const) {
    test(`what was said before a close arrives, larger than what a socket buffers (${who} closes)`, async () => {
      const heard: unknown[] = [];
      const all = Promise.withResolvers<void>();
      const hear: CallHandler = async (_method, args) => {
        heard.push(args[0]);
        if (heard.length === 50) all.resolve();
      };
      const { near, far, listener } = await pair(hear, hear);
      const ends = { near, far: await far, listener };
      const from = who === "near" ? near : ends.far;
      const large = "x".repeat(100_000);
      const calls = Array.from({ length: 50 }, (_, i) => failure(from.call("hear", [i, large])));
      const closing = ends[who].close();
      for (const error of await Promise.all(calls)) expect(error.code).toBe("closed");
      await all.promise;
      expect(heard).toEqual(calls.map((_, i) => i));
      await closing;
    });
  }

  test("a close waits only so long for a peer that reads nothing", async () => {
    const path = join(folder, "deaf.sock");
    const listener = Bun.listen({ unix: path, socket: { open: (socket) => void socket.pause(), data: () => {} } });
    open.push({ close: () => listener.stop(true) });
    const near = await connectChannel(path, echo);
    const calls = Array.from({ length: 50 }, () => failure(near.call("x", ["x".repeat(100_000)])));
    await near.close();
    for (const error of await Promise.all(calls)) expect(error.code).toBe("closed");
  });

  test("nobody listens: closed", async () => {
    expect((await failure(connectChannel(join(folder, "nobody.sock"), echo).then(() => null))).code).toBe("closed");
  });

  test("the end of the listener ends its peers", async () => {
    const { near, listener } = await pair(echo);
    listener.close();
    await near.closed;
  });
});

test("a name that a killed process left behind is taken over", async () => {
  const path = join(folder, "left.sock");
  writeFileSync(path, "");
  const listener = listenChannel(path, echo, () => {});
  open.push(listener);
  const near = await connectChannel(path, echo);
  open.push(near);
  expect(await near.call("echo", [1])).toEqual(["echo", 1]);
});

test("a frame beyond the bound ends the channel", async () => {
  const { near, far, path } = await pair(echo);
  await far;
  const { promise, resolve } = Promise.withResolvers<void>();
  await Bun.connect({
    unix: path,
    socket: {
      open: (socket) => {
        socket.write(new Uint8Array([255, 255, 255, 255]));
      },
      data: () => {},
      close: () => resolve(),
    },
  });
  await promise;
  expect(await near.call("echo", [])).toEqual(["echo"]);
});
