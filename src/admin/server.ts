/**
 * The admin endpoint: `/healthz`, `/readyz`, `/metrics`, `/api/v1/status`, and the operator's part (`writes-api.ts`). On
 * loopback unless told otherwise.
 */
import { limits } from "../base/limits.ts";
import { renderMetrics } from "./metrics.ts";
import { statusReport } from "./status.ts";
import type { AdminSources } from "./types.ts";
import { answerWrites, isWritesPath } from "./writes-api.ts";

const PLACES = "/healthz /readyz /metrics /api/v1/status /api/v1/journal /api/v1/flush";

/** A listening admin endpoint. */
export interface AdminServer {
  readonly port: number;
  stop(): Promise<void>;
}

/** Listens at `hostname:port` (0: any free port). Throws when the address cannot be had. */
export function startAdminServer(hostname: string, port: number, sources: AdminSources): AdminServer {
  const server = Bun.serve({
    hostname,
    port,
    idleTimeout: 30,
    maxRequestBodySize: limits.adminBodyBytesMax,
    fetch: (request, listening) => {
      if (!isWritesPath(new URL(request.url).pathname)) return answer(request, sources);
      return answerWrites(request, sources.writeActions?.() ?? null, () => listening.timeout(request, 0));
    },
    error: () => text(500, "internal error; see the log\n"),
  });
  return { port: server.port ?? port, stop: () => server.stop(true) };
}

async function answer(request: Request, sources: AdminSources): Promise<Response> {
  if (request.method !== "GET" && request.method !== "HEAD") return text(405, "only GET and HEAD are answered here\n");
  switch (new URL(request.url).pathname) {
    case "/healthz":
      return text(200, "ok\n");
    case "/readyz":
      return readiness(sources);
    case "/metrics":
      return new Response(await renderMetrics(sources), {
        headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" },
      });
    case "/api/v1/status":
      return Response.json(await statusReport(sources));
    case "/":
      return text(200, `Forebay admin: ${PLACES}\n`);
    default:
      return text(404, `there is nothing here; see ${PLACES}\n`);
  }
}

/** 200 when everything works, else 503 with one line for each problem. Reads go on being served meanwhile. */
async function readiness(sources: AdminSources): Promise<Response> {
  const { ready, problems } = await statusReport(sources);
  return ready ? text(200, "ready\n") : text(503, `${problems.join("\n")}\n`);
}

function text(status: number, body: string): Response {
  return new Response(body, { status, headers: { "Content-Type": "text/plain; charset=utf-8" } });
}
