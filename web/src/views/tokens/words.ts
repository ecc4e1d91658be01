/** A tokenization, read word by word: which steps belong to a word and which tokens it became. */
import type { TokenizedText } from "../../api";
import { visible } from "../../trace/trace";

type Step = TokenizedText["steps"][number];
export type Token = TokenizedText["tokens"][number];

export interface Word {
  text: string;
  /** The places of its first and last step among all steps. */
  first: number;
  last: number;
  tokens: Token[];
}

/** The words of a text in order; a text that is not split into words first is one word. */
export function wordsOf(result: TokenizedText): Word[] {
  const split = result.steps.find((step) => step.op === "split" && step.word === null);
  const words: Word[] = [];
  let used = 0;
  result.steps.forEach((step, at) => {
    if (step.word === null) return;
    words[step.word] ??= {
      text: split?.pieces[step.word] ?? result.text,
      first: at,
      last: at,
      tokens: [],
    };
    if (step.op !== "look up") return;
    words[step.word].last = at;
    words[step.word].tokens = result.tokens.slice(used, (used += step.ids.length));
  });
  return words;
}

/** Whether a token stands for what the vocabulary lacks: it has no bytes, and is no special token of the text. */
export const isUnknown = (token: Token, word: Word): boolean =>
  token.bytes.length === 0 && token.token !== word.text;

export const quoted = (text: string): string => `“${visible(text)}”`;

/** The place, among the pieces before a merge, of the left piece that it joins: the leftmost pair of lowest rank. */
export const placeOf = (step: Step): number =>
  step.considered.findIndex((pair) => pair.rank === step.merge?.rank);

/** One step in one sentence. */
export function summary(step: Step, word: Word | undefined): string {
  const pieces = step.pieces.length;
  if (step.op === "look up") {
    const ids = step.pieces.map((piece, i) => `${quoted(piece)} is ${step.ids[i]}`).join(", ");
    const unknown = word?.tokens.some((token) => isUnknown(token, word));
    return unknown
      ? `The vocabulary does not have all of ${quoted(word!.text)}: ${ids}.`
      : `The vocabulary has the numbers: ${ids}.`;
  }
  if (step.op === "merge") {
    const { left, right, rank } = step.merge!;
    const known = step.considered.filter((pair) => pair.rank !== null).length;
    const among =
      known > 1
        ? `the lowest rank of the ${known} pairs that were learned`
        : "the only pair here that was learned";
    return `${quoted(left)} and ${quoted(right)} become ${quoted(step.pieces[placeOf(step)])}: rank ${rank}, ${among}.`;
  }
  if (step.word === null)
    return `The text is split into ${pieces} ${pieces === 1 ? "word" : "words"}.`;
  return `${quoted(word?.text ?? "")} starts as ${pieces} ${pieces === 1 ? "piece" : "pieces"}.`;
}

/** What this kind of tokenizer does, and whether there are merges to replay. */
export const KINDS: Record<string, string> = {
  bpe: "Byte-pair encoding: each word starts as its bytes, and the pair that was learned first (the lowest rank) is joined, again and again, until no neighbors are a pair that was learned.",
  words:
    "A word-level tokenizer: it has no merges. The text is split into words and punctuation, and each is looked up whole; a word that the vocabulary lacks becomes the token for unknown words.",
  chars:
    "A character-level tokenizer: it has no merges. Each character is looked up by itself; one that the vocabulary lacks becomes its bytes.",
};
