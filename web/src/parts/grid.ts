/** A matrix seen in a trace: two axes of a value, the others held at one index each. */
import { hasMask, isMasked as maskedAt, isWhole, size, strides, type Step, type Trace } from "../trace/trace";

export interface Plane {
  trace: Trace;
  step: Step;
  rowAxis: string | null;
  columnAxis: string | null;
  rows: number;
  columns: number;
  fixed: Record<string, number>;
}

/** The plane of a step; by default its last two axes, everything else at index 0. */
export function plane(trace: Trace, step: Step, fixed: Record<string, number> = {}, axes?: [string | null, string | null]): Plane {
  const [rowAxis, columnAxis] = axes ?? defaultAxes(trace, step);
  const length = (axis: string | null) => (axis === null ? 1 : step.shape[step.axes.indexOf(axis)]);
  const held = Object.fromEntries(step.axes.filter((a) => a !== rowAxis && a !== columnAxis).map((a) => [a, fixed[a] ?? 0]));
  return { trace, step, rowAxis, columnAxis, rows: length(rowAxis), columns: length(columnAxis), fixed: held };
}

function defaultAxes(trace: Trace, step: Step): [string | null, string | null] {
  const { axes } = step;
  if (axes.length === 0) return [null, null];
  const long = axes.filter((_, d) => step.shape[d] > 1);
  if (axes.length === 1 || long.length === 1) {
    const axis = long[0] ?? axes[0];
    return trace.word(axis, 0) ? [axis, null] : [null, axis]; // words are read downwards
  }
  // rows are tokens, columns are dimensions; heads are held
  if (axes.includes("pos") && axes.includes("head")) return ["pos", axes[axes.length - 1]];
  return [axes[axes.length - 2], axes[axes.length - 1]];
}

export function indexAt(p: Plane, row: number, column: number): Record<string, number> {
  const at: Record<string, number> = {};
  for (const axis of p.step.axes) {
    at[axis] = axis === p.rowAxis ? row : axis === p.columnAxis ? column : p.fixed[axis];
  }
  return at;
}

/** The flat place of cell (0, 0), and how far apart rows and columns lie. */
export function layout(p: Plane): { base: number; byRow: number; byColumn: number } {
  const by = strides(p.step);
  const stride = (axis: string | null) => (axis === null ? 0 : by[p.step.axes.indexOf(axis)]);
  const base = p.step.axes.reduce((sum, axis, d) => sum + (p.fixed[axis] ?? 0) * by[d], 0);
  return { base, byRow: stride(p.rowAxis), byColumn: stride(p.columnAxis) };
}

/** Whether a cell of the plane was masked. */
export const isMasked = (p: Plane, row: number, column: number): boolean =>
  hasMask(p.step) && maskedAt(p.step, indexAt(p, row, column));

/** Fetch the cells of a window of the plane. */
export async function fetchWindow(p: Plane, r0: number, r1: number, c0: number, c1: number): Promise<void> {
  const { base, byRow, byColumn } = layout(p);
  const wanted: Promise<void>[] = [];
  if (byColumn <= byRow || p.rowAxis === null) {
    for (let r = r0; r < r1; r++) {
      const from = base + r * byRow + c0 * byColumn;
      wanted.push(p.trace.values.fetch(p.step, from, base + r * byRow + (c1 - 1) * byColumn + 1));
    }
  } else {
    for (let c = c0; c < c1; c++) {
      wanted.push(p.trace.values.fetch(p.step, base + r0 * byRow + c * byColumn, base + (r1 - 1) * byRow + c * byColumn + 1));
    }
  }
  await Promise.all(wanted);
}

/** Values larger than this are seen through a window and never fetched whole. */
export const WHOLE = 1 << 19;

export interface Scale {
  kind: "signed" | "probability" | "ids";
  largest: number;
  /** Whether `largest` is of the whole value rather than of the part that was seen. */
  whole: boolean;
}

const PROBABILITIES = new Set(["row_divide", "share", "probs", "keep_top_k", "keep_nucleus", "keep_min_p", "accumulate"]);

export function scaleKind(step: Step): Scale["kind"] {
  if (isWhole(step)) return "ids";
  return step.op !== null && PROBABILITIES.has(step.op) ? "probability" : "signed";
}

const known = new WeakMap<Trace, Map<string, Scale>>();

/** The colour scale of a value, the same wherever it is shown: probabilities reach to 1, others to their largest magnitude. */
export async function scaleOf(trace: Trace, step: Step): Promise<Scale> {
  const scales = known.get(trace) ?? known.set(trace, new Map()).get(trace)!;
  const found = scales.get(step.address);
  if (found) return found;
  const kind = scaleKind(step);
  let largest = kind === "probability" ? 1 : 0;
  const whole = size(step) <= WHOLE;
  if (kind === "signed") {
    const values = await trace.values.range(step, 0, whole ? size(step) : WHOLE >> 3);
    for (const value of values) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  }
  const scale = { kind, largest: largest || 1, whole: whole || kind !== "signed" };
  scales.set(step.address, scale);
  return scale;
}

/** A matrix in words, for those who hear it. */
export function summary(p: Plane): string {
  const axes = `${p.rowAxis ?? "one row"} by ${p.columnAxis ?? "one column"}`;
  return `${p.step.address}: ${axes}, ${p.rows} by ${p.columns}. Arrow keys move, Enter explains a number.`;
}
