/**
 * One logit as a sum: what each part of the model wrote towards a token. Norms on the way are taken with
 * the scale that they had in this pass, so that the shares add up to the logit. Python's
 * `lab.logit_attribution`, which says the rules and the source (Elhage et al. 2021).
 */
import { format, nameOf } from "./address";
import { flat } from "./node";
import { column, line } from "./slice";
import type { Trace } from "./trace";
import { towerOf, Way, type Config, type Written } from "./way";

/** What one part, as Python names it, contributed to the logit, in logits; `address` is what it wrote. */
export interface Share {
  part: string;
  logits: number;
  address: string;
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

const AFTER_PARTS =
  /^((cross_)?attn_out|(cross_)?attn_scaled|mlp_out|mlp_scaled|resid_(start|pre|(mid|cross|post)(_sum)?)|final_scaled|logits_raw|logits)$/;

/** Why the logits of a trace can't be split; "" where they can. */
export function refusal(trace: Trace, about: Record<string, unknown>): string {
  const { config, scope } = towerOf(about);
  const edited = trace.ofKind("fwd").find(({ address, edited }) => {
    const name = nameOf(address);
    if (!edited || (name.includes(".") && !name.startsWith(scope))) return false; // the other tower's
    const [last, norm = ""] = name.split(".").reverse();
    const ofStream = ["ln_embed", "ln_final"].includes(norm) || norm.endsWith("_post");
    const after = config.norm_position === "post" && ["ln1", "ln_cross", "ln2"].includes(norm);
    return ofStream || AFTER_PARTS.test(last) || after;
  });
  return edited
    ? `${edited.address} was edited, so what the parts wrote no longer adds up to a logit.`
    : "";
}

/** Split the logit of a token at a position, in float64 from recorded values. */
export async function attribute(
  trace: Trace,
  about: Record<string, unknown>,
  token: number,
  pos: number,
): Promise<Attribution> {
  const way = await Way.of(trace, about, pos);
  const { config } = way;
  const stream = await (config.masked_head ? ofMaskedHead(way) : ofBlocks(way));
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

/** The vector that the unembedding reads, as the sum of what the embedding and the blocks wrote. */
async function ofBlocks(way: Way): Promise<Written[]> {
  const { trace, config, scope, pos } = way;
  let stream = await starts(way);
  if (config.embed_norm) stream = way.under(stream, `${scope}ln_embed`, "embedding norm");
  for (let block = 0; block < config.n_layers; block++) {
    const at = way.at(block);
    stream = way.add(
      stream,
      await headsOf(way, block, ""),
      `${at}.ln1`,
      `layer ${block} attention`,
    );
    if (way.crosses(block))
      stream = way.add(
        stream,
        await headsOf(way, block, "cross"),
        `${at}.ln_cross`,
        `layer ${block} cross-attention`,
      );
    const out = `fwd/${at}.mlp.mlp_out`;
    const x = await line(trace, out, { batch: 0, pos });
    const mlp = { part: `layer ${block} MLP`, address: format(out, { pos }), x };
    stream = way.add(stream, [mlp], `${at}.ln2`, mlp.part);
  }
  return config.final_norm ? way.under(stream, `${scope}ln_final`, "final norm") : stream;
}

/** The same of an encoder's masked head: an activation stands in the stream's way, so its neurons are the parts. */
async function ofMaskedHead(way: Way): Promise<Written[]> {
  const path = "fwd/masked_head.post";
  const post = await line(way.trace, path, { batch: 0, pos: way.pos });
  const neurons = Array.from(post, (value, d_mlp): Written => {
    const x = new Float64Array(post.length);
    x[d_mlp] = value;
    const address = format(path, { pos: way.pos, d_mlp });
    return { part: `masked head neuron ${d_mlp}`, address, x };
  });
  return way.under(neurons, "masked_head.ln", "masked head norm");
}

/** What each head of a block's attention wrote, and their bias. */
async function headsOf(
  { trace, config, at, pos }: Way,
  block: number,
  crosses: "" | "cross",
): Promise<Written[]> {
  const scope = `${at(block)}.${crosses && "cross_"}attn`;
  const named = `layer ${block} ${crosses && "cross-"}`;
  const z = await line(trace, `fwd/${scope}.z`, { batch: 0, pos });
  const [heads, wide, d_model] = trace.node(`weight/${scope}.W_O`).shape;
  const weights = await adapted(trace, config, scope, "O", d_model);
  const result = Array.from({ length: heads }, (_, head): Written => {
    const x = new Float64Array(d_model);
    for (let i = head * wide; i < (head + 1) * wide; i++)
      for (let d = 0; d < d_model; d++) x[d] += z[i] * weights[i * d_model + d];
    const address = format(`fwd/${scope}.z`, { pos, head });
    return { part: `${named}head ${head}`, address, x };
  });
  const b_O = `weight/${scope}.b_O`;
  if (trace.has(b_O))
    result.push({ part: `${named}attention bias`, address: b_O, x: await line(trace, b_O, {}) });
  return result;
}

/** A matrix [..., d_model], or what stands behind an index of it, with its adapter, where it has one: W + A B alpha / rank. */
async function adapted(
  trace: Trace,
  { lora }: Config,
  scope: string,
  name: string,
  d_model: number,
  index: Record<string, number> = {},
): Promise<Float64Array> {
  const W = await line(trace, `weight/${scope}.W_${name}`, index);
  const [A, B] = ["A", "B"].map((side) => trace.nodes.get(`weight/${scope}.lora_${name}.${side}`));
  if (!lora || !A || !B) return W;
  const [a, b] = await Promise.all([line(trace, A.address, index), trace.values.all(B)]);
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
  about: Record<string, unknown>,
  { token, pos }: Pick<Attribution, "token" | "pos">,
  block: number,
): Promise<{ neuron: number; logits: number; address: string }[]> {
  const way = await Way.of(trace, about, pos);
  const { config } = way;
  const mlp = `${way.at(block)}.mlp`;
  const path = `fwd/${mlp}.post`;
  const W_out = trace.nodes.get(`weight/${mlp}.W_out`);
  if (!trace.has(path) || W_out?.axes.join() !== "d_mlp,d_model" || config.masked_head) return [];
  const direction = await directionOf(trace, config, token);
  const d_model = W_out.shape[1];
  const [post, weights] = await Promise.all([
    line(trace, path, { batch: 0, pos }),
    adapted(trace, config, mlp, "out", d_model),
  ]);
  const shares = Array.from(post, (value, neuron) => ({
    neuron,
    logits:
      config.logit_scale *
      dot(
        way.onward(
          weights.subarray(neuron * d_model, (neuron + 1) * d_model).map((w) => w * value),
          block,
          "ln2",
        ),
        direction,
      ),
    address: format(path, { batch: 0, pos, d_mlp: neuron }),
  }));
  return shares.sort((a, b) => Math.abs(b.logits) - Math.abs(a.logits));
}

/** What a head wrote towards a token, split by the keys that it looked at: share times value, through W_O; empty where what it mixed was edited. */
export async function keyShares(
  trace: Trace,
  about: Record<string, unknown>,
  { token, pos }: Pick<Attribution, "token" | "pos">,
  { attention, block, head }: { attention: string; block: number; head: number },
): Promise<number[]> {
  const z = trace.node(`${attention}.z`);
  if (z.edited) return [];
  const way = await Way.of(trace, about, pos);
  const { config } = way;
  const v = trace.node(z.operands.v);
  const [kvHeads, wide] = v.shape.slice(-2);
  const scope = attention.replace("fwd/", "");
  const d_model = trace.node(`weight/${scope}.W_O`).shape.at(-1)!;
  const [pattern, values, weights, direction] = await Promise.all([
    line(trace, `${attention}.pattern`, { batch: 0, head, query: pos }),
    line(trace, v.address, { batch: 0 }),
    adapted(trace, config, scope, "O", d_model, { head }),
    directionOf(trace, config, token),
  ]);
  const mine = Math.floor((head * kvHeads) / trace.node(`${attention}.pattern`).shape[1]); // grouped heads read the same values
  const norm = attention.endsWith("cross_attn") ? "ln_cross" : "ln1";
  return Array.from(pattern, (share, key) => {
    if (!share) return 0;
    const x = new Float64Array(d_model);
    for (let i = 0; i < wide; i++) {
      const value = share * values[(key * kvHeads + mine) * wide + i];
      for (let d = 0; d < d_model; d++) x[d] += value * weights[i * d_model + d];
    }
    return config.logit_scale * dot(way.onward(x, block, norm), direction);
  });
}

/** What the stream begins with. */
async function starts({ trace, config, scope, pos }: Way): Promise<Written[]> {
  const path = `fwd/${scope}embed${config.embed_scale === 1 ? "" : "_scaled"}`;
  const of = async (part: string, path: string, index: Record<string, number>) => ({
    part,
    address: format(path, { pos }),
    x: await line(trace, path, index),
  });
  const result = [await of("token embedding", path, { batch: 0, pos })];
  if (trace.has("fwd/type_embed"))
    result.push(await of("token type", "fwd/type_embed", { batch: 0, pos }));
  const address = `fwd/${scope}pos_embed`;
  if (trace.has(address)) result.push(await of("position", address, { pos }));
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
