/** Trains a model in the page: each update is the plan's own, by the ops that explain it. */
import { kindOf, nameOf } from "../trace/address";
import type { Lengths, Plan } from "./plan";
import type { Pass, Program, Values } from "./program";

/** Token ids and the token asked after each, [batch, pos]. */
export interface Batch {
  lengths: Lengths;
  ids: Float64Array;
  targets: Float64Array;
}

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
  step({ lengths, ids, targets }: Batch, share: number): number {
    const leaves = new Map(this.leaves).set("token/ids", ids).set("token/targets", targets);
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

/** Some nodes and all that they are computed from. */
function needed({ nodes }: Plan, addresses: string[]): Set<string> {
  const found = new Set(addresses);
  for (const { address, operands } of nodes.toReversed())
    if (found.has(address)) for (const path of Object.values(operands)) found.add(path);
  return found;
}
