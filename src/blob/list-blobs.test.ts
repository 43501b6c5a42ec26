/** Lists through the front: merged over a simulated lake and over Azurite, passed on, or carried to the lake first. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";
import { createSimClock, type SimClock } from "../../sim/clock.ts";
import { type Received, startExchange } from "../../sim/exchange.ts";
import { simLake } from "../../sim/lake/client.ts";
import { createSimService, SIM_ACCOUNT, SIM_KEY, type SimService } from "../../sim/lake/service.ts";
import { type Azurite, MAIN_ACCOUNT, startAzurite } from "../../tests/support/azurite.ts";
import { ForebayError } from "../base/errors.ts";
import { compareNames } from "../base/name-order.ts";
import { seededRandom } from "../base/random.ts";
import type { EngineContext } from "../engine/context.ts";
import { createGenerations, SHARED_BYTES, slotsOf } from "../engine/generations.ts";
import { compilePolicies, defaultPolicy, type PolicyRule } from "../engine/policy.ts";
import { createReader } from "../engine/read.ts";
import { createStats } from "../engine/stats.ts";
import { createTrust } from "../engine/trust.ts";
import { startHttpServer } from "../http/server.ts";
import { type Handler, headerOf } from "../http/types.ts";
import { type Clock, realClock } from "../io/clock.ts";
import type { Entry } from "../journal/types.ts";
import { parseLakeAddress } from "../lake/address.ts";
import { connectLake } from "../lake/connect.ts";
import { sharedKeyAuthorization } from "../lake/sign.ts";
import type { LakeForward, LakeOwnRequest, OwnLake } from "../lake/types.ts";
import type { WriteDesk } from "../writeback/types.ts";
import { createRequestIds } from "./errors.ts";
import type { Front } from "./front.ts";
import { readListPage } from "./list-page.ts";
import { createServiceSas } from "./sas-text.ts";
import { createBlobHandler } from "./server.ts";

const BACK: PolicyRule = { ...defaultPolicy, write: "back", path: "c00/", account: null, container: "c00", prefix: "" };
const MODIFIED_MS = Date.UTC(2026, 10, 24);

const unused = (): never => {
  throw new Error("not for this test");
};

interface Scene {
  readonly handler: Handler;
  /** What happened, in order. */
  readonly events: string[];
  readonly pending: Map<string, Entry>;
  readonly stats: EngineContext["stats"];
  put(blob: string, headers?: readonly string[]): void;
  remove(blob: string): void;
  /** Forgets what is pending for a blob, or for all. */
  settle(blob?: string): void;
  /** Something is owed in a container of another name that has the same slot, as far as counters tell. */
  owe(): void;
  list(query?: string, headers?: readonly string[]): Promise<Listed>;
}

interface Listed extends Received {
  readonly names: readonly string[];
  readonly next: string;
  readonly text: string;
  readonly mode: string;
}

interface SceneParts {
  readonly lake: OwnLake;
  readonly account: string;
  readonly key: string;
  readonly clock: Clock;
  /** Waits for something in the time of the scene. */
  readonly settled: <T>(work: Promise<T>) => Promise<T>;
  /** Carries everything pending to the lake. */
  readonly carry: (pending: ReadonlyMap<string, Entry>) => void;
}

function scene(parts: SceneParts): Scene {
  const { account, clock } = parts;
  const generations = createGenerations(new ArrayBuffer(SHARED_BYTES), "epoch");
  generations.owed.recovered([]);
  const events: string[] = [];
  const pending = new Map<string, Entry>();
  const stats = createStats();
  const set = (entry: Entry): void => {
    const { blob } = entry.name;
    if (!pending.has(blob)) generations.owed.add(slotsOf(`${account}/c00/${blob}`), 1);
    pending.set(blob, entry);
  };
  const settle = (blob?: string): void => {
    for (const name of blob === undefined ? [...pending.keys()] : [blob]) {
      if (pending.delete(name)) generations.owed.add(slotsOf(`${account}/c00/${name}`), -1);
    }
  };
  const common = (blob: string) =>
    ({
      seq: 1,
      term: 1,
      path: "c00/",
      name: { account, container: "c00", blob },
      base: { kind: "none" },
      acknowledgedAtMs: 0,
      state: { name: "acknowledged" },
    }) as const;
  const details = { sizeBytes: 3, lastModifiedMs: MODIFIED_MS, contentMd5: null, contentCrc64: null };
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
    desk: deskOf(parts, events, pending, settle),
    generations,
    era: () => "era",
    trust: createTrust(() => {}, clock),
    stats,
    log: () => {},
  };
  const front: Front = {
    engine,
    reader: createReader(engine),
    lakes: () => new Map([[account, watched(parts.lake, events)]]),
    accounts: () => new Set([account]),
    policies: () => compilePolicies([BACK]),
    own: () => ({ authorities: new Set(["forebay.invalid"]), lakes: new Map() }),
    storedPolicies: () => "unknown",
    forgetAccess: () => {},
    newRequestId: createRequestIds(seededRandom(1)),
    credentialSalt: new Uint8Array(32),
    accessLog: null,
  };
  const handler = createBlobHandler(front);
  return {
    handler,
    events,
    pending,
    stats,
    put: (blob, headers = []) => {
      const put = { ...details, etag: '"0x0F00000000000A1"', headers };
      set({ ...common(blob), kind: "put", put, content: { kind: "spans", spans: [] } });
    },
    remove: (blob) => set({ ...common(blob), kind: "delete" }),
    settle,
    owe: () => generations.owed.add(slotsOf(`${account}/c00/other`), 1),
    list: async (query = "", more = []) => {
      events.length = 0;
      const date = new Date(clock.wallMs()).toUTCString();
      const headers = ["Host", "forebay.invalid", "x-ms-version", "2025-01-05", "x-ms-date", date, ...more];
      const target = `/${account}/c00?restype=container&comp=list${query}`;
      if (!query.includes("sig=") && headerOf(headers, "authorization") === undefined) {
        const signed = { method: "GET", path: `/${account}/c00`, query: target.slice(target.indexOf("?")), account };
        const key = Buffer.from(parts.key, "base64");
        headers.push("Authorization", sharedKeyAuthorization(key, { ...signed, headers }));
      }
      const given = headers.filter((_, i) => headers[(i & ~1) + 1] !== "none");
      const head = { method: "GET", target, minorVersion: 1, headers: given };
      const call = startExchange({ handler, clock, head, body: null, readFile: unused });
      return listed(await parts.settled(call.received));
    },
  };
}

function deskOf({ carry }: SceneParts, events: string[], pending: Map<string, Entry>, settle: () => void): WriteDesk {
  const carried = (): void => {
    carry(pending);
    settle();
  };
  return {
    reserve: unused,
    giveBack: unused,
    stage: unused,
    write: unused,
    latest: unused,
    inline: unused,
    alias: unused,
    blocks: unused,
    adopt: unused,
    warmBegin: unused,
    warmEnd: unused,
    names: async (account, container, from, limit) => {
      events.push("names");
      const found = [...pending.values()].filter(
        ({ name }) => name.account === account && name.container === container,
      );
      const later = found.filter(({ name }) => compareNames(name.blob, from) >= 0);
      return later.sort((a, b) => compareNames(a.name.blob, b.name.blob)).slice(0, limit);
    },
    flush: async () => {
      events.push("flush");
      carried();
    },
    fence: async () => {
      events.push("fence");
      carried();
      return 7;
    },
    unfence: async () => {
      events.push("unfence");
    },
  };
}

function watched(lake: OwnLake, events: string[]): OwnLake {
  return {
    ...lake,
    own: (request: LakeOwnRequest) => {
      const asked = (request.query ?? []).filter(
        ([name]) => name !== "restype" && name !== "comp" && name !== "prefix",
      );
      events.push(["own", ...asked.map(([name, value]) => `${name}=${name === "marker" ? "…" : value}`)].join(" "));
      return lake.own(request);
    },
    forward: (request: LakeForward) => {
      events.push("forward");
      return lake.forward(request);
    },
  };
}

function listed(received: Received): Listed {
  const text = new TextDecoder().decode(received.bytes);
  const page = received.status === 200 ? readListPage(received.bytes) : null;
  const names = page?.elements.map(({ key }) => key) ?? [];
  return { ...received, names, next: page?.next ?? "", text, mode: headerOf(received.headers, "x-forebay") ?? "" };
}

function simScene(): { readonly it: Scene; readonly service: SimService; readonly clock: SimClock } {
  const service = createSimService({ style: "path" });
  const clock = createSimClock();
  service.addContainer("c00");
  const carry = (pending: ReadonlyMap<string, Entry>): void => {
    for (const [blob, entry] of pending) {
      if (entry.kind === "put") service.putBlob("c00", blob, Buffer.from("new"));
      else if (service.peek("c00", blob) !== null) service.deleteBlob("c00", blob);
    }
  };
  const lake = simLake({ service, clock });
  const settled = <T>(work: Promise<T>): Promise<T> => clock.settle(work);
  return { it: scene({ lake, account: SIM_ACCOUNT, key: SIM_KEY, clock, settled, carry }), service, clock };
}

function lakeOf(service: SimService, ...blobs: readonly string[]): void {
  for (const blob of blobs) service.putBlob("c00", blob, Buffer.from("old"));
}

function sas(permissions: string, nowMs: number): string {
  const key = Buffer.from(SIM_KEY, "base64");
  const grant = { permissions, expiresAtMs: nowMs + 3_600_000 };
  return `&${createServiceSas(SIM_ACCOUNT, key, { container: "c00" }, grant)}`;
}

/** All pages of a list. */
async function all(it: Scene, query: string, between: () => void = () => {}): Promise<string[]> {
  const names: string[] = [];
  let marker = "";
  for (let n = 0; n < 100; n++) {
    const page = await it.list(marker === "" ? query : `${query}&marker=${encodeURIComponent(marker)}`);
    expect(page.status, page.text).toBe(200);
    names.push(...page.names);
    if (page.next === "") return names;
    marker = page.next;
    between();
  }
  throw new Error("the list does not end");
}

describe("over a simulated lake", () => {
  test("nothing owed: the lake's answer, byte by byte, and nobody is asked", async () => {
    const { it, service } = simScene();
    lakeOf(service, "a", "b/c");
    const page = await it.list("&delimiter=/&maxresults=1");
    expect([page.mode, page.names, it.events]).toEqual(["forward", ["a"], ["forward"]]);
    expect(page.text).toContain("<MaxResults>1</MaxResults><Delimiter>/</Delimiter><Blobs><Blob><Name>a</Name>");
    expect((await it.list(`&delimiter=/&marker=${page.next}`)).names).toEqual(["b/"]);
  });

  test("owed elsewhere: passed on without anything being carried", async () => {
    const { it, service } = simScene();
    lakeOf(service, "a", "data/1");
    it.put("checkpoints/1");
    const page = await it.list("&prefix=data/");
    expect([page.mode, page.names, it.events]).toEqual(["forward", ["data/1"], ["names", "forward"]]);
    expect(it.pending.size).toBe(1);
  });

  test("pending puts are in the list, pending deletions are not", async () => {
    const { it, service } = simScene();
    lakeOf(service, "a", "b", "c", "e");
    it.put("b", ["x-ms-blob-content-type", "text/plain", "x-ms-meta-k", "v"]);
    it.put("d");
    it.remove("c");
    it.remove("x");
    const page = await it.list("&include=metadata");
    expect([page.status, page.mode, page.names, page.next]).toEqual([200, "dirty", ["a", "b", "d", "e"], ""]);
    expect(it.events).toEqual(["names", "names", "names", "own include=metadata maxresults=4998"]);
    expect(page.text).toContain("<Content-Type>text/plain</Content-Type>");
    expect(page.text).toContain("<Metadata><k>v</k></Metadata>");
    expect(page.text.match(/<Etag>0x0F00000000000A1<\/Etag><Content-Length>3</g)).toHaveLength(2);
    expect(page.text).not.toContain("MaxResults");
    expect(headerOf(page.headers, "content-type")).toBe("application/xml");
    expect(page.announcedBytes).toBe(page.bytes.length);
    expect(it.pending.size).toBe(4);
    expect(it.stats.dirty).toBe(1);
  });

  test("prefixes appear with what is pending below them, and vanish with the last blob", async () => {
    const { it, service } = simScene();
    lakeOf(service, "full/1", "gone/1", "gone/2", "half/1", "half/2", "gone.txt");
    it.put("new/1/2");
    it.put("full/2");
    for (const blob of ["gone/1", "gone/2", "half/1"]) it.remove(blob);
    const page = await it.list("&delimiter=/");
    expect(page.names).toEqual(["full/", "gone.txt", "half/", "new/"]);
    expect(page.text).toContain("</Blob><BlobPrefix><Name>half/</Name></BlobPrefix><BlobPrefix><Name>new/</Name>");
    expect((await it.list("&delimiter=/&prefix=new/")).names).toEqual(["new/1/"]);
    expect((await it.list("&delimiter=/&prefix=gone/")).names).toEqual([]);
  });

  test("page by page, while everything drains", async () => {
    for (const size of [1, 2, 3, 7]) {
      for (const after of [0, 1, 2, 3, 9]) {
        const { it, service } = simScene();
        lakeOf(service, "a1", "a3", "a5", "b/1", "b/3", "c2", "c4", "\u{1f600}");
        for (const blob of ["a0", "a2", "b/2", "c1", "c3", "c5", "d/1", "d/2", "\uffee"]) it.put(blob);
        it.remove("a3");
        let pages = 0;
        const between = (): void => {
          if (pages++ !== after) return;
          for (const [blob, entry] of it.pending) {
            if (entry.kind === "put") lakeOf(service, blob);
            else service.deleteBlob("c00", blob);
          }
          it.settle();
        };
        const flat = ["a0", "a1", "a2", "a5", "b/1", "b/2", "b/3", "c1", "c2", "c3", "c4", "c5", "d/1", "d/2"];
        expect(await all(it, `&maxresults=${size}`, between)).toEqual([...flat, "\uffee", "\u{1f600}"]);
      }
    }
  });

  test("the client's own words come back, and the lake's marker when all is in the lake", async () => {
    const { it, service } = simScene();
    lakeOf(service, "a", "b", "c", "d");
    it.put("aa");
    const first = await it.list("&maxresults=2");
    expect(first.names).toEqual(["a", "aa"]);
    expect(first.text).toContain("<MaxResults>2</MaxResults>");
    lakeOf(service, "aa");
    it.settle();
    const second = await it.list(`&maxresults=2&marker=${encodeURIComponent(first.next)}`);
    expect([second.names, second.mode]).toEqual([["b", "c"], "dirty"]);
    expect(second.text).toContain(`<Marker>${first.next}</Marker><MaxResults>2</MaxResults>`);
    const third = await it.list(`&maxresults=2&marker=${second.next}`);
    expect([third.names, third.mode, third.next]).toEqual([["d"], "forward", ""]);
  });

  test("a list that began before anything was pending", async () => {
    const { it, service } = simScene();
    lakeOf(service, "a", "b", "c", "d", "e");
    const first = await it.list("&maxresults=2");
    expect([first.names, first.mode]).toEqual([["a", "b"], "forward"]);
    it.put("a");
    it.put("d");
    it.put("f");
    it.remove("e");
    const rest = await it.list(`&marker=${first.next}`);
    expect(rest.names).toEqual(["c", "d", "f"]);
  });

  test("a caller with a SAS sees what the lake gives for it", async () => {
    const { it, service, clock } = simScene();
    service.putBlob("c00", "a", Buffer.from("x"), { headers: ["x-ms-tags", "k=v"] });
    it.put("b", ["x-ms-tags", "k=v"]);
    const page = await it.list(`${sas("l", clock.wallMs())}&maxresults=4`);
    expect([page.names, it.events]).toEqual([
      ["a", "b"],
      ["names", "names", "names", "forward"],
    ]);
    expect(page.text.slice(page.text.indexOf("<Name>b</Name>"))).not.toContain("TagCount");
    const refused = await it.list(`${sas("r", clock.wallMs())}&maxresults=4`);
    expect([refused.status, it.events]).toEqual([403, ["names", "forward"]]);
    expect(it.pending.size).toBe(1);
  });

  test("who cannot be judged here gets the lake's list, with everything carried there", async () => {
    const { it, service } = simScene();
    lakeOf(service, "a");
    service.setToken("good", { roles: ["reader"], expiresAtMs: Number.MAX_SAFE_INTEGER });
    it.put("b");
    for (const headers of [
      ["Authorization", "none"],
      ["Authorization", "Bearer bad"],
      ["Authorization", `SharedKey ${SIM_ACCOUNT}:${Buffer.alloc(32).toString("base64")}`],
    ]) {
      const page = await it.list("", headers);
      expect([page.status >= 400, it.events]).toEqual([true, ["names", "forward"]]);
    }
    expect(it.pending.size).toBe(1);
    const page = await it.list("", ["Authorization", "Bearer good"]);
    expect([page.status, page.names, page.mode]).toEqual([200, ["a", "b"], "forward"]);
    expect(it.events).toEqual(["names", "forward", "flush", "forward"]);
  });

  test("a list goes on for a caller that only the lake can judge by now", async () => {
    const { it, service } = simScene();
    lakeOf(service, "a", "c");
    service.setToken("good", { roles: ["reader"], expiresAtMs: Number.MAX_SAFE_INTEGER });
    it.put("b");
    it.put("d");
    const first = await it.list("&maxresults=2");
    expect(first.names).toEqual(["a", "b"]);
    const marker = encodeURIComponent(first.next);
    const rest = await it.list(`&marker=${marker}`, ["Authorization", "Bearer good"]);
    expect([rest.names, rest.next, it.pending.size]).toEqual([["c", "d"], "", 0]);
  });

  test("what only the lake knows is asked of the lake, after everything was carried there", async () => {
    const queries = [
      ["&include=snapshots", "flush"],
      ["&include=metadata,versions", "flush"],
      ["&showonly=deleted", "flush"],
      ["&startFrom=a", "flush"],
      ["&include=uncommittedblobs", "fence"],
    ] as const;
    for (const [query, how] of queries) {
      const { it, service } = simScene();
      lakeOf(service, "a");
      it.put("b");
      const page = await it.list(query);
      expect([page.mode, page.names.at(-1)], query).toEqual(["forward", "b"]);
      expect(it.events, query).toContain(how);
    }
    const { it } = simScene();
    it.put("b");
    // Unless nothing pending can be in it.
    expect([(await it.list("&include=snapshots&prefix=a")).mode, it.events]).toEqual(["forward", ["names", "forward"]]);
    for (const headers of [
      ["x-forebay-flush", "true"],
      ["x-forebay-bypass", "true"],
      ["Accept", "application/vnd.apache.arrow.stream"],
      ["Origin", "https://page.invalid"],
    ]) {
      it.put("b");
      expect((await it.list("", headers)).mode, headers[0]).toBe("forward");
      expect(it.events, headers[0]).toContain("flush");
    }
  });

  test("a marker of ours that is broken, or for another list, is refused", async () => {
    const { it, service } = simScene();
    lakeOf(service, "a", "c");
    it.put("b");
    const { next } = await it.list("&maxresults=1");
    expect(next).toStartWith("forebay1!");
    for (const query of ["&marker=forebay1!", "&marker=forebay1!AAAA", `&include=snapshots&marker=${next}`]) {
      const page = await it.list(query);
      expect([page.status, headerOf(page.headers, "x-ms-error-code")]).toEqual([400, "InvalidQueryParameterValue"]);
    }
  });

  test("errors of the lake are the client's; without a desk nothing is guessed", async () => {
    const { it } = simScene();
    it.put("b");
    const odd = await it.list("&maxresults=0");
    expect([odd.status, odd.mode]).toEqual([400, "forward"]);
    it.owe();
    it.put("b");
    it.pending.clear();
    const page = await it.list("");
    expect([page.names, it.events]).toEqual([["b"], ["names", "forward"]]);
    const broken = simScene();
    broken.it.put("b");
    broken.it.pending.values = () => {
      throw new ForebayError("closed", "nobody is there");
    };
    expect((await broken.it.list("")).status).toBe(503);
  });
});

describe("over Azurite", () => {
  let azurite: Azurite;
  let lake: OwnLake;
  let it: Scene;

  beforeAll(async () => {
    azurite = await startAzurite();
    const client = BlobServiceClient.fromConnectionString(azurite.connectionString());
    const container = client.getContainerClient("c00");
    await container.create();
    for (const name of ["a", "a b&<c>", "b/1", "b/2", "c/x/1", "d", "gone/1", "é"]) {
      await container.getBlockBlobClient(name).upload("old", 3, { metadata: { Blob: "x", name: "y" } });
    }
    lake = connectLake({ address: parseLakeAddress(azurite.connectionString()), clock: realClock, ca: undefined });
    const { name: account, key } = MAIN_ACCOUNT;
    const settled = <T>(work: Promise<T>): Promise<T> => work;
    it = scene({ lake, account, key, clock: realClock, settled, carry: unused });
  }, 60_000);

  afterAll(async () => {
    lake.close();
    await azurite.stop();
  });

  test("its pages are understood, and merged page by page", async () => {
    it.put("a0");
    it.put("b/3");
    it.put("b.txt");
    it.put("z/1");
    it.remove("gone/1");
    it.remove("d");
    const flat = ["a", "a b&<c>", "a0", "b.txt", "b/1", "b/2", "b/3", "c/x/1", "z/1", "é"];
    const folders = ["a", "a b&<c>", "a0", "b.txt", "b/", "c/", "z/", "é"];
    for (const size of ["", "&maxresults=1", "&maxresults=3"]) {
      expect(await all(it, `&include=metadata${size}`)).toEqual(flat);
      expect(await all(it, `&delimiter=/${size}`)).toEqual(folders);
    }
    expect(await all(it, "&prefix=b&delimiter=/")).toEqual(["b.txt", "b/"]);
    it.settle();
  });

  test("the real client reads merged pages", async () => {
    it.put("b/3", ["x-ms-meta-k", "v", "x-ms-blob-content-type", "text/plain"]);
    it.put("f/1");
    it.remove("a");
    const server = startHttpServer({ hostname: "127.0.0.1", port: 0, handler: it.handler });
    try {
      const credential = new StorageSharedKeyCredential(MAIN_ACCOUNT.name, MAIN_ACCOUNT.key);
      const service = new BlobServiceClient(`http://127.0.0.1:${server.port}/${MAIN_ACCOUNT.name}`, credential);
      const container = service.getContainerClient("c00");
      const names: string[] = [];
      for await (const page of container.listBlobsFlat({ includeMetadata: true }).byPage({ maxPageSize: 2 })) {
        for (const item of page.segment.blobItems) {
          names.push(item.name);
          if (item.name !== "b/3") continue;
          expect(item.metadata).toEqual({ k: "v" });
          expect([item.properties.contentLength, item.properties.contentType]).toEqual([3, "text/plain"]);
          expect([item.properties.etag, item.properties.lastModified.getTime()]).toEqual([
            "0x0F00000000000A1",
            MODIFIED_MS,
          ]);
          expect([item.properties.blobType, item.properties.leaseState]).toEqual(["BlockBlob", "available"]);
        }
      }
      expect(names).toEqual(["a b&<c>", "b/1", "b/2", "b/3", "c/x/1", "d", "f/1", "gone/1", "é"]);
      const found: string[] = [];
      for await (const item of container.listBlobsByHierarchy("/")) found.push(`${item.kind} ${item.name}`);
      expect(found.sort()).toEqual([
        "blob a b&<c>",
        "blob d",
        "blob é",
        ...["b/", "c/", "f/", "gone/"].map((n) => `prefix ${n}`),
      ]);
    } finally {
      await server.stop({ deadlineMs: 0 });
      it.settle();
    }
  });
});
