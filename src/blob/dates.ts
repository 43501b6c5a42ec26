/** Dates in the two forms that the service takes, read strictly: anything else is null, and the lake decides. */

import type { Clock } from "../io/clock.ts";

const DAYS = "SunMonTueWedThuFriSat";
const MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";

const HTTP_DATE_LENGTH = 29;
const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const DAY_MS = 86_400_000;

/** The number that the digits of `text` in [from, to) write, or -1 when there is anything but digits. */
function digits(text: string, from: number, to: number): number {
  if (to > text.length) return -1;
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** The index of three letters at `from` in a list of such, or -1. */
function nameIndex(list: string, text: string, from: number): number {
  const at = list.indexOf(text.slice(from, from + 3));
  return at >= 0 && at % 3 === 0 ? at / 3 : -1;
}

function utcMs(year: number, month: number, day: number, hour: number, minute: number, second: number): number | null {
  if (month < 0 || month > 11 || day < 1 || hour < 0 || hour > 23) return null;
  if (minute < 0 || minute > 59 || second < 0 || second > 59 || year < 1601) return null;
  // Date.UTC carries 31 April over to May: refuse it.
  const leap = month === 1 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  if (day > (MONTH_DAYS[month] ?? 0) + (leap ? 1 : 0)) return null;
  return Date.UTC(year, month, day, hour, minute, second);
}

let parsedText = "";
let parsedMs: number | null = null;

/**
 * Milliseconds since 1970 of an RFC 1123 date (`Sun, 06 Nov 1994 08:49:37 GMT`), or null. The weekday must be right.
 * Clients that sign many requests in one second send one date: the last one is remembered.
 */
export function parseHttpDateMs(text: string): number | null {
  if (text === parsedText) return parsedMs;
  if (text.length !== HTTP_DATE_LENGTH) return null;
  parsedMs = readHttpDate(text);
  parsedText = text;
  return parsedMs;
}

function readHttpDate(text: string): number | null {
  if (text.slice(3, 5) !== ", " || text.slice(25) !== " GMT") return null;
  if (text[7] !== " " || text[11] !== " " || text[16] !== " " || text[19] !== ":" || text[22] !== ":") return null;
  const ms = utcMs(
    digits(text, 12, 16),
    nameIndex(MONTHS, text, 8),
    digits(text, 5, 7),
    digits(text, 17, 19),
    digits(text, 20, 22),
    digits(text, 23, 25),
  );
  if (ms === null) return null;
  // 1 January 1970 was a Thursday.
  const weekday = (((Math.floor(ms / DAY_MS) + 4) % 7) + 7) % 7;
  return weekday === nameIndex(DAYS, text, 0) ? ms : null;
}

let dateSecond = Number.NaN;
let dateText = "";

/** The time of `clock` as RFC 1123 writes it: made once a second. */
export function httpDateNow(clock: Pick<Clock, "wallMs">): string {
  const second = Math.floor(clock.wallMs() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = formatHttpDate(second * 1000);
  }
  return dateText;
}

/** `nowMs` as RFC 1123 writes it. */
export function formatHttpDate(nowMs: number): string {
  return new Date(nowMs).toUTCString();
}

/**
 * Milliseconds since 1970 of a SAS date in UTC: `YYYY-MM-DD`, `YYYY-MM-DDThh:mmZ`, `YYYY-MM-DDThh:mm:ssZ`, and with
 * `fractions` also `YYYY-MM-DDThh:mm:ss.fffffffZ` as stored access policies write it; null for anything else.
 */
export function parseIsoMs(text: string, fractions = false): number | null {
  if (text[4] !== "-" || text[7] !== "-") return null;
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 7) - 1;
  const day = digits(text, 8, 10);
  if (text.length === 10) return utcMs(year, month, day, 0, 0, 0);
  if (text[10] !== "T" || text[13] !== ":" || !text.endsWith("Z")) return null;
  const hour = digits(text, 11, 13);
  const minute = digits(text, 14, 16);
  if (text.length === 17) return utcMs(year, month, day, hour, minute, 0);
  if (text[16] !== ":") return null;
  const whole = utcMs(year, month, day, hour, minute, digits(text, 17, 19));
  if (text.length === 20) return whole;
  if (!fractions || whole === null || text[19] !== "." || text.length > 28 || text.length < 22) return null;
  const fraction = digits(text, 20, text.length - 1);
  return fraction < 0 ? null : whole + Math.floor((fraction * 1000) / 10 ** (text.length - 21));
}

/** `ms` as a SAS writes it: whole seconds, UTC. */
export function formatSasTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** Whether `text` is a snapshot time or version id as the service writes it: `2011-03-09T01:42:34.9360000Z`. */
export function isVersionTime(text: string): boolean {
  return text.length === 28 && text[19] === "." && parseIsoMs(text, true) !== null;
}
