/**
 * The terms of a sum all at once: the numbers that `Evaluation.run` gives term by term, in the same
 * order and to the same bit. A sum over a vocabulary has 150,000 terms, and a tree walked for each of
 * them takes seconds.
 */
import { isBinary, isCall, type Binary, type Node, type Read } from "./formula";
import type { Env, Evaluation } from "./evaluate";
import { rule } from "./functions";
import { isInteger, strides } from "./node";
import { OPERATORS } from "./operators";

/** Values and their rounding bounds, row-major over the axes; whether any is a real number. */
export interface Column {
  values: Float64Array;
  bounds: Float64Array;
  real: boolean;
}

const LEAVES = new Set<string>(["number", "param", "axis", "size"]);
const PLAIN = new Set<string>(["+", "-", "*", "/"]);

/** Whether a node is made of numbers read by axes, plain arithmetic and functions: no choices, no sums. */
export function isPlain(node: Node): boolean {
  if (node[0] === "read") return node[2].every((index) => index[0] === "axis");
  if (isCall(node)) return isPlain(node[1]);
  if (isBinary(node)) return PLAIN.has(node[0]) && isPlain(node[1]) && isPlain(node[2]);
  return LEAVES.has(node[0]);
}

/** Plain nodes over the combinations of indices of `axes`. */
export class Columns {
  private readonly n: number;
  private readonly exact: Float64Array; // the bounds of numbers that are read or counted
  private readonly known = new Map<Node, Column>();
  private readonly reads = new Map<Read, Float64Array>(); // where each of them reads

  /** records: whether what is read is put down as read. */
  constructor(
    private readonly run: Evaluation,
    private readonly axes: string[],
    private readonly env: Env,
    readonly records: boolean,
  ) {
    this.n = axes.reduce((n, axis) => n * run.size(axis), 1);
    this.exact = new Float64Array(this.n);
  }

  of(node: Node): Column {
    const result = this.known.get(node) ?? this.computed(node);
    this.known.set(node, result);
    return result;
  }

  private computed(node: Node): Column {
    if (node[0] === "read") return this.read(node);
    if (isCall(node)) {
      const { values: x, bounds, real } = this.of(node[1]);
      const { of, exact } = rule(node[0]);
      const values = x.map(of);
      const result = values.map((value, i) =>
        this.run.boundOfCall(node[0], x[i], bounds[i], value),
      );
      return { values, bounds: result, real: real || !exact };
    }
    if (isBinary(node)) return this.binary(node);
    if (node[0] === "axis" && this.axes.includes(node[1])) {
      const values = this.offsets([node[1]], [1]);
      return { values, bounds: this.exact, real: false };
    }
    const value = this.run.run(node, this.env);
    const bounds = new Float64Array(this.n).fill(this.run.bound);
    return { values: new Float64Array(this.n).fill(value), bounds, real: this.run.real };
  }

  private binary(node: Binary): Column {
    const [operator, left, right] = node;
    const [a, b] = [this.of(left), this.of(right)];
    const apply = OPERATORS[operator];
    const gained = this.run.gained(node);
    const values = a.values.map((x, i) => apply(x, b.values[i]));
    const bounds = values.map((value, i) =>
      this.run.boundOf(operator, a.values[i], a.bounds[i], b.values[i], b.bounds[i], value, gained),
    );
    return { values, bounds, real: a.real || b.real || operator === "/" };
  }

  /** Where an operand is read; several combinations may read one place. */
  private offsetsOf(read: Read): Float64Array {
    const [, operand, index] = read;
    const names = index.map((each) => each[1] as string);
    const result = this.reads.get(read) ?? this.offsets(names, strides(this.run.operands[operand]));
    this.reads.set(read, result);
    return result;
  }

  /** The sum of index times step over some axes, for every combination. */
  private offsets(names: string[], steps: number[]): Float64Array {
    const step = (axis: string) =>
      names.reduce((sum, name, d) => sum + (name === axis ? steps[d] : 0), 0);
    const fixed = names.reduce(
      (sum, name, d) => sum + (this.axes.includes(name) ? 0 : this.env[name] * steps[d]),
      0,
    );
    const result = new Float64Array(this.n);
    result[0] = fixed;
    let filled = 1; // all indices of the last axes, the first ones at 0
    for (const axis of this.axes.toReversed()) {
      const [size, by] = [this.run.size(axis), step(axis)];
      for (let i = 1; i < size; i++)
        for (let j = 0; j < filled; j++) result[i * filled + j] = result[j] + i * by;
      filled *= size;
    }
    return result;
  }

  private read(node: Read): Column {
    const operand = this.run.operands[node[1]];
    const offsets = this.offsetsOf(node);
    const values = new Float64Array(this.n);
    for (const offset of this.run.trace.values.gather(operand, offsets, values))
      this.run.lacks(node[1], offset);
    if (this.records) this.run.note(node[1], offsets, values);
    return { values, bounds: this.exact, real: !isInteger(operand) };
  }

  /** Hand on how much a sum of the node's values moves for each number read: `upstream` per value. */
  slopes(
    node: Node,
    upstream: Float64Array,
    take: (operand: string, offsets: Float64Array, slopes: Float64Array) => void,
  ): void {
    if (node[0] === "read") return take(node[1], this.offsetsOf(node), upstream);
    const times = (factor: (i: number) => number) =>
      upstream.map((sent, i) => (sent === 0 ? 0 : factor(i) * sent));
    if (isCall(node)) {
      const [x, y] = [this.of(node[1]).values, this.of(node).values];
      const { slope } = rule(node[0]);
      this.slopes(
        node[1],
        times((i) => slope(x[i], y[i])),
        take,
      );
    } else if (isBinary(node)) {
      const [operator, left, right] = node;
      const [a, b] = [this.of(left).values, this.of(right).values];
      if (operator === "*") {
        this.slopes(
          left,
          times((i) => b[i]),
          take,
        );
        this.slopes(
          right,
          times((i) => a[i]),
          take,
        );
      } else if (operator === "/") {
        this.slopes(
          left,
          times((i) => 1 / b[i]),
          take,
        );
        this.slopes(
          right,
          times((i) => -a[i] / (b[i] * b[i])),
          take,
        );
      } else {
        this.slopes(left, upstream, take);
        this.slopes(right, operator === "+" ? upstream : times(() => -1), take);
      }
    }
  }
}
