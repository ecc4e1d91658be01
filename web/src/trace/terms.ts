/** A sum term by term, as Python's `formula.terms`. */
import { indices, printed, value } from "./arithmetic";
import type { Env, Evaluation } from "./evaluate";
import { isBinary, isCall, type Node } from "./formula";
import { Fixed, enough } from "./spelling";

/**
 * The terms of a sum, row-major over the summed axes, all with the same number of decimals, the fewest
 * with which they add up; the sum so far is that of the terms as printed.
 */
export class Terms {
  readonly column: Fixed;
  private readonly sizes: number[];
  private readonly units: Float64Array;
  private readonly running: Float64Array;

  constructor(
    readonly axes: string[],
    readonly values: Float64Array,
    private readonly summed: Node,
    private readonly run: Evaluation,
    private readonly at: Env,
  ) {
    this.sizes = axes.map(run.size);
    this.column = Fixed.ofSum(values);
    this.units = new Float64Array(values.length);
    this.running = new Float64Array(values.length);
    let sum = 0;
    for (let i = 0; i < values.length; i++) {
      this.units[i] = this.column.units(values[i]);
      this.running[i] = sum += this.units[i];
    }
  }

  get length(): number {
    return this.values.length;
  }

  index = (index: number): Env => indices(index, this.axes, this.sizes);
  text = (index: number): string => this.column.text(this.units[index]);
  soFar = (index: number): string => this.column.text(this.running[index]);

  /** Axes with more than one index. */
  get long(): string[] {
    const long = this.axes.filter((_, d) => this.sizes[d] > 1);
    return long.length ? long : this.axes;
  }

  /** What the terms from `start` to before `stop` sum to, as they are printed. */
  sumOf = (start: number, stop: number): string =>
    this.column.text(this.running[stop - 1] - (start ? this.running[start - 1] : 0));

  /** How many digits operands beside these terms need, so that each gives its term. */
  digits(chosen: number[]): number {
    const shown = chosen.map((index) =>
      printed(this.summed, this.run, { ...this.at, ...this.index(index) }),
    );
    return enough((digits) =>
      shown.every((one, i) => this.column.units(value(one, digits)) === this.units[chosen[i]]),
    );
  }
}

/** The terms of a formula's outermost sum (or mean) at one element; null where nothing is summed. */
export function terms(tree: Node, run: Evaluation, at: Env): Terms | null {
  let node = outermostSum(tree);
  if (!node) return null;
  const axes: string[] = [];
  while (node[0] === "sum" || node[0] === "mean") {
    axes.push(node[1]);
    node = node[2];
  }
  return new Terms(axes, run.valuesOf(axes, node, at).values, node, run, at);
}

function outermostSum(node: Node): Node | null {
  if (node[0] === "sum" || node[0] === "mean") return node;
  if (isBinary(node)) return outermostSum(node[1]) ?? outermostSum(node[2]);
  return isCall(node) ? outermostSum(node[1]) : null;
}
