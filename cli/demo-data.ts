/**
 * The sample dataset of the demo: the same bytes on every machine. Many small blobs in nested prefixes, a few large
 * ones, names that test a client's encoding, and something that people can read.
 */
import { MIB } from "../src/base/limits.ts";
import { type Random, seededRandom } from "../src/base/random.ts";

/** One blob of the dataset. */
export interface SampleBlob {
  readonly name: string;
  readonly sizeBytes: number;
  readonly contentType: string;
  /** Bytes [offset, offset + length). */
  bytes(offset: number, length: number): Uint8Array;
}

/** The container that holds it. */
export const SAMPLE_CONTAINER = "datasets";
/** Changes whenever the dataset does. */
export const SAMPLE_VERSION = "1";

const SMALL_BLOBS = 2_000;
const CLASSES = 20;
const SMALL_BYTES_MIN = 2_048;
const SMALL_BYTES_MAX = 48 * 1_024;
const LARGE_MIB = [100, 100, 128];
const PAGE_BYTES = 4_096;
const NOISE_BYTES = 1 * MIB;

const ODD_NAMES = [
  "names/with space.txt",
  "names/100%.txt",
  "names/a+b=c&d.txt",
  "names/Übergröße-データ-🌊.txt",
  "names//double//slash.txt",
  "names/percent%20encoded.txt",
  "names/semi;colon,comma'quote.txt",
];

/** Every blob of the dataset, in a fixed order. */
export function sampleBlobs(): SampleBlob[] {
  const random = seededRandom(20_240_501);
  const noise = random.fill(new Uint8Array(NOISE_BYTES));
  const blobs: SampleBlob[] = [
    text("README.txt", README),
    text("tables/samples.csv", csv(random)),
    text("tables/labels.jsonl", labels(random)),
  ];
  for (const name of ODD_NAMES) blobs.push(text(name, `The name of this blob is ${JSON.stringify(name)}.\n`));
  for (let i = 0; i < SMALL_BLOBS; i++) {
    const size = SMALL_BYTES_MIN + random.below(SMALL_BYTES_MAX - SMALL_BYTES_MIN);
    const kind = i % 10 === 0 ? "validation" : "train";
    const name = `images/${kind}/class-${pad(i % CLASSES, 2)}/sample-${pad(i, 5)}.bin`;
    blobs.push(noisy(name, size, i, noise));
  }
  for (const [i, mebibytes] of LARGE_MIB.entries()) {
    blobs.push(
      noisy(`shards/shard-${pad(i, 4)}-of-${pad(LARGE_MIB.length, 4)}.tar`, mebibytes * MIB, SMALL_BLOBS + i, noise),
    );
  }
  return blobs;
}

const README = `The sample dataset of Forebay's demo.

images/   2,000 small blobs in nested prefixes, as a training set of pictures has them
shards/   a few large blobs, as WebDataset or checkpoint shards are
tables/   a CSV and a JSON Lines file to read
names/    names that show whether a client encodes them rightly

All bytes are made up, and the same everywhere.
`;

function csv(random: Random): string {
  const rows = ["sample_id,class,split,width_px,height_px,loss"];
  for (let i = 0; i < SMALL_BLOBS; i++) {
    const split = i % 10 === 0 ? "validation" : "train";
    const loss = (random.below(100_000) / 20_000).toFixed(4);
    rows.push(
      `${i},class-${pad(i % CLASSES, 2)},${split},${256 + random.below(768)},${256 + random.below(768)},${loss}`,
    );
  }
  return `${rows.join("\n")}\n`;
}

function labels(random: Random): string {
  const lines: string[] = [];
  for (let i = 0; i < SMALL_BLOBS; i++) {
    const box = [0, 1, 2, 3].map(() => random.below(512));
    lines.push(JSON.stringify({ sample: i, class: `class-${pad(i % CLASSES, 2)}`, box }));
  }
  return `${lines.join("\n")}\n`;
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, "0");
}

function text(name: string, content: string): SampleBlob {
  const bytes = new TextEncoder().encode(content);
  const kind = name.endsWith(".csv") ? "text/csv" : name.endsWith(".jsonl") ? "application/x-ndjson" : "text/plain";
  return {
    name,
    sizeBytes: bytes.length,
    contentType: `${kind}; charset=utf-8`,
    bytes: (offset, length) => bytes.subarray(offset, offset + length),
  };
}

/** Noise that repeats, with the blob's and the page's number at the start of each page: no two pages are alike. */
function noisy(name: string, sizeBytes: number, id: number, noise: Uint8Array): SampleBlob {
  const bytes = (offset: number, length: number): Uint8Array<ArrayBuffer> => {
    const out = new Uint8Array(Math.min(length, sizeBytes - offset));
    for (let at = 0; at < out.length; ) {
      const from = (offset + at) % NOISE_BYTES;
      const count = Math.min(out.length - at, NOISE_BYTES - from);
      out.set(noise.subarray(from, from + count), at);
      at += count;
    }
    const view = new DataView(out.buffer);
    const first = Math.ceil(offset / PAGE_BYTES);
    for (let page = first; page * PAGE_BYTES + 8 <= offset + out.length; page++) {
      view.setUint32(page * PAGE_BYTES - offset, id);
      view.setUint32(page * PAGE_BYTES - offset + 4, page);
    }
    return out;
  };
  return { name, sizeBytes, contentType: "application/octet-stream", bytes };
}
