/** Parts of recorded values: the numbers behind some of their indices. */
import { flat, size, strides, type TraceNode } from "./node";
import type { Trace } from "./trace";

/** The numbers of a value behind some leading indices. */
export function line(
  trace: Trace,
  path: string,
  index: Record<string, number>,
): Promise<Float64Array> {
  const node = trace.node(path);
  const from = flat(node, index);
  const depth = node.axes.filter((axis) => axis in index).length;
  const n = depth ? strides(node)[depth - 1] : size(node);
  return trace.values.range(node, from, from + n);
}

/** The numbers of a matrix at one index of one of its axes. */
export async function column(
  trace: Trace,
  node: TraceNode,
  index: Record<string, number>,
): Promise<Float64Array> {
  const from = node.axes.map((axis) => index[axis] ?? 0);
  const to = node.axes.map((axis, d) => (axis in index ? index[axis] + 1 : node.shape[d]));
  await trace.values.fetchBox(node, from, to);
  const along = node.axes.findIndex((axis) => !(axis in index));
  const by = strides(node)[along];
  return Float64Array.from({ length: node.shape[along] }, (_, i) =>
    trace.values.peek(node, flat(node, index) + i * by)!,
  );
}
