/** A server's channel to the keeper: connects, says who it is, and connects again for as long as the server lives. */
import { connectChannel, type Peer } from "../io/channel.ts";

export interface KeeperLink {
  /** The channel, or null while the keeper is away. */
  readonly peer: () => Peer | null;
  close(): void;
}

export interface KeeperLinkOptions {
  readonly path: string;
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
  const connect = async (): Promise<void> => {
    const joined = await connectChannel(options.path, (method, args) => options.answer(method, args));
    try {
      await joined.call("hello", [options.holder], HELLO_TIMEOUT_MS);
      options.joined();
    } catch (error) {
      joined.close();
      throw error;
    }
    if (!open) return joined.close();
    peer = joined;
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
    close: () => {
      open = false;
      peer?.close();
    },
  };
}
