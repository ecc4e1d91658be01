/** Recorded numbers as strips: rows of values, of one head, of a table, of a sum. */
import { maxIndex } from "d3-array";
import { blocksOf, scaleOf } from "../../parts/grid";
import { format } from "../../trace/address";
import type { TraceNode } from "../../trace/node";
import type { Trace } from "../../trace/trace";

/** Rows of numbers, painted as a strip or a matrix; `largest` is the end of their color scale. */
export interface Strip {
  values: ArrayLike<number>;
  rows: number;
  columns: number;
  largest: number;
  kind: "signed" | "probability";
}

/** An embedding table; `shrunk`: a dot is the largest of several numbers. */
export interface Table {
  strip: Strip;
  rows: number;
  path: string;
  shrunk: boolean;
}

export interface Neurons {
  strip: Strip;
  active: number;
  best: number;
  value: number;
  path: string;
}

export interface Sum {
  before: Strip;
  added: Strip;
  after: Strip;
  path: string;
}

export const strip = (
  values: ArrayLike<number>,
  rows: number,
  largest: number,
  kind: Strip["kind"] = "signed",
): Strip => ({ values, rows, columns: values.length / rows, largest, kind });

/** Some tokens' rows of a value [batch, pos, width]. */
export async function rows(trace: Trace, path: string, from: number, to: number): Promise<Strip> {
  const node = trace.node(path);
  const width = node.shape.at(-1)!;
  const [values, { largest }] = await Promise.all([
    trace.values.range(node, from * width, to * width),
    scaleOf(trace, node),
  ]);
  return strip(values, to - from, largest);
}

/** Some tokens' rows of one head of a value [batch, pos, head, d_head]. */
export async function headRows(
  trace: Trace,
  node: TraceNode,
  head: number,
  from: number,
  to: number,
): Promise<Strip> {
  const [heads, width] = node.shape.slice(-2);
  const all = await trace.values.range(node, from * heads * width, to * heads * width);
  const mine = Float64Array.from({ length: (to - from) * width }, (_, i) => {
    const [row, column] = [Math.floor(i / width), i % width];
    return all[(row * heads + head) * width + column];
  });
  return strip(mine, to - from, (await scaleOf(trace, node)).largest);
}

export async function tableOf(trace: Trace, embed: string): Promise<Table> {
  const path = trace.node(embed).operands.W_E;
  const node = trace.node(path);
  const most = { vocab: 160, d_model: 64 };
  const [{ values, counts, block }, { largest }] = await Promise.all([
    blocksOf(trace, node, most),
    scaleOf(trace, node),
  ]);
  const shrunk = Object.values(block).some((side) => side > 1);
  return { strip: strip(values, counts.vocab, largest), rows: node.shape[0], path, shrunk };
}

/** The shares that a head gives from one position: all of them. */
export function rowOf(
  trace: Trace,
  node: TraceNode,
  head: number,
  pos: number,
): Promise<Float64Array> {
  const [, queries, keys] = node.shape.slice(1);
  const from = (head * queries + pos) * keys;
  return trace.values.range(node, from, from + keys);
}

/** What was there, what was added to it, and the sum, for one token. */
export async function additionOf(trace: Trace, path: string, pos: number): Promise<Sum | null> {
  const summed = trace.has(`${path}_sum`) ? `${path}_sum` : path; // a norm may stand after it
  const { residual, branch } = trace.nodes.get(summed)?.operands ?? {};
  if (!residual || !branch) return null;
  const [before, added, after] = await Promise.all(
    [residual, branch, summed].map((one) => rows(trace, one, pos, pos + 1)),
  );
  const largest = Math.max(before.largest, added.largest, after.largest);
  return {
    before: { ...before, largest },
    added: { ...added, largest },
    after: { ...after, largest },
    path: format(summed, { pos }),
  };
}

export async function neuronsOf(trace: Trace, path: string, pos: number): Promise<Neurons | null> {
  const node = trace.nodes.get(path);
  if (!node || node.axes.join() !== "batch,pos,d_mlp") return null;
  const result = await rows(trace, path, pos, pos + 1);
  const values = [...(result.values as Float64Array)];
  const best = maxIndex(values);
  return {
    strip: result,
    active: values.filter((value) => value > 0).length,
    best,
    value: values[best],
    path: format(path, { pos }),
  };
}
