/**
 * nginx as a cache in front of the lake: one worker, sendfile, proxy_cache. Which of its settings are best depends on
 * the size of the answers, so one nginx with one cache offers all of them, each on a port of its own: `pickBest` in
 * peer.ts finds the best one for a row.
 *
 * With `tcp_nopush on`, answers of 64 KiB stall for some 40 ms on kept-alive connections.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts, type Peer, startPeer } from "./peer.ts";

/** One way to configure nginx, and its port. */
export interface NginxFront {
  /** As `nginx, tcp_nopush on, open_file_cache off`. */
  readonly name: string;
  readonly port: number;
  readonly tcpNopush: boolean;
  readonly openFileCache: boolean;
  /** With https: whether the kernel encrypts, so that `sendfile` works there too. */
  readonly kernelTls: boolean;
}

export interface NginxOptions {
  /** A folder for its cache and configuration; it is made, and the caller removes it. */
  readonly folder: string;
  readonly lakePort: number;
  /** PEM files: every front speaks https. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
}

export interface Nginx extends Peer {
  readonly fronts: readonly NginxFront[];
}

/** What to say where nginx is missing. */
export const NO_NGINX = "nginx is not installed (apt-get install nginx-light)";

/** Whether nginx is installed here. */
export function hasNginx(): boolean {
  return Bun.which("nginx") !== null;
}

/** Starts nginx with a folder of its own and waits until it answers. All fronts share one cache: warm it by one. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const { folder } = options;
  for (const name of ["cache", "temp", "body"]) mkdirSync(join(folder, name), { recursive: true });
  // With https, opening the file is a small part of an answer, and who encrypts a large one.
  const [cached, kernel] = options.tls === undefined ? [[true, false], [false]] : [[true], [false, true]];
  const choices = cached.flatMap((openFileCache) =>
    [false, true].flatMap((tcpNopush) => kernel.map((kernelTls) => ({ openFileCache, tcpNopush, kernelTls }))),
  );
  const ports = freePorts(choices.length);
  const fronts = choices.map((choice, i) => ({ ...choice, name: nameOf(choice, options), port: ports[i] ?? 0 }));
  return { ...(await runNginx(folder, configText(options, fronts), ports[0] ?? 0)), fronts };
}

/** Runs one worker in `folder` with `http` inside its block of that name, and waits until `port` takes connections. */
export function runNginx(folder: string, http: string, port: number): Promise<Peer> {
  mkdirSync(join(folder, "logs"), { recursive: true });
  const config = join(folder, "nginx.conf");
  const user = Bun.env["USER"] ?? "root";
  writeFileSync(
    config,
    `
daemon off;
user ${user};
worker_processes 1;
pid ${folder}/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  sendfile_max_chunk 2m;
  keepalive_requests 100000000;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/temp;
${http}
}
`,
  );
  return startPeer(["nginx", "-p", folder, "-c", config, "-e", join(folder, "logs/error.log")], port);
}

function nameOf(front: Omit<NginxFront, "name" | "port">, { tls }: NginxOptions): string {
  const nopush = `tcp_nopush ${front.tcpNopush ? "on" : "off"}`;
  const files = `open_file_cache ${front.openFileCache ? "on" : "off"}`;
  return `nginx, ${nopush}, ${files}${tls === undefined ? "" : `, kernel TLS ${front.kernelTls ? "on" : "off"}`}`;
}

function configText({ folder, lakePort, tls }: NginxOptions, fronts: readonly NginxFront[]): string {
  return `
  proxy_cache_path ${folder}/cache levels=1:2 keys_zone=c:64m max_size=16g inactive=1h use_temp_path=off;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_cache c;
  proxy_cache_key $uri;
  proxy_cache_valid 200 1h;
  proxy_max_temp_file_size 0;
  upstream lake { server 127.0.0.1:${lakePort}; keepalive 64; }
${fronts.map((front) => serverText(front, tls)).join("")}`;
}

function serverText(front: NginxFront, tls: NginxOptions["tls"]): string {
  const certificate =
    tls === undefined
      ? ""
      : `
    ssl_certificate ${tls.certFile};
    ssl_certificate_key ${tls.keyFile};
    output_buffers 2 512k;${front.kernelTls ? "\n    ssl_conf_command Options KTLS;" : ""}`;
  const files = front.openFileCache
    ? "\n    open_file_cache max=200000 inactive=1h;\n    open_file_cache_valid 1h;"
    : "";
  return `  server {
    listen 127.0.0.1:${front.port}${tls === undefined ? "" : " ssl"} backlog=1024;
    tcp_nopush ${front.tcpNopush ? "on" : "off"};${files}${certificate}
    location / { proxy_pass http://lake; }
  }
`;
}
