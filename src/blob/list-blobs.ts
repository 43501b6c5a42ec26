/**
 * List Blobs where the lake does not have everything yet: what is pending stands in the list as if the lake had it.
 * `list-walk.ts` says what is promised and why it holds. A list that is not understood, or whose caller cannot be judged
 * here, gets the lake's own answer, after what is pending was carried there.
 */
import { ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { askDesk, owedIsKnown } from "../engine/desk.ts";
import { slotsOf } from "../engine/generations.ts";
import { letGo } from "../engine/let-go.ts";
import { mayBeBack, resolvePolicy } from "../engine/policy.ts";
import { bump, observeLatency } from "../engine/stats.ts";
import { bytesSource, type ClientResponse, headerOf, type RawHeaders } from "../http/types.ts";
import { asksForFlush, flushScope } from "./fences.ts";
import { forwardRequest } from "./forward.ts";
import { blobElement, isListable, prefixElement } from "./list-element.ts";
import {
  type AskList,
  askAsCaller,
  askAsForebay,
  createLakeList,
  forwardList,
  type HeldPages,
  pageParameters,
} from "./list-lake.ts";
import { readMarker, writeMarker } from "./list-marker.ts";
import type { ListItem } from "./list-merge.ts";
import { type ListPage, writeListPage } from "./list-page.ts";
import type { PendingNames } from "./list-pending.ts";
import { type ListQuestion, readListQuestion } from "./list-question.ts";
import { type ListNext, type ListSources, type ListStart, walkList } from "./list-walk.ts";
import { decodeLoosely, queryValue } from "./query.ts";
import { note, type Placed, passOn, refuse } from "./respond.ts";
import { endToEndHeaders } from "./rewrite.ts";
import type { ServiceError, Verdict } from "./types.ts";
import { credentialKind, judge } from "./verdict.ts";

const BAD_MARKER: ServiceError = {
  status: 400,
  code: "InvalidQueryParameterValue",
  message: "Value for one of the query parameters specified in the request URI is invalid.",
};

const ofProcess: HeldPages = { now: 0 };

/** Answers List Blobs. Where nothing is owed the request passes on as it came. */
export function listBlobs(placed: Placed): void | Promise<void> {
  const { front, target, query, operation } = placed;
  const { owed } = front.engine.generations;
  const { account, container } = target;
  if (container === null || target.ambiguous || target.secondary) return forwardRequest(placed, operation.name);
  const position = readMarker(queryValue(query, "marker") ?? "");
  const free = owed.known() && !owed.container(slotsOf(`${account}/${container}/`));
  if (free && position === "foreign") return forwardRequest(placed, operation.name);
  return decide(placed, position);
}

async function decide(placed: Placed, position: ReturnType<typeof readMarker>): Promise<void> {
  const { front, exchange, query, operation } = placed;
  if (position === "bad") return refuse(front, exchange, placed.startedAtMs, BAD_MARKER);
  if (position === "foreign" && !(await isOwed(placed))) return plain(placed, operation.name);
  const question = readListQuestion(placed);
  if (typeof question === "string") {
    // A list goes on with what it began with.
    if (position !== "foreign") return refuse(front, exchange, placed.startedAtMs, BAD_MARKER);
    const prefix = query.malformed || query.duplicated || query.disguised || query.plus ? "" : prefixOf(placed);
    const apart = !asksForFlush(exchange.head.headers) && !seesBlocks(placed) && !(await isConcerned(placed, prefix));
    return apart ? plain(placed, question) : forwardRequest(placed, question);
  }
  const verdict = judgeList(placed);
  if (verdict.verdict === "no" && verdict.localOnly === true && verdict.error) {
    return refuse(front, exchange, placed.startedAtMs, verdict.error);
  }
  const marker = question.marker === "" ? null : question.marker;
  const start: ListStart = position === "foreign" ? { kind: "lake", marker } : { kind: "position", position };
  if (position === "foreign" && !(await isConcerned(placed, question.prefix))) return plain(placed, operation.name);
  const list: List = { placed, question, start };
  return verdict.verdict === "yes" ? merge(list) : carryFirst(list);
}

/** Whether something may be pending in the container. */
async function isOwed({ front, target }: Placed): Promise<boolean> {
  const { account, container } = target;
  if (await owedIsKnown(front.engine)) {
    return front.engine.generations.owed.container(slotsOf(`${account}/${container}/`));
  }
  if (!mayBeBack(front.policies(), account, container, null)) return false;
  throw new ForebayError("overloaded", "it is not known yet what is pending");
}

const prefixOf = (placed: Placed): string => queryValue(placed.query, "prefix") ?? "";

/** Whether the list may show blobs of which nothing but blocks is there: those have no names among what is pending. */
function seesBlocks({ query }: Placed): boolean {
  return decodeLoosely(query.raw).toLowerCase().includes("uncommitted");
}

/** A request for a list that is understood. */
interface List {
  readonly placed: Placed;
  readonly question: ListQuestion;
  readonly start: ListStart;
}

function judgeList({ front, exchange, layout, target, query, operation, lake }: Placed): Verdict {
  const { headers, method } = exchange.head;
  return judge({
    method,
    target,
    query,
    headers,
    layout,
    operation: operation.name,
    keys: front.engine.trust.keys(target.account, lake.keys),
    nowMs: front.engine.clock.wallMs(),
    clientAddress: exchange.remoteAddress,
    secure: exchange.secure,
    policies: front.storedPolicies,
  });
}

function pendingNames({ front, target }: Placed): PendingNames {
  const { desk, clock } = front.engine;
  const { account, container } = target;
  return (from, limit) => askDesk(clock, limits.deskWaitMs, () => desk.names(account, container ?? "", from, limit));
}

/** Whether anything pending has a name that begins with `prefix`. */
async function isConcerned(placed: Placed, prefix: string): Promise<boolean> {
  const [first] = await pendingNames(placed)(prefix, 1);
  return first?.name.blob.startsWith(prefix) === true;
}

/** Nothing pending concerns the list, which was found out before the lake is asked. */
async function plain(placed: Placed, why: string): Promise<void> {
  const { stats, clock } = placed.front.engine;
  stats.forwards++;
  bump(stats.forwardReasons, why);
  const answered = await forwardList(placed);
  if ("head" in answered) bump(stats.lakeRequests, `forward.${answered.head.status}`);
  observeLatency(stats, "forward", clock.monotonicMs() - placed.startedAtMs);
  return give(placed, answered);
}

function give(placed: Placed, answered: ClientResponse | ServiceError): void | Promise<void> {
  if ("head" in answered) return passOn(placed, answered);
  return refuse(placed.front, placed.exchange, placed.startedAtMs, answered);
}

/** Answers a caller that was judged here. */
async function merge(list: List): Promise<void> {
  const { placed, question } = list;
  const { front, exchange, layout, query, operation } = placed;
  const own = credentialKind(layout, exchange.head.headers, query) !== "sas";
  const suspended = own && front.engine.trust.suspended(question.account, question.container);
  const ask = suspended ? null : own ? askAsForebay(placed, question) : askAsCaller(placed);
  if (ask !== null) return answer(list, ask, pendingNames(placed));
  if (list.start.kind === "lake") return forwardRequest(placed, "own-credential-refused");
  // Only Forebay can ask the lake to go on from here: the caller's signature is for another marker.
  throw new ForebayError("overloaded", `${operation.name} cannot go on while Forebay's own credential is refused`);
}

/**
 * Answers a caller that only the lake can judge: once the lake does not refuse it, what is pending is carried there, and
 * the lake's list is right. Strangers hold up nobody's writes that way.
 */
async function carryFirst(list: List): Promise<void> {
  const { placed, question, start } = list;
  const { front, exchange, layout, query } = placed;
  const { stats } = front.engine;
  const { account, container } = question;
  const kind = credentialKind(layout, exchange.head.headers, query);
  const position = start.kind === "position" ? start.position : null;
  // The marker is not the lake's: it says so itself to those whose signature covers it.
  const signed = kind !== "sas" && kind !== "bearer" && kind !== "anonymous";
  const first = await (signed ? forwardList(placed) : lakePage(list, askAsCaller(placed), 1));
  if ("head" in first) bump(stats.lakeRequests, `forward.${first.head.status}`);
  if (!("head" in first) || first.head.status >= 400 || (position !== null && signed)) return give(placed, first);
  letGo(first.body);
  await flushScope(front, { account, container, blob: null });
  return position === null ? plain(placed, "list-credential") : answer(list, askAsCaller(placed), null);
}

/** The lake's page from where the list stands, whatever was given already. */
function lakePage({ question, start }: List, ask: AskList, size: number): Promise<ClientResponse> {
  const marker = start.kind === "position" ? start.position.lake : start.marker;
  return ask(pageParameters(question, question, marker, size));
}

/** Answers with pages of the lake, merged. `names`: null when nothing is pending any more. */
async function answer(list: List, ask: AskList, names: PendingNames | null): Promise<void> {
  const { placed, question, start } = list;
  const lake = createLakeList(placed, question, ask, ofProcess);
  try {
    const sources: ListSources = { names: names ?? (async () => []), page: lake.page, survives: lake.survives };
    const walked = await walkList(sources, question, start, question.max);
    if (walked.kind === "plain") return await plain(placed, placed.operation.name);
    const body = walked.kind === "page" ? written(list, walked.items, walked.next, lake.first()?.page ?? null) : null;
    if (body !== null) return await respond(placed, lake.first()?.headers ?? [], body);
  } catch (error) {
    const refusal = lake.refusal();
    if (refusal === null || !hasCode(error, "lake-refused")) throw error;
    return await refusedByLake(list, refusal);
  } finally {
    lake.release();
  }
  if (names === null) return give(placed, await lakePage(list, ask, question.max));
  const { account, container } = question;
  await flushScope(placed.front, { account, container, blob: null });
  return start.kind === "lake" ? plain(placed, "list-unmergeable") : answer(list, ask, null);
}

/** The page, or null when it has a name that cannot be written. */
function written(list: List, items: readonly ListItem[], next: ListNext, like: ListPage | null): Uint8Array | null {
  const { placed, question } = list;
  const { apiVersion, metadata, account, container } = question;
  if (like === null) return null;
  const permissions = queryValue(placed.query, "sp");
  // Who may list need not see tags.
  const tags = permissions === undefined || permissions.includes("t");
  const form = { apiVersion, metadata, tags: question.tags && tags, tagCount: tags };
  const elements: { isPrefix: boolean; raw: Uint8Array }[] = [];
  for (const { key, isPrefix, lake, put } of items) {
    if (put === null && lake !== null) {
      elements.push(lake);
      continue;
    }
    if (!isListable(key, apiVersion)) return null;
    const { tier } = resolvePolicy(placed.front.policies(), account, container, key);
    const raw = put === null ? prefixElement(key) : blobElement(key, put.put, form, tier, lake?.raw ?? null);
    elements.push({ isPrefix, raw });
  }
  const marker = next.kind === "end" ? "" : next.kind === "lake" ? next.marker : writeMarker(next.position);
  const echo = { marker: queryValue(placed.query, "marker"), maxResults: question.maxResults };
  return writeListPage(like, echo, elements, marker);
}

async function respond(placed: Placed, from: RawHeaders, body: Uint8Array): Promise<void> {
  const { front, exchange, operation, startedAtMs } = placed;
  const { stats, clock } = front.engine;
  const headers = [...endToEndHeaders(from), "x-forebay", "dirty"];
  stats.dirty++;
  observeLatency(stats, "dirty", clock.monotonicMs() - startedAtMs);
  note(front, exchange, startedAtMs, { status: 200, result: "dirty", operation: operation.name, headers });
  await exchange.respond({ status: 200, reason: "OK", headers }, bytesSource(body), body.length);
}

/** The lake gave no list: its answer is the client's, save where it is about Forebay's own credential. */
function refusedByLake({ placed, question, start }: List, refusal: ClientResponse): void | Promise<void> {
  const { front, exchange, layout, query } = placed;
  const { status, headers } = refusal.head;
  const own = credentialKind(layout, exchange.head.headers, query) === "shared-key";
  if (!own || (status !== 401 && status !== 403)) return passOn(placed, refusal);
  front.engine.trust.refused(question.account, question.container, headerOf(headers, "x-ms-error-code"));
  if (start.kind === "position") return passOn(placed, refusal);
  letGo(refusal.body);
  return forwardRequest(placed, "own-credential-refused");
}
