/** Microsoft's Azurite as a process of its own on a free loopback port, for tests against a real blob service. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The account and key that Azurite is born with; both are published. */
export const AZURITE_ACCOUNT = "devstoreaccount1";
export const AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

export interface Azurite {
  readonly port: number;
  readonly url: string;
  readonly connectionString: string;
  close(): Promise<void>;
}

const MAIN = join(import.meta.dir, "../node_modules/azurite/dist/src/blob/main.js");
const START_ATTEMPTS_MAX = 3;
const WAIT_ATTEMPTS_MAX = 300;

/** Starts Azurite with its data in memory. Its folder is removed when it is closed. */
export async function startAzurite(): Promise<Azurite> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      // Between finding a free port and using it, somebody else may have taken it.
      if (attempt >= START_ATTEMPTS_MAX) throw error;
    }
  }
}

async function start(): Promise<Azurite> {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "forebay-azurite-"));
  const place = ["--blobHost", "127.0.0.1", "--blobPort", String(port)];
  const flags = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"];
  const child = spawn("node", [MAIN, ...place, ...flags], { cwd: folder, stdio: "ignore" });
  const close = async (): Promise<void> => {
    await end(child);
    await rm(folder, { recursive: true, force: true });
  };
  const url = `http://127.0.0.1:${port}/${AZURITE_ACCOUNT}`;
  try {
    await answering(child, url);
  } catch (error) {
    await close();
    throw error;
  }
  const connectionString = `DefaultEndpointsProtocol=http;AccountName=${AZURITE_ACCOUNT};AccountKey=${AZURITE_KEY};BlobEndpoint=${url};`;
  return { port, url, connectionString, close };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function answering(child: ChildProcess, url: string): Promise<void> {
  for (let attempt = 0; attempt < WAIT_ATTEMPTS_MAX; attempt++) {
    if (child.exitCode !== null) throw new Error(`Azurite ended with ${child.exitCode}`);
    try {
      await fetch(`${url}?comp=list`);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  throw new Error("Azurite does not answer");
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}
