/** What was acknowledged and is not in the lake yet, as a mount sees it: before, while, and after it is carried there. */
import { expect, test } from "bun:test";
import type { EngineContext } from "../engine/context.ts";
import { createGenerations, SHARED_BYTES } from "../engine/generations.ts";
import type { PendingOutcome, PendingReader } from "../engine/pending.ts";
import { compilePolicies } from "../engine/policy.ts";
import type { Reader } from "../engine/read.ts";
import { createStats } from "../engine/stats.ts";
import type { ReadOutcome, ReadRequest } from "../engine/types.ts";
import { bytesSource } from "../http/types.ts";
import { realClock } from "../io/clock.ts";
import { pinnedBuffer } from "../io/syscalls.ts";
import type { OwnLake } from "../lake/types.ts";
import { createEngineSource } from "./engine-source.ts";

const BYTES = Buffer.from("what was acknowledged here");
const { signal } = new AbortController();

function scene() {
  const generations = createGenerations(new ArrayBuffer(SHARED_BYTES), "epoch");
  generations.owed.recovered([]);
  const slots = generations.slotsOf("acct/c/f");
  const state = { pending: true, mine: '"0xF"', lake: '"0xA"', alias: true };
  const serve = (etag: string, request: Pick<ReadRequest, "form" | "range">) => {
    const first = request.range?.first ?? 0;
    const end = Math.min((request.range?.last ?? BYTES.length) + 1, BYTES.length);
    return {
      kind: "serve",
      temperature: "dirty",
      headers: ["ETag", etag, "Last-Modified", "Tue, 07 May 2024 10:00:00 GMT"],
      first,
      length: request.form === "head" ? 0 : end - first,
      sizeBytes: BYTES.length,
      body: request.form === "head" ? null : bytesSource(BYTES.subarray(first, end)),
    } as const;
  };
  const pending: PendingReader = {
    read: async (request): Promise<PendingOutcome> => {
      if (!state.pending) return { kind: "none" };
      const outcome = request.judge?.(state.mine, "") ?? "holds";
      return outcome === "holds" ? serve(state.mine, request) : { kind: "not-held", outcome };
    },
    latest: async () => null,
    alias: async () => (state.alias ? { etag: state.mine, lastModifiedMs: 0, lakeEtag: state.lake } : null),
    forgetAll: () => {},
  };
  const read = async (request: ReadRequest): Promise<ReadOutcome> => {
    const headers = ["ETag", state.lake];
    if (request.conditionsHold !== null && !request.conditionsHold(headers))
      return { kind: "forward", why: "condition" };
    return serve(state.lake, request);
  };
  const refuse = (): never => {
    throw new Error("not for this test");
  };
  const reader: Reader = {
    pending,
    read,
    unreadable: refuse,
    forgetAll: refuse,
    forgetVerdicts: refuse,
  };
  const lake: OwnLake = {
    account: "acct",
    style: "path",
    hasOwnCredential: true,
    keys: [],
    credentialKind: "key",
    read: async () => ({
      head: { status: 412, reason: "", headers: [] },
      body: { lengthBytes: 0, read: async () => null, cancel: () => {} },
    }),
    own: async () => refuse(),
    forward: async () => refuse(),
    close: () => {},
  };
  const context: Partial<EngineContext> = {
    clock: realClock,
    generations,
    desk: { names: async () => [] } as Partial<EngineContext["desk"]> as EngineContext["desk"],
    index: { lookup: () => null, close: () => {} },
    trust: { suspended: () => false } as Partial<EngineContext["trust"]> as EngineContext["trust"],
    stats: createStats(),
    disk: { root: "/flash" } as Partial<EngineContext["disk"]> as EngineContext["disk"],
    era: () => "era",
    log: () => {},
  };
  const source = createEngineSource({
    context: context as EngineContext,
    reader,
    lake: () => lake,
    policies: () => compilePolicies([]),
    container: "c",
    prefix: "",
    sharedPath: "",
    lister: async () => ({ blobs: [], prefixes: [], next: null }),
  });
  const settle = (): void => {
    state.pending = false;
    generations.move({ account: "acct", container: "c", blob: "f" });
    generations.owed.add(slots, -1);
    generations.move({ account: "acct", container: "c", blob: "f" });
  };
  generations.owed.add(slots, 1);
  return { source, state, settle };
}

test("a pending blob is read under its own ETag, and says that it is pending", async () => {
  const { source } = scene();
  expect(await source.lookUp("f", null, signal)).toMatchObject({ kind: "file", etag: "0xF", sizeBytes: BYTES.length });
  expect(await source.attributes("f", signal)).toContainEqual(["user.forebay.state", "pending"]);
  const opened = await source.open("f", false, signal);
  const into = pinnedBuffer(100);
  expect(await opened?.remote?.read(5, 1_000, into, 10, signal)).toBe(BYTES.length - 5);
  expect(into.bytes.subarray(10, 10 + BYTES.length - 5).toString()).toBe(BYTES.subarray(5).toString());
  expect(await opened?.remote?.read(1_000, 10, into, 0, signal)).toBe(0);
});

test("whoever has it open reads on when the lake has it, under the lake's name for the same bytes", async () => {
  const { source, settle, state } = scene();
  const opened = await source.open("f", false, signal);
  settle();
  const into = pinnedBuffer(100);
  expect(await opened?.remote?.read(0, 4, into, 0, signal)).toBe(4);
  expect(into.bytes.subarray(0, 4).toString()).toBe("what");
  expect(await source.lookUp("f", null, signal)).toMatchObject({ etag: "0xA" });
  state.alias = false;
  expect(opened?.remote?.read(0, 4, into, 0, signal)).rejects.toMatchObject({ code: "lake-changed" });
});

test("another version in its place is an error, never its bytes", async () => {
  const { source, state, settle } = scene();
  const opened = await source.open("f", false, signal);
  state.mine = '"0xE"';
  const into = pinnedBuffer(100);
  expect(opened?.remote?.read(0, 4, into, 0, signal)).rejects.toMatchObject({ code: "lake-changed" });
  settle();
  state.mine = '"0xF"';
  const other = await source.open("f", false, signal);
  state.lake = '"0xC"';
  expect(other?.remote?.read(0, 4, into, 0, signal)).rejects.toMatchObject({ code: "lake-changed" });
  expect(into.bytes.subarray(0, 4).toString()).toBe("\0\0\0\0");
});
