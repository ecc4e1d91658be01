/** What a visitor may guess, and what to say of the model's own answer. */
import { isSpecial } from "../../trace/trace";

/** Ranks of the tokens among which a visitor chooses: the model's own first, two near it, one far. */
const RANKS = [0, 1, 3, 11];

/** Token ids by their probability, the largest first; marks such as <eos> are no words to guess. */
export const ranked = (probs: ArrayLike<number>, words: string[]): number[] =>
  Array.from(probs, (_, id) => id)
    .filter((id) => words[id]?.trim() && !isSpecial(words[id]))
    .sort((a, b) => probs[b] - probs[a] || a - b);

/** Four tokens to choose among, in alphabetical order, so that their order tells nothing. */
export function choices(probs: ArrayLike<number>, words: string[]): number[] {
  const best = ranked(probs, words);
  const ids = new Set(RANKS.map((rank) => best[Math.min(rank, best.length - 1)]));
  return [...ids]
    .filter((id) => id !== undefined)
    .sort((a, b) => words[a].localeCompare(words[b], "en"));
}

/** Whether nothing was learned: no token is much more probable than any other. */
export const isUniform = (probs: ArrayLike<number>): boolean =>
  Math.max(...Array.from(probs)) < 1.5 / probs.length;

/** How many of the most probable tokens have at least a share of all together, and what they have. */
export function together(probs: ArrayLike<number>, share: number): { count: number; sum: number } {
  const sorted = Float64Array.from(probs).sort().reverse();
  let [count, sum] = [0, 0];
  while (sum < share && count < sorted.length) sum += sorted[count++];
  return { count, sum };
}

/** The end of a linear scale that holds a probability: a round one. */
export const scaleEnd = (largest: number): number =>
  [0.1, 0.2, 0.3, 0.5, 1].find((end) => end >= largest) ?? 1;
