/**
 * The raw query of a request, in pieces. Nothing is normalised: what goes on to the lake is `raw`. The decoded view is
 * for decisions, and says of itself when two readers could see different things in it.
 */

/** One `name=value` of a query. */
export interface QueryParameter {
  /** As it came, still encoded. */
  readonly rawName: string;
  /** As it came; null when there was no `=`. */
  readonly rawValue: string | null;
  /** Decoded and in lower case: the service does not tell cases apart in names. */
  readonly name: string;
  /** Decoded, `+` as a space; empty when there was no value. */
  readonly value: string;
}

/** A query, parsed. */
export interface Query {
  /** With its `?`, or empty. */
  readonly raw: string;
  readonly parameters: readonly QueryParameter[];
  /** Some piece is empty, has no `=`, or its percent-encoding is no UTF-8. */
  readonly malformed: boolean;
  /** Some name stands more than once (decoded, cases folded). */
  readonly duplicated: boolean;
  /** Some name is encoded or not in lower case, so that a simpler reader would not know it. */
  readonly disguised: boolean;
  /** A `+` stands somewhere: a space to some, a plus to others. */
  readonly plus: boolean;
}

const NONE: Query = {
  raw: "",
  parameters: [],
  malformed: false,
  duplicated: false,
  disguised: false,
  plus: false,
};

/** `text` percent-decoded as UTF-8, or null when that is not possible. A `+` stays. */
export function percentDecode(text: string): string | null {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** `text` with every `%XX` as a character, whatever else stands in it: for finding what some reader might see. */
export function decodeLoosely(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

/** Whether `text` has characters outside printable ASCII: such a target can be read in more than one way. */
export function hasForeignCharacters(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x21 || code > 0x7e) return true;
  }
  return false;
}

/** Parses a raw query: empty, or with its `?`. Never throws; see the flags of {@link Query}. */
export function parseQuery(raw: string): Query {
  if (raw.length === 0) return NONE;
  const parameters: QueryParameter[] = [];
  let malformed = raw.length === 1 || raw.includes("#") || hasForeignCharacters(raw);
  let disguised = false;
  const plus = raw.includes("+");
  let from = 1;
  while (from <= raw.length) {
    let to = raw.indexOf("&", from);
    if (to < 0) to = raw.length;
    const equals = raw.indexOf("=", from);
    const split = equals >= 0 && equals < to ? equals : to;
    const rawName = raw.slice(from, split);
    const rawValue = split < to ? raw.slice(split + 1, to) : null;
    from = to + 1;
    const decodedName = percentDecode(plus ? rawName.replaceAll("+", " ") : rawName);
    const value = rawValue === null ? "" : percentDecode(plus ? rawValue.replaceAll("+", " ") : rawValue);
    if (rawName.length === 0 || rawValue === null || decodedName === null || value === null) malformed = true;
    const name = (decodedName ?? rawName).toLowerCase();
    if (name !== rawName) disguised = true;
    parameters.push({ rawName, rawValue, name, value: value ?? rawValue ?? "" });
  }
  return { raw, parameters, malformed, duplicated: hasDuplicates(parameters), disguised, plus };
}

/** Up to here comparing each with each is cheaper than a set; beyond it would let a long query cost much. */
const PAIRWISE_MAX = 24;

function hasDuplicates(parameters: readonly QueryParameter[]): boolean {
  if (parameters.length > PAIRWISE_MAX) return new Set(parameters.map((p) => p.name)).size !== parameters.length;
  for (let i = 1; i < parameters.length; i++) {
    const name = parameters[i]?.name;
    for (let j = 0; j < i; j++) if (parameters[j]?.name === name) return true;
  }
  return false;
}

/** The decoded value of the first parameter called `name` (lower case), or undefined. */
export function queryValue(query: Query, name: string): string | undefined {
  for (const parameter of query.parameters) if (parameter.name === name) return parameter.value;
  return undefined;
}
