/** Runs a plan: node after node, each by its tree, over whole arrays. */
import { Kernel } from "./kernel";
import { paramsOf, shapeOf, type Lengths, type Plan, type PlanNode } from "./plan";
import { rounding } from "./round";

/** The numbers of every value by its address, row-major. */
export type Values = Map<string, Float64Array>;

/** Numbers of a value that are others than its formula gives, by their places in it. */
export interface Change {
  places: number[];
  numbers: ArrayLike<number>;
}

export interface Pass {
  lengths: Lengths;
  /** Weights, tokens and other constants, and numbers that were drawn; what reads one that is missing is left out. */
  leaves: ReadonlyMap<string, Float64Array>;
  /** Parameters of single nodes that are other ones than the plan's. */
  params?: Record<string, Record<string, number>>;
  edits?: ReadonlyMap<string, Change[]>;
  /** Which nodes are wanted; without it all. */
  wanted?: (node: PlanNode) => boolean;
}

interface Step {
  node: PlanNode;
  shape: number[];
  params: Record<string, number>;
  kernel: Kernel | null;
}

const KEPT_LENGTHS = 8;

export class Program {
  private steps = new Map<string, Step[]>();
  private kernels = new Map<string, Kernel>();
  private shapes = new Map<string, number[]>();

  constructor(readonly plan: Plan) {
    if (plan.format !== "glassformer-plan" || plan.version !== 1)
      throw new Error(
        `this is ${plan.format} version ${plan.version}; the page runs glassformer-plan version 1`,
      );
  }

  run(pass: Pass): Values {
    const { edits = NOTHING, wanted = () => true } = pass;
    const values: Values = new Map();
    for (const step of this.made(pass.lengths)) {
      const { node } = step;
      if (!wanted(node)) continue;
      const numbers = this.computed(step, values, pass);
      const changes = edits.get(node.address);
      if (numbers) values.set(node.address, changes ? changed(numbers, changes, node) : numbers);
    }
    return values;
  }

  private computed(
    step: Step,
    values: Values,
    { leaves, params = {}, edits = NOTHING }: Pass,
  ): Float64Array | null {
    const { node, shape } = step;
    const given = leaves.get(node.address);
    if (given) return given;
    if (node.address === POSITION) return Float64Array.from({ length: shape[0] }, (_, i) => i);
    if (node.formula === null || this.plan.formulas[node.formula].tree[0] === "drawn") return null;
    const operands = Object.values(node.operands).map((path) => {
      const numbers = values.get(path);
      // a gradient ends where a number was put in place of the one that was computed
      const put = path.startsWith("bwd/") && edits.get(`fwd/${path.slice("bwd/".length)}`);
      return numbers && put ? without(numbers, put) : numbers;
    });
    if (operands.includes(undefined)) return null;
    step.kernel ??= this.kernel(node, shape);
    const own = params[node.address];
    return step.kernel.run(
      operands as Float64Array[],
      own ? { ...step.params, ...own } : step.params,
    );
  }

  private made(lengths: Lengths): Step[] {
    const key = `${lengths.batch},${lengths.pos}`;
    const known = this.steps.get(key);
    const found = known ?? this.plan.nodes.map((node) => stepOf(node, lengths));
    this.steps.delete(key);
    this.steps.set(key, found); // the one that was used last is the last to go
    if (this.steps.size > KEPT_LENGTHS) {
      this.steps.delete(this.steps.keys().next().value!);
      this.kernels.clear();
    }
    this.shapes = new Map(found.map(({ node, shape }) => [node.address, shape]));
    return found;
  }

  /** The kernel of a node; nodes of one formula and shape, as of every block, share theirs. */
  private kernel(node: PlanNode, shape: number[]): Kernel {
    const operands = Object.fromEntries(
      Object.entries(node.operands).map(([name, path]) => [name, this.shapes.get(path)!]),
    );
    const key = JSON.stringify([node.formula, shape, node.dtype, operands]);
    const known = this.kernels.get(key);
    if (known) return known;
    const { tree, axes } = this.plan.formulas[node.formula!];
    const kernel = new Kernel(tree, { axes, shape, dtype: node.dtype }, operands);
    this.kernels.set(key, kernel);
    return kernel;
  }
}

const stepOf = (node: PlanNode, lengths: Lengths): Step => ({
  node,
  shape: shapeOf(node, lengths),
  params: paramsOf(node, lengths),
  kernel: null,
});

const NOTHING: ReadonlyMap<string, Change[]> = new Map();

function changed(numbers: Float64Array, changes: Change[], { dtype }: PlanNode): Float64Array {
  const found = numbers.slice();
  for (const { places, numbers } of changes) places.forEach((at, i) => (found[at] = numbers[i]));
  rounding(dtype)(found, 0, found.length);
  return found;
}

function without(numbers: Float64Array, changes: Change[]): Float64Array {
  const found = numbers.slice();
  for (const { places } of changes) for (const at of places) found[at] = 0;
  return found;
}

/** Where every token stands in its text: 0, 1, 2, ... */
const POSITION = "const/position";
