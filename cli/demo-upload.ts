/** Puts the sample dataset into the demo's lake, once: a marker blob says that it is all there. */
import { ForebayError } from "../src/base/errors.ts";
import { MIB } from "../src/base/limits.ts";
import { createAccountSas } from "../src/blob/sas-text.ts";
import { SAMPLE_CONTAINER, SAMPLE_VERSION, type SampleBlob, sampleBlobs } from "./demo-data.ts";
import { DEMO_ACCOUNT, DEMO_KEY } from "./demo-lake.ts";
import { startProgress } from "./output.ts";

const BLOCK_BYTES = 8 * MIB;
const UPLOADS_AT_ONCE = 8;
const MARKER = ".forebay-sample";
const SAS_LIFE_MS = 24 * 3_600_000;

/** `name` as it stands in a URL. */
export function encodeName(name: string): string {
  return name.split("/").map(encodeURIComponent).join("/");
}

/** Loads the dataset into the lake at `origin` unless it is there. Says whether it had to. */
export async function loadSample(origin: string): Promise<boolean> {
  const key = Buffer.from(DEMO_KEY, "base64");
  const expiresAtMs = Date.now() + SAS_LIFE_MS;
  const sas = createAccountSas(DEMO_ACCOUNT, key, { permissions: "rwlc", expiresAtMs });
  const container = `${origin}/${DEMO_ACCOUNT}/${SAMPLE_CONTAINER}`;
  const url = (blob: string, query = ""): string => `${container}/${encodeName(blob)}?${query}${sas}`;

  const marker = await fetch(url(MARKER));
  if (marker.ok && (await marker.text()) === SAMPLE_VERSION) return false;
  await send(`${container}?restype=container&${sas}`, "PUT", null, {}, [201, 409]);
  const blobs = sampleBlobs();
  const total = blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0);
  const progress = startProgress("loading the sample dataset", total);
  // The large ones first: else some workers would wait for them at the end.
  const waiting = blobs.sort((a, b) => b.sizeBytes - a.sizeBytes).values();
  const worker = async (): Promise<void> => {
    for (const blob of waiting) await upload(blob, url, progress.add);
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, worker));
  await send(url(MARKER), "PUT", new TextEncoder().encode(SAMPLE_VERSION), { "x-ms-blob-type": "BlockBlob" }, [201]);
  progress.end();
  return true;
}

async function upload(
  blob: SampleBlob,
  url: (blob: string, query?: string) => string,
  sent: (bytes: number) => void,
): Promise<void> {
  const type = { "x-ms-blob-content-type": blob.contentType };
  if (blob.sizeBytes <= BLOCK_BYTES) {
    const headers = { "x-ms-blob-type": "BlockBlob", ...type };
    await send(url(blob.name), "PUT", blob.bytes(0, blob.sizeBytes), headers, [201]);
    sent(blob.sizeBytes);
    return;
  }
  let list = "";
  for (let offset = 0; offset < blob.sizeBytes; offset += BLOCK_BYTES) {
    const id = Buffer.from(String(offset).padStart(15, "0")).toString("base64");
    const bytes = blob.bytes(offset, BLOCK_BYTES);
    await send(url(blob.name, `comp=block&blockid=${encodeURIComponent(id)}&`), "PUT", bytes, {}, [201]);
    list += `<Latest>${id}</Latest>`;
    sent(bytes.length);
  }
  const body = new TextEncoder().encode(`<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`);
  await send(url(blob.name, "comp=blocklist&"), "PUT", body, type, [201]);
}

async function send(
  url: string,
  method: string,
  body: Uint8Array | null,
  headers: Readonly<Record<string, string>>,
  good: readonly number[],
): Promise<void> {
  const response = await fetch(url, {
    method,
    headers: { "x-ms-version": "2021-12-02", ...headers },
    body: body as BodyInit | null,
  });
  const answer = await response.text();
  if (good.includes(response.status)) return;
  const where = new URL(url).pathname;
  throw new ForebayError(
    "lake-refused",
    `the demo's lake answered ${response.status} to ${method} ${where}: ${answer.slice(0, 200)}`,
  );
}
