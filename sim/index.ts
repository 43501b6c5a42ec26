/**
 * The index in a simulated world: SQLite in memory. A durable commit survives a power loss; of those after it, any
 * number of the latest may be lost, the order kept, as with a write-ahead log that was not synced. A process that is
 * killed loses nothing that it committed.
 */
import { Database } from "bun:sqlite";
import { ForebayError } from "../src/base/errors.ts";
import type { Random } from "../src/base/random.ts";
import { createFlashIndex, type FlashIndex } from "../src/flash/index.ts";
import { type Connection, connectionOf, createLookup, type Lookup } from "../src/flash/index-rows.ts";
import { prepareSchema } from "../src/flash/index-schema.ts";
import type { IndexReader } from "../src/flash/types.ts";

export interface SimIndex {
  /** For the keeper: what the last life left. */
  open(): FlashIndex;
  /** For a server: reads on without a keeper. Without an index every look-up is a miss. */
  reader(): IndexReader;
  powerLoss(random: Random): void;
  /** The keeper's process ended. */
  kill(): void;
  /** The database is lost altogether. */
  lose(): void;
  /** From now on, every transaction fails (or no longer does). */
  failing: boolean;
  /** Whether a change finds no room. */
  isFull: () => boolean;
}

/** An index that does not exist yet. */
export function createSimIndex(): SimIndex {
  let durable: Uint8Array | null = null;
  let later: Uint8Array[] = []; // commits since, oldest first
  let current: { readonly connection: Connection; readonly lookup: Lookup } | null = null;

  const end = (): void => {
    current?.connection.close();
    current = null;
  };
  /** Servers read the file, whether a keeper has it open or not. */
  const readable = (): Lookup | null => {
    if (current !== null) return current.lookup;
    const image = later.at(-1) ?? durable;
    return image === null ? null : createLookup(connectionOf(Database.deserialize(Buffer.from(image))));
  };
  const self: SimIndex = {
    failing: false,
    isFull: () => false,
    open: () => {
      end();
      const image: Uint8Array | null = later.at(-1) ?? durable;
      const db = image === null ? new Database(":memory:") : Database.deserialize(Buffer.from(image));
      prepareSchema(db, "simulated");
      const connection = connectionOf(db);
      current = { connection, lookup: createLookup(connection) };
      durable ??= copy(db);
      const index = createFlashIndex(connection, {
        committed: (isDurable) => {
          const now = copy(db);
          if (isDurable) [durable, later] = [now, []];
          else later.push(now);
        },
        discard: () => self.lose(),
      });
      return {
        ...index,
        change: (isDurable, work) => {
          if (self.failing) throw new ForebayError("flash-failed", "the index failed: disk I/O error (simulated)");
          if (self.isFull()) throw new ForebayError("flash-full", "the index failed: disk is full (simulated)");
          return index.change(isDurable, work);
        },
        close: () => {
          if (current?.connection === connection) end();
        },
      };
    },
    reader: () => ({
      lookup: (key) => {
        try {
          const found = readable()?.byKey(key) ?? null;
          if (found === null) return null;
          const { storedBytes: _, ...record } = found;
          return record;
        } catch {
          return null;
        }
      },
      close: () => {},
    }),
    powerLoss: (random) => {
      end();
      const kept = random.below(later.length + 1);
      durable = later[kept - 1] ?? durable;
      later = [];
    },
    kill: end,
    lose: () => {
      end();
      durable = null;
      later = [];
    },
  };
  return self;
}

function copy(db: Database): Uint8Array {
  return new Uint8Array(db.serialize());
}
