/** What the supervisor and its processes say to each other, over the pipe that ends with either of them. */
import type { Config } from "./config.ts";

/** What a process needs to begin. Secrets travel in here only: over a pipe, never in arguments or environment. */
export interface Init {
  readonly config: Config;
  readonly role: "keeper" | "server";
  /** `server-0`, `keeper`: the process's name in logs and towards the keeper. */
  readonly name: string;
  /** The shared counters: a path that opens the supervisor's memory file. */
  readonly sharedPath: string;
  readonly epoch: string;
  readonly era: string;
  readonly channelPath: string;
  /** The port to listen on when it is decided already (a server that joins or returns). */
  readonly port: number;
  readonly startedAtMs: number;
}

export type ToChild =
  | { readonly type: "init"; readonly init: Init }
  /** `number` comes back with the answer. */
  | { readonly type: "reload"; readonly number: number; readonly config: Config; readonly era: string }
  | { readonly type: "stop"; readonly deadlineMs: number };

export type FromChild =
  | { readonly type: "ready"; readonly port: number }
  | { readonly type: "reloaded"; readonly number: number }
  /** A reload failed: the process goes on with the settings it had. */
  | { readonly type: "unchanged"; readonly number: number; readonly code: string; readonly message: string }
  | { readonly type: "failed"; readonly code: string; readonly message: string };
