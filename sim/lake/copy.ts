/** Copy Blob, Copy Blob From URL, Put Blob From URL, Put Block From URL: all done at once, within one service. */
import { authorise } from "./auth.ts";
import { slicedContent } from "./content.ts";
import { simError } from "./errors.ts";
import { type Blob, type Call, header, nextGuid, type SimResponse } from "./model.ts";
import { NEEDS } from "./operations.ts";
import { blobOf, changed, draftBlob, md5Base64, metadataOf, propertiesOf, store } from "./store.ts";
import { parseTarget } from "./target.ts";
import { claim, stageBlock } from "./write.ts";

/** The blob that `x-ms-copy-source` names. Throws CannotVerifyCopySource where it cannot be read. */
function sourceOf(call: Call): { blob: Blob; source: string } {
  const text = header(call, "x-ms-copy-source") ?? "";
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw simError("InvalidHeaderValue");
  }
  // The raw path: URL would fold `//` and dots no further than the service does, but it also re-encodes.
  const raw = text.slice(text.indexOf(url.host) + url.host.length);
  const place = parseTarget(call.state, raw, url.host);
  const account = call.state.accounts.get(place.accountName);
  if (account === undefined) throw simError("CannotVerifyCopySource");
  const source: Call = { ...call, ...place, account, method: "GET", headers: [], body: new Uint8Array(0) };
  const sameAccount = account === call.account && header(call, "authorization")?.startsWith("SharedKey") === true;
  try {
    // Within one account the SharedKey of the request also reads the source.
    if (!sameAccount || source.query.has("sig")) authorise(source, "GetBlob", NEEDS.GetBlob);
    return { blob: blobOf(source), source: text.split("?", 1)[0] ?? text };
  } catch {
    throw simError("CannotVerifyCopySource");
  }
}

export function copyBlob(call: Call): SimResponse {
  const { blob: from, source } = sourceOf(call);
  if (from.tier === "Archive") throw simError("BlobArchived");
  const slot = claim(call);
  const metadata = metadataOf(call);
  const copy = { id: nextGuid(call.state, "c0b1"), source, atMs: call.context.nowMs };
  const { type, content, contentMd5, properties, blocks } = from;
  const kept = { type, content, contentMd5, properties, blocks, copy };
  const draft = draftBlob(call, { ...kept, metadata: metadata.length === 0 ? from.metadata : metadata });
  return changed(202, store(call, slot, draft), ["x-ms-copy-id", copy.id, "x-ms-copy-status", "success"]);
}

export function putBlobFromUrl(call: Call): SimResponse {
  const { blob: from } = sourceOf(call);
  const slot = claim(call);
  const set = propertiesOf(call, false);
  const contentMd5 = from.contentMd5 ?? md5Base64(from.content.read(0, from.content.sizeBytes));
  const properties = new Map([...from.properties, ...set]);
  return changed(201, store(call, slot, draftBlob(call, { content: from.content, contentMd5, properties })));
}

export function putBlockFromUrl(call: Call): SimResponse {
  const { blob: from } = sourceOf(call);
  const match = /^bytes=(\d+)-(\d+)$/.exec(header(call, "x-ms-source-range") ?? "");
  if (match === null) return stageBlock(call, from.content);
  const first = Number(match[1]);
  const end = Math.min(Number(match[2]) + 1, from.content.sizeBytes);
  if (first >= end) throw simError("InvalidRange");
  return stageBlock(call, slicedContent(from.content, first, end - first));
}
