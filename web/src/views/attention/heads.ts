/** What can be seen of attention heads, read from the recorded numbers. */
import type { Blocks, Scale } from "../../parts/grid";
import type { TraceNode } from "../../trace/node";
import type { Trace } from "../../trace/trace";

/** The maps of a block's heads as they are drawn. */
export interface Row {
  scale: Scale;
  blocks: Blocks;
  /** Whether all of a dot is masked. */
  masked: (row: number, column: number) => boolean;
}

export type Seen = "scores" | "pattern" | "gradient";

const PATHS: Record<Seen, (block: number) => string> = {
  scores: (block) => `fwd/blocks.${block}.attn.attn_scores`,
  pattern: (block) => `fwd/blocks.${block}.attn.pattern`,
  gradient: (block) => `bwd/blocks.${block}.attn.pattern`,
};

export const nodeOf = (trace: Trace, seen: Seen, block: number): TraceNode =>
  trace.node(PATHS[seen](block));

/** The flat place of the first number of a row [head, query]. */
const rowAt = (node: TraceNode, head: number, query: number): number =>
  (head * node.shape[2] + query) * node.shape[3];

/** All numbers of one head [query, key], row-major. */
export const headValues = (trace: Trace, node: TraceNode, head: number): Promise<Float64Array> =>
  trace.values.range(node, rowAt(node, head, 0), rowAt(node, head + 1, 0));

/** The key that a query looks at most, and its share; null while the numbers are not here. */
export function looksAt(
  trace: Trace,
  node: TraceNode,
  head: number,
  query: number,
): { key: number; share: number } | null {
  const from = rowAt(node, head, query);
  let best: { key: number; share: number } | null = null;
  for (let key = 0; key < node.shape[3]; key++) {
    const share = trace.values.peek(node, from + key);
    if (share === undefined) return null;
    if (!best || share > best.share) best = { key, share };
  }
  return best;
}

/** The mean share that tokens after the first give to themselves, to the one before and to the first. */
export function habits(
  pattern: Float64Array,
  n: number,
): { itself: number; before: number; first: number } {
  const sums = { itself: 0, before: 0, first: 0 };
  for (let query = 1; query < n; query++) {
    sums.itself += pattern[query * n + query];
    sums.before += pattern[query * n + query - 1];
    sums.first += pattern[query * n];
  }
  return {
    itself: sums.itself / (n - 1),
    before: sums.before / (n - 1),
    first: sums.first / (n - 1),
  };
}
