/** Prints what the lake itself answers to every case: `bun tests/conformance/show.ts [PART OF A NAME]`. */
import { groups } from "./cases/index.ts";
import { runCase } from "./harness/runner.ts";
import { World } from "./harness/world.ts";

const wanted = process.argv[2] ?? "";
const world = new World();
try {
  for (const group of groups) {
    for (const subject of group.cases.filter(({ name }) => `${group.name} ${name}`.includes(wanted))) {
      const lake = await world.lake({ https: subject.needs?.includes("https") === true });
      const { cold, warm, changed } = await runCase(subject, { endpoint: lake, lake, seeChanges: "strict" });
      console.log(`\n${group.name}: ${subject.name}`);
      for (const seen of cold.seen) {
        const code = seen.headers["x-ms-error-code"] ?? "";
        console.log(`  ${seen.status} ${code} ${seen.framing} | ${seen.label} | ${seen.body.slice(0, 60)}`);
      }
      for (const [name, value] of Object.entries(cold.notes)) console.log(`  ${name}: ${JSON.stringify(value)}`);
      const same = JSON.stringify(cold) === JSON.stringify(warm);
      console.log(
        `  warm ${same ? "the same" : "differs"}; changed ${changed === undefined ? "-" : JSON.stringify(changed) !== JSON.stringify(cold)}`,
      );
    }
  }
} finally {
  await world.stop();
}
