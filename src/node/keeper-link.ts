/** A server's channel to the keeper: connects, says who it is, and connects again for as long as the server lives. */
import { connectChannel, type Peer } from "../io/channel.ts";

export interface KeeperLink {
  /** The channel, or null while the keeper is away. */
  readonly peer: () => Peer | null;
  /** The name that the keeper knows this connection by: what it had granted by an earlier name ends with that one. */
  readonly holder: () => string;
  /** Resolves when the keeper was sent what it was to be told (see {@link Peer.close}). */
  close(): Promise<void>;
}

export interface KeeperLinkOptions {
  readonly path: string;
  /** The server's name; each connection adds its number to it. */
  readonly holder: string;
  /** Answers the keeper's own calls. */
  readonly answer: (method: string, args: readonly unknown[]) => Promise<unknown>;
  /** The keeper is there (again): what was known of an earlier one may not hold. */
  readonly joined: () => void;
}

const RETRY_PAUSE_MS = 100;
const HELLO_TIMEOUT_MS = 5_000;

/** Starts linking. Resolves once the first connection stands, or when `firstWaitMs` passed without one. */
export async function linkKeeper(options: KeeperLinkOptions, firstWaitMs: number): Promise<KeeperLink> {
  let peer: Peer | null = null;
  let open = true;
  let connections = 0;
  let holder = options.holder;
  const connect = async (): Promise<void> => {
    const joined = await connectChannel(options.path, (method, args) => options.answer(method, args));
    const name = `${options.holder}-${++connections}`;
    try {
      await joined.call("hello", [name], HELLO_TIMEOUT_MS);
      options.joined();
    } catch (error) {
      void joined.close();
      throw error;
    }
    if (!open) {
      void joined.close();
      return;
    }
    peer = joined;
    holder = name;
    void joined.closed.then(() => {
      peer = null;
      void again();
    });
  };
  const again = async (): Promise<void> => {
    while (open && peer === null) {
      try {
        await connect();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS));
      }
    }
  };
  await Promise.race([again(), new Promise((resolve) => setTimeout(resolve, firstWaitMs))]);
  return {
    peer: () => peer,
    holder: () => holder,
    close: async () => {
      open = false;
      await peer?.close();
    },
  };
}
