/**
 * A list in the lake of what the lake does not have yet, for the day on which this machine does not come back: who
 * looks for a blob there finds out that it was written, where and when. One blob for each Forebay and account,
 * `forebay-pending/INSTANCE.json`, written only when something waits for longer than a moment. Nothing depends on it.
 */
import { bytesSource } from "../http/types.ts";
import type { Clock, Timer } from "../io/clock.ts";
import { isPending } from "../journal/states.ts";
import type { Entry, JournalView } from "../journal/types.ts";
import type { Ask } from "./ask.ts";
import type { Failure } from "./failures.ts";

export const PENDING_CONTAINER = "forebay-pending";

export interface PendingNames {
  /** Something may have changed. Cheap. */
  touch(): void;
  /** Why the list could not be written last; null when all is well. */
  readonly failure: string | null;
  /** Writes no more. Resolves when nothing is under way. */
  stop(): Promise<void>;
}

export interface PendingNamesOptions {
  readonly view: JournalView;
  readonly clock: Clock;
  readonly ask: Ask;
  /** Names the blob. */
  readonly instance: string;
  /** Said in the list, for people. */
  readonly machine: string;
  /** Accounts in which an earlier life may have left a list. */
  readonly accounts: () => readonly string[];
  readonly log: (message: string, fields: Record<string, string | number>) => void;
  readonly namesMax: number;
  readonly intervalMs: number;
}

/** What the lists say of one account. */
interface Named {
  entries: Entry[];
  more: number;
}

export function createPendingNames(options: PendingNamesOptions): PendingNames {
  const { view, clock, intervalMs } = options;
  /** What each account's list says, as far as is known: without its time. */
  const written = new Map<string, string>();
  let [touched, stopped, checked] = [true, false, false];
  let failure: string | null = null;
  let timer: Timer | null = null;
  let current: Promise<void> = Promise.resolve();

  const arm = (): void => {
    if (timer !== null || stopped) return;
    timer = clock.after(intervalMs, () => {
      timer = null;
      current = current.then(tick, tick);
    });
  };
  const tick = async (): Promise<void> => {
    touched = false;
    const lists = collect(options);
    let failed: string | null = null;
    for (const account of new Set([...lists.keys(), ...written.keys(), ...(checked ? [] : options.accounts())])) {
      if (stopped) return;
      failed = (await update(account, lists.get(account) ?? { entries: [], more: 0 })) ?? failed;
    }
    checked ||= failed === null;
    if (failed !== null && failure === null)
      options.log("the list of pending names could not be written", { reason: failed });
    failure = failed;
    if (touched || failed !== null || view.totals().pendingEntries > 0) arm();
  };
  const update = async (account: string, named: Named): Promise<string | null> => {
    const text = JSON.stringify({ entries: named.entries.map(lineOf), more: named.more });
    const before = written.get(account);
    if (before === text) return null;
    if (before === undefined && named.entries.length === 0) {
      const left = await isThere(options, account);
      if (left !== true) return left === false ? null : left;
    }
    const failed = await write(options, account, text);
    if (failed !== null) return failed;
    if (named.entries.length > 0) written.set(account, text);
    else written.delete(account);
    return null;
  };
  arm();
  return {
    touch: () => {
      touched = true;
      arm();
    },
    get failure() {
      return failure;
    },
    stop: () => {
      stopped = true;
      timer?.cancel();
      return current.catch(() => {});
    },
  };
}

/** What waits for longer than the interval, by account. */
function collect({ view, clock, namesMax, intervalMs }: PendingNamesOptions): Map<string, Named> {
  const lists = new Map<string, Named>();
  const before = clock.wallMs() - intervalMs;
  for (const entry of view.entries()) {
    if (!isPending(entry.state) || entry.acknowledgedAtMs > before) continue;
    const list = lists.get(entry.name.account) ?? { entries: [], more: 0 };
    lists.set(entry.name.account, list);
    if (list.entries.length < namesMax) list.entries.push(entry);
    else list.more++;
  }
  return lists;
}

function lineOf(entry: Entry): Record<string, string | number | null> {
  return {
    container: entry.name.container,
    blob: entry.name.blob,
    size: entry.kind === "put" ? entry.put.sizeBytes : null,
    acknowledgedAt: new Date(entry.acknowledgedAtMs).toISOString(),
  };
}

const nameOf = (options: PendingNamesOptions, account: string) => ({
  account,
  container: PENDING_CONTAINER,
  blob: `${options.instance}.json`,
});

const reasonOf = (failure: Failure): string => ("why" in failure ? failure.why : "the drain stops");

/** Whether an earlier life left a list; a text: it cannot be told why. */
async function isThere(options: PendingNamesOptions, account: string): Promise<boolean | string> {
  const asked = await options.ask.ask(nameOf(options, account), { method: "HEAD" });
  if (asked.kind === "answer") return true;
  const { failure } = asked;
  if (failure.kind === "missing" || (failure.kind === "refused" && failure.code === "ContainerNotFound")) return false;
  return reasonOf(failure);
}

/** Null: it is written. */
async function write(options: PendingNamesOptions, account: string, lines: string): Promise<string | null> {
  const { ask, clock, machine, instance } = options;
  const time = new Date(clock.wallMs()).toISOString();
  const text = `{"machine":${JSON.stringify(machine)},"instance":${JSON.stringify(instance)},"time":"${time}",${lines.slice(1)}\n`;
  const headers = ["x-ms-blob-type", "BlockBlob", "x-ms-blob-content-type", "application/json"];
  const name = nameOf(options, account);
  const put = () => ask.ask(name, { method: "PUT", headers, body: bytesSource(new TextEncoder().encode(text)) });
  let asked = await put();
  if (asked.kind === "failed" && asked.failure.kind === "refused" && asked.failure.code === "ContainerNotFound") {
    const made = await ask.ask({ ...name, blob: "" }, { method: "PUT", query: [["restype", "container"]] });
    if (made.kind === "failed") return reasonOf(made.failure);
    asked = await put();
  }
  return asked.kind === "answer" ? null : reasonOf(asked.failure);
}
