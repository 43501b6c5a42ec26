/** A drain over a simulated lake, disk and clock: to be killed and started again at any moment. */
import { createSimClock, type SimClock } from "../../../sim/clock.ts";
import { createSimDisk, type SimDisk } from "../../../sim/disk.ts";
import { simLake } from "../../../sim/lake/client.ts";
import { createFaultPlan, type FaultPlan } from "../../../sim/lake/faults.ts";
import { createSimService, SIM_ACCOUNT, type SimService } from "../../../sim/lake/service.ts";
import { createLife, type Life } from "../../../sim/world-process.ts";
import { assert } from "../../base/assert.ts";
import { KIB, MIB } from "../../base/limits.ts";
import { seededRandom } from "../../base/random.ts";
import { FILES_FOLDER, filePath, folderPath, SPAN_PIECE_BYTES, spanSum } from "../../flash/files.ts";
import type { CheckedSpan } from "../../flash/types.ts";
import type { ClientResponse } from "../../http/types.ts";
import { openJournal } from "../../journal/journal.ts";
import type { Base, BlobName, BlockSpan, Entry, Journal, NewContent } from "../../journal/types.ts";
import type { LakeOwnRequest, OwnLake } from "../../lake/types.ts";
import { createDrain, type DrainOptions } from "../drain.ts";
import type { Drain, DrainPolicy } from "../types.ts";

export const CONTAINER = "data";
export const nameOf = (blob: string): BlobName => ({ account: SIM_ACCOUNT, container: CONTAINER, blob });

/** One request as the lake saw it: `PUT b`, `PUT b block`, `PUT b blocklist`, `HEAD b`, `DELETE b` … */
export const lineOf = ({ method, blob = "", query = [] }: LakeOwnRequest): string => {
  const comp = query.find(([name]) => name === "comp")?.[1];
  return comp === undefined ? `${method} ${blob}` : `${method} ${blob} ${comp}`;
};

export type Hook = (line: string, request: LakeOwnRequest) => Promise<ClientResponse | null> | ClientResponse | null;

export interface DrainWorld {
  readonly clock: SimClock;
  readonly disk: SimDisk;
  readonly service: SimService;
  readonly faults: FaultPlan;
  readonly requests: string[];
  readonly ended: Entry[];
  readonly logged: string[];
  readonly policy: { -readonly [K in keyof DrainPolicy]: DrainPolicy[K] };
  /** What the lake did, in its order: every change but those of uncommitted blocks. */
  readonly applied: string[];
  /** What stands in for the lake's answer, if anything. */
  hook: Hook | null;
  /** Called at every step at which a process can end: before and after requests and moves. */
  step: ((what: string) => void) | null;
  reachable: boolean;
  rate: number | null;
  readonly journal: Journal;
  readonly drain: Drain;
  /** Kills what runs and opens the journal again. */
  restart(): Promise<void>;
  /** The process ends at this very moment. */
  kill(): void;
  put(blob: string, text: string, more?: { base?: Base; path?: string; headers?: string[] }): Promise<Entry>;
  /** A put of spans: each text is one, with the block id that stands before its colon. */
  putSpans(blob: string, parts: readonly (readonly [id: string, bytes: Uint8Array])[], more?: PutMore): Promise<Entry>;
  putContent(blob: string, content: NewContent, sizeBytes: number, more?: PutMore): Promise<Entry>;
  remove(blob: string, base?: Base, path?: string): Promise<Entry>;
  span(bytes: Uint8Array): Promise<CheckedSpan>;
  /** Lets the drain work until nothing is pending. */
  drained(ms?: number): Promise<void>;
  peek(blob: string): string | null;
}

export interface PutMore {
  readonly base?: Base;
  readonly path?: string;
  readonly headers?: string[];
  readonly contentMd5?: string | null;
}

const NOTHING: Base = { kind: "none" };

export async function createDrainWorld(seed = 1, options: Partial<DrainOptions> = {}): Promise<DrainWorld> {
  const random = seededRandom(seed);
  const clock = createSimClock();
  const disk = createSimDisk({
    random: random.fork(),
    clock,
    capacityBytes: 512 * MIB,
    delays: { ioMsMax: 0, syncMsMax: 2 },
  });
  const service = createSimService();
  service.addContainer(CONTAINER);
  const faults = createFaultPlan(random.fork());
  let life: Life | null = null;
  let running: { readonly journal: Journal; readonly drain: Drain } | null = null;
  let nextFile = 1;

  const noted: SimService = {
    ...service,
    handle: (request, context) => {
      const response = service.handle(request, context);
      const isChange = request.method === "PUT" || request.method === "DELETE";
      if (response.status < 300 && isChange && !request.target.includes("comp=block&")) {
        const [place = "", query = ""] = request.target.split("?");
        const blob = decodeURIComponent(place.split("/").slice(3).join("/"));
        world.applied.push(`${request.method} ${blob}${query === "" ? "" : ` ${query.replace("comp=", "")}`}`);
      }
      return response;
    },
  };
  const lakeOf = (own: Life): OwnLake => {
    const lake = simLake({ service: noted, clock: own.clock, faults, reachable: () => world.reachable });
    return {
      ...lake,
      own: async (request) => {
        const line = lineOf(request);
        world.requests.push(line);
        world.step?.(`before ${line}`);
        const instead = (await world.hook?.(line, request)) ?? null;
        if (!own.alive()) return new Promise<never>(() => {});
        if (instead !== null) request.body?.close();
        const answer = instead ?? (await own.guard(lake.own(request)));
        world.step?.(`after ${line}`);
        return own.guard(Promise.resolve(answer));
      },
    };
  };
  const stepped = (journal: Journal, own: Life): Journal => ({
    ...journal,
    move: async (seq, event) => {
      world.step?.(`before ${event.name} ${seq}`);
      const moved = await own.guard(Promise.resolve().then(() => journal.move(seq, event)));
      world.step?.(`after ${event.name} ${seq}`);
      return own.guard(Promise.resolve(moved));
    },
  });
  const start = async (): Promise<void> => {
    life?.end();
    const own = createLife({ clock, disk });
    life = own;
    const opened = await openJournal({
      disk: own.disk,
      clock: own.clock,
      random: random.fork(),
      term: 1,
      listener: { ended: (entry) => world.ended.push(entry), filesFreed: () => {} },
      bounds: { segmentBytes: 256 * KIB, reserveBytes: 32 * KIB, batchBytesMax: 64 * KIB },
    });
    const lake = lakeOf(own);
    const journal = stepped(opened.journal, own);
    const drain = createDrain({
      journal,
      disk: own.disk,
      clock: own.clock,
      random: random.fork(),
      lakes: () => lake,
      policyOf: () => world.policy,
      rateBytesPerSecond: () => world.rate,
      around: async () => ({ ended: async () => {} }),
      log: (_level, message, fields) => void world.logged.push(`${message} ${JSON.stringify(fields ?? {})}`),
      pendingNames: null,
      ...options,
    });
    running = { journal, drain };
    drain.wake();
  };
  const span = async (bytes: Uint8Array): Promise<CheckedSpan> => {
    const fileId = nextFile++;
    const fd = disk.open(filePath(fileId), "create");
    await disk.write(fd, bytes, 0);
    await clock.settle(disk.syncFile(fd));
    disk.close(fd);
    await clock.settle(disk.syncFolder(folderPath(fileId % 256)));
    const sum = spanSum();
    for (let at = 0; at < bytes.length; at += SPAN_PIECE_BYTES) sum.add(bytes.subarray(at, at + SPAN_PIECE_BYTES));
    return { fileId, offset: 0, length: bytes.length, checksum: sum.end() };
  };
  const putContent: DrainWorld["putContent"] = async (blob, content, sizeBytes, more = {}) => {
    const { base = NOTHING, path = "c/", headers = [], contentMd5 = null } = more;
    const put = { sizeBytes, etag: `"0x0F${blob}"`, lastModifiedMs: clock.wallMs(), headers, contentMd5 };
    const appended = world.journal.append({
      kind: "put",
      path,
      name: nameOf(blob),
      base,
      put: { ...put, contentCrc64: null },
      content,
    });
    const entry = await clock.settle(appended);
    world.drain.wake();
    return entry;
  };
  const world: DrainWorld = {
    clock,
    disk,
    service,
    faults,
    requests: [],
    applied: [],
    ended: [],
    logged: [],
    policy: { whenParked: "hold", exclusive: false, tier: null },
    hook: null,
    step: null,
    reachable: true,
    rate: null,
    get journal() {
      assert(running !== null, "the world is started");
      return running.journal;
    },
    get drain() {
      assert(running !== null, "the world is started");
      return running.drain;
    },
    restart: () => clock.settle(start()),
    kill: () => life?.end(),
    span,
    putContent,
    put: (blob, text, more) => {
      const bytes = new TextEncoder().encode(text);
      return putContent(blob, { kind: "inline", bytes }, bytes.length, more);
    },
    putSpans: async (blob, parts, more) => {
      const spans: BlockSpan[] = [];
      for (const [blockId, bytes] of parts) spans.push({ ...(await span(bytes)), blockId });
      const sizeBytes = spans.reduce((sum, { length }) => sum + length, 0);
      return putContent(blob, { kind: "spans", spans }, sizeBytes, more);
    },
    remove: async (blob, base = NOTHING, path = "c/") => {
      const entry = await clock.settle(world.journal.append({ kind: "delete", path, name: nameOf(blob), base }));
      world.drain.wake();
      return entry;
    },
    drained: async (ms = 600_000) => {
      const untilMs = clock.monotonicMs() + ms;
      while (world.journal.view.totals().pendingEntries > 0) {
        assert(clock.monotonicMs() < untilMs, `drained in time; stuck: ${JSON.stringify(world.drain.stats().stuck)}`);
        await clock.advance(100);
      }
      await clock.advance(0);
    },
    peek: (blob) => {
      const bytes = service.peek(CONTAINER, blob);
      return bytes === null ? null : new TextDecoder().decode(bytes);
    },
  };
  disk.makeFolder(FILES_FOLDER);
  for (let i = 0; i < 256; i++) disk.makeFolder(folderPath(i));
  await clock.settle(disk.syncFolder(""));
  await clock.settle(disk.syncFolder(FILES_FOLDER));
  await world.restart();
  return world;
}

/** Base64 of a block id's text. */
export const id = (text: string): string => Buffer.from(text).toString("base64");

/** Bytes that are easily told apart. */
export const bytesOf = (length: number, seed: number): Uint8Array => seededRandom(seed).fill(new Uint8Array(length));

/** An answer of the lake that is an error. */
export function refusal(status: number, code: string, headers: readonly string[] = []): ClientResponse {
  return {
    head: { status, reason: "", headers: ["x-ms-error-code", code, ...headers] },
    body: { lengthBytes: 0, read: async () => null, cancel: () => {} },
  };
}
