/** The model of writes can fail: worlds with one broken part each, every one found within a few histories. */
import { describe, expect, test } from "bun:test";
import type { Flaws } from "../../sim/world.ts";
import type { ClientResponse } from "../../src/http/types.ts";
import type { Entry } from "../../src/journal/types.ts";
import type { LakeOwnRequest, OwnLake } from "../../src/lake/types.ts";
import { runWriteHistory } from "./write-history.ts";

const SEEDS = 60;

/** The first seed whose history shows a violation that reads as `expected`. */
async function caughtAt(flaws: Flaws, expected: RegExp): Promise<number | null> {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { violations } = await runWriteHistory({ seed, flaws });
    if (violations.some((violation) => expected.test(violation))) return seed;
  }
  return null;
}

/** A put or a list of blocks: what makes a version the lake's. */
function isCommit({ method, query = [], container }: LakeOwnRequest): boolean {
  return method === "PUT" && container !== "forebay-pending" && !query.some(([, value]) => value === "block");
}

/** The drain's lake with another way to commit. */
const commits = (how: (real: OwnLake, request: LakeOwnRequest) => Promise<ClientResponse>): Flaws => ({
  drainLake: (real) => ({
    ...real,
    own: (request) => (isCommit(request) ? how(real, request) : real.own(request)),
  }),
});

let made = 0;
/** An answer that nobody gave. */
function invented(): ClientResponse {
  const headers = ["ETag", `"0x8DFFFF${(made++).toString(16)}"`, "Content-Length", "0"];
  return {
    head: { status: 201, reason: "", headers },
    body: { lengthBytes: 0, read: async () => null, cancel: () => {} },
  };
}

/** A request once more: its body is read only once. */
async function kept(request: LakeOwnRequest): Promise<() => LakeOwnRequest> {
  const { body } = request;
  if (body == null) return () => request;
  const pieces: Uint8Array[] = [];
  for (let piece = await body.next(); piece !== null; piece = await body.next()) {
    if (piece.kind === "bytes") pieces.push(piece.bytes.slice());
  }
  body.close();
  const bytes = new Uint8Array(Buffer.concat(pieces));
  return () => {
    let left = bytes.length > 0;
    const next = (): { kind: "bytes"; bytes: Uint8Array } | null => {
      if (!left) return null;
      left = false;
      return { kind: "bytes", bytes };
    };
    return { ...request, body: { lengthBytes: bytes.length, next, close: () => {} } };
  };
}

function without(headers: readonly string[] = [], ...names: string[]): string[] {
  const isOut = (i: number): boolean => names.includes((headers[i & ~1] ?? "").toLowerCase());
  return headers.filter((_, i) => !isOut(i));
}

const unconditional = (request: LakeOwnRequest): LakeOwnRequest => ({
  ...request,
  headers: without(request.headers, "if-match", "if-none-match"),
});

/** What a desk said first about a blob, for ever. */
function remembering(): Flaws {
  const first = new Map<string, Entry>();
  return {
    desk: (real) => ({
      ...real,
      latest: async (name) => {
        const entry = await real.latest(name);
        const key = `${name.container}/${name.blob}`;
        if (entry === null) return null;
        const known = first.get(key) ?? entry;
        first.set(key, known);
        return known;
      },
    }),
  };
}

const FLAWS: readonly (readonly [string, () => Flaws, RegExp])[] = [
  [
    "a journal that acknowledges before it is durable",
    () => ({ journalDisk: (real) => ({ ...real, syncFile: async () => {} }) }),
    /^LOST: (#|in the end)/,
  ],
  [
    "a drain that looks at no condition",
    () => commits((real, request) => real.own(unconditional(request))),
    /^OVERWRITTEN/,
  ],
  [
    "a drain that settles what it never committed",
    () =>
      commits(async (_, request) => {
        request.body?.close();
        return invented();
      }),
    /^LOST: #/,
  ],
  [
    "commits that are answered at once and sent later, each in its own time",
    () =>
      commits(async (real, request) => {
        const again = await kept(request);
        const send = async (): Promise<void> => {
          for (let pauses = (made * 7) % 20; pauses > 0; pauses--) await real.own({ method: "HEAD" }).catch(() => {});
          await real.own(unconditional(again())).catch(() => {});
        };
        void send();
        return invented();
      }),
    /^REORDERED/,
  ],
  [
    "commits that are sent twice, without a condition",
    () =>
      commits(async (real, request) => {
        const again = await kept(request);
        const answer = await real.own(again());
        if (answer.head.status === 201) void real.own(unconditional(again())).catch(() => {});
        return answer;
      }),
    /^DOUBLED/,
  ],
  [
    "servers that do not look whether anything is pending",
    () => ({
      generations: (real) => ({
        ...real,
        owed: { ...real.owed, blob: () => false, container: () => false, account: () => false },
      }),
    }),
    /^STALE/,
  ],
  ["readers who are told of an older write", remembering, /^STALE: #/],
  [
    "pages of the lake that begin again at the beginning",
    () => ({
      lake: (real) => ({
        ...real,
        own: ({ query = [], ...request }) =>
          real.own({ ...request, query: query.filter(([name]) => name !== "marker") }),
        forward: ({ query, ...request }) => real.forward({ ...request, query: query.replace(/&marker=[^&]*/, "") }),
      }),
    }),
    /^LIST: .* after /,
  ],
  [
    "lists that know nothing of what is pending",
    () => ({ desk: (real) => ({ ...real, names: async () => [] }) }),
    /^LIST: .*is missing/,
  ],
  [
    "flushes that do not wait",
    () => ({ desk: (real) => ({ ...real, fence: async () => 0, unfence: async () => {} }) }),
    /^(UNFLUSHED|STALE|REORDERED|CONDITION|LOST|ASIDE|SILENT)/,
  ],
];

describe("a broken part is noticed", () => {
  for (const [what, flaws, expected] of FLAWS) {
    test(what, async () => {
      expect(await caughtAt(flaws(), expected)).not.toBeNull();
    }, 120_000);
  }
});
