/**
 * The published service versions (`x-ms-version`, `sv`): "Versioning for Azure Storage" and "Previous Azure Storage
 * service versions" in the REST documentation. A version that is not here is not understood: the lake answers it, and
 * a client that speaks it gets no hits. This list is the one place where a newly published version is added, once its
 * answers to Get Blob and Get Blob Properties and its signatures were compared with those of the version before.
 */
const PUBLISHED = [
  "2009-09-19 2011-08-18 2012-02-12 2013-08-15 2014-02-14 2015-02-21 2015-04-05 2015-07-08 2015-12-11 2016-05-31",
  "2017-04-17 2017-07-29 2017-11-09 2018-03-28 2018-11-09 2019-02-02 2019-07-07 2019-10-10 2019-12-12 2020-02-10",
  "2020-04-08 2020-06-12 2020-08-04 2020-10-02 2020-12-06 2021-02-12 2021-04-10 2021-06-08 2021-08-06 2021-10-04",
  "2021-12-02 2022-11-02 2023-01-03 2023-05-03 2023-08-03 2023-11-03 2024-02-04 2024-05-04 2024-08-04 2024-11-04",
  "2025-01-05 2025-05-05 2025-07-05 2025-11-05 2026-02-06 2026-04-06 2026-06-06 2026-10-06",
]
  .join(" ")
  .split(" ");

const known: ReadonlySet<string> = new Set(PUBLISHED);

/** The oldest version whose reads are answered here: from it on the rules are those of today. */
export const OLDEST_HIT_VERSION = "2015-04-05";

/** The version that Forebay itself asks with where the client named none. */
export const OWN_VERSION = "2025-01-05";

/** Whether `version` was published. Published versions compare as text. */
export function isPublishedVersion(version: string): boolean {
  return known.has(version);
}

/** Whether `version` has the form of one: `YYYY-MM-DD`. */
export function hasVersionForm(version: string): boolean {
  if (version.length !== 10 || version[4] !== "-" || version[7] !== "-") return false;
  for (let i = 0; i < 10; i++) {
    if (i === 4 || i === 7) continue;
    const code = version.charCodeAt(i);
    if (code < 48 || code > 57) return false;
  }
  return true;
}
