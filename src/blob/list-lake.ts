/**
 * Asking the lake for pages of a list. A caller with a SAS is answered what the lake gives for that SAS; for one who
 * signed with the account's key, whose signature covers the marker, Forebay asks with its own credential.
 */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { letGo } from "../engine/let-go.ts";
import { bump } from "../engine/stats.ts";
import { type ClientResponse, headerOf, type RawHeaders } from "../http/types.ts";
import type { Lake, OwnLake } from "../lake/types.ts";
import { type ListPage, readListPage } from "./list-page.ts";
import type { ListShape } from "./list-pending.ts";
import type { ListQuestion } from "./list-question.ts";
import type { LakeListPage } from "./list-walk.ts";
import { parseQuery, type Query } from "./query.ts";
import type { Placed } from "./respond.ts";
import { rewriteRequest } from "./rewrite.ts";
import type { ServiceError } from "./types.ts";

/** Sends a request for a list with these parameters of its own. */
export type AskList = (parameters: readonly (readonly [name: string, value: string])[]) => Promise<ClientResponse>;

/** A page of the lake with the head that it came with. */
export interface GivenPage extends LakeListPage {
  /** Null when it was not understood. */
  readonly page: ListPage | null;
  readonly headers: RawHeaders;
}

const isOwn = (lake: Lake): lake is OwnLake => "own" in lake && lake.hasOwnCredential;

/** Asks with Forebay's own credential; null where it has none. */
export function askAsForebay({ lake, exchange }: Placed, question: ListQuestion): AskList | null {
  if (!isOwn(lake)) return null;
  const { container, include, apiVersion, clientRequestId } = question;
  const headers = clientRequestId === undefined ? [] : ["x-ms-client-request-id", clientRequestId];
  const fixed: [string, string][] = [
    ["restype", "container"],
    ["comp", "list"],
  ];
  if (include !== "") fixed.push(["include", include]);
  return (parameters) =>
    lake.own({
      method: "GET",
      container,
      query: [...fixed, ...parameters],
      headers,
      apiVersion,
      signal: exchange.signal,
    });
}

/** What a page is asked with; a caller's own are left out. */
const OURS: ReadonlySet<string> = new Set(["prefix", "delimiter", "marker", "maxresults"]);

/** Asks with the caller's own credential, which must not cover the query: a SAS, a token, or none. */
export function askAsCaller(placed: Placed): AskList {
  const kept = placed.query.parameters.filter(({ name }) => !OURS.has(name));
  const fixed = kept.map(({ rawName, rawValue }) => (rawValue === null ? rawName : `${rawName}=${rawValue}`));
  const all = placed.exchange.head.headers;
  // What is read here is read as it is.
  const headers = all.filter((_, i) => (all[i & ~1] ?? "").toLowerCase() !== "accept-encoding");
  return async (parameters) => {
    const own = parameters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    const answered = await forwardList(placed, parseQuery(`?${[...fixed, ...own].join("&")}`), headers);
    if ("head" in answered) return answered;
    throw new ForebayError("internal", "a list was asked for with a signature that cannot be made");
  };
}

/** Asks what the caller asked, as it asked it; or the error to give where its signature cannot be passed on. */
export async function forwardList(
  placed: Placed,
  query: Query = placed.query,
  headers: RawHeaders = placed.exchange.head.headers,
): Promise<ClientResponse | ServiceError> {
  const { front, exchange, lake, target } = placed;
  const { method } = exchange.head;
  const passed = rewriteRequest({
    method,
    target: { ...target, query: query.raw },
    query,
    headers,
    lakeStyle: lake.style,
    keys: lake.keys,
    own: front.own(),
    nowMs: front.engine.clock.wallMs(),
    bodyLengthBytes: undefined,
  });
  if (passed.kind === "refuse") return passed.error;
  const { path, query: raw, headers: sent } = passed;
  return lake.forward({ method, path, query: raw, headers: sent, body: null, signal: exchange.signal });
}

/** Bytes of pages that a process holds. */
export interface HeldPages {
  now: number;
}

/** Pages of the lake for one request, held until they are let go of. */
export interface LakeList {
  /** Rejects with `lake-refused` when the lake answers with something else than a list. */
  page(marker: string | null, size: number): Promise<GivenPage>;
  survives(prefix: string, gone: readonly string[]): Promise<boolean>;
  /** What the lake answered instead of a list. */
  readonly refusal: () => ClientResponse | null;
  /** The first page that was had. */
  readonly first: () => GivenPage | null;
  /** Idempotent. */
  release(): void;
}

/** What a page is asked with. */
export function pageParameters(
  { maxResults }: ListQuestion,
  { prefix, delimiter }: ListShape,
  marker: string | null,
  size: number,
): [string, string][] {
  const parameters: [string, string][] = [];
  if (prefix !== "") parameters.push(["prefix", prefix]);
  if (delimiter !== "") parameters.push(["delimiter", delimiter]);
  // What is not said is the lake's greatest size.
  if (size < limits.listPageMax || maxResults !== undefined) parameters.push(["maxresults", String(size)]);
  if (marker !== null) parameters.push(["marker", marker]);
  return parameters;
}

export function createLakeList(placed: Placed, question: ListQuestion, ask: AskList, held: HeldPages): LakeList {
  const { stats } = placed.front.engine;
  let mine = 0;
  let refusal: ClientResponse | null = null;
  let first: GivenPage | null = null;
  const take = (bytes: number): void => {
    if (held.now + bytes > limits.listHeldBytesMax) throw new ForebayError("overloaded", "too many lists are held");
    held.now += bytes;
    mine += bytes;
  };
  const send = async (shape: ListShape, marker: string | null, size: number): Promise<ClientResponse> => {
    const response = await ask(pageParameters(question, shape, marker, size));
    bump(stats.lakeRequests, `list.${response.head.status}`);
    return response;
  };
  const read = async (response: ClientResponse): Promise<GivenPage> => {
    const { headers } = response.head;
    const bytes = await readBody(response, take);
    const page = bytes === null || headerOf(headers, "content-encoding") !== undefined ? null : readListPage(bytes);
    const { elements, next, ordered } = page ?? { elements: [], next: null, ordered: false };
    return { page, headers, elements, next, ordered };
  };
  return {
    page: async (marker, size) => {
      const response = await send(question, marker, size);
      if (response.head.status !== 200) {
        refusal = response;
        throw new ForebayError("lake-refused", `the lake answered a list with ${response.head.status}`);
      }
      const given = await read(response);
      first ??= given;
      return given;
    },
    survives: async (prefix, gone) => {
      const names = new Set(gone);
      const size = Math.min(limits.listPageMax, gone.length + 1);
      let marker: string | null = null;
      for (let n = 0; n < limits.listHollowPagesMax; n++) {
        const response: ClientResponse = await send({ prefix, delimiter: "" }, marker, size);
        if (response.head.status !== 200) {
          letGo(response.body);
          return true;
        }
        const given: GivenPage = await read(response);
        if (given.page === null || given.elements.some(({ key }) => !names.has(key))) return true;
        if (given.next === null) return false;
        marker = given.next;
      }
      return true;
    },
    refusal: () => refusal,
    first: () => first,
    release: () => {
      held.now -= mine;
      mine = 0;
    },
  };
}

/** The body of a page, or null when it is too large to be held. */
async function readBody({ body }: ClientResponse, take: (bytes: number) => void): Promise<Uint8Array | null> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  try {
    for (let piece = await body.read(); piece !== null; piece = await body.read()) {
      size += piece.length;
      if (size > limits.listPageBytesMax) {
        body.cancel();
        return null;
      }
      take(piece.length);
      pieces.push(piece);
    }
  } catch (error) {
    body.cancel();
    throw error;
  }
  return Buffer.concat(pieces);
}
