/** Runs a Forebay in this process: the ready line, the signals, the end. */

/** What a started Forebay offers. */
export interface Running {
  /** One for each account, the first of the settings first. */
  readonly blobUrls: readonly string[];
  readonly adminUrl: string;
  /** Stops gracefully. */
  stop(): Promise<void>;
  /** The exit status, once it has ended. */
  readonly done: Promise<number>;
}

/** What differs between `up` and `demo`. */
export interface RunOptions<T extends Running> {
  /** On SIGHUP. */
  readonly reload?: (running: T) => Promise<void>;
  /** Told of a failure that does not end the run. */
  readonly failed: (what: string, error: unknown) => void;
  /** After the ready line; the run ends when it resolves with an exit status. */
  readonly ready?: (running: T) => Promise<number | null>;
}

/** 128 and the signal's number, as shells have it. */
const STATUS_OF = { SIGINT: 130, SIGTERM: 143 } as const;

/** How long a start under way may take to become one that can be stopped, once a signal asks for that. */
const START_GRACE_MS = 2_000;

/**
 * Starts, prints the ready line, and resolves with the exit status. SIGTERM and SIGINT stop gracefully; a second SIGINT
 * ends everything at once. A signal during the start ends the process: those below it end with it.
 */
export async function runUntilStopped<T extends Running>(
  start: () => Promise<T>,
  options: RunOptions<T>,
): Promise<number> {
  let running: T | null = null;
  let asked: keyof typeof STATUS_OF | null = null;
  const stop = (forebay: T): void => {
    forebay.stop().catch((error: unknown) => options.failed("stop", error));
  };
  const onSignal = (signal: keyof typeof STATUS_OF): void => {
    const first = asked === null;
    asked ??= signal;
    if (running !== null && (first || signal === "SIGINT")) stop(running);
    else if (running === null && first) setTimeout(() => process.exit(STATUS_OF[signal]), START_GRACE_MS);
    else if (running === null) process.exit(STATUS_OF[signal]);
  };
  const onHangup = (): void => {
    if (running === null || asked !== null) return;
    options.reload?.(running).catch((error: unknown) => options.failed("reload", error));
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal).on("SIGHUP", onHangup);
  try {
    const forebay = await start();
    running = forebay;
    if (asked !== null) {
      stop(forebay);
      await forebay.done;
      return STATUS_OF[asked];
    }
    process.stdout.write(`forebay ready blob=${forebay.blobUrls[0]} admin=${forebay.adminUrl}\n`);
    const wanted = await Promise.race([options.ready?.(forebay) ?? null, forebay.done.then(() => null)]);
    if (wanted !== null) stop(forebay);
    const status = await forebay.done;
    return wanted ?? status;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal).off("SIGHUP", onHangup);
  }
}
