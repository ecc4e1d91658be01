/** The recorded numbers that the walk of one prompt shows; nothing in it is made up. */
import type { RunInfo } from "../../api";
import type { Opened } from "../../source";
import { blocksOf, scaleOf } from "../../parts/grid";
import { format } from "../../trace/address";
import { partAt, refusal } from "../../trace/attribution";
import { attributed } from "../../state/attributed";
import { guessesAt } from "../../trace/guesses";
import type { TraceNode } from "../../trace/node";
import { line } from "../../trace/slice";
import { visible, type Trace } from "../../trace/trace";

/** Rows of numbers, painted as a strip or a matrix; `largest` is the end of their color scale. */
export interface Strip {
  values: ArrayLike<number>;
  rows: number;
  columns: number;
  largest: number;
  kind: "signed" | "probability";
}

export interface Word {
  text: string;
  id: number;
  pos: number;
}

/** What a block did to the followed token: where its heads looked, the stream after it, and the guess there. */
export interface Passing {
  block: number;
  /** [head, shown token] */
  pattern: Strip;
  after: Strip;
  guess: { word: string; prob: number } | null;
}

/** The head that is watched closely, and why that one. */
export interface Watched {
  block: number;
  head: number;
  heads: number;
  /** What it wrote towards the answer, in logits; null where logits can't be split. */
  wrote: number | null;
  query: Strip;
  keys: Strip;
  values: Strip;
  mix: Strip;
  scores: ArrayLike<number>;
  shares: ArrayLike<number>;
  /** The share of tokens before those that are shown. */
  unseen: number;
  pattern: string;
  scored: string;
}

export interface Walk {
  words: Word[];
  /** Tokens of the prompt before the first that is shown. */
  hidden: number;
  pos: number;
  vocab: number;
  table: { strip: Strip; rows: number; path: string; shrunk: boolean };
  /** The rows of the table that the shown tokens name. */
  embedded: Strip;
  /** The stream as it enters the first block, where positions were added to those rows. */
  placed: Strip | null;
  passing: Passing[];
  watched: Watched;
  addition: { before: Strip; added: Strip; after: Strip; path: string } | null;
  neurons: { strip: Strip; active: number; best: number; value: number; path: string } | null;
  second: Walk["addition"];
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
  const first = Math.max(0, pos + 1 - SHOWN);
  const words = about.ids
    .map((id, at): Word => ({ id, pos: at, text: visible(about.tokens[at]) }))
    .slice(first, pos + 1);
  const [logits, probs] = await Promise.all(
    ["fwd/logits", "fwd/probs"].map((path) => line(trace, path, { batch: 0, pos })),
  );
  const order = [...probs.keys()].sort((a, b) => probs[b] - probs[a]);
  const word = (id: number) => trace.word("vocab", id) || `#${id}`;
  const blocks = trace
    .ofKind("fwd")
    .filter(({ address }) => /^fwd\/blocks\.\d+\.resid_post$/.test(address)).length;
  const watched = await closely(opened, run, { pos, first, token: order[0], blocks });
  const scope = `fwd/blocks.${watched.block}`;
  return {
    words,
    hidden: first,
    pos,
    vocab: logits.length,
    table: await tableOf(trace),
    embedded: await rows(trace, "fwd/embed", first, pos + 1),
    placed: trace.has("fwd/pos_embed")
      ? await rows(trace, "fwd/blocks.0.resid_pre", first, pos + 1)
      : null,
    passing: await Promise.all(
      Array.from({ length: blocks }, (_, block) => passed(trace, block, first, pos, word)),
    ),
    watched,
    addition: await additionOf(trace, `${scope}.resid_mid`, pos),
    neurons: await neuronsOf(trace, `${scope}.mlp.post`, pos),
    second: await additionOf(trace, `${scope}.resid_post`, pos),
    logits,
    probs,
    best: order.slice(0, BEST).map((id) => ({ id, word: word(id) })),
  };
}

const strip = (
  values: ArrayLike<number>,
  rows: number,
  largest: number,
  kind: Strip["kind"] = "signed",
): Strip => ({ values, rows, columns: values.length / rows, largest, kind });

/** Some tokens' rows of a value [batch, pos, width]. */
async function rows(trace: Trace, path: string, from: number, to: number): Promise<Strip> {
  const node = trace.node(path);
  const width = node.shape.at(-1)!;
  const [values, { largest }] = await Promise.all([
    trace.values.range(node, from * width, to * width),
    scaleOf(trace, node),
  ]);
  return strip(values, to - from, largest);
}

/** Some tokens' rows of one head of a value [batch, pos, head, d_head]. */
async function headRows(
  trace: Trace,
  node: TraceNode,
  head: number,
  from: number,
  to: number,
): Promise<Strip> {
  const [heads, width] = node.shape.slice(-2);
  const all = await trace.values.range(node, from * heads * width, to * heads * width);
  const own = Float64Array.from({ length: (to - from) * width }, (_, i) => {
    const [row, column] = [Math.floor(i / width), i % width];
    return all[(row * heads + head) * width + column];
  });
  return strip(own, to - from, (await scaleOf(trace, node)).largest);
}

async function tableOf(trace: Trace): Promise<Walk["table"]> {
  const path = trace.node("fwd/embed").operands.W_E;
  const node = trace.node(path);
  const most = { vocab: 160, d_model: 64 };
  const [{ values, counts, block }, { largest }] = await Promise.all([
    blocksOf(trace, node, most),
    scaleOf(trace, node),
  ]);
  const shrunk = Object.values(block).some((side) => side > 1);
  return { strip: strip(values, counts.vocab, largest), rows: node.shape[0], path, shrunk };
}

async function passed(
  trace: Trace,
  block: number,
  first: number,
  pos: number,
  word: (id: number) => string,
): Promise<Passing> {
  const node = trace.node(`fwd/blocks.${block}.attn.pattern`);
  const [heads, queries, keys] = node.shape.slice(1);
  const rowsOf = await Promise.all(
    Array.from({ length: heads }, (_, head) => {
      const from = (head * queries + pos) * keys;
      return trace.values.range(node, from + first, from + pos + 1);
    }),
  );
  const point = `blocks.${block}.resid_post`;
  const lens = trace.has(`fwd/lens.${point}.best_token`)
    ? (await guessesAt(trace, point))[pos]
    : null;
  return {
    block,
    pattern: strip(
      rowsOf.flatMap((row) => [...row]),
      heads,
      1,
      "probability",
    ),
    after: await rows(trace, `fwd/${point}`, pos, pos + 1),
    guess: lens && { word: word(lens.token), prob: lens.prob },
  };
}

/** The head that wrote most towards the answer; where logits can't be split, the one that looks most at one earlier token. */
async function chooseHead(
  opened: Opened,
  run: RunInfo,
  { pos, token, blocks }: { pos: number; token: number; blocks: number },
): Promise<{ block: number; head: number; wrote: number | null }> {
  const { trace } = opened;
  if (!refusal(trace, run.config)) {
    const { shares } = await attributed(opened, run, token, pos);
    const heads = shares.filter(({ address }) => partAt(address).kind === "head");
    const best = heads.reduce((one, two) => (two.logits > one.logits ? two : one));
    const { block, head } = partAt(best.address);
    return { block: block!, head: head!, wrote: best.logits };
  }
  let best = { block: 0, head: 0, share: -1 };
  for (let block = 0; block < blocks; block++) {
    const node = trace.node(`fwd/blocks.${block}.attn.pattern`);
    const [heads, queries, keys] = node.shape.slice(1);
    for (let head = 0; head < heads; head++) {
      const from = (head * queries + pos) * keys;
      const share = Math.max(-1, ...(await trace.values.range(node, from, from + pos)));
      if (share > best.share) best = { block, head, share };
    }
  }
  return { ...best, wrote: null };
}

async function closely(
  opened: Opened,
  run: RunInfo,
  asked: { pos: number; first: number; token: number; blocks: number },
): Promise<Watched> {
  const { trace } = opened;
  const { block, head, wrote } = await chooseHead(opened, run, asked);
  const { pos, first } = asked;
  const at = `fwd/blocks.${block}.attn`;
  const pattern = trace.node(`${at}.pattern`);
  const [heads, queries, keys] = pattern.shape.slice(1);
  const products = trace.node(`${at}.scores_raw`).operands;
  const node = (path: string) => trace.node(path);
  // of grouped heads several read the same keys and values
  const shared = (of: TraceNode) => Math.floor((head * of.shape.at(-2)!) / heads);
  const read = (path: string, from: number) =>
    headRows(trace, node(path), shared(node(path)), from, pos + 1);
  const row = (of: TraceNode) => {
    const from = (head * queries + pos) * keys;
    return trace.values.range(of, from, from + pos + 1);
  };
  const [shares, scores] = await Promise.all([row(pattern), row(node(`${at}.attn_scores`))]);
  const index = { head, query: pos };
  return {
    block,
    head,
    heads,
    wrote,
    query: await read(products.q, pos),
    keys: await read(products.k, first),
    values: await read(trace.node(`${at}.z`).operands.v, first),
    mix: await headRows(trace, node(`${at}.z`), head, pos, pos + 1),
    scores: scores.subarray(first),
    shares: shares.subarray(first),
    unseen: shares.subarray(0, first).reduce((sum, share) => sum + share, 0),
    pattern: format(pattern.address, index),
    scored: format(`${at}.attn_scores`, index),
  };
}

/** What was there, what was added to it, and the sum, for one token. */
async function additionOf(trace: Trace, path: string, pos: number) {
  const node = trace.nodes.get(path);
  const { residual, branch } = node?.operands ?? {};
  if (!node || !residual || !branch) return null;
  const [before, added, after] = await Promise.all(
    [residual, branch, path].map((one) => rows(trace, one, pos, pos + 1)),
  );
  const largest = Math.max(before.largest, added.largest, after.largest);
  return {
    before: { ...before, largest },
    added: { ...added, largest },
    after: { ...after, largest },
    path: format(path, { pos }),
  };
}

async function neuronsOf(trace: Trace, path: string, pos: number): Promise<Walk["neurons"]> {
  const node = trace.nodes.get(path);
  if (!node || node.axes.join() !== "batch,pos,d_mlp") return null;
  const result = await rows(trace, path, pos, pos + 1);
  const values = [...(result.values as Float64Array)];
  const best = values.reduce((top, value, i) => (value > values[top] ? i : top), 0);
  return {
    strip: result,
    active: values.filter((value) => value > 0).length,
    best,
    value: values[best],
    path: format(path, { pos }),
  };
}
