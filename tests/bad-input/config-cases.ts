/** Settings and flags that are wrong, and the one line that says so. */

/** One row: how the command is called; `FOLDER` is a temporary folder that holds `files`. */
export interface ConfigRow {
  readonly name: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
  /** What stderr says after `forebay: `, whole. */
  readonly says: string;
}

const KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const LAKE = `DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=${KEY};BlobEndpoint=http://127.0.0.1:1/devstoreaccount1;`;
const up = (...args: readonly string[]): readonly string[] => ["up", "--lake", LAKE, ...args];
const file = (yaml: string): Pick<ConfigRow, "args" | "files"> => ({
  args: ["up", "--config", "FOLDER/forebay.yaml"],
  files: { "forebay.yaml": yaml },
});

/** All rows: exit status 2 and exactly this on stderr. */
export const configRows: readonly ConfigRow[] = [
  { name: "an unknown command", args: ["upp"], says: "unknown command 'upp'\n(Did you mean up?)" },
  {
    name: "an unknown flag",
    args: up("--flashsize", "1GiB"),
    says: "unknown option '--flashsize'\n(Did you mean --flash-size?)",
  },
  { name: "a flag without its value", args: ["up", "--lake"], says: "option '--lake <LAKE>' argument missing" },
  { name: "a word too many", args: up("more"), says: "too many arguments for 'up'. Expected 0 arguments but got 1." },
  {
    name: "no lake",
    args: ["up"],
    says: "lake: is not set; write --lake with a connection string or https://ACCOUNT.blob.core.windows.net, or set FOREBAY_LAKE",
  },
  { name: "an empty lake", args: ["up", "--lake", ""], says: "--lake: is empty; leave the setting out instead" },
  {
    name: "a lake that is nothing",
    args: ["up", "--lake", "what is this"],
    says: "--lake: is neither a URL nor a connection string; write a connection string (AccountName=…;AccountKey=…) or https://ACCOUNT.blob.core.windows.net",
  },
  {
    name: "a lake of another scheme",
    args: ["up", "--lake", "ftp://account.blob.core.windows.net"],
    says: "--lake: is neither a URL nor a connection string; write a connection string (AccountName=…;AccountKey=…) or https://ACCOUNT.blob.core.windows.net",
  },
  {
    name: "a connection string without an account",
    args: ["up", "--lake", "AccountKey=AAAA;EndpointSuffix=core.windows.net"],
    says: "--lake: names no account; add AccountName=… or BlobEndpoint=https://…",
  },
  {
    name: "a connection string with a bad key",
    args: ["up", "--lake", "AccountName=abc;AccountKey=???;EndpointSuffix=core.windows.net"],
    says: "--lake: has an account key that is not base64 (AccountKey); copy it whole, with the = at its end",
  },
  {
    name: "an unknown name of a lake",
    args: ["up", "--lake", "training"],
    says: '--lake: "training" is no lake; write a connection string, or https://ACCOUNT.blob.core.windows.net',
  },
  {
    name: "lake beside lakeFile",
    args: up("--lake-file", "FOLDER/x"),
    says: "--lake-file: is given beside lake; write only one of lake and lakeFile",
  },
  {
    name: "a lakeFile that is not there",
    args: ["up", "--lake-file", "FOLDER/absent"],
    says: "--lake-file: cannot read FOLDER/absent (no such file); write the path of a file",
  },
  {
    name: "an empty lakeFile",
    args: ["up", "--lake-file", "FOLDER/empty"],
    files: { empty: "\n" },
    says: "--lake-file: FOLDER/empty is empty; put the secret into it",
  },
  {
    name: "listen without a port",
    args: up("--listen", "127.0.0.1"),
    says: '--listen: "127.0.0.1" is not an address; write HOST:PORT, for example 127.0.0.1:10100',
  },
  {
    name: "listen on port 70000",
    args: up("--listen", "127.0.0.1:70000"),
    says: '--listen: "127.0.0.1:70000" is not an address; write HOST:PORT, for example 127.0.0.1:10100',
  },
  {
    name: "listen on a URL",
    args: up("--listen", "http://127.0.0.1:1"),
    says: '--listen: "http://127.0.0.1:1" is not an address; write HOST:PORT, for example 127.0.0.1:10100',
  },
  {
    name: "admin without a host",
    args: up("--admin", ":80"),
    says: '--admin: ":80" is not an address; write HOST:PORT, for example 127.0.0.1:10100',
  },
  {
    name: "a flash size without a number",
    args: up("--flash-size", "much"),
    says: '--flash-size: "much" is not a size; write for example 50GiB, 500MB or 1.5TiB',
  },
  {
    name: "a flash size of an unknown unit",
    args: up("--flash-size", "50GX"),
    says: '--flash-size: "50GX" is not a size; write for example 50GiB, 500MB or 1.5TiB',
  },
  {
    name: "a flash size that is too small",
    args: up("--flash-size", "1KiB"),
    says: '--flash-size: "1KiB" is too small; write 8MiB or more',
  },
  {
    name: "a flash size beyond all",
    args: up("--flash-size", "120%"),
    says: '--flash-size: "120%" is out of range; write from 1% to 95%',
  },
  { name: "no servers", args: up("--servers", "0"), says: '--servers: "0" is not a whole number from 1 to 256' },
  { name: "half a server", args: up("--servers", "1.5"), says: '--servers: "1.5" is not a whole number from 1 to 256' },
  {
    name: "a certificate without its key",
    args: up("--tls-cert", "FOLDER/cert.pem"),
    says: "--tls-cert: needs tlsKey too; write both --tls-cert and --tls-key",
  },
  {
    name: "an unknown log level",
    args: up("--log-level", "loud"),
    says: '--log-level: "loud" is not known here; write trace, debug, info, warn, error, fatal or silent',
  },
  {
    name: "an unknown variable",
    args: up(),
    env: { FOREBAY_FLASHSIZE: "1GiB" },
    says: "FOREBAY_FLASHSIZE: is no setting; did you mean FOREBAY_FLASH_SIZE?",
  },
  {
    name: "a wrong variable",
    args: up(),
    env: { FOREBAY_SERVERS: "many" },
    says: 'FOREBAY_SERVERS: "many" is not a whole number from 1 to 256',
  },
  {
    name: "a config file that is not there",
    args: ["up", "--config", "FOLDER/absent.yaml"],
    says: "config: cannot read FOLDER/absent.yaml (no such file); write the path of a YAML file",
  },
  {
    name: "a config file that is no YAML",
    ...file("lake: [\n"),
    says: "FOLDER/forebay.yaml: line 2 is not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
  },
  {
    name: "a config file that is a list",
    ...file("- lake\n"),
    says: 'FOLDER/forebay.yaml: is not a map of settings; write for example "lake: …"',
  },
  {
    name: "a config file with an unknown setting",
    ...file("lakes: {}\nflashsize: 1GiB\n"),
    says: "FOLDER/forebay.yaml: flashsize: is no setting; did you mean flashSize?",
  },
  {
    name: "a config file with a setting twice",
    ...file("servers: 1\nservers: 2\n"),
    says: "FOLDER/forebay.yaml: line 2 is not valid YAML: Map keys must be unique",
  },
  {
    name: "policies that are a map",
    ...file(`lake: "${LAKE}"\npolicies: {path: data/}\n`),
    says: "FOLDER/forebay.yaml: policies: write a list of policies, each with a path",
  },
  {
    name: "a policy without a path",
    ...file(`lake: "${LAKE}"\npolicies: [{maxStale: 5s}]\n`),
    says: 'FOLDER/forebay.yaml: policies[0].path: is missing; write CONTAINER/PREFIX, for example datasets/ ("" is the whole account)',
  },
  {
    name: "a policy with an unknown setting",
    ...file(`lake: "${LAKE}"\npolicies: [{path: data/, maxstale: 5s}]\n`),
    says: "FOLDER/forebay.yaml: policies[0]: maxstale: is no setting; did you mean maxStale?",
  },
  {
    name: "a policy with a bad duration",
    ...file(`lake: "${LAKE}"\npolicies: [{path: data/, maxStale: soon}]\n`),
    says: 'FOLDER/forebay.yaml: policies[0].maxStale: "soon" is not a duration; write for example 5s, 250ms, 10m or 14d',
  },
  {
    name: "a policy with a negative duration",
    ...file(`lake: "${LAKE}"\npolicies: [{path: data/, maxStale: -5s}]\n`),
    says: 'FOLDER/forebay.yaml: policies[0].maxStale: "-5s" is not a duration; write for example 5s, 250ms, 10m or 14d',
  },
  {
    name: "a policy with an unknown word",
    ...file(`lake: "${LAKE}"\npolicies: [{path: data/, onLakeOutage: hope}]\n`),
    says: 'FOLDER/forebay.yaml: policies[0].onLakeOutage: "hope" is not known here; write fail or serve',
  },
  {
    name: "a policy that writes back without a credential of Forebay's own",
    ...file(`lake: "http://127.0.0.1:1/devstoreaccount1"\npolicies: [{path: data/, write: back}]\n`),
    says: 'FOLDER/forebay.yaml: policies[0].write: back ("data/") needs a credential of Forebay\'s own for account "devstoreaccount1"; give its lake an account key, a SAS, or an https URL (Entra ID), or write through',
  },
  {
    name: "a policy with a tier for what it does not carry",
    ...file(`lake: "${LAKE}"\npolicies: [{path: data/, tier: cool}]\n`),
    says: "FOLDER/forebay.yaml: policies[0].tier: holds only with write: back; add that, or leave tier out",
  },
  {
    name: "a policy path that begins with a slash",
    ...file(`lake: "${LAKE}"\npolicies: [{path: /a/}]\n`),
    says: 'FOLDER/forebay.yaml: policies[0].path: "/a/" does not begin with a container\'s name; write CONTAINER/PREFIX, for example datasets/train/',
  },
  {
    name: "a policy path of no container",
    ...file(`lake: "${LAKE}"\npolicies: [{path: "Not A Container/"}]\n`),
    says: 'FOLDER/forebay.yaml: policies[0].path: "Not A Container/" does not begin with a container\'s name; write CONTAINER/PREFIX, for example datasets/train/',
  },
  {
    name: "two policies of one path",
    ...file(`lake: "${LAKE}"\npolicies: [{path: data/}, {path: data/}]\n`),
    says: 'FOLDER/forebay.yaml: policies[1].path: "data/" is there twice; keep one of them',
  },
  {
    name: "lakes that are a list",
    ...file("lakes: [a]\n"),
    says: "FOLDER/forebay.yaml: lakes: write a map of names to lakes",
  },
  {
    name: "a lake with an unknown setting",
    ...file("lakes: {a: {conectionString: x}}\n"),
    says: "FOLDER/forebay.yaml: lakes.a: conectionString: is no setting; did you mean connectionString?",
  },
  {
    name: "a lake with nothing",
    ...file("lakes: {a: {}}\n"),
    says: "FOLDER/forebay.yaml: lakes.a: write exactly one of connectionString, connectionStringFile and url",
  },
];
