/**
 * Compares what our codec and Node's parser make of the same bytes. We may be stricter, if we then close; but every
 * request that we serve must be one that Node serves too, with the same method, target and body, in the same place:
 * otherwise a request could be smuggled past one of the two.
 */
import { type Random, seededRandom } from "../../src/base/random.ts";
import { parseRequest } from "../../src/http/framing.ts";
import { HeadScanner, HttpRefusal } from "../../src/http/head.ts";
import { Inbox, IncomingBody } from "../../src/http/incoming.ts";
import { httpCase } from "./http-cases.ts";

/** A request that was complete. Target and body are base64. */
interface Seen {
  readonly method: string;
  readonly target: string;
  readonly body: string;
}

/** What Node made of a case. */
interface NodeVerdict {
  readonly requests: readonly Seen[];
  /** It stopped reading requests because one of them asked for another protocol, which we take no notice of. */
  readonly upgraded: boolean;
}

/** `closed`: refused or ended on purpose. `open`: more bytes are awaited. */
interface Verdict {
  readonly requests: readonly Seen[];
  readonly end: "closed" | "open";
}

const HOST = {
  bodyWanted: () => {},
  bodyTaken: () => {},
  bodyEnded: () => {},
  bodyCancelled: () => {},
  bodyError: (cause: HttpRefusal | Error | null): never => {
    throw cause ?? new Error("the bytes are over");
  },
};

/** What our codec makes of `pieces`, as the server would. */
function ours(pieces: readonly Buffer[]): Verdict {
  const requests: Seen[] = [];
  const inbox = new Inbox();
  const scanner = new HeadScanner(64 * 1024);
  let request: ReturnType<typeof parseRequest> | null = null;
  let body: IncomingBody | null = null;
  let chunks: Uint8Array[] = [];
  try {
    for (const piece of pieces) {
      inbox.push(piece);
      while (inbox.chunk !== undefined || body?.ended === true) {
        if (body === null) {
          const chunk: Buffer | undefined = inbox.chunk;
          if (chunk === undefined) break;
          const end = scanner.feed(chunk, inbox.offset);
          inbox.advance(end < 0 ? chunk.length : end);
          if (end < 0) continue;
          request = parseRequest(scanner);
          scanner.reset();
          body = new IncomingBody(request.framing, inbox, HOST);
          chunks = [];
        }
        for (let bytes = body.take(); bytes !== null; bytes = body.take()) chunks.push(bytes);
        if (!body.ended || request === null) break;
        const { method, target } = request.head;
        requests.push({ method, target: base64(target), body: Buffer.concat(chunks).toString("base64") });
        if (!request.keepAlive) return { requests, end: "closed" };
        body = null;
      }
    }
  } catch (error) {
    if (error instanceof HttpRefusal) return { requests, end: "closed" };
    throw error;
  }
  return { requests, end: "open" };
}

const base64 = (text: string): string => Buffer.from(text, "latin1").toString("base64");

/** Node's parser in a process of its own, fed line by line. */
export class NodeOracle {
  methods: ReadonlySet<string> = new Set();
  private readonly process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  private readonly lines: AsyncIterator<string>;

  constructor() {
    const script = `${import.meta.dir}/http-node-oracle.mjs`;
    this.process = Bun.spawn(["node", script], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    this.lines = linesOf(this.process.stdout);
  }

  async start(): Promise<void> {
    this.methods = new Set(JSON.parse(await this.line()) as string[]);
  }

  /** What Node makes of each text. */
  async judge(texts: readonly string[]): Promise<NodeVerdict[]> {
    this.process.stdin.write(texts.map((text) => `${base64(text)}\n`).join(""));
    await this.process.stdin.flush();
    const verdicts: NodeVerdict[] = [];
    for (const _ of texts) verdicts.push(JSON.parse(await this.line()) as NodeVerdict);
    return verdicts;
  }

  async stop(): Promise<void> {
    await this.process.stdin.end();
    await this.process.exited;
  }

  private async line(): Promise<string> {
    const next = await this.lines.next();
    if (next.done === true) throw new Error("Node's side ended early");
    return next.value;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

/** The path of an absolute target, as our server gives it to handlers. */
function asOrigin(target: string): string {
  const text = Buffer.from(target, "base64").toString("latin1");
  const match = /^https?:\/\/[^/?#]*/i.exec(text);
  if (match === null) return target;
  const rest = text.slice(match[0].length);
  return base64(rest.startsWith("/") ? rest : `/${rest}`);
}

/** Node knows few methods, and no targets beyond ASCII; refusing either smuggles nothing. */
function nodeWouldRefuse(seen: Seen, methods: ReadonlySet<string>): boolean {
  return !methods.has(seen.method) || /[^\x21-\x7e]/.test(Buffer.from(seen.target, "base64").toString("latin1"));
}

/** Node refuses these, against RFC 9110, 5.5: white space around a value is no part of it. */
const TAB_BEHIND_LENGTH = /^(?:content-length|transfer-encoding):[^\r\n]*\t *\r\n/im;

/** Why the two verdicts must not stand side by side, or null. */
function conflict(text: string, our: Verdict, node: NodeVerdict, methods: ReadonlySet<string>): string | null {
  for (const [at, seen] of our.requests.entries()) {
    if (nodeWouldRefuse(seen, methods)) return null;
    const other = node.requests[at];
    if (other === undefined) {
      return node.upgraded || TAB_BEHIND_LENGTH.test(text) ? null : `request ${at} is served by us only`;
    }
    if (seen.method !== other.method) return `request ${at}: another method`;
    if (seen.target !== asOrigin(other.target)) return `request ${at}: another target`;
    if (seen.body !== other.body) return `request ${at}: another body`;
  }
  if (our.end === "open" && node.requests.length > our.requests.length)
    return "we wait where Node has served a further request";
  return null;
}

/** `text` in pieces of random lengths. */
function cut(text: string, random: Random): Buffer[] {
  const bytes = Buffer.from(text, "latin1");
  const pieces: Buffer[] = [];
  const most = random.pick([1, 3, 20, 200]);
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + random.below(most);
    pieces.push(Buffer.from(bytes.subarray(at, at + length)));
    at += length;
  }
  return pieces;
}

/** What a run did. `agreed`: both served the same requests. */
export interface FuzzOutcome {
  readonly cases: number;
  readonly requests: number;
  readonly agreed: number;
  readonly failure: { readonly index: number; readonly why: string; readonly text: string } | null;
}

const BATCH = 500;

/** Runs `cases` cases of `seed`; ends at the first failure. */
export async function fuzzHttp(seed: number, cases: number): Promise<FuzzOutcome> {
  const random = seededRandom(seed);
  const oracle = new NodeOracle();
  let requests = 0;
  let agreed = 0;
  try {
    await oracle.start();
    for (let done = 0; done < cases; done += BATCH) {
      const texts = Array.from({ length: Math.min(BATCH, cases - done) }, () => httpCase(random));
      const verdicts = await oracle.judge(texts);
      for (const [at, text] of texts.entries()) {
        const node = verdicts[at] ?? { requests: [], upgraded: false };
        const whole = ours([Buffer.from(text, "latin1")]);
        const pieces = ours(cut(text, random));
        requests += whole.requests.length;
        if (whole.requests.length === node.requests.length) agreed++;
        const isSame = JSON.stringify(whole.requests) === JSON.stringify(pieces.requests);
        // A line is judged when it is complete, so how the bytes are cut may decide when a fault is seen, no more.
        const why = isSame
          ? (conflict(text, whole, node, oracle.methods) ?? conflict(text, pieces, node, oracle.methods))
          : "cut bytes are read differently from whole ones";
        if (why !== null) return { cases, requests, agreed, failure: { index: done + at, why, text } };
      }
    }
  } finally {
    await oracle.stop();
  }
  return { cases, requests, agreed, failure: null };
}
