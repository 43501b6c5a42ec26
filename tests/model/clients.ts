/** Those who read and write in the simulated world: how each proves itself, and what it may do when. */
import { SIM_EPOCH_MS } from "../../sim/clock.ts";
import { SIM_ACCOUNT, SIM_KEY, type SimService } from "../../sim/lake/service.ts";
import { accountSas, serviceSas, sharedKey } from "../support/sign.ts";

/** Kinds of callers. `key` always knows the account's key; `old-key` keeps the first one. */
export const CALLERS = [
  "key",
  "old-key",
  "wrong-key",
  "sas",
  "second-sas",
  "policy-sas",
  "token",
  "narrow-token",
  "stranger-token",
  "anonymous",
] as const;
export type Caller = (typeof CALLERS)[number];

export const CONTAINERS = ["five", "strict", "fixed", "serve", "open"] as const;
export type Container = (typeof CONTAINERS)[number];

/** The container with the stored policy, and the one that anybody may read. */
export const POLICY_CONTAINER: Container = "strict";
export const OPEN_CONTAINER: Container = "open";
const NARROW: readonly string[] = ["five", "fixed"];
const TOKEN = "token-of-a-reader";
const NARROW_TOKEN = "token-of-a-narrow-reader";
const WRONG_KEY = Buffer.from("a key that was never the account's, whatever it may say of itself").toString("base64");
const SAS_LIFE_MS = 30 * 60_000;
export const API_VERSIONS = ["2025-01-05", "2021-08-06"] as const;

/** From when until when somebody may do something (monotonic milliseconds). */
interface Term {
  readonly fromMs: number;
  untilMs: number;
}

export interface Clients {
  /** Signs a request: the whole target and all headers. */
  sign(caller: Caller, request: Draft, nowWallMs: number): { target: string; headers: string[] };
  /** Whether a caller might read a container at some moment of a span. */
  mayRead(caller: Caller, container: string, fromMs: number, untilMs: number): boolean;
  /** Whether a caller could do so all the time. */
  alwaysReads(caller: Caller, container: string, fromMs: number, untilMs: number): boolean;
  rotateKey(nowMs: number): void;
  revokeToken(nowMs: number): void;
  restoreToken(nowMs: number): void;
  removePolicy(nowMs: number): void;
  /** The account's first key now, base64. */
  readonly key: string;
  /** When the first key was first replaced; Infinity while it was not. */
  readonly rotatedAtMs: number;
}

export interface Draft {
  readonly method: string;
  /** `CONTAINER/BLOB`, encoded. */
  readonly name: string;
  readonly query?: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly contentLength?: number;
}

/** Sets the lake's access up, and makes the callers. */
export function createClients(service: SimService, startMs: number, secondKey: string): Clients {
  const expiry = new Date(SIM_EPOCH_MS + SAS_LIFE_MS).toISOString().replace(/\.\d+Z$/, "Z");
  let key = SIM_KEY;
  let rotatedAtMs = Number.POSITIVE_INFINITY;
  const rotations: number[] = [];
  const always: Term = { fromMs: 0, untilMs: Number.POSITIVE_INFINITY };
  const oldKey: Term = { ...always };
  const sas: Term = { fromMs: 0, untilMs: startMs + SAS_LIFE_MS };
  const policy: Term = { ...sas };
  const token: Term[] = [{ ...always }];
  const addToken = (): void => service.setToken(TOKEN, { roles: ["reader"], expiresAtMs: Number.POSITIVE_INFINITY });
  addToken();
  service.setToken(NARROW_TOKEN, { roles: ["reader"], expiresAtMs: Number.POSITIVE_INFINITY, containers: NARROW });

  const termsOf = (caller: Caller, container: string): readonly Term[] => {
    switch (caller) {
      case "key":
      case "second-sas":
        return caller === "key" ? [always] : [{ fromMs: 0, untilMs: startMs + SAS_LIFE_MS }];
      case "old-key":
        return [oldKey];
      case "sas":
        return [sas];
      case "policy-sas":
        return container === POLICY_CONTAINER ? [policy] : [];
      case "token":
        return token;
      case "narrow-token":
        return NARROW.includes(container) ? [always] : [];
      case "anonymous":
        return container === OPEN_CONTAINER ? [always] : [];
      case "wrong-key":
      case "stranger-token":
        return [];
    }
  };
  const queryOf = (caller: Caller, container: string): string => {
    const common = { sv: "2022-11-02", spr: "https" };
    switch (caller) {
      case "sas":
        return accountSas(SIM_ACCOUNT, SIM_KEY, { ...common, ss: "b", srt: "o", sp: "r", se: expiry });
      case "second-sas":
        return serviceSas(SIM_ACCOUNT, secondKey, container, { ...common, sr: "c", sp: "r", se: expiry });
      case "policy-sas":
        return serviceSas(SIM_ACCOUNT, SIM_KEY, POLICY_CONTAINER, { ...common, sr: "c", si: "readers" });
      default:
        return "";
    }
  };
  return {
    sign: (caller, draft, nowWallMs) => {
      const { method, name, contentLength } = draft;
      const container = name.split("/")[0] ?? "";
      const parameters = [draft.query ?? "", queryOf(caller, container)].filter((part) => part !== "");
      const query = parameters.length === 0 ? "" : `?${parameters.join("&")}`;
      const target = `/${SIM_ACCOUNT}/${name}${query}`;
      const headers: [string, string][] = [["x-ms-date", new Date(nowWallMs).toUTCString()]];
      for (const [header, value] of draft.headers) headers.push([header, value]);
      const by = { key, "old-key": SIM_KEY, "wrong-key": WRONG_KEY }[caller as string];
      if (by !== undefined) {
        headers.push(["Authorization", sharedKey(SIM_ACCOUNT, by, { method, target, headers, contentLength })]);
      }
      const bearer = { token: TOKEN, "narrow-token": NARROW_TOKEN, "stranger-token": "no-such-token" }[
        caller as string
      ];
      if (bearer !== undefined) headers.push(["Authorization", `Bearer ${bearer}`]);
      return { target, headers: headers.flat() };
    },
    mayRead: (caller, container, fromMs, untilMs) =>
      termsOf(caller, container).some((term) => term.fromMs <= untilMs && term.untilMs >= fromMs),
    alwaysReads: (caller, container, fromMs, untilMs) =>
      // Who signed with a key that was replaced before the lake saw it is refused, once.
      !(caller === "key" && rotations.some((atMs) => atMs >= fromMs && atMs <= untilMs)) &&
      termsOf(caller, container).some((term) => term.fromMs <= fromMs && term.untilMs > untilMs),
    rotateKey: (nowMs) => {
      key = Buffer.from(`a later key of the account, made at ${nowMs} and good for nothing`).toString("base64");
      service.rotateKey(0, key);
      rotatedAtMs = Math.min(rotatedAtMs, nowMs);
      rotations.push(nowMs);
      for (const term of [oldKey, sas, policy]) term.untilMs = Math.min(term.untilMs, nowMs);
    },
    revokeToken: (nowMs) => {
      service.setToken(TOKEN, null);
      for (const term of token) term.untilMs = Math.min(term.untilMs, nowMs);
    },
    restoreToken: (nowMs) => {
      addToken();
      token.push({ fromMs: nowMs, untilMs: Number.POSITIVE_INFINITY });
    },
    removePolicy: (nowMs) => {
      policy.untilMs = Math.min(policy.untilMs, nowMs);
    },
    get key() {
      return key;
    },
    get rotatedAtMs() {
      return rotatedAtMs;
    },
  };
}

/** The body of a Set Container ACL with the stored policy that `policy-sas` names, or without it. */
export function aclBody(withPolicy: boolean): string {
  const expiry = new Date(SIM_EPOCH_MS + SAS_LIFE_MS).toISOString().replace(/\.\d+Z$/, "Z");
  const terms = `<AccessPolicy><Expiry>${expiry}</Expiry><Permission>r</Permission></AccessPolicy>`;
  const identifier = `<SignedIdentifier><Id>readers</Id>${terms}</SignedIdentifier>`;
  return `<?xml version="1.0" encoding="utf-8"?><SignedIdentifiers>${withPolicy ? identifier : ""}</SignedIdentifiers>`;
}
