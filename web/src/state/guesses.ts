/** What the model would say at a point of the stream after one token: recorded, or asked of the server where the lens was too large to record. */
import type { Opened } from "../source";
import { guessesAt, points } from "../trace/guesses";
import { session } from "./session.svelte";

export interface Said {
  token: number;
  prob: number;
  /** The address of the probability; null where it was not recorded. */
  address: string | null;
  /** Whether it is what the model says in the end. */
  settled: boolean;
}

type Told = Map<string, { token: number; prob: number }>;
const answers = new WeakMap<Opened, Map<number, Promise<Told>>>();

async function ask({ about }: Opened, pos: number): Promise<Told> {
  const { guesses } = await session.source.get("/api/traces/{trace}/guesses", {
    path: { trace: about.id },
    query: { pos },
  });
  return new Map(guesses.map(({ point, token, prob }) => [point, { token, prob }]));
}

/** Null where nothing is known of the point. */
export async function saidAt(opened: Opened, point: string, pos: number): Promise<Said | null> {
  const { trace, by } = opened;
  if (trace.has(`fwd/lens.${point}.best_token`)) {
    const [here, last] = await Promise.all([
      guessesAt(trace, point),
      guessesAt(trace, points(trace).at(-1)!),
    ]);
    return { ...here[pos], settled: here[pos].token === last[pos].token };
  }
  if (by !== "server") return null;
  const asked = answers.get(opened) ?? answers.set(opened, new Map()).get(opened)!;
  if (!asked.has(pos)) asked.set(pos, ask(opened, pos));
  const all = await asked.get(pos)!;
  const result = all.get(point);
  const last = [...all.values()].at(-1);
  return result ? { ...result, address: null, settled: result.token === last?.token } : null;
}
