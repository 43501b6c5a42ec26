/**
 * What one server learnt from the lake while others of its requests waited to ask the same: questions under way, which
 * those who came before they were sent may share, and accounts whose lake could not be reached a moment ago.
 *
 * Order is kept by a counter, not by time: what was sent after a request came is as true for it as its own question.
 */
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";

/** A moment in the order of this server's events. */
export type Moment = number;

export interface Flights<T> {
  now(): Moment;
  /** The question `name` under way that was sent after `came`, if there is one. */
  find(name: string, came: Moment): Promise<T> | null;
  /** Sends a question that others may share while it is under way. */
  send(name: string, ask: () => Promise<T>): Promise<T>;
}

export function createFlights<T>(): Flights<T> {
  const flights = new Map<string, { readonly sent: Moment; readonly told: Promise<T> }>();
  let latest = 0;
  return {
    now: () => ++latest,
    find: (name, came) => {
      const flight = flights.get(name);
      return flight !== undefined && flight.sent > came ? flight.told : null;
    },
    send: async (name, ask) => {
      const flight = { sent: ++latest, told: ask() };
      flights.set(name, flight);
      try {
        return await flight.told;
      } finally {
        if (flights.get(name) === flight) flights.delete(name);
      }
    },
  };
}

/** Lakes that could not be reached when last asked. */
export interface Outages {
  /** The lake of `account` could not be reached: noted at `at`. */
  away(account: string, at: Moment): void;
  /** It answered, whatever it said. */
  back(account: string): void;
  /** Whether it was found away after `came`. */
  cameAfter(account: string, came: Moment): boolean;
  /**
   * Whether to ask a lake for what could also be answered without it: not while it is known to be away, but for one
   * request after each pause.
   */
  worthAsking(account: string): boolean;
}

export function createOutages(clock: Clock): Outages {
  const known = new Map<string, { readonly at: Moment; untilMs: number }>();
  return {
    away: (account, at) => {
      known.set(account, { at, untilMs: clock.monotonicMs() + limits.lakeAwayMs });
    },
    back: (account) => void known.delete(account),
    cameAfter: (account, came) => {
      const outage = known.get(account);
      return outage !== undefined && outage.at > came;
    },
    worthAsking: (account) => {
      const outage = known.get(account);
      if (outage === undefined) return true;
      const nowMs = clock.monotonicMs();
      if (nowMs < outage.untilMs) return false;
      // This one asks; until it knows, the others are answered without.
      outage.untilMs = nowMs + limits.lakeCheckTimeoutMs + limits.lakeAwayMs;
      return true;
    },
  };
}
