/** Counts in shared memory of what is owed to the lake, kept in step with the journal's view. */
import type { BlobName, Entry, JournalView } from "../journal/types.ts";
import type { DeskSignals } from "./desk.ts";

export interface DeskLedger {
  /** Counts what the journal holds at start. */
  recovered(): void;
  /** A write of the blob is about to be made durable: counted from now on, whatever it takes the place of. */
  expect(name: BlobName): { appended(entry: Entry): void; failed(): void };
  /** An entry changed its state: one that was set aside is owed no more. */
  moved(entry: Entry): void;
  ended(entry: Entry): void;
  /** Blocks of a blob were staged or forgotten. */
  stagedChanged(name: BlobName): void;
}

const textOf = ({ account, container, blob }: BlobName): string => `${account}/${container}/${blob}`;

export function createLedger(view: JournalView, signals: DeskSignals): DeskLedger {
  /** Numbers of entries, and names of blobs with staged blocks, that are counted. */
  const entries = new Set<number>();
  const staged = new Set<string>();
  const uncount = (entry: Entry): void => {
    if (!entries.delete(entry.seq)) return;
    signals.moved(entry.name);
    signals.owed(entry.name, -1);
  };
  const stagedChanged = (name: BlobName): void => {
    const text = textOf(name);
    const some = view.blocksOf(name).length > 0;
    if (some === staged.has(text)) return;
    if (some) staged.add(text);
    else staged.delete(text);
    signals.owed(name, some ? 1 : -1);
  };
  return {
    recovered: () => {
      const names: BlobName[] = [];
      for (const entry of view.entries()) {
        if (entry.state.name === "aside") continue;
        entries.add(entry.seq);
        names.push(entry.name);
      }
      for (const name of view.stagedBlobs()) {
        staged.add(textOf(name));
        names.push(name);
      }
      signals.recovered(names);
      // Of a write that was durable, but not announced any more when the last life ended, others know nothing yet.
      for (const name of names) signals.moved(name);
    },
    expect: (name) => {
      signals.owed(name, 1);
      return {
        appended: (entry) => {
          entries.add(entry.seq);
          signals.moved(name);
          // A put takes the staged blocks of its blob over, or forgets them.
          stagedChanged(name);
        },
        failed: () => signals.owed(name, -1),
      };
    },
    moved: (entry) => {
      if (entry.state.name === "aside") uncount(entry);
    },
    ended: uncount,
    stagedChanged,
  };
}
