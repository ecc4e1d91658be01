/** A matrix seen in a trace: two axes of a value, the others held at one index each. */
import { number } from "../trace/number";
import { isMasked as maskedAt, isInteger, itemBytes, strides, type TraceNode } from "../trace/node";
import type { Trace } from "../trace/trace";
import { afterCard } from "./first";

export interface Plane {
  trace: Trace;
  node: TraceNode;
  rowAxis: string | null;
  columnAxis: string | null;
  rows: number;
  columns: number;
  fixed: Record<string, number>;
  /** Its first row and column, and how many there are of each: a window of a plane is a plane. */
  first: { row: number; column: number };
  of: { rows: number; columns: number };
}

/** The plane of a node; by default its last two axes, everything else at index 0. */
export function plane(
  trace: Trace,
  node: TraceNode,
  fixed: Record<string, number> = {},
  axes?: [string | null, string | null],
): Plane {
  const [rowAxis, columnAxis] = axes ?? defaultAxes(trace, node);
  const length = (axis: string | null) => (axis === null ? 1 : node.shape[node.axes.indexOf(axis)]);
  const held = Object.fromEntries(
    node.axes.filter((a) => a !== rowAxis && a !== columnAxis).map((a) => [a, fixed[a] ?? 0]),
  );
  const of = { rows: length(rowAxis), columns: length(columnAxis) };
  return { trace, node, rowAxis, columnAxis, ...of, fixed: held, first: { row: 0, column: 0 }, of };
}

/** What a head of attention looks at: a row for each query, a column for each key, the source's where it looks across. */
export const planeOfHead = (trace: Trace, node: TraceNode, head: number): Plane =>
  plane(trace, node, { head }, [node.axes.at(-2)!, node.axes.at(-1)!]);

/** At most SIDE rows and columns of a plane, beginning where is asked or as near to it as there is room. */
export function windowAt(p: Plane, row: number, column: number): Plane {
  const [rows, columns] = [Math.min(p.rows, SIDE), Math.min(p.columns, SIDE)];
  const within = (from: number, n: number) => Math.min(Math.max(Math.round(from) || 0, 0), n);
  return {
    ...p,
    rows,
    columns,
    first: { row: within(row, p.rows - rows), column: within(column, p.columns - columns) },
  };
}

export const SIDE = 64;

export const rowLabel = (p: Plane, row: number): string =>
  p.rowAxis ? p.trace.label(p.rowAxis, p.first.row + row) : "";
export const columnLabel = (p: Plane, column: number): string =>
  p.columnAxis ? p.trace.label(p.columnAxis, p.first.column + column) : "";

function defaultAxes(trace: Trace, node: TraceNode): [string | null, string | null] {
  const { axes } = node;
  if (axes.length === 0) return [null, null];
  const long = axes.filter((_, d) => node.shape[d] > 1);
  if (axes.length === 1 || long.length === 1) {
    const axis = long[0] ?? axes[0];
    return trace.word(axis, 0) ? [axis, null] : [null, axis]; // words are read downwards
  }
  // rows are tokens, columns are dimensions; heads are held
  if (axes.includes("pos") && axes.includes("head")) return ["pos", axes[axes.length - 1]];
  return [axes[axes.length - 2], axes[axes.length - 1]];
}

/** How many planes are drawn beside one another: one for each head, unless heads are its rows or columns. */
export const besides = (p: Plane): number =>
  "head" in p.fixed ? p.node.shape[p.node.axes.indexOf("head")] : 1;

export function indexAt(p: Plane, row: number, column: number): Record<string, number> {
  const at: Record<string, number> = {};
  for (const axis of p.node.axes) {
    at[axis] =
      axis === p.rowAxis
        ? p.first.row + row
        : axis === p.columnAxis
          ? p.first.column + column
          : p.fixed[axis];
  }
  return at;
}

/** The flat place of cell (0, 0), and how far apart rows and columns lie. */
export function layout(p: Plane): { base: number; byRow: number; byColumn: number } {
  const by = strides(p.node);
  const stride = (axis: string | null) => (axis === null ? 0 : by[p.node.axes.indexOf(axis)]);
  const base = p.node.axes.reduce((sum, axis, d) => sum + (p.fixed[axis] ?? 0) * by[d], 0);
  const [byRow, byColumn] = [stride(p.rowAxis), stride(p.columnAxis)];
  return { base: base + p.first.row * byRow + p.first.column * byColumn, byRow, byColumn };
}

/** Whether some cells of the plane were masked: keys of a query, tokens that are not asked for. */
export const hasMask = ({ node }: Plane): boolean => !!node.mask || isTargets(node);

const isTargets = ({ address }: TraceNode): boolean => address === "token/targets";

/** Whether a cell of the plane was masked. */
export const isMasked = (p: Plane, row: number, column: number): boolean =>
  p.node.mask
    ? maskedAt(p.node, indexAt(p, row, column))
    : isTargets(p.node) && valueAt(p, row, column)! < 0;

/** The number of a cell, or undefined while it is not here. */
export function valueAt(p: Plane, row: number, column: number): number | undefined {
  const { base, byRow, byColumn } = layout(p);
  return p.trace.values.peek(p.node, base + row * byRow + column * byColumn);
}

/** Fetch the cells of a window of the plane. */
export async function fetchWindow(
  p: Plane,
  r0: number,
  r1: number,
  c0: number,
  c1: number,
): Promise<void> {
  await afterCard();
  const [from, last] = [indexAt(p, r0, c0), indexAt(p, r1 - 1, c1 - 1)];
  return p.trace.values.fetchBox(
    p.node,
    p.node.axes.map((axis) => from[axis]),
    p.node.axes.map((axis) => last[axis] + 1),
  );
}

/** A value in blocks: of each the number of largest magnitude. */
export interface Blocks {
  values: ArrayLike<number>;
  /** By axis: elements in a block, how many blocks, how far apart neighbors lie in `values`. */
  block: Record<string, number>;
  counts: Record<string, number>;
  by: Record<string, number>;
}

const LONGEST = 65536; // bytes of an answer; single numbers come in as many tiles as it takes

/** A value in at most so many blocks along the axes that are named; the others are held at one index. */
export async function blocksOf(
  trace: Trace,
  node: TraceNode,
  most: Record<string, number>,
  fixed: Record<string, number> = {},
): Promise<Blocks> {
  await afterCard();
  const { axes, shape } = node;
  const from = axes.map((axis) => (axis in most ? 0 : (fixed[axis] ?? 0)));
  const to = axes.map((axis, d) => (axis in most ? shape[d] : from[d] + 1));
  const cut = (share: number) => {
    const block = axes.map((axis, d) =>
      Math.ceil(shape[d] / Math.max(Math.floor((most[axis] ?? 1) * share), 1)),
    );
    return { block, counts: axes.map((_, d) => Math.ceil((to[d] - from[d]) / block[d])) };
  };
  let [share, { block, counts }] = [1, cut(1)];
  while (
    block.some((side) => side > 1) &&
    counts.reduce((a, b) => a * b, itemBytes(node)) > LONGEST
  ) {
    share *= 0.9;
    ({ block, counts } = cut(share));
  }
  const by = strides({ ...node, shape: counts });
  const named = (numbers: number[]) =>
    Object.fromEntries(axes.map((axis, d) => [axis, numbers[d]]));
  return {
    values: await trace.values.blocks(node, from, to, block),
    block: named(block),
    counts: named(counts),
    by: named(by),
  };
}

/** Whether all of the block of a plane in a row and column was masked. */
export function maskedBlocks(p: Plane, { block, counts }: Blocks) {
  const { mask, axes, shape } = p.node;
  const known: boolean[] = []; // of every head the same
  const span = (axis: string, from: number) => {
    const n = Math.min(block[axis], shape[axes.indexOf(axis)] - from);
    return Array.from({ length: n }, (_, i) => from + i);
  };
  return (row: number, column: number): boolean => {
    if (!mask) return false;
    const at = indexAt(p, row * block[p.rowAxis!], column * block[p.columnAxis!]);
    const [queries, keys] = [span("query", at.query), span("key", at.key)];
    // what a query may look at is a band through the map: where it meets a block it meets its rim
    return (known[row * counts[p.columnAxis!] + column] ??=
      [queries[0], queries.at(-1)!].every((q) => keys.every((k) => mask(q, k))) &&
      [keys[0], keys.at(-1)!].every((k) => queries.every((q) => mask(q, k))));
  };
}

/** Values larger than this are never fetched whole from a server. */
export const WHOLE = 1 << 19;

export interface Scale {
  kind: "signed" | "probability" | "ids";
  largest: number;
}

function scaleKind(node: TraceNode): Scale["kind"] {
  if (isInteger(node)) return "ids";
  return node.role === "probability" ? "probability" : "signed";
}

const FEW = 8; // blocks along each axis: the largest of the largest is the largest
const known = new WeakMap<Trace, Map<string, Scale>>();

/** The color scale of a value, the same wherever it is shown: probabilities reach to 1, others to their largest magnitude. */
export async function scaleOf(trace: Trace, node: TraceNode): Promise<Scale> {
  const scales = known.get(trace) ?? known.set(trace, new Map()).get(trace)!;
  const cached = scales.get(node.address);
  if (cached) return cached;
  const kind = scaleKind(node);
  let largest = kind === "probability" ? 1 : 0;
  if (kind === "signed") {
    const { values } = await blocksOf(
      trace,
      node,
      Object.fromEntries(node.axes.map((axis) => [axis, FEW])),
    );
    for (let i = 0; i < values.length; i++)
      if (Number.isFinite(values[i])) largest = Math.max(largest, Math.abs(values[i]));
  }
  const scale = { kind, largest: largest || 1 };
  scales.set(node.address, scale);
  return scale;
}

/** A matrix in words, for those who hear it. */
export function summary(p: Plane): string {
  const axes = `${p.rowAxis ?? "one row"} by ${p.columnAxis ?? "one column"}`;
  return `${p.node.address}: ${axes}, ${p.of.rows} by ${p.of.columns}. Arrow keys move, Enter explains a number.`;
}

/** One cell in words: where it stands and its number, "…" where that has not come yet. */
export function spokenCell(p: Plane, row: number, column: number): string {
  const value = valueAt(p, row, column);
  const where = [
    p.rowAxis && `${p.rowAxis} ${rowLabel(p, row)}`,
    p.columnAxis && `${p.columnAxis} ${columnLabel(p, column)}`,
  ];
  const what =
    value === undefined
      ? "…"
      : isMasked(p, row, column)
        ? "masked"
        : number(value, 4, isInteger(p.node));
  return [...where.filter(Boolean), what].join(", ");
}
