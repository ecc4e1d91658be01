/** The way from what a model's parts write to its logits: the norms on it, with the scales that they had in one pass. */
import { line } from "./slice";
import type { Trace } from "./trace";

/** What attribution needs to know of a model's configuration. */
export interface Config {
  norm_position: string;
  logit_cap: number;
  tied: boolean;
  final_norm: boolean;
  norm: string;
  norm_gain_from_one: boolean;
  logit_scale: number;
  branch_scale: number;
  embed_norm: boolean;
  embed_scale: number;
  n_layers: number;
  head_bias: boolean;
  masked_head: boolean;
  lora: { rank: number; alpha: number } | null;
}

/** The configuration of the tower that gives the logits, and how its names begin. */
export function towerOf(config: Record<string, unknown>): { config: Config; scope: string } {
  const scope = "decoder" in config ? "decoder." : "";
  return { config: (scope ? config.decoder : config) as Config, scope };
}

/** What one part wrote, as the stream has it behind all norms so far. */
export interface Written {
  part: string;
  address: string;
  x: Float64Array;
}

/** A norm as this pass had it. */
interface Norm {
  scale: number;
  centers: boolean;
  gain: Float64Array | null;
  bias: Float64Array | null;
}

const normed = ({ scale, centers, gain }: Norm, x: Float64Array): Float64Array => {
  const mean = centers ? x.reduce((sum, one) => sum + one, 0) / x.length : 0;
  return x.map((one, d) => ((one - mean) / scale) * (gain ? gain[d] : 1));
};

/** A model's way from what its parts write to the logits, at one position. */
export class Way {
  private norms = new Map<string, Norm>();
  readonly config: Config;
  /** How the names of the tower's values begin. */
  readonly scope: string;

  private constructor(
    readonly trace: Trace,
    config: Record<string, unknown>,
    readonly pos: number,
  ) {
    ({ config: this.config, scope: this.scope } = towerOf(config));
  }

  static async of(trace: Trace, about: Record<string, unknown>, pos: number): Promise<Way> {
    const way = new Way(trace, about, pos);
    const { config, scope } = way;
    const names = Array.from({ length: config.n_layers }, (_, block) => way.normsOf(block)).flat();
    const wanted = config.masked_head
      ? ["masked_head.ln"]
      : [
          ...(config.embed_norm ? [`${scope}ln_embed`] : []),
          ...(way.onBranches ? names.map((name) => `${name}_post`) : []),
          ...(way.afterAdding ? names : []),
          ...(config.final_norm ? [`${scope}ln_final`] : []),
        ];
    for (const name of wanted) way.norms.set(name, await way.load(name));
    return way;
  }

  at = (block: number): string => `${this.scope}blocks.${block}`;

  crosses = (block: number): boolean => this.trace.has(`fwd/${this.at(block)}.cross_attn.z`);

  /** The norms of a block's branches, in order. */
  private normsOf = (block: number): string[] =>
    ["ln1", ...(this.crosses(block) ? ["ln_cross"] : []), "ln2"].map(
      (norm) => `${this.at(block)}.${norm}`,
    );

  private get onBranches(): boolean {
    return ["branch", "both"].includes(this.config.norm_position);
  }

  private get afterAdding(): boolean {
    return this.config.norm_position === "post";
  }

  private async load(name: string): Promise<Norm> {
    const { trace, config, pos } = this;
    const read = async (path: string) => (trace.has(path) ? line(trace, path, {}) : null);
    const gain = await read(`weight/${name}.w`);
    return {
      scale: await trace.values.one(trace.node(`fwd/${name}.scale`), pos),
      centers: config.norm === "layer",
      gain: gain && gain.map((w) => w + Number(config.norm_gain_from_one)),
      bias: await read(`weight/${name}.b`),
    };
  }

  /** Each part under a norm, and the norm's bias. */
  under(parts: Written[], name: string, called: string): Written[] {
    const norm = this.norms.get(name)!;
    const result = parts.map((one) => ({ ...one, x: normed(norm, one.x) }));
    if (norm.bias)
      result.push({ part: `${called}'s bias`, address: `weight/${name}.b`, x: norm.bias });
    return result;
  }

  /** The stream with what a branch adds, each normed where the model does it. */
  add(stream: Written[], branch: Written[], norm: string, called: string): Written[] {
    const factor = this.config.branch_scale;
    const added = this.onBranches ? this.under(branch, `${norm}_post`, `${called} norm`) : branch;
    const all = [...stream, ...added.map((one) => ({ ...one, x: one.x.map((x) => x * factor) }))];
    return this.afterAdding ? this.under(all, norm, `${called} norm`) : all;
  }

  /** What a branch of a block wrote, as the last vector of the stream has it; `norm`: that of the branch. */
  onward(x: Float64Array, block: number, norm: "ln1" | "ln_cross" | "ln2"): Float64Array {
    const { scope, config } = this;
    const own = `${this.at(block)}.${norm}`;
    const by = (name: string) => (x = normed(this.norms.get(name)!, x));
    if (this.onBranches) by(`${own}_post`);
    x = x.map((one) => one * config.branch_scale);
    if (this.afterAdding) {
      const norms = this.normsOf(block);
      norms.slice(norms.indexOf(own)).forEach(by);
      for (let later = block + 1; later < config.n_layers; later++) this.normsOf(later).forEach(by);
    }
    if (config.final_norm) by(`${scope}ln_final`);
    return x;
  }
}
