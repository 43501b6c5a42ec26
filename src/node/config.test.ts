import { describe, expect, test } from "bun:test";
import { ForebayError } from "../base/errors.ts";
import { defaultPolicy } from "../engine/policy.ts";
import { type Config, loadConfig, redacted } from "./config.ts";
import { settings } from "./config-schema.ts";

const KEY = Buffer.alloc(64, 7).toString("base64");
const LAKE = `DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=${KEY};EndpointSuffix=core.windows.net`;

interface Given {
  readonly flags?: Record<string, string>;
  readonly env?: Record<string, string>;
  /** The text of `/w/f.yaml`, which is then named by `--config`. */
  readonly file?: string;
  readonly files?: Record<string, string>;
}

function load(given: Given): Config {
  const files: Record<string, string> = { ...given.files };
  if (given.file !== undefined) files["/w/f.yaml"] = given.file;
  return loadConfig({
    flags: { ...(given.file === undefined ? {} : { config: "f.yaml" }), ...given.flags },
    env: given.env ?? {},
    folder: "/w",
    cpus: 4,
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error("no"), { code: "ENOENT" });
      return text;
    },
  });
}

function complaint(given: Given): string {
  try {
    load(given);
  } catch (error) {
    if (!(error instanceof ForebayError)) throw error;
    expect(error.code).toBe("config");
    return error.message;
  }
  throw new Error("accepted");
}

describe("what is right", () => {
  test("the defaults are complete", () => {
    expect(load({ flags: { lake: LAKE } })).toEqual({
      lakes: [{ name: "acme", account: "acme", connection: LAKE, connectTo: null, moreKeys: [] }],
      listen: { host: "127.0.0.1", port: 10_100 },
      admin: { host: "127.0.0.1", port: 10_190 },
      flashFolder: "/w/.forebay/flash",
      flashSize: { percent: 80 },
      servers: 4,
      tls: null,
      policies: [],
      accessLog: null,
      logLevel: "info",
      maxConnections: 4096,
      stopDeadlineMs: 20_000,
      drainRate: null,
      drainDeadlineMs: 30_000,
      pendingNames: true,
    });
  });

  test("flags beat environment beats file", () => {
    const file = `lake: "${LAKE}"\nlisten: 127.0.0.1:1\nadmin: 127.0.0.1:1\nservers: 1\n`;
    const env = { FOREBAY_ADMIN: "127.0.0.1:2", FOREBAY_SERVERS: "2" };
    const config = load({ file, env, flags: { servers: "3" } });
    expect([config.listen.port, config.admin.port, config.servers]).toEqual([1, 2, 3]);
  });

  test("every setting has a flag and an environment name, and its example is accepted", () => {
    const files = { "/w/forebay.yaml": "", "/run/secrets/lake": `${LAKE}\n` };
    for (const setting of settings) {
      const needs: Record<string, Record<string, string>> = {
        tlsCert: { lake: LAKE, tlsKey: "k" },
        tlsKey: { lake: LAKE, tlsCert: "c" },
        lake: {},
        lakeFile: {},
        lakes: {},
      };
      const flags = { ...(needs[setting.name] ?? { lake: LAKE }), [setting.name]: setting.example };
      const byFlag = load({ flags, files });
      const env = Object.fromEntries(
        Object.entries(flags).map(([name, value]) => [settings.find((s) => s.name === name)?.env ?? "", value]),
      );
      expect(load({ env, files })).toEqual(byFlag);
    }
  });

  test("a secret may come from a file, and a higher source displaces it", () => {
    const files = { "/w/secret": `${LAKE}\n` };
    expect(load({ env: { FOREBAY_LAKE_FILE: "secret" }, files }).lakes[0]?.connection).toBe(LAKE);
    const other = "https://other.blob.core.windows.net";
    expect(load({ env: { FOREBAY_LAKE_FILE: "secret" }, flags: { lake: other }, files }).lakes[0]?.account).toBe(
      "other",
    );
  });

  test("several lakes by name, all of them or the one that is named", () => {
    const file = `
lakes:
  training:
    connectionStringFile: secret
    address: 10.0.0.4:443
    extraKeys: ["${KEY}"]
  plain: "https://other.blob.core.windows.net"
  azurite: { url: "http://127.0.0.1:10000/devstoreaccount1" }
`;
    const files = { "/w/secret": LAKE };
    const config = load({ file, files });
    expect(config.lakes.map((lake) => [lake.name, lake.account])).toEqual([
      ["training", "acme"],
      ["plain", "other"],
      ["azurite", "devstoreaccount1"],
    ]);
    expect(config.lakes[0]).toMatchObject({ connectTo: "10.0.0.4:443", moreKeys: [KEY] });
    expect(load({ file, files, flags: { lake: "plain" } }).lakes.map((lake) => lake.name)).toEqual(["plain"]);
  });

  test("policies are split into account, container and prefix", () => {
    const file = `
lake: "${LAKE}"
policies:
  - { path: "", maxStale: 1m }
  - { path: datasets/, maxStale: immutable, write: through }
  - { path: "datasets/a b/%2F", verdict: container }
  - { path: "acme:logs", onLakeOutage: serve }
  - { path: "$root/", maxStale: 0s }
`;
    expect(load({ file }).policies).toEqual([
      { ...defaultPolicy, path: "", account: null, container: null, prefix: "", maxStaleMs: 60_000 },
      {
        ...defaultPolicy,
        path: "datasets/",
        account: null,
        container: "datasets",
        prefix: "",
        maxStaleMs: "immutable",
      },
      {
        ...defaultPolicy,
        path: "datasets/a b/%2F",
        account: null,
        container: "datasets",
        prefix: "a b/%2F",
        verdict: "container",
      },
      {
        ...defaultPolicy,
        path: "acme:logs",
        account: "acme",
        container: "logs",
        prefix: "",
        onLakeOutage: "serve",
      },
      { ...defaultPolicy, path: "$root/", account: null, container: "$root", prefix: "", maxStaleMs: 0 },
    ]);
  });

  test("what writes back may say more", () => {
    const file = `
lake: "${LAKE}"
policies:
  - { path: checkpoints/, write: back }
  - { path: mine/, write: back, exclusive: true, whenParked: pass, tier: cool, maxUnflushed: 10m }
`;
    const place = { account: null, prefix: "" } as const;
    expect(load({ file }).policies).toEqual([
      { ...defaultPolicy, ...place, path: "checkpoints/", container: "checkpoints", write: "back" },
      {
        ...defaultPolicy,
        ...place,
        path: "mine/",
        container: "mine",
        write: "back",
        exclusive: true,
        whenParked: "pass",
        tier: "Cool",
        maxUnflushedMs: 600_000,
      },
    ]);
    const tier = (word: string): string | null | undefined =>
      load({ file: `lake: "${LAKE}"\npolicies: [{path: a-b-c/, write: back, tier: ${word}}]` }).policies[0]?.tier;
    expect(["hot", "Hot", "COLD"].map(tier)).toEqual(["Hot", "Hot", "Cold"]);
  });

  test("how fast and how long the drain carries", () => {
    const config = (flags: Record<string, string>): Config => load({ flags: { lake: LAKE, ...flags } });
    expect(["500MiB", "500MiB/s", "1 GB / s", "65536"].map((rate) => config({ drainRate: rate }).drainRate)).toEqual([
      524_288_000, 524_288_000, 1_000_000_000, 65_536,
    ]);
    expect(config({ drainDeadline: "2m", pendingNames: "false" })).toMatchObject({
      drainDeadlineMs: 120_000,
      pendingNames: false,
    });
    expect(load({ file: `lake: "${LAKE}"\npendingNames: false` }).pendingNames).toBe(false);
  });

  test("paths are absolute, - stays standard error, addresses may be IPv6, sizes may be shares", () => {
    const config = load({
      flags: { lake: LAKE, tlsCert: "c.pem", tlsKey: "/k.pem", accessLog: "-", listen: "[::1]:0", flashSize: "12.5%" },
    });
    expect(config.tls).toEqual({ certFile: "/w/c.pem", keyFile: "/k.pem" });
    expect(config.accessLog).toBe("-");
    expect(config.listen).toEqual({ host: "::1", port: 0 });
    expect(config.flashSize).toEqual({ percent: 12.5 });
  });

  test("without any lake, where that is fine, the rest is judged all the same", () => {
    const judge = (flags: Record<string, string>): Config =>
      loadConfig({ flags, env: {}, folder: "/w", cpus: 4, mayLackLake: true, readFile: () => "" });
    expect(judge({ policies: "[{path: 'acme:data/', write: back}]" })).toMatchObject({
      lakes: [],
      policies: [{ account: "acme", write: "back" }],
    });
    expect(() => judge({ policies: "[{path: data/, tier: hot}]" })).toThrow("holds only with write: back");
    expect(() => judge({ lake: "nope" })).toThrow('--lake: "nope" is no lake');
  });

  test("what Kubernetes adds for a service of that name is no setting", () => {
    const env = {
      FOREBAY_SERVICE_HOST: "10.0.0.1",
      FOREBAY_PORT_80_TCP_ADDR: "x",
      FOREBAY_ADMIN_PORT: "tcp://x:1",
      FOREBAY_LAKE: LAKE,
    };
    expect(load({ env }).admin.port).toBe(10_190);
  });

  test("a configuration survives the way between processes", () => {
    const config = load({ flags: { lake: LAKE } });
    expect(JSON.parse(JSON.stringify(config))).toEqual(config);
  });
});

describe("what is wrong is named, with what to write instead", () => {
  const lake = { lake: LAKE };
  const policy = (text: string): Given => ({ flags: lake, file: `policies:\n  - ${text}\n` });
  const cases: [string, Given, string][] = [
    [
      "no lake",
      {},
      "lake: is not set; write --lake with a connection string or https://ACCOUNT.blob.core.windows.net, or set FOREBAY_LAKE",
    ],
    [
      "address",
      { flags: { ...lake, listen: "10100" } },
      '--listen: "10100" is not an address; write HOST:PORT, for example 127.0.0.1:10100',
    ],
    [
      "port",
      { flags: lake, env: { FOREBAY_ADMIN: "h:70000" } },
      'FOREBAY_ADMIN: "h:70000" is not an address; write HOST:PORT, for example 127.0.0.1:10100',
    ],
    [
      "size",
      { flags: lake, file: "flashSize: lots" },
      'f.yaml: flashSize: "lots" is not a size; write for example 50GiB, 500MB or 1.5TiB',
    ],
    ["small", { flags: { ...lake, flashSize: "1MiB" } }, '--flash-size: "1MiB" is too small; write 8MiB or more'],
    ["share", { flags: { ...lake, flashSize: "100%" } }, '--flash-size: "100%" is out of range; write from 1% to 95%'],
    ["servers", { flags: { ...lake, servers: "0" } }, '--servers: "0" is not a whole number from 1 to 256'],
    [
      "level",
      { flags: { ...lake, logLevel: "loud" } },
      '--log-level: "loud" is not known here; write trace, debug, info, warn, error, fatal or silent',
    ],
    [
      "deadline",
      { flags: { ...lake, stopDeadline: "5" } },
      '--stop-deadline: "5" is not a duration; write for example 5s, 250ms, 10m or 14d',
    ],
    ["map", { flags: lake, file: "listen: {a: 1}" }, "f.yaml: listen: write one value here, not a list or map"],
    ["number for text", { flags: lake, file: "flash: 1" }, "f.yaml: flash: write text here, in quotes"],
    [
      "key alone",
      { flags: { ...lake, tlsCert: "c" } },
      "--tls-cert: needs tlsKey too; write both --tls-cert and --tls-key",
    ],
    [
      "unknown",
      { flags: lake, file: "flash-size: 1GiB" },
      "f.yaml: flash-size: is no setting; did you mean flashSize?",
    ],
    [
      "typing",
      { flags: lake, file: "policy: []" },
      "f.yaml: policy: is no setting; known are lake, lakeFile, lakes, listen, admin, flash, flashSize, servers, tlsCert, tlsKey, policies, accessLog, logLevel, maxConnections, stopDeadline, drainRate, drainDeadline, pendingNames",
    ],
    ["typo", { flags: lake, file: "lisetn: a:1" }, "f.yaml: lisetn: is no setting; did you mean listen?"],
    [
      "unknown variable",
      { flags: lake, env: { FOREBAY_LISTN: "a:1" } },
      "FOREBAY_LISTN: is no setting; did you mean FOREBAY_LISTEN?",
    ],
    [
      "yaml",
      { flags: lake, file: "listen: a:1\nlakes: [" },
      "f.yaml: line 2 is not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
    [
      "twice",
      { flags: lake, file: "listen: a:1\nlisten: a:2" },
      "f.yaml: line 2 is not valid YAML: Map keys must be unique",
    ],
    ["list", { flags: lake, file: "- a" }, 'f.yaml: is not a map of settings; write for example "lake: …"'],
    [
      "no file",
      { flags: { ...lake, config: "none.yaml" } },
      "config: cannot read none.yaml (no such file); write the path of a YAML file",
    ],
    [
      "path missing",
      policy("maxStale: 5s"),
      'f.yaml: policies[0].path: is missing; write CONTAINER/PREFIX, for example datasets/ ("" is the whole account)',
    ],
    [
      "path",
      policy("path: Data/x"),
      'f.yaml: policies[0].path: "Data/x" does not begin with a container\'s name; write CONTAINER/PREFIX, for example datasets/train/',
    ],
    [
      "slash first",
      policy("path: /datasets"),
      'f.yaml: policies[0].path: "/datasets" does not begin with a container\'s name; write CONTAINER/PREFIX, for example datasets/train/',
    ],
    [
      "path account",
      policy("path: nope:datasets/"),
      'f.yaml: policies[0].path: account "nope" is none of the lakes; write one of acme',
    ],
    [
      "path twice",
      { flags: lake, file: "policies: [{path: datasets}, {path: datasets/}]" },
      'f.yaml: policies[1].path: "datasets/" is there twice; keep one of them',
    ],
    [
      "stale",
      policy("{path: data, maxStale: 5}"),
      'f.yaml: policies[0].maxStale: "5" is not a duration; write for example 5s, 250ms, 10m or 14d',
    ],
    [
      "outage",
      policy("{path: data, onLakeOutage: wait}"),
      'f.yaml: policies[0].onLakeOutage: "wait" is not known here; write fail or serve',
    ],
    [
      "verdict",
      policy("{path: data, verdict: account}"),
      'f.yaml: policies[0].verdict: "account" is not known here; write blob or container',
    ],
    [
      "write",
      policy("{path: data, write: behind}"),
      'f.yaml: policies[0].write: "behind" is not known here; write through or back',
    ],
    [
      "write back without a credential",
      { flags: { lake: "http://127.0.0.1:10000/acme" }, file: "policies: [{path: data, write: back}]" },
      'f.yaml: policies[0].write: back ("data") needs a credential of Forebay\'s own for account "acme"; give its lake an account key, a SAS, or an https URL (Entra ID), or write through',
    ],
    [
      "write back without a credential for one of the lakes",
      {
        file: `lakes: {a: "${LAKE}", b: "http://127.0.0.1:10000/other"}\npolicies: [{path: "acme:data", write: back}, {path: data, write: back}]`,
      },
      'f.yaml: policies[1].write: back ("data") needs a credential of Forebay\'s own for account "other"; give its lake an account key, a SAS, or an https URL (Entra ID), or write through',
    ],
    [
      "tier",
      policy("{path: data, write: back, tier: icy}"),
      'f.yaml: policies[0].tier: "icy" is not known here; write hot, cool or cold',
    ],
    [
      "archive",
      policy("{path: data, write: back, tier: Archive}"),
      'f.yaml: policies[0].tier: "Archive" cannot be read back from the lake; write hot, cool or cold, and archive with a lifecycle rule',
    ],
    [
      "tier of what passes through",
      policy("{path: data, tier: hot}"),
      "f.yaml: policies[0].tier: holds only with write: back; add that, or leave tier out",
    ],
    [
      "exclusive",
      policy("{path: data, write: back, exclusive: maybe}"),
      'f.yaml: policies[0].exclusive: "maybe" is not known here; write true or false',
    ],
    [
      "parked",
      policy("{path: data, write: back, whenParked: wait}"),
      'f.yaml: policies[0].whenParked: "wait" is not known here; write hold or pass',
    ],
    [
      "age",
      policy("{path: data, write: back, maxUnflushed: long}"),
      'f.yaml: policies[0].maxUnflushed: "long" is not a duration; write for example 5s, 250ms, 10m or 14d',
    ],
    [
      "rate",
      { flags: { ...lake, drainRate: "1KiB/s" } },
      '--drain-rate: "1KiB/s" is too slow; write 64KiB or more, or leave it out for no bound',
    ],
    [
      "pending names",
      { flags: { ...lake, pendingNames: "some" } },
      '--pending-names: "some" is not known here; write true or false',
    ],
    [
      "policy key",
      policy("{path: data, max-stale: 5s}"),
      "f.yaml: policies[0]: max-stale: is no setting; did you mean maxStale?",
    ],
    [
      "policies",
      { flags: lake, file: "policies: {datasets: 5s}" },
      "f.yaml: policies: write a list of policies, each with a path",
    ],
    [
      "policies by flag",
      { flags: { ...lake, policies: "[{path: data, write: behind}]" } },
      '--policies[0].write: "behind" is not known here; write through or back',
    ],
    [
      "lake name",
      { flags: { lake: "nope" }, file: "lakes: {a: 'https://acme.blob.core.windows.net'}" },
      '--lake: "nope" is no lake; write a connection string, or https://ACCOUNT.blob.core.windows.net, or one of the names under lakes (a)',
    ],
    [
      "both",
      { file: `lake: "${LAKE}"\nlakeFile: x` },
      "f.yaml: lakeFile: is given beside lake; write only one of lake and lakeFile",
    ],
    [
      "secret file",
      { env: { FOREBAY_LAKE_FILE: "none" } },
      "FOREBAY_LAKE_FILE: cannot read none (no such file); write the path of a file",
    ],
    [
      "empty secret",
      { flags: { lakeFile: "e" }, files: { "/w/e": "\n" } },
      "--lake-file: e is empty; put the secret into it",
    ],
    [
      "two ways",
      { file: "lakes: {a: {url: x, connectionString: y}}" },
      "f.yaml: lakes.a: write exactly one of connectionString, connectionStringFile and url",
    ],
    ["lake key", { file: "lakes: {a: {uri: x}}" }, "f.yaml: lakes.a: uri: is no setting; did you mean url?"],
    [
      "same account",
      { file: "lakes: {a: 'https://acme.blob.core.windows.net', b: 'https://acme.blob.core.windows.net'}" },
      'f.yaml: lakes.b: account "acme" is also that of a; keep one of them',
    ],
  ];
  for (const [name, given, message] of cases) test(name, () => expect(complaint(given)).toBe(message));
});

test("secrets are neither shown nor repeated in complaints", () => {
  const sas = "https://acme.blob.core.windows.net/?sv=2024-11-04&sig=verysecret%3D&sp=r";
  const file = `lakes: {a: {connectionString: "${LAKE}", extraKeys: ["${KEY}"]}, b: "${sas.replace("acme", "other")}"}`;
  const shown = JSON.stringify(redacted(load({ file })));
  expect(shown).not.toContain(KEY);
  expect(shown).not.toContain("verysecret");
  expect(shown).toContain("AccountName=acme");
  expect(shown).toContain("sp=r");
  const broken = [
    LAKE.replace(KEY, "verysecret"),
    sas.replace("sv=", "xx="),
    "AccountKey=verysecret",
    "very+verysecret==;x",
  ];
  for (const lake of broken) {
    const message = complaint({ flags: { lake } });
    expect(message).not.toContain("verysecret");
    expect(message).toStartWith("--lake: ");
  }
});
