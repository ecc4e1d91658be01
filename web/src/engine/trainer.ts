/** Trains a model in the page: each update is the plan's own, by the ops that explain it. */
import { kindOf, nameOf } from "../trace/address";
import { needed, type Lengths } from "./plan";
import type { Pass, Program, Values } from "./program";

/** Token ids and the token asked at each, [batch, pos], and the source [batch, source_pos] where there is one. */
export interface Batch {
  lengths: Lengths;
  ids: Float64Array;
  targets: Float64Array;
  source?: Float64Array;
}

/** What of a batch a pass reads. */
export const read = ({ ids, source }: Batch): [string, Float64Array][] => [
  ["token/ids", ids],
  ...(source ? [["token/source", source] as [string, Float64Array]] : []),
];

/** A weight, and the values that an update makes of it and of the optimizer's state. */
interface Updated {
  leaf: string;
  by: string;
}

export class Trainer {
  /** Weights and the optimizer's state now. */
  readonly leaves: Values;
  private updated: Updated[];
  private wanted: Set<string>;
  private rates: Map<string, number>;
  private counters: string[];

  /** From the leaves after `done` updates. */
  constructor(
    private program: Program,
    leaves: ReadonlyMap<string, Float64Array>,
    public done: number,
  ) {
    const { plan } = program;
    this.leaves = new Map(leaves);
    const updates = new Set(plan.nodes.map(({ address }) => address));
    this.updated = [...leaves.keys()]
      .map((leaf) => ({ leaf, by: updateOf(leaf) }))
      .filter(({ by }) => updates.has(by)); // plain gradient descent remembers nothing
    this.wanted = needed(plan, ["fwd/loss", ...this.updated.map(({ by }) => by)]);
    const having = (name: string) =>
      plan.nodes.filter(({ address, params }) => kindOf(address) === "opt" && name in params);
    this.rates = new Map(having("lr").map(({ address, params }) => [address, Number(params.lr)]));
    this.counters = having("t").map(({ address }) => address);
  }

  /** What the next update is made with besides the plan; `share` multiplies the plan's learning rates. */
  params(share: number): NonNullable<Pass["params"]> {
    const params: NonNullable<Pass["params"]> = {};
    for (const [address, lr] of this.rates) params[address] = { lr: lr * share };
    for (const address of this.counters) params[address] = { ...params[address], t: this.done + 1 };
    return params;
  }

  /** One update; returns the loss before it. */
  step(batch: Batch, share: number): number {
    const { lengths, targets } = batch;
    const leaves = new Map([...this.leaves, ...read(batch), ["token/targets", targets]]);
    const params = this.params(share);
    const wanted = ({ address }: { address: string }) => this.wanted.has(address);
    const values = this.program.run({ lengths, leaves, params, wanted });
    for (const { leaf, by } of this.updated) this.leaves.set(leaf, values.get(by)!);
    this.done += 1;
    return values.get("fwd/loss")![0];
  }
}

/** Where an update has what becomes of a weight, or of a moment before it. */
function updateOf(leaf: string): string {
  const name = nameOf(leaf);
  return `opt/${kindOf(leaf) === "const" ? name.replace(/_prev$/, "") : name}`;
}
