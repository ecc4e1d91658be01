/** A model's own translation of a source. */
import type { PackedReading } from "../api";
import type { State } from "./learning";
import { needed, type Plan } from "./plan";
import type { Values } from "./program";

const AT_ONCE = 8; // tokens: a pass of another length has loops of its own to make

export class Translator {
  private wanted: Set<string>;
  /** The nodes that are the same however much is written. */
  private steady: string[];
  private known = new WeakMap<State["leaves"], Map<string, number[]>>();

  constructor(
    private reads: PackedReading,
    private n_ctx: number,
    plan: Plan,
  ) {
    this.wanted = needed(plan, ["fwd/logits"]);
    this.steady = plan.nodes
      .filter(({ op, shape }) => op !== null && !shape.includes("pos"))
      .map(({ address }) => address);
  }

  /** The likeliest token each time, up to the end or to the last position. */
  translate({ leaves, program }: State, source: number[]): number[] {
    const known = this.known.get(leaves) ?? new Map<string, number[]>();
    this.known.set(leaves, known);
    const key = source.join();
    const { start, end } = this.reads;
    if (known.has(key)) return known.get(key)!;
    const ids = [start!];
    const inputs: Values = new Map([...leaves, ["token/source", Float64Array.from(source)]]);
    while (ids.length < this.n_ctx) {
      const pos = Math.min(this.n_ctx, AT_ONCE * Math.ceil(ids.length / AT_ONCE));
      // what stands after a token changes nothing before it
      inputs.set(
        "token/ids",
        Float64Array.from({ length: pos }, (_, i) => ids[i] ?? start!),
      );
      const values = program.run({
        lengths: { batch: 1, pos, source_pos: source.length },
        leaves: inputs,
        wanted: ({ address }) => this.wanted.has(address),
      });
      for (const address of this.steady)
        if (values.has(address)) inputs.set(address, values.get(address)!);
      const logits = values.get("fwd/logits")!;
      const vocab = logits.length / pos;
      const row = logits.subarray((ids.length - 1) * vocab, ids.length * vocab);
      const likeliest = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
      if (likeliest === end) break;
      ids.push(likeliest);
    }
    known.set(key, ids.slice(1));
    return ids.slice(1);
  }
}
