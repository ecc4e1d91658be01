/** Logits that Python has split (tests/page/attributed.py): the page splits them alike. */
import { expect, test } from "vitest";
import {
  attribute,
  keyShares,
  neuronShares,
  refusal,
  type Attribution,
} from "../../src/trace/attribution";
import { partAt } from "../../src/trace/part";
import { cases } from "./cases";
import { opened } from "./opened";

interface Case {
  name: string;
  folder: string;
  config: Record<string, unknown>;
  result: (Attribution & { word: string }) | null;
}

const made = cases<{ attributed: Case[] }>().attributed;

// sums of the same float64 numbers in another order, some hundred of them
const ROUNDED = 1e-11;

test.each(made)("the parts of a logit: $name", async ({ folder, config, result }) => {
  const trace = opened(folder);
  expect(refusal(trace, config) !== "").toBe(result === null);
  if (!result) return;
  const made = await attribute(trace, config, result.token, result.pos);
  expect(made.address).toBe(result.address);
  expect(made.shares.map(({ part, address }) => [part, address])).toEqual(
    result.shares.map(({ part, address }) => [part, address]),
  );
  result.shares.forEach(({ logits }, i) =>
    expect(Math.abs(made.shares[i].logits - logits)).toBeLessThan(ROUNDED),
  );
  expect(made.logit).toBe(result.logit);
  expect(Math.abs(made.total - made.logit)).toBeLessThan(ROUNDED);
});

test.each(made)(
  "an MLP's share is that of its neurons: $name",
  async ({ folder, config, result }) => {
    const trace = opened(folder);
    const tower = "decoder" in config ? "decoder." : "";
    if (!result || trace.has(`weight/${tower}blocks.0.mlp.b_out`) || config.masked_head) return;
    const neurons = await neuronShares(trace, config, result, 0);
    const mlp = result.shares.find(({ part }) => part === "layer 0 MLP")!;
    const sum = neurons.reduce((total, { logits }) => total + logits, 0);
    if (neurons.length) expect(Math.abs(sum - mlp.logits)).toBeLessThan(ROUNDED);
  },
);

test.each(made)(
  "a head's share is that of the tokens that it looks at: $name",
  async ({ folder, config, result }) => {
    if (!result) return;
    const trace = opened(folder);
    const heads = result.shares.filter(({ address }) => partAt(address).kind === "head");
    for (const { address, logits } of heads) {
      const { block, head } = partAt(address);
      const attention = address.replace(/\.z\[.*/, "");
      const keys = await keyShares(trace, config, result, {
        attention,
        block: block!,
        head: head!,
      });
      expect(keys.length).toBeGreaterThan(0);
      const sum = keys.reduce((total, one) => total + one, 0);
      expect(Math.abs(sum - logits)).toBeLessThan(ROUNDED);
    }
    expect(heads.length > 0 || config.masked_head).toBeTruthy();
  },
);

test("most kinds of models have logits that can be split", () => {
  const split = made.filter(({ result }) => result !== null);
  expect(split.length).toBeGreaterThan(made.length / 2);
});
