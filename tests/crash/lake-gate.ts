/**
 * Stands between Forebay and its lake and knows the moments that matter: a request that is about to reach the lake, and
 * an answer that is about to come back. What happens then (a kill, say) happens before it goes on.
 */
import http from "node:http";

/** What Forebay asks of the lake when it carries a write. */
export type Step = "block" | "commit" | "put" | "delete" | "look";

/** `before`: the lake has not heard of it. `after`: the lake has done it, and Forebay has not heard of that. */
export interface Moment {
  readonly step: Step;
  readonly when: "before" | "after";
}

export interface LakeGate {
  readonly port: number;
  /** Runs `run` once, at the next such moment. Replaces an earlier wish. */
  at(moment: Moment, run: () => void): void;
  forget(): void;
  /** What happened lately to blobs with `name` in their path, a line each. */
  historyOf(name: string): string[];
  close(): Promise<void>;
}

function stepOf(method: string, target: string): Step | null {
  const query = new URLSearchParams(target.split("?")[1] ?? "");
  const comp = query.get("comp");
  if (method === "HEAD") return "look";
  if (method === "DELETE") return "delete";
  if (method !== "PUT" || query.has("restype")) return null;
  return comp === "block" ? "block" : comp === "blocklist" ? "commit" : comp === null ? "put" : null;
}

const HISTORY_MAX = 20_000;

/** Listens on a loopback port and passes everything on to `lakePort`, heads as they came. */
export async function startLakeGate(lakePort: number): Promise<LakeGate> {
  let wish: (Moment & { readonly run: () => void }) | null = null;
  const reached = (step: Step | null, when: Moment["when"]): void => {
    if (wish === null || wish.step !== step || wish.when !== when) return;
    const { run } = wish;
    wish = null;
    run();
  };
  const history: string[] = [];
  const note = (line: string): void => {
    history.push(`${performance.now().toFixed(0)} ${line}`);
    if (history.length > HISTORY_MAX) history.shift();
  };
  const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
  const server = http.createServer((request, response) => {
    const { method = "GET", url = "/" } = request;
    const step = stepOf(method, url);
    const { headers } = request;
    const who = headers["user-agent"]?.includes("azsdk") === true ? "client" : "forebay";
    const what = `${who} ${method} ${url.split("&sig")[0]} ${headers["content-length"] ?? ""} if-match ${headers["if-match"] ?? "-"} if-none-match ${headers["if-none-match"] ?? "-"}`;
    if (step !== null) note(`asked ${what}`);
    reached(step, "before");
    const options = { host: "127.0.0.1", port: lakePort, method, path: url, agent };
    const asked = http.request({ ...options, headers: headersOf(request.rawHeaders) }, (answer) => {
      answer.on("end", () => {
        if (!answer.complete) response.destroy();
      });
      if (step !== null) note(`answered ${what}: ${answer.statusCode} ${answer.headers["etag"] ?? ""}`);
      reached(step, "after");
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders);
      answer.pipe(response);
    });
    asked.on("error", () => {
      if (step !== null) note(`broke off ${what}`);
      response.destroy();
    });
    response.on("close", () => {
      if (!response.writableFinished) asked.destroy();
    });
    request.pipe(asked);
  });
  server.keepAliveTimeout = 120_000;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the gate has no port");
  return {
    port: address.port,
    at: (moment, run) => {
      wish = { ...moment, run };
    },
    forget: () => {
      wish = null;
    },
    historyOf: (name) => history.filter((line) => line.includes(name)),
    close: async () => {
      server.closeAllConnections();
      agent.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function headersOf(raw: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let i = 0; i < raw.length; i += 2) headers[raw[i] ?? ""] = raw[i + 1] ?? "";
  return headers;
}
