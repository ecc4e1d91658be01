/** A node of a trace by itself: its shape, its layout, its mask. */
import { format } from "./address";
import { BYTES, ROUNDOFF } from "./dtype";

/** What a value is to a reader; Python's `ops.op.Role`. */
export type Role =
  | "value"
  | "stream"
  | "score"
  | "masked_score"
  | "token"
  | "probability"
  | "normalized"
  | "copy"
  | "intermediate"
  | "change";

/** One recorded value: a row of the node table of a trace file. */
export interface TraceNode {
  address: string;
  op: string | null;
  role: Role | null;
  formula: number | null;
  operands: Record<string, string>;
  consumers: string[];
  /** What JSON has no number for is text: "inf". */
  params: Record<string, number | string>;
  axes: string[];
  shape: number[];
  dtype: string;
  bytes: [number, number] | null;
  edited: boolean;
  /** Whether a query may not look at a key; said of masked attention where a trace is opened. */
  mask?: (query: number, key: number) => boolean;
}

export const size = (node: TraceNode): number => node.shape.reduce((a, b) => a * b, 1);
export const itemBytes = (node: TraceNode): number => BYTES[node.dtype];
export const isInteger = (node: TraceNode): boolean => !(node.dtype in ROUNDOFF);

/** How far apart neighbors along each axis lie, in elements. */
export function strides(node: TraceNode): number[] {
  const result = node.shape.map(() => 1);
  for (let d = node.shape.length - 2; d >= 0; d--) result[d] = result[d + 1] * node.shape[d + 1];
  return result;
}

/** The place of an element in the row-major value. */
export function flat(node: TraceNode, index: Record<string, number>): number {
  const by = strides(node);
  return node.axes.reduce((sum, axis, d) => sum + (index[axis] ?? 0) * by[d], 0);
}

/** The address of the number at a place of the row-major value. */
export function addressOf(node: TraceNode, offset: number): string {
  const by = strides(node);
  return format(
    node.address,
    Object.fromEntries(
      node.axes.map((axis, d) => [axis, Math.floor(offset / by[d]) % node.shape[d]]),
    ),
  );
}

/** Whether the element of a value at an index was masked. */
export const isMasked = ({ mask }: TraceNode, at: Record<string, number>): boolean =>
  mask?.(at.query, at.key) ?? false;
