/**
 * The lake of the simulated world: the simulated service with every state that its blobs were ever in written down,
 * and a way to it that is slow, breaks, lies, and goes on without a caller who left.
 */
import { assert } from "../src/base/assert.ts";
import { ForebayError } from "../src/base/errors.ts";
import type { Random } from "../src/base/random.ts";
import {
  type BodyReader,
  type ClientRequest,
  type ClientResponse,
  type HttpClient,
  headerOf,
} from "../src/http/types.ts";
import type { Clock } from "../src/io/clock.ts";
import type { LakeAddress } from "../src/lake/address.ts";
import { createAzureLake } from "../src/lake/azure.ts";
import type { OwnLake } from "../src/lake/types.ts";
import { simHttpClient } from "./lake/client.ts";
import { createFaultPlan, type Fault, type FaultPlan } from "./lake/faults.ts";
import type { Blob, SimRequest, SimResponse } from "./lake/model.ts";
import { createSimService, SIM_ACCOUNT, type SimService } from "./lake/service.ts";

/** What a blob was for a while. */
export interface LakeState {
  /** Counts the states of one blob, from 0: absent. */
  readonly seq: number;
  readonly fromMs: number;
  untilMs: number;
  /** Null: there was no such blob. */
  readonly etag: string | null;
  readonly bytes: Uint8Array;
  readonly headers: readonly string[];
  /** Who brought it about. */
  readonly by: "forebay" | "foreign";
}

/** A blob that the lake made, replaced or removed, in the order in which it did. */
export interface LakeCommit {
  readonly atMs: number;
  /** `CONTAINER/BLOB`. */
  readonly name: string;
  /** Forebay on its own behalf, a request that it passed on, or somebody else. */
  readonly by: "own" | "forward" | "foreign";
  readonly before: LakeBlob | null;
  /** Null: it is gone. */
  readonly after: LakeBlob | null;
  readonly ifMatch: string | null;
  readonly ifNoneMatch: string | null;
  /** The network delivered a request twice, and this is of the second time. */
  readonly again: boolean;
}

export interface LakeBlob {
  readonly etag: string;
  readonly bytes: Uint8Array;
  readonly contentType: string | null;
  /** Names in lower case. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Ids of the blocks that it was committed from, base64. */
  readonly blockIds: readonly string[];
}

/** How the way to the lake behaves. */
export interface Way {
  /** No connection can be made, and those that stand break. */
  down: boolean;
  /** What Forebay asks for itself is refused with 403 where this says so. */
  refuses: ((request: ClientRequest) => boolean) | null;
  /** A request travels this long at most before the lake sees it, and an answer before it is heard. */
  travelMsMax: number;
  /** How much longer than that a change travels that Forebay makes on its own behalf. */
  ownChangeMsMax: number;
  /** Pause between two pieces of a body, at most; and the size of pieces, at most. */
  pieceMsMax: number;
  pieceBytesMax: number;
}

/** Flips a bit of the next body that fits. */
export type Damage = (request: ClientRequest) => boolean;

export interface WorldLake {
  readonly service: SimService;
  readonly way: Way;
  /** Faults of what Forebay asks for itself, and of what it passes on. */
  readonly readFaults: FaultPlan;
  readonly forwardFaults: FaultPlan;
  /** How likely a fault is from now on; those that no client could see through happen to pinned reads only. */
  setFault(fault: Fault, probability: number): void;
  calmFaults(): void;
  damageNext(damage: Damage): void;
  /** Everything that became of any blob, oldest first. */
  readonly commits: readonly LakeCommit[];
  /** Begins to write down what becomes of `CONTAINER/BLOB` (with `?snapshot=…` for one of its snapshots). */
  watch(name: string): void;
  /** The states of a watched blob, oldest first. */
  states(name: string): readonly LakeState[];
  /** Does `work` to the service as a foreign writer, and writes down what came of it. */
  foreign(work: (service: SimService) => void): void;
  /** Bytes of answers to Forebay's own Get Blob of `CONTAINER/BLOB` that were taken in, one-byte checks left out. */
  takenBytes(name: string): number;
  /** Forebay's own reads that were sent for `CONTAINER/BLOB`. */
  reads(name: string): number;
  /** A lake as one server sees it. `alive` ends with the server; `refused` hears that its own credential was. */
  connect(address: LakeAddress, alive: () => boolean, refused: () => void): OwnLake;
}

const OBSERVER = "the-observer";
/** Faults that an ordinary read could not tell from the truth: only what is pinned to a version must notice. */
const PINNED_ONLY: ReadonlySet<Fault> = new Set<Fault>(["otherEtag", "longBody", "wrongContentRange"]);

export function createWorldLake(clock: Clock, random: Random): WorldLake {
  const commits: LakeCommit[] = [];
  let actor: LakeCommit["by"] = "foreign";
  let delivered: SimRequest | null = null;
  let again = false;
  const service = createSimService({
    committed: ({ container, blob, before, after, headers }) => {
      commits.push({
        atMs: clock.monotonicMs(),
        name: `${container}/${blob}`,
        by: actor,
        before: before === undefined ? null : lakeBlob(before),
        after: after === undefined ? null : lakeBlob(after),
        ifMatch: headerOf(headers, "if-match") ?? null,
        ifNoneMatch: headerOf(headers, "if-none-match") ?? null,
        again,
      });
    },
  });
  service.setToken(OBSERVER, { roles: ["contributor"], expiresAtMs: Number.POSITIVE_INFINITY });
  const way: Way = {
    ...{ down: false, refuses: null, travelMsMax: 10, ownChangeMsMax: 0, pieceMsMax: 3, pieceBytesMax: 32 * 1024 },
  };
  const readFaults = createFaultPlan(random.fork());
  const forwardFaults = createFaultPlan(random.fork());
  const pinnedFaults = new Map<Fault, number>();
  const watched = new Map<string, LakeState[]>();
  const taken = new Map<string, { bytes: number; reads: number }>();
  let damage: Damage | null = null;

  const observe = (by: LakeState["by"]): void => {
    for (const [name, states] of watched) note(states, look(service, name, clock.wallMs()), clock.monotonicMs(), by);
  };
  const recordedAs = (by: LakeCommit["by"]): SimService => ({
    ...service,
    handle: (request, context) => {
      again = request === delivered;
      delivered = request;
      actor = by;
      try {
        const response = service.handle(request, context);
        if (request.method !== "GET" && request.method !== "HEAD") observe("forebay");
        return response;
      } finally {
        actor = "foreign";
        again = false;
      }
    },
  });
  const short = (msMax: number): number => (random.uint32() / 0x1_0000_0000) * msMax;

  const client = (faults: FaultPlan, own: boolean, alive: () => boolean, refused: () => void): HttpClient => {
    const inner = simHttpClient({
      service: recordedAs(own ? "own" : "forward"),
      clock,
      faults,
      reachable: () => !way.down,
    });
    const exchange = async (request: ClientRequest): Promise<ClientResponse> => {
      await clock.sleep(short(way.travelMsMax));
      const changes = request.method === "PUT" || request.method === "DELETE";
      if (own && changes && way.ownChangeMsMax > 0) {
        await clock.sleep(short(way.ownChangeMsMax));
        // Its bytes were still on their way.
        if (!alive()) {
          request.body?.close();
          throw new ForebayError("lake-lost", "the process that sent it has ended");
        }
      }
      if (own && headerOf(request.headers, "if-match") !== undefined) {
        for (const [fault, probability] of pinnedFaults) {
          if (random.chance(probability))
            faults.force(fault, 1, (one) => headerOf(one.headers, "if-match") !== undefined);
        }
      }
      const refusal = own && way.refuses?.(request) === true ? refusing(request) : null;
      const response = refusal ?? (await inner.request({ ...request, signal: undefined }));
      await clock.sleep(short(way.travelMsMax));
      const { status } = response.head;
      const signed = headerOf(request.headers, "authorization")?.startsWith("SharedKey ") === true;
      if (own && signed && (status === 401 || status === 403)) refused();
      return response;
    };
    return {
      request: async (request) => {
        if (request.signal?.aborted === true) {
          request.body?.close();
          throw new ForebayError("cancelled", "the request was cancelled");
        }
        const bodyTaken = own ? counter(taken, nameOf(request.target)) : null;
        if (bodyTaken !== null) bodyTaken.reads++;
        // A caller that leaves is gone at once; what it asked may be done all the same.
        const response = await alone(exchange(request), request.signal, alive);
        const spoils = damage?.(request) === true && request.method === "GET";
        if (spoils) damage = null;
        return { head: response.head, body: slowly(response.body, request.signal, spoils, bodyTaken) };
      },
      close: () => {},
    };
    function slowly(
      body: BodyReader,
      signal: AbortSignal | undefined,
      spoils: boolean,
      count: { bytes: number } | null,
    ): BodyReader {
      let rest = new Uint8Array(0);
      let spoiled = !spoils;
      let over = false;
      const read = async (): Promise<Uint8Array | null> => {
        await clock.sleep(short(way.pieceMsMax));
        if (way.down) throw new ForebayError("lake-lost", "the connection to the lake broke");
        if (rest.length === 0) {
          const bytes = await body.read();
          if (bytes === null) return null;
          rest = new Uint8Array(bytes);
        }
        const length = 1 + random.below(Math.min(rest.length, way.pieceBytesMax));
        const piece = rest.slice(0, length);
        rest = rest.subarray(length);
        if (!spoiled) {
          piece[0] = (piece[0] ?? 0) ^ 1;
          spoiled = true;
        }
        if (count !== null && body.lengthBytes !== 1 && !over) count.bytes += piece.length;
        return piece;
      };
      return {
        lengthBytes: body.lengthBytes,
        read: () => {
          if (over) return Promise.reject(new ForebayError("cancelled", "the answer was let go of"));
          return alone(read(), signal, alive);
        },
        cancel: () => {
          over = true;
          body.cancel();
        },
      };
    }
  };
  return {
    service,
    commits,
    way,
    readFaults,
    forwardFaults,
    setFault: (fault, probability) => {
      if (PINNED_ONLY.has(fault)) pinnedFaults.set(fault, probability);
      else {
        readFaults.set(fault, probability);
        // A wrong digest passed on is the lake's own word.
        if (fault !== "wrongMd5") forwardFaults.set(fault, probability);
      }
    },
    calmFaults: () => {
      pinnedFaults.clear();
      readFaults.calm();
      forwardFaults.calm();
      damage = null;
    },
    damageNext: (next) => {
      damage = next;
    },
    watch: (name) => {
      if (watched.has(name)) return;
      const absent = { seq: 0, fromMs: 0, untilMs: Number.POSITIVE_INFINITY, etag: null, bytes: new Uint8Array(0) };
      const states: LakeState[] = [{ ...absent, headers: [], by: "foreign" }];
      watched.set(name, states);
      note(states, look(service, name, clock.wallMs()), clock.monotonicMs(), "foreign");
    },
    states: (name) => watched.get(name) ?? [],
    foreign: (work) => {
      work(service);
      observe("foreign");
    },
    takenBytes: (name) => counter(taken, name).bytes,
    reads: (name) => counter(taken, name).reads,
    connect: (address, alive, refused) => {
      const own = createAzureLake({ address, http: client(readFaults, true, alive, refused), clock });
      const passing = createAzureLake({ address, http: client(forwardFaults, false, alive, refused), clock });
      return { ...own, forward: passing.forward };
    },
  };
}

/** Settles as `work` does, or with `cancelled` as soon as the caller leaves; never once its process is dead. */
export function alone<T>(work: Promise<T>, signal: AbortSignal | undefined, alive: () => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      if (alive()) reject(new ForebayError("cancelled", "the request was cancelled"));
    };
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    work.then(
      (value) => {
        signal?.removeEventListener("abort", onAbort);
        if (alive()) resolve(value);
      },
      (error: unknown) => {
        signal?.removeEventListener("abort", onAbort);
        if (alive()) reject(error);
      },
    );
  });
}

function lakeBlob(blob: Blob): LakeBlob {
  const { etag, content, properties, metadata, blocks } = blob;
  return {
    etag,
    bytes: content.read(0, content.sizeBytes),
    contentType: properties.get("content-type") ?? null,
    metadata: new Map(metadata.map(([name, value]) => [name.toLowerCase(), value])),
    blockIds: blocks.map(({ id }) => id),
  };
}

/** 403 as the service gives it to whoever lacks a role. */
function refusing(request: ClientRequest): ClientResponse {
  request.body?.close();
  const headers = ["x-ms-error-code", "AuthorizationPermissionMismatch", "Content-Length", "0"];
  return {
    head: { status: 403, reason: "", headers },
    body: { lengthBytes: 0, read: async () => null, cancel: () => {} },
  };
}

function counter(all: Map<string, { bytes: number; reads: number }>, name: string): { bytes: number; reads: number } {
  const found = all.get(name) ?? { bytes: 0, reads: 0 };
  all.set(name, found);
  return found;
}

/** `CONTAINER/BLOB` of a target in path style. */
function nameOf(target: string): string {
  const path = target.split("?")[0] ?? "";
  return decodeURIComponent(path.slice(SIM_ACCOUNT.length + 2));
}

interface Seen {
  readonly etag: string | null;
  readonly bytes: Uint8Array;
  readonly headers: readonly string[];
}

/** What the service would say about a blob at this moment. */
function look(service: SimService, name: string, nowMs: number): Seen {
  const headers = ["Authorization", `Bearer ${OBSERVER}`, "x-ms-version", "2025-01-05"];
  const request: SimRequest = { method: "GET", target: `/${SIM_ACCOUNT}/${name}`, headers, body: new Uint8Array(0) };
  const response: SimResponse = service.handle(request, { nowMs, remoteAddress: "127.0.0.1", secure: true });
  const { status, body } = response;
  if (status !== 200 || body === null) {
    assert(status === 404, `the observer sees every blob (${status})`);
    return { etag: null, bytes: new Uint8Array(0), headers: [] };
  }
  const bytes = body.read(0, body.sizeBytes).slice();
  return { etag: headerOf(response.headers, "etag") ?? "", bytes, headers: response.headers };
}

const PASSING: ReadonlySet<string> = new Set(["date", "x-ms-request-id"]);

function told(headers: readonly string[]): string {
  return headers.filter((_, i) => !PASSING.has((headers[i & ~1] ?? "").toLowerCase())).join("\n");
}

function note(states: LakeState[], seen: Seen, nowMs: number, by: LakeState["by"]): void {
  const last = states.at(-1);
  if (last !== undefined && last.etag === seen.etag && told(last.headers) === told(seen.headers)) return;
  if (last !== undefined) last.untilMs = nowMs;
  states.push({ seq: states.length, fromMs: nowMs, untilMs: Number.POSITIVE_INFINITY, by, ...seen });
}
