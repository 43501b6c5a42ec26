/** A Blob front over a desk that a test plays, a lake that notes what it is asked, and files of a simulated disk. */

import { seededRandom } from "../src/base/random.ts";
import { createRequestIds } from "../src/blob/errors.ts";
import type { Front } from "../src/blob/front.ts";
import { createBlobHandler } from "../src/blob/server.ts";
import { TEST_KEYS } from "../src/blob/test-client.ts";
import type { EngineContext } from "../src/engine/context.ts";
import { createGenerations, type Generations, SHARED_BYTES, slotsOf } from "../src/engine/generations.ts";
import { compilePolicies, defaultPolicy, type PolicyRule } from "../src/engine/policy.ts";
import { createReader } from "../src/engine/read.ts";
import { createStats, type Stats } from "../src/engine/stats.ts";
import { createTrust } from "../src/engine/trust.ts";
import type { ReadOutcome, ReadRequest } from "../src/engine/types.ts";
import { filePath } from "../src/flash/files.ts";
import { createReadFiles, type ReadFiles } from "../src/flash/read-files.ts";
import type { ChangeScope, FlashKeeper } from "../src/flash/types.ts";
import type { ClientResponse } from "../src/http/types.ts";
import type { BlobName, Entry, PutEntry } from "../src/journal/types.ts";
import { sharedKeyAuthorization } from "../src/lake/sign.ts";
import type { Lake, LakeForward } from "../src/lake/types.ts";
import type { EtagAlias, WriteDesk } from "../src/writeback/types.ts";
import { createSimClock, type SimClock } from "./clock.ts";
import { createSimDisk, type SimDisk } from "./disk.ts";
import { type Received, startExchange } from "./exchange.ts";

/** What a test plays of the desk; all else may not be called. */
export interface PlayedDesk {
  latest: (name: BlobName) => Promise<Entry | null>;
  inline: (seq: number) => Promise<Uint8Array | null>;
  alias: (name: BlobName) => Promise<EtagAlias | null>;
  fence: (scope: ChangeScope, timeoutMs: number) => Promise<number>;
  flush: (scope: ChangeScope, timeoutMs: number) => Promise<void>;
}

export interface PendingScene {
  readonly clock: SimClock;
  readonly disk: SimDisk;
  readonly files: ReadFiles;
  readonly generations: Generations;
  readonly stats: Stats;
  readonly desk: PlayedDesk;
  readonly engine: EngineContext;
  /** What happened, in order: desk calls, requests of the lake, reads of the ordinary way. */
  readonly events: string[];
  readonly forwarded: LakeForward[];
  readonly ordinary: ReadRequest[];
  /** How the lake answers. */
  answer: (request: LakeForward) => Promise<{ readonly status: number; readonly headers?: readonly string[] }>;
  /** What the ordinary way says. */
  reading: (request: ReadRequest) => ReadOutcome | Promise<ReadOutcome>;
  rules: PolicyRule[];
  /** Makes something owed for a blob of `acct/c00`. */
  owe(blob: string, count?: 1 | -1): void;
  /** Writes a file of the flash. */
  file(fileId: number, bytes: Uint8Array): Promise<void>;
  /** Sends a request; signed with the account's key unless it brings its own credential. */
  send(method: string, target: string, headers?: readonly string[], body?: Uint8Array): Promise<Received>;
}

const unused = (): never => {
  throw new Error("not for this test");
};

const KEEPER: FlashKeeper = {
  acquire: unused,
  publish: unused,
  peek: unused,
  abandon: unused,
  claim: unused,
  filled: unused,
  unclaim: unused,
  awaitBlock: unused,
  drop: async () => {},
  markChange: unused,
  unmarkChange: unused,
  reportFailure: unused,
};

export const BACK: PolicyRule = {
  ...defaultPolicy,
  write: "back",
  path: "c00/",
  account: null,
  container: "c00",
  prefix: "",
};

export function pendingScene(): PendingScene {
  const clock = createSimClock();
  const disk = createSimDisk({ random: seededRandom(3), clock, capacityBytes: 64 << 20 });
  disk.makeFolder("files");
  const files = createReadFiles(disk, 256);
  const generations = createGenerations(new ArrayBuffer(SHARED_BYTES), "epoch");
  generations.owed.recovered([]);
  const stats = createStats();
  const events: string[] = [];
  const desk: PlayedDesk = {
    latest: async () => null,
    inline: async () => null,
    alias: async () => null,
    fence: async () => 7,
    flush: async () => {},
  };
  const shown = ({ account, container, blob }: ChangeScope): string => `${account}/${container ?? ""}/${blob ?? ""}`;
  const played: WriteDesk = {
    reserve: unused,
    giveBack: unused,
    stage: unused,
    write: unused,
    names: async () => [pendingPut("q", 0, inlineContent(0))],
    blocks: unused,
    adopt: unused,
    warmBegin: unused,
    warmEnd: unused,
    latest: (name) => {
      events.push("latest");
      return desk.latest(name);
    },
    inline: (seq) => desk.inline(seq),
    alias: (name) => {
      events.push("alias");
      return desk.alias(name);
    },
    fence: (_holder, scope, timeoutMs) => {
      events.push(`fence ${shown(scope)}`);
      return desk.fence(scope, timeoutMs);
    },
    flush: (scope, timeoutMs) => {
      events.push(`flush ${shown(scope)}`);
      return desk.flush(scope, timeoutMs);
    },
    unfence: async (fence) => {
      events.push(`unfence ${fence}`);
    },
  };
  const engine: EngineContext = {
    holder: "server",
    clock,
    disk,
    files,
    get index() {
      return unused();
    },
    keeper: KEEPER,
    desk: played,
    generations,
    era: () => "era",
    trust: createTrust(() => {}, clock),
    stats,
    log: () => {},
  };
  const scene: PendingScene = {
    clock,
    disk,
    files,
    generations,
    stats,
    desk,
    engine,
    events,
    forwarded: [],
    ordinary: [],
    answer: async () => ({ status: 200 }),
    reading: () => ({ kind: "forward", why: "test" }),
    rules: [],
    owe: (blob, count = 1) => generations.owed.add(slotsOf(`acct/c00/${blob}`), count),
    file: async (fileId, bytes) => {
      const path = filePath(fileId);
      disk.makeFolder(path.slice(0, path.lastIndexOf("/")));
      const fd = disk.open(path, "create");
      await disk.write(fd, bytes, 0);
      disk.close(fd);
    },
    send: (method, target, headers = [], body) => send(scene, handler, method, target, headers, body ?? null),
  };
  const handler = createBlobHandler(frontOf(scene));
  return scene;
}

function frontOf(scene: PendingScene): Front {
  const { engine, events } = scene;
  const lake: Lake = {
    account: "acct",
    style: "path",
    hasOwnCredential: true,
    keys: TEST_KEYS,
    read: unused,
    forward: async (request) => {
      scene.forwarded.push(request);
      events.push(`lake ${request.method} ${request.path}`);
      const { status, headers = [] } = await scene.answer(request);
      const response: ClientResponse = {
        head: { status, reason: "", headers },
        body: { lengthBytes: 0, read: async () => null, cancel: () => {} },
      };
      return response;
    },
    close: () => {},
  };
  const reader = createReader(engine);
  return {
    engine,
    reader: {
      ...reader,
      read: (request) => {
        scene.ordinary.push(request);
        events.push("ordinary");
        return scene.reading(request);
      },
    },
    lakes: () => new Map([["acct", lake]]),
    accounts: () => new Set(["acct"]),
    policies: () => compilePolicies(scene.rules),
    own: () => ({ authorities: new Set(["forebay.invalid"]), lakes: new Map() }),
    storedPolicies: () => "unknown",
    forgetAccess: () => {},
    newRequestId: createRequestIds(seededRandom(1)),
    credentialSalt: new Uint8Array(32),
    accessLog: null,
  };
}

const CREDENTIALS: ReadonlySet<string> = new Set(["authorization", "x-anonymous"]);

async function send(
  scene: PendingScene,
  handler: ReturnType<typeof createBlobHandler>,
  method: string,
  target: string,
  given: readonly string[],
  body: Uint8Array | null,
): Promise<Received> {
  const { clock, disk } = scene;
  const date = new Date(clock.wallMs()).toUTCString();
  const length = body === null ? [] : ["Content-Length", String(body.length)];
  const headers = ["Host", "forebay.invalid", "x-ms-version", "2025-01-05", "x-ms-date", date, ...length, ...given];
  const isOwn = given.some((name, i) => i % 2 === 0 && CREDENTIALS.has(name.toLowerCase()));
  if (!isOwn && !target.includes("sig=")) {
    const mark = target.indexOf("?");
    const [path, query] = mark < 0 ? [target, ""] : [target.slice(0, mark), target.slice(mark)];
    const key = TEST_KEYS[0] ?? new Uint8Array();
    headers.push("Authorization", sharedKeyAuthorization(key, { method, path, query, headers, account: "acct" }));
  }
  const call = startExchange({
    handler,
    clock,
    head: { method, target, minorVersion: 1, headers: headers.filter((_, i) => headers[i & ~1] !== "x-anonymous") },
    body,
    readFile: (fd, bytes, offset) => disk.readNow(fd, bytes, offset),
  });
  return await clock.settle(call.received);
}

export const LAST_MODIFIED_MS = Date.UTC(2026, 0, 1, 0, 0, 9) + 345;

/** A pending put of `acct/c00/BLOB`, of spans or of inline bytes. */
export function pendingPut(
  blob: string,
  sizeBytes: number,
  content: PutEntry["content"],
  more: Partial<PutEntry["put"]> = {},
): PutEntry {
  return {
    kind: "put",
    seq: 11,
    term: 1,
    path: "c00/",
    name: { account: "acct", container: "c00", blob },
    base: { kind: "none" },
    acknowledgedAtMs: LAST_MODIFIED_MS,
    state: { name: "acknowledged" },
    put: {
      sizeBytes,
      etag: '"0x0F0000000000001"',
      lastModifiedMs: LAST_MODIFIED_MS,
      headers: [],
      contentMd5: null,
      contentCrc64: null,
      ...more,
    },
    content,
  };
}

export const inlineContent = (length: number): PutEntry["content"] => ({
  kind: "inline",
  place: { file: "journal/1", offset: 0, length, checksum: "0000000000000000" },
});

/** Spans of one file each, from offset 3. */
export const spansContent = (
  pieces: readonly { readonly fileId: number; readonly length: number }[],
): PutEntry["content"] => ({
  kind: "spans",
  spans: pieces.map(({ fileId, length }) => ({ fileId, offset: 3, length, checksum: "0000000000000000", blockId: "" })),
});
