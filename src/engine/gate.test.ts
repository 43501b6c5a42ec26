import { expect, test } from "bun:test";
import { createGate, type Turn } from "./gate.ts";

const turn = (isUrgent: boolean): Turn => ({ isUrgent: () => isUrgent, isWanted: () => true });

test("who is urgent on arrival passes those who are not, up to its own bound", async () => {
  const gate = createGate({ insideMax: 1, urgentMax: 2 });
  const leave = gate.enterNow();
  const order: string[] = [];
  const calm = gate.enter(turn(false)).then(() => order.push("calm"));
  await gate.enter(turn(true)).then(() => order.push("urgent"));
  expect(gate.inside).toBe(2);
  const late = gate.enter(turn(true)).then(() => order.push("late"));
  expect(gate.waiting).toBe(2);
  leave();
  await late;
  expect(order).toEqual(["urgent", "late"]);
  expect(gate.waiting).toBe(1);
  void calm;
});
