/**
 * Varnish (Debian's package) as a cache in front of the lake, answering from RAM. Like nginx beside it, it verifies
 * nothing: whoever asks gets what is cached.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts, type Peer, startPeer } from "./peer.ts";

export interface VarnishOptions {
  /** A folder for its working files; it is made, and the caller removes it. */
  readonly folder: string;
  readonly lakePort: number;
  /** RAM for bodies. */
  readonly storageMib: number;
}

export interface Varnish extends Peer {
  readonly port: number;
}

/** What to say where varnish is missing. */
export const NO_VARNISH = "varnish is not installed (apt-get install varnish)";

/** Whether varnish is installed here. */
export function hasVarnish(): boolean {
  return Bun.which("varnishd") !== null;
}

/** Starts varnish and waits until it answers. Warm it with whole reads: it asks the lake without the caller's range. */
export async function startVarnish({ folder, lakePort, storageMib }: VarnishOptions): Promise<Varnish> {
  mkdirSync(folder, { recursive: true });
  const [port = 0] = freePorts(1);
  const vcl = join(folder, "cache.vcl");
  writeFileSync(vcl, vclText(lakePort));
  const place = ["-F", "-n", join(folder, "work"), "-a", `127.0.0.1:${port}`, "-T", "none", "-j", "none"];
  const storage = ["-s", `malloc,${storageMib}m`, "-p", "default_grace=0", "-p", "nuke_limit=1000"];
  const command = ["varnishd", ...place, ...storage, "-f", vcl];
  return { ...(await startPeer(command, port)), port };
}

function vclText(lakePort: number): string {
  return `vcl 4.1;
backend lake { .host = "127.0.0.1"; .port = "${lakePort}"; }
sub vcl_recv {
  if (req.method != "GET" && req.method != "HEAD") { return (pass); }
  return (hash);
}
sub vcl_hash {
  hash_data(regsub(req.url, "\\?.*$", ""));
  return (lookup);
}
sub vcl_backend_response {
  set beresp.ttl = 1h;
  return (deliver);
}
`;
}
