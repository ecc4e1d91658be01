/** The walk in scenes: what each shows, for how long, and what it says with this prompt's numbers. */
import { maxIndex } from "d3-array";
import type { RunInfo } from "../../api";
import { chance, count, number, signed } from "../../trace/number";
import { drawChoice, drawLogits, drawProbabilities } from "./answer";
import { drawMix, drawQuery, drawScores, drawSoftmax } from "./attention";
import { drawPositions, drawTable, drawText, drawTokens } from "./opening";
import type { Pen } from "./pen";
import { drawAddition, drawNeurons, drawPassing } from "./sums";
import type { Neurons } from "./strips";
import type { Reading, Walk } from "./walk";

export interface Scene {
  id: string;
  title: string;
  seconds: number;
  /** Scenes of one panel follow in place; to another one the picture moves down. */
  panel: string;
  /** A token or number in backticks is set apart. */
  caption: string;
  /** The value that it shows. */
  at: string | null;
  draw: (pen: Pen, t: number) => void;
}

const list = (words: string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

const top = (values: ArrayLike<number>): number => maxIndex(Array.from(values));

/** The words of the walk that depend on what a model is asked for. */
const SAYS = {
  next: {
    does: "A language model reads a text and says which token comes next. This one does it",
    sees: "earlier tokens",
    head: "",
    adds: "from attention",
    title: "The next token",
    ends: "It joins the text, and the whole walk begins again for the token after it.",
  },
  blank: {
    does: "This model reads a text in which a token is hidden, and says which it is. It does it",
    sees: "all other tokens",
    head: "",
    adds: "from attention",
    title: "The blank",
    ends: "It fills the blank.",
  },
  translation: {
    does: "This model reads a sentence in one language and writes it in another. It does it",
    sees: "the source",
    head: " of the decoder",
    adds: "from the source",
    title: "The next token",
    ends: "It is written behind the others, and the decoder begins again for the token after it, until the end token comes.",
  },
};

export function scenesOf(walk: Walk, run: RunInfo): Scene[] {
  const { watched, read, source } = walk;
  const scenes: (Scene | null)[] = [
    ...opening(source ?? read, SAYS[walk.task].does, run),
    source &&
      passed(source, "Encoder, block", "all of the source", [0, source.passing.length], "encoder"),
    source && {
      id: "written",
      title: "What is written",
      seconds: 8,
      panel: "written",
      caption: `The decoder reads what is written so far: ids, rows of a table and positions as before. It is asked for the token after \`${watched.asker}\`.`,
      at: "token/ids",
      draw: (pen, t) => drawText(pen, read, t),
    },
    inDecoder(walk, [0, watched.block], "before"),
    ...looking(walk),
    ...adding(walk),
    inDecoder(walk, [watched.block + 1, read.passing.length], "after"),
    walk.head && {
      id: "head",
      title: "One more layer",
      seconds: 9,
      panel: "head",
      caption: `One more layer, for blanks: ${working(walk.head, watched.asker)}`,
      at: walk.head.path,
      draw: (pen, t) => drawNeurons(pen, watched.asker, walk.head!, read.passing.at(-1)?.after, t),
    },
    ...answering(walk),
  ];
  return scenes.filter((scene) => scene !== null);
}

const inDecoder = (walk: Walk, blocks: [number, number], id: string): Scene | null =>
  passed(walk.read, walk.source ? "Decoder, block" : "Block", SAYS[walk.task].sees, blocks, id);

/** From the text to the stream. */
function opening(read: Reading, does: string, run: RunInfo): (Scene | null)[] {
  const one = read.words[read.at];
  return [
    {
      id: "text",
      title: "A text",
      seconds: 6,
      panel: "opening",
      caption: `${does} with ${count(run.parameters)} trained numbers.`,
      at: null,
      draw: (pen, t) => drawText(pen, read, t),
    },
    {
      id: "tokens",
      title: "Tokens",
      seconds: 8,
      panel: "opening",
      caption: `The text is cut into ${read.hidden + read.words.length} tokens, the pieces that the model knows. Every token has a number: \`${one.text}\` is ${one.id} of ${count(read.table.rows)}.`,
      at: read.scope === "encoder." ? "token/source" : "token/ids",
      draw: (pen, t) => drawTokens(pen, read, t),
    },
    {
      id: "table",
      title: "Embedding",
      seconds: 12,
      panel: "opening",
      caption: `Embedding: the number picks a row of a trained table. From here on \`${one.text}\` is ${read.embedded.columns} numbers, blue above zero and orange below.${read.table.shrunk ? " In the table a dot is the largest of several numbers." : ""}`,
      at: `fwd/${read.scope}embed`,
      draw: (pen, t) => drawTable(pen, read, t),
    },
    read.placed && {
      id: "position",
      title: "Position",
      seconds: 7,
      panel: "opening",
      caption: `Position: every place in the text has ${read.embedded.columns} numbers too. They are added, so the same word elsewhere is another vector.`,
      at: `fwd/${read.scope}pos_embed`,
      draw: (pen, t) => drawPositions(pen, read, t),
    },
  ];
}

/** One head, closely. */
function looking({ task, watched, best }: Walk): Scene[] {
  const asker = `\`${watched.asker}\``;
  const { crosses, words, scores, shares, gave } = watched;
  const why =
    watched.wrote === null
      ? `the one in which ${asker} looks hardest at one other token.`
      : `of all heads${crosses ? " that look at the source" : ""} it writes most to the logit of \`${best[0].word}\` by itself (${signed(watched.wrote)}).`;
  return [
    {
      id: "query",
      title: "Query and keys",
      seconds: 10,
      panel: "attention",
      caption: `${crosses ? "Cross-attention" : "Attention"}, head ${watched.head} of block ${watched.block}${SAYS[task].head}: ${why} ${asker} makes a query, what it looks for. Every token${crosses ? " of the source" : ""} makes a key, what it offers.`,
      at: watched.asks,
      draw: (pen, t) => drawQuery(pen, watched, t),
    },
    {
      id: "scores",
      title: "Scores",
      seconds: 15,
      panel: "attention",
      caption: `The query is laid on each key: number times number, added up${watched.query.columns > 1 ? `, divided by the root of ${watched.query.columns}` : ""}. The best match is \`${words[top(scores)].text}\` with ${number(scores[top(scores)], 3)}.`,
      at: watched.scored,
      draw: (pen, t) => drawScores(pen, watched, t),
    },
    {
      id: "softmax",
      title: "Softmax",
      seconds: 9,
      panel: "attention",
      caption: `Softmax: the scores become shares of 100%. ${asker} gives ${chance(shares[top(shares)])} of its attention to \`${words[top(shares)].text}\`.`,
      at: watched.pattern,
      draw: (pen, t) => drawSoftmax(pen, watched, t),
    },
    {
      id: "mix",
      title: "Mix of values",
      seconds: 11,
      panel: "attention",
      caption: `Every token also has a value, what it hands over. ${asker} takes each value by its share and adds them up: this is how it learns about the ${crosses ? "source" : "others"}.${gave ? ` The largest part for \`${best[0].word}\`, ${signed(gave.logits)}, comes from \`${gave.text}\`.` : ""}`,
      at: watched.mixed,
      draw: (pen, t) => drawMix(pen, watched, t),
    },
  ];
}

/** What is added to the followed token in that block. */
function adding({ task, read, watched, addition, neurons, second }: Walk): (Scene | null)[] {
  const { asker } = watched;
  const blocks = read.passing.length;
  return [
    addition && {
      id: "addition",
      title: "Addition",
      seconds: 9,
      panel: "addition",
      caption: `Residual: ${watched.heads > 1 ? `all ${watched.heads} heads write` : "the head writes"} one vector${watched.heads > 1 ? " together" : ""}, and it is added to \`${asker}\`. What was there before stays in the sum.`,
      at: addition.path,
      draw: (pen, t) => drawAddition(pen, asker, addition, SAYS[task].adds, t),
    },
    neurons && {
      id: "neurons",
      title: "Neurons",
      seconds: 10,
      panel: "neurons",
      caption: `MLP: ${working(neurons, asker)}`,
      at: neurons.path,
      draw: (pen, t) => drawNeurons(pen, asker, neurons, second?.before, t),
    },
    second && {
      id: "second",
      title: "Addition again",
      seconds: 7,
      panel: "second",
      caption: `What the neurons write is added as well. That was block ${watched.block}${blocks > 1 ? ` of ${blocks} blocks` : ", the only one"}.`,
      at: second.path,
      draw: (pen, t) => drawAddition(pen, asker, second, "from the MLP", t),
    },
  ];
}

const working = ({ strip, active, best, value }: Neurons, asker: string): string =>
  `${count(strip.columns)} neurons look at \`${asker}\` alone. ${count(active)} of them answer above zero; neuron ${best} is the strongest with ${number(value, 3)}.`;

/** From the last vector to a token. */
function answering(walk: Walk): Scene[] {
  const { task, best, logits, probs } = walk;
  const answer = `\`${best[0].word}\``;
  return [
    {
      id: "logits",
      title: "Logits",
      seconds: 9,
      panel: "answer",
      caption: `Unembedding: the final vector is compared with every token of the vocabulary. Each of the ${count(logits.length)} gets a score, its logit; ${answer} has the highest, ${number(logits[best[0].id], 3)}.`,
      at: "fwd/logits",
      draw: (pen, t) => drawLogits(pen, walk, t),
    },
    {
      id: "probabilities",
      title: "Probabilities",
      seconds: 10,
      panel: "answer",
      caption: `Softmax once more: the scores become probabilities. ${list(best.slice(0, 3).map(({ id, word }) => `\`${word}\` has ${chance(probs[id])}`))}.`,
      at: "fwd/probs",
      draw: (pen, t) => drawProbabilities(pen, walk, t),
    },
    {
      id: "choice",
      title: SAYS[task].title,
      seconds: 8,
      panel: "answer",
      caption: `The most probable token is ${answer}. ${SAYS[task].ends}`,
      at: null,
      draw: (pen, t) => drawChoice(pen, walk, t),
    },
  ];
}

/** The blocks that are walked through in one scene. */
function passed(
  read: Reading,
  name: string,
  sees: string,
  [from, to]: [number, number],
  id: string,
): Scene | null {
  const some = read.passing.slice(from, to);
  if (!some.length) return null;
  const last = some.at(-1)!;
  const which = some.length === 1 ? `${name} ${from}` : `${name}s ${from} to ${to - 1}`;
  const rest = last.guess
    ? ` If the model stopped here it would say \`${last.guess.word}\` (${chance(last.guess.prob)}).`
    : "";
  const whose = some.length === 1 ? "its heads" : "their heads";
  return {
    id,
    title: which,
    seconds: Math.min(7 + 1.5 * some.length, 16),
    panel: id,
    caption: `${which}: ${whose} look at ${sees}, neurons work on what they found, and both are added to \`${read.words[read.at].text}\`.${rest}`,
    at: `fwd/${read.scope}blocks.${last.block}.resid_post`,
    draw: (pen, t) => drawPassing(pen, read, from, to, t),
  };
}

/** Where a time of the walk lies: which scene, and how many seconds into it. */
export function sceneAt(scenes: Scene[], time: number): { i: number; into: number } {
  let i = 0;
  let into = time;
  while (i < scenes.length - 1 && into >= scenes[i].seconds) into -= scenes[i++].seconds;
  return { i, into: Math.min(into, scenes[i].seconds) };
}

export const startOf = (scenes: Scene[], i: number): number =>
  scenes.slice(0, i).reduce((sum, { seconds }) => sum + seconds, 0);
