/** A model's weights as a folder: which part of the model each belongs to. */
import { count } from "../../trace/number";
import type { Weight } from "../../api";

export interface Part {
  name: string;
  weights: Weight[];
  parameters: number;
  share: number;
}

/** The part that a weight's name says it is in. */
function partOf(name: string): string {
  const [, tower = "", rest] = /^(?:(encoder|decoder)\.)?(.*)$/.exec(name)!;
  const block = /^blocks\.(\d+)\./.exec(rest);
  const part = block ? `block ${block[1]}` : outside(rest);
  return tower && part !== "unembedding" ? `${tower} ${part}` : part;
}

function outside(name: string): string {
  if (/^(pos_embed|distances)/.test(name)) return "positions";
  return /^(\w+_)?embed/.test(name) ? "embedding" : "unembedding"; // the last norm belongs to reading out
}

/** The parts in the model's order, each with its weights. */
export function partsOf(weights: Weight[]): Part[] {
  const parts = new Map<string, Part>();
  for (const weight of weights) {
    const name = partOf(weight.name);
    const part =
      parts.get(name) ?? parts.set(name, { name, weights: [], parameters: 0, share: 0 }).get(name)!;
    part.weights.push(weight);
    part.parameters += weight.parameters;
    part.share += weight.share;
  }
  return [...parts.values()];
}

export const percent = (share: number): string =>
  share > 0 && share < 0.001 ? "under 0.1%" : `${(share * 100).toFixed(1)}%`;

const WORDS: Record<string, string> = {
  vocab_size: "tokens in the vocabulary",
  n_ctx: "tokens it can read at once",
  d_model: "numbers in the vector of each token",
  n_layers: "blocks, one after another",
  n_heads: "attention heads in each block",
  d_head: "numbers in each head's query, key and value",
  d_mlp: "neurons in each block's MLP",
  position: "how it knows the order of tokens",
  rotary_base: "base of the rotary wavelengths",
  qk_norm: "queries and keys are brought to a standard length",
  norm: "how a vector is brought to a standard length",
  norm_position:
    "where the norms stand: before each branch (pre), after each addition (post) or nowhere",
  embed_norm: "a norm before the first block",
  final_norm: "a norm before the unembedding",
  norm_gain: "norms have learned gains",
  norm_bias: "norms have learned biases",
  norm_eps: "added to a variance, against a division by zero",
  attn_bias: "attention has biases",
  mlp_bias: "the MLP has biases",
  head_bias: "the unembedding has a bias",
  activation: "what a neuron does to its sum",
  tied: "the unembedding is the embedding table, read the other way",
  dropout: "share of numbers dropped while training",
  init_std: "standard deviation of the first, random weights",
  zero_init: "what is added to the stream starts at zero",
};

/** A setting of the configuration in plain words. */
export const meaning = (setting: string): string => WORDS[setting] ?? "";

/** A setting's value in plain words. */
export const spelled = (value: unknown): string =>
  value === true
    ? "yes"
    : value === false
      ? "no"
      : value === null || String(value) === ""
        ? "none"
        : typeof value === "number" && Number.isInteger(value)
          ? count(value)
          : String(value);
