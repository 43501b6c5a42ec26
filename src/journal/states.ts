/**
 * The states of an entry and what may happen in each: a total table, which the compiler holds to be complete, with a
 * picture in `docs/journal.md` that a test compares with it.
 *
 * `draining` is recorded before the first request that may change the lake leaves, so that after a failure nobody
 * takes the entry's own commit for a foreign change, and an entry that the lake may have heard of is never superseded.
 */
import { assert } from "../base/assert.ts";
import type { Entry, EntryEvent, EntryState } from "./types.ts";

/** Events as the table has them: those of callers, and what only an append may do. */
export type TableEvent = EntryEvent | { readonly name: "supersede"; readonly by: number };

type StateName = EntryState["name"];
type EventName = TableEvent["name"];
type EventOf<E extends EventName> = Extract<TableEvent, { readonly name: E }>;
type StateOf<S extends StateName> = Extract<EntryState, { readonly name: S }>;
type Step<S extends StateName, E extends EventName> = (
  event: EventOf<E>,
  at: { readonly state: StateOf<S>; readonly nowMs: number },
) => EntryState;

type Row<S extends StateName> = { readonly [E in EventName]: Step<S, E> | null };
type Table = { readonly [S in StateName]: Row<S> };

const nothing = {
  begin: null,
  settle: null,
  park: null,
  conflict: null,
  retry: null,
  supersede: null,
  discard: null,
  export: null,
  dismiss: null,
} as const;

const draining = (): EntryState => ({ name: "draining" });
const discarded = (): EntryState => ({ name: "discarded" });
const exported = (): EntryState => ({ name: "exported" });
const parked = (event: EventOf<"park">, at: { readonly nowMs: number }): EntryState => ({
  name: "parked",
  reason: event.reason,
  atMs: at.nowMs,
});
const conflicted = ({ sideName }: EventOf<"conflict">): EntryState =>
  sideName === null ? { name: "aside", sideName, lakeEtag: null } : { name: "conflicted", sideName };

/** Null: refused. */
export const TABLE: Table = {
  acknowledged: {
    ...nothing,
    begin: draining,
    park: parked,
    conflict: conflicted,
    supersede: ({ by }) => ({ name: "superseded", by }),
    discard: discarded,
    export: exported,
  },
  // Not to be discarded: its request may be under way. Whoever drains it parks it first.
  draining: {
    ...nothing,
    settle: ({ lakeEtag }) => ({ name: "settled", lakeEtag }),
    park: parked,
    conflict: conflicted,
  },
  // A retry goes on where it stood at worst: the lake may have heard of it before it was parked.
  parked: { ...nothing, retry: draining, discard: discarded, export: exported },
  conflicted: {
    ...nothing,
    settle: ({ lakeEtag }, { state }) => ({ name: "aside", sideName: state.sideName, lakeEtag }),
    park: parked,
    discard: discarded,
    export: exported,
  },
  aside: { ...nothing, dismiss: () => ({ name: "dismissed" }) },
  settled: nothing,
  superseded: nothing,
  discarded: nothing,
  exported: nothing,
  dismissed: nothing,
};

/** The state that `event` leads to, or null if it is refused. */
export function nextState(entry: Entry, event: TableEvent, nowMs: number): EntryState | null {
  if (event.name === "settle") assert((event.lakeEtag === null) === (entry.kind === "delete"), "a put has an ETag");
  if (event.name === "conflict") assert((event.sideName === null) === (entry.kind === "delete"), "a put is kept aside");
  return step(entry.state.name, event.name, entry.state, event, nowMs);
}

function step<S extends StateName, E extends EventName>(
  stateName: S,
  eventName: E,
  state: StateOf<S>,
  event: EventOf<E>,
  nowMs: number,
): EntryState | null {
  const row: Row<S> = TABLE[stateName];
  const cell: Row<S>[E] = row[eventName];
  return cell === null ? null : cell(event, { state, nowMs });
}

/** Whether the lake still owes the entry: it counts, holds back later ones, and is what readers see. */
export function isPending(state: EntryState): boolean {
  return PENDING[state.name];
}

/** Whether an entry in this state has left the journal. */
export function isEnded(state: EntryState): boolean {
  return !isPending(state) && state.name !== "aside";
}

const PENDING: Readonly<Record<StateName, boolean>> = {
  acknowledged: true,
  draining: true,
  parked: true,
  conflicted: true,
  aside: false,
  settled: false,
  superseded: false,
  discarded: false,
  exported: false,
  dismissed: false,
};
