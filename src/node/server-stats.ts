/**
 * The counters of all servers as one: those that answer, the last word of those that do not just now, and what those
 * counted that are gone. A sum that fell with each server that falls would look like a restart of everything to whoever
 * scrapes it. A new keeper begins with what the living servers count.
 */
import { createStats, type Stats, sumStats } from "../engine/stats.ts";
import type { Peer } from "../io/channel.ts";

const ANSWER_TIMEOUT_MS = 1_000;
/** What a server counted after the last look and before its fall is lost. */
const LOOK_INTERVAL_MS = 2_000;

export interface ServerStats {
  joined(holder: string, peer: Peer): void;
  gone(holder: string): void;
  /** Asks everybody. */
  collect(): Promise<{ readonly stats: readonly Stats[]; readonly answering: number }>;
  stop(): void;
}

export function collectServerStats(): ServerStats {
  const peers = new Map<string, Peer>();
  const last = new Map<string, Stats>();
  let past = createStats();
  const look = async (holder: string, peer: Peer): Promise<boolean> => {
    try {
      const stats = (await peer.call("stats", [], ANSWER_TIMEOUT_MS)) as Stats;
      if (peers.get(holder) === peer) last.set(holder, stats);
      return true;
    } catch {
      return false;
    }
  };
  const lookAtAll = (): Promise<boolean[]> => Promise.all([...peers].map(([holder, peer]) => look(holder, peer)));
  const timer = setInterval(() => void lookAtAll(), LOOK_INTERVAL_MS);
  return {
    joined: (holder, peer) => {
      peers.set(holder, peer);
    },
    gone: (holder) => {
      peers.delete(holder);
      const stats = last.get(holder);
      last.delete(holder);
      if (stats !== undefined) past = sumStats([past, { ...stats, fillsNow: 0, requestsNow: 0, connectionsNow: 0 }]);
    },
    collect: async () => {
      const answered = await lookAtAll();
      return { stats: [past, ...last.values()], answering: answered.filter((did) => did).length };
    },
    stop: () => clearInterval(timer),
  };
}
