/** The ends that a run compares: lakes, and Forebays in front of them, started when first needed. */
import { type Azurite, MAIN_ACCOUNT, OTHER_ACCOUNT, startAzurite } from "../../support/azurite.ts";
import { makeCertificate, type TestCertificate } from "../../support/certificate.ts";
import { forebayExists, startTestForebay, type TestForebay, type TestForebayOptions } from "../../support/forebay.ts";
import { type TempFolder, tempFolder } from "../../support/temp.ts";
import type { Endpoint } from "./endpoint.ts";

/** Why the comparisons are skipped, or undefined when they are not. */
export const skipReason: string | undefined = forebayExists() ? undefined : "cli/main.ts is not there yet";

/** A run against a real account: its connection string, instead of Azurite. */
const REAL_LAKE = process.env["FOREBAY_CONFORMANCE_LAKE"];
/** Whether the lake is a real account. */
export const isRealLake: boolean = REAL_LAKE !== undefined;
/** Compares the lake with itself: shows that the suite, not the product, is at fault. */
export const selfTest = process.env["FOREBAY_CONFORMANCE_SELF"] === "1";

/** What a Forebay of the suite differs in. */
export type FrontOptions = Omit<TestForebayOptions, "lake" | "tls"> & {
  readonly https?: boolean;
  /** How requests address it. */
  readonly style?: "path" | "account";
  /** How it addresses the lake. */
  readonly lakeStyle?: "path" | "account";
};

/** Everything that was started, to be stopped together. */
export class World {
  private readonly folder: TempFolder = tempFolder("conformance");
  private readonly certificate: TestCertificate = makeCertificate(this.folder.path, ["*.blob.localhost"]);
  private readonly running: { stop(): Promise<void> }[] = [];
  private plain: Promise<Azurite> | undefined;
  private secure: Promise<Azurite> | undefined;
  private readonly fronts = new Map<string, Promise<TestForebay>>();

  /** The lake, over http in path style unless asked otherwise. */
  async lake(options: { https?: boolean; style?: "path" | "account" } = {}): Promise<Endpoint> {
    if (REAL_LAKE !== undefined) return realLake(REAL_LAKE);
    const azurite = await this.azurite(options.https === true);
    return {
      kind: "lake",
      host: azurite.host,
      port: azurite.port,
      tls: azurite.tls ? { ca: this.certificate.cert } : undefined,
      style: options.style ?? "path",
      account: MAIN_ACCOUNT,
    };
  }

  /** A Forebay of its own kind, started once: `name` stands for the options. */
  async front(name: string, options: FrontOptions): Promise<Endpoint> {
    if (selfTest) return this.lake(options);
    const started = this.fronts.get(name) ?? this.startFront(options);
    this.fronts.set(name, started);
    const forebay = await started;
    const { host, port } = forebay;
    return {
      kind: "forebay",
      host,
      port,
      tls: forebay.tls ? { ca: this.certificate.cert } : undefined,
      style: options.style ?? "path",
      account: (await this.lake()).account,
    };
  }

  async stop(): Promise<void> {
    const ends = await Promise.allSettled([...this.running].reverse().map((each) => each.stop()));
    this.folder.remove();
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  private azurite(https: boolean): Promise<Azurite> {
    const keep = async (start: Promise<Azurite>): Promise<Azurite> => {
      const azurite = await start;
      this.running.unshift(azurite);
      return azurite;
    };
    if (https) {
      this.secure ??= keep(startAzurite({ tls: this.certificate }));
      return this.secure;
    }
    this.plain ??= keep(startAzurite());
    return this.plain;
  }

  private async startFront(options: FrontOptions): Promise<TestForebay> {
    const { https, lakeStyle, style: _, ...rest } = options;
    const forebay = await startTestForebay({
      ...rest,
      config: { ...rest.config, ...(await this.lakeConfig(https === true, lakeStyle ?? "path")) },
      ...(https ? { tls: this.certificate, env: { NODE_EXTRA_CA_CERTS: this.certificate.certFile } } : {}),
    });
    this.running.push(forebay);
    return forebay;
  }

  /** The lake as the config file names it. An account-style name does not resolve: its address stands beside it. */
  private async lakeConfig(https: boolean, style: "path" | "account"): Promise<Readonly<Record<string, unknown>>> {
    if (REAL_LAKE !== undefined) return { lake: REAL_LAKE };
    const azurite = await this.azurite(https);
    const { name, key, key2 } = MAIN_ACCOUNT;
    const scheme = https ? "https" : "http";
    const endpoint = `${scheme}://${name}.blob.localhost:${azurite.port}`;
    const connectionString =
      style === "path"
        ? azurite.connectionString()
        : `DefaultEndpointsProtocol=${scheme};AccountName=${name};AccountKey=${key};BlobEndpoint=${endpoint};`;
    const address = style === "path" ? {} : { address: `127.0.0.1:${azurite.port}` };
    const main = { connectionString, extraKeys: [key2], ...address };
    if (style === "account") return { lakes: { main } };
    return { lakes: { main, other: { connectionString: azurite.connectionString(OTHER_ACCOUNT) } } };
  }
}

function realLake(connectionString: string): Endpoint {
  const parts = new Map(
    connectionString
      .split(";")
      .filter((part) => part.includes("="))
      .map((part) => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)] as const),
  );
  const name = parts.get("AccountName") ?? "";
  const key = parts.get("AccountKey") ?? "";
  const hostName = `${name}.blob.${parts.get("EndpointSuffix") ?? "core.windows.net"}`;
  return { kind: "lake", host: hostName, hostName, port: 443, tls: {}, style: "account", account: { name, key } };
}
