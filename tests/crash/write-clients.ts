/**
 * Writers through the JavaScript SDK, each with blobs of its own: small ones, ones of several blocks, deletions. They
 * note what was acknowledged, so that afterwards each blob can be judged: it is what was acknowledged last, or what was
 * tried after that and never answered.
 */
import { BlobServiceClient, type ContainerClient } from "@azure/storage-blob";
import type { Random } from "../../src/base/random.ts";
import { pattern } from "../system/harness.ts";

/** What a blob may hold: the bytes of a seed, or nothing. */
export interface Content {
  readonly seed: number;
  /** Null: it does not exist. */
  readonly sizeBytes: number | null;
}

const NOTHING: Content = { seed: 0, sizeBytes: null };

/** A blob and what may be in it. */
export interface Ledger {
  readonly name: string;
  /** The last one was acknowledged, or found there, before all of those after it. */
  possible: Content[];
}

export interface Written {
  acknowledged: number;
  acknowledgedBytes: number;
  /** Attempts without an answer. */
  unknown: number;
  /** What must never be. */
  readonly wrong: string[];
}

export const nothingWritten = (): Written => ({ acknowledged: 0, acknowledgedBytes: 0, unknown: 0, wrong: [] });

const TRY_MS = 20_000;
const BLOCK_BYTES = 1 << 20;
const SMALL_BYTES_MAX = 100 << 10;
const BLOCKS_MAX = 6;

/** A client that tries once and gives up after {@link TRY_MS}. */
export function clientOf(blobUrl: string, account: string, key: string, container: string): ContainerClient {
  const text = `DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${key};BlobEndpoint=${blobUrl};`;
  const retryOptions = { maxTries: 1, tryTimeoutInMs: TRY_MS };
  return BlobServiceClient.fromConnectionString(text, { retryOptions }).getContainerClient(container);
}

export function bytesOf({ seed, sizeBytes }: Content): Buffer {
  const bytes = pattern(seed, sizeBytes ?? 0).read(0, sizeBytes ?? 0);
  return Buffer.from(bytes);
}

/** Writes on `ledgers` until `stopped`. One writer for each ledger at a time. */
export async function writeOn(
  client: ContainerClient,
  ledgers: readonly Ledger[],
  random: Random,
  seen: Written,
  stopped: () => boolean,
  nextSeed: () => number,
): Promise<void> {
  while (!stopped()) {
    const ledger = random.pick(ledgers);
    const kind = random.below(10);
    const seed = nextSeed();
    const wanted: Content =
      kind === 0
        ? NOTHING
        : {
            seed,
            sizeBytes: kind < 6 ? random.below(SMALL_BYTES_MAX) : BLOCK_BYTES + random.below(BLOCKS_MAX * BLOCK_BYTES),
          };
    ledger.possible.push(wanted);
    try {
      const known = await attempt(client, ledger.name, wanted, kind);
      if (!known) ledger.possible.pop();
      else {
        ledger.possible = [wanted];
        seen.acknowledged++;
        seen.acknowledgedBytes += wanted.sizeBytes ?? 0;
      }
    } catch (error) {
      seen.unknown++;
      const text = String(error);
      if (/TimeoutError|aborted due to timeout/.test(text))
        seen.wrong.push(`${ledger.name}: a write was stuck: ${text}`);
      await Bun.sleep(20);
    }
  }
}

/** Whether it was acknowledged; false: it was answered that it did not happen. */
async function attempt(client: ContainerClient, name: string, wanted: Content, kind: number): Promise<boolean> {
  const blob = client.getBlockBlobClient(name);
  const abortSignal = AbortSignal.timeout(TRY_MS);
  if (wanted.sizeBytes === null) {
    const answer = await blob.deleteIfExists({ abortSignal });
    return answer.succeeded || answer.errorCode === "BlobNotFound";
  }
  const bytes = bytesOf(wanted);
  if (kind < 6) await blob.upload(bytes, bytes.length, { abortSignal });
  else await blob.uploadData(bytes, { blockSize: BLOCK_BYTES, maxSingleShotSize: 0, concurrency: 3, abortSignal });
  return true;
}

/**
 * Reads a blob and says what is wrong with it, or null. What it holds is then the only thing that it may hold: nobody
 * writes meanwhile.
 */
export async function judge(client: ContainerClient, ledger: Ledger, where: string): Promise<string | null> {
  let found: Buffer | null = null;
  try {
    found = await client.getBlockBlobClient(ledger.name).downloadToBuffer();
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode !== 404)
      return `${ledger.name}: not readable ${where}: ${String(error)}`;
  }
  const match = ledger.possible.find((content) =>
    content.sizeBytes === null || found === null
      ? content.sizeBytes === null && found === null
      : content.sizeBytes === found.length && bytesOf(content).equals(found),
  );
  if (match !== undefined) {
    ledger.possible = [match];
    return null;
  }
  const known = ledger.possible.map(({ seed, sizeBytes }) => `${seed} (${sizeBytes ?? "deleted"})`).join(", ");
  return `${ledger.name} ${where}: ${found === null ? "nothing" : `${found.length} bytes`}, which is none of ${known}`;
}
