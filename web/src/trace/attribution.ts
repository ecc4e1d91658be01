/**
 * One logit as a sum: what each part of the model wrote towards a token. The final norm is taken with
 * the scale that this pass had, so that the shares add up to the logit. Python's `lab.logit_attribution`,
 * which says the rules and the source (Elhage et al. 2021).
 */
import { format, parse } from "./address";
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
}

const AFTER_PARTS = /(^|\.)(attn_out|mlp_out|resid_start|resid_pre|resid_mid|resid_post)$/;
const AFTER_STREAM = /^(ln_final\.|logits)/;

/** Why the logits of a trace can't be split; "" where they can. */
export function refusal(trace: Trace, given: Record<string, unknown>): string {
  const { norm_position } = given as unknown as Config;
  if (!["pre", "none"].includes(norm_position))
    return "This model normalizes what attention and MLP add, or the sum, so its parts do not add up to a logit.";
  const edited = trace.ofKind("fwd").find(({ address, edited }) => {
    const name = address.slice("fwd/".length);
    return edited && (AFTER_PARTS.test(name) || AFTER_STREAM.test(name));
  });
  return edited
    ? `${edited.address} was edited, so what the parts wrote no longer adds up to a logit.`
    : "";
}

/** Split the logit of a token at a position, in float64 from recorded values. */
export async function attribute(
  trace: Trace,
  given: Record<string, unknown>,
  token: number,
  pos: number,
): Promise<Attribution> {
  const config = given as unknown as Config;
  const logits = trace.node(config.logit_cap ? "fwd/logits_raw" : "fwd/logits");
  const direction = await directionOf(trace, config, token);
  const read = await reader(trace, config, direction, pos);
  const shares: Share[] = [];
  const add = (part: string, address: string, logits: number) =>
    shares.push({ part, address, logits });

  for (const [path, part] of starts(trace, config)) {
    const own: Record<string, number> = trace.node(path).axes.includes("batch") ? { batch: 0 } : {};
    const x = await line(trace, path, { ...own, pos });
    add(part, format(path, { pos }), read(x));
  }
  for (let block = 0; block < config.n_layers; block++) {
    const scope = `blocks.${block}`;
    const z = await line(trace, `fwd/${scope}.attn.z`, { batch: 0, pos });
    const W_O = trace.node(`weight/${scope}.attn.W_O`);
    const weights = await trace.values.all(W_O);
    const [heads, wide, d_model] = W_O.shape;
    for (let head = 0; head < heads; head++) {
      const wrote = new Float64Array(d_model);
      for (let i = head * wide; i < (head + 1) * wide; i++)
        for (let d = 0; d < d_model; d++) wrote[d] += z[i] * weights[i * d_model + d];
      const address = format(`fwd/${scope}.attn.z`, { pos, head });
      const x = wrote.map((x) => x * config.branch_scale);
      add(`layer ${block} head ${head}`, address, read(x));
    }
    const b_O = `weight/${scope}.attn.b_O`;
    if (trace.has(b_O)) {
      const bias = (await line(trace, b_O, {})).map((x) => x * config.branch_scale);
      add(`layer ${block} attention bias`, b_O, read(bias));
    }
    const out = `fwd/${scope}.mlp.mlp_out`;
    const x = (await line(trace, out, { batch: 0, pos })).map((x) => x * config.branch_scale);
    add(`layer ${block} MLP`, format(out, { pos }), read(x));
  }
  // what does not depend on the text
  if (trace.has("weight/ln_final.b")) {
    const bias = await line(trace, "weight/ln_final.b", {});
    add("final norm's bias", "weight/ln_final.b", dot(bias, direction) * config.logit_scale);
  }
  if (trace.has("weight/unembed.b_U")) {
    const b_U = trace.node("weight/unembed.b_U");
    const address = format(b_U.address, { vocab: token });
    add("unembedding's bias", address, await trace.values.one(b_U, token));
  }
  return {
    token,
    pos,
    shares,
    total: shares.reduce((sum, share) => sum + share.logits, 0),
    logit: await trace.values.one(logits, flat(logits, { batch: 0, pos, vocab: token })),
    address: format(logits.address, { pos, vocab: token }),
  };
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
  const read = await reader(trace, config, direction, pos);
  const [post, weights] = await Promise.all([
    line(trace, path, { batch: 0, pos }),
    trace.values.all(W_out),
  ]);
  const d_model = W_out.shape[1];
  const shares = Array.from(post, (value, neuron) => ({
    neuron,
    logits: read(
      weights
        .subarray(neuron * d_model, (neuron + 1) * d_model)
        .map((w) => w * value * config.branch_scale),
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

/** What the stream begins with: (path, Python's name). */
function starts(trace: Trace, config: Config): [string, string][] {
  if (config.embed_norm) return [["fwd/ln_embed.normalized", "embedding, normed"]];
  const path = config.embed_scale === 1 ? "fwd/embed" : "fwd/embed_scaled";
  const found: [string, string][] = [[path, "token embedding"]];
  if (trace.has("fwd/pos_embed")) found.push(["fwd/pos_embed", "position"]);
  return found;
}

/** The column of the unembedding that a token's logit is read with. */
const directionOf = (trace: Trace, config: Config, token: number): Promise<Float64Array> =>
  column(trace, trace.node(config.tied ? "fwd/unembed.W_U" : "weight/unembed.W_U"), {
    vocab: token,
  });

/** A vector's share: normed with the scale that this pass had, and unembedded. */
async function reader(trace: Trace, config: Config, direction: Float64Array, pos: number) {
  if (!config.final_norm) return (x: Float64Array) => dot(x, direction) * config.logit_scale;
  const scale = await trace.values.one(trace.node("fwd/ln_final.scale"), pos);
  const gain = trace.has("weight/ln_final.w") ? await line(trace, "weight/ln_final.w", {}) : null;
  const from = Number(config.norm_gain_from_one);
  return (x: Float64Array) => {
    const mean = config.norm === "layer" ? x.reduce((sum, one) => sum + one, 0) / x.length : 0;
    let sum = 0;
    for (let d = 0; d < x.length; d++)
      sum += ((x[d] - mean) / scale) * (gain ? gain[d] + from : 1) * direction[d];
    return sum * config.logit_scale;
  };
}

function dot(one: Float64Array, two: Float64Array): number {
  return one.reduce((sum, x, i) => sum + x * two[i], 0);
}
