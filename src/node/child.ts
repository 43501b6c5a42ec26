/**
 * The life of a child process: it gets its {@link Init} from the supervisor, says when it is ready, reloads and stops
 * when told, and dies when the supervisor does. There is no state worth saving on the way out: start-up is recovery.
 */
import { asForebayError } from "../base/errors.ts";
import { dieWithParent } from "../io/syscalls.ts";
import type { Config } from "./config.ts";
import type { FromChild, Init, ToChild } from "./messages.ts";

/** What a role does with its process. */
export interface Running {
  /** The port that it listens on; 0 for none. */
  readonly port: number;
  reload(config: Config, era: string): Promise<void>;
  stop(deadlineMs: number): Promise<void>;
}

function tell(message: FromChild): void {
  process.send?.(message);
}

/** Runs `start` as this process's role until the supervisor ends it. */
export function runChild(start: (init: Init) => Promise<Running>): void {
  dieWithParent();
  let running: Running | null = null;
  // One after the other: a reload that comes during the start would else find nothing to reload.
  let turn: Promise<void> = Promise.resolve();
  // The terminal sends Ctrl-C to every process of the group: only the supervisor acts on it.
  process.on("SIGINT", () => {});
  process.on("SIGHUP", () => {});
  process.on("SIGTERM", () => {});
  process.on("disconnect", () => process.exit(0));
  process.on("message", (raw: unknown) => {
    const message = raw as ToChild;
    turn = turn.then(() => act(message)).catch((error: unknown) => failed(message, error));
  });
  const failed = (what: ToChild, error: unknown): void => {
    const { code, message } = asForebayError(error);
    // Whoever cannot follow a reload goes on with what it has: better an old certificate than no service.
    if (what.type === "reload") {
      tell({ type: "unchanged", number: what.number, code, message });
      return;
    }
    tell({ type: "failed", code, message });
    setTimeout(() => process.exit(1), 100);
  };
  const act = async (message: ToChild): Promise<void> => {
    switch (message.type) {
      case "init":
        running = await start(message.init);
        tell({ type: "ready", port: running.port });
        return;
      case "reload":
        await running?.reload(message.config, message.era);
        tell({ type: "reloaded", number: message.number });
        return;
      case "stop":
        await running?.stop(message.deadlineMs);
        process.exit(0);
    }
  };
}
