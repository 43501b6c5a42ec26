/** Client addresses against the `sip` of a SAS: one IPv4 address, or an inclusive range of two. */

/** The number of a dotted IPv4 address, or null. An IPv4 address in IPv6 clothes (`::ffff:1.2.3.4`) counts. */
export function parseIpv4(text: string): number | null {
  const plain = text.toLowerCase().startsWith("::ffff:") ? text.slice(7) : text;
  const parts = plain.split(".");
  if (parts.length !== 4) return null;
  let value = 0;
  for (const part of parts) {
    if (part.length < 1 || part.length > 3 || (part.length > 1 && part[0] === "0")) return null;
    let number = 0;
    for (let i = 0; i < part.length; i++) {
      const digit = part.charCodeAt(i) - 48;
      if (digit < 0 || digit > 9) return null;
      number = number * 10 + digit;
    }
    if (number > 255) return null;
    value = value * 256 + number;
  }
  return value;
}

/** Whether `address` lies in a `sip` value. False for whatever cannot be read: only understood ranges admit. */
export function addressAllowed(sip: string, address: string): boolean {
  const client = parseIpv4(address);
  if (client === null) return false;
  const dash = sip.indexOf("-");
  const first = parseIpv4(dash < 0 ? sip : sip.slice(0, dash));
  const last = dash < 0 ? first : parseIpv4(sip.slice(dash + 1));
  return first !== null && last !== null && client >= first && client <= last;
}
