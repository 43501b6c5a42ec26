/** nginx as a server of plain files: one worker, sendfile, each way to configure it on a port of its own. */
import { descriptorsMax } from "../../src/io/descriptors.ts";
import { runNginx } from "./nginx.ts";
import { freePorts, type Peer } from "./peer.ts";

/** One way to serve the files. */
export interface StaticFront {
  readonly name: string;
  readonly port: number;
}

export interface StaticNginx extends Peer {
  readonly fronts: readonly StaticFront[];
}

/** Its bound on open files is that of this process: it has to keep some for connections. */
const CACHED_MAX = Math.max(1_000, Math.min(200_000, (descriptorsMax() ?? 0) - 5_000));
const CACHE = `open_file_cache max=${CACHED_MAX} inactive=1h; open_file_cache_valid 1h;`;
const NO_CACHE = "open_file_cache off;";

const WAYS = [
  { name: "nginx, plain files", nopush: "off", cache: NO_CACHE },
  { name: "nginx, plain files, tcp_nopush on", nopush: "on", cache: NO_CACHE },
  { name: "nginx, open_file_cache", nopush: "off", cache: "" },
  { name: "nginx, open_file_cache, tcp_nopush on", nopush: "on", cache: "" },
];

/** Serves what is below `root`; its own files go to `folder`, which the caller removes. */
export async function startStaticNginx(folder: string, root: string): Promise<StaticNginx> {
  const ports = freePorts(WAYS.length);
  const servers = WAYS.map(
    ({ nopush, cache }, i) => `
  server {
    listen 127.0.0.1:${ports[i]};
    root ${root};
    tcp_nopush ${nopush};
    ${cache}
  }`,
  );
  const http = `
  ${CACHE} # one for all servers that do not say otherwise
  default_type application/octet-stream;
${servers.join("")}`;
  const peer = await runNginx(folder, http, ports[0] ?? 0);
  return { ...peer, fronts: WAYS.map(({ name }, i) => ({ name, port: ports[i] ?? 0 })) };
}
