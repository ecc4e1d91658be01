/**
 * A formula's value in float64 at one element, with a bound on how far a rounded computation may be
 * from it: the same running error analysis as Python's `formula.evaluate` (Higham 2002, 3.1 and 3.3).
 */
import {
  axisSizes,
  isBinary,
  isCall,
  isComparison,
  isReduction,
  plainNumber,
  walk,
  type Binary,
  type Call,
  type Node,
  type Operator,
  type Reduction,
  type Select,
} from "./formula";
import { Columns, isPlain, type Column } from "./columns";
import { rule } from "./functions";
import { isInteger, type TraceNode } from "./node";
import { OPERATORS } from "./operators";
import { ByOffset } from "./offsets";
import type { Trace } from "./trace";
import { ROUNDOFF, TINY } from "./dtype";

const FUNCTION_ULPS = 8;
const SUM_ROUNDOFF = ROUNDOFF.float32 + ROUNDOFF.float64;

export type Env = Record<string, number>;
/** The numbers read of each operand, by their place in it. */
export type Reads = Map<string, ByOffset>;

/** One evaluation of one formula: sizes of its axes, what it read, whether it met a corner. */
export class Evaluation {
  readonly reads: Reads = new Map();
  kinks = false;
  missing: [TraceNode, number][] = [];
  /** Of the value that `run` returned last: its rounding bound, and whether it is a real number. */
  bound = 0;
  real = false;
  private roundoff: number;
  private tiny: number;
  private sizes: Record<string, number>;
  private recording = true;
  private last: { key: string; columns: Columns } | null = null;

  constructor(
    readonly trace: Trace,
    readonly operands: Record<string, TraceNode>,
    private params: TraceNode["params"],
    tree: Node,
    node: TraceNode,
  ) {
    this.roundoff = (ROUNDOFF[node.dtype] ?? 0) + ROUNDOFF.float64;
    this.tiny = TINY[node.dtype] ?? 0;
    this.sizes = {
      ...axisSizes(tree, (name) => operands[name].shape),
      ...Object.fromEntries(node.axes.map((a, d) => [a, node.shape[d]])),
    };
  }

  size = (axis: string): number => this.sizes[axis];

  /** Do something without recording what is read. */
  silently<T>(work: () => T): T {
    const { recording, kinks } = this;
    this.recording = false;
    const result = work();
    this.recording = recording;
    this.kinks = kinks;
    return result;
  }

  /** The value without recording what was read. */
  quietly = (node: Node, env: Env): number => this.silently(() => this.run(node, env));

  run(node: Node, env: Env): number {
    switch (node[0]) {
      case "number":
        return this.constant(plainNumber(node[1]));
      case "param":
        return this.constant(plainNumber(this.params[node[1]]));
      case "axis":
        return this.exact(env[node[1]]);
      case "size":
        return this.exact(this.sizes[node[1]]);
      case "read":
        return this.read(node[1], node[2], env);
      case "select":
        return this.select(node, env);
      case "drawn":
        throw new Error("a drawn number has no arithmetic");
    }
    if (isReduction(node)) return this.reduce(node, env);
    if (isCall(node)) return this.unary(node, env);
    if (isBinary(node)) return this.binary(node, env);
    throw new Error(`this page does not know the function “${node[0]}”`);
  }

  private exact(value: number): number {
    this.bound = 0;
    this.real = false;
    return value;
  }

  private constant(value: number): number {
    this.real = !Number.isInteger(value);
    this.bound = this.real && Number.isFinite(value) ? this.roundoff * Math.abs(value) : 0;
    return value;
  }

  /** The offset of the element of an operand that is read at `env`. */
  offset(operand: string, index: Node[], env: Env): number {
    const { shape } = this.operands[operand];
    let offset = 0;
    for (let d = 0; d < shape.length; d++)
      offset = offset * shape[d] + Math.trunc(this.run(index[d], env));
    return offset;
  }

  /** Fetch what a formula reads at places that its axes alone tell; what else it reads shows when it is run. */
  async fetch(tree: Node, at: Env): Promise<void> {
    const boxes = [...walk(tree)].flatMap((node) => {
      if (node[0] !== "read") return [];
      const read = this.operands[node[1]];
      const axes = node[2].flatMap((index) => (index[0] === "axis" ? [index[1]] : []));
      if (axes.length < node[2].length) return [];
      const from = axes.map((axis) => at[axis] ?? 0);
      const to = axes.map((axis, d) => (axis in at ? from[d] + 1 : read.shape[d]));
      return [this.trace.values.fetchBox(read, from, to)];
    });
    await Promise.all(boxes);
  }

  private read(operand: string, index: Node[], env: Env): number {
    const flat = this.offset(operand, index, env);
    const node = this.operands[operand];
    const value = this.trace.values.peek(node, flat);
    this.bound = 0;
    this.real = !isInteger(node);
    if (value === undefined) {
      this.missing.push([node, flat]);
      return 0;
    }
    if (this.recording) this.readsOf(operand).set(flat, value);
    return value;
  }

  private readsOf(operand: string): ByOffset {
    return this.reads.get(operand) ?? this.reads.set(operand, new ByOffset()).get(operand)!;
  }

  /** What was read of an operand at many offsets at once. */
  note(operand: string, offsets: Float64Array, values: Float64Array): void {
    this.readsOf(operand).add(offsets, values);
  }

  /** The number at an offset of an operand was asked for and is not here. */
  lacks = (operand: string, offset: number): unknown =>
    this.missing.push([this.operands[operand], offset]);

  /** The values of a node over some axes, row-major; nothing of it is recorded. */
  valuesOf = (axes: string[], node: Node, env: Env): Column =>
    this.silently(() => this.over(axes, node, env));

  /** A node over some axes, row-major. */
  private over(axes: string[], node: Node, env: Env): Column {
    if (isPlain(node)) return this.columns(axes, env).of(node);
    const values: number[] = [];
    const bounds: number[] = [];
    let real = false;
    this.each(axes, env, (inner) => {
      values.push(this.run(node, inner));
      bounds.push(this.bound);
      real ||= this.real;
    });
    return { values: Float64Array.from(values), bounds: Float64Array.from(bounds), real };
  }

  /** Plain nodes over some axes; asked again for the same, it has read and computed them. */
  columns(axes: string[], env: Env): Columns {
    const key = JSON.stringify([axes, env]);
    const records = this.recording;
    if (this.last?.key !== key || (records && !this.last.columns.records))
      this.last = { key, columns: new Columns(this, axes, env, records) };
    return this.last.columns;
  }

  private select(node: Select, env: Env): number {
    const kinks = this.kinks;
    const chosen = this.run(node[1], env);
    // a count is flat on both sides of an equality
    if (![...walk(node[2]), ...walk(node[3])].some((part) => part[0] === "read"))
      this.kinks = kinks;
    const a = this.run(node[2], env);
    const [bound, real] = [this.bound, this.real];
    const b = this.run(node[3], env);
    if (!chosen) return b;
    this.bound = bound;
    this.real = real;
    return a;
  }

  private reduce([kind, axis, inside]: Reduction, env: Env): number {
    const axes = [axis];
    let body = inside;
    while (kind === "sum" && body[0] === "sum") {
      axes.push(body[1]); // a sum of sums may be added up in any order: it is one sum
      body = body[2];
    }
    const { values, bounds, real } = this.over(axes, body, env);
    if (kind === "argmax") return this.exact(first(values));
    const n = values.length;
    let total = 0;
    let absolute = 0;
    let errors = 0;
    let largest = n ? values[0] : -Infinity;
    let largestBound = 0;
    for (let i = 0; i < n; i++) {
      const value = values[i];
      total += value;
      absolute += Math.abs(value);
      errors += bounds[i];
      if (value > largest || Number.isNaN(value)) largest = value;
      largestBound = Math.max(largestBound, bounds[i]);
    }
    this.real = real || kind === "mean";
    if (kind === "max") {
      this.bound = largestBound;
      return largest;
    }
    const gamma = this.gamma(n);
    let bound = errors * (1 + gamma) + gamma * absolute;
    if (this.roundoff > SUM_ROUNDOFF) bound += this.roundoff * Math.abs(total);
    this.bound = finite(kind === "sum" ? bound : bound / n + this.roundoff * Math.abs(total / n));
    return kind === "sum" ? total : total / n;
  }

  /** The largest error of n additions, relative to the sum of absolute terms. */
  private gamma(n: number): number {
    const u = Math.min(this.roundoff, SUM_ROUNDOFF);
    return (n * u) / (1 - n * u);
  }

  /** The error that a value gains by being added to a node, relative to it: to a sum's, perhaps before its terms. */
  private addedTo(node: Node): number {
    if (node[0] !== "sum") return additions(node) * this.roundoff;
    let n = 1;
    for (; node[0] === "sum"; node = node[2]) n *= this.sizes[node[1]];
    return this.gamma(n);
  }

  /** Call `visit` for every combination of indices of `axes`. */
  each(axes: string[], env: Env, visit: (inner: Env) => void): void {
    const inner = { ...env };
    const turn = (depth: number): void => {
      if (depth === axes.length) return visit(inner);
      for (let i = 0; i < this.sizes[axes[depth]]; i++) {
        inner[axes[depth]] = i;
        turn(depth + 1);
      }
    };
    turn(0);
  }

  private unary([name, body]: Call, env: Env): number {
    const x = this.run(body, env);
    const error = this.bound;
    const { of, exact } = rule(name);
    const value = of(x);
    this.bound = this.boundOfCall(name, x, error, value);
    if (!exact) this.real = true;
    return value;
  }

  /** How far a function's value may be off, if what it is applied to may be off by `error`. */
  boundOfCall(name: Call[0], x: number, error: number, value: number): number {
    const { slope, exact } = rule(name);
    let carried = error > 0 ? Math.abs(slope(x, value)) * error : 0;
    // at 0 the slope of a root is infinite, and a magnitude has none
    if (name === "sqrt") carried = Math.min(carried, Math.sqrt(error));
    else if (name === "abs") carried = error;
    return finite(
      carried + (exact ? 0 : FUNCTION_ULPS * this.roundoff * Math.abs(value) + this.tiny),
    );
  }

  private binary([operator, left, right]: Binary, env: Env): number {
    const a = this.run(left, env);
    const [ea, realA] = [this.bound, this.real];
    const b = this.run(right, env);
    const [eb, realB] = [this.bound, this.real];
    const value = OPERATORS[operator](a, b);
    if (isComparison(operator)) {
      if (a === b && realA) this.kinks = true;
      return this.exact(value);
    }
    this.real = realA || realB || operator === "/";
    if (operator === "//" || operator === "%") {
      this.bound = 0;
      return value;
    }
    this.bound = this.boundOf(operator, a, ea, b, eb, value, this.gained([operator, left, right]));
    return value;
  }

  /** What each side of an addition gains in error, relative to it. */
  gained([operator, left, right]: Binary): [number, number] {
    if (operator !== "+" && operator !== "-") return [0, 0];
    return [this.addedTo(right), this.addedTo(left)];
  }

  /** How far an operator's value may be off, if its sides may be off by ea and eb. */
  boundOf(
    operator: Operator,
    a: number,
    ea: number,
    b: number,
    eb: number,
    value: number,
    [gainA, gainB]: [number, number],
  ): number {
    const rounding = this.roundoff * Math.abs(value);
    let bound: number;
    if (operator === "+" || operator === "-")
      bound = ea + gainA * Math.abs(a) + (eb + gainB * Math.abs(b)) + rounding;
    else if (operator === "*") bound = Math.abs(a) * eb + Math.abs(b) * ea + ea * eb + rounding;
    else if (operator === "/")
      bound = (ea + Math.abs(value) * eb) / Math.max(Math.abs(b) - eb, 1e-300) + rounding;
    else {
      const relative = (Math.abs(b) * ea) / Math.abs(a) + Math.abs(Math.log(Math.abs(a))) * eb;
      bound = Math.abs(value) * relative + FUNCTION_ULPS * rounding;
    }
    return finite(bound + this.tiny);
  }
}

/** Where the largest number first stands. */
const first = (values: Float64Array): number =>
  values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

/** How many additions a chain of them makes. */
function additions(node: Node): number {
  return node[0] === "+" ? 1 + additions(node[1]) + additions(node[2]) : 0;
}

// inf - inf and 0 * inf in a bound come from infinite values, which are exact (a masked score)
const finite = (error: number): number => (Number.isFinite(error) ? error : 0);
