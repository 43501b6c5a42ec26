/** nginx as a cache in front of the lake, in its best configuration for this: one worker, sendfile, proxy_cache. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface NginxOptions {
  readonly folder: string;
  readonly port: number;
  readonly lakePort: number;
  readonly tcpNopush: boolean;
  readonly openFileCache: boolean;
}

export interface Nginx {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Whether nginx is installed here. */
export function hasNginx(): boolean {
  return Bun.which("nginx") !== null;
}

/** Starts nginx with a folder of its own and waits until it answers. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const { folder, port } = options;
  for (const name of ["cache", "temp", "body", "logs"]) mkdirSync(join(folder, name), { recursive: true });
  const config = join(folder, "nginx.conf");
  writeFileSync(config, configText(options));
  const process = Bun.spawn(["nginx", "-p", folder, "-c", config, "-e", join(folder, "logs/error.log")], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
  });
  for (let attempt = 0; ; attempt++) {
    try {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => {} } });
      socket.end();
      break;
    } catch (error) {
      if (attempt >= 100 || process.exitCode !== null) throw error;
      await Bun.sleep(50);
    }
  }
  return {
    pid: process.pid,
    stop: async () => {
      process.kill("SIGQUIT");
      await process.exited;
    },
  };
}

function configText(options: NginxOptions): string {
  const { folder, port, lakePort } = options;
  return `
daemon off;
user ${Bun.env["USER"] ?? "root"};
worker_processes 1;
pid ${folder}/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  sendfile_max_chunk 2m;
  tcp_nopush ${options.tcpNopush ? "on" : "off"};
  keepalive_requests 100000000;
  ${options.openFileCache ? "open_file_cache max=10000 inactive=1h; open_file_cache_valid 1h;" : ""}
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/temp;
  proxy_cache_path ${folder}/cache levels=1:2 keys_zone=c:64m max_size=8g inactive=1h use_temp_path=off;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${lakePort};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache c;
      proxy_cache_key $uri;
      proxy_cache_valid 200 1h;
      proxy_max_temp_file_size 0;
    }
  }
}
`;
}
