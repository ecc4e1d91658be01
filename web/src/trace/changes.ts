/** Two traces beside each other: how far every recorded value moved, and a value of their differences. */
import type { Change as Told } from "../api";
import { addressOf, isInteger, size, type TraceNode } from "./node";
import { Trace } from "./trace";

/**
 * How far one node's value moved. `largest`: the change of the number that changed most, with its
 * sign, found at `address`; `relative`: the length of the change divided by the length of the value
 * before; `numbers`: how many changed, of `of`.
 */
export interface Change extends Told {
  largest: number;
  relative: number;
}

/** Both nodes of one path, where they can be subtracted. */
export function pair(before: Trace, after: Trace, path: string): [TraceNode, TraceNode] | null {
  const [one, two] = [before.nodes.get(path), after.nodes.get(path)];
  const alike =
    one?.bytes && two?.bytes && !isInteger(one) && one.shape.join() === two.shape.join();
  return alike ? [one, two] : null;
}

/** After minus before, number by number; equal infinities have not moved. */
async function gaps(
  before: Trace,
  after: Trace,
  [one, two]: [TraceNode, TraceNode],
): Promise<{ gap: Float64Array; was: Float64Array }> {
  const [was, is] = await Promise.all([before.values.all(one), after.values.all(two)]);
  return { gap: was.map((value, i) => (value === is[i] ? 0 : is[i] - value)), was };
}

/** The change of one value; null where the traces cannot be compared. */
export async function change(before: Trace, after: Trace, path: string): Promise<Change | null> {
  const nodes = pair(before, after, path);
  if (!nodes) return null;
  const { gap, was } = await gaps(before, after, nodes);
  let [at, numbers, moved, length] = [0, 0, 0, 0];
  gap.forEach((by, i) => {
    if (by !== 0) numbers++;
    if (Math.abs(by) > Math.abs(gap[at])) at = i;
    if (Number.isFinite(by)) moved += by * by;
    if (Number.isFinite(was[i])) length += was[i] * was[i];
  });
  const relative = moved === 0 ? 0 : Math.sqrt(moved / length);
  return {
    path,
    largest: gap[at] ?? 0,
    address: addressOf(nodes[0], at),
    relative,
    numbers,
    of: size(nodes[0]),
    edited: nodes[1].edited,
  };
}

/** A trace that holds one value: the differences, after minus before, in float64. */
export async function differenceTrace(
  before: Trace,
  after: Trace,
  path: string,
): Promise<Trace | null> {
  const nodes = pair(before, after, path);
  if (!nodes) return null;
  const { gap } = await gaps(before, after, nodes);
  const bytes = gap.buffer as ArrayBuffer;
  const node: TraceNode = {
    ...nodes[0],
    op: null,
    // a difference has a sign, and is masked where what it is of was
    role: nodes[0].role === "probability" ? "masked_score" : nodes[0].role,
    formula: null,
    operands: {},
    consumers: [],
    dtype: "float64",
    bytes: [0, bytes.byteLength],
  };
  return new Trace(
    { ...before.table, nodes: [node] },
    { bytes: async (begin, end) => bytes.slice(begin, end) },
  );
}
