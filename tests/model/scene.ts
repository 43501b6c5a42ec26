/** A small stage in the simulated world for one named fault or race at a time. */
import { expect } from "bun:test";
import type { Manners, Ongoing, Received } from "../../sim/exchange.ts";
import { createWorld, type World, type WorldOptions } from "../../sim/world.ts";
import { headerOf } from "../../src/http/types.ts";
import { type Caller, type Clients, createClients } from "./clients.ts";
import { RULES } from "./rules.ts";
import { bytesOf } from "./running.ts";

export interface Asking {
  readonly method?: "GET" | "HEAD";
  readonly range?: readonly [first: number, last: number];
  readonly caller?: Caller;
  readonly manners?: Manners;
}

export interface Scene {
  readonly world: World;
  readonly clients: Clients;
  /** Starts a read. */
  ask(server: number, name: string, asking?: Asking): Ongoing;
  /** Reads and waits. */
  read(server: number, name: string, asking?: Asking): Promise<Received>;
  /** Starts a Put Blob through Forebay; `content` is a number that stands for bytes. */
  put(server: number, name: string, content: number, size: number): Ongoing;
  /** Writes behind Forebay's back, and gives the ETag. */
  foreign(name: string, content: number, size: number, headers?: readonly string[]): string;
  /** Lets time pass until `promise` has settled. */
  settle<T>(promise: Promise<T>): Promise<T>;
  advance(ms: number): Promise<void>;
}

/** A running world with rules as {@link RULES}[0]. */
export async function stage(options: Partial<WorldOptions> = {}): Promise<Scene> {
  const world = createWorld({ seed: 1, servers: 2, rules: RULES[0] ?? [], ...options });
  const second = Buffer.from("one more second key of the account, good for nothing whatsoever..").toString("base64");
  const clients = createClients(world.lake.service, world.clock.monotonicMs(), second);
  const { clock, lake } = world;
  await clock.settle(world.boot());
  const ask = (server: number, name: string, asking: Asking = {}): Ongoing => {
    const { method = "GET", range, caller = "key", manners = {} } = asking;
    const headers: [string, string][] = [["x-ms-version", "2025-01-05"]];
    if (range !== undefined) headers.push(["Range", `bytes=${range[0]}-${range[1]}`]);
    return world.send(server, { method, ...clients.sign(caller, { method, name, headers }, clock.wallMs()), manners });
  };
  return {
    world,
    clients,
    ask,
    read: (server, name, asking) => clock.settle(ask(server, name, asking).received),
    put: (server, name, content, size) => {
      lake.watch(name);
      const body = bytesOf(content, size);
      const headers: [string, string][] = [
        ["x-ms-version", "2025-01-05"],
        ["x-ms-blob-type", "BlockBlob"],
      ];
      const draft = { method: "PUT", name, headers, contentLength: size };
      const signed = clients.sign("key", draft, clock.wallMs());
      return world.send(server, {
        method: "PUT",
        target: signed.target,
        headers: [...signed.headers, "Content-Length", String(size)],
        body,
      });
    },
    foreign: (name, content, size, headers = []) => {
      const [container = "", blob = ""] = name.split("/");
      let etag = "";
      lake.foreign((service) => {
        etag = service.putBlob(container, blob, bytesOf(content, size), { nowMs: clock.wallMs(), headers });
      });
      lake.watch(name);
      return etag;
    },
    settle: (promise) => clock.settle(promise),
    advance: (ms) => clock.advance(ms),
  };
}

/** Expects a whole and right answer; gives its `x-forebay`. */
export function expectWhole(
  received: Received,
  content: number,
  size: number,
  range?: readonly [number, number],
): string {
  expect(String(received.cause)).toBe("null");
  expect(received.ending).toBe("complete");
  expect(received.status).toBe(range === undefined ? 200 : 206);
  const bytes = bytesOf(content, size);
  const expected = range === undefined ? bytes : bytes.subarray(range[0], range[1] + 1);
  expect(Buffer.compare(received.bytes, expected)).toBe(0);
  return headerOf(received.headers, "x-forebay") ?? "";
}

/** Expects that the answer failed in a way that its client notices. */
export function expectFailed(received: Received): void {
  const failed = received.ending === "cut" || received.status >= 500;
  expect({ failed, status: received.status, ending: received.ending }).toMatchObject({ failed: true });
}
