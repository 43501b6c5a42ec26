/**
 * Keeps web pages away from what only an operator may do. The admin endpoint has no passwords: whoever can connect to
 * it may use it. A browser on the same machine can connect as well, on behalf of any page that it shows; so what changes
 * something, or shows names and bytes of blobs, wants a header that no page may send to another site unasked, and
 * refuses what a browser says comes from elsewhere. A page may also make its own name mean this address (DNS rebinding):
 * browsers are therefore answered only where they use an address, or `localhost`, and no other name.
 */

/** The header that says that an operator is asking, with the value `true`. */
export const OPERATOR_HEADER = "x-forebay-admin";

/** Why a request is not taken for an operator's; null when it is. */
export function operatorProblem(request: Request): string | null {
  if (request.headers.get(OPERATOR_HEADER) !== "true") return `the header ${OPERATOR_HEADER}: true is missing`;
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  if (site === null && origin === null) return null;
  const host = request.headers.get("host") ?? "";
  const same = (site === null || site === "same-origin" || site === "none") && (origin === null || isOf(origin, host));
  return same && isAddress(host) ? null : "a page of another site may not ask for this";
}

function isOf(origin: string, host: string): boolean {
  return origin === `http://${host}` || origin === `https://${host}`;
}

/** Whether a Host header names an IP address or this machine, so that no DNS server has a say in it. */
function isAddress(host: string): boolean {
  const name = host.replace(/:\d+$/, "");
  return name === "localhost" || /^\d{1,3}(\.\d{1,3}){3}$/.test(name) || /^\[[0-9a-f:.]+\]$/i.test(name);
}
