/**
 * One logit as a sum: what each part of the model wrote towards a token. Norms on the way are taken with
 * the scale that they had in this pass, so that the shares add up to the logit. Python's
 * `lab.logit_attribution`, which says the rules and the source (Elhage et al. 2021).
 */
import { format, nameOf, parse } from "./address";
import { flat } from "./node";
import { column, line } from "./slice";
import { blockOf } from "./story";
import type { Trace } from "./trace";

export type PartKind = "embedding" | "position" | "head" | "mlp" | "bias";

/** What one part, as Python names it, contributed to the logit, in logits; `address` is what it wrote. */
export interface Share {
  part: string;
  logits: number;
  address: string;
}

/** Which part wrote to an address. */
export interface Part {
  kind: PartKind;
  block: number | null;
  head: number | null;
}

/** All shares of one logit; `total` is their sum, `logit` the recorded number at `address`. */
export interface Attribution {
  token: number;
  pos: number;
  shares: Share[];
  total: number;
  logit: number;
  address: string;
}

/** What attribution needs to know of a model's configuration. */
interface Config {
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
  lora: { rank: number; alpha: number } | null;
}

const AFTER_PARTS =
  /^(attn_out|attn_scaled|mlp_out|mlp_scaled|resid_start|resid_pre|resid_mid_sum|resid_mid|resid_post_sum|resid_post|final_scaled|logits_raw|logits)$/;

/** Why the logits of a trace can't be split; "" where they can. */
export function refusal(trace: Trace, given: Record<string, unknown>): string {
  const { norm_position } = given as unknown as Config;
  const edited = trace.ofKind("fwd").find(({ address, edited }) => {
    const [last, norm = ""] = nameOf(address).split(".").reverse();
    const ofStream = ["ln_embed", "ln_final"].includes(norm) || norm.endsWith("_post");
    const after = norm_position === "post" && ["ln1", "ln2"].includes(norm);
    return edited && (ofStream || AFTER_PARTS.test(last) || after);
  });
  return edited
    ? `${edited.address} was edited, so what the parts wrote no longer adds up to a logit.`
    : "";
}

/** What one part wrote, as the stream has it behind all norms so far. */
interface Written {
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
class Way {
  private norms = new Map<string, Norm>();

  private constructor(
    readonly trace: Trace,
    readonly config: Config,
    readonly pos: number,
  ) {}

  static async of(trace: Trace, config: Config, pos: number): Promise<Way> {
    const way = new Way(trace, config, pos);
    const layers = Array.from({ length: config.n_layers }, (_, i) => `blocks.${i}`);
    const names = layers.flatMap((scope) => ["ln1", "ln2"].map((norm) => `${scope}.${norm}`));
    const wanted = [
      ...(config.embed_norm ? ["ln_embed"] : []),
      ...(way.onBranches ? names.map((name) => `${name}_post`) : []),
      ...(way.afterAdding ? names : []),
      ...(config.final_norm ? ["ln_final"] : []),
    ];
    for (const name of wanted) way.norms.set(name, await way.load(name));
    return way;
  }

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

  /** What an MLP wrote, as the last vector of the stream has it. */
  onward(x: Float64Array, block: number): Float64Array {
    const by = (name: string) => (x = normed(this.norms.get(name)!, x));
    if (this.onBranches) by(`blocks.${block}.ln2_post`);
    x = x.map((one) => one * this.config.branch_scale);
    if (this.afterAdding) {
      by(`blocks.${block}.ln2`);
      for (let later = block + 1; later < this.config.n_layers; later++)
        for (const norm of ["ln1", "ln2"]) by(`blocks.${later}.${norm}`);
    }
    if (this.config.final_norm) by("ln_final");
    return x;
  }
}

/** Split the logit of a token at a position, in float64 from recorded values. */
export async function attribute(
  trace: Trace,
  given: Record<string, unknown>,
  token: number,
  pos: number,
): Promise<Attribution> {
  const config = given as unknown as Config;
  const way = await Way.of(trace, config, pos);
  let stream = await starts(trace, config, pos);
  if (config.embed_norm) stream = way.under(stream, "ln_embed", "embedding norm");
  for (let block = 0; block < config.n_layers; block++) {
    const scope = `blocks.${block}`;
    const heads = await headsOf(trace, config, block, pos);
    stream = way.add(stream, heads, `${scope}.ln1`, `layer ${block} attention`);
    const out = `fwd/${scope}.mlp.mlp_out`;
    const x = await line(trace, out, { batch: 0, pos });
    const mlp = { part: `layer ${block} MLP`, address: format(out, { pos }), x };
    stream = way.add(stream, [mlp], `${scope}.ln2`, mlp.part);
  }
  if (config.final_norm) stream = way.under(stream, "ln_final", "final norm");

  const direction = await directionOf(trace, config, token);
  const shares = stream.map(({ part, address, x }) => ({
    part,
    address,
    logits: dot(x, direction) * config.logit_scale,
  }));
  if (config.head_bias) {
    const b_U = trace.node("weight/unembed.b_U");
    const address = format(b_U.address, { vocab: token });
    shares.push({
      part: "unembedding's bias",
      address,
      logits: await trace.values.one(b_U, token),
    });
  }
  const logits = trace.node(config.logit_cap ? "fwd/logits_raw" : "fwd/logits");
  return {
    token,
    pos,
    shares,
    total: shares.reduce((sum, share) => sum + share.logits, 0),
    logit: await trace.values.one(logits, flat(logits, { batch: 0, pos, vocab: token })),
    address: format(logits.address, { pos, vocab: token }),
  };
}

/** What each head of a block wrote, and their bias. */
async function headsOf(
  trace: Trace,
  config: Config,
  block: number,
  pos: number,
): Promise<Written[]> {
  const scope = `blocks.${block}.attn`;
  const z = await line(trace, `fwd/${scope}.z`, { batch: 0, pos });
  const [heads, wide, d_model] = trace.node(`weight/${scope}.W_O`).shape;
  const weights = await adapted(trace, config, scope, "O", d_model);
  const result = Array.from({ length: heads }, (_, head): Written => {
    const x = new Float64Array(d_model);
    for (let i = head * wide; i < (head + 1) * wide; i++)
      for (let d = 0; d < d_model; d++) x[d] += z[i] * weights[i * d_model + d];
    const address = format(`fwd/${scope}.z`, { pos, head });
    return { part: `layer ${block} head ${head}`, address, x };
  });
  const b_O = `weight/${scope}.b_O`;
  if (trace.has(b_O))
    result.push({
      part: `layer ${block} attention bias`,
      address: b_O,
      x: await line(trace, b_O, {}),
    });
  return result;
}

/** A matrix [..., d_model] with its adapter, where it has one: W + A B alpha / rank. */
async function adapted(
  trace: Trace,
  { lora }: Config,
  scope: string,
  name: string,
  d_model: number,
): Promise<Float64Array> {
  const W = await trace.values.all(trace.node(`weight/${scope}.W_${name}`));
  const [A, B] = ["A", "B"].map((side) => trace.nodes.get(`weight/${scope}.lora_${name}.${side}`));
  if (!lora || !A || !B) return W;
  const [a, b] = await Promise.all([trace.values.all(A), trace.values.all(B)]);
  return Float64Array.from(W, (w, i) => {
    const row = Math.floor(i / d_model) * lora.rank;
    let sum = 0;
    for (let r = 0; r < lora.rank; r++) sum += a[row + r] * b[r * d_model + (i % d_model)];
    return w + (sum * lora.alpha) / lora.rank;
  });
}

/** What the neurons of a block's MLP wrote, largest share first; empty where they are not read by one matrix. */
export async function neuronShares(
  trace: Trace,
  given: Record<string, unknown>,
  { token, pos }: Pick<Attribution, "token" | "pos">,
  block: number,
): Promise<{ neuron: number; logits: number; address: string }[]> {
  const config = given as unknown as Config;
  const path = `fwd/blocks.${block}.mlp.post`;
  const W_out = trace.nodes.get(`weight/blocks.${block}.mlp.W_out`);
  if (!trace.has(path) || W_out?.axes.join() !== "d_mlp,d_model") return [];
  const direction = await directionOf(trace, config, token);
  const way = await Way.of(trace, config, pos);
  const d_model = W_out.shape[1];
  const [post, weights] = await Promise.all([
    line(trace, path, { batch: 0, pos }),
    adapted(trace, config, `blocks.${block}.mlp`, "out", d_model),
  ]);
  const shares = Array.from(post, (value, neuron) => ({
    neuron,
    logits:
      config.logit_scale *
      dot(
        way.onward(
          weights.subarray(neuron * d_model, (neuron + 1) * d_model).map((w) => w * value),
          block,
        ),
        direction,
      ),
    address: format(path, { batch: 0, pos, d_mlp: neuron }),
  }));
  return shares.sort((a, b) => Math.abs(b.logits) - Math.abs(a.logits));
}

/** Which part wrote what stands at an address. */
export function partAt(address: string): Part {
  const { path, index } = parse(address);
  const block = blockOf(path);
  if (path.startsWith("weight/")) return { kind: "bias", block, head: null };
  if (path.endsWith(".attn.z")) return { kind: "head", block, head: index.head };
  if (path.endsWith(".mlp_out")) return { kind: "mlp", block, head: null };
  return { kind: path === "fwd/pos_embed" ? "position" : "embedding", block, head: null };
}

/** What the stream begins with. */
async function starts(trace: Trace, config: Config, pos: number): Promise<Written[]> {
  const path = config.embed_scale === 1 ? "fwd/embed" : "fwd/embed_scaled";
  const of = async (part: string, path: string, index: Record<string, number>) => ({
    part,
    address: format(path, { pos }),
    x: await line(trace, path, index),
  });
  const result = [await of("token embedding", path, { batch: 0, pos })];
  if (trace.has("fwd/pos_embed")) result.push(await of("position", "fwd/pos_embed", { pos }));
  return result;
}

/** The column of the unembedding that a token's logit is read with. */
const directionOf = (trace: Trace, config: Config, token: number): Promise<Float64Array> =>
  column(trace, trace.node(config.tied ? "fwd/unembed.W_U" : "weight/unembed.W_U"), {
    vocab: token,
  });

function dot(one: Float64Array, two: Float64Array): number {
  return one.reduce((sum, x, i) => sum + x * two[i], 0);
}
