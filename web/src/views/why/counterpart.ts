/** A text that differs in one word which the model knows: the ready-made other side of a comparison. */
import { WHOLE } from "../../parts/grid";
import { Space } from "../../parts/space";
import type { About, Opened, Request } from "../../source";
import { session } from "../../state/session.svelte";
import { size } from "../../trace/node";
import { line } from "../../trace/slice";
import { hasTowers } from "../../trace/towers";
import { isSpecial } from "../../trace/trace";

export interface Counterpart {
  opened: Opened;
  /** Which token was swapped, and for what. */
  at: number;
  was: string;
  is: string;
}

/** The text that words are swapped in: what the model reads, of a translation its source. */
async function readOf({ trace, about }: Opened): Promise<Pick<About, "tokens" | "ids">> {
  if (!hasTowers(trace)) return about;
  const ids = [...(await trace.values.all(trace.node("token/source")))];
  return { tokens: trace.table.labels.source_pos, ids };
}

const TRIED = 12; // tokens that are swapped to find the one that matters most
const NEAR = 4; // neighbors of each, of which the first that keeps the other tokens is taken

/** The forward pass of a text, as the open one was made. */
export const passOf = ({ about, trace }: Opened, more: Partial<Request>): Promise<Opened> =>
  session.source.open({
    run: about.run,
    prompt: about.prompt,
    at_step: about.at_step,
    backward: false,
    optimizer: false,
    ...(hasTowers(trace) && { written: about.ids.slice(1) }), // the same translation of another source
    ...more,
  });

/** Where each token begins and ends in the text; null for what is not in it, such as a mark at its start. */
function spans(prompt: string, tokens: string[]): ([from: number, to: number] | null)[] {
  let at = 0;
  return tokens.map((token) => {
    const inner = token.trim();
    const from = inner && !isSpecial(token) ? prompt.indexOf(inner, at) : -1;
    if (from < 0) return null;
    at = from + inner.length;
    return [from, at];
  });
}

/** The tokens whose embeddings are nearest to each of some tokens: first those that have it among their own nearest. */
async function neighborsOf(opened: Opened, ids: number[]): Promise<number[][]> {
  const nearest = await nearestIn(opened);
  const neighbors = await Promise.all(ids.map(nearest));
  return Promise.all(
    neighbors.map(async (some, i) => {
      const back = await Promise.all(some.map(nearest));
      const mutual = some.filter((_, k) => back[k].includes(ids[i]));
      return mutual.length ? mutual : some;
    }),
  );
}

/** Gives the nearest tokens of one: from the table here, or from the server where it is too large to be sent. */
async function nearestIn({
  trace,
  about,
  by,
}: Opened): Promise<(token: number) => Promise<number[]>> {
  const embed = trace.nodes.get("fwd/encoder.embed") ?? trace.node("fwd/embed");
  const table = trace.node(embed.operands.W_E);
  if (size(table) > WHOLE && by === "server")
    return async (token) => {
      const body = { run: about.run, token, minus: null, plus: null, count: NEAR };
      const { rows } = await session.source.post("/api/neighbors", { body });
      return rows.map(({ id }) => id);
    };
  const [rows, width] = table.shape;
  const space = new Space(await trace.values.all(table), rows, width);
  return async (token) => space.nearest(token, NEAR).map(({ id }) => id);
}

/** Every word that the model may look at from `pos` is swapped for its nearest neighbor in the embedding table, and the swap that costs `token` most is kept. */
export async function counterpart(
  opened: Opened,
  token: number,
  pos: number,
): Promise<Counterpart | null> {
  const { tokens, ids } = await readOf(opened);
  const stands = spans(opened.about.prompt, tokens);
  const sees = {
    next: (i: number) => i < pos,
    blank: (i: number) => i !== pos,
    translation: () => true,
  };
  const some = ids.map((_, i) => i).filter((i) => sees[session.task](i) && stands[i]);
  const tried = some.slice(-TRIED);
  const neighbors = await neighborsOf(
    opened,
    tried.map((i) => ids[i]),
  );
  let best: (Counterpart & { p: number }) | null = null;
  for (const [k, i] of tried.entries()) {
    const result = await swapped(opened, i, stands[i]!, neighbors[k]);
    if (!result) continue;
    const p = (await line(result.opened.trace, "fwd/probs", { batch: 0, pos }))[token];
    if (!best || p < best.p) best = { ...result, p };
  }
  return best;
}

/** The text with one token replaced by the first neighbor that leaves all other tokens as they are. */
async function swapped(
  opened: Opened,
  i: number,
  [from, to]: [number, number],
  neighbors: number[],
): Promise<Counterpart | null> {
  const { about, trace } = opened;
  const { tokens, ids } = await readOf(opened);
  for (const id of neighbors) {
    const is = (trace.table.labels.vocab?.[id] ?? "").trim();
    if (!is || isSpecial(is)) continue;
    const prompt = about.prompt.slice(0, from) + is + about.prompt.slice(to);
    const other = await passOf(opened, { prompt }).catch(() => null);
    if (!other) continue;
    const read = (await readOf(other)).ids;
    const same = read.every((one, at) => one === (at === i ? id : ids[at]));
    if (same && read.length === ids.length)
      return { opened: other, at: i, was: tokens[i].trim(), is };
  }
  return null;
}
