/** What the demo tells people, and the quick check of `--once`. */
import { createServiceSas } from "../src/blob/sas-text.ts";
import { SAMPLE_CONTAINER } from "./demo-data.ts";
import { DEMO_ACCOUNT, DEMO_KEY, demoConnectionString } from "./demo-lake.ts";
import { say } from "./output.ts";

const SAS_LIFE_MS = 7 * 24 * 3_600_000;
const LARGE = "shards/shard-0000-of-0003.tar";
const TABLE = "tables/samples.csv";

/** What the lines are made of. */
export interface DemoFacts {
  readonly blobUrls: readonly string[];
  readonly adminUrl: string;
  readonly lakeOrigin: string;
  readonly latencyMs: number;
  readonly folder: string;
  /** Whether colours are welcome. */
  readonly lively: boolean;
}

/** The URL of a sample blob behind `blobUrl`, with a SAS that may read the container. */
function readUrl(blobUrl: string, blob: string): string {
  const key = Buffer.from(DEMO_KEY, "base64");
  const wish = { permissions: "rl", expiresAtMs: Date.now() + SAS_LIFE_MS };
  return `${blobUrl}/${SAMPLE_CONTAINER}/${blob}?${createServiceSas(DEMO_ACCOUNT, key, { container: SAMPLE_CONTAINER }, wish)}`;
}

/** The lines for people, once all is ready. */
export function welcome(facts: DemoFacts): string[] {
  const blobUrl = facts.blobUrls[0] ?? "";
  const origin = new URL(blobUrl).origin;
  const title = (text: string): string => (facts.lively ? `\x1b[1m${text}\x1b[0m` : text);
  const admin = new URL(facts.adminUrl).host;
  const flag = admin === "127.0.0.1:10190" ? "" : ` --admin ${admin}`;
  const far = facts.latencyMs === 0 ? "" : `, every answer ${facts.latencyMs} ms late`;
  return [
    "",
    `${title("The lake")} (Azurite${far}) is ${facts.lakeOrigin}; ${title("Forebay")} in front of it is ${origin}.`,
    `Container "${SAMPLE_CONTAINER}" holds some 2,000 blobs; everything is kept in ${facts.folder}.`,
    "",
    title("Connection string"),
    `  ${demoConnectionString(origin)}`,
    "",
    title("curl"),
    "  read twice; the second time x-forebay says hit",
    `  curl -sD- -o /dev/null '${readUrl(blobUrl, LARGE)}'`,
    `  curl -s '${readUrl(blobUrl, TABLE)}' | head -3`,
    "",
    title("Python"),
    "  from azure.storage.blob import BlobServiceClient",
    '  service = BlobServiceClient.from_connection_string("the connection string above")',
    `  print(service.get_blob_client("${SAMPLE_CONTAINER}", "${TABLE}").download_blob().readall()[:100])`,
    "",
    title("JavaScript"),
    '  import { BlobServiceClient } from "@azure/storage-blob";',
    '  const service = BlobServiceClient.fromConnectionString("the connection string above");',
    `  const blob = service.getContainerClient("${SAMPLE_CONTAINER}").getBlobClient("${TABLE}");`,
    "  console.log((await blob.downloadToBuffer()).toString().slice(0, 100));",
    "",
    title("Then"),
    `  ./forebay status${flag}     hits, bytes, flash; ${facts.adminUrl}/metrics for Prometheus`,
    "  Ctrl-C stops everything.",
    "",
  ];
}

/** Reads a blob twice and says how each was answered; the exit status. */
export async function readSample(blobUrl: string): Promise<number> {
  const seen: string[] = [];
  for (const turn of ["first", "second"]) {
    const start = performance.now();
    const response = await fetch(readUrl(blobUrl, LARGE));
    const bytes = (await response.arrayBuffer()).byteLength;
    const how = response.headers.get("x-forebay") ?? "no x-forebay";
    const ms = Math.round(performance.now() - start);
    say(`${turn} read of ${LARGE}: ${response.status}, ${bytes} bytes in ${ms} ms, ${how}`);
    if (!response.ok) return 1;
    seen.push(how);
  }
  return seen[1] === "hit" ? 0 : 1;
}
