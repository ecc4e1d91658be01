/** The recorded numbers that the walk of one prompt shows; nothing in it is made up. */
import { maxIndex } from "d3-array";
import type { RunInfo } from "../../api";
import type { Opened } from "../../source";
import { format } from "../../trace/address";
import { guessesAt } from "../../trace/guesses";
import type { TraceNode } from "../../trace/node";
import { line } from "../../trace/slice";
import { taskOf, type Task } from "../../trace/task";
import { blocksOf } from "../../trace/towers";
import { visible, type Trace } from "../../trace/trace";
import { attentionOf, chooseHead, type Chosen } from "./chosen";
import {
  additionOf,
  headRows,
  neuronsOf,
  rowOf,
  rows,
  strip,
  tableOf,
  type Neurons,
  type Strip,
  type Sum,
  type Table,
} from "./strips";

export interface Word {
  text: string;
  id: number;
  pos: number;
}

/** What a block did to the followed token: where its heads looked, the stream after it, and the guess there. */
interface Passing {
  block: number;
  /** [head, shown token] */
  pattern: Strip;
  after: Strip;
  guess: { word: string; prob: number } | null;
}

/** A text as a tower reads it, and what its blocks do to one token of it. */
export interface Reading {
  words: Word[];
  /** The followed one among the words. */
  at: number;
  /** Tokens of the text that are not shown: those before the words, or on both sides. */
  hidden: number;
  /** Whether the next token is asked for. */
  asks: boolean;
  table: Table;
  /** The rows of the table that the shown tokens name. */
  embedded: Strip;
  /** The same with positions added. */
  placed: Strip | null;
  /** How the names of its tower's values begin: "encoder.", or nothing. */
  scope: string;
  passing: Passing[];
  /** What the blocks' heads look at. */
  seen: Word[];
}

/** The head that is watched closely, and why that one. */
export interface Watched {
  block: number;
  head: number;
  heads: number;
  /** Whether it looks at the source. */
  crosses: boolean;
  /** What it wrote towards the answer, in logits; null where logits can't be split by heads. */
  wrote: number | null;
  /** The token that most of it came from, and how much; null where that can't be told. */
  gave: { text: string; logits: number } | null;
  /** The token that looks, those that it looks at, and which of these it is; null: none of them. */
  asker: string;
  words: Word[];
  at: number | null;
  query: Strip;
  keys: Strip;
  values: Strip;
  mix: Strip;
  scores: ArrayLike<number>;
  shares: ArrayLike<number>;
  /** How many tokens are not shown, and the share that they get. */
  hidden: number;
  unseen: number;
  /** Addresses. */
  pattern: string;
  scored: string;
  asks: string;
  mixed: string;
}

export interface Walk {
  task: Task;
  /** What the stream belongs to whose end is the answer. */
  read: Reading;
  /** The text that is translated. */
  source: Reading | null;
  watched: Watched;
  addition: Sum | null;
  neurons: Neurons | null;
  second: Sum | null;
  /** Of the layer between an encoder's stream and its logits. */
  head: Neurons | null;
  logits: Float64Array;
  probs: Float64Array;
  /** Tokens by probability, the most probable first. */
  best: { id: number; word: string }[];
}

export const SHOWN = 16; // tokens beside one another
const BEST = 7;

/** Read what the walk of a token shows. */
export async function walkOf(opened: Opened, run: RunInfo, pos: number): Promise<Walk> {
  const { trace, about } = opened;
  const task = taskOf(trace, run.config);
  const two = task === "translation";
  const scope = two ? "decoder." : "";
  const [logits, probs] = await Promise.all(
    ["fwd/logits", "fwd/probs"].map((path) => line(trace, path, { batch: 0, pos })),
  );
  const order = [...probs.keys()].sort((a, b) => probs[b] - probs[a]);
  const here = windowOf(about.ids.length, pos, task === "blank");
  const labels = trace.table.labels.source_pos ?? [];
  const head = await chooseHead(opened, run, { pos, token: order[0], scope, two });
  const looked = two ? await mostSeen(trace, head, pos) : 0;
  const looking = two ? windowOf(labels.length, looked, true) : here;
  const all = about.ids.map((id, at): Word => ({ id, pos: at, text: visible(about.tokens[at]) }));
  const words = all.slice(...here);
  const ids = two ? await trace.values.all(trace.node("token/source")) : [];
  const read = labels.map((text, at): Word => ({ id: ids[at], pos: at, text: visible(text) }));
  const seen = two ? read.slice(...looking) : words;
  const watched = await closely(trace, head, pos, visible(about.tokens[pos]), seen);
  const at = `fwd/${scope}blocks.${watched.block}`;
  return {
    task,
    read: await readingOf(trace, scope, words, pos, all.length, task !== "blank", seen),
    source: two ? await readingOf(trace, "encoder.", seen, looked, read.length, false, seen) : null,
    watched,
    addition: await additionOf(trace, `${at}.${two ? "resid_cross" : "resid_mid"}`, pos),
    neurons: await neuronsOf(trace, `${at}.mlp.post`, pos),
    second: await additionOf(trace, `${at}.resid_post`, pos),
    head: await neuronsOf(trace, "fwd/masked_head.post", pos),
    logits,
    probs,
    best: order.slice(0, BEST).map((id) => ({ id, word: wordIn(trace, id) })),
  };
}

const wordIn = (trace: Trace, id: number): string => trace.word("vocab", id) || `#${id}`;

/** The tokens that are shown around one: those up to it, or to both sides. */
function windowOf(n: number, pos: number, bothSides: boolean): [from: number, to: number] {
  const to = bothSides ? Math.min(n, Math.max(pos + SHOWN / 2, SHOWN)) : pos + 1;
  return [Math.max(0, to - SHOWN), to];
}

async function readingOf(
  trace: Trace,
  scope: string,
  words: Word[],
  pos: number,
  n: number,
  asks: boolean,
  seen: Word[],
): Promise<Reading> {
  const [first, end] = [words[0].pos, words.at(-1)!.pos + 1];
  const start = `fwd/${scope}`;
  const placed = trace.has(`${start}resid_start`) ? "resid_start" : "blocks.0.resid_pre";
  return {
    words,
    at: pos - first,
    hidden: asks ? first : n - words.length,
    asks,
    table: await tableOf(trace, `${start}embed`),
    embedded: await rows(trace, `${start}embed`, first, end),
    placed: trace.has(`${start}pos_embed`) ? await rows(trace, start + placed, first, end) : null,
    scope,
    passing: await Promise.all(
      Array.from({ length: blocksOf(trace, scope.slice(0, -1)) }, (_, block) =>
        passed(trace, scope, block, pos, seen),
      ),
    ),
    seen,
  };
}

async function passed(
  trace: Trace,
  scope: string,
  block: number,
  pos: number,
  seen: Word[],
): Promise<Passing> {
  const node = trace.node(`${attentionOf(trace, scope, block)}.pattern`);
  const heads = node.shape[1];
  const rowsOf = await Promise.all(
    Array.from({ length: heads }, async (_, head) => {
      const row = await rowOf(trace, node, head, pos);
      return seen.map((word) => row[word.pos]);
    }),
  );
  const point = `${scope}blocks.${block}.resid_post`;
  const lens = trace.has(`fwd/lens.${point}.best_token`)
    ? (await guessesAt(trace, point))[pos]
    : null;
  return {
    block,
    pattern: strip(rowsOf.flat(), heads, 1, "probability"),
    after: await rows(trace, `fwd/${point}`, pos, pos + 1),
    guess: lens && { word: wordIn(trace, lens.token), prob: lens.prob },
  };
}

/** The token that a head looks at most. */
async function mostSeen(trace: Trace, { attention, head }: Chosen, pos: number): Promise<number> {
  const row = await rowOf(trace, trace.node(`${attention}.pattern`), head, pos);
  return maxIndex(row);
}

async function closely(
  trace: Trace,
  { attention, block, head, wrote, keys }: Chosen,
  pos: number,
  asker: string,
  words: Word[],
): Promise<Watched> {
  const [first, end] = [words[0].pos, words.at(-1)!.pos + 1];
  const pattern = trace.node(`${attention}.pattern`);
  const heads = pattern.shape[1];
  const products = trace.node(`${attention}.scores_raw`).operands;
  const node = (path: string) => trace.node(path);
  // of grouped heads several read the same keys and values
  const shared = (of: TraceNode) => Math.floor((head * of.shape.at(-2)!) / heads);
  const read = (path: string, from: number, to: number) =>
    headRows(trace, node(path), shared(node(path)), from, to);
  const [shares, scores] = await Promise.all(
    ["pattern", "attn_scores"].map((name) => rowOf(trace, node(`${attention}.${name}`), head, pos)),
  );
  const crosses = attention.endsWith("cross_attn");
  const index = { head, query: pos };
  const shown = shares.subarray(first, end);
  const gave = maxIndex(keys);
  return {
    block,
    head,
    heads,
    crosses,
    wrote,
    gave: keys.length
      ? {
          text: visible(trace.word(crosses ? "source_pos" : "pos", gave)),
          logits: keys[gave],
        }
      : null,
    asker,
    words,
    at: crosses ? null : pos - first,
    query: await read(products.q, pos, pos + 1),
    keys: await read(products.k, first, end),
    values: await read(node(`${attention}.z`).operands.v, first, end),
    mix: await headRows(trace, node(`${attention}.z`), head, pos, pos + 1),
    scores: scores.subarray(first, end),
    shares: shown,
    // none of what a mask hides
    hidden: shares.filter((share, key) => share > 0 && (key < first || key >= end)).length,
    unseen: shares.reduce((sum, share, key) => sum + (key < first || key >= end ? share : 0), 0),
    pattern: format(pattern.address, index),
    scored: format(`${attention}.attn_scores`, index),
    asks: `${attention}.q`,
    mixed: `${attention}.z`,
  };
}
