/** Changes through Forebay, and what their clients were told. */
import type { Received } from "../../sim/exchange.ts";
import { headerOf } from "../../src/http/types.ts";
import { API_VERSIONS } from "./clients.ts";
import { bytesOf, pickServer, type Running } from "./running.ts";
import { type Action, BLOBS } from "./steps.ts";

export type WriteAction = Extract<Action, { do: "write" }>;

export interface Writers {
  /** Makes a change at server `server`; resolves when its client knows all that it will. */
  write(running: Running, server: number, action: WriteAction): Promise<void>;
}

interface Sending {
  readonly method: string;
  readonly name: string;
  readonly query?: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: Uint8Array;
}

export function createWriters(): Writers {
  return { write };
}

async function send(running: Running, server: number, action: WriteAction, sending: Sending): Promise<Received | null> {
  const { world, clients } = running;
  const at = pickServer(running, server);
  if (at === null) return null;
  const { method, name, query, body } = sending;
  const headers: [string, string][] = [["x-ms-version", API_VERSIONS[0]]];
  for (const [header, value] of sending.headers ?? []) headers.push([header, value]);
  const draft = { method, name, headers, contentLength: body?.length ?? 0, ...(query === undefined ? {} : { query }) };
  const signed = clients.sign(action.caller, draft, world.clock.wallMs());
  const all = [...signed.headers, ...(body === undefined ? [] : ["Content-Length", String(body.length)])];
  const manners = action.leaveAfterMs === null ? {} : { leaveAfterMs: action.leaveAfterMs };
  const request = { method, target: signed.target, headers: all, body: body ?? null, manners };
  const received = await world.send(at, request).received;
  if (received.ending !== "left" && received.status >= 200 && received.status < 300)
    acknowledge(running, sending, received);
  return received;
}

/** Notes what an acknowledgement promises about later reads. */
function acknowledge(running: Running, sending: Sending, received: Received): void {
  const { world, acknowledged } = running;
  const { startedAtMs, headAtMs } = received;
  const container = sending.name.split("/")[0] ?? "";
  const names = sending.name.includes("/") ? [sending.name] : BLOBS.filter((name) => name.startsWith(`${container}/`));
  const etag = headerOf(received.headers, "etag");
  for (const name of names) {
    const states = world.lake.states(name);
    const made = states.find((state) =>
      sending.method === "DELETE"
        ? state.etag === null && state.fromMs >= startedAtMs && state.fromMs <= headAtMs
        : etag !== undefined && state.etag === etag && state.fromMs >= startedAtMs,
    );
    if (made !== undefined) acknowledged.push({ name, atMs: headAtMs, seq: made.seq });
  }
}

async function write(running: Running, server: number, action: WriteAction): Promise<void> {
  const { name, content, size } = action;
  const typed = ["Content-Type", `kind/${content % 5}`] as const;
  switch (action.kind) {
    case "put": {
      const headers = [["x-ms-blob-type", "BlockBlob"], typed, ["x-ms-meta-content", String(content)]] as const;
      await send(running, server, action, { method: "PUT", name, headers, body: bytesOf(content, size) });
      return;
    }
    case "blocks":
    case "wrong-md5":
      await writeBlocks(running, server, action);
      return;
    case "metadata":
      await send(running, server, action, {
        method: "PUT",
        name,
        query: "comp=metadata",
        headers: [["x-ms-meta-content", String(content)]],
        body: new Uint8Array(0),
      });
      return;
    case "tags": {
      const text = `<?xml version="1.0" encoding="utf-8"?><Tags><TagSet><Tag><Key>k</Key><Value>${content}</Value></Tag></TagSet></Tags>`;
      const body = new Uint8Array(Buffer.from(text));
      await send(running, server, action, { method: "PUT", name, query: "comp=tags", body });
      return;
    }
    case "delete":
      await send(running, server, action, {
        method: "DELETE",
        name,
        headers: [["x-ms-delete-snapshots", "include"]],
      });
      return;
    case "snapshot":
      await takeSnapshot(running, server, action);
      return;
    case "wipe":
      await wipe(running, server, action);
  }
}

/** Three blocks and their list; `wrong-md5` has the lake keep an MD5 that is not that of the bytes. */
async function writeBlocks(running: Running, server: number, action: WriteAction): Promise<void> {
  const { name, content, size, kind } = action;
  const bytes = bytesOf(content, size);
  const cuts = [0, Math.floor(size / 3), Math.floor(size / 2), size];
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) {
    const body = bytes.slice(cuts[i], cuts[i + 1]);
    if (body.length === 0) continue;
    const id = Buffer.from(`${content}-${i}`.padEnd(16, "x")).toString("base64");
    ids.push(id);
    const query = `comp=block&blockid=${encodeURIComponent(id)}`;
    const staged = await send(running, server + i, action, { method: "PUT", name, query, body });
    if (staged?.status !== 201) return;
  }
  const list = ids.map((id) => `<Latest>${id}</Latest>`).join("");
  const body = new Uint8Array(Buffer.from(`<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`));
  const md5 = Buffer.from(bytesOf(content ^ 1, 16)).toString("base64");
  const headers = kind === "wrong-md5" ? ([["x-ms-blob-content-md5", md5]] as const) : [];
  await send(running, server, action, { method: "PUT", name, query: "comp=blocklist", headers, body });
}

async function takeSnapshot(running: Running, server: number, action: WriteAction): Promise<void> {
  const { name } = action;
  const sending = { method: "PUT", name, query: "comp=snapshot", body: new Uint8Array(0) };
  const received = await send(running, server, action, sending);
  const moment = headerOf(received?.headers ?? [], "x-ms-snapshot");
  if (received?.status !== 201 || moment === undefined) return;
  const written = encodeURIComponent(moment);
  running.world.lake.watch(`${name}?snapshot=${written}`);
  running.snapshots.set(name, [...(running.snapshots.get(name) ?? []), written]);
}

/** Deletes a container and makes it anew. */
async function wipe(running: Running, server: number, action: WriteAction): Promise<void> {
  const container = action.name.split("/")[0] ?? "";
  // The access of those two is part of the scene.
  if (container === "open" || container === "strict") return;
  const query = "restype=container";
  await send(running, server, action, { method: "DELETE", name: container, query });
  for (let attempt = 0; attempt < 20; attempt++) {
    const sending = { method: "PUT", name: container, query, body: new Uint8Array(0) };
    const made = await send(running, server, { ...action, leaveAfterMs: null }, sending);
    if (made?.status === 201 || made?.status === 409) return;
    await running.world.clock.sleep(5_000);
  }
}
