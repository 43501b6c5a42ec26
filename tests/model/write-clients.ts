/** Clients of a history of writes: what they ask, and what they note down of the answers. */
import type { Manners, Received } from "../../sim/exchange.ts";
import { SIM_ACCOUNT, SIM_KEY } from "../../sim/lake/service.ts";
import { childText, parseXml, type XmlNode } from "../../sim/lake/xml.ts";
import type { World } from "../../sim/world.ts";
import { compilePolicies, resolvePolicy } from "../../src/engine/policy.ts";
import { headerOf } from "../../src/http/types.ts";
import { sharedKey } from "../support/sign.ts";
import { bytesOf } from "./running.ts";
import type { Change, FlushDone, Listed, Look, Walk, WriteCondition } from "./write-evidence.ts";
import { type Who, WRITE_RULES, type WriteStep } from "./write-steps.ts";

export const WRITER_TOKEN = "token-of-a-writer";
const API_VERSION = "2025-01-05";
const WALK_PAGES_MAX = 60;

/** A history under way. */
export interface Writing {
  readonly world: World;
  readonly changes: Change[];
  readonly looks: Look[];
  readonly walks: Walk[];
  readonly flushes: FlushDone[];
  readonly pending: Set<Promise<unknown>>;
  /** The last ETag that somebody was told, by blob. */
  readonly etags: Map<string, string>;
  nextId: number;
  calm: boolean;
  step: number;
}

type Step<D extends WriteStep["do"]> = Extract<WriteStep, { do: D }>;

const TABLE = compilePolicies(WRITE_RULES);

/** The loosest staleness that a read of a blob may show. */
export function boundOf(name: string): number {
  const { maxStaleMs } = policyOf(name);
  return maxStaleMs === "immutable" ? Number.POSITIVE_INFINITY : maxStaleMs;
}

export function policyOf(name: string): ReturnType<typeof resolvePolicy> {
  const slash = name.indexOf("/");
  return resolvePolicy(TABLE, SIM_ACCOUNT, name.slice(0, slash), name.slice(slash + 1));
}

export function contentTypeOf(id: number): string {
  return `kind/${((id % 5) + 5) % 5}`;
}

interface Sending {
  readonly method: string;
  /** Decoded. */
  readonly name: string;
  readonly query?: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: Uint8Array;
  readonly who: Who;
  readonly manners?: Manners;
}

/** Sends a request to a server that runs, counted from `server`; null when none does. */
export function send(writing: Writing, server: number, sending: Sending): Promise<Received> | null {
  const { world } = writing;
  const { servers } = world;
  const number = servers.findIndex((_, i) => servers[(server + i) % servers.length] !== undefined);
  if (number < 0) return null;
  const { method, name, query, body, who } = sending;
  const path = name.split("/").map(encodeURIComponent).join("/");
  const target = `/${SIM_ACCOUNT}/${path}${query === undefined ? "" : `?${query}`}`;
  const headers: [string, string][] = [
    ["x-ms-version", API_VERSION],
    ["x-ms-date", new Date(world.clock.wallMs()).toUTCString()],
    ...(sending.headers ?? []).map(([header, value]): [string, string] => [header, value]),
  ];
  const contentLength = body?.length;
  headers.push([
    "Authorization",
    who === "key"
      ? sharedKey(SIM_ACCOUNT, SIM_KEY, { method, target, headers, contentLength })
      : `Bearer ${WRITER_TOKEN}`,
  ]);
  if (body !== undefined) headers.push(["Content-Length", String(body.length)]);
  const request = { method, target, headers: headers.flat(), body: body ?? null, manners: sending.manners ?? {} };
  const received = world.send((server + number) % servers.length, request).received;
  writing.pending.add(received);
  void received.finally(() => writing.pending.delete(received));
  return received;
}

/** Starts work that a history waits for in the end. */
export function begin(writing: Writing, work: Promise<unknown>): void {
  writing.pending.add(work);
  void work.finally(() => writing.pending.delete(work));
}

function manners(step: { readonly slow?: boolean; readonly leaveAfterMs?: number | null }): Manners {
  return {
    ...(step.slow === true ? { pauseMs: 5, pieceBytes: 3_000 } : {}),
    ...(step.leaveAfterMs == null ? {} : { leaveAfterMs: step.leaveAfterMs }),
  };
}

function conditionOf(writing: Writing, name: string, wish: "create" | "match" | "other" | null): WriteCondition | null {
  if (wish === null) return null;
  if (wish === "create") return { kind: "create" };
  return { kind: "match", etag: wish === "other" ? '"0x8DNONE"' : (writing.etags.get(name) ?? '"0x8DNONE"') };
}

function conditionHeaders(condition: WriteCondition | null): [string, string][] {
  if (condition === null) return [];
  return [condition.kind === "create" ? ["If-None-Match", "*"] : ["If-Match", condition.etag]];
}

/** What a client makes of an answer to a change. */
function outcomeOf({ ending, status }: Received): Change["outcome"] {
  if (ending === "left" || status === 0) return "unknown";
  if (status >= 200 && status < 300) return "acknowledged";
  return status >= 500 || status === 429 || status === 408 ? "unknown" : "refused";
}

interface Asked {
  readonly id: number;
  readonly name: string;
  readonly kind: Change["kind"];
  readonly what: string;
  readonly bytes: Uint8Array;
  readonly condition: WriteCondition | null;
  readonly flush: boolean;
  readonly blocksSinceMs: number | null;
  readonly calm: boolean;
}

function note(writing: Writing, asked: Asked, received: Received): void {
  const etag = headerOf(received.headers, "etag") ?? null;
  const durability = headerOf(received.headers, "x-forebay-durability");
  const outcome = outcomeOf(received);
  const { back } = backOf(asked.name);
  const { status, startedAtMs, headAtMs, endedAtMs, ending } = received;
  if (outcome === "acknowledged" && etag !== null) writing.etags.set(asked.name, etag);
  writing.changes.push({
    ...asked,
    what: `${asked.what} from ${startedAtMs.toFixed(1)} to ${headAtMs.toFixed(1)}: ${status} ${durability ?? ""}`,
    by: "client",
    contentType: contentTypeOf(asked.id),
    startedAtMs,
    endedAtMs: outcome === "unknown" ? endedAtMs : headAtMs,
    outcome,
    // Without a word of it the lake acknowledged, but for back paths, where the word is demanded.
    durability: durability === "flash" || durability === "lake" ? durability : back ? null : "lake",
    status,
    etag: outcome === "acknowledged" ? etag : null,
    calm: asked.calm && ending !== "left",
  });
}

export function backOf(name: string): { readonly path: string; readonly back: boolean; readonly ordered: boolean } {
  const policy = policyOf(name);
  const path = WRITE_RULES.find((rule) => rule === policy)?.path ?? "";
  return { path, back: policy.write === "back", ordered: policy.whenParked === "hold" };
}

export async function put(writing: Writing, step: Step<"put">): Promise<void> {
  const { name, server, flush } = step;
  const id = writing.nextId++;
  const bytes = bytesOf(id, step.size);
  const condition = conditionOf(writing, name, step.condition);
  const what = `#${id} put ${name} of ${step.size} by ${step.who} (step ${writing.step})`;
  const { calm } = writing;
  const received = await send(writing, server, {
    method: "PUT",
    name,
    headers: [
      ["x-ms-blob-type", "BlockBlob"],
      ["Content-Type", contentTypeOf(id)],
      ["x-ms-meta-w", String(id)],
      ...(flush ? [["x-forebay-flush", "true"] as const] : []),
      ...conditionHeaders(condition),
    ],
    body: bytes,
    who: step.who,
    manners: manners(step),
  });
  if (received === null) return;
  note(writing, { id, name, kind: "put", what, bytes, condition, flush, blocksSinceMs: null, calm }, received);
}

export async function blocks(writing: Writing, step: Step<"blocks">): Promise<void> {
  const { name, server, sizes } = step;
  const id = writing.nextId++;
  const { clock } = writing.world;
  const bytes = bytesOf(
    id,
    sizes.reduce((sum, size) => sum + size, 0),
  );
  const ids: string[] = [];
  let at = 0;
  let sinceMs: number | null = null;
  const { step: number } = writing;
  for (const [index, size] of sizes.entries()) {
    const blockId = Buffer.from(`${id}-${index}`.padEnd(12, "x")).toString("base64");
    ids.push(blockId);
    const query = `comp=block&blockid=${encodeURIComponent(blockId)}`;
    const body = bytes.slice(at, at + size);
    at += size;
    const staged = await send(writing, server + index, { method: "PUT", name, query, body, who: "key" });
    if (staged === null || staged.status !== 201 || staged.ending === "left") return;
    sinceMs ??= staged.startedAtMs;
    if (step.pauseMs > 0) await clock.sleep(step.pauseMs / sizes.length);
  }
  const condition = conditionOf(writing, name, step.condition);
  const what = `#${id} ${ids.length} blocks of ${name}, ${bytes.length} bytes (step ${number})`;
  const list = ids.map((one) => `<Latest>${one}</Latest>`).join("");
  const body = new Uint8Array(Buffer.from(`<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`));
  const { calm } = writing;
  const received = await send(writing, server, {
    method: "PUT",
    name,
    query: "comp=blocklist",
    headers: [
      ["x-ms-blob-content-type", contentTypeOf(id)],
      ["x-ms-meta-w", String(id)],
      ...conditionHeaders(condition),
    ],
    body,
    who: "key",
  });
  if (received === null) return;
  note(
    writing,
    { id, name, kind: "put", what, bytes, condition, flush: false, blocksSinceMs: sinceMs, calm },
    received,
  );
}

export async function remove(writing: Writing, step: Step<"delete">): Promise<void> {
  const { name, server, who } = step;
  const id = writing.nextId++;
  const condition = conditionOf(writing, name, step.condition);
  const what = `#${id} delete ${name} by ${who} (step ${writing.step})`;
  const { calm } = writing;
  const received = await send(writing, server, { method: "DELETE", name, headers: conditionHeaders(condition), who });
  if (received === null) return;
  const nothing = { bytes: new Uint8Array(0), flush: false, blocksSinceMs: null };
  note(writing, { id, name, kind: "delete", what, condition, calm, ...nothing }, received);
}

export async function read(writing: Writing, step: Step<"read">): Promise<void> {
  const { name, server, method, range, who } = step;
  const known = writing.etags.get(name) ?? '"0x8DNONE"';
  const condition: Look["condition"] =
    step.condition === null
      ? null
      : { name: step.condition === "if-match" ? "If-Match" : "If-None-Match", etag: known };
  const what = `${who} ${method} ${name} ${JSON.stringify(range)} ${JSON.stringify(condition)} (step ${writing.step})`;
  const { calm } = writing;
  const received = await send(writing, server, {
    method,
    name,
    headers: [
      ...(range === null ? [] : [["Range", `bytes=${range.first}-${range.last ?? ""}`] as const]),
      ...(condition === null ? [] : [[condition.name, condition.etag] as const]),
    ],
    who,
    manners: manners(step),
  });
  if (received === null) return;
  const { startedAtMs, headAtMs, status, ending } = received;
  const etag = headerOf(received.headers, "etag");
  if (status === 200 && etag !== undefined) writing.etags.set(name, etag);
  const temper = headerOf(received.headers, "x-forebay") ?? "";
  writing.looks.push({
    what: `${what} from ${startedAtMs.toFixed(1)} to ${headAtMs.toFixed(1)}: ${status} ${temper}`,
    name,
    method,
    range,
    condition,
    received,
    boundMs: boundOf(name),
    calm: calm && ending !== "left",
  });
}

export async function walk(writing: Writing, step: Step<"list">): Promise<void> {
  const { container, prefix, delimiter, pageMax, server } = step;
  const { clock } = writing.world;
  const { calm } = writing;
  const what = `list ${container} "${prefix}" "${delimiter}" by ${pageMax} (step ${writing.step})`;
  const startedAtMs = clock.monotonicMs();
  const pages: Listed[][] = [];
  let marker = "";
  let failure: string | null = null;
  let whole = false;
  while (!whole && failure === null && pages.length < WALK_PAGES_MAX) {
    const query = [
      "restype=container&comp=list",
      `maxresults=${pageMax}`,
      ...(prefix === "" ? [] : [`prefix=${encodeURIComponent(prefix)}`]),
      ...(delimiter === "" ? [] : [`delimiter=${encodeURIComponent(delimiter)}`]),
      ...(marker === "" ? [] : [`marker=${encodeURIComponent(marker)}`]),
    ].join("&");
    const received = await send(writing, server + pages.length, { method: "GET", name: container, query, who: "key" });
    if (received === null || received.status !== 200 || received.ending !== "complete") {
      failure = received === null ? "no server" : `${received.status} ${received.ending} ${String(received.cause)}`;
      break;
    }
    const root = parseXml(received.bytes);
    pages.push(entriesOf(root));
    marker = childText(root, "NextMarker");
    whole = marker === "";
    if (!whole && step.pauseMs > 0) await clock.sleep(step.pauseMs);
  }
  if (!whole && failure === null) failure = "a list without an end";
  const endedAtMs = clock.monotonicMs();
  writing.walks.push({
    ...{ container, prefix, delimiter, pageMax, startedAtMs, endedAtMs, pages, whole, failure, calm },
    what: `${what} from ${startedAtMs.toFixed(1)} to ${endedAtMs.toFixed(1)}`,
  });
}

function entriesOf(root: XmlNode): Listed[] {
  const list = root.children.find(({ name }) => name === "Blobs")?.children ?? [];
  return list.map((node) => {
    const etag = childText(node, "Properties", "Etag");
    return {
      name: childText(node, "Name"),
      isPrefix: node.name === "BlobPrefix",
      sizeBytes: Number(childText(node, "Properties", "Content-Length")),
      etag: etag.startsWith('"') ? etag : `"${etag}"`,
    };
  });
}

export async function flush(writing: Writing, container: string | null): Promise<void> {
  const { world } = writing;
  const startedAtMs = world.clock.monotonicMs();
  const writes = world.writes();
  if (writes === null) return;
  const scope = { account: SIM_ACCOUNT, container, blob: null };
  const done = await writes.desk.flush(scope, 30_000).then(
    () => true,
    () => false,
  );
  // One that did not get there promised nothing; one of a keeper that died never ends.
  if (done) writing.flushes.push({ container, startedAtMs, endedAtMs: world.clock.monotonicMs() });
}
