/** Containers: make, remove, properties, access, lease; and the list of them. */
import { checkWrite, leaseHeaders, runLease } from "./conditions.ts";
import { storedContent } from "./content.ts";
import { simError } from "./errors.ts";
import { type Call, type Container, header, httpDate, nextEtag, type SimResponse } from "./model.ts";
import { containerOf, metadataOf } from "./store.ts";
import { childText, element, parseXml, xmlDocument } from "./xml.ts";

function accessOf(call: Call): Container["publicAccess"] {
  const text = header(call, "x-ms-blob-public-access");
  if (text === undefined || text === "container" || text === "blob") return text ?? null;
  throw simError("InvalidHeaderValue");
}

function stamp(container: Container): string[] {
  return ["ETag", container.etag, "Last-Modified", httpDate(container.modifiedMs)];
}

export function createContainer(call: Call): SimResponse {
  const { containers } = call.account;
  const name = call.containerName;
  if (!/^(\$root|\$web|\$logs|[a-z0-9](?:-?[a-z0-9])*)$/.test(name)) throw simError("InvalidResourceName");
  if (!name.startsWith("$") && (name.length < 3 || name.length > 63)) throw simError("OutOfRangeInput");
  if (containers.has(name)) throw simError("ContainerAlreadyExists");
  const container: Container = {
    name,
    etag: nextEtag(call.state),
    modifiedMs: call.context.nowMs,
    metadata: metadataOf(call),
    publicAccess: accessOf(call),
    policies: [],
    lease: undefined,
    slots: new Map(),
  };
  containers.set(name, container);
  return { status: 201, headers: stamp(container), body: null };
}

function checkContainerLease(call: Call, container: Container, needed: boolean): void {
  const given = header(call, "x-ms-lease-id")?.toLowerCase();
  const active = container.lease !== undefined && call.context.nowMs < container.lease.untilMs;
  if (active && needed && given === undefined) throw simError("LeaseIdMissing");
  if (active && given !== undefined && given !== container.lease?.id) {
    throw simError("LeaseIdMismatchWithContainerOperation");
  }
}

export function deleteContainer(call: Call): SimResponse {
  const container = containerOf(call);
  checkContainerLease(call, container, true);
  checkWrite(call, container);
  call.account.containers.delete(container.name);
  return { status: 202, headers: [], body: null };
}

export function getContainerProperties(call: Call): SimResponse {
  const container = containerOf(call);
  const access = container.publicAccess === null ? [] : ["x-ms-blob-public-access", container.publicAccess];
  const headers = [
    ...stamp(container),
    ...container.metadata.flatMap(([name, value]) => [`x-ms-meta-${name}`, value]),
    ...leaseHeaders(container.lease, call.context.nowMs),
    ...access,
    ...["x-ms-has-immutability-policy", "false", "x-ms-has-legal-hold", "false"],
  ];
  return { status: 200, headers, body: null };
}

function touch(call: Call, container: Container): SimResponse {
  container.etag = nextEtag(call.state);
  container.modifiedMs = call.context.nowMs;
  return { status: 200, headers: stamp(container), body: null };
}

export function setContainerMetadata(call: Call): SimResponse {
  const container = containerOf(call);
  checkContainerLease(call, container, false);
  container.metadata = metadataOf(call);
  return touch(call, container);
}

export function getContainerAcl(call: Call): SimResponse {
  const container = containerOf(call);
  const policies = container.policies.map(({ id, start, expiry, permission }) => {
    const some = (name: string, text: string): string => (text === "" ? "" : element(name, text));
    const terms = some("Start", start) + some("Expiry", expiry) + some("Permission", permission);
    return `<SignedIdentifier>${element("Id", id)}<AccessPolicy>${terms}</AccessPolicy></SignedIdentifier>`;
  });
  const access = container.publicAccess === null ? [] : ["x-ms-blob-public-access", container.publicAccess];
  const body = storedContent(xmlDocument(`<SignedIdentifiers>${policies.join("")}</SignedIdentifiers>`));
  return { status: 200, headers: ["Content-Type", "application/xml", ...stamp(container), ...access], body };
}

export function setContainerAcl(call: Call): SimResponse {
  const container = containerOf(call);
  checkContainerLease(call, container, false);
  const root = call.body.length === 0 ? undefined : parseXml(call.body);
  const policies = (root?.children ?? []).map((node) => ({
    id: childText(node, "Id"),
    start: childText(node, "AccessPolicy", "Start"),
    expiry: childText(node, "AccessPolicy", "Expiry"),
    permission: childText(node, "AccessPolicy", "Permission"),
  }));
  if (policies.length > 5) throw simError("InvalidXmlDocument");
  container.publicAccess = accessOf(call);
  container.policies = policies;
  return touch(call, container);
}

export function leaseContainer(call: Call): SimResponse {
  const container = containerOf(call);
  return runLease(call, container, container);
}

export function listContainers(call: Call): SimResponse {
  const { query, account } = call;
  const prefix = query.get("prefix") ?? "";
  const marker = query.get("marker") ?? "";
  const max = Number(query.get("maxresults") ?? "5000");
  const names = [...account.containers.keys()].filter((name) => name.startsWith(prefix) && name >= marker).sort();
  const page = names.slice(0, max);
  const items = page.map((name) => {
    const container = account.containers.get(name);
    const modified = httpDate(container?.modifiedMs ?? 0);
    const properties = element("Last-Modified", modified) + element("Etag", container?.etag.replaceAll('"', ""));
    return `<Container>${element("Name", name)}<Properties>${properties}</Properties></Container>`;
  });
  const inner =
    element("Prefix", query.get("prefix")) +
    element("Marker", query.get("marker")) +
    element("MaxResults", query.get("maxresults")) +
    `<Containers>${items.join("")}</Containers>` +
    `<NextMarker>${names[max] ?? ""}</NextMarker>`;
  const body = storedContent(xmlDocument(`<EnumerationResults>${inner}</EnumerationResults>`));
  return { status: 200, headers: ["Content-Type", "application/xml"], body };
}

export function getAccountInfo(): SimResponse {
  const headers = ["x-ms-sku-name", "Standard_LRS", "x-ms-account-kind", "StorageV2", "x-ms-is-hns-enabled", "false"];
  return { status: 200, headers, body: null };
}
