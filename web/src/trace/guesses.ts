/** The logit lens as it was recorded: what the model would say if it stopped at a point of the stream. */
import { format } from "./address";
import type { Trace } from "./trace";

export interface Guess {
  token: number;
  prob: number;
  /** The address of the probability. */
  address: string;
}

/** The guess after every token at a point such as `blocks.0.resid_mid`. */
export async function guessesAt(trace: Trace, point: string): Promise<Guess[]> {
  const [tokens, probs] = ["best_token", "best_prob"].map((name) =>
    trace.node(`fwd/lens.${point}.${name}`),
  );
  const [ids, shares] = await Promise.all([trace.values.all(tokens), trace.values.all(probs)]);
  return [...ids].map((token, pos) => ({
    token,
    prob: shares[pos],
    address: format(probs.operands.probs, { batch: 0, pos, vocab: token }),
  }));
}

/** The points where guesses were recorded, from the start of the stream to its end. */
export const points = (trace: Trace): string[] =>
  trace
    .ofKind("fwd")
    .flatMap(({ address }) => /^fwd\/lens\.(.+)\.best_token$/.exec(address)?.[1] ?? []);
