/** The walk in scenes: what each shows, for how long, and what it says with this prompt's numbers. */
import type { RunInfo } from "../../api";
import { chance, count, number, signed } from "../../trace/number";
import { drawChoice, drawLogits, drawProbabilities } from "./answer";
import { drawMix, drawQuery, drawScores, drawSoftmax } from "./attention";
import { drawPositions, drawTable, drawText, drawTokens } from "./opening";
import type { Pen } from "./pen";
import { drawAddition, drawNeurons, drawPassing } from "./sums";
import type { Walk } from "./walk";

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

const top = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((best, value, i, all) => (value > all[best] ? i : best), 0);

export function scenesOf(walk: Walk, run: RunInfo): Scene[] {
  const { watched, words, best, passing } = walk;
  const last = `\`${words.at(-1)!.text}\``;
  const answer = `\`${best[0].word}\``;
  const at = (name: string) => `fwd/blocks.${watched.block}.${name}`;
  const scenes: (Scene | null)[] = [
    {
      id: "text",
      title: "A text",
      seconds: 6,
      panel: "opening",
      caption: `A language model reads a text and says which token comes next. This one does it with ${count(run.parameters)} trained numbers.`,
      at: null,
      draw: (pen, t) => drawText(pen, walk, t),
    },
    {
      id: "tokens",
      title: "Tokens",
      seconds: 8,
      panel: "opening",
      caption: `The text is cut into ${walk.hidden + words.length} tokens, the pieces that the model knows. Every token has a number: ${last} is ${words.at(-1)!.id} of ${count(walk.vocab)}.`,
      at: "token/ids",
      draw: (pen, t) => drawTokens(pen, walk, t),
    },
    {
      id: "table",
      title: "Embedding",
      seconds: 12,
      panel: "opening",
      caption: `Embedding: the number picks a row of a trained table. From here on ${last} is ${walk.embedded.columns} numbers, blue above zero and orange below.${walk.table.shrunk ? " In the table a dot is the largest of several numbers." : ""}`,
      at: "fwd/embed",
      draw: (pen, t) => drawTable(pen, walk, t),
    },
    walk.placed && {
      id: "position",
      title: "Position",
      seconds: 7,
      panel: "opening",
      caption: `Position: every place in the text has ${walk.embedded.columns} numbers too. They are added, so the same word elsewhere is another vector.`,
      at: "fwd/pos_embed",
      draw: (pen, t) => drawPositions(pen, walk, t),
    },
    passed(walk, 0, watched.block, "before"),
    {
      id: "query",
      title: "Query and keys",
      seconds: 10,
      panel: "attention",
      caption:
        `Attention, head ${watched.head} of block ${watched.block}: ` +
        (watched.wrote === null
          ? `the one in which ${last} looks hardest at one earlier token.`
          : `of all heads it writes most towards ${answer} (${signed(watched.wrote)} in its logit).`) +
        ` ${last} makes a query, what it looks for. Every token makes a key, what it offers.`,
      at: at("attn.q"),
      draw: (pen, t) => drawQuery(pen, walk, t),
    },
    {
      id: "scores",
      title: "Scores",
      seconds: 15,
      panel: "attention",
      caption: `The query is laid on each key: number times number, added up${watched.query.columns > 1 ? `, divided by the root of ${watched.query.columns}` : ""}. The best match is \`${words[top(watched.scores)].text}\` with ${number(watched.scores[top(watched.scores)], 3)}.`,
      at: watched.scored,
      draw: (pen, t) => drawScores(pen, walk, t),
    },
    {
      id: "softmax",
      title: "Softmax",
      seconds: 9,
      panel: "attention",
      caption: `Softmax: the scores become shares of 100%. ${last} gives ${chance(watched.shares[top(watched.shares)])} of its attention to \`${words[top(watched.shares)].text}\`.`,
      at: watched.pattern,
      draw: (pen, t) => drawSoftmax(pen, walk, t),
    },
    {
      id: "mix",
      title: "Mix of values",
      seconds: 11,
      panel: "attention",
      caption: `Every token also has a value, what it hands over. ${last} takes each value by its share and adds them up: this is how it learns about the others.`,
      at: at("attn.z"),
      draw: (pen, t) => drawMix(pen, walk, t),
    },
    walk.addition && {
      id: "addition",
      title: "Addition",
      seconds: 9,
      panel: "addition",
      caption: `Residual: ${watched.heads > 1 ? `all ${watched.heads} heads write` : "the head writes"} one vector${watched.heads > 1 ? " together" : ""}, and it is added to ${last}. What was there before stays in the sum.`,
      at: walk.addition.path,
      draw: (pen, t) => drawAddition(pen, walk, walk.addition!, "from attention", t),
    },
    walk.neurons && {
      id: "neurons",
      title: "Neurons",
      seconds: 10,
      panel: "neurons",
      caption: `MLP: ${count(walk.neurons.strip.columns)} neurons look at ${last} alone. ${count(walk.neurons.active)} of them answer above zero; neuron ${walk.neurons.best} is the strongest with ${number(walk.neurons.value, 3)}.`,
      at: walk.neurons.path,
      draw: (pen, t) => drawNeurons(pen, walk, t),
    },
    walk.second && {
      id: "second",
      title: "Addition again",
      seconds: 7,
      panel: "second",
      caption: `What the neurons write is added as well. That was block ${watched.block}${passing.length > 1 ? ` of ${passing.length} blocks` : ", the only one"}.`,
      at: walk.second.path,
      draw: (pen, t) => drawAddition(pen, walk, walk.second!, "from the MLP", t),
    },
    passed(walk, watched.block + 1, passing.length, "after"),
    {
      id: "logits",
      title: "Logits",
      seconds: 9,
      panel: "answer",
      caption: `Unembedding: the final vector is compared with every token of the vocabulary. Each of the ${count(walk.vocab)} gets a score, its logit; ${answer} has the highest, ${number(walk.logits[best[0].id], 3)}.`,
      at: "fwd/logits",
      draw: (pen, t) => drawLogits(pen, walk, t),
    },
    {
      id: "probabilities",
      title: "Probabilities",
      seconds: 10,
      panel: "answer",
      caption: `Softmax once more: the scores become probabilities. ${list(best.slice(0, 3).map(({ id, word }) => `\`${word}\` has ${chance(walk.probs[id])}`))}.`,
      at: "fwd/probs",
      draw: (pen, t) => drawProbabilities(pen, walk, t),
    },
    {
      id: "choice",
      title: "The next token",
      seconds: 8,
      panel: "answer",
      caption: `The most probable token is ${answer}. It joins the text, and the whole walk begins again for the token after it.`,
      at: null,
      draw: (pen, t) => drawChoice(pen, walk, t),
    },
  ];
  return scenes.filter((scene) => scene !== null);
}

/** The blocks that are walked through in one scene. */
function passed(walk: Walk, from: number, to: number, id: string): Scene | null {
  const some = walk.passing.slice(from, to);
  if (!some.length) return null;
  const last = some.at(-1)!;
  const which = some.length === 1 ? `Block ${from}` : `Blocks ${from} to ${to - 1}`;
  const told = last.guess
    ? ` If the model stopped here it would say \`${last.guess.word}\` (${chance(last.guess.prob)}).`
    : "";
  const whose = some.length === 1 ? "its heads" : "their heads";
  return {
    id,
    title: which,
    seconds: Math.min(7 + 1.5 * some.length, 16),
    panel: id,
    caption: `${which}: ${whose} look at earlier tokens, neurons work on what they found, and both are added to \`${walk.words.at(-1)!.text}\`.${told}`,
    at: `fwd/blocks.${last.block}.resid_post`,
    draw: (pen, t) => drawPassing(pen, walk, from, to, t),
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
