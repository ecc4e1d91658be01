/**
 * The choice of a token from recorded logits, in the order and arithmetic of Python's
 * `ops.sampling`: float64, the candidates on a line from 0 to 1, the most probable first, equal
 * scores ranked by token id.
 */
export interface Settings {
  /** 0 is greedy. */
  temperature: number;
  top_k: number | null;
  top_p: number | null;
  min_p: number | null;
  repetition_penalty: number;
}

export const UNCHANGED: Settings = {
  temperature: 1,
  top_k: null,
  top_p: null,
  min_p: null,
  repetition_penalty: 1,
};

/** A setting that cuts, and how many of the most probable tokens it leaves. */
export interface Cut {
  by: "greedy" | "top_k" | "top_p" | "min_p";
  leaves: number;
}

export interface Choice {
  /** Token ids, the most probable first. */
  order: Uint32Array;
  /** By token id: the probabilities before anything was cut. */
  softmax: Float64Array;
  /** By token id: the probabilities that are drawn from; 0 for what was cut. */
  probs: Float64Array;
  /** By rank: where each candidate's part of the line ends. */
  cumulative: Float64Array;
  cuts: Cut[];
}

/** A token that the text already has gets a lower score. */
export function penalize(scores: Float64Array, ids: number[], penalty: number): Float64Array {
  if (penalty === 1) return scores;
  const result = scores.slice();
  for (const id of new Set(ids))
    result[id] = scores[id] > 0 ? scores[id] / penalty : scores[id] * penalty;
  return result;
}

const first = (scores: Float64Array) => (a: number, b: number) => scores[b] - scores[a] || a - b;

/** Token ids by score, the highest first; of equal ones the lower id. */
export function ranked(scores: Float64Array): Uint32Array {
  return new Uint32Array(scores.length).map((_, id) => id).sort(first(scores));
}

/** The order again after the scores of a few tokens moved. */
export function reranked(order: Uint32Array, scores: Float64Array, ids: number[]): Uint32Array {
  const moved = new Set(ids);
  const waiting = [...moved].sort(first(scores));
  const result = new Uint32Array(order.length);
  let [rank, next] = [0, 0];
  for (const id of order) {
    if (moved.has(id)) continue;
    while (next < waiting.length && first(scores)(waiting[next], id) < 0)
      result[rank++] = waiting[next++];
    result[rank++] = id;
  }
  result.set(waiting.slice(next), rank);
  return result;
}

/** What may be drawn; `order` is that of the scores, kept by the caller while only other settings move. */
export function choose(scores: Float64Array, order: Uint32Array, settings: Settings): Choice {
  const greedy = settings.temperature === 0;
  const divides = !greedy && settings.temperature !== 1;
  const scaled = scores.slice();
  if (divides) for (let id = 0; id < scaled.length; id++) scaled[id] /= settings.temperature;
  const sorted = divides ? byIdWhereEqual(order, scaled) : order;
  const uncut = softmax(scaled, scaled[sorted[0]]);
  const { cuts, leaves } = greedy
    ? { cuts: [{ by: "greedy" as const, leaves: 1 }], leaves: 1 }
    : cut(uncut, sorted, settings);
  const probs = cuts.length ? shares(only(uncut, sorted.subarray(0, leaves))) : uncut;
  return {
    order: sorted,
    softmax: uncut,
    probs,
    cumulative: accumulate(probs, sorted.subarray(0, leaves)),
    cuts,
  };
}

/** The rank on whose part of the line the number u falls. */
export function fallsOn(cumulative: Float64Array, u: number): number {
  let [from, to] = [0, cumulative.length - 1];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (cumulative[middle] <= u) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** The setting that cut the token of this rank; null for one that may be drawn. */
export const cutBy = (choice: Choice, rank: number): Cut | null =>
  choice.cuts.find(({ leaves }) => rank >= leaves) ?? null;

function cut(
  softmax: Float64Array,
  order: Uint32Array,
  { top_k, top_p, min_p }: Settings,
): { cuts: Cut[]; leaves: number } {
  const cuts: Cut[] = [];
  let leaves = order.length;
  const leave = (by: Cut["by"], n: number) => {
    leaves = Math.min(leaves, n);
    cuts.push({ by, leaves });
  };
  if (top_k !== null) leave("top_k", top_k);
  if (top_p !== null && top_p < 1) {
    const line = accumulate(softmax, order.subarray(0, leaves));
    leave("top_p", 1 + line.findIndex((end) => end >= top_p));
  }
  if (min_p) {
    const least = min_p * softmax[order[0]];
    let n = leaves;
    while (n > 1 && softmax[order[n - 1]] < least) n--;
    leave("min_p", n);
  }
  return { cuts, leaves };
}

/** Dividing can make different scores equal; the lower id then goes first. */
function byIdWhereEqual(order: Uint32Array, scores: Float64Array): Uint32Array {
  const sorted = order.slice();
  let from = 0; // of the equal ones
  let score = scores[sorted[0]];
  for (let rank = 1; rank <= sorted.length; rank++) {
    const next = scores[sorted[rank]]; // undefined beyond the last
    if (next === score) continue;
    if (rank - from > 1) sorted.subarray(from, rank).sort();
    [from, score] = [rank, next];
  }
  return sorted;
}

// over a large vocabulary each array is a megabyte and each move of a slider needs them again: what
// is not read afterwards is written over

/** The probabilities of scores, in their place. */
export function softmax(scores: Float64Array, highest = largest(scores)): Float64Array {
  for (let id = 0; id < scores.length; id++) scores[id] = Math.exp(scores[id] - highest);
  return shares(scores);
}

const largest = (scores: Float64Array) => scores.reduce((a, b) => Math.max(a, b));

function only(probs: Float64Array, ids: Uint32Array): Float64Array {
  const kept = new Float64Array(probs.length);
  for (const id of ids) kept[id] = probs[id];
  return kept;
}

function shares(weights: Float64Array): Float64Array {
  let total = 0;
  for (let id = 0; id < weights.length; id++) total += weights[id];
  for (let id = 0; id < weights.length; id++) weights[id] /= total;
  return weights;
}

/** Divided by the last one, the line ends at exactly 1. */
function accumulate(probs: Float64Array, order: Uint32Array): Float64Array {
  const running = new Float64Array(order.length);
  let sum = 0;
  for (let rank = 0; rank < order.length; rank++) running[rank] = sum += probs[order[rank]];
  for (let rank = 0; rank < order.length; rank++) running[rank] /= sum;
  return running;
}
