/** The next token's probabilities: as recorded, or the softmax of recorded logits where a trace holds no more. */
import type { TraceNode } from "../../trace/node";
import type { Trace } from "../../trace/trace";
import { softmax } from "./choose";

export const LOGITS = "fwd/logits";
const PROBS = "fwd/probs";

/** The numbers [vocab] of one position. */
export function rowAt(trace: Trace, node: TraceNode, pos: number): Promise<Float64Array> {
  const vocab = node.shape.at(-1)!;
  return trace.values.range(node, pos * vocab, (pos + 1) * vocab);
}

/** A value that was kept, or null. */
export function kept(trace: Trace, path: string): TraceNode | null {
  const node = trace.nodes.get(path);
  return node?.bytes ? node : null;
}

/** What the probabilities are read or computed from; null where a trace holds neither. */
export const sourceOf = (trace: Trace): TraceNode | null =>
  kept(trace, PROBS) ?? kept(trace, LOGITS);

export const isRecorded = (node: TraceNode): boolean => node.address === PROBS;

/** The probabilities [vocab] of what follows a position. */
export async function probabilities(
  trace: Trace,
  node: TraceNode,
  pos: number,
): Promise<Float64Array> {
  const row = await rowAt(trace, node, pos);
  return isRecorded(node) ? row : softmax(row);
}
