/** The next token's probabilities: as recorded, or the softmax of recorded logits where a trace holds no more. */
import type { Step, Trace } from "../../trace/trace";
import { softmax } from "./choose";

export const LOGITS = "fwd/logits";
const PROBS = "fwd/probs";

/** The numbers [vocab] of one position. */
export function rowAt(trace: Trace, step: Step, pos: number): Promise<Float64Array> {
  const vocab = step.shape.at(-1)!;
  return trace.values.range(step, pos * vocab, (pos + 1) * vocab);
}

/** A value that was kept, or null. */
export function kept(trace: Trace, path: string): Step | null {
  const step = trace.steps.get(path);
  return step?.bytes ? step : null;
}

/** What the probabilities are read or computed from; null where a trace holds neither. */
export const sourceOf = (trace: Trace): Step | null => kept(trace, PROBS) ?? kept(trace, LOGITS);

export const isRecorded = (step: Step): boolean => step.address === PROBS;

/** The probabilities [vocab] of what follows a position. */
export async function probabilities(trace: Trace, step: Step, pos: number): Promise<Float64Array> {
  const row = await rowAt(trace, step, pos);
  return isRecorded(step) ? row : softmax(row);
}
