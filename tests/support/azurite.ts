/**
 * The lake of the tests: Microsoft's Azurite on a loopback port of its own, in memory, in a process of its own. It
 * takes path style by address and account style by Host (`ACCOUNT.blob.localhost`).
 */
import { join } from "node:path";
import { END_WITH_PARENT, startChild } from "./process.ts";
import { tempFolder } from "./temp.ts";

/** An account and its keys, base64. */
export interface LakeAccount {
  readonly name: string;
  readonly key: string;
  readonly key2?: string;
}

/** Azurite's documented default account, with a second key. */
export const MAIN_ACCOUNT: LakeAccount = {
  name: "devstoreaccount1",
  key: "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
  key2: Buffer.from("the second key of the main account, for rotation").toString("base64"),
};

/** A second account: requests for it must not be answered by the keys of the first. */
export const OTHER_ACCOUNT: LakeAccount = {
  name: "otheraccount",
  key: Buffer.from("the only key of the other account of the tests").toString("base64"),
};

/** How Azurite is started. */
export interface AzuriteOptions {
  /** PEM files; with them it speaks https and takes bearer tokens. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  readonly accounts?: readonly LakeAccount[];
  /**
   * How long it keeps an idle connection. Its own default of 5 s lets a client that reuses connections run into the
   * closing of one, so tests that are not about that keep them for 2 minutes.
   */
  readonly keepAliveSeconds?: number;
  /** A port to listen on; 0, the default, for any. */
  readonly port?: number;
}

/** A running Azurite. */
export interface Azurite {
  readonly host: "127.0.0.1";
  readonly port: number;
  readonly tls: boolean;
  readonly pid: number;
  /** `http[s]://127.0.0.1:PORT/ACCOUNT`. */
  blobUrl(account?: LakeAccount): string;
  connectionString(account?: LakeAccount): string;
  stop(): Promise<void>;
}

const MAIN = join(import.meta.dir, "../../node_modules/azurite/dist/src/blob/main.js");

/** Starts Azurite and resolves when it listens. */
export async function startAzurite(options: AzuriteOptions = {}): Promise<Azurite> {
  const folder = tempFolder("azurite");
  const accounts = options.accounts ?? [MAIN_ACCOUNT, OTHER_ACCOUNT];
  const tls = options.tls;
  const child = startChild({
    name: "Azurite",
    command: [
      "node",
      "--require",
      END_WITH_PARENT,
      MAIN,
      "--blobHost",
      "127.0.0.1",
      "--blobPort",
      String(options.port ?? 0),
      "--blobKeepAliveTimeout",
      String(options.keepAliveSeconds ?? 120),
      "--silent",
      "--skipApiVersionCheck",
      "--inMemoryPersistence",
      "--disableTelemetry",
      ...(tls ? ["--cert", tls.certFile, "--key", tls.keyFile, "--oauth", "basic"] : []),
    ],
    cwd: folder.path,
    watchesParent: true,
    env: {
      AZURITE_ACCOUNTS: accounts
        .map(({ name, key, key2 }) => (key2 === undefined ? `${name}:${key}` : `${name}:${key}:${key2}`))
        .join(";"),
    },
  });
  const stop = async (): Promise<void> => {
    await child.stop(2_000);
    folder.remove();
  };
  const scheme = tls ? "https" : "http";
  try {
    const match = await child.line(/successfully listens on https?:\/\/127\.0\.0\.1:(\d+)/, 30_000);
    const port = Number(match[1]);
    const blobUrl = (account = MAIN_ACCOUNT): string => `${scheme}://127.0.0.1:${port}/${account.name}`;
    return {
      host: "127.0.0.1",
      port,
      tls: tls !== undefined,
      pid: child.pid,
      blobUrl,
      connectionString: (account = MAIN_ACCOUNT) =>
        `DefaultEndpointsProtocol=${scheme};AccountName=${account.name};AccountKey=${account.key};BlobEndpoint=${blobUrl(account)};`,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
