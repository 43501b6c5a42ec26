/** A server that takes writes in, for tests: a simulated lake and disk, and a desk that keeps everything in memory. */

import { ForebayError } from "../src/base/errors.ts";
import { limits, MIB } from "../src/base/limits.ts";
import { seededRandom } from "../src/base/random.ts";
import { formatHttpDate } from "../src/blob/dates.ts";
import { createRequestIds } from "../src/blob/errors.ts";
import type { Front } from "../src/blob/front.ts";
import { sign } from "../src/blob/hmac.ts";
import { serviceSasText } from "../src/blob/sas-text.ts";
import { createBlobHandler } from "../src/blob/server.ts";
import type { EngineContext } from "../src/engine/context.ts";
import { createGenerations, SHARED_BYTES } from "../src/engine/generations.ts";
import { compilePolicies, defaultPolicy, type PolicyRule } from "../src/engine/policy.ts";
import { createReader } from "../src/engine/read.ts";
import { createStats } from "../src/engine/stats.ts";
import { createTrust } from "../src/engine/trust.ts";
import { FILE_FOLDERS, filePath, folderPath } from "../src/flash/files.ts";
import { headerOf } from "../src/http/types.ts";
import type { BlobName, Entry, StagedBlock } from "../src/journal/types.ts";
import { sharedKeyAuthorization } from "../src/lake/sign.ts";
import { keyText } from "../src/lake/types.ts";
import type { NewWrite, WriteDesk, WriteRefusal, Written } from "../src/writeback/types.ts";
import { createSimClock } from "./clock.ts";
import { createSimDisk } from "./disk.ts";
import { type Manners, type Received, startExchange } from "./exchange.ts";
import { simLake } from "./lake/client.ts";
import { createFaultPlan } from "./lake/faults.ts";
import { createSimService, SIM_ACCOUNT, SIM_KEY } from "./lake/service.ts";

const KEY = Buffer.from(SIM_KEY, "base64");
const HOLDER = "server";

/** What the desk of a test was told, and what it shall say. */
export interface TestDesk extends WriteDesk {
  readonly written: NewWrite[];
  readonly staged: StagedBlock[];
  readonly fences: string[];
  /** Files reserved and neither given back nor named by a write. */
  readonly reserved: Set<number>;
  readonly entries: Map<string, Entry>;
  refuseReserve: WriteRefusal | null;
  refuseWrite: WriteRefusal | null;
  refuseStage: WriteRefusal | null;
  /** Called before each write is looked at. */
  beforeWrite: (write: NewWrite) => void;
  /** Nobody is there. */
  closed: boolean;
}

export interface Sent {
  readonly method?: string;
  readonly container?: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers?: readonly string[];
  readonly body?: Uint8Array | string | null;
  readonly manners?: Manners;
  /** A SAS (with its `?`, or `&`) instead of a signature. */
  readonly sas?: string;
}

export const BACK: PolicyRule = {
  ...defaultPolicy,
  path: "c00/ckpt/",
  account: null,
  container: "c00",
  prefix: "ckpt/",
  write: "back",
};

export function createWriteScene(rule: Partial<PolicyRule> = {}) {
  const clock = createSimClock();
  const random = seededRandom(7);
  const disk = createSimDisk({ random: random.fork(), clock, capacityBytes: 512 * MIB });
  for (let i = 0; i < FILE_FOLDERS; i++) disk.makeFolder(folderPath(i));
  const service = createSimService();
  service.addContainer("c00");
  const faults = createFaultPlan(random.fork());
  let reachable = true;
  const lake = simLake({ service, clock, faults, reachable: () => reachable });
  const generations = createGenerations(new ArrayBuffer(SHARED_BYTES), "epoch");
  generations.owed.recovered([]);
  const stats = createStats();
  const reports: string[] = [];
  const none = (): never => {
    throw new ForebayError("closed", "not in this test");
  };
  const desk = createTestDesk({ clock, disk, generations });
  const engine: EngineContext = {
    holder: HOLDER,
    clock,
    disk,
    files: { pin: none, unpin: none },
    index: { lookup: () => null, close: () => {} },
    get keeper() {
      return new Proxy({} as EngineContext["keeper"], {
        get: (_, name) =>
          name === "reportFailure"
            ? async (message: string) => void reports.push(message)
            : () => Promise.reject(new ForebayError("closed", "not in this test")),
      });
    },
    desk,
    generations,
    era: () => "era",
    trust: createTrust(() => {}, clock),
    stats,
    log: () => {},
  };
  const policies = compilePolicies([{ ...BACK, ...rule }]);
  const front: Front = {
    engine,
    reader: createReader(engine),
    lakes: () => new Map([[SIM_ACCOUNT, lake]]),
    accounts: () => new Set([SIM_ACCOUNT]),
    policies: () => policies,
    own: () => ({ authorities: new Set(), lakes: new Map() }),
    storedPolicies: () => "unknown",
    forgetAccess: () => {},
    newRequestId: createRequestIds(seededRandom(1)),
    credentialSalt: new Uint8Array(32),
    accessLog: null,
  };
  const handler = createBlobHandler(front);
  const start = (sent: Sent) => startExchange({ handler, clock, readFile: disk.readNow, ...requestOf(sent, clock) });
  return {
    clock,
    disk,
    service,
    faults,
    generations,
    stats,
    reports,
    desk,
    front,
    start,
    cutLake: () => {
      reachable = false;
    },
    send: async (sent: Sent): Promise<Received> => {
      const received = await clock.settle(start(sent).received);
      // What is kept of a write that passed to the lake ends after its answer.
      await clock.advance(AFTERWARDS_MS);
      return received;
    },
    /** HEADs of Forebay's own that the lake answered. */
    heads: () =>
      Object.entries(stats.lakeRequests).reduce((n, [name, count]) => (name.startsWith("base.") ? n + count : n), 0),
    forwards: () => stats.forwards,
    open: () => disk.openDescriptors,
  };
}

const AFTERWARDS_MS = 10;

/** A Put Blob of the service's own kind, unless said otherwise. */
function requestOf(sent: Sent, clock: { wallMs(): number }) {
  const { method = "PUT", query = "", sas = "" } = sent;
  const path = `/${SIM_ACCOUNT}/${sent.container ?? "c00"}/${sent.path ?? "ckpt/a"}`;
  const body = typeof sent.body === "string" ? new TextEncoder().encode(sent.body) : (sent.body ?? null);
  const headers = [
    ...["Host", "forebay.invalid", "x-ms-version", "2024-11-04", "x-ms-date", formatHttpDate(clock.wallMs())],
    ...(body === null ? [] : ["Content-Length", String(body.length)]),
    ...(sent.headers ?? []),
  ];
  if (method === "PUT" && query === "" && headerOf(headers, "x-ms-blob-type") === undefined) {
    headers.push("x-ms-blob-type", "BlockBlob");
  }
  if (sas === "") {
    const signed = { method, path, query, headers, account: SIM_ACCOUNT };
    headers.push("Authorization", sharedKeyAuthorization(KEY, signed));
  }
  const target = `${path}${query}${sas === "" ? "" : `${query === "" ? "?" : "&"}${sas}`}`;
  const head = { method, target, minorVersion: 1, headers };
  return { head, body, ...(sent.manners === undefined ? {} : { manners: sent.manners }) };
}

interface DeskParts {
  readonly clock: { wallMs(): number };
  readonly disk: ReturnType<typeof createSimDisk>;
  readonly generations: ReturnType<typeof createGenerations>;
}

function createTestDesk({ clock, disk, generations }: DeskParts): TestDesk {
  let nextFile = 1;
  let seq = 0;
  const entries = new Map<string, Entry>();
  const slots = (name: BlobName) => generations.slotsOf(keyText(name));
  const append = (write: NewWrite): Entry => {
    seq++;
    const { path, name, base } = write;
    const state = { name: "acknowledged" } as const;
    const common = { seq, term: 1, path, name, base, acknowledgedAtMs: clock.wallMs(), state };
    const stamp = { etag: `"0x0F${String(seq).padStart(13, "0")}"`, lastModifiedMs: clock.wallMs() };
    const content = { kind: "spans", spans: [] } as const;
    return write.kind === "delete"
      ? { ...common, kind: "delete" }
      : { ...common, kind: "put", put: { ...write.put, ...stamp }, content };
  };
  const desk: TestDesk = {
    written: [],
    staged: [],
    fences: [],
    reserved: new Set(),
    entries,
    refuseReserve: null,
    refuseWrite: null,
    refuseStage: null,
    beforeWrite: () => {},
    closed: false,
    reserve: async () => {
      if (desk.closed) throw new ForebayError("closed", "nobody is there");
      if (desk.refuseReserve !== null) return { kind: "refused", why: desk.refuseReserve };
      const fileId = nextFile++;
      disk.close(disk.open(filePath(fileId), "create"));
      desk.reserved.add(fileId);
      return { kind: "file", fileId };
    },
    giveBack: async (_, fileIds) => {
      for (const fileId of fileIds) if (desk.reserved.delete(fileId)) disk.unlink(filePath(fileId));
    },
    stage: async (_, block) => {
      if (desk.refuseStage !== null) return { kind: "refused", why: desk.refuseStage };
      desk.reserved.delete(block.span.fileId);
      desk.staged.push({ ...block, stagedAtMs: clock.wallMs() });
      return { kind: "staged" };
    },
    write: async (_, write): Promise<Written> => {
      if (desk.closed) throw new ForebayError("closed", "nobody is there");
      desk.beforeWrite(write);
      const before = entries.get(keyText(write.name)) ?? null;
      if (write.judgedOn !== "any" && write.judgedOn !== (before?.seq ?? null)) return { kind: "moved" };
      const { basedAt } = write;
      if (before === null && basedAt !== null && !generations.same(slots(write.name), basedAt))
        return { kind: "moved" };
      if (desk.refuseWrite !== null) return { kind: "refused", why: desk.refuseWrite };
      if (write.kind === "put" && write.content.kind === "spans") {
        for (const span of write.content.spans) if ("fileId" in span) desk.reserved.delete(span.fileId);
      }
      const entry = append(write);
      entries.set(keyText(write.name), entry);
      generations.owed.add(slots(write.name), 1);
      generations.move(write.name);
      desk.written.push(write);
      return { kind: "written", entry };
    },
    latest: async (name) => entries.get(keyText(name)) ?? null,
    inline: async () => null,
    names: async () => [],
    blocks: async (name) => desk.staged.filter((block) => keyText(block.name) === keyText(name)),
    fence: async (_, scope) => {
      desk.fences.push(scope.blob ?? "");
      return 1;
    },
    unfence: async () => {},
    flush: async () => {},
    adopt: async (holder, { spans }) => {
      await desk.giveBack(
        holder,
        spans.map(({ fileId }) => fileId),
      );
      return false;
    },
    warmBegin: async () => null,
    warmEnd: async () => false,
    alias: async () => null,
  };
  return desk;
}

/** The bytes that a written or staged span stands for, as they are on the disk. */
export function bytesAt(
  disk: { contents(path: string): Uint8Array | null },
  span: { readonly fileId: number; readonly offset: number; readonly length: number },
): Uint8Array {
  return (disk.contents(filePath(span.fileId)) ?? new Uint8Array(0)).subarray(span.offset, span.offset + span.length);
}

/** Longer than what stands in the journal itself. */
export const LARGE_BYTES = limits.journalInlineBytesMax + 1;

/** A service SAS of the container, with these permissions. */
export function containerSas(permissions: string): string {
  const none = { st: "", sip: "", spr: "", ses: "", ss: "", srt: "", si: "" };
  const fields = { ...none, rscc: "", rscd: "", rsce: "", rscl: "", rsct: "" };
  const said = { sv: "2024-11-04", sp: permissions, se: "2027-01-01", sr: "c" };
  const sig = sign(serviceSasText(`/${SIM_ACCOUNT}/c00`, "", { ...fields, ...said }), KEY);
  return Object.entries({ ...said, sig })
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&");
}
