/** A text that differs in one word which the model knows: the ready-made other side of a comparison. */
import { WHOLE } from "../../parts/grid";
import { Space } from "../../parts/space";
import type { Opened, Request } from "../../source";
import { session } from "../../state/session.svelte";
import { size } from "../../trace/node";
import { line } from "../../trace/slice";
import { isSpecial } from "../../trace/trace";

export interface Counterpart {
  opened: Opened;
  /** Which token was swapped, and for what. */
  at: number;
  was: string;
  is: string;
}

const TRIED = 12; // tokens that are swapped to find the one that matters most
const NEAR = 4; // neighbors of each, of which the first that keeps the other tokens is taken

/** The forward pass of a text, as the open one was made. */
export const passOf = ({ about }: Opened, more: Partial<Request>): Promise<Opened> =>
  session.source.open({
    run: about.run,
    prompt: about.prompt,
    at_step: about.at_step,
    backward: false,
    optimizer: false,
    ...more,
  });

/** Where each token begins and ends in the text; null for what is not in it, such as a mark at its start. */
function places({ about }: Opened): ([from: number, to: number] | null)[] {
  let at = 0;
  return about.tokens.map((token) => {
    const inner = token.trim();
    const from = inner && !isSpecial(token) ? about.prompt.indexOf(inner, at) : -1;
    if (from < 0) return null;
    at = from + inner.length;
    return [from, at];
  });
}

/** The tokens whose embeddings are nearest to each of some tokens: first those that have it among their own nearest. */
async function neighborsOf(opened: Opened, ids: number[]): Promise<number[][]> {
  const nearest = await nearestIn(opened);
  const near = await Promise.all(ids.map(nearest));
  return Promise.all(
    near.map(async (some, i) => {
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
  const table = trace.node(trace.node("fwd/embed").operands.W_E);
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

/** Every word before `pos` is swapped for its nearest neighbor in the embedding table, and the swap that costs `token` most is kept. */
export async function counterpart(
  opened: Opened,
  token: number,
  pos: number,
): Promise<Counterpart | null> {
  const { about } = opened;
  const stands = places(opened);
  const some = about.ids.map((_, i) => i).filter((i) => i < pos && stands[i]);
  const tried = some.slice(-TRIED);
  const near = await neighborsOf(
    opened,
    tried.map((i) => about.ids[i]),
  );
  let best: (Counterpart & { p: number }) | null = null;
  for (const [k, i] of tried.entries()) {
    const result = await swapped(opened, i, stands[i]!, near[k]);
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
  near: number[],
): Promise<Counterpart | null> {
  const { about, trace } = opened;
  for (const id of near) {
    const is = (trace.table.labels.vocab?.[id] ?? "").trim();
    if (!is || isSpecial(is)) continue;
    const prompt = about.prompt.slice(0, from) + is + about.prompt.slice(to);
    const other = await passOf(opened, { prompt }).catch(() => null);
    const same = other?.about.ids.every((one, at) => at === i || one === about.ids[at]);
    if (other && same && other.about.ids.length === about.ids.length && other.about.ids[i] === id)
      return { opened: other, at: i, was: about.tokens[i].trim(), is };
  }
  return null;
}
