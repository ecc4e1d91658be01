/** A model made anew for a text: its vocabulary, and the numbers that it begins with. */
import { cutter, type TokenizerFile } from "../text/tokenizer";
import { kindOf } from "../trace/address";
import type { PlanNode } from "./plan";
import type { Values } from "./program";

export type Unit = "words" | "characters";

/** How first weights are drawn: how widely each, in the plan's order (0: not at all). */
export interface Fresh {
  deviations: number[];
  seed: number;
}

const MOST = 800; // tokens, so that the model stays below 20,000 numbers
const ANY = { type: "Split", pattern: { Regex: "[\\s\\S]" } };

/** A tokenizer of the words or characters of a text, made of one of words. */
export function vocabularyOf(text: string, unit: Unit, words: TokenizerFile): TokenizerFile {
  const file: TokenizerFile =
    unit === "words" ? words : { ...words, pre_tokenizer: ANY, decoder: { type: "Fuse" } };
  const cut = cutter(file.pre_tokenizer!.pattern!.Regex!);
  const vocabulary = [...new Set(cut(text).map(([word]) => word))].sort();
  if (vocabulary.length < 2)
    throw new Error(`this text has no two different ${unit}; give a longer one`);
  if (vocabulary.length > MOST)
    throw new Error(
      `this text has ${vocabulary.length} different ${unit}, and a model of this page knows at most ${MOST}; give a shorter text${unit === "words" ? ", or take characters" : ""}`,
    );
  const named = [
    "<eos>",
    "<unk>",
    ...vocabulary.filter((word) => !["<eos>", "<unk>"].includes(word)),
  ];
  const vocab = Object.fromEntries(named.map((word, id) => [word, id]));
  return { ...file, model: { type: "WordLevel", unk_token: "<unk>", vocab } };
}

/** The leaves of a new model, of the plan's sizes: weights drawn normally about 0, the others as they are stored. */
export function drawn(
  leaves: PlanNode[],
  stored: Float64Array[],
  { deviations, seed }: Fresh,
): Values {
  const draw = normal(seed);
  let weight = 0;
  return new Map(
    leaves.map(({ address, shape }, i): [string, Float64Array] => {
      const size = (shape as number[]).reduce((a, b) => a * b, 1);
      const spread = kindOf(address) === "weight" ? deviations[weight++] : 0;
      // what has one number for each token of the vocabulary has the same one for all
      const same = stored[i].length === size;
      const numbers = same ? stored[i] : new Float64Array(size).fill(stored[i][0]);
      return [address, spread ? numbers.map(() => Math.fround(spread * draw())) : numbers];
    }),
  );
}

/** Normal numbers of a seed (mulberry32, then Box and Muller 1958). */
function normal(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
