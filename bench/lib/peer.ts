/** A program measured beside Forebay: a free port for it, started, waited for, ended by its id. */

/** A running program. */
export interface Peer {
  readonly pid: number;
  /** Ends it and waits until it is gone. */
  stop(): Promise<void>;
}

const START_ATTEMPTS_MAX = 200;
const STOP_MS_MAX = 10_000;

/** Loopback ports that nobody uses now. */
export function freePorts(count: number): number[] {
  const listeners = Array.from({ length: count }, () =>
    Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } }),
  );
  const ports = listeners.map((listener) => listener.port);
  for (const listener of listeners) listener.stop(true);
  return ports;
}

/** Starts `command` and waits until `port` takes connections. It ends with this process where `setpriv` is installed. */
export async function startPeer(command: readonly string[], port: number): Promise<Peer> {
  const withUs = Bun.which("setpriv") === null ? [] : ["setpriv", "--pdeathsig", "TERM"];
  const child = Bun.spawn([...withUs, ...command], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  let said = "";
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) said = (said + decoder.decode(chunk, { stream: true })).slice(-4000);
  })();
  reading.catch(() => {});
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
    await child.exited;
    clearTimeout(late);
  };
  for (let attempt = 0; ; attempt++) {
    if (child.exitCode !== null) throw new Error(`${command[0]} ended with status ${child.exitCode}: ${said}`);
    try {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => {} } });
      socket.end();
      return { pid: child.pid, stop };
    } catch (error) {
      if (attempt < START_ATTEMPTS_MAX) await Bun.sleep(50);
      else {
        await stop();
        throw error;
      }
    }
  }
}

/**
 * The candidate with the highest value in short trials, each tried `trials` times in turn: the best configuration of a
 * peer for one row.
 */
export async function pickBest<Candidate>(
  candidates: readonly Candidate[],
  trials: number,
  measure: (candidate: Candidate) => Promise<number>,
): Promise<Candidate> {
  const best = new Map<Candidate, number>();
  for (let trial = 0; trial < trials; trial++) {
    for (const candidate of candidates) {
      best.set(candidate, Math.max(best.get(candidate) ?? 0, await measure(candidate)));
    }
  }
  const [first] = [...best].sort((a, b) => b[1] - a[1]);
  if (first === undefined) throw new Error("nothing to pick from");
  return first[0];
}
