/** A training that Python ran (tests/page/passes.py): the page, from the same weights and batches, comes to the same weights. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { withUpdate, type Lengths, type Plan } from "../../src/engine/plan";
import { Program, type Values } from "../../src/engine/program";
import { Trainer } from "../../src/engine/trainer";
import { kindOf } from "../../src/trace/address";
import { cases } from "./cases";

type Nested = number | Nested[];

interface Training {
  plan: Plan;
  start: Record<string, Nested>;
  end: Record<string, Nested>;
  losses: number[];
  batches: { ids: number[]; targets: number[] }[];
  lengths: Lengths;
}

const flat = (numbers: Nested): Float64Array => Float64Array.from([numbers].flat(3) as number[]);

/** From the same weights and batches as Python, to the same losses and weights. */
function follow(expected: Training, plan: Plan, share: number): void {
  const leaves: Values = new Map(
    Object.entries(expected.start).map(([address, numbers]) => [address, flat(numbers)]),
  );
  for (const { address, shape } of plan.nodes)
    if (kindOf(address) === "const" && address !== "const/position")
      leaves.set(address, new Float64Array((shape as number[]).reduce((a, b) => a * b, 1)));
  const trainer = new Trainer(new Program(plan), leaves, 0);
  const losses = expected.batches.map(({ ids, targets }) =>
    trainer.step(
      {
        lengths: expected.lengths,
        ids: Float64Array.from(ids),
        targets: Float64Array.from(targets),
      },
      share,
    ),
  );
  expect(losses.length).toBe(50);
  losses.forEach((loss, i) => expect(loss).toBeCloseTo(expected.losses[i], 9));
  for (const [address, numbers] of Object.entries(expected.end)) {
    const [result, wanted] = [trainer.leaves.get(address)!, flat(numbers)];
    const apart = Math.max(...wanted.map((x, i) => Math.abs(x - result[i])));
    expect(apart, address).toBeLessThan(1e-6);
  }
  expect(trainer.done).toBe(50);
}

test("fifty steps of training come to Python's losses and weights", () => {
  const { file, share } = cases<{ training: { file: string; share: number } }>().training;
  const expected = JSON.parse(readFileSync(file, "utf8")) as Training;
  follow(expected, expected.plan, share);
});

test("fifty steps of plain gradient descent come to PyTorch's losses and weights", () => {
  const { file, share } = cases<{ descent: { file: string; share: number } }>().descent;
  const expected = JSON.parse(readFileSync(file, "utf8")) as Training & { descent: Plan };
  follow(expected, withUpdate(expected.plan, expected.descent), share);
});
