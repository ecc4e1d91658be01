/** A trace made by hand, for tests: every value float64 but those named as counts, all bytes here. */
import type { Node } from "../src/trace/formula";
import type { TraceNode } from "../src/trace/node";
import { Trace, type Table } from "../src/trace/trace";

export interface Made {
  axes?: string[];
  shape?: number[];
  values: number[];
  integers?: boolean;
  /** How it was computed: from which values, by which tree. */
  from?: Record<string, string>;
  tree?: Node;
  params?: TraceNode["params"];
}

export function traceOf(values: Record<string, Made>): Trace {
  const table: Table = {
    format: "glassformer-trace",
    version: 3,
    tile_bytes: 64, // 8 numbers, so that a value of some size lies in several tiles
    labels: { pos: ["the", "cat", "sat"] },
    ops: {},
    formulas: [],
    nodes: [],
  };
  const parts: BigInt64Array[] = [];
  let at = 0;
  for (const [address, made] of Object.entries(values)) {
    const { axes = [], shape = [], from = {}, tree, params = {} } = made;
    if (tree) table.formulas.push({ name: "y", axes, tree, text: "", latex: "" });
    table.nodes.push({
      address,
      op: tree ? "made" : null,
      role: tree ? "value" : null,
      formula: tree ? table.formulas.length - 1 : null,
      operands: from,
      consumers: Object.keys(values).filter((to) =>
        Object.values(values[to].from ?? {}).includes(address),
      ),
      params,
      axes,
      shape,
      dtype: made.integers ? "int64" : "float64",
      bytes: [at, at + 8 * made.values.length],
      edited: false,
    });
    const bytes = made.integers
      ? BigInt64Array.from(made.values, BigInt)
      : new BigInt64Array(Float64Array.from(made.values).buffer);
    parts.push(bytes);
    at += bytes.byteLength;
  }
  const all = BigInt64Array.from(parts.flatMap((part) => [...part])).buffer;
  return new Trace(table, { bytes: async (begin, end) => all.slice(begin, end) });
}

export const axis = (name: string): Node => ["axis", name];
export const n = (value: number | string): Node => ["number", value];
export const read = (name: string, ...axes: string[]): Node => ["read", name, axes.map(axis)];
