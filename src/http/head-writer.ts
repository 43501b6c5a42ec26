/**
 * Writes heads as bytes. Characters go one by one straight into the buffer, checked on the way: joining the text
 * first and writing it then costs twice as much, which shows at tens of thousands of small answers a second.
 */
import { FIELD_TEXT, TOKEN } from "./head.ts";
import type { HeaderBlock, RawHeaders } from "./types.ts";

/** What stands before a piece of a body: a message's head, or the size of a chunk. */
export interface Lead {
  /** Lines with their ends: the start line, fields the server or client adds. Checked by whoever made them. */
  readonly start: string;
  /** Lines that were checked when they were made. */
  readonly block?: string | undefined;
  /** Fields as a handler gave them: checked when written. */
  readonly headers: RawHeaders;
  /** Further lines, and the empty one. */
  readonly tail: string;
}

const NO_FIELDS: RawHeaders = [];

export const textLead = (text: string): Lead => ({ start: text, headers: NO_FIELDS, tail: "" });

/** `lead` with `text` behind it. */
export function extendLead(lead: Lead | null, text: string): Lead {
  return lead === null ? textLead(text) : { ...lead, tail: lead.tail + text };
}

/** How many bytes {@link writeLead} writes. */
export function leadBytes(lead: Lead): number {
  let bytes = lead.start.length + (lead.block?.length ?? 0) + lead.tail.length + 2 * lead.headers.length;
  for (const text of lead.headers) bytes += text.length;
  return bytes;
}

/** Writes `lead` at the start of `buffer`, which has room for it; the count. Throws on fields that are not HTTP. */
export function writeLead(buffer: Buffer, lead: Lead): number {
  let at = writeText(buffer, 0, lead.start);
  if (lead.block !== undefined) at += buffer.write(lead.block, at, "latin1");
  const { headers } = lead;
  for (let i = 0; i < headers.length; i += 2) {
    at = writeChecked(buffer, at, headers[i] as string, TOKEN);
    buffer[at++] = 58;
    buffer[at++] = 32;
    at = writeChecked(buffer, at, headers[i + 1] as string, FIELD_TEXT);
    buffer[at++] = 13;
    buffer[at++] = 10;
  }
  return writeText(buffer, at, lead.tail);
}

/** Makes headers ready to be sent often. Throws on fields that are not HTTP. */
export function headerBlock(headers: RawHeaders): HeaderBlock {
  checkFields(headers);
  let text = "";
  for (let i = 0; i + 1 < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return { headers, text };
}

/** Throws unless every name is a token and every value stays in its line and in Latin-1. */
export function checkFields(headers: RawHeaders): void {
  for (let i = 0; i < headers.length; i++) {
    const text = headers[i] as string;
    const table = i % 2 === 0 ? TOKEN : FIELD_TEXT;
    if (i % 2 === 0 && text === "") refuseField(text);
    for (let j = 0; j < text.length; j++) if (table[text.charCodeAt(j)] !== 1) refuseField(text);
  }
}

function writeText(buffer: Uint8Array, start: number, text: string): number {
  let at = start;
  for (let i = 0; i < text.length; i++) buffer[at++] = text.charCodeAt(i);
  return at;
}

function writeChecked(buffer: Uint8Array, start: number, text: string, table: Uint8Array): number {
  let at = start;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (table[code] !== 1) refuseField(text);
    buffer[at++] = code;
  }
  if (at === start && table === TOKEN) refuseField(text);
  return at;
}

/** The text may be a secret (a signature): it is not repeated. */
function refuseField(text: string): never {
  throw new TypeError(`a header of ${text.length} characters cannot be sent: its name or value is not HTTP`);
}
